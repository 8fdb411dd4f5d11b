"""CPU loops of `dynamic_filter` on a base: the kernel of a channel at a position is base + spatial * channel.

`channel` holds the gain already. Beside the loops of `dynamic_filter_numba` there is one more number to load for each
channel and tap. So that this takes little time, loops over channels handle two positions at once and load what these
share once. The gradients of the filters are in `dynamic_filter_base_sums_numba`.

The forward pass adds in the order of the taps, by fused multiply-adds, as PyTorch's depthwise convolutions do on x86:
where the generated part is 0, both give the same bits there.

Legend: B batch, C channels, H W input, H' W' output, K kernel size, T = K*K taps.
Arrays: x [B, H, W, C], spatial [B, H', W', T], channel [B, T, C], and their gradients alike; base [T + 1, C] with zeros
in its last row.
"""

import functools

import numpy as np
from numba import prange

from jointreid.machine.numba_kernel import Array, Kernel, inlined

# Fuse products into sums, but keep the order of the terms. Without "nsz" the zero that a sum starts from stays: else
# the second product could be the one that is rounded alone.
_IN_ORDER = {"contract"}
_in_order = functools.partial(inlined, fastmath=_IN_ORDER)


@inlined
def kernel_size_of(taps: int) -> int:
    """K for K*K taps."""
    return int(np.sqrt(taps) + 0.5)


@_in_order
def _nine_taps(
    out: Array,
    weights: Array,
    channel: Array,
    base: Array,
    image: Array,
    j: int,
    row: int,
    col: int,
    dilation: int,
) -> None:
    """One output pixel out[j] from the 3x3 window around (row, col); outside the image it holds zeros.

    The taps outside get weight 0 and the last row of `base`, and look at the centre.
    """
    zero = out.dtype.type(0)
    up, down, left, right = row - dilation, row + dilation, col - dilation, col + dilation
    w0, w1, w2 = weights[j, 0], weights[j, 1], weights[j, 2]
    w3, w4, w5 = weights[j, 3], weights[j, 4], weights[j, 5]
    w6, w7, w8 = weights[j, 6], weights[j, 7], weights[j, 8]
    t0, t1, t2, t3, t5, t6, t7, t8 = 0, 1, 2, 3, 5, 6, 7, 8
    if up < 0:
        up, w0, w1, w2, t0, t1, t2 = row, zero, zero, zero, 9, 9, 9
    if down >= image.shape[0]:
        down, w6, w7, w8, t6, t7, t8 = row, zero, zero, zero, 9, 9, 9
    if left < 0:
        left, w0, w3, w6, t0, t3, t6 = col, zero, zero, zero, 9, 9, 9
    if right >= image.shape[1]:
        right, w2, w5, w8, t2, t5, t8 = col, zero, zero, zero, 9, 9, 9
    for c in range(out.shape[1]):
        out[j, c] = (
            zero
            + (base[t0, c] + w0 * channel[0, c]) * image[up, left, c]
            + (base[t1, c] + w1 * channel[1, c]) * image[up, col, c]
            + (base[t2, c] + w2 * channel[2, c]) * image[up, right, c]
            + (base[t3, c] + w3 * channel[3, c]) * image[row, left, c]
            + (base[4, c] + w4 * channel[4, c]) * image[row, col, c]
            + (base[t5, c] + w5 * channel[5, c]) * image[row, right, c]
            + (base[t6, c] + w6 * channel[6, c]) * image[down, left, c]
            + (base[t7, c] + w7 * channel[7, c]) * image[down, col, c]
            + (base[t8, c] + w8 * channel[8, c]) * image[down, right, c]
        )


