"""Count the parameters and multiply-adds of a network's parts, from a forward pass on the meta device.

Shapes only, no arithmetic, no memory. One multiply-add counts as one; convolutions, fully connected layers and the
generated convolution count, normalisation and additions do not.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from jointreid.models.agw import NonLocal
from jointreid.models.dcsd import DCSD, SpatialBranch

# Name of the spatial convolution of a block: in ResNets the 3x3, elsewhere the depthwise one.
SPATIAL = re.compile(r"trunk\..*\.(conv2|conv_dw)")

IDENTITY_CLASSIFIER = "identity classifier"
# Pattern of a module's name in the network -> the part it is counted in; the first pattern that fits is used.
PARTS = (
    (r"context\.(domain|camera)\.classifier", "domain and camera classifiers"),
    (r"context(\..*)?", "context network"),
    (r"trunk\.(conv1|conv_stem|stem\.0)", "stem"),
    (r".*\.(bn\d|layer\d\.\d+\.downsample\.1|stem\.1|stages\.\d\.downsample\.0|blocks\.\d+\.norm)", "norm"),
    (r".*\.(conv\d|conv_\w+|layer\d\.\d+\.downsample\.0|stages\.\d\.downsample\.1)", "static convolutions"),
    (r".*\.mlp\.fc\d", "fully connected layers"),
    (r"trunk\.stages\.\d\.blocks\.\d+", "layer scales"),
    (r".*\.spatial_branch(\.conv)?", "spatial branches"),
    (r".*\.channel_branch\.fc\d", "channel branches"),
    (r".*\.channel_branch\.norm", "channel spreads"),
    (r".*\.projection", "context projections"),
    (r".*\.domain_norm", "norms by domain"),
    (r".*\.(domain|camera)\.fc\d", "domain and camera MLPs"),
    (r".*\.(domain|camera)\.classifier", "domain and camera classifiers"),
    (r".*\.non_local(\.\w+)?", "non-local blocks"),
    (r".*\.sum_norm", "instance norms of DualNorm"),
    (r"trunk\.snr\..*", "SNR modules"),
    (r"pool", "pooling"),
    (r"bnneck", "BNNeck"),
    (r"fc", "fc"),
    (r"classifier", IDENTITY_CLASSIFIER),
)


@dataclass(frozen=True)
class Count:
    """Parameters, and multiply-adds for one image."""

    params: int
    macs: int

    def __add__(self, other: "Count") -> "Count":
        return Count(self.params + other.params, self.macs + other.macs)


@dataclass(frozen=True)
class BlockCount:
    """The spatial convolutions, static or generated, that share a width and a size.

    Attributes:
        width: channels.
        kernel_size: side of the kernels.
        modules: how many there are.
        params: of one of them.
        macs: of all of them, for one image.
    """

    width: int
    kernel_size: int
    modules: int
    params: int
    macs: int


class ModuleCall(NamedTuple):
    """A call of one module in a forward pass."""

    name: str
    module: nn.Module
    inputs: tuple[Any, ...]
    output: Any


def trace(network: nn.Module, size: tuple[int, int]) -> list[ModuleCall]:
    """Return every call of a forward pass on one image."""
    calls: list[ModuleCall] = []

    def listen(name: str, module: nn.Module) -> RemovableHandle:
        return module.register_forward_hook(lambda *call: calls.append(ModuleCall(name, *call)))

    hooks = [listen(name, module) for name, module in network.named_modules()]
    with torch.no_grad():
        network.eval()(torch.empty(1, 3, *size, device="meta"))
    for hook in hooks:
        hook.remove()
    return calls


def _macs(call: ModuleCall) -> int:
    """Return a module's multiply-adds without those of its children."""
    match call.module:
        case nn.Conv2d() as conv:
            height, width = call.output.shape[2:]
            return conv.weight.numel() * int(height) * int(width)
        case nn.Linear() as linear:
            return linear.weight.numel() * (int(call.output.numel()) // linear.out_features)
        case SpatialBranch() as branch:  # its weights are also applied to the context vector
            context = call.inputs[1]
            return 0 if context is None else branch.conv.weight.numel()
        case DCSD() as dcsd:  # K*K taps at every channel and position, which those of a depthwise base are added to
            y, _ = call.output
            taps = dcsd.spatial_branch.conv.out_channels
            dense = 0 if dcsd.weight is None else dcsd.weight.shape[1]
            return taps * int(y.numel()) * (1 + (dense if dense > 1 else 0))
        case NonLocal() as block:  # its two products, inner x N x inner each
            return 2 * block.g.out_channels**2 * int(math.prod(call.output.shape[2:]))
        case _:
            return 0


def _part(name: str, module: nn.Module) -> str:
    """Return the part of the network in which a module's parameters and multiply-adds are counted."""
    if isinstance(module, DCSD):
        return "operator" if module.weight is None else "operator and static kernels"
    return next((part for pattern, part in PARTS if re.fullmatch(pattern, name)), "other")


def count_macs(network: nn.Module, size: tuple[int, int]) -> Counter[str]:
    """Return the multiply-adds for one image of height and width `size`, by module name, without those of children."""
    macs: Counter[str] = Counter()
    for call in trace(network, size):
        macs[call.name] += _macs(call)
    return macs


def count_parts(network: nn.Module, macs: Mapping[str, int]) -> dict[str, Count]:
    """Return the cost of each part of a network, without its identity classifier; `macs` is by module name."""
    parts: dict[str, Count] = {}
    for name, module in network.named_modules():
        params = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        module_macs = macs.get(name, 0)
        if params or module_macs:
            part = _part(name, module)
            parts[part] = parts.get(part, Count(0, 0)) + Count(params, module_macs)
    parts.pop(IDENTITY_CLASSIFIER, None)
    return parts


def count_blocks(network: nn.Module, macs: Mapping[str, int]) -> tuple[BlockCount, ...]:
    """Return the cost of the spatial convolutions of each width and size; `macs` is by module name."""
    counts: dict[tuple[int, int], BlockCount] = {}
    for name, module in network.named_modules():
        if SPATIAL.fullmatch(name):
            channels, kernel_size = _shape(module)
            params = sum(parameter.numel() for parameter in module.parameters())
            module_macs = sum(n for inner, n in macs.items() if f"{inner}.".startswith(f"{name}."))
            before = counts.get((channels, kernel_size), BlockCount(channels, kernel_size, 0, params, 0))
            after = replace(before, modules=before.modules + 1, macs=before.macs + module_macs)
            counts[channels, kernel_size] = after
    return tuple(counts.values())


def _shape(module: nn.Module) -> tuple[int, int]:
    """Return the channels and the kernel's side of a spatial convolution."""
    if isinstance(module, DCSD):
        channels, taps = module.channel_branch.kernels
        return channels, math.isqrt(taps)
    assert isinstance(module, nn.Conv2d)
    return module.out_channels, module.kernel_size[0]
