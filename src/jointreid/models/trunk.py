"""A trunk: a network from images to a feature map, whose spatial convolutions a factory makes.

Each block of a trunk has one convolution over positions, which a system keeps static or replaces by a DCSD. Trunks have
timm's parameter names, so that timm's weights load unchanged. The factor logits and restitutions that the losses need
are returned: no module keeps them between calls.

Letters: B images, H x W positions of a map, C channels.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from jointreid.config import DcsdConfig
from jointreid.messages.errors import JointreidError
from jointreid.models.context import Context, FactorLogits, used_factors
from jointreid.models.controls import ContextConv, DomainNormConv, FilmConv
from jointreid.models.dcsd import DCSD
from jointreid.models.initial import init_for_relu
from jointreid.models.norms import Restitution


class TrunkOutput(NamedTuple):
    """Output of a trunk.

    Attributes:
        feature_map: [B, C, H/32, W/32]; twice as high and wide with last stride 1.
        factor_logits: one per DCSD, from input to output; empty without.
        restitutions: one per SNR module, from input to output; empty without, and in evaluation.
    """

    feature_map: Tensor
    factor_logits: tuple[FactorLogits, ...]
    restitutions: tuple[Restitution, ...]


class Trunk(nn.Module):
    """A network from images to a feature map; a custom trunk is a subclass.

    A custom trunk may leave the argument `context` out; then its DCSDs have no context but that of their own maps.

    Attributes:
        out_channels: channels of the feature map.
    """

    out_channels: int

    def all_stages(self) -> Sequence[nn.Module]:
        """Return the stages from input to output, for `dcsd.context_stages`; a custom trunk may leave it out."""
        raise JointreidError(f"{type(self).__name__} does not tell its stages, which dcsd.context_stages needs")

    def forward(self, images: Tensor, context: Context | None = None) -> TrunkOutput:
        """Map images [B, 3, H, W] to a feature map, factor logits and restitutions.

        Args:
            images: normalised.
            context: what every DCSD is told about where the images come from, see `filter_map`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def prune_heads(self) -> None:
        """Drop the domain and camera classifiers, for deployment; the feature map stays the same."""
        for module in self.modules():
            if isinstance(module, DCSD):
                module.prune_heads()

    def zero_context(self) -> None:
        """Let every DCSD start from the sample alone: for weights that were trained without domains and cameras."""
        for module in self.modules():
            if isinstance(module, DCSD):
                module.zero_context()


def keep_context_to(stages: Sequence[nn.Module], chosen: Sequence[int]) -> None:
    """Build the blocks of all other stages as those of a network without domain and camera.

    Args:
        stages: of a trunk.
        chosen: numbers of stages, from 1.

    Raises:
        JointreidError: a number is none of the stages.
    """
    if wrong := [number for number in chosen if number > len(stages)]:
        raise JointreidError(
            f"dcsd.context_stages names stage {wrong[0]}, but this trunk has {len(stages)}, counted from 1"
        )
    for number, stage in enumerate(stages, start=1):
        if number in chosen:
            continue
        for module in stage.modules():
            if isinstance(module, DCSD):
                module.domain = module.camera = module.projection = None
            elif isinstance(module, FilmConv):
                module.projection = None
            elif isinstance(module, DomainNormConv):
                module.domain_norm = None


