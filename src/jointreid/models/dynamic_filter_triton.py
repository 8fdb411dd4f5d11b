"""`dynamic_filter` on a GPU: splits the work into tiles and launches the kernels of `dynamic_filter_triton_kernels`.

Operands are read in the layout they have, channels-last or not; arithmetic is in float32, or float64 for float64 x.
x is read K*K times, but all reads except the first come from the caches. Every number is written by one program,
without atomics, so sums have the same order each time. The sums of the backward pass run over all channels (for
spatial) and over all positions (for channel): each tile writes its share to a separate slot and PyTorch adds the slots.
For 3x3 kernels at stride 1 in a ResNet for 256 x 128 pixels the slots hold, as a share of the numbers of x, 14 % (for
spatial) and 7 % (for channel) where x is channels-last, and 56 % and 7 to 14 % where it is contiguous; with a base
those for channel are there twice. They hold float32 beside x in bf16, too, and then take twice these shares of its
bytes.

Importing this module imports Triton. Legend: see `dynamic_filter_triton_kernels.py`.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from jointreid.models import dynamic_filter_triton_kernels as kernels
from jointreid.models.dynamic_filter_layout import is_channels_last

# Tiles


# ROWS, BLOCK_H, BLOCK_W, BLOCK_C, warps: wide along the contiguous dimension, 8 to 64 results for each thread. A thread
# with several rows has too few registers for windows above 3x3.
_CHANNELS_LAST = [
    *((4, 1, 8, 64, 2), (4, 1, 16, 64, 4), (2, 1, 16, 64, 4), (4, 1, 8, 32, 1), (4, 1, 8, 16, 1)),
    *((1, 4, 8, 64, 4), (1, 4, 8, 16, 2)),
]
_CONTIGUOUS = [
    *((4, 1, 32, 8, 2), (4, 1, 32, 8, 1), (4, 1, 16, 16, 2), (4, 4, 8, 8, 2)),
    *((1, 4, 32, 8, 4), (1, 8, 8, 8, 2)),
]


def _tiles(channels_last: bool) -> list[triton.Config]:
    """Return the tiles to try."""
    return [
        triton.Config({"ROWS": rows, "BLOCK_H": h, "BLOCK_W": w, "BLOCK_C": c}, num_warps=warps)
        for rows, h, w, c, warps in (_CHANNELS_LAST if channels_last else _CONTIGUOUS)
    ]


def _fitting(configs: list[triton.Config], arguments: dict[str, Any], K: int, **_: object) -> list[triton.Config]:
    """Leave out tiles much wider than the channels, and those made for windows of other sizes."""
    most = max(16, triton.next_power_of_2(arguments["channels"]))
    return [c for c in configs if c.kwargs["BLOCK_C"] <= most and (c.kwargs["ROWS"] == 1) == (K > 3)]


@functools.cache
def _tuned(kernel: Any, channels_last: bool) -> Any:
    """Return the kernel with autotuning: it tries the tiles for each new size of map, and keeps the choice on disk.

    All tiles give the same result. Triton's interpreter cannot tune: that needs a GPU.
    """
    return triton.autotune(
        _tiles(channels_last),
        key=["channels", "height", "width", "K", "STRIDE", "DILATION"],
        prune_configs_by={"early_config_prune": _fitting},
        cache_results=True,
    )(kernel)


_UNTUNED = {"ROWS": 2, "BLOCK_H": 8, "BLOCK_W": 8, "BLOCK_C": 16}


def _summing_tile(channels: int, channels_last: bool) -> dict[str, int]:
    """Return the tile of 128 positions for sums. It is not tuned: another tile would sum in another order."""
    sizes = {"BLOCK_H": 16, "BLOCK_W": 8} if channels_last else {"BLOCK_H": 8, "BLOCK_W": 16}
    block_c = min(64 if channels_last else 16, max(16, triton.next_power_of_2(channels)))
    return sizes | {"BLOCK_C": block_c, "num_warps": 4}


# Launches


def on_device_of(t: Tensor) -> torch.cuda.device:
    """Return a context in which kernels start on the GPU of `t`; it does nothing for a tensor on the CPU."""
    return torch.cuda.device(t.device if t.is_cuda else -1)


def _empty(shape: Sequence[int], dtype: torch.dtype, like: Tensor) -> Tensor:
    """Allocate a map of that shape in the memory format of `like`."""
    layout = torch.channels_last if is_channels_last(like) else torch.contiguous_format
    return torch.empty(tuple(shape), dtype=dtype, device=like.device, memory_format=layout)


def _launch(
    kernel: Any, operands: Sequence[Tensor | None], sizes: Sequence[int], result: Tensor, **compiled_in: Any
) -> None:
    """Run a kernel over tiles of `result` [B, C, ., .], tuned where there is a GPU to tune on."""
    batch, channels, rows, cols = result.shape

    def grid(meta: dict[str, int]) -> tuple[int]:
        tiles = triton.cdiv(rows, meta["BLOCK_H"] * meta["ROWS"]) * triton.cdiv(cols, meta["BLOCK_W"])
        return (batch * tiles * triton.cdiv(channels, meta["BLOCK_C"]),)

    maps = [t for t in (*operands[:2], result) if t is not None]
    arguments = (*operands, result, *sizes, *(step for t in maps for step in t.stride()))
    with on_device_of(result):
        if result.is_cuda:
            _tuned(kernel, is_channels_last(result))[grid](*arguments, **compiled_in)
        else:
            kernel[grid](*arguments, **compiled_in, **_UNTUNED)


def _compiled_in(x: Tensor, spatial: Tensor, stride: int, dilation: int) -> dict[str, Any]:
    kind = tl.float64 if x.dtype == torch.float64 else tl.float32
    return {"K": math.isqrt(spatial.shape[1]), "STRIDE": stride, "DILATION": dilation, "SUM": kind}


def _sizes(x: Tensor, spatial: Tensor) -> tuple[int, ...]:
    return (*x.shape[1:], *spatial.shape[2:])


# The functions that `dynamic_filter.py` calls


def dynamic_filter(
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int,
    dilation: int,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> Tensor:
    """The operator on checked tensors; see `jointreid.models.dynamic_filter.dynamic_filter`."""
    y = _empty((*x.shape[:2], *spatial.shape[2:]), x.dtype, x)
    if y.numel():
        operands = (x, spatial, channel.contiguous(), _contiguous(base), _contiguous(gain))
        _launch(kernels.forward, operands, _sizes(x, spatial), y, **_compiled_in(x, spatial, stride, dilation))
    return y


def dynamic_filter_backward(
    grad: Tensor,
    x: Tensor,
    spatial: Tensor,
    channel: Tensor,
    stride: int,
    dilation: int,
    base: Tensor | None = None,
    gain: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gradients of x, spatial and channel, and of base and gain where they are given, for `grad` [B, C, H', W']."""
    if not x.numel():
        return tuple(torch.zeros_like(t) for t in (x, spatial, channel, base, gain) if t is not None)
    channel, base, gain = channel.contiguous(), _contiguous(base), _contiguous(gain)
    grad_x = _empty(x.shape, x.dtype, x)
    compiled_in = _compiled_in(x, spatial, stride, dilation)
    _launch(kernels.backward_x, (grad, spatial, channel, base, gain), _sizes(x, spatial), grad_x, **compiled_in)
    return grad_x, *_gradients_of_filters(grad, x, spatial, channel, gain, compiled_in)


