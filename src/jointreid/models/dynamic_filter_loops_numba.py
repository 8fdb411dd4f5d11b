"""CPU loops of `dynamic_filter`: the kernel of a channel at a position is base + spatial * channel.

`channel` holds the gain already. So that the base takes little time, several positions share what was loaded once: for
3x3 windows of many channels in `dynamic_filter_3x3_numba`, here for others. The gradients of the filters are in
`dynamic_filter_sums_numba`.

The forward pass adds in the order of the taps, by fused multiply-adds, as PyTorch's depthwise convolutions do on x86:
where the generated part is 0, both give the same bits there.

Legend: B batch, C channels, H W input, H' W' output, K kernel size, T = K*K taps.
Arrays: x [B, H, W, C], spatial [B, H', W', T], channel [B, T, C], and their gradients alike; base [T, C].
"""

import functools

import numpy as np
from numba import prange

from jointreid.machine.numba_kernel import Array, Kernel, inlined
from jointreid.machine.numba_vectors import LINE_BYTES
from jointreid.models.dynamic_filter_3x3_numba import filter_row, spread_row

# Fuse products into sums, but keep the order of the terms. Without "nsz" the zero that a sum starts from stays: else
# the second product could be the one that is rounded alone.
_IN_ORDER = {"contract"}
_in_order = functools.partial(inlined, fastmath=_IN_ORDER)


@inlined
def kernel_size_of(taps: int) -> int:
    """K for K*K taps."""
    return int(np.sqrt(taps) + 0.5)


@Kernel
def put_taps_first(channel: Array, gain: Array, base: Array, scaled: Array, static: Array) -> None:
    """Set scaled [B, T, C] to channel [B, C, T] times gain [C], and static [T, C] to base [C, T]."""
    batch, channels, taps = channel.shape
    for b in prange(batch):
        for t in range(taps):
            for c in range(channels):
                scaled[b, t, c] = channel[b, c, t] * gain[c]
    for t in range(taps):
        for c in range(channels):
            static[t, c] = base[c, t]


@inlined
def _outputs_seeing(offset: int, stride: int, count: int, size: int) -> tuple[int, int]:
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
    out[:] = 0
    for u in range(kernel_size):
        r = row - reach + u * dilation
        if 0 <= r < height:
            for v in range(kernel_size):
                offset, t = v * dilation - reach, u * kernel_size + v
                first, last = _outputs_seeing(offset, stride, out.shape[0], width)
                _add_tap(out, 1, 0, image[r], stride, offset, weights, channel, base, t, first, last)


@inlined
def _fills_vectors(channel: Array) -> bool:
    """Whether the loops for 3x3 windows can take the filters [B, T, C]."""
    return bool(channel.shape[1] == 9 and channel.shape[2] * channel.itemsize >= LINE_BYTES)


def _forward(x: Array, spatial: Array, channel: Array, base: Array, stride: int, dilation: int, out: Array) -> None:
    rows, by_vectors = out.shape[1], _fills_vectors(channel)
    for k in prange(out.shape[0] * rows):
        b, i = k // rows, k % rows
        if by_vectors:
            filter_row(out, spatial, channel, base, x, b, i, stride, dilation, False)
        else:
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
            first, last = _outputs_seeing(offset, stride, grad.shape[1], grad_x.shape[0])
            _add_tap(grad_x, stride, offset, grad[i], 1, 0, spatial[i], channel, base, t, first, last)


@Kernel
def backward_x(
    grad: Array, spatial: Array, channel: Array, base: Array, stride: int, dilation: int, grad_x: Array
) -> None:
    """Gradient of x: each row gathers from the outputs that read it."""
    rows, by_vectors = grad_x.shape[1], _fills_vectors(channel)
    for k in prange(grad_x.shape[0] * rows):
        b, r = k // rows, k % rows
        if by_vectors and stride == 1:
            filter_row(grad_x, spatial, channel, base, grad, b, r, 1, dilation, True)
        elif by_vectors and stride == 2 and dilation == 1:
            spread_row(grad_x, spatial, channel, base, grad, b, r)
        else:
            _scatter_to_row(grad_x[b, r], spatial[b], channel[b], base, grad[b], r, stride, dilation)
