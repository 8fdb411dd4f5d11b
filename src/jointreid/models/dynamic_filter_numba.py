"""CPU kernels of `dynamic_filter`, compiled by numba.

Everything here works channels-last and in one precision, float32 or float64: the innermost loop runs over contiguous
channels and becomes SIMD code. Callers check shapes first: compiled loops do not check bounds.

Every loop is split into pieces by the shapes alone, never by the number of threads, and no two pieces write to the same
place: there are no races, and sums have the same order for any number of threads.

Legend: B batch, C channels, H W input, H' W' output, K kernel size, T = K*K taps, S partial sums.
Arrays: x [B, H, W, C], spatial [B, H', W', T], channel [B, T, C], and their gradients alike.
"""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from jointreid.machine.numba_kernel import Array, Kernel, count_bands, inlined
from jointreid.models import dynamic_filter_base_numba as on_base
from jointreid.models import dynamic_filter_base_sums_numba as sums_on_base
from jointreid.models.dynamic_filter_base_numba import kernel_size_of

# Compiled loops


@inlined
def _nine_taps(
    out: Array, weights: Array, channel: Array, image: Array, j: int, row: int, col: int, dilation: int
) -> None:
    """One output pixel out[j] from the 3x3 window around (row, col); outside the image it holds zeros.

    Written out because one loop that stores each output once takes half the time of nine loops that add to it. At the
    border the taps outside get weight 0 and look at the centre, so that these pixels are no slower.
    """
    zero = out.dtype.type(0)
    up, down, left, right = row - dilation, row + dilation, col - dilation, col + dilation
    w0, w1, w2 = weights[j, 0], weights[j, 1], weights[j, 2]
    w3, w4, w5 = weights[j, 3], weights[j, 4], weights[j, 5]
    w6, w7, w8 = weights[j, 6], weights[j, 7], weights[j, 8]
    if up < 0:
        up, w0, w1, w2 = row, zero, zero, zero
    if down >= image.shape[0]:
        down, w6, w7, w8 = row, zero, zero, zero
    if left < 0:
        left, w0, w3, w6 = col, zero, zero, zero
    if right >= image.shape[1]:
        right, w2, w5, w8 = col, zero, zero, zero
    for c in range(out.shape[1]):
        out[j, c] = (
            w0 * channel[0, c] * image[up, left, c]
            + w1 * channel[1, c] * image[up, col, c]
            + w2 * channel[2, c] * image[up, right, c]
            + w3 * channel[3, c] * image[row, left, c]
            + w4 * channel[4, c] * image[row, col, c]
            + w5 * channel[5, c] * image[row, right, c]
            + w6 * channel[6, c] * image[down, left, c]
            + w7 * channel[7, c] * image[down, col, c]
            + w8 * channel[8, c] * image[down, right, c]
        )


@inlined
def _filter_row(out: Array, weights: Array, channel: Array, image: Array, row: int, stride: int, dilation: int) -> None:
    """One output row [W', C] from weights [W', T] and image [H, W, C], `dilation` between taps."""
    height, width, channels = image.shape
    kernel_size = kernel_size_of(channel.shape[0])
    half = kernel_size // 2
    for j in range(out.shape[0]):
        col = j * stride
        if kernel_size == 3:
            _nine_taps(out, weights, channel, image, j, row, col, dilation)
            continue
        out[j] = 0
        for u in range(kernel_size):
            for v in range(kernel_size):
                r, q, t = row + (u - half) * dilation, col + (v - half) * dilation, u * kernel_size + v
                if 0 <= r < height and 0 <= q < width:
                    weight = weights[j, t]
                    for c in range(channels):
                        out[j, c] += weight * channel[t, c] * image[r, q, c]


@Kernel
def _forward(x: Array, spatial: Array, channel: Array, stride: int, dilation: int, out: Array) -> None:
    rows = out.shape[1]
    for k in prange(out.shape[0] * rows):
        b, i = k // rows, k % rows
        _filter_row(out[b, i], spatial[b, i], channel[b], x[b], i * stride, stride, dilation)


