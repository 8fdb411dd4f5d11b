"""A checkpoint of another project -> our tensors and settings, every tensor accounted for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jointreid.config import PeerName, PoolChoice, RunConfig
from jointreid.data.label_space import DomainLabels, LabelSpace
from jointreid.hub.peers import Blocks, Peer, count_blocks, find_peer, foreign_part, left_out, our_name
from jointreid.machine.hashing import file_sha256
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few
from jointreid.models.weight_files import read_weights
from jointreid.recipes import apply_recipe
from jointreid.run import model_for

_TRUNKS = {6: "resnet50", 23: "resnet101"}  # by the blocks of layer3
_EPS = 1e-5  # of our batch normalisation


@dataclass(frozen=True, eq=False)
class Conversion:
    """A converted checkpoint.

    Attributes:
        peer: the project.
        file: the checkpoint.
        sha256: of it, in hex.
        config: settings of the same network, and of images and distances as the project's evaluation has them.
        label_space: as many classes as its classifier has, under invented names: it does not tell whom it was
            trained on.
        tensors: all tensors of our model.
        taken: name in the file -> our name.
        dropped: name in the file -> why it is not needed.
        added: our name -> why the file lacks it and what stands there.
    """

    peer: Peer
    file: Path
    sha256: str
    config: RunConfig
    label_space: LabelSpace
    tensors: Mapping[str, Tensor]
    taken: Mapping[str, str]
    dropped: Mapping[str, str]
    added: Mapping[str, str]

    @property
    def origin(self) -> str:
        """Where the weights come from, for results."""
        return f"weights of {self.peer.title}: {self.file.name}, sha256 {self.sha256}"

    def to_dict(self) -> dict[str, Any]:
        """Return the origin, and what became of each tensor, as plain values."""
        return {
            "project": self.peer.title,
            "file": self.file.name,
            "sha256": self.sha256,
            "taken": dict(self.taken),
            "left_out": dict(self.dropped),
            "added": dict(self.added),
        }


def convert(
    file: str | Path,
    peer_name: PeerName,
    *,
    pool: PoolChoice = "auto",
    domain: str = "",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Conversion:
    """Read a checkpoint of another project, without executing anything in it, and return it in our terms.

    Args:
        file: .pth, .pth.tar (torchreid also writes .pth.tar-60), .pt or .safetensors.
        peer_name: the project, a key of `PEERS`.
        pool: mean, gem (a generalised mean), or auto: by the tensors, and where they do not tell by the project.
        domain: a name for the data that it was trained on; empty for the project's.
        settings: what the file does not tell, section by section, such as the size of images or `model.last_stride`.

    Raises:
        JointreidError: it cannot be read as weights alone; it is another kind of network (the message names what is
            different); or a tensor is unknown, missing or of another shape.
    """
    peer, path = find_peer(peer_name), user_path(file)
    found = read_weights(path, peer.under)
    if reason := foreign_part(found):
        raise JointreidError(f"{path}: has {reason}. Nothing was converted")
    blocks = count_blocks(found, peer)
    named = {name: our_name(name, peer, blocks) for name in found}
    taken = {name: ours for name, ours in named.items() if ours}
    dropped = {name: left_out(name) for name in found if name not in taken}
    if unknown := [name for name, reason in dropped.items() if not reason]:
        raise JointreidError(
            f"{path}: holds {len(unknown)} tensors that {peer.title} has not in a network that can be converted: "
            f"{first_few(unknown)}. Nothing was converted; check --from"
        )
    tensors = {ours: found[name] for name, ours in taken.items()}
    if len(tensors) < len(taken):
        raise JointreidError(f"{path}: names one tensor twice; nothing was converted")
    config = _settings(peer, path, found, tensors, blocks, pool).replace(**(settings or {}))
    config = config.replace(train={"label": f"{peer.title} {path.name}"})
    space = _label_space(domain or peer_name, tensors)
    tensors, added = _completed(tensors, config, space, path)
    return Conversion(peer, path, file_sha256(path), config, space, tensors, taken, dropped, added)


def _settings(
    peer: Peer, path: Path, found: Mapping[str, Tensor], tensors: Mapping[str, Tensor], blocks: Blocks, pool: PoolChoice
) -> RunConfig:
    """Return the settings of the network that a file holds, as far as it tells; the rest is the project's."""
    if "trunk.conv1.weight" not in tensors or "trunk.layer1.0.conv2.weight" not in tensors:
        raise JointreidError(f"{path}: holds no ResNet named as {peer.title} names it; check --from")
    if "trunk.layer1.0.conv3.weight" not in tensors:
        raise JointreidError(f"{path}: has blocks of two 3x3s (ResNet-18 or -34); ResNet-50 and -101 can be converted")
    if tensors["trunk.layer1.0.conv2.weight"].shape[0] != tensors["trunk.layer1.0.conv2.weight"].shape[1]:
        raise JointreidError(f"{path}: has grouped 3x3s (ResNeXt); ResNet-50 and -101 can be converted")
    if blocks.depths[2] not in _TRUNKS:
        raise JointreidError(f"{path}: has {blocks.depths[2]} blocks in layer3; expected 6 (ResNet-50) or 23 (101)")
    width = tensors["trunk.conv1.weight"].shape[0]
    power = float(tensors["pool.p"]) if "pool.p" in tensors else None
    if power is not None and pool == "mean":
        raise JointreidError(f"{path}: holds a learnt power of its pooling ({power:.3g}); leave out --pool mean")
    gem = power is not None or pool == "gem" or any(blocks.non_local)
    fixed = {"auto": peer.gem_p, "mean": 1.0, "gem": 3.0}[pool]
    config = apply_recipe("agw" if gem else "bot").replace(
        image={"interpolation": peer.interpolation, **_normalisation(found)},
        model={
            "trunk": _TRUNKS[blocks.depths[2]],
            "width": 0 if width == 64 else width,
            "last_stride": peer.last_stride,
            "stem_relu": peer.stem_relu,
            "stem_pool": peer.stem_pool,
            "nonlocal_reduction": _reduction(tensors),
        },
        eval={"metric": peer.metric},
    )
    return config.replace(model={"gem_p": power or fixed, "gem_learnable": power is not None}) if gem else config


