"""CPU loops for the gradients of the filters of `dynamic_filter` on a base: the sums over positions and channels.

Two positions are handled at once, so that the sum for the base, beside the one for `channel`, takes little time.

Legend: B batch, C channels, H W input, H' W' output, T = K*K taps, S partial sums.
Arrays: x [B, H, W, C], spatial [B, H', W', T], channel [B, T, C] times the gain, and their gradients alike.
"""

from numba import prange

from jointreid.machine.numba_kernel import Array, Kernel, inlined
from jointreid.models.dynamic_filter_base_numba import kernel_size_of, outputs_seeing


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
    kernel_size = kernel_size_of(channel.shape[0])
    reach = kernel_size // 2 * dilation
    grad_spatial[:] = 0
    for u in range(kernel_size):
        r = row - reach + u * dilation
        if r < 0 or r >= height:
            continue
        for v in range(kernel_size):
            offset, t = v * dilation - reach, u * kernel_size + v
            j, last = outputs_seeing(offset, stride, grad.shape[0], width)
            while j < last:
                q, weight = j * stride + offset, spatial[j, t]
                total = next_total = grad.dtype.type(0)
                if j + 1 < last:
                    q_next, next_weight = q + stride, spatial[j + 1, t]
                    for c in range(channels):
                        product, next_product = grad[j, c] * x[r, q, c], grad[j + 1, c] * x[r, q_next, c]
                        total += product * channel[t, c]
                        next_total += next_product * channel[t, c]
                        grad_channel[t, c] += weight * product + next_weight * next_product
                        grad_base[t, c] += product + next_product
                    grad_spatial[j + 1, t] = next_total
                else:
                    for c in range(channels):
                        product = grad[j, c] * x[r, q, c]
                        total += product * channel[t, c]
                        grad_channel[t, c] += weight * product
                        grad_base[t, c] += product
                grad_spatial[j, t] = total
                j += 2


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