@inlined
def _mirrored_weights(spatial: Array, row: int, dilation: int) -> Array:
    """Weights [W, T] that row `row` of x had in the outputs around it at stride 1; 0 where there is no such output."""
    height, width, taps = spatial.shape
    kernel_size = kernel_size_of(taps)
    half = kernel_size // 2
    weights = np.zeros((width, taps), spatial.dtype)
    for u in range(kernel_size):
        i = row + (u - half) * dilation
        if i < 0 or i >= height:
            continue
        for v in range(kernel_size):
            t, offset = u * kernel_size + v, (v - half) * dilation
            for q in range(max(0, -offset), min(width, width - offset)):
                weights[q, t] = spatial[i, q + offset, taps - 1 - t]
    return weights


@Kernel
def _backward_x(grad: Array, spatial: Array, flipped_channel: Array, dilation: int, grad_x: Array) -> None:
    """Stride 1: the forward loop over `grad` with the window mirrored, so the taps of `channel` come in reverse."""
    rows = grad_x.shape[1]
    for k in prange(grad_x.shape[0] * rows):
        b, r = k // rows, k % rows
        weights = _mirrored_weights(spatial[b], r, dilation)
        _filter_row(grad_x[b, r], weights, flipped_channel[b], grad[b], r, 1, dilation)


@inlined
def _scatter_to_row(
    grad_x: Array, spatial: Array, channel: Array, grad: Array, row: int, stride: int, dilation: int
) -> None:
    """Gradient [W, C] of input row `row` at any stride: each output row that read it adds its share."""
    height, width, channels = grad.shape
    kernel_size = kernel_size_of(channel.shape[0])
    half = kernel_size // 2
    grad_x[:] = 0
    for u in range(kernel_size):
        centre = row - (u - half) * dilation
        i = centre // stride
        if centre % stride != 0 or i < 0 or i >= height:
            continue
        for v in range(kernel_size):
            for j in range(width):
                q, t = j * stride + (v - half) * dilation, u * kernel_size + v
                if 0 <= q < grad_x.shape[0]:
                    weight = spatial[i, j, t]
                    for c in range(channels):
                        grad_x[q, c] += weight * channel[t, c] * grad[i, j, c]


@Kernel
def _backward_x_strided(grad: Array, spatial: Array, channel: Array, stride: int, dilation: int, grad_x: Array) -> None:
    rows = grad_x.shape[1]
    for k in prange(grad_x.shape[0] * rows):
        b, r = k // rows, k % rows
        _scatter_to_row(grad_x[b, r], spatial[b], channel[b], grad[b], r, stride, dilation)


@inlined
def _filter_gradients_of_row(
    grad_spatial: Array,
    grad_channel: Array,
    grad: Array,
    x: Array,
    spatial: Array,
    channel: Array,
    row: int,
    stride: int,
    dilation: int,
) -> None:
    """Set grad_spatial [W', T] of one output row and add to grad_channel [T, C]; grad [W', C], x [H, W, C]."""
    height, width, channels = x.shape
    kernel_size = kernel_size_of(channel.shape[0])
    half = kernel_size // 2
    for j in range(grad.shape[0]):
        for u in range(kernel_size):
            for v in range(kernel_size):
                r, q, t = row + (u - half) * dilation, j * stride + (v - half) * dilation, u * kernel_size + v
                total = grad.dtype.type(0)
                if 0 <= r < height and 0 <= q < width:
                    weight = spatial[j, t]
                    for c in range(channels):
                        product = grad[j, c] * x[r, q, c]
                        total += product * channel[t, c]
                        grad_channel[t, c] += weight * product
                grad_spatial[j, t] = total