class SpatialConvFactory(Protocol):
    """A function that makes the spatial convolution of a block: as many channels out as in, padded by half a kernel.

    The module maps [B, channels, H, W] to [B, channels, ceil(H / stride), ceil(W / stride)]; a DCSD also returns its
    factor logits, see `filter_map`.
    """

    def __call__(
        self,
        channels: int,
        stride: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> nn.Module:
        """Return the module; `groups` and `bias` are those of a static convolution."""
        ...


Conv3x3Factory = SpatialConvFactory  # its name in custom trunks of earlier versions


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Return a padded convolution, initialised for the ReLU that follows (He et al., by the fan-out of a group)."""
    layer = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding=dilation * (kernel_size // 2),
        dilation=dilation,
        groups=groups,
        bias=bias,
    )
    init_for_relu(layer.weight, groups)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def static_conv(
    channels: int, stride: int, kernel_size: int = 3, *, dilation: int = 1, groups: int = 1, bias: bool = False
) -> nn.Module:
    """Return the spatial convolution of a plain network."""
    return conv(channels, channels, kernel_size, stride, dilation=dilation, groups=groups, bias=bias)


def dcsd_conv(config: DcsdConfig, num_domains: int, num_cameras: int) -> SpatialConvFactory:
    """Return a factory that puts a DCSD of these settings in the place of a spatial convolution, or a control for it.

    `dcsd.kernel_size` is the side of a kernel in the place of a 3x3; a larger convolution keeps its side. The generated
    kernels are depthwise and have no bias, whatever they replace; a static base keeps groups and bias.

    Raises:
        JointreidError: settings of the base that exclude each other.
    """
    _require_consistent(config)

    def make(
        channels: int, stride: int, kernel_size: int = 3, *, dilation: int = 1, groups: int = 1, bias: bool = False
    ) -> nn.Module:
        static: dict[str, Any] = {"dilation": dilation, "groups": groups, "bias": bias}
        if config.inject == "film":
            told = bool(used_factors(config, num_domains, num_cameras))
            return FilmConv(channels, stride, kernel_size, told=told, **static)
        if config.inject == "norm":
            return DomainNormConv(channels, stride, kernel_size, num_domains=num_domains, **static)
        here = config if kernel_size == 3 else replace(config, kernel_size=kernel_size)
        return DCSD(
            channels, num_domains, num_cameras, here, stride=stride, dilation=dilation, groups=groups, bias=bias
        )

    return make


def _require_consistent(config: DcsdConfig) -> None:
    """Refuse settings that exclude each other.

    Raises:
        JointreidError: the message names both.
    """
    static, zeros = config.base == "static", config.generated_start == "zeros"
    one_context = config.context in ("network", "labels")
    refused = {
        "dcsd.gain_relative true needs a gain: dcsd.base static and dcsd.generated_start gain": config.gain_relative
        and (not static or zeros),
        "dcsd.generated_start zeros needs dcsd.base static; without a base nothing would get through": zeros
        and not static,
        "dcsd.generated_start zeros needs dcsd.combine mul; with add the spatial kernel would get through at the "
        "start": zeros and config.combine == "add",
        f"dcsd.kernel_size is {config.kernel_size}; expected 3 with dcsd.base static, where generated kernels have the "
        "side of W0": static and config.kernel_size != 3,
        f"dcsd.inject {config.inject} needs dcsd.base static and dcsd.context network or labels: it changes the static "
        "convolution by the context of all blocks": config.inject != "kernel" and not (static and one_context),
        "dcsd.detach_context_input needs dcsd.context block or block-stats; what gives all blocks one context does not "
        "see the trunk": config.detach_context_input and one_context,
        "dcsd.inject film needs the factor domain or camera (dcsd.factors): it takes the place of the kernel of the "
        "sample, and would be the plain network": config.inject == "film" and config.factors == ("sample",),
        "dcsd.inject norm needs the factor domain (dcsd.factors)": config.inject == "norm"
        and "domain" not in config.factors,
        "dcsd.camera_shrinkage needs dcsd.context network or labels, and the factor camera": config.camera_shrinkage > 0
        and not (one_context and "camera" in config.factors),
        "dcsd.camera_shrinkage changes nothing with dcsd.inject norm, which is told the domain alone": (
            config.camera_shrinkage > 0 and config.inject == "norm"
        ),
        "dcsd.context_dropout needs the factor domain or camera (dcsd.factors): the sample alone is no context": (
            config.context_dropout > 0 and config.factors == ("sample",)
        ),
        "dcsd.context_stages needs the factor domain or camera (dcsd.factors): no stage is told the sample alone": (
            config.context_stages != () and config.factors == ("sample",)
        ),
        "dcsd.stop_gradient false changes nothing with dcsd.inject norm, which is told the domain alone": (
            not config.stop_gradient and config.inject == "norm"
        ),
        "dcsd.stop_gradient false changes nothing with dcsd.context labels, whose vectors only the task trains": (
            not config.stop_gradient and config.context == "labels"
        ),
        "dcsd.context_held_out needs dcsd.stop_gradient true: the losses over identities would teach the context "
        "network held-out people, too": config.context_held_out > 0 and not config.stop_gradient,
        "dcsd.context_held_out needs dcsd.context network, and the factor domain or camera": config.context_held_out > 0
        and (config.context != "network" or config.factors == ("sample",)),
    }
    for message, applies in refused.items():
        if applies:
            raise JointreidError(message)


def filter_map(spatial: nn.Module, x: Tensor, context: Context | None = None) -> tuple[Tensor, FactorLogits | None]:
    """Apply a module of a `SpatialConvFactory` to [B, C, H, W]: (the filtered map, the factor logits of a DCSD).

    Args:
        spatial: the module.
        x: the map.
        context: what the trunk was given; a static convolution does not use it.
    """
    if isinstance(spatial, DCSD):
        return spatial(x, context)  # type: ignore[no-any-return]
    return spatial(x, context) if isinstance(spatial, ContextConv) else spatial(x), None


def require_stride(last_stride: int) -> None:
    """Refuse a stride of the last stage other than 1 and 2.

    Raises:
        JointreidError: the message names it.
    """
    if last_stride not in (1, 2):
        raise JointreidError(f"last_stride is {last_stride}; expected 1 or 2")
