"""The operator `dynamic_filter` against loops, identities and PyTorch's own layers."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
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
    filter_norm,
)

WINDOWS = list(itertools.product((1, 3, 5), (1, 2), (1, 2)))  # kernel size, stride, dilation


Inputs = tuple[Tensor, Tensor, Tensor]  # x, spatial, channel


def make_inputs(
    batch: int = 2,
    channels: int = 3,
    height: int = 5,
    width: int = 7,
    kernel_size: int = 3,
    stride: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Inputs:
    taps, generator = kernel_size**2, torch.Generator().manual_seed(kernel_size + 10 * stride + 100 * height)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype, generator=generator)

    return (
        draw(batch, channels, height, width),
        draw(batch, taps, -(-height // stride), -(-width // stride)),
        draw(batch, channels, taps),
    )


def each(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    x, spatial, channel = inputs
    return change(x), change(spatial), change(channel)


def leaves(inputs: Inputs) -> Inputs:
    return each(lambda t: t.detach().clone(memory_format=torch.preserve_format).requires_grad_(), inputs)


def seven_loops(inputs: Inputs, stride: int, dilation: int) -> Tensor:
    """The formula in plain Python, one multiplication at a time."""
    x, spatial, channel = (t.numpy() for t in inputs)
    batch, channels, height, width = x.shape
    rows, cols = spatial.shape[2:]
    size = int(spatial.shape[1] ** 0.5)
    y = np.zeros((batch, channels, rows, cols))
    for b, c, i, j, u, v in itertools.product(*map(range, (batch, channels, rows, cols, size, size))):
        r, q = stride * i + (u - size // 2) * dilation, stride * j + (v - size // 2) * dilation
        if 0 <= r < height and 0 <= q < width:
            y[b, c, i, j] += spatial[b, u * size + v, i, j] * channel[b, c, u * size + v] * x[b, c, r, q]
    return torch.from_numpy(y)


# dynamic_filter: what it computes


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), WINDOWS)
def test_equals_seven_loops(kernel_size: int, stride: int, dilation: int) -> None:
    inputs = make_inputs(kernel_size=kernel_size, stride=stride)
    expected = seven_loops(inputs, stride, dilation)
    assert stride == 1 or expected.shape == (2, 3, 3, 4)  # 5 x 7 rounds up
    torch.testing.assert_close(dynamic_filter(*inputs, stride, dilation), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(dynamic_filter_reference(*inputs, stride, dilation), expected, rtol=0, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), WINDOWS)
def test_gradients_equal_finite_differences(kernel_size: int, stride: int, dilation: int) -> None:
    inputs = leaves(make_inputs(channels=2, kernel_size=kernel_size, stride=stride))
    assert torch.autograd.gradcheck(lambda x, s, c: dynamic_filter(x, s, c, stride, dilation), inputs)


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), WINDOWS)
def test_reference_gradients_equal_autograd(kernel_size: int, stride: int, dilation: int) -> None:
    inputs = leaves(make_inputs(kernel_size=kernel_size, stride=stride))
    y = dynamic_filter_reference(*inputs, stride, dilation)
    grad = torch.randn_like(y)
    expected = torch.autograd.grad(y, inputs, grad)
    x, spatial, channel = each(Tensor.detach, inputs)
    got = dynamic_filter_backward_reference(grad, x, spatial, channel, stride, dilation)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_flat_spatial_filter_is_a_grouped_convolution(stride: int, dilation: int) -> None:
    x, spatial, channel = make_inputs(stride=stride)
    y = dynamic_filter(x, torch.ones_like(spatial), channel, stride, dilation)
    kernels = channel.reshape(6, 1, 3, 3)
    expected = F.conv2d(x.reshape(1, 6, 5, 7), kernels, None, stride, dilation, dilation, groups=6)
    torch.testing.assert_close(y, expected.reshape(y.shape), rtol=0, atol=1e-14)


@pytest.mark.parametrize("stride", [1, 2])
def test_flat_channel_filter_is_an_involution_with_one_group(stride: int) -> None:
    x, spatial, channel = make_inputs(stride=stride)
    patches = F.unfold(x, 3, padding=1, stride=stride).view(2, 3, 9, *spatial.shape[2:])
    expected = (patches * spatial[:, None]).sum(2)
    torch.testing.assert_close(dynamic_filter(x, spatial, torch.ones_like(channel), stride), expected)


@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_flat_filters_are_average_pooling(kernel_size: int, stride: int) -> None:
    x, spatial, channel = make_inputs(kernel_size=kernel_size, stride=stride)
    y = dynamic_filter(x, torch.ones_like(spatial), torch.ones_like(channel), stride)
    pooled = F.avg_pool2d(x, kernel_size, stride, kernel_size // 2, count_include_pad=True)
    torch.testing.assert_close(y, kernel_size**2 * pooled)


@pytest.mark.parametrize("stride", [1, 2])
def test_centre_delta_is_the_identity(stride: int) -> None:
    x, spatial, channel = make_inputs(stride=stride)
    delta = torch.zeros_like(channel)
    delta[:, :, 4] = 1
    assert torch.equal(dynamic_filter(x, torch.ones_like(spatial), delta, stride), x[:, :, ::stride, ::stride])


def test_kernel_of_one_is_a_product() -> None:
    x, spatial, channel = make_inputs(kernel_size=1)
    torch.testing.assert_close(dynamic_filter(x, spatial, channel), x * spatial * channel[:, :, :, None])


@pytest.mark.parametrize("argument", ["x", "spatial", "channel"])
def test_linear_in_each_argument(argument: str) -> None:
    x, spatial, channel = make_inputs(stride=2)
    first: dict[str, Any] = {"x": x, "spatial": spatial, "channel": channel}
    second = first | {argument: torch.randn_like(first[argument])}
    mixed = first | {argument: 2 * first[argument] - 3 * second[argument]}
    y, y_first, y_second = (dynamic_filter(**inputs, stride=2) for inputs in (mixed, first, second))
    torch.testing.assert_close(y, 2 * y_first - 3 * y_second)


@pytest.mark.parametrize("stride", [1, 2])
def test_backward_is_the_adjoint(stride: int) -> None:
    inputs = leaves(make_inputs(stride=stride, kernel_size=5))
    y = dynamic_filter(*inputs, stride)
    grad = torch.randn_like(y)
    for adjoint, t in zip(torch.autograd.grad(y, inputs, grad), inputs, strict=True):
        torch.testing.assert_close((adjoint * t).sum(), (grad * y).sum())


def test_images_of_a_batch_are_independent() -> None:
    inputs = make_inputs(batch=4)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(dynamic_filter(*each(lambda t: t[order], inputs)), dynamic_filter(*inputs)[order])


# dynamic_filter: precision and layout


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8), (torch.float16, 2**-11)]
)
def test_low_precision_rounds_only_inputs_and_output(dtype: torch.dtype, tolerance: float) -> None:
    rounded = each(lambda t: t.to(dtype), make_inputs(kernel_size=5))
    inputs = leaves(rounded)
    exact = leaves(each(Tensor.double, rounded))
    y, y_exact = dynamic_filter(*inputs), dynamic_filter(*exact)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), y_exact, rtol=tolerance, atol=1e-5)
    grad = torch.randn_like(y)
    for got, expected in zip(
        torch.autograd.grad(y, inputs, grad), torch.autograd.grad(y_exact, exact, grad.double()), strict=True
    ):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), expected, rtol=tolerance, atol=1e-5)


def test_mixed_precision_keeps_the_dtype_of_each_argument() -> None:
    x, spatial, channel = make_inputs(dtype=torch.float32)
    inputs = leaves((x.bfloat16(), spatial, channel.half()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = dynamic_filter(*inputs)
    assert y.dtype == torch.bfloat16
    gradients = torch.autograd.grad(y.sum(), inputs)
    assert [t.dtype for t in gradients] == [torch.bfloat16, torch.float32, torch.float16]
    expected = dynamic_filter_reference(*each(Tensor.double, inputs))
    torch.testing.assert_close(y.double(), expected, rtol=2**-8, atol=1e-6)


def as_slices(t: Tensor) -> Tensor:
    """The same values, every second element of a larger tensor."""
    large = t.new_full([2 * size for size in t.shape], float("nan"))
    view = large[tuple(slice(None, None, 2) for _ in t.shape)]
    return view.copy_(t)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels_last": lambda t: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t,
    "transposed": lambda t: t.transpose(-1, -2).contiguous().transpose(-1, -2),
    "slices": as_slices,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stride", [1, 2])
def test_any_memory_layout(layout: str, stride: int) -> None:
    inputs = leaves(make_inputs(stride=stride))
    others = each(lambda t: LAYOUTS[layout](t.detach()).requires_grad_(), inputs)
    y, y_other = dynamic_filter(*inputs, stride), dynamic_filter(*others, stride)
    assert y.is_contiguous()
    expected_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    assert y_other.is_contiguous(memory_format=expected_format)
    assert torch.equal(y, y_other)
    grad = torch.randn_like(y)
    for expected, got in zip(
        torch.autograd.grad(y, inputs, grad),
        torch.autograd.grad(y_other, others, LAYOUTS[layout](grad)),
        strict=True,
    ):
        assert torch.equal(expected, got)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("stride", [1, 2])
def test_cuda_agrees_with_cpu(stride: int) -> None:
    inputs = leaves(make_inputs(stride=stride, dtype=torch.float32))
    on_device = each(lambda t: t.detach().cuda().requires_grad_(), inputs)
    y, y_device = dynamic_filter(*inputs, stride), dynamic_filter(*on_device, stride)
    torch.testing.assert_close(y_device.cpu(), y)
    grad = torch.randn_like(y)
    expected = torch.autograd.grad(y, inputs, grad)
    torch.testing.assert_close([t.cpu() for t in torch.autograd.grad(y_device, on_device, grad.cuda())], list(expected))


# dynamic_filter: as an operator of PyTorch


def saved_for_backward(run: Callable[[], Tensor]) -> list[int]:
    """Where the tensors lie that autograd keeps."""
    addresses: list[int] = []

    def pack(t: Tensor) -> Tensor:
        addresses.append(t.data_ptr())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        run()
    return addresses


def test_backward_keeps_only_the_inputs() -> None:
    inputs = leaves(make_inputs())
    assert saved_for_backward(lambda: dynamic_filter(*inputs)) == [t.data_ptr() for t in inputs]


def test_refuses_a_second_derivative() -> None:
    inputs = leaves(make_inputs())
    (grad,) = torch.autograd.grad(dynamic_filter(*inputs).sum(), inputs[0], create_graph=True)
    with pytest.raises(JointreidError, match="no second derivative"):
        torch.autograd.grad(grad.sum(), inputs[1])


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2])
def test_opcheck(stride: int) -> None:
    x, spatial, channel = make_inputs(stride=stride, dtype=torch.float32)
    last = torch.channels_last
    for inputs in ((x, spatial, channel), (x.to(memory_format=last), spatial.to(memory_format=last), channel)):
        torch.library.opcheck(torch.ops.jointreid.dynamic_filter.default, (*leaves(inputs), stride, 1))


@pytest.mark.parametrize("channels_last", [False, True])
def test_fake_and_meta_tensors_have_the_real_layout(channels_last: bool) -> None:
    x, spatial, channel = make_inputs(stride=2, dtype=torch.float32)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    real = dynamic_filter(x, spatial, channel, 2)
    meta = dynamic_filter(*each(lambda t: t.to("meta"), (x, spatial, channel)), 2)
    with FakeTensorMode() as mode:
        fake = dynamic_filter(*each(mode.from_tensor, (x, spatial, channel)), 2)
    for t in (meta, fake):
        assert (t.shape, t.stride(), t.dtype) == (real.shape, real.stride(), real.dtype)


@pytest.mark.slow
def test_compiles_into_one_graph() -> None:
    def block(x: Tensor, spatial: Tensor, channel: Tensor, std: Tensor) -> Tensor:
        y = dynamic_filter(x.relu(), filter_norm(spatial, 1, 0.5), filter_norm(channel, -1, std), 2)
        return y.square().mean((2, 3))

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager", dynamic=True)
    std = torch.rand(3, 9, requires_grad=True)
    for batch in (2, 5):
        inputs = leaves(make_inputs(batch=batch, stride=2, dtype=torch.float32))
        expected, got = block(*inputs, std), compiled(*inputs, std)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(
            torch.autograd.grad(got.sum(), (*inputs, std)), torch.autograd.grad(expected.sum(), (*inputs, std))
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3, 5, 7)}, r"x has shape \(3, 5, 7\); expected \[B, C, H, W\]"),
        ({"x": torch.zeros(2, 3, 5, 7, dtype=torch.int64)}, "x has dtype torch.int64"),
        ({"channel": torch.zeros(2, 3, 8)}, r"channel has shape \(2, 3, 8\); expected \[2, 3, K\*K\]"),
        ({"channel": torch.zeros(2, 3, 16)}, "with K odd"),
        ({"channel": torch.zeros(2, 4, 9)}, r"channel has shape \(2, 4, 9\)"),
        ({"channel": torch.zeros(2, 3, 9, device="meta")}, "channel is on meta, x on cpu"),
        ({"spatial": torch.zeros(2, 9, 5, 6)}, r"spatial has shape \(2, 9, 5, 6\); expected \[2, 9, 5, 7\]"),
        ({"spatial": torch.zeros(2, 25, 5, 7)}, "9 taps and stride 1"),
        ({"stride": 2}, r"expected \[2, 9, 3, 4\]"),
        ({"stride": 0}, "stride is 0"),
        ({"dilation": 0}, "dilation 0"),
    ],
)
def test_refuses_arguments_that_do_not_fit(change: dict[str, Tensor | int], message: str) -> None:
    x, spatial, channel = make_inputs(dtype=torch.float32)
    arguments: dict[str, Any] = {"x": x, "spatial": spatial, "channel": channel} | change
    with pytest.raises(JointreidError, match=message):
        dynamic_filter(**arguments)
    with pytest.raises(JointreidError, match=message):
        dynamic_filter_reference(**arguments)
