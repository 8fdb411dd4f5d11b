"""CPU loops for the gradients of the filters of `dynamic_filter`: the sums over positions and channels.

Four positions are handled at once, so that the sum for the base, beside the one for `channel`, takes little time: the
sums over positions are loaded and stored once for all four.

Legend: B batch, C channels, H W input, H' W' output, T = K*K taps, S partial sums.
Arrays: x [B, H, W, C], spatial [B, H', W', T], channel [B, T, C] times the gain, and their gradients alike.
"""

from typing import Any

import numpy as np
from numba import prange

from jointreid.machine.numba_kernel import Array, Kernel, inlined
from jointreid.machine.numba_vectors import (
    LINE_BYTES,
    REGISTER_BYTES,
    fused,
    load,
    move,
    plus,
    pointer,
    read_ahead,
    spread,
    store,
    times,
    total,
    zeros,
)
from jointreid.models.dynamic_filter_loops_numba import kernel_size_of


@inlined
def _four_positions(
    grad: Any,
    g: int,
    step: int,
    x: tuple[Any, Any, Any, Any],
    weights: Any,
    w: int,
    w_step: int,
    channel: Any,
    of_channel: Any,
    of_base: Any,
    begin: int,
    end: int,
    lanes: int,
    zero: Any,
) -> Any:
    """Add one tap of four positions to the sums for the filters; return the sums over channels begin to end - 1."""
    w0, w1 = spread(weights, w, zero), spread(weights, w + w_step, zero)
    w2, w3 = spread(weights, w + 2 * w_step, zero), spread(weights, w + 3 * w_step, zero)
    s0 = s1 = s2 = s3 = zero
    for c in range(begin, end, lanes):
        k = load(channel, c, zero)
        p0 = times(load(grad, g + c, zero), load(x[0], c, zero))
        p1 = times(load(grad, g + step + c, zero), load(x[1], c, zero))
        p2 = times(load(grad, g + 2 * step + c, zero), load(x[2], c, zero))
        p3 = times(load(grad, g + 3 * step + c, zero), load(x[3], c, zero))
        s0, s1, s2, s3 = fused(p0, k, s0), fused(p1, k, s1), fused(p2, k, s2), fused(p3, k, s3)
        weighted = fused(p0, w0, load(of_channel, c, zero))
        weighted = fused(p3, w3, fused(p2, w2, fused(p1, w1, weighted)))
        store(weighted, of_channel, c)
        store(plus(load(of_base, c, zero), plus(plus(p0, p1), plus(p2, p3))), of_base, c)
    return total(s0), total(s1), total(s2), total(s3)


@inlined
def _one_position(
    grad: Any,
    g: int,
    x: Any,
    weights: Any,
    w: int,
    channel: Any,
    of_channel: Any,
    of_base: Any,
    begin: int,
    end: int,
    lanes: int,
    zero: Any,
) -> Any:
    """`_four_positions` for one."""
    weight, all_ = spread(weights, w, zero), zero
    for c in range(begin, end, lanes):
        p = times(load(grad, g + c, zero), load(x, c, zero))
        all_ = fused(p, load(channel, c, zero), all_)
        store(fused(p, weight, load(of_channel, c, zero)), of_channel, c)
        store(plus(load(of_base, c, zero), p), of_base, c)
    return total(all_)


@inlined
def _column(image: Any, q: int, width: int, channels: int, outside: Any) -> Any:
    """Where column q of a row begins."""
    return move(image, q * channels) if 0 <= q < width else outside


