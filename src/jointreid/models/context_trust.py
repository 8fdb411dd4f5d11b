"""How far a context is trusted: as far as it is right about people that it has not learnt from.

A context network that learns its train images by heart is sure of every one of them, and wrong on the next person. The
generators would learn kernels for knowledge that is not there at test. So part of the train identities is kept from the
losses of the context network (`dcsd.context_held_out`), and how often it is right on them says what it knows.

Letters: B images of a batch.
"""

import torch
from torch import Tensor, nn

from jointreid.messages.errors import JointreidError

Logits = tuple[Tensor | None, Tensor | None]  # of domain [B, num_domains] and camera [B, num_cameras]

# Each batch counts as much as this share of all before it, so that some hundred batches are remembered.
MOMENTUM = 0.01


def is_held_out(labels: Tensor, share: float) -> Tensor:
    """Return which identities are kept from the losses of the context network, bool [B].

    They lie evenly among the labels, so that every domain, whose labels follow each other, has the same share up to
    one identity.

    Args:
        labels: int64 [B].
        share: of the identities, in [0, 1).
    """
    before = torch.stack([labels, labels + 1]).double() * share
    first, last = before.floor().unbind()
    return last > first


class ContextTrust(nn.Module):
    """Multiply the vectors of domain and camera by how much more often each is right than wrong.

    With a share a of right answers on held-out identities the factor is max(0, 2a - 1): 1 for a prediction that is
    always right, 0 for one that is wrong as often as right, or more. It is 0 before the first answer.

    Args:
        share: of the train identities that are held out.

    Attributes:
        running_right: exponential mean of the right answers a batch, of domain and camera, [2].
        running_seen: the same of the held-out images, [1].
    """

    running_right: Tensor
    running_seen: Tensor

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("running_right", torch.zeros(2))
        self.register_buffer("running_seen", torch.zeros(1))

    def require_held_out(self, num_ids: int) -> None:
        """Refuse a share of so few identities that none is held out: the context would never be trusted.

        Raises:
            JointreidError: the message says which share holds out one.
        """
        if not bool(is_held_out(torch.arange(num_ids), self.share).any()):
            raise JointreidError(
                f"dcsd.context_held_out is {self.share:g}, of {num_ids:,} train identities: none is held out, so "
                "nothing could be measured; expected a share that holds out one or more, or 0 to measure nothing"
            )

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
        """
        held_out = is_held_out(labels, self.share)
        with torch.no_grad():
            right = [
                labels.new_zeros(()) if part is None else ((part.argmax(1) == ids) & held_out).sum()
                for part, ids in zip(logits, (domain_ids, global_camids), strict=True)
            ]
            self.running_right.lerp_(torch.stack(right).to(self.running_right), MOMENTUM)
            self.running_seen.lerp_(held_out.sum().to(self.running_seen), MOMENTUM)
        domain, camera = (
            None if part is None else torch.where(held_out[:, None], part.detach(), part) for part in logits
        )
        return domain, camera
