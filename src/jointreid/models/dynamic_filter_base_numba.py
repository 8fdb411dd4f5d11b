"""CPU loops of `dynamic_filter` on a base: the kernel of a channel at a position is base + spatial * channel.

They are those of `dynamic_filter_numba` with one more number a channel and tap; the gain is in `channel` already. The
forward pass adds in the order of the taps, by fused multiply-adds, as PyTorch's depthwise convolutions do on x86: where
the generated part is 0, both give the same bits there.

Legend: B batch, C channels, H W input, H' W' output, K kernel size, T = K*K taps, S partial sums.
Arrays: x [B, H, W, C], spatial [B, H', W', T], channel [B, T, C], base [T, C], and their gradients alike.
"""

import numpy as np
from numba import prange

from jointreid.machine.numba_kernel import Array, Kernel, inlined

_IN_ORDER = {"contract", "nsz"}  # what numba may change in a sum: not the order of its terms


@inlined
def _kernel_size(taps: int) -> int:
    return int(np.sqrt(taps) + 0.5)


def _filter_row_loop(
    out: Array, weights: Array, channel: Array, base: Array, image: Array, row: int, stride: int, dilation: int
) -> None:
    """One output row [W', C] from weights [W', T] and image [H, W, C], `dilation` between taps."""
    height, width, channels = image.shape
    kernel_size = _kernel_size(channel.shape[0])
    half = kernel_size // 2
    for j in range(out.shape[0]):
        col = j * stride
        out[j] = 0
        for u in range(kernel_size):
            for v in range(kernel_size):
                r, q, t = row + (u - half) * dilation, col + (v - half) * dilation, u * kernel_size + v
                if 0 <= r < height and 0 <= q < width:
                    weight = weights[j, t]
                    for c in range(channels):
                        out[j, c] += (base[t, c] + weight * channel[t, c]) * image[r, q, c]


_filter_row = inlined(_filter_row_loop, fastmath=_IN_ORDER)


def _forward_loop(
    x: Array, spatial: Array, channel: Array, base: Array, stride: int, dilation: int, out: Array
) -> None:
    rows = out.shape[1]
    for k in prange(out.shape[0] * rows):
        b, i = k // rows, k % rows
        _filter_row(out[b, i], spatial[b, i], channel[b], base, x[b], i * stride, stride, dilation)


forward = Kernel(_forward_loop, fastmath=_IN_ORDER)


@inlined
def _scatter_to_row(
    grad_x: Array, spatial: Array, channel: Array, base: Array, grad: Array, row: int, stride: int, dilation: int
) -> None:
    """Gradient [W, C] of input row `row` at any stride: each output row that read it adds its share."""
    height, width, channels = grad.shape
    kernel_size = _kernel_size(channel.shape[0])
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
                        grad_x[q, c] += (base[t, c] + weight * channel[t, c]) * grad[i, j, c]


@Kernel
def backward_x(
    grad: Array, spatial: Array, channel: Array, base: Array, stride: int, dilation: int, grad_x: Array
) -> None:
    """Gradient of x: each row gathers from the outputs that read it."""
    rows = grad_x.shape[1]
    for k in prange(grad_x.shape[0] * rows):
        b, r = k // rows, k % rows
        _scatter_to_row(grad_x[b, r], spatial[b], channel[b], base, grad[b], r, stride, dilation)


@inlined
def _filter_gradients_of_row(
    grad_spatial: Array,
    grad_channel: Array,
    grad_base: Array,
    grad: Array,
    x: Array,
    spatial: Array,
    channel: Array,
    row: int,
    stride: int,
    dilation: int,
) -> None:
    """Set grad_spatial [W', T] of one output row and add to grad_channel and grad_base [T, C]; grad is [W', C]."""
    height, width, channels = x.shape
    kernel_size = _kernel_size(channel.shape[0])
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
                        grad_base[t, c] += product
                grad_spatial[j, t] = total


@Kernel
def backward_filters(
    grad: Array,
    x: Array,
    spatial: Array,
    channel: Array,
    stride: int,
    dilation: int,
    grad_spatial: Array,
    grad_channel: Array,
    grad_base: Array,
) -> None:
    """Set grad_spatial, and grad_channel and grad_base [B, S, T, C]: partial sums for each of S bands of rows."""
    rows, bands = grad.shape[1], grad_channel.shape[1]
    for k in prange(grad.shape[0] * bands):
        b, band = k // bands, k % bands
        of_channel, of_base = grad_channel[b, band], grad_base[b, band]
        of_channel[:] = 0
        of_base[:] = 0
        for i in range(rows * band // bands, rows * (band + 1) // bands):
            _filter_gradients_of_row(
                grad_spatial[b, i],
                of_channel,
                of_base,
                grad[b, i],
                x[b],
                spatial[b, i],
                channel[b],
                i * stride,
                stride,
                dilation,
            )
