"""Instance normalisation and SNR against the maps that the formulas speak of."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jointreid.messages.errors import JointreidError
from jointreid.models.norms import SNR, InstanceNorm


def images(batch: int = 3, channels: int = 32, height: int = 5, width: int = 4) -> Tensor:
    x = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0)).double()
    return x * torch.arange(1, batch + 1)[:, None, None, None] + 2  # each image its own style


def make(seed: int = 0, **options: Any) -> SNR:
    """An SNR module in float64 whose every parameter differs from where it starts."""
    torch.manual_seed(seed)
    snr = SNR(32, **options).double()
    for parameter in snr.parameters():
        nn.init.normal_(parameter, 0.3, 0.5)
    return snr


def open_gate(snr: SNR, share: float) -> SNR:
    nn.init.zeros_(snr.fc2.weight)
    nn.init.constant_(snr.fc2.bias, torch.inf if share else -torch.inf)
    return snr


@pytest.mark.parametrize("training", [True, False])
def test_instance_norm_gives_each_image_the_learnt_mean_and_deviation(training: bool) -> None:
    norm = InstanceNorm(32).double().train(training)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    y = norm(images(height=50)).flatten(2)
    torch.testing.assert_close(y.mean(2), norm.bias.expand(3, 32))
    torch.testing.assert_close(y.std(2, unbiased=False), norm.weight.expand(3, 32), rtol=1e-4, atol=0)
    assert set(norm.state_dict()) == {"weight", "bias"}


def test_instance_norm_starts_at_mean_zero_and_deviation_one() -> None:
    norm = InstanceNorm(4)
    assert torch.equal(norm.weight, torch.ones(4))
    assert torch.equal(norm.bias, torch.zeros(4))


def test_a_single_position_has_no_deviation() -> None:
    with pytest.raises(JointreidError, match="two positions or more"):
        InstanceNorm(32)(images(height=1, width=1))


def test_snr_equals_its_formula_with_every_map_in_memory() -> None:
    snr, x = make(), images()
    y, restitution = snr(x)
    normalised = snr.norm(x)
    residual = x - normalised
    hidden = (residual.mean((2, 3)) @ snr.fc1.weight.T + snr.fc1.bias).clamp(min=0)
    gate = 1 / (1 + (-(hidden @ snr.fc2.weight.T + snr.fc2.bias)).exp())[:, :, None, None]
    assert gate.std() > 0.1
    useful, useless = normalised + gate * residual, normalised + (1 - gate) * residual
    torch.testing.assert_close(y, useful)
    assert restitution is not None
    for pooled, full in zip(restitution, (normalised, useful, useless), strict=True):
        torch.testing.assert_close(pooled, full.mean((2, 3)))


def test_pooled_maps_have_the_gradients_of_the_maps() -> None:
    snr, x = make(), images().requires_grad_()
    _, restitution = snr(x)
    assert restitution is not None
    weights = torch.randn(3, 32, generator=torch.Generator().manual_seed(1)).double()
    inputs = [x, *snr.parameters()]
    pooled_sum = torch.stack([(pooled * weights).sum() for pooled in restitution]).sum()
    got = torch.autograd.grad(pooled_sum, inputs, materialize_grads=True)
    normalised = snr.norm(x)
    residual = x - normalised
    gate = torch.sigmoid(snr.fc2(torch.relu(snr.fc1(residual.mean((2, 3))))))[:, :, None, None]
    maps = (normalised, normalised + gate * residual, normalised + (1 - gate) * residual)
    expected = torch.autograd.grad(torch.stack([(full.mean((2, 3)) * weights).sum() for full in maps]).sum(), inputs)
    torch.testing.assert_close(got, expected)


def test_an_open_gate_is_the_identity_and_a_closed_one_instance_norm() -> None:
    x = images()
    assert torch.equal(open_gate(make(), 1)(x)[0], x)
    closed = open_gate(make(), 0)
    assert torch.equal(closed(x)[0], closed.norm(x))


def test_evaluation_gives_the_same_map_and_nothing_for_the_loss() -> None:
    snr, x = make(), images()
    y, restitution = snr.eval()(x)
    assert restitution is None
    assert torch.equal(y, snr.train()(x)[0])


def test_hidden_width_is_a_sixteenth() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in SNR(256).state_dict().items()}
    expected = {"norm.weight": (256,), "norm.bias": (256,), "fc1.weight": (16, 256), "fc1.bias": (16,)}
    assert shapes == expected | {"fc2.weight": (256, 16), "fc2.bias": (256,)}
    assert SNR(8).fc1.out_features == 1


def test_autocast_pools_in_fp32() -> None:
    snr, x = make().float(), images().float().requires_grad_()
    exact, _ = snr(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, restitution = snr(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), exact, rtol=0.02, atol=0.05)
    assert {pooled.dtype for pooled in restitution} == {torch.float32}
    torch.autograd.backward([y.float().square().mean(), *(pooled.sum() for pooled in restitution)])
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_compiles_in_one_graph() -> None:
    snr, x = make().eval(), images()
    assert torch.equal(torch.compile(snr, fullgraph=True, backend="eager")(x)[0], snr(x)[0])
