"""Other contexts at test, and the share of a kernel that is generated, on small DCSDs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from jointreid.config import DcsdConfig
from jointreid.conflict.context import SHUFFLED, ZEROED, Change, changed_heads, features_with_context
from jointreid.conflict.kernels import GeneratedKernel, _collecting, _kernel, base_size
from jointreid.conflict.layers import context_heads
from jointreid.data.records import ImageRecord
from jointreid.models.context import ContextNetwork
from jointreid.models.dcsd import DCSD
from jointreid.retrieval.embeddings import Floats


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


def test_features_with_other_contexts_are_in_the_order_of_the_images(block: nn.ModuleDict) -> None:
    images = torch.randn(5, 4, 6, 5)
    dcsd, heads = block["conv2"], context_heads(block)
    assert isinstance(dcsd, DCSD)
    records = [ImageRecord(Path(f"{number}.jpg"), str(number), 0) for number in range(5)]

    def embed(chosen: Sequence[ImageRecord]) -> Floats:
        with torch.no_grad():
            maps = dcsd(images[[int(record.pid) for record in chosen]])[0]
        features: Floats = maps.flatten(1).numpy()
        return features

    order = np.random.default_rng(3).permutation(5).tolist()
    others = {image: order[(place - 2) % 5] for place, image in enumerate(order)}  # half a batch away
    shuffled = features_with_context(SHUFFLED, heads, records, embed, seed=3)

    def of_image(image: int) -> Callable[[str], Change]:
        vectors = {name: head(images[[image]].mean((2, 3)))[0] for name, head in heads}
        return lambda name: lambda _x, _start: vectors[name]

    for image, other in others.items():
        with changed_heads(heads, of_image(other)):
            np.testing.assert_allclose(shuffled[[image]], embed([records[image]]), rtol=1e-4, atol=1e-5)
    zeroed = features_with_context(ZEROED, heads, records, embed, seed=3)
    assert not np.allclose(zeroed, shuffled)
    dcsd.zero_context()
    np.testing.assert_allclose(zeroed, embed(records), rtol=1e-4, atol=1e-5)


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
