"""The two operators that DCSD is made of: `dynamic_filter` and `filter_norm` (section III-A, Fig. 4).

Each is one `torch.library` custom op: it saves only its inputs for backward, compiles without a graph break and
works on fake and meta tensors. `_kernels` picks the implementation; the references of `dynamic_filter_reference`, which
can also be imported from here, are the specification, and run on devices without a kernel.

Legend: B batch, C channels, H W input, H' W' output, K kernel size, T = K*K taps, tap t = u*K + v.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jointreid.messages.errors import JointreidError
from jointreid.models.dynamic_filter_checks import check_dynamic_filter, check_filter_norm
from jointreid.models.dynamic_filter_layout import is_channels_last
from jointreid.models.dynamic_filter_reference import (
    dynamic_filter_backward_reference as dynamic_filter_backward_reference,
)
from jointreid.models.dynamic_filter_reference import dynamic_filter_reference as dynamic_filter_reference
from jointreid.models.dynamic_filter_reference import filter_norm_backward_reference as filter_norm_backward_reference
from jointreid.models.dynamic_filter_reference import filter_norm_reference as filter_norm_reference


def dynamic_filter(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int = 1,
    dilation: int = 1,
    *,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> Tensor:
    """Depthwise convolution whose K x K kernel at each (channel, position) is the product of two given ones.

    y[b, c, p] = sum_t spatial[b, t, p] * channel[b, c, t] * x[b, c, stride*p + off(t)] with
    off(u*K + v) = ((u - (K-1)/2) * dilation, (v - (K-1)/2) * dilation). Like `F.conv2d` with padding
    (K-1)/2 * dilation: zeros outside x, no kernel flip, odd sizes round up.

    With `base` and `gain` the kernel is base[c, t] + gain[c] * spatial[b, t, p] * channel[b, c, t]: that of a static
    depthwise convolution and a generated part beside it. Where every gain is 0, y is
    `F.conv2d(x, base, groups=C)` up to the order of its sums.

    Args:
        x: input [B, C, H, W] in any memory format.
        spatial: [B, K*K, H', W'] with H' = ceil(H / stride) and W' alike; K odd.
        channel: [B, C, K*K].
        stride: step between outputs in pixels, >= 1.
        dilation: step between taps in pixels, >= 1.
        base: static kernel of each channel [C, K*K], given together with `gain` or not at all.
        gain: factor on the generated kernel of each channel [C].

    Returns:
        [B, C, H', W'] in the dtype of x, channels-last if x is. The other arguments may have any floating dtype:
        products and sums are taken in float64 for float64 x and in float32 otherwise, also under autocast.

    Raises:
        JointreidError: a shape, dtype or device does not fit; the message names the argument. A second derivative is
            asked for: only `dynamic_filter_reference` has one.
    """
    y: Tensor = _dynamic_filter_op(x, spatial, channel, stride, dilation, base, gain)
    return y


def dynamic_filter_sum(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int = 1,
    dilation: int = 1,
    *,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> Tensor:
    """`dynamic_filter` with the sum of the two given kernels instead of their product.

    A sum of kernels is a sum of convolutions: one with kernels that all channels share (and the base), one with kernels
    that all positions share.
    """
    ones = torch.ones_like(channel)
    shared_by_channels = dynamic_filter(x, spatial, ones, stride, dilation, base=base, gain=gain)
    if gain is not None:
        channel = channel * gain[:, None]
    shared_by_positions = dynamic_filter(x, torch.ones_like(spatial), channel, stride, dilation)
    return shared_by_channels + shared_by_positions


def filter_norm(raw: Tensor, dim: int, std: float | Tensor, eps: float = 1e-10) -> Tensor:
    """Normalise each group of taps: (raw - mean) / (unbiased standard deviation + eps) * std, taken along `dim`.

    Without `std` the squares of a group of T taps sum to T - 1. An all-zero group gives 0 with a finite, though large
    (1 / eps), gradient; a constant group gives rounding noise divided by eps. So generators must not start at zero.

    Args:
        raw: generated filter values of any shape, in any memory format.
        dim: the dimension that holds the K*K taps: -1 for the channel filter [B, C, K*K], 1 for the spatial filter
            [B, K*K, H', W'].
        std: the target standard deviation: a number, or a (learnable) tensor that broadcasts to raw, such as
            [C, K*K] for the channel filter.
        eps: keeps the division finite, 1.18e-38 or more. In float16 1e-10 would be 0, so nothing is computed there.

    Returns:
        The shape of raw, channels-last if raw is, in float64 for float64 raw and in float32 otherwise, also under
        autocast.

    Raises:
        JointreidError: fewer than two taps (the deviation of one value is undefined), an eps that is 0 or nearly
            0, a std that does not broadcast, or a second derivative is asked for.
    """
    if not isinstance(std, Tensor):
        std = raw.new_full((), std, dtype=torch.promote_types(raw.dtype, torch.float32))
    normed: Tensor = _filter_norm_op(raw, dim, std, eps)
    return normed


# Which implementation runs


class Kernels(NamedTuple):
    """One implementation. It gets checked arguments; results may have any layout, in the precision it computed in."""

    dynamic_filter: Callable[[Tensor, Tensor, Tensor, int, int, Tensor | None, Tensor | None], Tensor]
    dynamic_filter_backward: Callable[
        [Tensor, Tensor, Tensor, Tensor, int, int, Tensor | None, Tensor | None], tuple[Tensor, ...]
    ]
    filter_norm: Callable[[Tensor, int, Tensor, float], Tensor]
    filter_norm_backward: Callable[[Tensor, Tensor, int, Tensor, float], tuple[Tensor, Tensor]]


def _kernels(device: torch.device) -> Kernels:
    if device.type == "cpu":
        from jointreid.models import (
            dynamic_filter_numba as filters,  # here, because importing numba takes more than a second
        )
        from jointreid.models import filter_norm_numba as norms

        return Kernels(
            filters.dynamic_filter, filters.dynamic_filter_backward, norms.filter_norm, norms.filter_norm_backward
        )
    if device.type == "cuda" and find_spec("triton"):  # it comes with PyTorch's builds for GPUs on Linux
        return triton_kernels()
    return Kernels(
        dynamic_filter_reference,
        dynamic_filter_backward_reference,
        filter_norm_reference,
        filter_norm_backward_reference,
    )


def triton_kernels() -> Kernels:
    """The kernels of a GPU; with TRITON_INTERPRET=1 set before Triton is loaded they also take tensors of a CPU."""
    from jointreid.models import dynamic_filter_triton as filters  # here, because both import Triton
    from jointreid.models import filter_norm_triton as norms

    return Kernels(
        filters.dynamic_filter, filters.dynamic_filter_backward, norms.filter_norm, norms.filter_norm_backward
    )


def _memory_format(like: Tensor) -> torch.memory_format:
    return torch.channels_last if is_channels_last(like) else torch.contiguous_format


def _empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, device=like.device, memory_format=_memory_format(like))


def _finish(result: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the result in the dtype and layout that `_empty` declares to the compiler."""
    return result.to(dtype).contiguous(memory_format=_memory_format(like))


