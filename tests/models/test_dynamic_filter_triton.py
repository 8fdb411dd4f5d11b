"""The GPU kernels of both operators in Triton's interpreter, on the CPU: `TRITON_INTERPRET=1 pytest -m triton`.

The interpreter takes a quarter of a second for each program, so the maps are small.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from jointreid.models import dynamic_filter as operators
from jointreid.models.dynamic_filter import (
    dynamic_filter,
    dynamic_filter_backward_reference,
    dynamic_filter_reference,
    filter_norm,
    filter_norm_backward_reference,
    filter_norm_reference,
)
from tests.models import test_dynamic_filter_base as on_base
from tests.models.test_dynamic_filter import (
    LAYOUTS,
    Inputs,
    each,
    leaves,
    make_inputs,
)
from tests.models.test_dynamic_filter import test_centre_delta_is_the_identity as test_centre_delta_is_the_identity
from tests.models.test_dynamic_filter import test_equals_seven_loops as test_equals_seven_loops
from tests.models.test_dynamic_filter import (
    test_flat_filters_are_average_pooling as test_flat_filters_are_average_pooling,
)
from tests.models.test_dynamic_filter import test_kernel_of_one_is_a_product as test_kernel_of_one_is_a_product
from tests.models.test_filter_norm import LAYOUT_OF_TAPS, make_raw

pytestmark = pytest.mark.triton

__all__ = [name for name in globals() if name.startswith("test_")]


@pytest.fixture(autouse=True)
def _on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_kernels", lambda device: operators.triton_kernels())


def forward_and_backward(inputs: Inputs, stride: int, dilation: int) -> tuple[Tensor, list[Tensor]]:
    """The output, and the gradients for an incoming gradient of fixed numbers in the layout of the output."""
    y = dynamic_filter(*inputs, stride, dilation)
    grad = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape).to(y)
    return y, list(torch.autograd.grad(y, inputs, grad))


SMALL = {"batch": 1, "channels": 3, "height": 5, "width": 7}


@pytest.mark.parametrize(
    ("sizes", "stride", "dilation", "dtype", "layout"),
    [
        (SMALL | {"kernel_size": 3}, 1, 1, torch.float32, "channels_last"),
        (SMALL | {"kernel_size": 3}, 2, 1, torch.float32, "transposed"),
        (SMALL | {"kernel_size": 3}, 1, 2, torch.bfloat16, "channels_last"),
        (SMALL | {"kernel_size": 3}, 2, 2, torch.float16, "slices"),
        (SMALL | {"kernel_size": 3}, 3, 1, torch.float64, "transposed"),  # rows of a thread are no multiple of it
        (SMALL | {"kernel_size": 5}, 2, 2, torch.float32, "channels_last"),
        (SMALL | {"kernel_size": 5, "height": 2}, 1, 1, torch.float32, "slices"),  # the window is wider than the image
        (SMALL | {"channels": 19}, 1, 1, torch.float32, "transposed"),  # two tiles of channels, in every kernel
        (
            {"batch": 1, "channels": 2, "height": 9, "width": 9},
            1,
            1,
            torch.float32,
            "channels_last",
        ),  # and of positions
    ],
)
def test_equals_reference(sizes: dict[str, Any], stride: int, dilation: int, dtype: torch.dtype, layout: str) -> None:
    rounded = each(lambda t: LAYOUTS[layout](t.to(dtype)), make_inputs(**sizes, stride=stride))
    inputs = each(lambda t: t.requires_grad_(), rounded)
    y, gradients = forward_and_backward(inputs, stride, dilation)
    exact = each(lambda t: t.detach().double(), inputs)
    grad = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape).to(y).double()
    expected = dynamic_filter_reference(*exact, stride, dilation)
    expected_gradients = dynamic_filter_backward_reference(grad, *exact, stride, dilation)
    # The interpreter cuts off the digits that bfloat16 and float16 lack where a GPU rounds.
    tolerance = {torch.float64: 1e-14, torch.float32: 1e-6, torch.float16: 2**-10, torch.bfloat16: 2**-7}[dtype]
    for got, wanted in zip((y, *gradients), (expected, *expected_gradients), strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=1e-14 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize(("stride", "dilation", "channels_last"), [(1, 1, True), (2, 1, False)])
def test_gradients_equal_finite_differences(stride: int, dilation: int, channels_last: bool) -> None:
    inputs = make_inputs(batch=1, channels=2, height=3, width=4, stride=stride)
    if channels_last:
        inputs = each(LAYOUTS["channels_last"], inputs)
    assert torch.autograd.gradcheck(
        lambda x, s, c: dynamic_filter(x, s, c, stride, dilation), leaves(inputs), fast_mode=True
    )


def test_repeats_to_the_last_bit() -> None:
    inputs = leaves(make_inputs(batch=1, channels=19, dtype=torch.float32))
    (y, gradients), (y_again, again) = (forward_and_backward(inputs, 1, 1) for _ in range(2))
    assert torch.equal(y, y_again)
    assert all(torch.equal(one, other) for one, other in zip(gradients, again, strict=True))


@pytest.mark.parametrize("shape", [(0, 3, 5, 7), (1, 0, 5, 7)])
def test_empty_tensors_give_empty_results(shape: tuple[int, int, int, int]) -> None:
    batch, channels, *size = shape
    inputs = leaves((torch.zeros(shape), torch.zeros(batch, 9, *size), torch.zeros(batch, channels, 9)))
    y = dynamic_filter(*inputs)
    assert y.shape == shape
    assert [t.shape for t in torch.autograd.grad(y.sum(), inputs)] == [t.shape for t in inputs]


def test_opcheck() -> None:
    x, spatial, channel = make_inputs(batch=1, stride=2, dtype=torch.float32)
    inputs = leaves((x.to(memory_format=torch.channels_last), spatial, channel))
    torch.library.opcheck(torch.ops.jointreid.dynamic_filter.default, (*inputs, 2, 1))
    raw, std = make_raw((2, 3, 9), torch.float32).requires_grad_(), torch.rand(3, 9, requires_grad=True)
    torch.library.opcheck(torch.ops.jointreid.filter_norm.default, (raw, -1, std, 1e-10))


# On a base


@pytest.mark.parametrize(
    ("sizes", "stride", "dilation", "dtype", "layout"),
    [
        (SMALL | {"kernel_size": 3}, 1, 1, torch.float32, "channels_last"),
        (SMALL | {"kernel_size": 3}, 2, 2, torch.bfloat16, "slices"),
        (SMALL | {"kernel_size": 5, "batch": 2}, 2, 1, torch.float32, "channels_last"),
        (SMALL | {"kernel_size": 7, "channels": 2}, 1, 1, torch.float64, "transposed"),
        (SMALL | {"channels": 19, "height": 9}, 1, 1, torch.float32, "channels_last"),  # two tiles of both
    ],
)
def test_base_equals_reference(
    sizes: dict[str, Any], stride: int, dilation: int, dtype: torch.dtype, layout: str
) -> None:
    given = on_base.make_based(dtype, **sizes, stride=stride)
    inputs = on_base.each(lambda t: LAYOUTS[layout if t.ndim > 1 else "slices"](t).requires_grad_(), given)
    exact = on_base.leaves(on_base.each(Tensor.double, inputs))
    y = on_base.run(inputs, stride, dilation)
    expected = on_base.run(exact, stride, dilation, dynamic_filter_reference)
    grad = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape).to(y)
    wanted = torch.autograd.grad(expected, exact, grad.double())
    tolerance = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 2**-7}[dtype]
    for got, exact_one in zip((y, *torch.autograd.grad(y, inputs, grad)), (expected, *wanted), strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), exact_one, rtol=tolerance, atol=max(1e-5, tolerance / 10))


def test_base_gradients_equal_finite_differences() -> None:
    inputs = on_base.leaves(on_base.make_based(batch=2, channels=2, height=3, width=4, stride=2))
    assert torch.autograd.gradcheck(lambda *given: on_base.run(given, 2), inputs, fast_mode=True)


def test_base_opcheck_and_empty_batch() -> None:
    x, spatial, channel, base, gain = on_base.leaves(on_base.make_based(torch.float32, batch=1, stride=2))
    torch.library.opcheck(torch.ops.jointreid.dynamic_filter.default, (x, spatial, channel, 2, 1, base, gain))
    empty = on_base.leaves((x[:0], spatial[:0], channel[:0], base, gain))
    gradients = torch.autograd.grad(on_base.run(empty, 2).sum(), empty)
    assert [t.shape for t in gradients] == [t.shape for t in empty]
    assert not gradients[3].any()


# filter_norm


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "dim", "std_shape"),
    [
        ((2, 3, 9), -1, (3, 9)),
        ((2, 3, 9), -1, (2, 1, 1)),
        ((2, 9, 3, 2), 1, (9, 1, 1)),
        ((2, 9, 5, 7), 1, ()),  # more groups than one program takes
        ((2, 9, 3, 2), 1, (2, 9, 3, 2)),
        ((2, 9, 3, 2), 1, (1, 1, 3, 1)),
        ((2, 2, 2, 2, 9), -1, (9,)),
        ((2, 9, 2, 2, 2), 1, ()),
        *((shape, dim, ()) for shape, dim in LAYOUT_OF_TAPS[1::2]),
    ],
)
def test_norm_equals_reference(
    shape: tuple[int, ...], dim: int, std_shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    raw, std = make_raw(shape).to(dtype), make_raw(std_shape).to(dtype)
    layout = "channels_last" if dtype == torch.float32 else "slices"  # contiguous in none
    raw, std = LAYOUTS[layout](raw).requires_grad_(), std.requires_grad_()
    normed = filter_norm(raw, dim, std)
    grad = make_raw(shape).to(normed)
    tolerance = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 2**-7}[dtype]
    exact, exact_std = raw.detach().double(), std.detach().double()
    expected = filter_norm_reference(exact, dim, exact_std)
    torch.testing.assert_close(normed.double(), expected, rtol=1e-13 if dtype == torch.float64 else 1e-5, atol=1e-5)
    wanted = filter_norm_backward_reference(grad.double(), exact, dim, exact_std, 1e-10)
    for got, gradient in zip(torch.autograd.grad(normed, (raw, std), grad), wanted, strict=True):
        torch.testing.assert_close(got.double(), gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("shape", "dim", "std_shape"), [((2, 3, 9), -1, (3, 9)), ((2, 9, 3, 2), 1, ())])
def test_norm_gradients_equal_finite_differences(shape: tuple[int, ...], dim: int, std_shape: tuple[int, ...]) -> None:
    raw, std = make_raw(shape).requires_grad_(), make_raw(std_shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, s: filter_norm(r, dim, s), (raw, std), fast_mode=True)


def test_repeats_of_std_are_added_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from jointreid.models import filter_norm_triton

    monkeypatch.setattr(filter_norm_triton, "_PROGRAMS", 2)  # two programs share five repeats: three and two
    raw, std = make_raw((5, 2, 9)), make_raw((2, 9))
    got = filter_norm_triton.filter_norm_backward(raw, raw, -1, std, 1e-10)
    torch.testing.assert_close(got, filter_norm_backward_reference(raw, raw, -1, std, 1e-10))


def test_equal_taps_give_zero_where_their_mean_is_exact() -> None:
    raw = torch.tensor([2.0, -3.5, 2.0**-100, 1024.0])[:, None].expand(4, 9).contiguous().requires_grad_()
    normed = filter_norm(raw, 1, 1.0)
    assert torch.equal(normed, torch.zeros(4, 9))
    assert torch.autograd.grad(normed, raw, make_raw((4, 9), torch.float32))[0].isfinite().all()
