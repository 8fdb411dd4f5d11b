"""Checks of a file before it is written: it runs at all, computes what the model does, and is as accurate."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from jointreid.data.records import ImageRecord
from jointreid.export import proof as proofs
from jointreid.export.contract import Contract
from jointreid.export.proof import Runner
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.evaluate import evaluate_domains
from jointreid.retrieval.run_data import EvaluationData
from jointreid.run import Run


def require_sound(runner: Runner, contract: Contract) -> None:
    """Refuse a file that fails for one image, for several, or for images without any structure.

    Raises:
        JointreidError: it fails, or returns a number that is not finite or not of a feature of length 1.
    """
    size = contract.height, contract.width, 3
    noise = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
    blank = np.stack([np.full(size, value, np.uint8) for value in (0, 127, 255)])
    for pixels in (noise, noise[:1], blank):
        features = runner(contract.prepare(pixels))
        lengths = np.linalg.norm(features, axis=1)
        if features.shape != (len(pixels), contract.dims) or not np.allclose(lengths, 1, atol=1e-2):
            raise JointreidError(
                f"{contract.file} returns {list(features.shape)} of lengths {lengths.round(3).tolist()} for "
                f"{len(pixels)} images; expected {contract.dims} numbers of length 1 each. Nothing was written"
            )


def proved_contract(
    contract: Contract,
    model: ReIDModel,
    runner: Runner,
    found: EvaluationData,
    run: Run,
    images: Sequence[tuple[str, ImageRecord]],
    allow_vacuous: bool,
    on_step: Callable[[str], None],
) -> Contract:
    """Return the contract with what was proved of the file, and with its accuracy if it is not of fp32.

    Args:
        contract: of the file.
        model: in PyTorch.
        runner: runs the file.
        found: the data sets of the evaluation.
        run: the run directory.
        images: test images to compare, with their domains, see `proof.sample`.
        allow_vacuous: accept a proof on features that are all alike.
        on_step: called with a line for each step.

    Raises:
        JointreidError: it does not compute what the model does, or nothing can be proved.
    """
    config = found.config
    on_step(f"comparing it with the model on {len(images)} test images")
    pixels = proofs.read_pixels([record for _, record in images], config)
    expected = proofs.model_features(model, pixels, config)
    proof = proofs.compare(expected, proofs.file_features(runner, contract, pixels), images, contract.precision)
    proofs.require_meaning(proof, allow_vacuous)
    on_step(str(proof))
    contract = replace(contract, proof=proof.to_dict())
    if contract.precision == "fp32":
        return contract
    accuracy = _accuracy(contract, model, runner, found, run, on_step)
    lost = float(np.mean([values["fp32"] - values["exported"] for values in accuracy.values()]))
    if lost > proofs.LOSS[contract.precision]:
        raise JointreidError(
            f"in {contract.precision} the model loses {lost:.3f} mAP (mean over {len(accuracy)} data sets), more than "
            f"{proofs.LOSS[contract.precision]}; nothing was written. Use --precision fp32 or fp16"
        )
    return replace(contract, accuracy=accuracy)


def _accuracy(
    contract: Contract,
    model: ReIDModel,
    runner: Runner,
    found: EvaluationData,
    run: Run,
    on_step: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """Return domain -> mAP of the file and of the model."""
    # As the file is used: features of length 1, whatever distance the run was evaluated by.
    config = found.config.replace(eval={"flip": False, "rerank": False, "metric": "cosine"})
    evaluate = partial(
        evaluate_domains,
        model,
        found.domains,
        config,
        run.label_space,
        device=torch.device("cpu"),
        protocols={domain.name: None for domain in found.domains},
    )
    on_step(f"evaluating it in {contract.precision} and in fp32")
    exported, _ = evaluate(embed_with=proofs.embed_with(runner, contract, config))
    own, _ = evaluate()
    return {
        result.domain: {"exported": round(result.mAP, 5), "fp32": round(before.mAP, 5)}
        for result, before in zip(exported.domains, own.domains, strict=True)
    }
