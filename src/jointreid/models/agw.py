"""AGW's additions to BoT's network: non-local blocks in the trunk, and pooling by a generalised mean.

Letters: B images, C channels, H x W = N positions.
"""

import torch
from torch import Tensor, nn

from jointreid.models.pooling import global_average_pool


class NonLocal(nn.Module):
    """Add to every position a sum over all N positions: x + BN(W (g phi^T / N) theta), which is x at the start.

    There is no softmax between the two products, so they are computed in the order that needs no N x N map.

    Args:
        channels: C.
        reduction: the inner width is C divided by this. 0 gives a width of 1, as in both public implementations, which
            have `reduc_ratio // reduc_ratio` where C / 2 was meant; the published accuracies are from that code.
    """

    def __init__(self, channels: int, reduction: int = 0) -> None:
        super().__init__()
        inner = max(1, channels // reduction) if reduction else 1
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        height, width = x.shape[2:]
        theta, phi, g = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))  # B inner N
        gathered = g @ (phi / (height * width)).mT  # B inner inner
        y = (gathered @ theta).unflatten(2, (height, width))  # B inner H W
        return x + self.norm(self.out(y))  # type: ignore[no-any-return]


class GeM(nn.Module):
    """Pool every channel by a generalised mean, (mean of x^p)^(1/p): the mean at p = 1, towards the maximum above.

    Args:
        p: the power, > 0.
        learnable: learn it, starting from `p`.
        eps: positions below this count as this, so that the power exists.
    """

    p: nn.Parameter | float

    def __init__(self, p: float = 3.0, learnable: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(float(p))) if learnable else p
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Pool [B, C, H, W] to [B, C], in fp32 under autocast too (float64 stays float64)."""
        x = x.to(torch.promote_types(x.dtype, torch.float32)).clamp(min=self.eps)
        return global_average_pool(x.pow(self.p)).pow(1 / self.p)
