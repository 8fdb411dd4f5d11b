"""A trunk that starts from weights trained for something else (`model.pretrain`).

A file is compared with the trunk name by name and shape by shape before anything changes: all of it is loaded, or an
error lists what does not fit. Reading a file never executes it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from jointreid.machine.hashing import file_sha256
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.listing import first_few
from jointreid.models.beside import beside
from jointreid.models.dcsd import DCSD
from jointreid.models.reid import ReIDModel
from jointreid.models.resnet import Bottleneck
from jointreid.models.trunk import Trunk
from jointreid.models.weight_files import read_weights
from jointreid.models.weight_sources import NONE, OTHER_RECIPES, SAID, SOURCES, Source, own_label
from jointreid.models.wheel_weights import FOLDER, WHEELS, provenance_of

# Names of the blocks that systems add to a ResNet, which ImageNet networks do not have.
_ADDED = re.compile(r"(^|\.)(non_local|sum_norm|snr)\.")
# Parts of a ResNet that a generated convolution replaces, and the batch normalisation after it.
_REPLACED = re.compile(r"\.(conv2|bn2)\.")
_DDF_NAMES = {
    "spatial_branch.conv": "spatial_branch.0",
    "channel_branch.fc1": "channel_branch.1",
    "channel_branch.fc2": "channel_branch.3",
    "channel_branch.norm": "channel_branch.4",
}


class Pretraining(NamedTuple):
    """Weights that a model started from.

    Attributes:
        label: for results: the source, its accuracy and the SHA-256 of the file.
        file: the file.
        sha256: of the file, in hex.
        parameters: how many of the trunk's parameters have its values.
    """

    label: str
    file: Path
    sha256: str
    parameters: int


class Slot(NamedTuple):
    """The place of a tensor of a file: its name in our trunk, and its shape in the file."""

    name: str
    shape: torch.Size


def check_source(source: str, file: str, *, system: str, trunk: str, base: str = "none") -> None:
    """Refuse weights that cannot be loaded, without reading their tensors.

    Args:
        source: "none", a key of `SOURCES`, or a file that `weights fetch` wrote.
        file: the file of the weights; empty to download them.
        system: the system that starts from them, such as "bot-dcsd".
        trunk: its trunk, such as "resnet50".
        base: `dcsd.base`; a static one starts from weights of a plain network.

    Raises:
        JointreidError: the source is unknown or for other networks (the message names those that fit), or its file is
            not given or does not exist (the message says how to get it).
    """
    if source == NONE:
        if file:
            raise JointreidError(
                f"model.pretrain_file is {file}, but model.pretrain is none; say which weights it holds"
            )
        return
    source, file = _source_and_file(source, file)
    _require_fitting(source, system.endswith("-dcsd") and base == "none", trunk)
    if file or not SOURCES[source].hub:
        _local_file(source, file)


def load_pretrained(model: ReIDModel, source: str, file: str = "", *, zero_context: bool = True) -> Pretraining:
    """Fill the trunk of a model with weights trained for something else; its heads stay as they are.

    Args:
        model: changed in place, or not at all where an error is raised.
        source: a key of `SOURCES`, or a file that `weights fetch` wrote.
        file: .safetensors, .pth or .pth.tar; empty downloads it, if the source has a repository.
        zero_context: after weights of a whole generated trunk, let every DCSD start from the sample alone, as they
            were trained, see `Trunk.zero_context`.

    Raises:
        JointreidError: the file cannot be downloaded or read, or a tensor is missing, left over or of another shape;
            lists up to ten of them.
    """
    source, file = _source_and_file(source, file)
    trunk = model.trunk
    blocks = [module for module in trunk.modules() if isinstance(module, DCSD) and module.weight is None]
    _require_fitting(source, bool(blocks))
    if any(block.config.combine != "mul" for block in blocks):
        raise JointreidError(f"model.pretrain {source} is for kernels that are products; dcsd.combine must be mul")
    kind = SOURCES[source]
    path = _local_file(source, file) if file or not kind.hub else _download(source)
    sha256 = file_sha256(path)
    label = f"{own_label(path, sha256) if kind.own else kind.label}, sha256 {sha256}"
    named_by_sha256 = (file and kind.hub and not kind.partial) or source in WHEELS
    if named_by_sha256 and not (kind.sha256 and sha256.startswith(kind.sha256)):
        label = f"{SAID}{label}"
    if kind.hub and (other := OTHER_RECIPES.get(sha256[:8])):
        raise JointreidError(f"{path} is {other}, of another recipe; expected {kind.how}")
    tensors = _fitting(read_weights(path), _slots(trunk, source), kind, path)
    own = trunk.state_dict()
    trunk.load_state_dict(own | {name: tensor.reshape(own[name].shape) for name, tensor in tensors.items()})
    if kind.partial:
        for block in trunk.modules():
            if isinstance(block, Bottleneck):
                block.bn2.reset_parameters()  # its statistics are those of the outputs of the static 3x3
    elif zero_context and blocks:  # generators beside a static base were not loaded, and start at random
        trunk.zero_context()
    learnt = dict(trunk.named_parameters())
    return Pretraining(label, path, sha256, sum(learnt[name].numel() for name in tensors if name in learnt))


def _require_fitting(source: str, generated: bool, trunk: str = "") -> None:
    """Refuse a source that is unknown, or for other spatial convolutions or another trunk ("" for any)."""
    if source not in SOURCES:
        raise JointreidError(no_such("source of weights", source, [NONE, *SOURCES]))
    fitting = [
        name for name, s in SOURCES.items() if s.generated == generated and (not trunk or s.trunk in ("", trunk))
    ]
    if source not in fitting:
        wanted, here = (
            f"{'generated' if kind else 'static'} convolutions" for kind in (SOURCES[source].generated, generated)
        )
        hint = ""
        if generated and not SOURCES[source].generated:
            hint = ". With --dcsd.base static generated kernels are added to static ones, which start from such weights"
        raise JointreidError(
            f"model.pretrain {source} is for {wanted} in {SOURCES[source].trunk or 'any trunk'}; this model has {here} "
            f"in {trunk or 'its trunk'}, and fitting are {', '.join(fitting)} and none{hint}"
        )


def _source_and_file(source: str, file: str) -> tuple[str, str]:
    """Return the key of `SOURCES` and the file that `model.pretrain` and `model.pretrain_file` mean.

    Raises:
        JointreidError: `source` is a file that `weights fetch` did not write, or there is a second file.
    """
    if source in (NONE, *SOURCES) or not source.endswith(".safetensors"):
        return source, file
    if file:
        raise JointreidError(f"model.pretrain and model.pretrain_file both name a file ({source} and {file})")
    path = user_path(source)
    if not path.is_file():
        raise JointreidError(f"model.pretrain: there is no file {path}")
    name = provenance_of(path).get("source", "")
    if name not in WHEELS:
        raise JointreidError(
            f"model.pretrain: {path} does not say which weights it holds, as the files of `jointreid weights fetch` "
            "do. Give --model.pretrain NAME --model.pretrain_file FILE; `jointreid weights list` shows the names"
        )
    return name, source


def _local_file(source: str, file: str) -> Path:
    """Return the file of a source; a directory means the model.safetensors in it."""
    if source in WHEELS and not file:
        file = str(FOLDER / f"{source}.safetensors")
    how = f"Get {SOURCES[source].how}; give it with --model.pretrain_file FILE"
    if not file:
        raise JointreidError(f"model.pretrain {source} needs a file. {how}")
    path = user_path(file)
    path = path / "model.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise JointreidError(f"model.pretrain_file: there is no file {path}. {how}")
    return path


def _download(source: str) -> Path:
    """Return a source's file from the Hugging Face hub, fetched if it is not in the hub's cache."""
    from huggingface_hub import hf_hub_download  # timm's own dependency

    repository = SOURCES[source].hub
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # of the hub, its HTTP library or the system: each means that there is no file
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise JointreidError(
            f"model.pretrain {source}: cannot download {repository} ({cause}). Without a connection get "
            f"{SOURCES[source].how}; give it with --model.pretrain_file FILE"
        ) from error


def _slots(trunk: Trunk, source: str) -> dict[str, Slot]:
    """Return the tensors that a file of this source must hold for the trunk, by their names in the file."""
    slots = {}
    in_file = (None, "generators") if SOURCES[source].generated else (None,)
    for name, tensor in trunk.state_dict().items():
        if beside(f"trunk.{name}") not in in_file or _ADDED.search(name):
            continue
        if SOURCES[source].partial and _REPLACED.search(name):
            continue
        file_name, shape = _in_ddf(name, tensor.shape) if source == "ddf_imagenet" else (name, tensor.shape)
        slots[file_name] = Slot(name, shape)
    return slots


def _in_ddf(name: str, shape: torch.Size) -> tuple[str, torch.Size]:
    """Return the name and shape in DDF's file, where linear layers are 1x1 convolutions and stds have one dimension."""
    if re.search(r"channel_branch\.fc\d\.weight", name):
        shape = torch.Size((*shape, 1, 1))
    elif name.endswith("channel_branch.norm.std"):
        shape = torch.Size((shape.numel(),))
    for ours, theirs in _DDF_NAMES.items():
        name = name.replace(ours, theirs)
    return name, shape


