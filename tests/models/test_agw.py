"""Non-local blocks and generalised means against the formulas, loops and published sizes."""

import pytest
import torch
from torch import Tensor, nn

from jointreid.models import build_model
from jointreid.models.agw import GeM, NonLocal


def images(batch: int = 2, channels: int = 6, height: int = 3, width: int = 5) -> Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0)).double()


def make(reduction: int) -> NonLocal:
    """A block in float64 whose normalisation lets something through."""
    torch.manual_seed(0)
    block = NonLocal(6, reduction).double().eval()
    nn.init.normal_(block.norm.weight)
    nn.init.normal_(block.norm.bias)
    return block


@pytest.mark.parametrize("reduction", [0, 2])
def test_non_local_equals_its_formula_with_all_pairs_of_positions(reduction: int) -> None:
    block, x = make(reduction), images()
    theta, phi, g = (layer(x).flatten(2).mT for layer in (block.theta, block.phi, block.g))  # B N inner
    similarity = theta @ phi.mT / 15  # B N N, no softmax
    y = (similarity @ g).mT.reshape(2, -1, 3, 5)
    torch.testing.assert_close(block(x), x + block.norm(block.out(y)))


def test_non_local_of_one_inner_channel_by_loops() -> None:
    block, x = make(0), images(batch=1)
    theta, phi, g = (layer(x).flatten().tolist() for layer in (block.theta, block.phi, block.g))
    gathered = [sum(theta[i] * phi[j] / 15 * g[j] for j in range(15)) for i in range(15)]
    scale = block.norm.weight / (1 + block.norm.eps) ** 0.5
    for i in range(15):
        column = block.out.weight[:, 0, 0, 0] * gathered[i] + block.out.bias
        expected = x[0, :, i // 5, i % 5] + column * scale + block.norm.bias
        torch.testing.assert_close(block(x)[0, :, i // 5, i % 5], expected)


def test_non_local_starts_as_the_identity_and_its_gate_learns() -> None:
    block, x = NonLocal(6), images().float()
    y = block(x)
    assert torch.equal(y, x)
    torch.autograd.backward(y.square().sum())
    assert block.norm.weight.grad is not None
    assert block.norm.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("reduction", "inner"), [(0, 1), (1, 64), (2, 32), (100, 1)])
def test_inner_width(reduction: int, inner: int) -> None:
    assert NonLocal(64, reduction).theta.out_channels == inner


@pytest.mark.slow
def test_non_local_in_low_precision_and_compiled() -> None:
    block, x = make(2).float(), images().float()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(block(x), block.float()(x), rtol=0.05, atol=0.05)
    assert torch.equal(torch.compile(block, fullgraph=True, backend="eager")(x), block(x))


def parameters(name: str, **options: int) -> int:
    with torch.device("meta"):
        model = build_model(name, 1, nonlocal_reduction=options.get("reduction", 0))
    return sum(parameter.numel() for parameter in model.trunk.parameters())


def test_non_local_blocks_have_the_published_or_the_intended_size() -> None:
    bot = parameters("bot")
    assert bot == 23_508_032
    assert parameters("agw") - bot == 28_687
    assert parameters("agw", reduction=2) - bot == 7_358_464


@pytest.mark.parametrize("learnable", [True, False])
def test_gem_by_hand(learnable: bool) -> None:
    four = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2)
    assert GeM(3, learnable)(four).item() == pytest.approx(25 ** (1 / 3), rel=1e-6)
    assert GeM(3, learnable)(four).item() == pytest.approx(2.924018, abs=5e-7)


def test_gem_is_the_mean_at_one_and_goes_to_the_maximum() -> None:
    x = images().abs() + 0.01
    torch.testing.assert_close(GeM(1.0)(x), x.mean((2, 3)))
    torch.testing.assert_close(GeM(200.0)(x), x.amax((2, 3)), rtol=0.02, atol=0)


def test_gem_takes_values_that_are_not_positive_as_almost_zero() -> None:
    x = torch.zeros(1, 2, 2, 2, requires_grad=True)
    pooled = GeM()(x - 1)
    torch.testing.assert_close(pooled, torch.full((1, 2), 1e-6))
    torch.autograd.backward(pooled.sum())
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros(1, 2, 2, 2))


def test_the_power_is_a_parameter_only_if_it_is_learnt() -> None:
    learnt, x = GeM(2.5, learnable=True).double(), images().abs().requires_grad_()
    assert isinstance(learnt.p, nn.Parameter)
    assert learnt.state_dict()["p"].item() == 2.5
    assert GeM(2.5).state_dict() == {}

    def pool(x: Tensor, p: Tensor) -> Tensor:
        pooled: Tensor = torch.func.functional_call(learnt, {"p": p}, x)
        return pooled

    assert torch.autograd.gradcheck(pool, (x, learnt.p))


def test_gem_pools_in_fp32() -> None:
    x = (images().abs() + 50).half()  # the cube of 50 is beyond half precision
    pooled = GeM()(x)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, GeM()(x.float()))
