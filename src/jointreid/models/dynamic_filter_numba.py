"""The CPU kernels of `dynamic_filter`, compiled by numba: the functions around their loops.

Everything works channels-last and in one precision, float32 or float64: the innermost loops run over contiguous
channels and become SIMD code. Callers check shapes first: compiled loops do not check bounds. All loops are those of an
operator on a base, which costs them next to nothing; without one it is 0.

Every loop is split into pieces by the shapes alone, never by the number of threads, and no two pieces write to the same
place: there are no races, and sums have the same order for any number of threads.

Legend: B batch, C channels, H W input, H' W' output, K kernel size, T = K*K taps, S partial sums.
Arrays: x [B, H, W, C], spatial [B, H', W', T], channel [B, T, C] times the gain, and their gradients alike;
base [T, C].
"""

import torch
from torch import Tensor

from jointreid.machine.numba_kernel import count_bands
from jointreid.models import dynamic_filter_loops_numba as loops
from jointreid.models import dynamic_filter_sums_numba as sums


def _channels_last(t: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, C, H, W] -> contiguous [B, H, W, C]; a view where `t` is channels-last and of that dtype."""
    return t.detach().to(dtype).permute(0, 2, 3, 1).contiguous()


def _partial_sums(channel: Tensor, rows: int) -> Tensor:
    """Empty [B, S, T, C] for the gradient of `channel` [B, T, C]."""
    batch = channel.shape[0]
    return channel.new_empty(batch, count_bands(batch, rows), *channel.shape[1:])


def _filters(
    channel: Tensor, base: Tensor | None, gain: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Contiguous channel [B, C, T] and gain [C], and taps first channel times the gain [B, T, C] and base [T, C].

    Without a base it is 0, and the gain 1.
    """
    base = channel.new_zeros(channel.shape[1:]) if base is None else base
    gain = channel.new_ones(channel.shape[1]) if gain is None else gain
    channel, base, gain = (t.detach().to(dtype).contiguous() for t in (channel, base, gain))
    batch, channels, taps = channel.shape
    scaled, static = channel.new_empty(batch, taps, channels), base.new_empty(taps, channels)
    loops.put_taps_first(*(t.numpy() for t in (channel, gain, base, scaled, static)))
    return channel, gain, scaled, static


def dynamic_filter(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int,
    dilation: int,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> Tensor:
    """The operator on checked CPU tensors; see `jointreid.models.dynamic_filter.dynamic_filter`."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    x, spatial = _channels_last(x, dtype), _channels_last(spatial, dtype)
    *_, scaled, static = _filters(channel, base, gain, dtype)
    out = x.new_empty(*spatial.shape[:3], x.shape[3])
    loops.forward(x.numpy(), spatial.numpy(), scaled.numpy(), static.numpy(), stride, dilation, out.numpy())
    return out.permute(0, 3, 1, 2)


def dynamic_filter_backward(
    grad: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int,
    dilation: int,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gradients of x, spatial and channel, and of base and gain where they are given, for `grad` [B, C, H', W']."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    grad, x, spatial = (_channels_last(t, dtype) for t in (grad, x, spatial))
    channel, factors, scaled, static = _filters(channel, base, gain, dtype)
    grad_, x_, spatial_, scaled_ = (t.numpy() for t in (grad, x, spatial, scaled))
    grad_x, grad_spatial = torch.empty_like(x), torch.empty_like(spatial)
    loops.backward_x(grad_, spatial_, scaled_, static.numpy(), stride, dilation, grad_x.numpy())
    of_scaled = _partial_sums(scaled, spatial.shape[1])
    partial = of_scaled.numpy(), torch.empty_like(of_scaled).numpy()
    sums.backward_filters(grad_, x_, spatial_, scaled_, stride, dilation, grad_spatial.numpy(), *partial)
    of_channel = torch.empty_like(channel)
    of_base, of_gain = (torch.empty_like(t, dtype=torch.float64) for t in (static, channel[:, :, 0]))
    sums.finish_filters(*partial, *(t.numpy() for t in (channel, factors, of_channel, of_base, of_gain)))
    found = grad_x.permute(0, 3, 1, 2), grad_spatial.permute(0, 3, 1, 2), of_channel
    return found if base is None or gain is None else (*found, of_base.T, of_gain.sum(0))
