"""Eq. 3 and AGW's triplet: embeddings of one identity near each other, those of others away from them.

Letters: B images of a batch, D dimensions of an embedding.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from jointreid.config import Mining, TripletNumerics
from jointreid.machine.device import sent
from jointreid.messages.errors import JointreidError


def batch_hard_triplet(embedding: Tensor, labels: Tensor, margin: float, negatives: Tensor | None = None) -> Tensor:
    """Return Eq. 3 with the farthest positive and the nearest negative of every anchor in the batch.

    The distance is Euclidean, not squared. All anchors count in the mean, those without loss too; but not those
    without a negative under `negatives`.

    Args:
        embedding: [B, D].
        labels: int64 [B].
        margin: in units of the distance.
        negatives: which images may be an anchor's negatives, bool [B, B], see `minable`; by default all of other
            identities.

    Raises:
        JointreidError: on a CPU: an anchor has no positive or no image of another identity; a P x K batch always has
            both. On a GPU this is not checked: call `require_triplets` before the labels are sent there.

    >>> embedding = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> round(batch_hard_triplet(embedding, torch.tensor([0, 0, 1, 1]), margin=0.3).item(), 6)
    0.952776
    """
    same, distance = _same_identity(labels), _distances(embedding)
    other = ~same if negatives is None else negatives & ~same
    farthest_positive = distance.masked_fill(~same, -torch.inf).amax(1)
    nearest_negative = distance.masked_fill(~other, torch.inf).amin(1)
    loss = functional.relu(farthest_positive - nearest_negative + margin)
    return loss.mean() if negatives is None else _mean_over(loss, other.any(1))


def weighted_regularised_triplet(
    embedding: Tensor, labels: Tensor, numerics: TripletNumerics = "stable", negatives: Tensor | None = None
) -> Tensor:
    """Return AGW's triplet term: log(1 + exp(mean positive - mean negative distance)), without a margin.

    Both means are weighted: over all positives (and the anchor itself) by the softmax of their distances, over all
    negatives by the softmax of minus their distances. So far positives and near negatives count most.

    Args:
        embedding: [B, D].
        labels: int64 [B].
        numerics: how the softmax is computed. "stable": over its members alone. "published": as in the public code,
            which divides by a sum of exp(-distance) plus 1e-6: if no negative is near, their weights vanish, and so
            does their mean. Sixty negatives at distance 20 count as if they were at 2.2, at 30 as if at 0.0002.
        negatives: see `batch_hard_triplet`.

    Raises:
        JointreidError: as `batch_hard_triplet`.
    """
    same, distance = _same_identity(labels), _distances(embedding)
    weights = _softmax_over if numerics == "stable" else _published_softmax_over
    other = ~same if negatives is None else negatives & ~same
    has_negative = other.any(1)
    if negatives is not None:  # a row needs members; those of an anchor without negatives do not count
        other = other | ~has_negative[:, None]
    positive = (weights(distance, same) * distance).sum(1)
    negative = (weights(-distance, other) * distance).sum(1)
    loss = functional.softplus(positive - negative)
    return loss.mean() if negatives is None else _mean_over(loss, has_negative)


def minable(domain_ids: Tensor, mining: Mining) -> Tensor | None:
    """Return which images may be an anchor's negatives, bool [B, B], by `loss.mining`; None for all.

    An anchor that has none in its batch, as when its domain has no second identity there, is left out of the mean: a
    negative that the rule excludes would be what the rule is to prevent. Without any anchor the term is 0.

    Args:
        domain_ids: int64 [B].
        mining: `within` for images of the anchor's domain, `across` for those of others, `any` for all.
    """
    if mining == "any":
        return None
    same_domain = domain_ids[:, None] == domain_ids[None, :]
    return same_domain if mining == "within" else ~same_domain


def _mean_over(loss: Tensor, members: Tensor) -> Tensor:
    """Return the mean of the members of [B]; 0, still in the graph, if there are none."""
    return (loss * members).sum() / members.sum().clamp(min=1)


def require_triplets(labels: Tensor) -> None:
    """Refuse a batch in which an image has no triplet.

    Args:
        labels: int64 [B], on the CPU; on a GPU the host would have to wait for all queued work.

    Raises:
        JointreidError: for some image the batch has no other image of its identity, or none of another identity.
    """
    positives = (labels[:, None] == labels[None, :]).sum(1) - 1
    if bool(((positives < 1) | (positives + 1 == len(labels))).any()):
        raise JointreidError(
            f"labels {labels.tolist()}: every image needs another image of its identity and one of another identity "
            "in its batch; draw batches of at least 2 identities with at least 2 images each"
        )


def _same_identity(labels: Tensor) -> Tensor:
    """Return which images share an identity, bool [B, B]; on a CPU after `require_triplets`."""
    if labels.device.type == "cpu":
        require_triplets(labels)
    return labels[:, None] == labels[None, :]


def _distances(embedding: Tensor) -> Tensor:
    """Return the Euclidean distances between embeddings, [B, D] -> [B, B], in fp32.

    Differences are taken before squaring: in |a|^2 + |b|^2 - 2ab a small distance drowns in fp32. Below 1e-6 the clamp
    stops the gradient, which has no direction at 0.
    """
    x = embedding.float()
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").clamp(min=1e-6)


def _softmax_over(values: Tensor, members: Tensor) -> Tensor:
    """Return the softmax of each row over its members; 0 elsewhere."""
    return values.masked_fill(~members, -torch.inf).softmax(1)


def _published_softmax_over(values: Tensor, members: Tensor) -> Tensor:
    """Return `_softmax_over` with 0 included in the maximum and 1e-6 added to the sum."""
    largest = (values * members).amax(1, keepdim=True)
    powers = (values - largest).masked_fill(~members, -torch.inf).exp()
    return powers / (powers.sum(1, keepdim=True) + 1e-6)


class Pairs(NamedTuple):
    """The index of an image of the same identity, and of one of another, for each image of a batch; int64 [B]."""

    positive: Tensor
    negative: Tensor


def draw_pairs(labels: Tensor, generator: torch.Generator | None = None) -> Pairs:
    """Draw a positive and a negative for every image, all with equal probability.

    Args:
        labels: int64 [B].
        generator: on the CPU, so that a seed gives the same pairs on every device; None for PyTorch's default.

    Raises:
        JointreidError: as `batch_hard_triplet`.
    """
    same = _same_identity(labels)
    lots = sent(torch.rand(same.shape, generator=generator), labels.device)
    others = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive, negative = (lots.masked_fill(~allowed, -1).argmax(1) for allowed in (others, ~same))
    return Pairs(positive, negative)
