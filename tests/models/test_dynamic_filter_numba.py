"""The CPU kernels beyond what test_dynamic_filter.py asks of any implementation: odd shapes and threads."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numba
import pytest
import torch
from torch import Tensor

from jointreid.models import dynamic_filter_numba as kernels
from jointreid.models import filter_norm_numba as norms
from jointreid.models.dynamic_filter import (
    dynamic_filter_backward_reference,
    dynamic_filter_reference,
    filter_norm_backward_reference,
    filter_norm_reference,
)

pytestmark = pytest.mark.slow

Shape = tuple[int, int, int, int, int, int, int]  # batch, channels, height, width, kernel size, stride, dilation

ODD_SHAPES: list[Shape] = [
    (1, 1, 1, 1, 3, 1, 1),  # every tap but the centre lies outside
    (2, 1, 1, 9, 3, 1, 1),
    (1, 37, 9, 1, 3, 2, 1),  # channels fill no SIMD register
    (3, 16, 2, 3, 5, 1, 2),  # the window is wider than the image
    (1, 5, 7, 7, 3, 3, 1),  # outputs without a common tap
    (2, 8, 6, 5, 3, 5, 2),
    (1, 3, 8, 9, 7, 2, 1),
    (40, 4, 3, 3, 3, 1, 1),  # more images than pieces
    (0, 4, 6, 5, 3, 1, 1),
]

SHAPES_ON_BASE: list[Shape] = [
    (2, 33, 5, 9, 5, 1, 1),
    (1, 16, 9, 8, 7, 1, 2),
    (2, 40, 4, 11, 3, 1, 1),  # a vector and a half of channels, and more columns than are computed at once
    (2, 40, 7, 10, 3, 2, 1),
    (1, 24, 6, 19, 3, 2, 1),
    (1, 24, 6, 10, 3, 1, 3),
]


def make_inputs(shape: Shape, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Grad, x, spatial, channel."""
    batch, channels, height, width, kernel_size, stride, _ = shape
    rows, cols, taps = -(-height // stride), -(-width // stride), kernel_size**2
    shapes = (batch, channels, rows, cols), (batch, channels, height, width), (batch, taps, rows, cols)
    generator = torch.Generator().manual_seed(channels)
    grad, x, spatial = (torch.randn(shape, dtype=dtype, generator=generator) for shape in shapes)
    return grad, x, spatial, torch.randn(batch, channels, taps, dtype=dtype, generator=generator)


def make_base(channel: Tensor) -> tuple[Tensor, Tensor]:
    """Base [C, T] and gain [C]."""
    generator = torch.Generator().manual_seed(channel.shape[2])
    base = torch.randn(channel.shape[1:], dtype=channel.dtype, generator=generator)
    return base, torch.randn(channel.shape[1], dtype=channel.dtype, generator=generator)


@pytest.fixture
def two_threads() -> Iterator[None]:
    if numba.config.NUMBA_NUM_THREADS < 2:  # type: ignore[attr-defined]
        pytest.skip("one core")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", ODD_SHAPES)
def test_dynamic_filter_equals_reference(shape: Shape, dtype: torch.dtype) -> None:
    *_, stride, dilation = shape
    grad, x, spatial, channel = make_inputs(shape, dtype)
    y = kernels.dynamic_filter(x, spatial, channel, stride, dilation)
    torch.testing.assert_close(y, dynamic_filter_reference(x, spatial, channel, stride, dilation))
    gradients = kernels.dynamic_filter_backward(grad, x, spatial, channel, stride, dilation)
    expected = dynamic_filter_backward_reference(grad, x, spatial, channel, stride, dilation)
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [*ODD_SHAPES, *SHAPES_ON_BASE])
def test_dynamic_filter_on_a_base_equals_reference(shape: Shape, dtype: torch.dtype) -> None:
    *_, stride, dilation = shape
    grad, x, spatial, channel = make_inputs(shape, dtype)
    base, gain = make_base(channel)
    y = kernels.dynamic_filter(x, spatial, channel, stride, dilation, base, gain)
    expected_y = dynamic_filter_reference(x, spatial, channel, stride, dilation, base=base, gain=gain)
    torch.testing.assert_close(y, expected_y, rtol=1.3e-6, atol=2e-5 if dtype == torch.float32 else 1e-10)
    gradients = kernels.dynamic_filter_backward(grad, x, spatial, channel, stride, dilation, base, gain)
    expected = dynamic_filter_backward_reference(grad, x, spatial, channel, stride, dilation, base, gain)
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got.to(dtype), wanted, rtol=1e-5, atol=1e-4 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("std_shape", [(), (5, 9), (7, 5, 9)])
def test_filter_norm_equals_reference(std_shape: tuple[int, ...]) -> None:
    raw, grad, std = torch.randn(7, 5, 9), torch.randn(7, 5, 9), torch.randn(std_shape)
    torch.testing.assert_close(norms.filter_norm(raw, 2, std, 1e-10), filter_norm_reference(raw, 2, std))
    torch.testing.assert_close(
        norms.filter_norm_backward(grad, raw, 2, std, 1e-10),
        filter_norm_backward_reference(grad, raw, 2, std, 1e-10),
        rtol=1e-4,
        atol=1e-5,
    )


