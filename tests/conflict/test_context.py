"""Other contexts at test, and the share of a kernel that is generated, on small DCSDs."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from jointreid.config import DcsdConfig
from jointreid.conflict.context import Change, changed_heads
from jointreid.conflict.kernels import GeneratedKernel, _collecting, _kernel, base_size
from jointreid.conflict.layers import context_heads
from jointreid.models.context import ContextNetwork
from jointreid.models.dcsd import DCSD


@pytest.fixture
def block() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"conv2": DCSD(4, 2, 3, DcsdConfig())})


def test_a_changed_context_is_that_of_an_image_with_the_same_vectors(block: nn.ModuleDict) -> None:
    x = torch.randn(4, 4, 6, 5)
    dcsd = block["conv2"]
    assert isinstance(dcsd, DCSD)
    heads = context_heads(block)
    assert [name for name, _ in heads] == ["conv2.domain", "conv2.camera"]
    plain, logits = dcsd(x)
    starts = []

    def change(_name: str) -> Change:
        def zeroed(vectors: torch.Tensor, start: int) -> torch.Tensor:
            starts.append(start)
            return torch.zeros_like(vectors)

        return zeroed

    with changed_heads(heads, change):
        changed, same_logits = dcsd(x[:3])
        dcsd(x[3:])
    assert starts == [0, 0, 3, 3]
    assert torch.equal(same_logits.domain, logits.domain[:3])
    assert not torch.allclose(changed, plain[:3])
    assert torch.equal(dcsd(x)[0], plain)
    dcsd.zero_context()
    torch.testing.assert_close(dcsd(x)[0][:3], changed)


def test_the_context_of_a_network_is_that_of_another_image() -> None:
    torch.manual_seed(0)
    network = ContextNetwork(2, 3, DcsdConfig(context="network")).eval()
    model, images = nn.ModuleDict({"context": network}), torch.randn(4, 3, 16, 8)
    plain = network(images)
    with changed_heads(context_heads(model), lambda _head: lambda vectors, _start: vectors.roll(1, 0)):
        changed = network(images)
    assert torch.equal(changed.vector, plain.vector.roll(1, 0))
    assert torch.equal(changed.logits.camera, plain.logits.camera)


@pytest.mark.parametrize("combine", ["mul", "add"])
def test_the_size_of_generated_kernels_is_that_of_the_kernels_themselves(combine: str) -> None:
    torch.manual_seed(1)
    dcsd = DCSD(4, 2, 3, replace(DcsdConfig(), combine=combine))  # type: ignore[arg-type]
    x = torch.randn(3, 4, 6, 5)
    with torch.no_grad(), _collecting([("conv2", dcsd)]) as moments:
        dcsd(x)
        dcsd(x[:1])
    found = _kernel("conv2", moments[0], dcsd)
    with torch.no_grad():
        pooled = x.mean((2, 3))
        context, _ = dcsd.predict_context(pooled)
        channel, spatial = dcsd.channel_branch(pooled, context), dcsd.spatial_branch(x, context)
    kernels = channel[:, :, :, None, None] * spatial[:, None]  # B C KK H W
    if combine == "add":
        kernels = channel[:, :, :, None, None] + spatial[:, None]
    kernels = torch.cat([kernels, kernels[:1]])
    channel = torch.cat([channel, channel[:1]])
    assert found.generated == pytest.approx(kernels.square().mean().sqrt().item(), rel=1e-5)
    spread = (channel - channel.mean(0)).square().mean().sqrt() / channel.square().mean().sqrt()
    assert found.varies == pytest.approx(spread.item(), rel=1e-4)
    assert found == GeneratedKernel("conv2", found.generated, 0.0, 1.0, found.varies)
    assert base_size(dcsd) == 0.0
