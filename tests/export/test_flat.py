"""The generated convolution, by shifts and products, is the one of windows, at every size, stride and dilation."""

import math

import pytest
import torch

from jointreid.export.flat import edge_mask, flat_filter
from jointreid.models.dynamic_filter import dynamic_filter_reference


@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation", "height", "width"),
    [
        (3, 1, 1, 8, 4),
        (3, 1, 1, 5, 7),
        (3, 1, 2, 9, 5),
        (5, 1, 1, 6, 6),
        (7, 1, 1, 4, 3),
        (3, 1, 1, 1, 1),
        (3, 1, 3, 2, 2),
        (3, 2, 1, 8, 4),
        (3, 2, 1, 7, 5),
        (3, 4, 1, 9, 4),
        (3, 2, 2, 6, 5),
        (3, 3, 1, 1, 2),
        (5, 2, 1, 9, 8),
        (7, 3, 2, 8, 11),
    ],
)
def test_shifts_filter_a_map(kernel_size: int, stride: int, dilation: int, height: int, width: int) -> None:
    taps, channels = kernel_size**2, 3
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    x, spatial, channel = (
        torch.randn(2, *shape, dtype=torch.float64)
        for shape in ((channels, height, width), (taps, rows, columns), (channels, taps))
    )
    kernels = spatial * edge_mask(kernel_size, stride, dilation, height, width)
    y = flat_filter(x, kernels.view(2, 1, taps, -1), channel.unsqueeze(2), kernel_size, stride, dilation)
    expected = dynamic_filter_reference(x, spatial, channel, stride, dilation)
    torch.testing.assert_close(y.view_as(expected), expected, rtol=1e-12, atol=1e-12)
