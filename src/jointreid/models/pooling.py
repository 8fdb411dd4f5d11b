"""Means and standard deviations over the positions of a map.

Letters: B images, C channels, H x W positions.
"""

import torch
from torch import Tensor

EPS = 1e-5  # added to a variance, so that the root of a flat map has a gradient


def global_average_pool(x: Tensor) -> Tensor:
    """Return the mean over positions: [B, C, H, W] -> [B, C], in fp32 under autocast too (float64 stays float64)."""
    return x.mean(dim=(2, 3), dtype=torch.promote_types(x.dtype, torch.float32))


def mean_and_deviation(x: Tensor) -> Tensor:
    """Return mean and standard deviation over positions: [B, C, H, W] -> [B, 2 C], in the precision of the pooling."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0)
    return torch.cat([mean, (variance + EPS).sqrt()], dim=1)
