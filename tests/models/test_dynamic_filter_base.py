"""`dynamic_filter` with a base and a gain, against loops, PyTorch's convolutions and finite differences."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses import FakeTensorMode

from jointreid.messages.errors import JointreidError
from jointreid.models.dynamic_filter import (
    dynamic_filter,
    dynamic_filter_backward_reference,
    dynamic_filter_reference,
    dynamic_filter_sum,
)
from tests.models.test_dynamic_filter import LAYOUTS, make_inputs, saved_for_backward

WINDOWS = list(itertools.product((3, 5, 7), (1, 2), (1, 2)))  # kernel size, stride, dilation

Inputs = tuple[Tensor, ...]  # x, spatial, channel, base, gain


def make_based(dtype: torch.dtype = torch.float64, **sizes: Any) -> Inputs:
    x, spatial, channel = make_inputs(dtype=dtype, **sizes)
    generator = torch.Generator().manual_seed(channel.shape[2])
    base = torch.randn(channel.shape[1:], dtype=dtype, generator=generator)
    return x, spatial, channel, base, torch.randn(channel.shape[1], dtype=dtype, generator=generator)


def each(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    return tuple(change(t) for t in inputs)


def leaves(inputs: Inputs) -> Inputs:
    return each(lambda t: t.detach().clone(memory_format=torch.preserve_format).requires_grad_(), inputs)


def run(inputs: Inputs, stride: int = 1, dilation: int = 1, operator: Any = dynamic_filter) -> Tensor:
    x, spatial, channel, base, gain = inputs
    y: Tensor = operator(x, spatial, channel, stride, dilation, base=base, gain=gain)
    return y


def gradients(inputs: Inputs, stride: int = 1, dilation: int = 1, operator: Any = dynamic_filter) -> Inputs:
    """Gradients for an incoming gradient of fixed numbers."""
    y = run(inputs, stride, dilation, operator)
    grad = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape).to(y.dtype)
    return torch.autograd.grad(y, inputs, grad)


def loops(inputs: Inputs, stride: int, dilation: int) -> Tensor:
    """The formula in plain Python, one multiplication at a time."""
    x, spatial, channel, base, gain = (t.tolist() for t in inputs)
    (batch, channels, height, width), (_, taps, rows, cols) = inputs[0].shape, inputs[1].shape
    size = int(taps**0.5)
    y = torch.zeros(batch, channels, rows, cols, dtype=torch.float64)
    for b, c, i, j, u, v in itertools.product(*map(range, (batch, channels, rows, cols, size, size))):
        r, q, t = stride * i + (u - size // 2) * dilation, stride * j + (v - size // 2) * dilation, u * size + v
        if 0 <= r < height and 0 <= q < width:
            y[b, c, i, j] += (base[c][t] + gain[c] * spatial[b][t][i][j] * channel[b][c][t]) * x[b][c][r][q]
    return y


# What it computes


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), WINDOWS)
def test_base_equals_loops(kernel_size: int, stride: int, dilation: int) -> None:
    inputs = make_based(batch=2, channels=2, kernel_size=kernel_size, stride=stride)
    expected = loops(inputs, stride, dilation)
    torch.testing.assert_close(run(inputs, stride, dilation), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(run(inputs, stride, dilation, dynamic_filter_reference), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), WINDOWS)
def test_base_gradients_equal_the_reference(kernel_size: int, stride: int, dilation: int) -> None:
    inputs = leaves(make_based(kernel_size=kernel_size, stride=stride))
    expected = gradients(inputs, stride, dilation, dynamic_filter_reference)
    torch.testing.assert_close(gradients(inputs, stride, dilation), expected)
    x, spatial, channel, base, gain = each(Tensor.detach, inputs)
    grad = torch.cos(torch.arange(run(inputs, stride).numel(), dtype=torch.float64)).view(run(inputs, stride).shape)
    by_hand = dynamic_filter_backward_reference(grad, x, spatial, channel, stride, dilation, base, gain)
    torch.testing.assert_close(by_hand, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), WINDOWS)
def test_base_gradients_equal_finite_differences(kernel_size: int, stride: int, dilation: int) -> None:
    inputs = leaves(make_based(batch=2, channels=2, height=4, width=5, kernel_size=kernel_size, stride=stride))
    assert torch.autograd.gradcheck(lambda *given: run(given, stride, dilation), inputs)


# On x86 oneDNN adds the taps in their order, by fused multiply-adds, and so do the CPU kernels.
SAME_BITS = torch._C._has_mkldnn and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), WINDOWS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_without_gain_it_is_a_depthwise_convolution(kernel_size: int, stride: int, dilation: int, layout: str) -> None:
    sizes = {"channels": 22, "height": 9, "width": 8}
    x, spatial, channel, base, gain = make_based(torch.float32, kernel_size=kernel_size, stride=stride, **sizes)
    x = LAYOUTS[layout](x) if layout in LAYOUTS else x
    got = run((x, spatial, channel, base, torch.zeros_like(gain)), stride, dilation)
    kernels, padding = base.view(22, 1, kernel_size, kernel_size), kernel_size // 2 * dilation
    expected = F.conv2d(x, kernels, None, stride, padding, dilation, groups=22)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    if SAME_BITS:
        assert torch.equal(got, expected)


def test_a_base_of_zeros_and_a_gain_of_one_change_nothing() -> None:
    x, spatial, channel, base, gain = make_based(kernel_size=5, stride=2)
    got = run((x, spatial, channel, torch.zeros_like(base), torch.ones_like(gain)), 2)
    torch.testing.assert_close(got, dynamic_filter(x, spatial, channel, 2), rtol=0, atol=1e-13)


def test_the_sum_of_two_kernels_on_a_base() -> None:
    x, spatial, channel, base, gain = make_based(stride=2)
    kernels = spatial[:, None] + channel[:, :, :, None, None]  # B C T H' W'
    kernels = base[None, :, :, None, None] + gain[None, :, None, None, None] * kernels
    patches = F.unfold(x, 3, padding=1, stride=2).view_as(kernels)
    got = run((x, spatial, channel, base, gain), 2, 1, dynamic_filter_sum)
    torch.testing.assert_close(got, (kernels * patches).sum(2))


# Precision and layout


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_rounds_only_inputs_and_output(dtype: torch.dtype, tolerance: float) -> None:
    rounded = each(lambda t: t.to(dtype), make_based(kernel_size=5))
    inputs, exact = leaves(rounded), leaves(each(Tensor.double, rounded))
    for operator in (dynamic_filter, dynamic_filter_reference):
        y = run(inputs, operator=operator)
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), run(exact), rtol=tolerance, atol=1e-5)
    grad = torch.randn_like(run(inputs))
    expected = torch.autograd.grad(run(exact), exact, grad.double())
    for got, wanted in zip(torch.autograd.grad(run(inputs), inputs, grad), expected, strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=1e-5)


def test_each_argument_keeps_its_dtype() -> None:
    x, spatial, channel, base, gain = make_based(torch.float32)
    inputs = leaves((x.bfloat16(), spatial, channel.half(), base, gain.double()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = run(inputs)
    assert y.dtype == torch.bfloat16
    expected = [torch.bfloat16, torch.float32, torch.float16, torch.float32, torch.float64]
    assert [t.dtype for t in torch.autograd.grad(y.sum(), inputs)] == expected


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (3, 2), (5, 1)])
def test_base_in_any_memory_layout(layout: str, kernel_size: int, stride: int) -> None:
    inputs = leaves(make_based(kernel_size=kernel_size, stride=stride))
    others = each(lambda t: LAYOUTS[layout if t.ndim > 1 else "slices"](t.detach()).requires_grad_(), inputs)
    assert torch.equal(run(inputs, stride), run(others, stride))
    for expected, got in zip(gradients(inputs, stride), gradients(others, stride), strict=True):
        assert torch.equal(expected, got)


# As an operator of PyTorch


def test_backward_on_a_base_keeps_only_the_inputs() -> None:
    inputs = leaves(make_based())
    assert saved_for_backward(lambda: run(inputs)) == [t.data_ptr() for t in inputs]


def test_parameters_that_need_no_gradient_get_none() -> None:
    x, spatial, channel, base, gain = make_based()
    y = run((x, spatial, channel, base.requires_grad_(), gain))
    torch.testing.assert_close(torch.autograd.grad(y.sum(), base), gradients_of_ones(x, spatial, channel, base, gain))


def gradients_of_ones(*inputs: Tensor) -> tuple[Tensor]:
    given = leaves(inputs)
    return (torch.autograd.grad(run(given, operator=dynamic_filter_reference).sum(), given)[3],)


@pytest.mark.slow
@pytest.mark.parametrize(("stride", "kernel_size"), [(1, 3), (2, 5)])
def test_base_opcheck(stride: int, kernel_size: int) -> None:
    x, spatial, channel, base, gain = make_based(torch.float32, stride=stride, kernel_size=kernel_size)
    x, spatial, channel, base, gain = leaves((LAYOUTS["channels_last"](x), spatial, channel, base, gain))
    operator = torch.ops.jointreid.dynamic_filter.default
    torch.library.opcheck(operator, (x, spatial, channel, stride, 1, base, gain))


def test_fake_and_meta_tensors_on_a_base() -> None:
    inputs = make_based(torch.float32, stride=2)
    real = run(inputs, 2)
    with FakeTensorMode() as mode:
        fake = run(each(mode.from_tensor, inputs), 2)
    for t in (run(each(lambda t: t.to("meta"), inputs), 2), fake):
        assert (t.shape, t.stride(), t.dtype) == (real.shape, real.stride(), real.dtype)


@pytest.mark.slow
def test_base_compiles_into_one_graph() -> None:
    def block(*inputs: Tensor) -> Tensor:
        return run((inputs[0].relu(), *inputs[1:]), 2).square().mean((2, 3))

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (2, 5):
        inputs = leaves(make_based(torch.float32, batch=batch, stride=2))
        expected, got = block(*inputs), compiled(*inputs)
        torch.testing.assert_close(got, expected)
        wanted = torch.autograd.grad(expected.sum(), inputs)
        torch.testing.assert_close(torch.autograd.grad(got.sum(), inputs), wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": None}, "gain is given without base"),
        ({"gain": None}, "base is given without gain"),
        ({"base": torch.zeros(3, 8)}, r"base has shape \(3, 8\); expected \[3, 9\]"),
        ({"base": torch.zeros(3, 1, 3, 3)}, r"expected \[3, 9\] for channel \(2, 3, 9\)"),
        ({"gain": torch.zeros(1)}, r"gain has shape \(1,\); expected \[3\]"),
        ({"gain": torch.zeros(3, dtype=torch.int64)}, "gain has dtype torch.int64"),
        ({"base": torch.zeros(3, 9, device="meta")}, "base is on meta, x on cpu"),
    ],
)
def test_refuses_a_base_that_does_not_fit(change: dict[str, Tensor | None], message: str) -> None:
    x, spatial, channel, base, gain = make_based(torch.float32)
    arguments: dict[str, Any] = {"base": base, "gain": gain} | change
    for operator in (dynamic_filter, dynamic_filter_reference):
        with pytest.raises(JointreidError, match=message):
            operator(x, spatial, channel, **arguments)
