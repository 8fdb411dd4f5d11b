"""All trunks by name, and the function that builds one."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from torch import nn

from jointreid.config import DcsdConfig
from jointreid.custom import custom_function, is_custom, require_known_or_custom
from jointreid.messages.errors import JointreidError
from jointreid.models.convnext import CONVNEXTS, ConvNeXt
from jointreid.models.mobilenet import MOBILENETS, MobileNet
from jointreid.models.resnet import PLAIN, RESNETS, Additions, ResNet, StemPool
from jointreid.models.trunk import SpatialConvFactory, Trunk, dcsd_conv, keep_context_to, static_conv

# Trunks whose spatial convolutions are depthwise: (factory of these, stride of the last stage) -> trunk.
DEPTHWISE: Mapping[str, Callable[[SpatialConvFactory, int], Trunk]] = {
    **{name: partial(MobileNet, stages) for name, stages in MOBILENETS.items()},
    **{name: partial(ConvNeXt, shape) for name, shape in CONVNEXTS.items()},
}
TRUNKS = (*RESNETS, *DEPTHWISE)


def build_trunk(
    name: str,
    dcsd: DcsdConfig | None = None,
    num_domains: int = 1,
    num_cameras: int = 1,
    *,
    width: int = 0,
    depthwise: bool = False,
    last_stride: int = 2,
    stem_relu: bool = True,
    stem_pool: StemPool = "pad",
    additions: Additions = PLAIN,
) -> Trunk:
    """Return a trunk with random weights.

    Args:
        name: one of `TRUNKS`, or a custom one, `module:function`. The function takes a factory of spatial
            convolutions, static or DCSDs, and the last stage's stride, and returns a `Trunk`.
        dcsd: put a DCSD of these settings in the place of every spatial convolution; None keeps them static.
        num_domains: classes of each DCSD's domain head.
        num_cameras: classes of each DCSD's camera head.
        width: of a ResNet, see `ResNetShape`; 0 for that of its name.
        depthwise: make every 3x3 of a ResNet depthwise.
        last_stride: stride of the last stage that has one, 1 or 2.
        stem_relu: see `ResNet`; the others have no such choice.
        stem_pool: see `ResNet`; the others have no such choice.
        additions: modules that a system adds to a ResNet.

    Raises:
        JointreidError: an unknown name (the message gives the nearest), a setting out of range, additions to a trunk
            other than a ResNet, or a custom function that returns something other than a `Trunk`.
    """
    require_known_or_custom("trunk", "trunk", name, TRUNKS)
    _require_place(name, additions)
    if (width or depthwise) and name not in RESNETS:
        raise JointreidError(f"trunk {name}: model.width and model.depthwise are settings of ResNets; leave them out")
    spatial = static_conv if dcsd is None else dcsd_conv(dcsd, num_domains, num_cameras)
    trunk: Trunk
    if is_custom(name):
        trunk = _custom_trunk(name, spatial, last_stride, needs_context=dcsd is not None and dcsd.needs_context)
    elif name in DEPTHWISE:
        trunk = DEPTHWISE[name](spatial, last_stride)
    else:
        shape = replace(RESNETS[name], width=width) if width else RESNETS[name]
        spatial = _depthwise(spatial) if depthwise else spatial
        trunk = ResNet(
            shape, spatial, last_stride=last_stride, stem_relu=stem_relu, stem_pool=stem_pool, additions=additions
        )
    if dcsd is not None and dcsd.context_stages:
        keep_context_to(trunk.all_stages(), dcsd.context_stages)
    return trunk


def _depthwise(factory: SpatialConvFactory) -> SpatialConvFactory:
    """Return the factory with a group for each channel."""

    def make(
        channels: int, stride: int, kernel_size: int = 3, *, dilation: int = 1, groups: int = 1, bias: bool = False
    ) -> nn.Module:
        return factory(channels, stride, kernel_size, dilation=dilation, groups=channels, bias=bias)

    return make


def _require_place(name: str, additions: Additions) -> None:
    """Refuse additions to a trunk that has no place for them.

    Raises:
        JointreidError: the trunk is not a ResNet; the message says what to use instead.
    """
    if additions == PLAIN or name in RESNETS:
        return
    which, rest = "this trunk", ""
    if is_custom(name):
        which, rest = "a custom trunk", ", and put what else it needs into the trunk itself"
    raise JointreidError(
        f"trunk {name}: this system adds blocks at places that only a ResNet has; use {which} with bot or "
        f"bot-dcsd{rest}"
    )


def _custom_trunk(name: str, spatial: SpatialConvFactory, last_stride: int, *, needs_context: bool) -> Trunk:
    trunk = custom_function("model.trunk", name)(spatial, last_stride)
    if not isinstance(trunk, Trunk) or not isinstance(getattr(trunk, "out_channels", None), int):
        raise JointreidError(
            f"trunk {name} returned {type(trunk).__name__}; expected a subclass of jointreid.models.trunk.Trunk with "
            "out_channels set"
        )
    if needs_context and "context" not in inspect.signature(trunk.forward).parameters:
        raise JointreidError(
            f"trunk {name}: its forward takes images alone, and with these settings of dcsd every block is told a "
            "context; let it take `context` too, and pass it to `filter_map(module, x, context)`"
        )
    return trunk
