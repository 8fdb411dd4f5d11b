"""The operator `filter_norm` against loops, identities and autograd."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from jointreid.config import network
from jointreid.messages.errors import JointreidError
from jointreid.models.dynamic_filter import filter_norm, filter_norm_backward_reference, filter_norm_reference
from jointreid.models.dynamic_filter_checks import SMALLEST_EPS
from jointreid.models.dynamic_filter_layout import repeating_shape
from tests.models.test_dynamic_filter import saved_for_backward

LAYOUT_OF_TAPS = [((2, 3, 9), -1), ((2, 3, 25), 2), ((2, 9, 5, 7), 1), ((9, 4), 0)]  # shape of raw, dim


def make_raw(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize(("shape", "dim"), LAYOUT_OF_TAPS)
def test_groups_have_mean_0_and_the_given_deviation(shape: tuple[int, ...], dim: int) -> None:
    taps = shape[dim]
    normed = filter_norm(make_raw(shape), dim, 1.0)
    torch.testing.assert_close(normed.mean(dim), torch.zeros_like(normed.mean(dim)), rtol=0, atol=1e-15)
    torch.testing.assert_close(normed.square().sum(dim), torch.full_like(normed.sum(dim), taps - 1), rtol=1e-9, atol=0)
    torch.testing.assert_close(filter_norm(make_raw(shape), dim, 0.25), 0.25 * normed)


def test_hand_made_group() -> None:
    raw = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]])  # unbiased variance 60 / 8
    torch.testing.assert_close(filter_norm(raw, 1, 3.0), 3 * (raw - 5) / 7.5**0.5)


def test_invariant_to_scale_and_shift_of_the_taps() -> None:
    raw = make_raw((2, 3, 9))
    torch.testing.assert_close(filter_norm(7 * raw - 2, -1, 1.0), filter_norm(raw, -1, 1.0), rtol=0, atol=1e-8)


@pytest.mark.parametrize("norm", [filter_norm, filter_norm_reference])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_group_gives_zero_and_a_finite_gradient(
    norm: Callable[[Tensor, int, float], Tensor], dtype: torch.dtype
) -> None:
    raw = torch.cat([torch.zeros(1, 9, dtype=dtype), make_raw((1, 9), dtype)]).requires_grad_()
    normed = norm(raw, 1, 0.5)
    assert torch.equal(normed[0], torch.zeros(9, dtype=dtype))
    grad = torch.arange(18, dtype=dtype).view(2, 9)
    (grad_raw,) = torch.autograd.grad(normed, raw, grad)
    torch.testing.assert_close(grad_raw[0], 0.5e10 * (torch.arange(9, dtype=dtype) - 4))
    assert grad_raw[1].abs().max() < 100


@pytest.mark.parametrize(("shape", "dim"), LAYOUT_OF_TAPS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_norm_equals_reference(shape: tuple[int, ...], dim: int, channels_last: bool) -> None:
    raw = make_raw(shape).requires_grad_()
    same = raw.detach().clone()
    if channels_last and same.ndim == 4:
        same = same.contiguous(memory_format=torch.channels_last)
    same.requires_grad_()
    expected, got = filter_norm_reference(raw, dim, 0.5), filter_norm(same, dim, 0.5)
    torch.testing.assert_close(got, expected)
    assert got.stride() == same.stride()
    grad = torch.randn_like(expected)
    torch.testing.assert_close(torch.autograd.grad(got, same, grad), torch.autograd.grad(expected, raw, grad))


@pytest.mark.parametrize(
    ("shape", "dim", "std_shape"),
    [
        ((2, 3, 9), -1, (3, 9)),
        ((2, 3, 9), -1, (2, 1, 1)),
        ((2, 3, 9), -1, ()),
        ((2, 9, 3, 2), 1, (9, 1, 1)),
        ((2, 9, 3, 2), 1, (2, 9, 3, 2)),
        ((2, 9, 3, 2), 1, (1, 1, 3, 1)),
    ],
)
def test_norm_gradients(shape: tuple[int, ...], dim: int, std_shape: tuple[int, ...]) -> None:
    raw, std = make_raw(shape).requires_grad_(), make_raw(std_shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, s: filter_norm(r, dim, s), (raw, std))
    grad = torch.randn_like(raw)
    expected = torch.autograd.grad(filter_norm_reference(raw, dim, std), (raw, std), grad)
    torch.testing.assert_close(torch.autograd.grad(filter_norm(raw, dim, std), (raw, std), grad), expected)
    by_hand = filter_norm_backward_reference(grad, raw.detach(), dim, std.detach(), 1e-10)
    torch.testing.assert_close(by_hand, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norm_works_in_fp32_under_autocast(dtype: torch.dtype) -> None:
    raw = (1e-3 * make_raw((2, 3, 9))).to(dtype).requires_grad_()
    std = torch.rand(3, 9).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        normed = filter_norm(raw, -1, std)
    assert normed.dtype == torch.float32
    expected = filter_norm_reference(raw.detach().double(), -1, std.detach().double())
    torch.testing.assert_close(normed.double(), expected, rtol=1e-5, atol=1e-6)
    assert [t.dtype for t in torch.autograd.grad(normed.sum(), (raw, std))] == [dtype, dtype]


def test_norm_opcheck() -> None:
    op = torch.ops.jointreid.filter_norm.default
    torch.library.opcheck(op, (make_raw((2, 3, 9)).requires_grad_(), -1, torch.rand(3, 9, requires_grad=True), 1e-10))
    raw = make_raw((2, 9, 5, 7), torch.float32).contiguous(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(op, (raw, 1, torch.tensor(0.5), 1e-10))


def test_norm_keeps_only_its_inputs_and_refuses_a_second_derivative() -> None:
    raw, std = make_raw((2, 3, 9)).requires_grad_(), make_raw((3, 9)).requires_grad_()
    assert saved_for_backward(lambda: filter_norm(raw, -1, std)) == [raw.data_ptr(), std.data_ptr()]
    (grad,) = torch.autograd.grad(filter_norm(raw, -1, std).square().sum(), raw, create_graph=True)
    with pytest.raises(JointreidError, match="no second derivative"):
        torch.autograd.grad(grad.sum(), std)


@pytest.mark.parametrize(
    ("std", "raw", "dim", "shape"),
    [
        ((3, 9), (2, 3, 9), -1, (1, 3, 9)),  # one for each channel, shared by the images
        ((), (2, 3, 9), -1, (1, 1, 9)),
        ((2, 1, 9), (2, 3, 9), 2, (2, 3, 9)),  # one for each image: nothing repeats from the first dimension on
        ((9, 1, 1), (2, 9, 5, 7), 1, (1, 1, 1, 9)),
        ((5, 1), (2, 9, 5, 7), 1, (1, 5, 7, 9)),
    ],
)
def test_the_part_of_std_that_repeats(
    std: tuple[int, ...], raw: tuple[int, ...], dim: int, shape: tuple[int, ...]
) -> None:
    assert repeating_shape(torch.ones(std), torch.ones(raw), dim) == shape


def test_the_least_eps_keeps_taps_without_spread_at_0() -> None:
    assert network.SMALLEST_EPS == SMALLEST_EPS
    for norm in (filter_norm, filter_norm_reference):
        assert torch.equal(norm(torch.zeros(2, 3, 9), -1, 1.0, SMALLEST_EPS), torch.zeros(2, 3, 9))


@pytest.mark.parametrize(
    ("raw", "dim", "std", "eps", "message"),
    [
        (torch.zeros(2, 3, 1), -1, 1.0, 1e-10, "1 tap along dim -1"),
        (torch.zeros(2, 3, 9), 3, 1.0, 1e-10, "dim is 3"),
        (torch.zeros(2, 3, 9), -1, 1.0, 0.0, "eps is 0.0"),
        (torch.zeros(2, 3, 9), -1, 1.0, 1e-39, "eps is 1e-39; expected 1.18e-38 or more"),
        (torch.zeros(2, 3, 9), -1, torch.ones(2, 9), 1e-10, r"std \(2, 9\) does not broadcast to raw \(2, 3, 9\)"),
        (torch.zeros(3, 9), -1, torch.ones(1, 3, 9), 1e-10, "does not broadcast"),
        (torch.zeros(3, 9), -1, torch.ones(3, 9, device="meta"), 1e-10, "std is on meta"),
        (torch.zeros(3, 9, dtype=torch.int32), -1, 1.0, 1e-10, "raw has dtype torch.int32"),
    ],
)
def test_norm_refuses_arguments_that_do_not_fit(
    raw: Tensor, dim: int, std: float | Tensor, eps: float, message: str
) -> None:
    for norm in (filter_norm, filter_norm_reference):
        with pytest.raises(JointreidError, match=message):
            norm(raw, dim, std, eps)
