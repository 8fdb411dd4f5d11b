"""GPU kernels of `filter_norm`, written in Triton: one pass over the taps forward and backward, in any layout.

Importing this module imports Triton. Legend: T taps of a group, G = N0*N1*N2 groups, R of them until `std` repeats,
BLOCK_T the power of two that holds T, S slots. SUM is the type computed in: float64 for float64 raw, else float32.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from jointreid.models.dynamic_filter_layout import repeating_shape
from jointreid.models.dynamic_filter_triton import on_device_of

# Parameters in groups: pointers, sizes, strides, and constants of the compiler.
# fmt: off


@triton.jit
def _divide(a, b):
    """Divide with correct rounding, as on a CPU: the mean of equal taps is exact, so no rest is divided by eps."""
    if a.dtype == tl.float64:
        return a / b
    else:
        return tl.div_rn(a, b)


@triton.jit
def _root(a):
    if a.dtype == tl.float64:
        return tl.sqrt(a)
    else:
        return tl.sqrt_rn(a)


@triton.jit
def _offsets(group, taps, n1, n2, step0, step1, step2, step_tap):
    """Offsets of the taps [1, BLOCK_T] of groups [BLOCK_G]: [BLOCK_G, BLOCK_T]."""
    at = group // (n1 * n2) * step0 + group // n2 % n1 * step1 + group % n2 * step2
    return at[:, None] + (taps * step_tap)[None, :]


@triton.jit
def _normalised(values, here, T: tl.constexpr, EPS: tl.constexpr):
    """The taps without mean over (deviation + eps), 1 / (deviation + eps), and the unbiased deviation."""
    count = tl.full((values.shape[0],), T, values.dtype)
    centred = tl.where(here, values - _divide(tl.sum(values, 1), count)[:, None], 0)
    spread = _root(_divide(tl.sum(centred * centred, 1), count - 1))
    eps = tl.full((values.shape[0],), EPS, values.dtype)
    scale = _divide(tl.full((values.shape[0],), 1, values.dtype), spread + eps)
    return centred * scale[:, None], scale, spread


@triton.jit
def _forward(
    raw, std, out,
    groups, n1, n2,
    raw0, raw1, raw2, raw_tap,
    std0, std1, std2, std_tap,
    T: tl.constexpr, EPS: tl.constexpr, SUM: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_T: tl.constexpr,
):
    """Normalise BLOCK_G groups; out has the strides of raw."""
    group = tl.program_id(0).to(tl.int64) * BLOCK_G + tl.arange(0, BLOCK_G)
    taps = tl.arange(0, BLOCK_T).to(tl.int64)
    here = (group < groups)[:, None] & (taps < T)[None, :]
    at = _offsets(group, taps, n1, n2, raw0, raw1, raw2, raw_tap)
    values = tl.load(raw + at, here, other=0).to(SUM)
    wanted = tl.load(std + _offsets(group, taps, n1, n2, std0, std1, std2, std_tap), here, other=0).to(SUM)
    normed, _, _ = _normalised(values, here, T, EPS)
    tl.store(out + at, normed * wanted, here)


@triton.jit
def _backward(
    grad, raw, std, grad_raw, grad_std,
    rows, repeats, repeats_each, n1, n2,
    grad0, grad1, grad2, grad_tap,
    raw0, raw1, raw2, raw_tap,
    std0, std1, std2, std_tap,
    T: tl.constexpr, EPS: tl.constexpr, SUM: tl.constexpr, SHARED: tl.constexpr,
    BLOCK_G: tl.constexpr, BLOCK_T: tl.constexpr,
):
    """Set grad_raw, and one slot of grad_std: of BLOCK_G rows of std, over `repeats_each` of its repeats.

    With n = (raw - mean) / (s + eps) and g = grad * std: grad_std = grad * n and
    grad_raw = (g - mean(g)) / (s + eps) - n * sum(g*n) / ((T - 1) * s), whose second term is 0 where s is. SHARED: all
    groups have one row of std, then rows counts the groups and grad_std is [S, T]; else it is [S, rows, T].
    """
    row_tiles = tl.cdiv(rows, BLOCK_G)
    row = (tl.program_id(0) % row_tiles).to(tl.int64) * BLOCK_G + tl.arange(0, BLOCK_G)
    first = tl.program_id(0) // row_tiles * repeats_each
    taps = tl.arange(0, BLOCK_T).to(tl.int64)
    here = (row < rows)[:, None] & (taps < T)[None, :]
    count = tl.full((BLOCK_G,), T, SUM)
    sums = tl.zeros((BLOCK_G, BLOCK_T), SUM)
    for repeat in range(first, tl.minimum(first + repeats_each, repeats)):
        group = row + tl.cast(repeat, tl.int64) * rows
        at = _offsets(group, taps, n1, n2, raw0, raw1, raw2, raw_tap)
        values = tl.load(raw + at, here, other=0).to(SUM)
        normed, scale, spread = _normalised(values, here, T, EPS)
        given = tl.load(grad + _offsets(group, taps, n1, n2, grad0, grad1, grad2, grad_tap), here, other=0).to(SUM)
        wanted = tl.load(std + _offsets(group, taps, n1, n2, std0, std1, std2, std_tap), here, other=0).to(SUM)
        scaled = given * wanted
        sums += given * normed
        varies = spread > 0
        along = _divide(tl.sum(scaled * normed, 1), tl.where(varies, (count - 1) * spread, 1))
        pull = tl.where(varies, along, 0)
        level = _divide(tl.sum(scaled, 1), count)
        result = (scaled - level[:, None]) * scale[:, None] - normed * pull[:, None]
        tl.store(grad_raw + at, result.to(grad_raw.dtype.element_ty), here)
    slot = (tl.program_id(0) if SHARED else tl.program_id(0) // row_tiles).to(tl.int64)
    if SHARED:
        tl.store(grad_std + slot * T + taps, tl.sum(sums, 0), taps < T)
    else:
        tl.store(grad_std + ((slot * rows + row) * T)[:, None] + taps[None, :], sums, here)


# fmt: on
# Launches

_BLOCK_G = 64  # groups of a program: 1024 numbers for 3x3 taps
_PROGRAMS = 1024  # repeats of std are split into about so many programs, several for each multiprocessor of a large GPU


def _grouped(t: Tensor, dim: int) -> Tensor:
    """Return a view [N0, N1, N2, T], taps last; above four dimensions a copy unless taps are last in memory."""
    t = t.movedim(dim, -1)
    if t.ndim > 4:
        t = t.flatten(0, -2)
    return t[(None,) * (4 - t.ndim)]


def _without_gaps(raw: Tensor, dim: int) -> Tensor:
    """Return the tensor, or a copy if `torch.empty_like` would give other strides.

    Above four dimensions the taps come last, so that flattening the others gives views.
    """
    if raw.ndim > 4:
        return raw.movedim(dim, -1).contiguous().movedim(-1, dim)
    return raw if torch.empty_like(raw, device="meta").stride() == raw.stride() else raw.contiguous()


def _compiled_in(raw: Tensor, dim: int, eps: float) -> dict[str, Any]:
    taps, kind = raw.shape[dim], tl.float64 if raw.dtype == torch.float64 else tl.float32
    sizes = {"T": taps, "BLOCK_T": triton.next_power_of_2(taps), "BLOCK_G": _BLOCK_G}
    return sizes | {"EPS": eps, "SUM": kind, "num_warps": 4}


def filter_norm(raw: Tensor, dim: int, std: Tensor, eps: float) -> Tensor:
    """The normalisation on checked tensors; see `jointreid.models.dynamic_filter.filter_norm`."""
    raw = _without_gaps(raw, dim)
    out = torch.empty_like(raw, dtype=torch.promote_types(raw.dtype, torch.float32))
    if not raw.numel():
        return out
    of_raw, of_std = _grouped(raw, dim), _grouped(std.expand_as(raw), dim)
    _, n1, n2, taps = of_raw.shape
    groups = raw.numel() // taps
    with on_device_of(raw):
        _forward[(triton.cdiv(groups, _BLOCK_G),)](
            *(of_raw, of_std, out, groups, n1, n2, *of_raw.stride(), *of_std.stride()), **_compiled_in(raw, dim, eps)
        )
    return out


def filter_norm_backward(grad: Tensor, raw: Tensor, dim: int, std: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Gradients of raw and std for `grad`, of the shape of raw."""
    if not raw.numel():
        return torch.zeros_like(raw), torch.zeros_like(std)
    raw = _without_gaps(raw, dim)
    grad_raw = torch.empty_like(raw)
    part = repeating_shape(std, raw, dim)
    rows, repeats = math.prod(part[:-1]), raw.numel() // math.prod(part)
    shared = rows == 1
    if shared:
        rows, repeats = repeats, 1
    row_tiles = triton.cdiv(rows, _BLOCK_G)
    repeats_each = triton.cdiv(repeats, min(repeats, triton.cdiv(_PROGRAMS, row_tiles)))
    slots = row_tiles if shared else triton.cdiv(repeats, repeats_each)
    kind = torch.promote_types(raw.dtype, torch.float32)
    grad_std = raw.new_empty((slots, *part), dtype=kind)
    views = [_grouped(t, dim) for t in (grad, raw, std.expand_as(raw))]
    _, n1, n2, _ = views[1].shape
    strides = [stride for view in views for stride in view.stride()]
    with on_device_of(raw):
        _backward[(row_tiles * triton.cdiv(repeats, repeats_each),)](
            *(*views, grad_raw, grad_std, rows, repeats, repeats_each, n1, n2, *strides),
            **_compiled_in(raw, dim, eps),
            SHARED=shared,
        )
    return grad_raw, grad_std.sum(0).movedim(-1, dim).sum_to_size(std.shape)