def _normalisation(found: Mapping[str, Tensor]) -> dict[str, tuple[float, ...]]:
    """Return mean and standard deviation of intensities in [0, 1], from fast-reid's buffers in [0, 255]."""
    buffers = {"mean": "pixel_mean", "std": "pixel_std"}
    return {
        ours: tuple(round(float(value) / 255, 6) for value in found[name].flatten())
        for ours, name in buffers.items()
        if name in found
    }


def _reduction(tensors: Mapping[str, Tensor]) -> int:
    """Return `model.nonlocal_reduction` of the non-local blocks; 0 for an inner width of 1, or without any."""
    for name, tensor in tensors.items():
        if name.endswith("non_local.theta.weight") and tensor.shape[0] > 1:
            return tensor.shape[1] // tensor.shape[0]
    return 0


def _label_space(domain: str, tensors: Mapping[str, Tensor]) -> LabelSpace:
    """Return classes with invented names, as many as the classifier has; one without a classifier."""
    count = len(tensors["classifier.weight"]) if "classifier.weight" in tensors else 1
    width = len(str(count - 1))
    pids = tuple(f"class-{number:0{width}d}" for number in range(count))
    return LabelSpace((DomainLabels(domain, pids, (0,), 0, 0),))


def _completed(
    tensors: dict[str, Tensor], config: RunConfig, space: LabelSpace, path: Path
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return all tensors of our model, and a reason for each that the file lacks.

    Raises:
        JointreidError: a tensor is missing without a reason, left over, of another shape or not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would also seed GPUs, and not restore them
        own = model_for(config, space).state_dict()
    added, wrong = {}, []
    for name in own:
        if name in tensors:
            continue
        if reason := _absent(name, tensors):
            added[name] = reason
        else:
            wrong.append(f"{name} is missing")
    for name, tensor in tensors.items():
        if name not in own:
            wrong.append(f"{name} has no place in {config.model.name} on {config.model.trunk}")
        elif tensor.numel() != own[name].numel() or tensor.squeeze().shape != own[name].squeeze().shape:
            wrong.append(f"{name} is {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
        elif not bool(torch.isfinite(tensor).all()):
            wrong.append(f"{name} is not finite")
    if wrong:
        raise JointreidError(
            f"{path}: does not fit {config.model.name} on {config.model.trunk}, in {len(wrong)} places: "
            f"{first_few(wrong, 10, sep='; ')}. Nothing was converted"
        )
    if "bnneck.weight" in added:
        # (x - 0) / sqrt(var + eps) is x
        own["bnneck.running_var"] = torch.full_like(own["bnneck.running_var"], 1 - _EPS)
    whole = {
        name: tensors[name].reshape(own[name].shape).to(own[name].dtype).contiguous() if name in tensors else own[name]
        for name in own
    }
    return whole, added


def _absent(name: str, tensors: Mapping[str, Tensor]) -> str:
    """Return why a file may lack a tensor of ours, and what stands there; empty if it must have it."""
    if name.startswith("bnneck.") and not any(other.startswith("bnneck.") for other in tensors):
        return "without a BNNeck there, ours changes nothing"
    if name.endswith("num_batches_tracked"):
        return "files of early PyTorch lack it; nothing reads it"
    if name.startswith("classifier."):
        return "without a classifier in the file, random weights for one class"
    if re.search(r"\.non_local\.", name) and not any(".non_local." in other for other in tensors):
        return "without non-local blocks there, ours change nothing"
    return ""
