"""Instance normalisation in a trunk, as DualNorm (BoT-DN) and Style Normalisation and Restitution (BoT-SNR) use it.

Letters: B images, C channels, H x W positions.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointreid.messages.errors import JointreidError
from jointreid.models.dcsd import global_average_pool


class InstanceNorm(nn.InstanceNorm2d):
    """Give every channel of every image a mean and a standard deviation that are learnt, from 0 and 1 on.

    It computes the same in training and evaluation: there are no running statistics.
    """

    bias: nn.Parameter

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W].

        Raises:
            JointreidError: the map has a single position, and so no deviation.
        """
        if x.shape[2] * x.shape[3] < 2:
            raise JointreidError(
                f"instance normalisation: a map is {tuple(x.shape)}; expected two positions or more of each channel; "
                "give larger images"
            )
        return super().forward(x)


class Restitution(NamedTuple):
    """What the loss of one SNR module compares: pooled maps, [B, C], in fp32 under autocast too.

    Attributes:
        plain: of the normalised map alone. Averaging undoes what normalising left: it is the bias of the instance
            normalisation, the same for every image.
        useful: of the normalised map with the identity's part of the residual, the module's output.
        useless: of the normalised map with the rest of the residual.
    """

    plain: Tensor
    useful: Tensor
    useless: Tensor


class SNR(nn.Module):
    """Normalise away each image's style, then put back the share of it that tells identities apart.

    Args:
        channels: C.
        reduction: C divided by this is the hidden width of the gate.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.norm = InstanceNorm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Restitution | None]:
        """Map [B, C, H, W] to the same shape, and in training to what the loss compares; None in evaluation."""
        normalised = self.norm(x).to(x.dtype)  # B C H W; the residual is x - normalised
        plain = self.norm.bias.expand(x.shape[:2])  # B C: GAP(normalised), whatever the image
        residual = global_average_pool(x) - plain  # B C: GAP of the residual, without a map of it
        gate = torch.sigmoid(self.fc2(functional.relu(self.fc1(residual))))  # B C
        y = torch.lerp(normalised, x, gate.to(x.dtype)[:, :, None, None])  # normalised + gate * residual
        if not self.training:
            return y, None
        return y, Restitution(plain, plain + gate * residual, plain + (1 - gate) * residual)
