"""Checkpoints: what evaluation needs, and what training needs to resume exactly where it stopped.

A checkpoint is a folder in a run directory: `model.safetensors` (the weights that evaluation uses), `state.json`
(progress as plain numbers), for `last` `training.safetensors` (optimiser, random state, raw weights), and
`manifest.json` with their checksums.
"""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor, nn

from jointreid.machine.reading import TensorFacts, facts_of, misfits, read_facts, read_tensors, require_inside
from jointreid.machine.run_files import (
    FORMAT_VERSION,
    STATE,
    TRAINING,
    WEIGHTS,
    candidates,
    verify,
    write_checkpoint,
)
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few
from jointreid.models.reid import ReIDModel
from jointreid.run import Run, load_weights
from jointreid.training.optim import WeightAverage
from jointreid.training.randomness import random_state, set_random_state

# More than any generator's state takes, in elements.
_MAX_RANDOM = 10_000


def save_checkpoint(
    run: Path,
    name: str,
    model: nn.Module,
    state: dict[str, Any],
    *,
    average: WeightAverage | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Write a checkpoint beside the old one, then replace the old one by it.

    Args:
        run: the run directory.
        name: `last` or `best`.
        model: its weights are saved, or those of `average` where there is one.
        state: progress, of plain numbers, strings, lists and dicts.
        average: the moving average of the weights.
        optimizer: its state and the random state are saved too, so that training can resume.

    Raises:
        JointreidError: it cannot be written; the old one is as it was.
    """
    plain = json.dumps({"format_version": FORMAT_VERSION, **state}, indent=1) + "\n"
    contents: dict[str, Callable[[], bytes]] = {
        WEIGHTS: lambda: _packed(average.tensors if average else model.state_dict()),
        STATE: plain.encode,
    }
    if optimizer is not None:
        contents[TRAINING] = lambda: _packed(_training_tensors(model, optimizer, average))
    write_checkpoint(run, name, contents)


class SavedCheckpoint(NamedTuple):
    """A checkpoint to resume from: its folder, and the content of its `state.json`."""

    folder: Path
    state: dict[str, Any]


def newest_checkpoint(run: Run, say: Callable[[str], None]) -> SavedCheckpoint | None:
    """Return the newest intact `last` of a run; None if it has not saved one.

    A damaged one is passed over for an older or newer one, which a killed save may have left.

    Args:
        run: the run.
        say: told which checkpoint is passed over and why, and which is taken instead.

    Raises:
        JointreidError: all are damaged, of another format version or of another run; says what is wrong with the
            newest.
    """
    reasons: list[JointreidError] = []
    for folder in candidates(run.path, "last"):
        try:
            state = run.state_in(folder)
            for file in (WEIGHTS, TRAINING):
                require_inside(folder / file, run.path)
                read_facts(folder / file)
                verify(folder / file)
        except JointreidError as error:
            reasons.append(error)
            continue
        if reasons:
            say(f"{reasons[0]}. Resuming from {folder} instead, saved at step {state.get('step')}.")
        return SavedCheckpoint(folder, state)
    if reasons:
        raise reasons[0]
    return None


def load_checkpoint(
    run: Run,
    checkpoint: SavedCheckpoint,
    model: ReIDModel,
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None,
) -> None:
    """Load a checkpoint into a model and its optimiser, in place, and restore the state of random numbers.

    Args:
        run: the run.
        checkpoint: one of its checkpoints, as `newest_checkpoint` returns it.
        model: of the run's settings and labels.
        optimizer: over the model's parameters; its moments are loaded, its settings stay.
        average: loaded too, where there is one.

    Raises:
        JointreidError: the checkpoint does not fit the model or the optimiser, or was changed meanwhile.
    """
    folder = checkpoint.folder
    found = read_facts(folder / TRAINING)
    drawn = {name: facts for name, facts in found.items() if name.startswith("random/")}
    wrong = [f"{name} is {facts.shape}" for name, facts in drawn.items() if math.prod(facts.shape) > _MAX_RANDOM]
    rest = {name: facts for name, facts in found.items() if name not in drawn}
    wrong += misfits(rest, _expected(model, optimizer, average, found))
    if wrong:
        raise JointreidError(
            f"{folder / TRAINING}: does not fit the run's model and optimiser: {first_few(wrong, sep='; ')}"
        )
    load_weights(model, folder / WEIGHTS)
    verify(folder / TRAINING)
    tensors = read_tensors(folder / TRAINING)
    if average is not None:
        average.tensors = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        model.load_state_dict({key[4:]: tensor for key, tensor in tensors.items() if key.startswith("raw/")})
    optimizer.load_state_dict({"state": _slots(tensors), "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, slots in optimizer.state.items():
        for key, value in slots.items():
            if value.shape == parameter.shape:  # in the same memory layout, which a fused Adam relies on
                slots[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    try:
        set_random_state({name.removeprefix("random/"): tensors[name] for name in drawn})
    except (KeyError, ValueError, RuntimeError, TypeError, OverflowError) as error:
        raise JointreidError(f"{folder / TRAINING}: does not hold the state of random numbers ({error!r})") from error


def _training_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None
) -> dict[str, Tensor]:
    """Return everything but the weights that evaluation uses, by name."""
    state = optimizer.state_dict()["state"]
    tensors = {f"optimizer/{index}/{key}": value for index, slots in state.items() for key, value in slots.items()}
    tensors |= {f"random/{key}": value for key, value in random_state().items()}
    if average is not None:
        tensors |= {f"raw/{key}": tensor for key, tensor in model.state_dict().items()}
    return tensors


def _expected(
    model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None, found: Iterable[str]
) -> dict[str, TensorFacts]:
    """Return the types and shapes that training tensors must have, besides the random state.

    A parameter that no loss has reached yet has no moments; each other one has all of them.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    known = facts_of({str(index): parameter for index, parameter in enumerate(parameters)})
    reached = {name.split("/")[1] for name in found if name.startswith("optimizer/")} & known.keys()
    expected = {f"optimizer/{index}/{key}": known[index] for index in reached for key in ("exp_avg", "exp_avg_sq")}
    expected |= {f"optimizer/{index}/step": TensorFacts("F32", ()) for index in reached}
    if average is not None:
        expected |= {f"raw/{key}": facts for key, facts in facts_of(dict(model.state_dict())).items()}
    return expected


def _slots(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = tensor
    return state


def _packed(tensors: dict[str, Tensor]) -> bytes:
    return save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
