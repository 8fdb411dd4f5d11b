"""The size of generated kernels, against all of them computed one by one."""

import pytest
import torch

from jointreid.conflict.kernels import _Moments


@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize("channels_of_gain", [3, 1])
def test_the_size_is_that_of_all_kernels(combine: str, channels_of_gain: int) -> None:
    generator = torch.Generator().manual_seed(0)
    channel = torch.randn(4, 3, 9, generator=generator)
    spatial = torch.randn(4, 9, 5, generator=generator) + 0.5
    gain = torch.rand(channels_of_gain, generator=generator) + channel.mean() + 1
    channel = channel * torch.tensor([0.1, 1.0, 3.0])[:, None]  # so that gain and channel kernels are not independent
    moments = _Moments()
    moments.add(channel[:1], spatial[:1], gain, combine)
    moments.add(channel[1:], spatial[1:], gain, combine)
    a, b = channel[..., None], spatial[:, None]
    every = gain[:, None, None] * (a * b if combine == "mul" else a + b)
    assert moments.generated == pytest.approx(every.square().mean().sqrt().item(), rel=1e-5)
