"""Embeddings and random numbers that the tests of several losses share."""

import torch
from torch import Tensor

TOY = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])


def randn(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers that follow from the seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
