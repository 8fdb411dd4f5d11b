"""CPU loops of `dynamic_filter` for 3x3 windows: they keep the filters of a few channels in registers.

The channels of one cache line at a time go along the outputs; there must be enough of them to fill it. In registers
the base costs no loads at each output, and there are as many products with it as without it.

The forward pass adds in the order of the taps, by fused multiply-adds, as PyTorch's depthwise convolutions do on x86:
where the generated part is 0, both give the same bits there.

Legend: B batch, C channels, H W input, H' W' output; tap t = 3*u + v.
Arrays: x [B, H, W, C], spatial [B, H', W', 9], channel [B, 9, C] times the gain, and their gradients alike;
base [9, C]. Places in them: q of x, w of spatial, o of an output or its gradient.
"""

from typing import Any

from jointreid.machine.numba_kernel import Array, inlined
from jointreid.machine.numba_vectors import (
    LINE_BYTES,
    fused,
    load,
    pointer,
    read_ahead,
    spread,
    store,
    write_ahead,
    zeros,
)

# Outputs of a row that are computed before the next channels: few, so that what they read is loaded from memory in
# order, and enough that the filters are seldom loaded.
_COLUMNS = 8


@inlined
def _three(filters: Any, place: int, step: int, like: Any) -> Any:
    """Vectors of one row of taps."""
    return load(filters, place, like), load(filters, place + step, like), load(filters, place + 2 * step, like)


@inlined
def _add(total: Any, channel: Any, base: Any, image: Any, q: int, weights: Any, w: int) -> Any:
    """Add one tap to the vector `total`."""
    return fused(fused(spread(weights, w, total), channel, base), load(image, q, total), total)


@inlined
def _add_row(
    total: Any,
    channel: Any,
    base: Any,
    image: Any,
    q: int,
    q_step: int,
    weights: Any,
    w: int,
    w_step: int,
    has_left: bool,
    has_right: bool,
) -> Any:
    """Add one row of taps to the vector `total`; q and w are places of the middle one."""
    if has_left:
        total = _add(total, channel[0], base[0], image, q - q_step, weights, w - w_step)
    total = _add(total, channel[1], base[1], image, q, weights, w)
    if has_right:
        total = _add(total, channel[2], base[2], image, q + q_step, weights, w + w_step)
    return total


@inlined
def _filter_channels(
    out: Any,
    weights: Any,
    channel: Any,
    base: Any,
    image: Any,
    shape: tuple[int, int, int],
    cols: int,
    i: int,
    j: int,
    end: int,
    stride: int,
    dilation: int,
    mirrored: bool,
    c: int,
    zero: Any,
) -> None:
    """Outputs j to end - 1 of row i, for channels c, c + 1, ..., as many as `zero` has lanes; `shape` is [H, W, C]."""
    height, width, channels = shape
    t, turn, w_row, w_step = c, channels, 3, 1
    if mirrored:  # from the last tap to the first, and each weight is one of the output that is read
        t, turn, w_row, w_step = c + 8 * channels, -channels, dilation * cols * 9 - 3, dilation * 9 - 1
    k0, b0 = _three(channel, t, turn, zero), _three(base, t, turn, zero)
    k1, b1 = _three(channel, t + 3 * turn, turn, zero), _three(base, t + 3 * turn, turn, zero)
    k2, b2 = _three(channel, t + 6 * turn, turn, zero), _three(base, t + 6 * turn, turn, zero)
    q_row, q_step, q_next = dilation * width * channels, dilation * channels, stride * channels
    row = i * stride
    has_up, has_down = row >= dilation, row + dilation < height
    q, w, o = (row * width + j * stride) * channels + c, (i * cols + j) * 9 + 4, (i * cols + j) * channels + c
    while j < end:
        one, col = zero, j * stride
        left, right = col >= dilation, col + dilation < width
        if right and j + 1 < end and col + stride >= dilation:
            # Two at once, which may share columns; the first has a right column, and the second a left one.
            two, p, v, right = zero, q + q_next, w + 9, col + stride + dilation < width
            if has_up:
                one = _add_row(one, k0, b0, image, q - q_row, q_step, weights, w - w_row, w_step, left, True)
                two = _add_row(two, k0, b0, image, p - q_row, q_step, weights, v - w_row, w_step, True, right)
            one = _add_row(one, k1, b1, image, q, q_step, weights, w, w_step, left, True)
            two = _add_row(two, k1, b1, image, p, q_step, weights, v, w_step, True, right)
            if has_down:
                one = _add_row(one, k2, b2, image, q + q_row, q_step, weights, w + w_row, w_step, left, True)
                two = _add_row(two, k2, b2, image, p + q_row, q_step, weights, v + w_row, w_step, True, right)
            store(one, out, o)
            store(two, out, o + channels)
            j, q, w, o = j + 2, q + 2 * q_next, w + 18, o + 2 * channels
        else:
            if has_up:
                one = _add_row(one, k0, b0, image, q - q_row, q_step, weights, w - w_row, w_step, left, right)
            one = _add_row(one, k1, b1, image, q, q_step, weights, w, w_step, left, right)
            if has_down:
                one = _add_row(one, k2, b2, image, q + q_row, q_step, weights, w + w_row, w_step, left, right)
            store(one, out, o)
            j, q, w, o = j + 1, q + q_next, w + 9, o + channels


