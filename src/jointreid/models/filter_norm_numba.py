"""CPU kernels of `filter_norm`, compiled by numba.

As in `dynamic_filter_numba`, loops are split by the shapes alone: results do not depend on the number of threads.

Legend: G groups of T taps, taps innermost: raw [G, T]; std [R, T] repeats every R groups; S partial sums.
"""

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from jointreid.machine.numba_kernel import Array, Kernel, count_bands, inlined
from jointreid.models.dynamic_filter_layout import repeating_shape


@inlined
def _mean_and_spread(taps: Array) -> tuple[float, float]:
    """Mean and unbiased standard deviation of one group."""
    count = taps.shape[0]
    total = taps.dtype.type(0)
    for t in range(count):
        total += taps[t]
    mean = total / taps.dtype.type(count)
    squares = taps.dtype.type(0)
    for t in range(count):
        squares += (taps[t] - mean) ** 2
    return mean, np.sqrt(squares / taps.dtype.type(count - 1))


@Kernel
def _normalise(raw: Array, std: Array, eps: np.floating[Any], out: Array) -> None:
    for g in prange(raw.shape[0]):
        mean, spread = _mean_and_spread(raw[g])
        scale = 1 / (spread + eps)
        for t in range(raw.shape[1]):
            out[g, t] = (raw[g, t] - mean) * scale * std[g % std.shape[0], t]


@inlined
def _normalise_gradients_of_group(
    grad_raw: Array, grad_std: Array, grad: Array, raw: Array, std: Array, eps: np.floating[Any]
) -> None:
    """Set grad_raw [T] and add to grad_std [T] for one group.

    With n = (raw - mean) / (s + eps) and g = grad * std: grad_std = grad * n and
    grad_raw = (g - mean(g)) / (s + eps) - n * sum(g*n) / ((T - 1) * s), whose second term is 0 where s is.
    """
    count = raw.shape[0]
    mean, spread = _mean_and_spread(raw)
    scale = 1 / (spread + eps)
    total, along = raw.dtype.type(0), raw.dtype.type(0)
    for t in range(count):
        normed = (raw[t] - mean) * scale
        scaled = grad[t] * std[t]
        total += scaled
        along += scaled * normed
        grad_std[t] += grad[t] * normed
    total /= raw.dtype.type(count)
    pull = along / (raw.dtype.type(count - 1) * spread) if spread > 0 else raw.dtype.type(0)
    for t in range(count):
        grad_raw[t] = (grad[t] * std[t] - total) * scale - (raw[t] - mean) * scale * pull


@Kernel
def _normalise_backward(
    grad: Array, raw: Array, std: Array, eps: np.floating[Any], grad_raw: Array, grad_std: Array
) -> None:
    """Set grad_raw, and grad_std [S, R, T]: a partial sum for each of S bands of the repeats of std."""
    bands, rows = grad_std.shape[:2]
    repeats = raw.shape[0] // rows
    for k in prange(bands * rows):
        band, r = k // rows, k % rows
        sums = grad_std[band, r]
        sums[:] = 0
        for a in range(repeats * band // bands, repeats * (band + 1) // bands):
            g = a * rows + r
            _normalise_gradients_of_group(grad_raw[g], sums, grad[g], raw[g], std[r], eps)


# The functions that `dynamic_filter.py` calls; results are in the precision of the computation


def _groups(t: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """Taps innermost: contiguous [G, T]; a view where `t` is already laid out so."""
    return t.detach().to(dtype).movedim(dim, -1).reshape(-1, t.shape[dim]).contiguous()


def _ungroup(groups: Tensor, like: Tensor, dim: int) -> Tensor:
    """Back from [G, T] to the shape of `like`."""
    return groups.view(like.movedim(dim, -1).shape).movedim(-1, dim)


def _repeating_part(std: Tensor, raw: Tensor, dim: int) -> Tensor:
    """The part of `std`, broadcast to raw, that repeats along the leading dimensions: [1, ..., R dimensions, T]."""
    shape = repeating_shape(std, raw, dim)
    return std.detach().reshape((1,) * (raw.ndim - std.ndim) + std.shape).movedim(dim, -1).expand(shape)


def filter_norm(raw: Tensor, dim: int, std: Tensor, eps: float) -> Tensor:
    """The normalisation on checked CPU tensors; see `jointreid.models.dynamic_filter.filter_norm`."""
    dtype = torch.promote_types(raw.dtype, torch.float32)
    groups = _groups(raw, dim, dtype)
    rows = _groups(_repeating_part(std, raw, dim), -1, dtype)
    out = torch.empty_like(groups)
    _normalise(groups.numpy(), rows.numpy(), groups.numpy().dtype.type(eps), out.numpy())
    return _ungroup(out, raw, dim)


def filter_norm_backward(grad: Tensor, raw: Tensor, dim: int, std: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Gradients of raw and std for `grad`, of the shape of raw."""
    dtype = torch.promote_types(raw.dtype, torch.float32)
    groups = _groups(raw, dim, dtype)
    part = _repeating_part(std, raw, dim)
    rows = _groups(part, -1, dtype)
    grad_raw = torch.empty_like(groups)
    repeats = groups.shape[0] // max(rows.shape[0], 1)
    grad_rows = rows.new_empty(count_bands(rows.shape[0], repeats), *rows.shape)
    eps_ = groups.numpy().dtype.type(eps)
    _normalise_backward(
        _groups(grad, dim, dtype).numpy(), groups.numpy(), rows.numpy(), eps_, grad_raw.numpy(), grad_rows.numpy()
    )
    grad_std = grad_rows.sum(0).view(part.shape).movedim(-1, dim).sum_to_size(std.shape)
    return _ungroup(grad_raw, raw, dim), grad_std
