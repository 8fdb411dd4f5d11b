"""The training objective: Eq. 3-5 as pure functions, in fp32 whatever the network computes in.

Letters: B images of a batch, D numbers of an embedding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from jointreid.config import LossConfig
from jointreid.data.images import Batch
from jointreid.errors import JointreidError
from jointreid.models.dcsd import FactorLogits
from jointreid.models.reid import ModelOutput


class LossTerms(NamedTuple):
    """The terms of Eq. 5, unweighted, and their weighted sum; scalars in fp32."""

    triplet: Tensor
    identity: Tensor
    domain: Tensor
    camera: Tensor
    total: Tensor


class FactorTerms(NamedTuple):
    """The last two terms of Eq. 5: cross-entropies averaged over the DCSD blocks; scalars in fp32."""

    domain: Tensor
    camera: Tensor


class HeadAccuracy(NamedTuple):
    """How often the heads of each DCSD block are right, rates in [0, 1].

    Attributes:
        domain: [blocks with a domain head], from input to output.
        camera: [blocks with a camera head], from input to output.
    """

    domain: Tensor
    camera: Tensor

    @property
    def mean_domain(self) -> Tensor:
        """Mean over blocks; NaN without domain heads."""
        return self.domain.mean()

    @property
    def mean_camera(self) -> Tensor:
        """Mean over blocks; NaN without camera heads."""
        return self.camera.mean()


def batch_hard_triplet(embedding: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return Eq. 3 with the farthest positive and the nearest negative of every anchor in the batch.

    The distance is Euclidean, not squared. All anchors count in the mean, those without loss too.

    Args:
        embedding: [B, D].
        labels: int64 [B].
        margin: in units of the distance.

    Raises:
        JointreidError: an anchor has no positive or no negative; a P x K batch always has both.

    >>> embedding = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> round(batch_hard_triplet(embedding, torch.tensor([0, 0, 1, 1]), margin=0.3).item(), 6)
    0.952776
    """
    same = labels[:, None] == labels[None, :]  # B B
    positives = same.sum(1) - 1
    if bool(((positives < 1) | (positives + 1 == len(labels))).any()):
        raise JointreidError(
            f"labels {labels.tolist()}: every image needs another of its identity and one of another identity in its "
            "batch; draw batches of at least 2 identities with at least 2 images each"
        )
    # Differences are taken before squaring: in |a|^2 + |b|^2 - 2ab a small distance drowns in fp32. Below 1e-6 the
    # clamp stops the gradient, which has no direction at 0.
    x = embedding.float()
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").clamp(min=1e-6)  # B B
    farthest_positive = distance.masked_fill(~same, -torch.inf).amax(1)
    nearest_negative = distance.masked_fill(same, torch.inf).amin(1)
    return functional.relu(farthest_positive - nearest_negative + margin).mean()


def identity_cross_entropy(id_logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return Eq. 4 over identities, with label smoothing.

    A target is 1 - smoothing + smoothing / num_ids on the true identity and smoothing / num_ids on the others.

    Args:
        id_logits: [B, num_ids].
        labels: int64 [B].
        smoothing: share of the target spread over all identities; 0 is Eq. 4 as printed.
    """
    return functional.cross_entropy(id_logits.float(), labels, label_smoothing=smoothing)


def factor_cross_entropy(
    factor_logits: Sequence[FactorLogits], domain_ids: Tensor, global_camids: Tensor, smoothing: float = 0.0
) -> FactorTerms:
    """Return Eq. 4 over domains and over cameras, each averaged over the blocks that have such a head; 0 without any.

    Args:
        factor_logits: one per DCSD.
        domain_ids: int64 [B].
        global_camids: int64 [B].
        smoothing: share of the target spread over all classes.
    """

    def mean_over_blocks(logits: Sequence[Tensor], ids: Tensor) -> Tensor:
        if not logits:
            return torch.zeros((), device=ids.device)
        return torch.stack([functional.cross_entropy(x.float(), ids, label_smoothing=smoothing) for x in logits]).mean()

    domain, camera = by_factor(factor_logits)
    return FactorTerms(mean_over_blocks(domain, domain_ids), mean_over_blocks(camera, global_camids))


def reid_loss(output: ModelOutput, batch: Batch, config: LossConfig) -> LossTerms:
    """Return the terms of Eq. 5 and their sum, weighted by `config`.

    Raises:
        JointreidError: see `batch_hard_triplet`.
    """
    triplet = batch_hard_triplet(output.embedding, batch.labels, config.margin)
    identity = identity_cross_entropy(output.id_logits, batch.labels, config.id_smoothing)
    domain, camera = factor_cross_entropy(
        output.factor_logits, batch.domain_ids, batch.global_camids, config.aux_smoothing
    )
    total = config.w_triplet * triplet + config.w_id * identity + config.w_domain * domain + config.w_camera * camera
    return LossTerms(triplet, identity, domain, camera, total)


@torch.no_grad()
def head_accuracy(factor_logits: Sequence[FactorLogits], domain_ids: Tensor, global_camids: Tensor) -> HeadAccuracy:
    """Return how often each block names an image's domain and its camera; chance is 1 / classes.

    Args:
        factor_logits: one per DCSD.
        domain_ids: int64 [B].
        global_camids: int64 [B].
    """

    def rates(logits: Sequence[Tensor], ids: Tensor) -> Tensor:
        hits = [(x.argmax(1) == ids).float().mean() for x in logits]
        return torch.stack(hits) if hits else torch.zeros(0, device=ids.device)

    domain, camera = by_factor(factor_logits)
    return HeadAccuracy(rates(domain, domain_ids), rates(camera, global_camids))


def by_factor(factor_logits: Sequence[FactorLogits]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the domain logits and the camera logits of the blocks that have them, in order."""
    domain = [block.domain for block in factor_logits if block.domain is not None]
    camera = [block.camera for block in factor_logits if block.camera is not None]
    return domain, camera
