"""The fingerprint of a model: equal exactly when features of two models may be compared.

It covers the weights without the classifiers that pruning drops, and the settings that change features: the network,
the size, the interpolation and the normalisation of images, and whether mirrored images take part. It does not cover
the device, the batch size or the precision, which only change roundings.
"""

import copy
import hashlib
import json
from dataclasses import asdict, fields
from typing import Any

from jointreid.config import DcsdConfig, EvalConfig, ImageConfig, ModelConfig
from jointreid.models.reid import ReIDModel

# Of these sections, the settings that act in training alone.
_TRAINING_ONLY = {
    *("pretrain", "pretrain_file", "classifier_std", "stop_gradient", "detach_context_input"),
    *("context_init", "context_dropout", "decay_generators"),
}
_OF_IMAGES = {"height", "width", "interpolation", "mean", "std"}


def fingerprint(
    model: ReIDModel, image: ImageConfig, evaluation: EvalConfig, network: ModelConfig, dcsd: DcsdConfig
) -> str:
    """Return the SHA-256 of weights and settings, 64 hex digits.

    A setting at its default is left out, so that one that is added later changes no fingerprint.

    Args:
        model: the model, on any device.
        image: size and normalisation of its images.
        evaluation: whether mirrored images take part.
        network: the settings of its network.
        dcsd: the settings of its generated convolutions.
    """
    settings = {
        "image": {name: value for name, value in _changed(image).items() if name in _OF_IMAGES},
        "flip": evaluation.flip,
        "model": {name: value for name, value in _changed(network).items() if name not in _TRAINING_ONLY},
        "dcsd": {name: value for name, value in _changed(dcsd).items() if name not in _TRAINING_ONLY},
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    without_effect = _without_effect(model)
    for name, tensor in sorted(model.state_dict().items()):
        if name not in without_effect and not name.endswith("num_batches_tracked"):
            values = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(values.tobytes())
    return digest.hexdigest()


def _without_effect(model: ReIDModel) -> set[str]:
    """Return the tensors that features do not depend on: the identity classifier, and the heads that pruning drops.

    A head stays, and counts, where the blocks are told what it predicts.
    """
    pruned = copy.deepcopy(model)
    pruned.prune_heads()
    stays = set(pruned.state_dict())
    return {name for name in model.head_names() if name not in stays or name.startswith("classifier.")}


def _changed(section: Any) -> dict[str, Any]:
    """Return the fields of a section that are not at their default."""
    values = asdict(section)
    return {field.name: values[field.name] for field in fields(section) if values[field.name] != field.default}