# dynamic_filter as a custom op


@torch.library.custom_op("jointreid::dynamic_filter", mutates_args=())
def _dynamic_filter_op(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int,
    dilation: int,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> Tensor:
    check_dynamic_filter(x, spatial, channel, stride, dilation, base, gain)
    result = _kernels(x.device).dynamic_filter(x, spatial, channel, stride, dilation, base, gain)
    return _finish(result, x, x.dtype)


@_dynamic_filter_op.register_fake
def _(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int,
    dilation: int,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> Tensor:
    check_dynamic_filter(x, spatial, channel, stride, dilation, base, gain)
    return _empty((*x.shape[:2], *spatial.shape[2:]), x, x.dtype)


@torch.library.custom_op("jointreid::dynamic_filter_backward", mutates_args=())
def _dynamic_filter_backward_op(
    grad: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int,
    dilation: int,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> list[Tensor]:
    gradients = _kernels(x.device).dynamic_filter_backward(grad, x, spatial, channel, stride, dilation, base, gain)
    inputs = _given(x, spatial, channel, base, gain)
    return [_finish(gradient, t, t.dtype) for gradient, t in zip(gradients, inputs, strict=True)]


@_dynamic_filter_backward_op.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int,
    dilation: int,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> list[Tensor]:
    return [_empty(t.shape, t, t.dtype) for t in _given(x, spatial, channel, base, gain)]


def _given(*tensors: Tensor | None) -> list[Tensor]:
    return [t for t in tensors if t is not None]


def _save_dynamic_filter_inputs(
    ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int, int, Tensor | None, Tensor | None], output: Tensor
) -> None:
    x, spatial, channel, ctx.stride, ctx.dilation, base, gain = inputs
    ctx.save_for_backward(x, spatial, channel, base, gain)


def _differentiate_dynamic_filter(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, spatial, channel, base, gain = ctx.saved_tensors
    gradients = _dynamic_filter_backward_op(grad, x, spatial, channel, ctx.stride, ctx.dilation, base, gain)
    grad_x, grad_spatial, grad_channel, *of_base = gradients
    return grad_x, grad_spatial, grad_channel, None, None, *(of_base or (None, None))


_dynamic_filter_op.register_autograd(_differentiate_dynamic_filter, setup_context=_save_dynamic_filter_inputs)


# filter_norm as a custom op


@torch.library.custom_op("jointreid::filter_norm", mutates_args=())
def _filter_norm_op(raw: Tensor, dim: int, std: Tensor, eps: float) -> Tensor:
    check_filter_norm(raw, dim, std, eps)
    result = _kernels(raw.device).filter_norm(raw, dim, std, eps)
    return _finish(result, raw, torch.promote_types(raw.dtype, torch.float32))


@_filter_norm_op.register_fake
def _(raw: Tensor, dim: int, std: Tensor, eps: float) -> Tensor:
    check_filter_norm(raw, dim, std, eps)
    return _empty(raw.shape, raw, torch.promote_types(raw.dtype, torch.float32))


@torch.library.custom_op("jointreid::filter_norm_backward", mutates_args=())
def _filter_norm_backward_op(grad: Tensor, raw: Tensor, dim: int, std: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    grad_raw, grad_std = _kernels(raw.device).filter_norm_backward(grad, raw, dim, std, eps)
    return _finish(grad_raw, raw, raw.dtype), _finish(grad_std, std, std.dtype)


@_filter_norm_backward_op.register_fake
def _(grad: Tensor, raw: Tensor, dim: int, std: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return _empty(raw.shape, raw, raw.dtype), _empty(std.shape, std, std.dtype)


def _save_filter_norm_inputs(ctx: Any, inputs: tuple[Tensor, int, Tensor, float], output: Tensor) -> None:
    raw, ctx.dim, std, ctx.eps = inputs
    ctx.save_for_backward(raw, std)


def _differentiate_filter_norm(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, None]:
    raw, std = ctx.saved_tensors
    grad_raw, grad_std = _filter_norm_backward_op(grad, raw, ctx.dim, std, ctx.eps)
    return grad_raw, None, grad_std, None


_filter_norm_op.register_autograd(_differentiate_filter_norm, setup_context=_save_filter_norm_inputs)


def _refuse_second_derivative(ctx: Any, *grads: Tensor) -> None:
    raise JointreidError(
        "dynamic_filter and filter_norm have no second derivative, and one was asked for (create_graph=True). "
        "Use dynamic_filter_reference and filter_norm_reference, which are plain PyTorch."
    )


_dynamic_filter_backward_op.register_autograd(_refuse_second_derivative)
_filter_norm_backward_op.register_autograd(_refuse_second_derivative)
