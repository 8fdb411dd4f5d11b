"""How far a context is trusted: as far as it is right about people that it has not learnt from.

A context network that learns its train images by heart is sure of every one of them, and wrong on the next person. The
generators would learn kernels for knowledge that is not there at test. So part of the train identities is kept from the
losses of the context network (`dcsd.context_held_out`), and how often it is right on them says what it knows.

Letters: B images of a batch.
"""

from typing import TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jointreid.messages.errors import JointreidError

Logits = tuple[Tensor | None, Tensor | None]  # of domain [B, num_domains] and camera [B, num_cameras]

# Each batch counts as much as this share of all before it, so that some hundred batches are remembered.
MOMENTUM = 0.01


class ContextTrust(nn.Module):
    """Multiply the vectors of domain and camera by how much more often each is right than wrong.

    With a share a of right answers on held-out identities the factor is max(0, 2a - 1): 1 for a prediction that is
    always right, 0 for one that is wrong as often as right, or more. It is 0 before the first answer, and for a head
    with one class, which is right whatever it knows and teaches its vector nothing.

    Args:
        share: of the train identities that are held out.

    Attributes:
        running_right: exponential mean of the right answers a batch, of domain and camera, [2].
        running_seen: the same of the held-out images, [1].
        held_out: which identities are, bool [num_ids]; empty until `hold_out`. Not saved: it follows from the data.
    """

    running_right: Tensor
    running_seen: Tensor
    held_out: Tensor

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("running_right", torch.zeros(2))
        self.register_buffer("running_seen", torch.zeros(1))
        self.register_buffer("held_out", torch.zeros(0, dtype=torch.bool), persistent=False)

    def hold_out(self, identities: NDArray[np.bool_]) -> None:
        """Take which identities are held out, [num_ids], before `learn`.

        Raises:
            JointreidError: none is, so the context would never be trusted.
        """
        if not identities.any():
            raise JointreidError(
                f"dcsd.context_held_out is {self.share:g}, of {len(identities):,} train identities: none is held out, "
                "since no data set has two, one to learn from and one to hold out; set it to 0 to measure nothing"
            )
        self.held_out = torch.from_numpy(identities).to(self.held_out.device)

    def forget(self) -> None:
        """Begin anew, where the classifiers that the counts are of begin anew."""
        self.running_right.zero_()
        self.running_seen.zero_()

    def forward(self) -> Tensor:
        """Return the factors of domain and camera, [2]."""
        right = self.running_right / self.running_seen.clamp(min=torch.finfo(self.running_seen.dtype).tiny)
        return (2 * right - 1).clamp(min=0)

    def learn(self, logits: Logits, labels: Tensor, domain_ids: Tensor, global_camids: Tensor) -> Logits:
        """Count the right answers on held-out identities; return the logits, theirs without a gradient.

        Several processes, each with its part of a batch, average the counts after each step, as the statistics of batch
        normalisation (`Processes.average_running`).

        Args:
            logits: of the context network.
            labels: int64 [B].
            domain_ids: int64 [B].
            global_camids: int64 [B].

        Raises:
            JointreidError: `hold_out` was not called.
        """
        if not len(self.held_out):
            raise JointreidError(
                f"dcsd.context_held_out is {self.share:g}, but nothing says which identities are held out; call "
                "jointreid.run.hold_out_identities before the first step"
            )
        held_out = self.held_out[labels]
        with torch.no_grad():
            right = [
                ((part.argmax(1) == ids) & held_out).sum() if _can_be_wrong(part) else labels.new_zeros(())
                for part, ids in zip(logits, (domain_ids, global_camids), strict=True)
            ]
            # Not in place: a compiled network may have kept the earlier values for its backward pass.
            self.running_right = self.running_right.lerp(torch.stack(right).to(self.running_right), MOMENTUM)
            self.running_seen = self.running_seen.lerp(held_out.sum().to(self.running_seen), MOMENTUM)
        domain, camera = (
            None if part is None else torch.where(held_out[:, None], part.detach(), part) for part in logits
        )
        return domain, camera


def _can_be_wrong(logits: Tensor | None) -> TypeGuard[Tensor]:
    """Return whether there is a head [B, classes] with two classes or more."""
    return logits is not None and logits.shape[1] > 1
