"""Instance normalisation in a trunk, as DualNorm (BoT-DN) and Style Normalisation and Restitution (BoT-SNR) use it.

Letters: B images, C channels, H x W positions.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointreid.messages.errors import JointreidError
from jointreid.models.pooling import global_average_pool


class InstanceNorm(nn.InstanceNorm2d):
    """Give every channel of every image a learnt mean and standard deviation, initially 0 and 1.

    Training and evaluation compute the same: there are no running statistics.
    """

    bias: nn.Parameter

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W].

        Raises:
            JointreidError: the map has a single position, and so no standard deviation.
        """
        if x.shape[2] * x.shape[3] < 2:
            raise JointreidError(
                f"instance normalisation: a map is {tuple(x.shape)}; expected two positions or more of each channel; "
                "give larger images"
            )
        return super().forward(x)


class Restitution(NamedTuple):
    """Pooled maps that the loss of one SNR module compares; each [B, C], in fp32 under autocast too.

    Attributes:
        plain: of the normalised map. It is the bias of the instance normalisation, the same for every image, since
            each channel has that mean.
        useful: of the normalised map plus the identity's part of the residual, the module's output.
        useless: of the normalised map plus the rest of the residual.
    """

    plain: Tensor
    useful: Tensor
    useless: Tensor


class SNR(nn.Module):
    """Normalise each image's style, then add back the share of it that distinguishes identities.

    Args:
        channels: C.
        reduction: the hidden width of the gate is C divided by this.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.norm = InstanceNorm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Restitution | None]:
        """Map [B, C, H, W] to the same shape and the vectors that the loss compares; None for these in evaluation."""
        normalised = self.norm(x).to(x.dtype)  # B C H W; the residual is x - normalised
        plain = self.norm.bias.expand(x.shape[:2])  # B C: GAP(normalised), whatever the image
        residual = global_average_pool(x) - plain  # B C: GAP of the residual, without a map of it
        gate = torch.sigmoid(self.fc2(functional.relu(self.fc1(residual))))  # B C
        y = torch.lerp(normalised, x, gate.to(x.dtype)[:, :, None, None])  # normalised + gate * residual
        if not self.training:
            return y, None
        return y, Restitution(plain, plain + gate * residual, plain + (1 - gate) * residual)
