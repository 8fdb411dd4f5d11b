"""The generated convolution on one axis is the one on two, at every size, stride and distance of taps."""

import math

import pytest
import torch

from jointreid.export import flat
from jointreid.export.flat import edge_mask, flat_filter, strided_filter
from jointreid.models.dynamic_filter import dynamic_filter_reference


@pytest.mark.parametrize("piece", [0, 10**9], ids=["row by row", "in one piece"])
@pytest.mark.parametrize(
    ("kernel_size", "dilation", "height", "width"),
    [(3, 1, 8, 4), (3, 1, 5, 7), (3, 2, 9, 5), (5, 1, 6, 6), (7, 1, 4, 3), (3, 1, 1, 1), (3, 3, 2, 2)],
)
def test_a_flat_map_is_filtered_as_a_map(
    monkeypatch: pytest.MonkeyPatch, piece: int, kernel_size: int, dilation: int, height: int, width: int
) -> None:
    monkeypatch.setattr(flat, "PIECE", piece)
    monkeypatch.setattr(flat, "FEW", 0)
    taps, channels = kernel_size**2, 3
    x, spatial, channel = (
        torch.randn(2, *shape, dtype=torch.float64)
        for shape in ((channels, height, width), (taps, height, width), (channels, taps))
    )
    inside = edge_mask(kernel_size, dilation, height, width)
    y = flat_filter(
        x.view(2, channels, 1, -1),
        (spatial.view(2, taps, 1, -1) * inside).view(2, 1, taps, -1),
        channel.unsqueeze(2),
        (height, width),
        kernel_size,
        dilation,
    )
    expected = dynamic_filter_reference(x, spatial, channel, 1, dilation)
    torch.testing.assert_close(y.view_as(expected), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("stride", "dilation", "height", "width"), [(2, 1, 8, 4), (2, 1, 7, 5), (4, 1, 9, 4), (2, 2, 6, 5), (3, 1, 1, 2)]
)
def test_a_stride_leaves_out_positions(stride: int, dilation: int, height: int, width: int) -> None:
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    x, spatial, channel = (
        torch.randn(2, *shape, dtype=torch.float64) for shape in ((3, height, width), (9, rows, columns), (3, 9))
    )
    y = strided_filter(x, spatial.view(2, 1, 9, -1), channel.unsqueeze(2), 3, stride, dilation)
    expected = dynamic_filter_reference(x, spatial, channel, stride, dilation)
    torch.testing.assert_close(y.view_as(expected), expected, rtol=1e-12, atol=1e-12)
