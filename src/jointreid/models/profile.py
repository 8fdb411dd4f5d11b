"""Parameters and multiply-adds of a network, counted from the network itself (Table IV).

The network is built and run on the meta device, where `models.counting` counts its parts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jointreid.config import DcsdConfig, ModelConfig
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.tables import text_table
from jointreid.models.counting import BlockCount, Count, count_blocks, count_macs, count_parts, trace
from jointreid.models.dcsd import DCSD
from jointreid.models.families import TRUNKS, build_trunk
from jointreid.models.pooling import global_average_pool
from jointreid.models.reid import SYSTEMS, Classes, ReIDModel, assemble
from jointreid.models.trunk import Trunk

IMAGENET_CLASSES = 1000
NUM_DOMAINS = 5  # Table I: five data sets with 32 cameras between them
NUM_CAMERAS = 32
TRUNK_SIZE = (224, 224)  # height, width of an ImageNet image
SYSTEM_SIZE = (256, 128)  # height, width of a person image

PROFILES = (*TRUNKS, *(f"{name}-dcsd" for name in TRUNKS), *SYSTEMS)


@dataclass(frozen=True)
class Profile:
    """Cost of a network.

    Attributes:
        name: one of `PROFILES`.
        height: of the image, in pixels.
        width: of the image, in pixels.
        params: parameters, without a system's identity classifier, whose size depends on the training set.
        macs: multiply-adds for one image.
        parts: the same by part; they sum to the totals.
        blocks: the spatial convolutions by width and size.
    """

    name: str
    height: int
    width: int
    params: int
    macs: int
    parts: Mapping[str, Count]
    blocks: tuple[BlockCount, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain dicts and lists, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Variant:
    """Cost of ResNet-50-DCSD with one detail changed."""

    name: str
    params: int
    macs: int


class ImageNetClassifier(nn.Module):
    """A trunk with the pooled linear classifier that published counts include."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk
        self.fc = nn.Linear(trunk.out_channels, IMAGENET_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to logits [B, 1000]."""
        return cast(Tensor, self.fc(global_average_pool(self.trunk(images).feature_map)))


def profile(
    name: str,
    dcsd: DcsdConfig | None = None,
    model: ModelConfig | None = None,
    size: tuple[int, int] | None = None,
) -> Profile:
    """Count a network.

    Args:
        name: a trunk such as "resnet50" or "resnet50-dcsd": at 224 x 224, last stride 2, with a 1000-way classifier;
            or a system such as "bot-dcsd": at 256 x 128, last stride 1, up to BNNeck.
        dcsd: settings of the generated convolutions; None for the defaults. Static networks have none.
        model: other settings of a system, such as its trunk; None for the defaults. A trunk has none.
        size: height and width of the images instead of those above.

    Raises:
        JointreidError: no such network (the message gives the nearest), settings that do not fit it, or images that
            are too small for it.
    """
    if model not in (None, ModelConfig()) and name not in SYSTEMS:
        raise JointreidError(f"{name} is a trunk; settings of model.* are those of a system, such as bot or bot-dcsd")
    dcsd = dcsd or DcsdConfig()
    if name.endswith("-dcsd") and name not in SYSTEMS and dcsd.context in ("network", "labels"):
        raise JointreidError(
            f"{name} is a trunk alone, and with dcsd.context {dcsd.context} its blocks need what stands beside it; "
            f"profile bot-dcsd --model.trunk {name.removesuffix('-dcsd')} instead"
        )
    network, default_size = _build(name, dcsd, model or ModelConfig())
    return _count(name, network, size or default_size)


def variants(dcsd: DcsdConfig | None = None) -> tuple[Variant, ...]:
    """Count ResNet-50-DCSD, as in `profile`, with other choices for details that the paper leaves open.

    A context network, which stands beside the trunk, is not counted.

    Args:
        dcsd: the settings that each variant changes one detail of; None for the defaults.
    """
    dcsd = dcsd or DcsdConfig()
    biased = replace(dcsd, mlp_bias=True)
    # What needs a context is refused where the sample alone is left.
    sample = replace(dcsd, factors=("sample",), inject="kernel", context_stages=(), context_dropout=0.0)
    sample = replace(sample, context_held_out=0.0, camera_shrinkage=0.0)
    return (
        _variant("as configured", dcsd),
        _variant("sample only (DDF)", sample),
        _variant("as configured, without classifiers (deployed)", dcsd, pruned=True),
        _variant("biases in the MLPs", biased),
        _variant("biases in the MLPs, without classifiers (deployed)", biased, pruned=True),
        _variant("biases in the MLPs, fixed channel spread", replace(biased, learnable_std=False)),
        _variant("biases in the MLPs, channel squeeze 1/4", replace(biased, squeeze=0.25)),
        _variant("biases in the MLPs, MLPs at every position", biased, mlp_per_position=True),
    )


def render(counts: Profile) -> str:
    """Return the counts as text, by part and by width and size of the spatial convolutions."""
    rows = [(part, count.params, count.macs) for part, count in counts.parts.items()]
    lines = [
        f"{counts.name} at {counts.height}x{counts.width}: {counts.params:,} parameters, "
        f"{counts.macs / 1e9:.3f} G multiply-adds",
        _table("part", rows),
        _table("spatial convolutions", [(_block_name(b), b.modules * b.params, b.macs) for b in counts.blocks]),
    ]
    return "\n".join(lines)


def _block_name(block: BlockCount) -> str:
    return f"{block.modules} of {block.kernel_size}x{block.kernel_size}, width {block.width}"


def render_variants(counts: Sequence[Variant]) -> str:
    """Return the variants as text."""
    rows = [(variant.name, variant.params, variant.macs) for variant in counts]
    return _table("resnet50-dcsd variant", rows)


def _table(title: str, rows: Sequence[tuple[str, int, int]]) -> str:
    counts = [[name, f"{params:,}", f"{macs:,}"] for name, params, macs in rows]
    return "\n" + text_table([[title, "parameters", "multiply-adds"], *counts], "lrr", bars=False)


def _variant(name: str, dcsd: DcsdConfig, *, pruned: bool = False, mlp_per_position: bool = False) -> Variant:
    network, size = _build("resnet50-dcsd", dcsd, ModelConfig())
    if pruned:
        network.trunk.prune_heads()
    counts = _count("resnet50-dcsd", network, size)
    extra = _extra_macs_per_position(network, size) if mlp_per_position else 0
    return Variant(name, counts.params, counts.macs + extra)


def _build(name: str, dcsd: DcsdConfig, model: ModelConfig) -> tuple[ImageNetClassifier | ReIDModel, tuple[int, int]]:
    """Return a network on the meta device, and the height and width of its images."""
    if name not in PROFILES:
        raise JointreidError(no_such("network to profile", name, PROFILES))
    with torch.device("meta"), _WithoutInitialisation():
        if name in SYSTEMS:
            system = replace(model, name=name)
            return assemble(system, dcsd, Classes(1, NUM_DOMAINS, NUM_CAMERAS)), SYSTEM_SIZE
        trunk = name.removesuffix("-dcsd")
        built = build_trunk(trunk, dcsd if trunk != name else None, NUM_DOMAINS, NUM_CAMERAS)
        return ImageNetClassifier(built), TRUNK_SIZE


class _WithoutInitialisation(TorchFunctionMode):
    """Skip drawing initial weights, which on the meta device only loads PyTorch's compiler and takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if func in (Tensor.normal_, Tensor.uniform_) else func(*args, **(kwargs or {}))


def _count(name: str, network: nn.Module, size: tuple[int, int]) -> Profile:
    macs = count_macs(network, size)
    parts = count_parts(network, macs)
    total = sum(parts.values(), start=Count(0, 0))
    height, width = size
    return Profile(name, height, width, total.params, total.macs, parts, count_blocks(network, macs))


def _extra_macs_per_position(network: nn.Module, size: tuple[int, int]) -> int:
    """Return the extra cost of the domain and camera MLPs as 1x1 convolutions on X instead of on GAP(X)."""
    extra = 0
    for call in trace(network, size):
        if isinstance(call.module, DCSD):
            x = call.inputs[0]
            predictors = [predictor for predictor in (call.module.domain, call.module.camera) if predictor is not None]
            weights = sum(mlp.fc1.weight.numel() + mlp.fc2.weight.numel() for mlp in predictors)
            extra += weights * (math.prod(x.shape[2:]) - 1)
    return extra
