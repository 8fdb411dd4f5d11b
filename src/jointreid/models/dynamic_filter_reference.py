"""`dynamic_filter` and `filter_norm` in plain PyTorch, forward and backward: their specification.

They run on devices without a kernel, differentiate twice, and consist of ordinary operators that other programs can
read.

Legend: B batch, C channels, H W input, H' W' output, K kernel size, T = K*K taps, tap t = u*K + v.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from jointreid.models.dynamic_filter_checks import check_dynamic_filter, check_filter_norm


def dynamic_filter_reference(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int = 1,
    dilation: int = 1,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> Tensor:
    """`dynamic_filter` in plain PyTorch: its specification.

    Not for training: autograd keeps about 3*K*K intermediates of the size of y.
    """
    check_dynamic_filter(x, spatial, channel, stride, dilation, base, gain)
    dtype = torch.promote_types(x.dtype, torch.float32)
    spatial, channel = spatial.to(dtype), channel.to(dtype)
    if base is not None and gain is not None:
        base, channel = base.to(dtype), channel * gain.to(dtype)[:, None]
    y = x.new_zeros(*x.shape[:2], *spatial.shape[2:], dtype=dtype)  # B C H' W'
    padded = F.pad(x.to(dtype), [_reach(spatial, dilation)] * 4)
    for tap, window in enumerate(_windows(padded, spatial, stride, dilation)):
        kernel = spatial[:, tap, None] * channel[:, :, tap, None, None]
        if base is not None:
            kernel = kernel + base[:, tap, None, None]
        y = y + kernel * window
    return y.to(x.dtype)


def dynamic_filter_backward_reference(
    grad: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int,
    dilation: int,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gradients of x, spatial and channel, and of base and gain where given, for `grad` [B, C, H', W'].

    One tap at a time: no K*K-fold intermediate.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    grad, spatial, channel = grad.to(dtype), spatial.to(dtype), channel.to(dtype)
    scaled = channel if gain is None else channel * gain.to(dtype)[:, None]
    reach = _reach(spatial, dilation)
    padded = F.pad(x.to(dtype), [reach] * 4)
    grad_padded, grad_spatial, grad_scaled = map(torch.zeros_like, (padded, spatial, channel))
    grad_base = channel.new_zeros(channel.shape[1:])
    windows = _windows(padded, spatial, stride, dilation)
    grad_windows = _windows(grad_padded, spatial, stride, dilation)
    for tap, (window, grad_window) in enumerate(zip(windows, grad_windows, strict=True)):
        weight, factor = spatial[:, tap, None], scaled[:, :, tap, None, None]  # B 1 H' W', B C 1 1
        product = grad * window
        grad_spatial[:, tap] = (product * factor).sum(1)
        grad_scaled[:, :, tap] = (product * weight).sum((2, 3))
        grad_window += grad * weight * factor
        if base is not None:
            grad_base[:, tap] = product.sum((0, 2, 3))
            grad_window += grad * base.to(dtype)[:, tap, None, None]
    height, width = x.shape[2:]
    grad_x = grad_padded[:, :, reach : reach + height, reach : reach + width]
    if gain is None:
        return grad_x, grad_spatial, grad_scaled
    grad_gain = (grad_scaled * channel).sum((0, 2))
    return grad_x, grad_spatial, grad_scaled * gain.to(dtype)[:, None], grad_base, grad_gain


def _reach(spatial: Tensor, dilation: int) -> int:
    return (math.isqrt(spatial.shape[1]) - 1) // 2 * dilation


def _windows(padded: Tensor, spatial: Tensor, stride: int, dilation: int) -> Iterator[Tensor]:
    """Yield for each tap the view [B, C, H', W'] of padded x that it multiplies."""
    rows, cols = ((size - 1) * stride + 1 for size in spatial.shape[2:])
    kernel_size = math.isqrt(spatial.shape[1])
    for top in range(0, kernel_size * dilation, dilation):
        for left in range(0, kernel_size * dilation, dilation):
            yield padded[:, :, top : top + rows : stride, left : left + cols : stride]


def filter_norm_reference(raw: Tensor, dim: int, std: float | Tensor, eps: float = 1e-10) -> Tensor:
    """`filter_norm` in plain PyTorch: its specification."""
    check_filter_norm(raw, dim, std, eps)
    dtype = torch.promote_types(raw.dtype, torch.float32)
    raw = raw.to(dtype)
    std = std.to(dtype) if isinstance(std, Tensor) else std
    spread = raw.std(dim, keepdim=True)  # unbiased
    return (raw - raw.mean(dim, keepdim=True)) / (spread + eps) * std


def filter_norm_backward_reference(
    grad: Tensor, raw: Tensor, dim: int, std: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Gradients of raw and std for `grad`, of the shape of raw."""
    dtype = torch.promote_types(raw.dtype, torch.float32)
    grad, raw = grad.to(dtype), raw.to(dtype)
    spread = raw.std(dim, keepdim=True)
    scale = 1 / (spread + eps)
    normed = (raw - raw.mean(dim, keepdim=True)) * scale
    scaled = grad * std.to(dtype)
    along = (scaled * normed).sum(dim, keepdim=True) / (raw.shape[dim] - 1)
    pull = torch.where(spread > 0, along / spread, 0)  # the deviation has slope 0 where it is 0
    return (scaled - scaled.mean(dim, keepdim=True)) * scale - normed * pull, (grad * normed).sum_to_size(std.shape)