def _fitting(tensors: Mapping[str, Tensor], slots: Mapping[str, Slot], kind: Source, path: Path) -> dict[str, Tensor]:
    """Return the tensors by our names, or raise an error that lists what does not fit."""

    def dropped(name: str) -> bool:
        return name.startswith(kind.classifier) or (kind.partial and _REPLACED.search(name) is not None)

    # Old files lack num_batches_tracked, which nothing reads.
    wrong = [f"{name} is missing" for name in slots if name not in tensors and not name.endswith("num_batches_tracked")]
    wrong += [f"{name} is left over" for name in tensors if name not in slots and not dropped(name)]
    taken = {name: tensors[name] for name in slots if name in tensors}
    for name, tensor in taken.items():
        if tensor.shape != slots[name].shape:
            wrong.append(f"{name} is {tuple(tensor.shape)}, expected {tuple(slots[name].shape)}")
        elif not bool(torch.isfinite(tensor).all()):
            wrong.append(f"{name} is not finite")
    if wrong:
        raise JointreidError(
            f"{path} does not fit the trunk, in {len(wrong)} places: {first_few(wrong, 10, sep='; ')}. Nothing "
            f"was loaded; expected {kind.how}"
        )
    return {slots[name].name: tensor for name, tensor in taken.items()}