@_in_order
def _nine_taps_twice(
    out: Array,
    weights: Array,
    channel: Array,
    base: Array,
    image: Array,
    j: int,
    row: int,
    col: int,
    stride: int,
    dilation: int,
) -> None:
    """Two output pixels out[j] and out[j + 1], whose windows lie inside the image."""
    up, down, left, right = row - dilation, row + dilation, col - dilation, col + dilation
    w0, w1, w2 = weights[j, 0], weights[j, 1], weights[j, 2]
    w3, w4, w5 = weights[j, 3], weights[j, 4], weights[j, 5]
    w6, w7, w8 = weights[j, 6], weights[j, 7], weights[j, 8]
    v0, v1, v2 = weights[j + 1, 0], weights[j + 1, 1], weights[j + 1, 2]
    v3, v4, v5 = weights[j + 1, 3], weights[j + 1, 4], weights[j + 1, 5]
    v6, v7, v8 = weights[j + 1, 6], weights[j + 1, 7], weights[j + 1, 8]
    zero = out.dtype.type(0)
    next_left, next_col, next_right = left + stride, col + stride, right + stride
    for c in range(out.shape[1]):
        first = second = zero
        b, k = base[0, c], channel[0, c]
        first += (b + w0 * k) * image[up, left, c]
        second += (b + v0 * k) * image[up, next_left, c]
        b, k = base[1, c], channel[1, c]
        first += (b + w1 * k) * image[up, col, c]
        second += (b + v1 * k) * image[up, next_col, c]
        b, k = base[2, c], channel[2, c]
        first += (b + w2 * k) * image[up, right, c]
        second += (b + v2 * k) * image[up, next_right, c]
        b, k = base[3, c], channel[3, c]
        first += (b + w3 * k) * image[row, left, c]
        second += (b + v3 * k) * image[row, next_left, c]
        b, k = base[4, c], channel[4, c]
        first += (b + w4 * k) * image[row, col, c]
        second += (b + v4 * k) * image[row, next_col, c]
        b, k = base[5, c], channel[5, c]
        first += (b + w5 * k) * image[row, right, c]
        second += (b + v5 * k) * image[row, next_right, c]
        b, k = base[6, c], channel[6, c]
        first += (b + w6 * k) * image[down, left, c]
        second += (b + v6 * k) * image[down, next_left, c]
        b, k = base[7, c], channel[7, c]
        first += (b + w7 * k) * image[down, col, c]
        second += (b + v7 * k) * image[down, next_col, c]
        b, k = base[8, c], channel[8, c]
        first += (b + w8 * k) * image[down, right, c]
        second += (b + v8 * k) * image[down, next_right, c]
        out[j, c] = first
        out[j + 1, c] = second


