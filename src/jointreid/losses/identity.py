"""Eq. 4 over identities, of all domains together or of the image's own domain alone.

Letters: B images of a batch.
"""

import torch
from torch import Tensor
from torch.nn import functional

from jointreid.config import IdHead
from jointreid.messages.errors import JointreidError


def identity_cross_entropy(id_logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return Eq. 4 over identities, with label smoothing.

    A target is 1 - smoothing + smoothing / num_ids on the true identity and smoothing / num_ids on the others.

    Args:
        id_logits: [B, num_ids].
        labels: int64 [B].
        smoothing: share of the target spread over all identities; 0 is Eq. 4 as printed.
    """
    return functional.cross_entropy(id_logits.float(), labels, label_smoothing=smoothing)


def identity_loss(
    id_logits: Tensor,
    labels: Tensor,
    smoothing: float,
    head: IdHead = "softmax",
    id_domains: Tensor | None = None,
) -> Tensor:
    """Return the identity term of the head that `loss.id_head` names.

    `softmax`: `identity_cross_entropy`. `masked`: the same over the identities of the image's own domain alone; the
    logits of others are masked out, and smoothing is spread over the own ones. `per_domain`: the same softmax for each
    domain, but every domain has a loss of its own, the mean over its images, and the term is the mean over the domains
    in the batch, however many images each has there. (A linear classifier without a bias gives one head for each domain
    by itself: its rows.)

    Args:
        id_logits: [B, num_ids].
        labels: int64 [B].
        smoothing: share of the target that is spread.
        head: its name.
        id_domains: the domain of every identity, int64 [num_ids]; not needed for `softmax`.

    Raises:
        JointreidError: `id_domains` is needed and missing.
    """
    if head == "softmax":
        return identity_cross_entropy(id_logits, labels, smoothing)
    losses = own_domain_losses(id_logits, labels, smoothing, id_domains)
    if head == "masked":
        return losses.mean()
    assert id_domains is not None
    domain = id_domains[labels]
    same_domain = (domain[:, None] == domain[None, :]).to(losses.dtype)
    weights = 1 / same_domain.sum(1)  # of an image in the mean of its domain
    return (losses * weights).sum() / weights.sum()  # the weights of a domain add up to 1


def own_domain_losses(id_logits: Tensor, labels: Tensor, smoothing: float, id_domains: Tensor | None) -> Tensor:
    """Return the cross-entropy of each image over the identities of its own domain, fp32 [B]; see `identity_loss`."""
    if id_domains is None:
        raise JointreidError("an identity head by domain needs the domain of every identity: Batch.id_domains")
    own = id_domains[labels][:, None] == id_domains[None, :]  # B num_ids
    log_shares = id_logits.float().masked_fill(~own, -torch.inf).log_softmax(1).masked_fill(~own, 0)
    truth = log_shares.gather(1, labels[:, None])[:, 0]
    return -(1 - smoothing) * truth - smoothing * log_shares.sum(1) / own.sum(1)