@inlined
def _add_tap(
    of_spatial: Any,
    of_channel: Any,
    of_base: Any,
    grad: Any,
    image: Any,
    outside: Any,
    weights: Any,
    channel: Any,
    shape: tuple[int, int, int],
    width: int,
    stride: int,
    offset: int,
    lanes: int,
    full: Any,
    one: Any,
) -> None:
    """Add one tap of one row of outputs to the sums; `shape` is [W', C, T], and `outside` holds C zeros.

    Channels that fill no vector of the size of `full` are added one by one.
    """
    cols, channels, taps = shape
    whole = channels // lanes * lanes
    j = 0
    while j < cols:
        g, w, q = j * channels, j * taps, j * stride + offset
        x = _column(image, q, width, channels, outside)
        if j + 4 <= cols:
            x1 = _column(image, q + stride, width, channels, outside)
            x2 = _column(image, q + 2 * stride, width, channels, outside)
            x3 = _column(image, q + 3 * stride, width, channels, outside)
            sums = _four_positions(
                grad,
                g,
                channels,
                (x, x1, x2, x3),
                weights,
                w,
                taps,
                channel,
                of_channel,
                of_base,
                0,
                whole,
                lanes,
                full,
            )
            if whole < channels:
                rest = _four_positions(
                    grad,
                    g,
                    channels,
                    (x, x1, x2, x3),
                    weights,
                    w,
                    taps,
                    channel,
                    of_channel,
                    of_base,
                    whole,
                    channels,
                    1,
                    one,
                )
                sums = sums[0] + rest[0], sums[1] + rest[1], sums[2] + rest[2], sums[3] + rest[3]
            of_spatial[w], of_spatial[w + taps] = sums[0], sums[1]
            of_spatial[w + 2 * taps], of_spatial[w + 3 * taps] = sums[2], sums[3]
            j += 4
        else:
            alone = _one_position(grad, g, x, weights, w, channel, of_channel, of_base, 0, whole, lanes, full)
            if whole < channels:
                alone += _one_position(grad, g, x, weights, w, channel, of_channel, of_base, whole, channels, 1, one)
            of_spatial[w] = alone
            j += 1


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
    rows, cols, channels = grad.shape[1:]
    height, width = x.shape[1:3]
    bands, taps = grad_channel.shape[1:3]
    kernel_size = kernel_size_of(taps)
    reach = kernel_size // 2 * dilation
    shape, lanes = (cols, channels, taps), REGISTER_BYTES // grad.itemsize
    full, one, nothing = zeros(grad, REGISTER_BYTES), zeros(grad, 0), np.zeros(channels, grad.dtype)
    line = LINE_BYTES // grad.itemsize
    of_share, x_share = (-(-cols * channels // (taps * line)) * line), (-(-width * channels // (taps * line)) * line)
    for part in prange(grad.shape[0] * bands):
        b, band = part // bands, part % bands
        first, last = rows * band // bands, rows * (band + 1) // bands
        grad_spatial[b, first:last] = 0
        grad_channel[b, band] = 0
        grad_base[b, band] = 0
        weights, of_spatial, of_image = pointer(spatial, b), pointer(grad_spatial, b), pointer(channel, b)
        of_channel = move(pointer(grad_channel, b), band * taps * channels)
        of_base = move(pointer(grad_base, b), band * taps * channels)
        of_outputs, image, outside = pointer(grad, b), pointer(x, b), pointer(nothing, 0)
        for i in range(first, last):
            for t in range(taps):
                # The rows that the next row of outputs is the first to read, with its gradient: a share of each.
                read_ahead(of_outputs, (i + 1) * cols * channels + t * of_share, of_share, line)
                for r in range(1, stride + 1):
                    read_ahead(image, (i * stride + reach + r) * width * channels + t * x_share, x_share, line)
                row = i * stride - reach + t // kernel_size * dilation
                if 0 <= row < height:
                    _add_tap(
                        move(of_spatial, i * cols * taps + t),
                        move(of_channel, t * channels),
                        move(of_base, t * channels),
                        move(of_outputs, i * cols * channels),
                        move(image, row * width * channels),
                        outside,
                        move(weights, i * cols * taps + t),
                        move(of_image, t * channels),
                        shape,
                        width,
                        stride,
                        t % kernel_size * dilation - reach,
                        lanes,
                        full,
                        one,
                    )


@Kernel
def finish_filters(
    grad_channel: Array,
    grad_base: Array,
    channel: Array,
    gain: Array,
    of_channel: Array,
    of_base: Array,
    of_gain: Array,
) -> None:
    """Set the gradients of channel [B, C, T], base [T, C] and, for each image, gain [B, C] from the partial sums.

    The last two are float64, for they are summed over the whole batch. Sums over bands are left in the first band.
    """
    batch, bands, taps, channels = grad_channel.shape
    for t in prange(taps):
        of_base[t] = 0
        for b in range(batch):
            for s in range(bands):
                for c in range(channels):
                    of_base[t, c] += grad_base[b, s, t, c]
            for s in range(1, bands):
                for c in range(channels):
                    grad_channel[b, 0, t, c] += grad_channel[b, s, t, c]
    for b in prange(batch):
        for c in range(channels):
            of_image, factor = np.float64(0), gain[c]
            for t in range(taps):
                of_scaled = grad_channel[b, 0, t, c]
                of_image += np.float64(of_scaled) * channel[b, c, t]
                of_channel[b, c, t] = of_scaled * factor
            of_gain[b, c] = of_image
