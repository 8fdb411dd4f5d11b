"""The generated convolution in plain tensor operations that exporters and other runtimes know.

A map is flattened, so that the neighbour of every position in one direction is one shift of one axis. Neighbours across
the left and right edge, which a shift takes from the row before or after, get a kernel of 0. With a stride, the
neighbours that a tap meets lie on one of stride x stride coarser maps, and are shifts of it.

A map is as large as its channels are many, and a shift of it is a copy. So it is shifted to the sides alone, once for
each column of the kernel. What a row of the kernel adds is computed where it finds its neighbours, with the small
spatial kernels moved there, and the sum, which has no taps, is moved back.

Letters: B images, C channels, H x W positions, s stride, H' x W' output positions, L = H'*W', K kernel side, T = K*K
taps, tap t = u*K + v.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def edge_mask(kernel_size: int, stride: int, dilation: int, height: int, width: int) -> Tensor:
    """Return [1, T, H', W']: whether a tap finds its neighbour in the same row of its map, left to right.

    Args:
        kernel_size: K.
        stride: s.
        dilation: distance between neighbouring taps, in positions.
        height: H.
        width: W.
    """
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    away = torch.tensor([by for by, _ in _taps(kernel_size, stride, dilation)])
    found = torch.arange(columns) + away[:, None]
    inside = (found >= 0) & (found < columns)  # K W'
    return inside[None, :, None].expand(kernel_size, -1, rows, -1).reshape(1, kernel_size**2, rows, columns)


def flat_filter(x: Tensor, spatial: Tensor, channel: Tensor, kernel_size: int, stride: int, dilation: int) -> Tensor:
    """Filter a map, zeros around it.

    Args:
        x: [B, C, H, W].
        spatial: [B, 1, T, L]; 0 where `edge_mask` is False.
        channel: [B, C, 1, T].
        kernel_size: K.
        stride: s.
        dilation: distance between neighbouring taps, in positions.

    Returns:
        [B, C, 1, L].
    """
    columns = math.ceil(x.shape[3] / stride)
    taps = _taps(kernel_size, stride, dilation)
    maps = _coarser(x, stride)
    beside = {
        of_row: torch.cat([_moved(maps[of_row, of_column], -by) for by, of_column in taps], dim=2)
        for of_row in {of_row for _, of_row in taps}
    }  # B C K L each
    y = []
    kernels = zip(taps, torch.split(channel, kernel_size, 3), torch.split(spatial, kernel_size, 2), strict=True)
    for (by, of_row), of_channels, of_positions in kernels:
        neighbours = beside[of_row] * _moved(of_positions, by * columns)
        y.append(_moved(of_channels @ neighbours, -by * columns))
    return sum(y[1:], start=y[0])


def _taps(kernel_size: int, stride: int, dilation: int) -> list[tuple[int, int]]:
    """Return where the taps of an axis find their neighbours: this many coarser positions away, on this coarser map."""
    return [divmod((number - kernel_size // 2) * dilation, stride) for number in range(kernel_size)]


def _coarser(x: Tensor, stride: int) -> dict[tuple[int, int], Tensor]:
    """Return every s-th position [B, C, 1, L] from each row and column below s, zeros beyond the last."""
    channels, height, width = x.shape[1:]
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    if (rows * stride, columns * stride) != (height, width):
        x = functional.pad(x, (0, columns * stride - width, 0, rows * stride - height))
    found = {}
    for row in range(stride):
        of_row = x[:, :, row::stride] if stride > 1 else x
        for column in range(stride):
            piece = of_row[..., column::stride] if stride > 1 else x
            found[row, column] = piece.reshape(-1, channels, 1, rows * columns)
    return found


def _moved(values: Tensor, by: int) -> Tensor:
    """Move flattened maps [..., L] by some positions towards their end, or begin for less than 0; zeros come in."""
    if abs(by) >= values.shape[-1]:
        return torch.zeros_like(values)
    return functional.pad(values, (by, -by)) if by else values