def _contiguous(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.contiguous()


def _gradients_of_filters(
    grad: Tensor, x: Tensor, spatial: Tensor, channel: Tensor, gain: Tensor | None, compiled_in: dict[str, Any]
) -> tuple[Tensor, ...]:
    (batch, channels), (taps, rows, cols) = x.shape[:2], spatial.shape[1:]
    tile = _summing_tile(channels, is_channels_last(x))
    channel_tiles = triton.cdiv(channels, tile["BLOCK_C"])
    position_tiles = triton.cdiv(rows, tile["BLOCK_H"]) * triton.cdiv(cols, tile["BLOCK_W"])
    kind = torch.promote_types(x.dtype, torch.float32)
    grad_spatial = _empty((channel_tiles * batch, taps, rows, cols), kind, spatial)
    grad_channel = channel.new_empty((position_tiles, batch, channels, taps), dtype=kind)
    grad_base = None if gain is None else torch.empty_like(grad_channel)
    strides = (*grad.stride(), *x.stride(), *spatial.stride(), *grad_spatial.stride())
    with on_device_of(x):
        kernels.backward_filters[(batch * position_tiles * channel_tiles,)](
            *(grad, x, spatial, channel, gain, grad_spatial, grad_channel, grad_base),
            *(batch, *_sizes(x, spatial)),
            *strides,
            **compiled_in,
            **tile,
        )
    of_spatial = _add_slots(grad_spatial.view(channel_tiles, batch, *grad_spatial.shape[1:]))
    of_scaled = _add_slots(grad_channel)
    if gain is None or grad_base is None:
        return of_spatial, of_scaled
    of_base = grad_base.sum((0, 1), dtype=torch.float64)  # the longest sums: over the batch and all positions
    of_gain = (of_scaled * channel).sum((0, 2), dtype=torch.float64)
    return of_spatial, of_scaled * gain.to(kind)[:, None], of_base, of_gain


def _add_slots(slots: Tensor) -> Tensor:
    return slots[0] if len(slots) == 1 else slots.sum(0)
