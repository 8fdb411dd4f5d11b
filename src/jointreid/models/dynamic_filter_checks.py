"""Checks of the arguments of the operators in `dynamic_filter`; each error names the tensor."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from jointreid.messages.errors import JointreidError

SMALLEST_EPS = torch.finfo(torch.float32).tiny  # what is less is 0 in float32, or has no finite inverse there


def _check_tensors(op: str, **tensors: Tensor) -> None:
    first_name, first = next(iter(tensors.items()))
    for name, t in tensors.items():
        if not t.is_floating_point():
            raise JointreidError(f"{op}: {name} has dtype {t.dtype}; expected a floating dtype")
        if t.device != first.device:
            raise JointreidError(f"{op}: {name} is on {t.device}, {first_name} on {first.device}; move one of them")


def check_dynamic_filter(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int,
    dilation: int,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> None:
    """Check the arguments of `dynamic_filter`.

    Raises:
        JointreidError: a shape, dtype, device, stride or dilation does not fit, or only one of base and gain is given;
            names it and what was expected.
    """
    if (base is None) != (gain is None):
        missing, given = ("base", "gain") if base is None else ("gain", "base")
        raise JointreidError(f"dynamic_filter: {given} is given without {missing}; give both or neither")
    static = {} if base is None or gain is None else {"base": base, "gain": gain}
    _check_tensors("dynamic_filter", x=x, spatial=spatial, channel=channel, **static)
    if stride < 1 or dilation < 1:
        raise JointreidError(f"dynamic_filter: stride is {stride}, dilation {dilation}; expected whole numbers >= 1")
    if x.ndim != 4:
        raise JointreidError(f"dynamic_filter: x has shape {tuple(x.shape)}; expected [B, C, H, W]")
    batch, channels, height, width = x.shape
    taps = channel.shape[-1] if channel.ndim else 0
    if math.isqrt(taps) ** 2 != taps or taps % 2 == 0 or channel.shape != (batch, channels, taps):
        raise JointreidError(
            f"dynamic_filter: channel has shape {tuple(channel.shape)}; expected [{batch}, {channels}, K*K] with K odd "
            f"for x {tuple(x.shape)}"
        )
    expected = (batch, taps, (height - 1) // stride + 1, (width - 1) // stride + 1)
    if spatial.shape != expected:
        raise JointreidError(
            f"dynamic_filter: spatial has shape {tuple(spatial.shape)}; expected {list(expected)} for "
            f"x {tuple(x.shape)}, {taps} taps and stride {stride}"
        )
    for name, t in static.items():
        wanted = (channels, taps) if name == "base" else (channels,)
        if t.shape != wanted:
            raise JointreidError(
                f"dynamic_filter: {name} has shape {tuple(t.shape)}; expected {list(wanted)} for "
                f"channel {tuple(channel.shape)}"
            )


def check_filter_norm(raw: Tensor, dim: int, std: float | Tensor, eps: float) -> None:
    """Check the arguments of `filter_norm`.

    Raises:
        JointreidError: a shape, dtype, device, dimension or eps does not fit; names it and what was expected.
    """
    _check_tensors("filter_norm", raw=raw, **({"std": std} if isinstance(std, Tensor) else {}))
    if not -raw.ndim <= dim < raw.ndim:
        raise JointreidError(f"filter_norm: dim is {dim}, but raw has shape {tuple(raw.shape)}")
    if raw.shape[dim] < 2:
        raise JointreidError(
            f"filter_norm: raw {tuple(raw.shape)} has {raw.shape[dim]} tap along dim {dim}; the standard deviation "
            "needs at least two: a kernel size of 1 cannot be normalised"
        )
    if not eps >= SMALLEST_EPS:
        raise JointreidError(f"filter_norm: eps is {eps}; expected 1.18e-38 or more, so that 1 / eps is finite")
    if isinstance(std, Tensor) and not _broadcasts_to(std.shape, raw.shape):
        raise JointreidError(f"filter_norm: std {tuple(std.shape)} does not broadcast to raw {tuple(raw.shape)}")


def _broadcasts_to(shape: Sequence[int], target: Sequence[int]) -> bool:
    return len(shape) <= len(target) and all(
        size in (1, wanted) for size, wanted in zip(reversed(shape), reversed(target), strict=False)
    )