@Kernel
def _backward_filters(
    grad: Array,
    x: Array,
    spatial: Array,
    channel: Array,
    stride: int,
    dilation: int,
    grad_spatial: Array,
    grad_channel: Array,
) -> None:
    """Set grad_spatial, and grad_channel [B, S, T, C]: a partial sum for each of S bands of output rows."""
    rows, bands = grad.shape[1], grad_channel.shape[1]
    for k in prange(grad.shape[0] * bands):
        b, band = k // bands, k % bands
        sums = grad_channel[b, band]
        sums[:] = 0
        for i in range(rows * band // bands, rows * (band + 1) // bands):
            _filter_gradients_of_row(
                grad_spatial[b, i], sums, grad[b, i], x[b], spatial[b, i], channel[b], i * stride, stride, dilation
            )


# The functions that `dynamic_filter.py` calls; results are in the precision of the computation


def _channels_last(t: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, C, H, W] -> contiguous [B, H, W, C]; a view where `t` is channels-last and of that dtype."""
    return t.detach().to(dtype).permute(0, 2, 3, 1).contiguous()


def _taps_first(channel: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, C, T] -> contiguous [B, T, C]."""
    return channel.detach().to(dtype).transpose(1, 2).contiguous()


def _partial_sums(channel: Tensor, rows: int) -> Tensor:
    """Empty [B, S, T, C] for the gradient of `channel` [B, T, C]."""
    batch = channel.shape[0]
    return channel.new_empty(batch, count_bands(batch, rows), *channel.shape[1:])


def _filters_on_base(
    channel: Tensor, base: Tensor, gain: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Contiguous channel [B, C, T] and gain [C], and taps first channel times the gain [B, T, C] and base [T, C]."""
    channel, base, gain = (t.detach().to(dtype).contiguous() for t in (channel, base, gain))
    batch, channels, taps = channel.shape
    scaled, static = channel.new_empty(batch, taps, channels), base.new_empty(taps, channels)
    on_base.put_taps_first(*(t.numpy() for t in (channel, gain, base, scaled, static)))
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
    out = x.new_empty(*spatial.shape[:3], x.shape[3])
    if base is None or gain is None:
        channel = _taps_first(channel, dtype)
        _forward(x.numpy(), spatial.numpy(), channel.numpy(), stride, dilation, out.numpy())
    else:
        *_, scaled, static = _filters_on_base(channel, base, gain, dtype)
        on_base.forward(x.numpy(), spatial.numpy(), scaled.numpy(), static.numpy(), stride, dilation, out.numpy())
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
    grad_x, grad_spatial = torch.empty_like(x), torch.empty_like(spatial)
    filters: tuple[Tensor, ...]
    if base is None or gain is None:
        channel = _taps_first(channel, dtype)
        grad_channel = _partial_sums(channel, spatial.shape[1])
        grad_, x_, spatial_, channel_ = (t.numpy() for t in (grad, x, spatial, channel))
        if stride == 1:
            _backward_x(grad_, spatial_, channel.flip(1).numpy(), dilation, grad_x.numpy())
        else:
            _backward_x_strided(grad_, spatial_, channel_, stride, dilation, grad_x.numpy())
        _backward_filters(grad_, x_, spatial_, channel_, stride, dilation, grad_spatial.numpy(), grad_channel.numpy())
        filters = (grad_channel.sum(1).transpose(1, 2),)
    else:
        channel, gain, scaled, static = _filters_on_base(channel, base, gain, dtype)
        grad_, x_, spatial_, scaled_ = (t.numpy() for t in (grad, x, spatial, scaled))
        on_base.backward_x(grad_, spatial_, scaled_, static.numpy(), stride, dilation, grad_x.numpy())
        grad_scaled = _partial_sums(scaled, spatial.shape[1])
        sums = grad_scaled.numpy(), torch.empty_like(grad_scaled).numpy()
        sums_on_base.backward_filters(grad_, x_, spatial_, scaled_, stride, dilation, grad_spatial.numpy(), *sums)
        of_channel = torch.empty_like(channel)
        of_base, of_gain = (torch.empty_like(t, dtype=torch.float64) for t in (static, channel[:, :, 0]))
        finished = (t.numpy() for t in (channel, gain, of_channel, of_base, of_gain))
        sums_on_base.finish_filters(*sums, *finished)
        filters = of_channel, of_base.T, of_gain.sum(0)
    return grad_x.permute(0, 3, 1, 2), grad_spatial.permute(0, 3, 1, 2), *filters