@inlined
def outputs_seeing(offset: int, stride: int, count: int, size: int) -> tuple[int, int]:
    """First and one past the last of `count` outputs whose tap at `offset` lies inside `size` columns of the input."""
    first = max(0, -(offset // stride))
    return first, max(first, min(count, (size - 1 - offset) // stride + 1))


@_in_order
def _add_tap(
    sums: Array,
    sum_step: int,
    sum_offset: int,
    values: Array,
    value_step: int,
    value_offset: int,
    weights: Array,
    channel: Array,
    base: Array,
    t: int,
    first: int,
    last: int,
) -> None:
    """Add tap t of outputs first to last - 1 of a row to sums [., C], from values [., C] and weights [W', T]."""
    j = first
    while j < last:
        at, of, weight = j * sum_step + sum_offset, j * value_step + value_offset, weights[j, t]
        if j + 1 < last:
            at_next, of_next, next_weight = at + sum_step, of + value_step, weights[j + 1, t]
            for c in range(sums.shape[1]):
                b, k = base[t, c], channel[t, c]
                one = sums[at, c] + (b + weight * k) * values[of, c]
                two = sums[at_next, c] + (b + next_weight * k) * values[of_next, c]
                sums[at, c] = one
                sums[at_next, c] = two
        else:
            for c in range(sums.shape[1]):
                sums[at, c] += (base[t, c] + weight * channel[t, c]) * values[of, c]
        j += 2


@_in_order
def _filter_row(
    out: Array, weights: Array, channel: Array, base: Array, image: Array, row: int, stride: int, dilation: int
) -> None:
    """One output row [W', C] from weights [W', T] and image [H, W, C], `dilation` between taps."""
    height, width = image.shape[:2]
    kernel_size = kernel_size_of(channel.shape[0])
    reach = kernel_size // 2 * dilation
    if kernel_size == 3:
        j, rows_inside = 0, row >= reach and row + reach < height
        while j < out.shape[0]:
            col = j * stride
            if rows_inside and col >= reach and j + 1 < out.shape[0] and col + stride + reach < width:
                _nine_taps_twice(out, weights, channel, base, image, j, row, col, stride, dilation)
                j += 2
            else:
                _nine_taps(out, weights, channel, base, image, j, row, col, dilation)
                j += 1
        return
    out[:] = 0
    for u in range(kernel_size):
        r = row - reach + u * dilation
        if 0 <= r < height:
            for v in range(kernel_size):
                offset, t = v * dilation - reach, u * kernel_size + v
                first, last = outputs_seeing(offset, stride, out.shape[0], width)
                _add_tap(out, 1, 0, image[r], stride, offset, weights, channel, base, t, first, last)


def _forward(x: Array, spatial: Array, channel: Array, base: Array, stride: int, dilation: int, out: Array) -> None:
    rows = out.shape[1]
    for k in prange(out.shape[0] * rows):
        b, i = k // rows, k % rows
        _filter_row(out[b, i], spatial[b, i], channel[b], base, x[b], i * stride, stride, dilation)


forward = Kernel(_forward, fastmath=_IN_ORDER)


@inlined
def _scatter_to_row(
    grad_x: Array, spatial: Array, channel: Array, base: Array, grad: Array, row: int, stride: int, dilation: int
) -> None:
    """Gradient [W, C] of input row `row` at any stride: each output row that read it adds its share."""
    kernel_size = kernel_size_of(channel.shape[0])
    reach = kernel_size // 2 * dilation
    grad_x[:] = 0
    for u in range(kernel_size):
        centre = row + reach - u * dilation
        i = centre // stride
        if centre % stride != 0 or i < 0 or i >= grad.shape[0]:
            continue
        for v in range(kernel_size):
            offset, t = v * dilation - reach, u * kernel_size + v
            first, last = outputs_seeing(offset, stride, grad.shape[1], grad_x.shape[0])
            _add_tap(grad_x, stride, offset, grad[i], 1, 0, spatial[i], channel, base, t, first, last)


@inlined
def _mirrored_weights(spatial: Array, row: int, dilation: int) -> Array:
    """Weights [W, T] that row `row` of x had in the outputs around it at stride 1; 0 where there is no such output."""
    height, width, taps = spatial.shape
    kernel_size = kernel_size_of(taps)
    reach = kernel_size // 2 * dilation
    weights = np.zeros((width, taps), spatial.dtype)
    for u in range(kernel_size):
        i = row - reach + u * dilation
        if 0 <= i < height:
            for v in range(kernel_size):
                t, offset = u * kernel_size + v, v * dilation - reach
                for q in range(max(0, -offset), min(width, width - offset)):
                    weights[q, t] = spatial[i, q + offset, taps - 1 - t]
    return weights


def _backward_x(
    grad: Array, spatial: Array, flipped_channel: Array, flipped_base: Array, dilation: int, grad_x: Array
) -> None:
    rows = grad_x.shape[1]
    for k in prange(grad_x.shape[0] * rows):
        b, r = k // rows, k % rows
        weights = _mirrored_weights(spatial[b], r, dilation)
        _filter_row(grad_x[b, r], weights, flipped_channel[b], flipped_base, grad[b], r, 1, dilation)


# Stride 1: the forward loop over `grad` with the window mirrored, so the taps of `channel` and `base` come in reverse.
backward_x = Kernel(_backward_x)


@Kernel
def backward_x_strided(
    grad: Array, spatial: Array, channel: Array, base: Array, stride: int, dilation: int, grad_x: Array
) -> None:
    """Gradient of x: each row gathers from the outputs that read it."""
    rows = grad_x.shape[1]
    for k in prange(grad_x.shape[0] * rows):
        b, r = k // rows, k % rows
        _scatter_to_row(grad_x[b, r], spatial[b], channel[b], base, grad[b], r, stride, dilation)