@inlined
def filter_row(
    out: Array,
    spatial: Array,
    channel: Array,
    base: Array,
    x: Array,
    b: int,
    i: int,
    stride: int,
    dilation: int,
    mirrored: bool,
) -> None:
    """Output row i of image b, `dilation` between taps.

    Mirrored, at stride 1, it turns the gradient of the output into that of x: where an output read x with one tap, x
    reads that output with the same one.
    """
    shape, cols, width = x.shape[1:], out.shape[2], x.shape[2]
    channels, lanes = shape[2], LINE_BYTES // out.itemsize
    to, weights, of_image = pointer(out, b), pointer(spatial, b), pointer(channel, b)
    of_all, image = pointer(base, 0), pointer(x, b)
    line = zeros(out, LINE_BYTES)
    for j in range(0, cols, _COLUMNS):
        end = min(cols, j + _COLUMNS)
        for first in range(0, channels, lanes):
            c = min(first, channels - lanes)  # channels that fill no vector are in two
            # The rows that the next row of outputs is the first to read, and that row: a share of each.
            share = (end - j) * stride
            for r in range(1, stride + 1):
                ahead = ((i * stride + dilation + r) * width + j * stride) * channels + first * share
                read_ahead(image, ahead, share * lanes, lanes)
            write_ahead(to, ((i + 1) * cols + j) * channels + first * (end - j), (end - j) * lanes, lanes)
            if stride == 1 and dilation == 1:  # so that the compiler sees which columns are shared
                _filter_channels(to, weights, of_image, of_all, image, shape, cols, i, j, end, 1, 1, mirrored, c, line)
            else:
                _filter_channels(
                    to, weights, of_image, of_all, image, shape, cols, i, j, end, stride, dilation, mirrored, c, line
                )


# The gradient of x at stride 2


@inlined
def _add_to_two(
    even: Any, odd: Any, channel: Any, base: Any, grad: Any, o: int, weights: Any, w: int, channels: int, has_next: bool
) -> Any:
    """Add one row of taps of two neighbouring outputs to the columns of x under the first one and beside it."""
    even = _add(even, channel[1], base[1], grad, o, weights, w + 1)
    odd = _add(odd, channel[2], base[2], grad, o, weights, w + 2)
    if has_next:
        odd = _add(odd, channel[0], base[0], grad, o + channels, weights, w + 9)
    return even, odd


@inlined
def _spread_channels(
    grad_x: Any,
    weights: Any,
    channel: Any,
    base: Any,
    grad: Any,
    shape: tuple[int, int, int],
    width: int,
    r: int,
    c: int,
    zero: Any,
) -> None:
    """Row r of the gradient of x for channels c, c + 1, ..., as many as `zero` has lanes; `shape` is [H', W', C]."""
    rows, cols, channels = shape
    i, u = r // 2, 1 + r % 2  # an odd row lies under the last taps of one output row and the first ones of the next
    has_next_row = u == 2 and i + 1 < rows
    k0, b0 = _three(channel, c, channels, zero), _three(base, c, channels, zero)
    t = 3 * u * channels + c
    k, b = _three(channel, t, channels, zero), _three(base, t, channels, zero)
    q, w, o = r * width * channels + c, i * cols * 9 + 3 * u, i * cols * channels + c
    w_row, o_row = cols * 9 - 6, cols * channels
    for j in range(cols):
        even, odd, has_next = zero, zero, j + 1 < cols
        even, odd = _add_to_two(even, odd, k, b, grad, o, weights, w, channels, has_next)
        if has_next_row:
            even, odd = _add_to_two(even, odd, k0, b0, grad, o + o_row, weights, w + w_row, channels, has_next)
        store(even, grad_x, q)
        if 2 * j + 1 < width:
            store(odd, grad_x, q + channels)
        q, w, o = q + 2 * channels, w + 9, o + channels


@inlined
def spread_row(grad_x: Array, spatial: Array, channel: Array, base: Array, grad: Array, b: int, r: int) -> None:
    """Row r of the gradient of x of image b, from that of the output at stride 2 and without dilation."""
    shape, width = grad.shape[1:], grad_x.shape[2]
    cols, channels, lanes = shape[1], shape[2], LINE_BYTES // grad_x.itemsize
    to, weights, of_image = pointer(grad_x, b), pointer(spatial, b), pointer(channel, b)
    of_all, of_outputs = pointer(base, 0), pointer(grad, b)
    line = zeros(grad_x, LINE_BYTES)
    for first in range(0, channels, lanes):
        c = min(first, channels - lanes)
        if r % 2:
            read_ahead(of_outputs, (r // 2 + 2) * cols * channels + first * cols, cols * lanes, lanes)
        write_ahead(to, (r + 1) * width * channels + first * width, width * lanes, lanes)
        _spread_channels(to, weights, of_image, of_all, of_outputs, shape, width, r, c, line)
