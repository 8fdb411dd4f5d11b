"""The generated convolution in plain tensor operations that exporters and other runtimes know.

A map is flattened, so that the neighbour of every position in one direction is one shift of one axis. Neighbours across
the left and right edge, which a shift takes from the row before or after, get a kernel of 0. Compared with a window of
two axes for each tap, a shift is one copy of long rows, and a third of the nodes.

Letters: B images, C channels, H x W positions, K kernel side, T = K*K taps, tap t = u*K + v.
"""

import torch
from torch import Tensor
from torch.nn import functional

# Values of all taps of a map in one piece up to this many for an image, or for a map of few positions; others are
# filtered one row of the kernel at a time, which needs a K-th of the memory and more operations.
PIECE = 400_000
FEW = 128


def edge_mask(kernel_size: int, dilation: int, height: int, width: int) -> Tensor:
    """Return [1, T, 1, H*W]: whether the neighbour of each tap lies in the same row of the map, left to right."""
    columns = torch.arange(width)
    offsets = (torch.arange(kernel_size) - kernel_size // 2) * dilation
    inside = columns + offsets[:, None]
    inside = (inside >= 0) & (inside < width)  # K W
    return inside[None, :, None].expand(kernel_size, -1, height, -1).reshape(1, kernel_size**2, 1, height * width)


def flat_filter(
    x: Tensor, spatial: Tensor, channel: Tensor, size: tuple[int, int], kernel_size: int, dilation: int
) -> Tensor:
    """Filter a flattened map with stride 1.

    Args:
        x: [B, C, 1, H*W].
        spatial: [B, 1, T, H*W]; 0 where `edge_mask` is False.
        channel: [B, C, 1, T].
        size: H, W.
        kernel_size: K.
        dilation: distance between neighbouring taps, in positions.

    Returns:
        [B, C, 1, H*W].
    """
    height, width = size
    positions, reach = height * width, kernel_size // 2 * dilation

    def shifted(rows: int, columns: int, length: int) -> Tensor:
        """Return `length` positions of the map, beginning `rows` and `columns` before its first."""
        before = rows * width + columns
        return functional.pad(x, (before, length - positions - before))

    farthest = reach * width + reach
    few = positions <= FEW or x.shape[1] * kernel_size**2 * positions <= PIECE
    if few and farthest < positions:
        shifts = [
            shifted(reach - u * dilation, reach - v * dilation, positions)
            for u in range(kernel_size)
            for v in range(kernel_size)
        ]
        return channel @ (torch.cat(shifts, dim=2) * spatial)
    # The neighbours in a row of the kernel, for the map and the rows above and below it.
    long = positions + 2 * reach * width
    row = torch.cat([shifted(reach, reach - v * dilation, long) for v in range(kernel_size)], dim=2)  # B C K long
    parts = []
    for u, (of_positions, of_channels) in enumerate(
        zip(torch.split(spatial, kernel_size, 2), torch.split(channel, kernel_size, 3), strict=True)
    ):
        start = u * dilation * width
        parts.append(of_channels @ (row[..., start : start + positions] * of_positions))
    return sum(parts[1:], start=parts[0])


def strided_filter(x: Tensor, spatial: Tensor, channel: Tensor, kernel_size: int, stride: int, dilation: int) -> Tensor:
    """Filter a map with any stride, one window of two axes for each tap.

    Args:
        x: [B, C, H, W].
        spatial: [B, 1, T, H'*W'].
        channel: [B, C, 1, T].
        kernel_size: K.
        stride: of the output grid.
        dilation: distance between neighbouring taps, in positions.

    Returns:
        [B, C, 1, H'*W'].
    """
    channels, height, width = x.shape[1:]
    reach = kernel_size // 2 * dilation
    rows, columns = (height - 1) // stride * stride + 1, (width - 1) // stride * stride + 1
    padded = functional.pad(x, (reach,) * 4).view(-1, channels, 1, height + 2 * reach, width + 2 * reach)
    windows = [
        padded[..., top : top + rows : stride, left : left + columns : stride]
        for top in range(0, kernel_size * dilation, dilation)
        for left in range(0, kernel_size * dilation, dilation)
    ]
    positions = ((rows - 1) // stride + 1) * ((columns - 1) // stride + 1)
    stacked = torch.cat(windows, dim=2).view(-1, channels, kernel_size**2, positions)
    return channel @ (stacked * spatial)
