"""The Triton kernels of `dynamic_filter`; `dynamic_filter_triton.py` splits the work and launches them.

A program owns one tile of the result: some positions of one image times some channels. In the forward pass and for the
gradient of x each thread holds ROWS rows that lie below each other: what their windows share is loaded and converted
once, because the loops over taps are written out and equal loads become one.

Offsets are 64 bits wide. Outside the image x is 0, by masked loads. `base` [C, T] and `gain` [C] are contiguous, or
both None: then the kernel is compiled without them.

Legend: B batch, C channels, H W input, H' W' output, K kernel size, T = K*K taps, P = BLOCK_H * BLOCK_W positions, S
slots. SUM is the type that products and sums are taken in. Sizes: height and width of x, rows and cols of the output.
"""

import triton
import triton.language as tl

# Parameters in groups: pointers, sizes, strides, and constants of the compiler.
# fmt: off


@triton.jit
def tile(
    rows, cols, channels,
    ROWS: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
):
    """The image, first rows [P], columns [P] and channels [BLOCK_C] of this program; neighbours differ in channels."""
    pid = tl.program_id(0)
    channel_tiles, col_tiles = tl.cdiv(channels, BLOCK_C), tl.cdiv(cols, BLOCK_W)
    row_tiles = tl.cdiv(rows, BLOCK_H * ROWS)
    place, p = pid // channel_tiles, tl.arange(0, BLOCK_H * BLOCK_W)
    c = pid % channel_tiles * BLOCK_C + tl.arange(0, BLOCK_C)
    i = (place // col_tiles % row_tiles * BLOCK_H + p // BLOCK_W) * ROWS
    j = place % col_tiles * BLOCK_W + p % BLOCK_W
    b = place // (col_tiles * row_tiles)
    return b.to(tl.int64), i.to(tl.int64), j.to(tl.int64), c.to(tl.int64)


@triton.jit
def _scaled(factor, gain, c, held):
    """The factors [BLOCK_C] of one tap times the gain of their channels."""
    if gain is None:
        return factor
    else:
        return factor * tl.load(gain + c, held, other=0).to(factor.dtype)


@triton.jit
def _on_base(generated, base, c, held, t, K: tl.constexpr):
    """The kernels [P, BLOCK_C] at tap t: the generated ones, and the base of their channels."""
    if base is None:
        return generated
    else:
        return generated + tl.load(base + c * (K * K) + t, held, other=0).to(generated.dtype)[None, :]


@triton.jit
def forward(
    x, spatial, channel, base, gain, y,
    channels, height, width, rows, cols,
    x_image, x_channel, x_row, x_col,
    spatial_image, spatial_tap, spatial_row, spatial_col,
    y_image, y_channel, y_row, y_col,
    K: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr, SUM: tl.constexpr,
    ROWS: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
):
    """A tile of y; channel is contiguous [B, C, T]."""
    x_row, x_col = tl.cast(x_row, tl.int64), tl.cast(x_col, tl.int64)
    spatial_tap, spatial_row = tl.cast(spatial_tap, tl.int64), tl.cast(spatial_row, tl.int64)
    y_row = tl.cast(y_row, tl.int64)
    b, i, j, c = tile(rows, cols, channels, ROWS, BLOCK_H, BLOCK_W, BLOCK_C)
    held = c < channels
    x_at = x + b * x_image + (i * STRIDE * x_row + j * STRIDE * x_col)[:, None] + (c * x_channel)[None, :]
    spatial_at = spatial + b * spatial_image + i * spatial_row + j * spatial_col
    channel_at = channel + (b * channels + c) * (K * K)
    totals = ()
    for n in tl.static_range(ROWS):
        owned = (i + n < rows) & (j < cols)
        total = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), SUM)
        for u in tl.static_range(K):
            r = i * STRIDE + (n * STRIDE + (u - K // 2) * DILATION)
            for v in tl.static_range(K):
                q = j * STRIDE + (v - K // 2) * DILATION
                inside = (r >= 0) & (r < height) & (q >= 0) & (q < width)  # not `owned`: rows share their loads
                to_tap = x_row * (n * STRIDE + (u - K // 2) * DILATION) + x_col * (v - K // 2) * DILATION
                value = tl.load(x_at + to_tap, inside[:, None] & held[None, :], other=0)
                to_weight = spatial_tap * (u * K + v) + spatial_row * n
                weight = tl.load(spatial_at + to_weight, owned, other=0)
                factor = tl.load(channel_at + (u * K + v), held, other=0)
                generated = weight.to(SUM)[:, None] * _scaled(factor.to(SUM), gain, c, held)[None, :]
                total += _on_base(generated, base, c, held, u * K + v, K) * value.to(SUM)
        totals = totals + (total,)  # type: ignore[assignment]  # noqa: RUF005
    y_at = y + b * y_image + (i * y_row + j * y_col)[:, None] + (c * y_channel)[None, :]
    for n in tl.static_range(ROWS):
        owned = (i + n < rows) & (j < cols)
        tl.store(y_at + y_row * n, totals[n].to(y.dtype.element_ty), owned[:, None] & held[None, :])


@triton.jit
def backward_x(
    grad, spatial, channel, base, gain, grad_x,
    channels, height, width, rows, cols,
    grad_image, grad_channel, grad_row, grad_col,
    spatial_image, spatial_tap, spatial_row, spatial_col,
    x_image, x_channel, x_row, x_col,
    K: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr, SUM: tl.constexpr,
    ROWS: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
):
    """A tile of the gradient of x: each position gathers from every output that read it, instead of being scattered to.

    If ROWS is a multiple of the stride, the position of a row in its thread determines which taps reach an output.
    """
    x_row, spatial_tap = tl.cast(x_row, tl.int64), tl.cast(spatial_tap, tl.int64)
    b, i, j, c = tile(height, width, channels, ROWS, BLOCK_H, BLOCK_W, BLOCK_C)
    held = c < channels
    grad_at = grad + b * grad_image + (c * grad_channel)[None, :]
    spatial_at = spatial + b * spatial_image
    channel_at = channel + (b * channels + c) * (K * K)
    totals = ()
    for n in tl.static_range(ROWS):
        total = tl.zeros((BLOCK_H * BLOCK_W, BLOCK_C), SUM)
        for u in tl.static_range(K):
            if ROWS % STRIDE != 0 or (n - (u - K // 2) * DILATION) % STRIDE == 0:
                above = i + (n - (u - K // 2) * DILATION)
                r = above // STRIDE
                row_saw = (above >= 0) & (above % STRIDE == 0) & (r < rows)
                for v in tl.static_range(K):
                    before = j - (v - K // 2) * DILATION
                    q = before // STRIDE
                    saw = row_saw & (before >= 0) & (before % STRIDE == 0) & (q < cols)
                    here = grad_at + (r * grad_row + q * grad_col)[:, None]
                    value = tl.load(here, saw[:, None] & held[None, :], other=0)
                    to_weight = spatial_tap * (u * K + v) + (r * spatial_row + q * spatial_col)
                    weight = tl.load(spatial_at + to_weight, saw, other=0)
                    factor = tl.load(channel_at + (u * K + v), held, other=0)
                    generated = weight.to(SUM)[:, None] * _scaled(factor.to(SUM), gain, c, held)[None, :]
                    total += _on_base(generated, base, c, held, u * K + v, K) * value.to(SUM)
        totals = totals + (total,)  # type: ignore[assignment]  # noqa: RUF005
    x_at = grad_x + b * x_image + (i * x_row + j * x_col)[:, None] + (c * x_channel)[None, :]
    for n in tl.static_range(ROWS):
        owned = (i + n < height) & (j < width)
        tl.store(x_at + x_row * n, totals[n].to(grad_x.dtype.element_ty), owned[:, None] & held[None, :])


@triton.jit
def backward_filters(
    grad, x, spatial, channel, gain, grad_spatial, grad_channel, grad_base,
    batch, channels, height, width, rows, cols,
    grad_image, grad_step, grad_row, grad_col,
    x_image, x_channel, x_row, x_col,
    spatial_image, spatial_tap, spatial_row, spatial_col,
    slot_image, slot_tap, slot_row, slot_col,
    K: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr, SUM: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
):
    """The share of one tile of the output in the gradients of both filters.

    grad_spatial [S, B, T, H', W'] has a slot for each tile of channels, grad_channel [S, B, C, T], contiguous, one for
    each tile of positions. grad_channel is that of gain * channel; grad_base is laid out like it, or None.
    """
    x_row, x_col = tl.cast(x_row, tl.int64), tl.cast(x_col, tl.int64)
    spatial_tap, slot_tap = tl.cast(spatial_tap, tl.int64), tl.cast(slot_tap, tl.int64)
    b, i, j, c = tile(rows, cols, channels, 1, BLOCK_H, BLOCK_W, BLOCK_C)
    held, owned = c < channels, (i < rows) & (j < cols)
    channel_tiles, position_tiles = tl.cdiv(channels, BLOCK_C), tl.cdiv(rows, BLOCK_H) * tl.cdiv(cols, BLOCK_W)
    spatial_slot = (tl.program_id(0) % channel_tiles).to(tl.int64)
    channel_slot = (tl.program_id(0) // channel_tiles % position_tiles).to(tl.int64)
    grad_at = grad + b * grad_image + (i * grad_row + j * grad_col)[:, None] + (c * grad_step)[None, :]
    grad_here = tl.load(grad_at, owned[:, None] & held[None, :], other=0).to(SUM)
    x_at = x + b * x_image + (i * STRIDE * x_row + j * STRIDE * x_col)[:, None] + (c * x_channel)[None, :]
    spatial_at = spatial + b * spatial_image + i * spatial_row + j * spatial_col
    channel_at = channel + (b * channels + c) * (K * K)
    grad_spatial_at = grad_spatial + (spatial_slot * batch + b) * slot_image + i * slot_row + j * slot_col
    slot_at = ((channel_slot * batch + b) * channels + c) * (K * K)
    for u in tl.static_range(K):
        r = i * STRIDE + (u - K // 2) * DILATION
        for v in tl.static_range(K):
            q = j * STRIDE + (v - K // 2) * DILATION
            inside = owned & (r >= 0) & (r < height) & (q >= 0) & (q < width)
            to_tap = x_row * (u - K // 2) * DILATION + x_col * (v - K // 2) * DILATION
            value = tl.load(x_at + to_tap, inside[:, None] & held[None, :], other=0)
            weight = tl.load(spatial_at + spatial_tap * (u * K + v), owned, other=0)
            factor = tl.load(channel_at + (u * K + v), held, other=0)
            product = grad_here * value.to(SUM)
            over_channels = tl.sum(product * _scaled(factor.to(SUM), gain, c, held)[None, :], 1)
            over_positions = tl.sum(product * weight.to(SUM)[:, None], 0)
            tl.store(grad_spatial_at + slot_tap * (u * K + v), over_channels, owned)
            tl.store(grad_channel + slot_at + (u * K + v), over_positions, held)
            if grad_base is not None:
                tl.store(grad_base + slot_at + (u * K + v), tl.sum(product, 0), held)