def test_filter_norm_of_an_empty_batch() -> None:
    raw, std = torch.zeros(0, 5, 9), torch.ones(5, 9)
    assert norms.filter_norm(raw, 2, std, 1e-10).shape == (0, 5, 9)
    grad_raw, grad_std = norms.filter_norm_backward(raw, raw, 2, std, 1e-10)
    assert grad_raw.shape == (0, 5, 9)
    assert torch.equal(grad_std, torch.zeros(5, 9))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("stride", "rows", "cols"), [(1, slice(2), slice(3, 6)), (2, slice(1), slice(2, 3))])
def test_a_bad_value_reaches_only_its_windows(value: float, stride: int, rows: slice, cols: slice) -> None:
    grad, x, spatial, channel = make_inputs((1, 16, 7, 9, 3, stride, 1))
    grad[0, 3, 0, 2] = value
    grad_x, *_ = kernels.dynamic_filter_backward(grad, x, spatial, channel, stride, 1)
    reached = torch.zeros_like(x, dtype=torch.bool)
    reached[0, 3, :2, 2 * stride - 1 : 2 * stride + 2] = True
    assert torch.equal(~grad_x.isfinite(), reached)

    x[0, 3, 0, 4] = value
    y = kernels.dynamic_filter(x, spatial, channel, stride, 1)
    reached = torch.zeros_like(y, dtype=torch.bool)
    reached[0, 3, rows, cols] = True
    assert torch.equal(~y.isfinite(), reached)


def all_results() -> list[Tensor]:
    """Every kernel once, on shapes with more pieces than threads."""
    results: list[Tensor] = []
    for stride in (1, 2):
        grad, x, spatial, channel = make_inputs((2, 24, 17, 9, 3, stride, 1))
        results.append(kernels.dynamic_filter(x, spatial, channel, stride, 1))
        results.extend(kernels.dynamic_filter_backward(grad, x, spatial, channel, stride, 1))
        based = (stride, 1, *make_base(channel))
        results.append(kernels.dynamic_filter(x, spatial, channel, *based))
        results.extend(kernels.dynamic_filter_backward(grad, x, spatial, channel, *based))
        results.append(norms.filter_norm(spatial, 1, torch.tensor(0.5), 1e-10))
        results.extend(norms.filter_norm_backward(spatial.flip(0), spatial, 1, torch.tensor(0.5), 1e-10))
    return results


def test_threads_do_not_change_the_results(two_threads: None) -> None:
    threads_of_numba = numba.get_num_threads()
    together = all_results()
    assert numba.get_num_threads() == threads_of_numba
    torch.set_num_threads(1)
    torch.testing.assert_close(together, all_results())


def test_calls_from_several_python_threads(two_threads: None) -> None:
    expected = all_results()

    def repeat(_: int) -> list[list[Tensor]]:
        torch.set_num_threads(2)  # OpenMP counts the threads of each Python thread apart
        return [all_results() for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for results in itertools.chain.from_iterable(pool.map(repeat, range(4))):
            for got, wanted in zip(results, expected, strict=True):
                assert torch.equal(got, wanted)
