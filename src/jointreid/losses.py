"""The loss: Eq. 3-5 and the terms of AGW and SNR, as pure functions, in fp32 whatever the precision of the network.

Letters: B images of a batch, D dimensions of an embedding.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional

from jointreid.config import LossConfig, TripletNumerics
from jointreid.custom import custom_function, is_custom
from jointreid.data.images import Batch
from jointreid.machine.device import sent
from jointreid.messages.errors import JointreidError
from jointreid.models.context import FactorLogits
from jointreid.models.norms import Restitution
from jointreid.models.reid import ModelOutput


class LossTerms(NamedTuple):
    """The terms of Eq. 5, unweighted, that of SNR, weighted over its stages, and the weighted sum; scalars in fp32.

    Attributes:
        triplet: Eq. 3, or AGW's triplet.
        identity: Eq. 4 over identities.
        domain: Eq. 4 over domains; None for a model without domain heads, or whose heads have one class.
        camera: Eq. 4 over cameras; None as for `domain`.
        snr: the dual causality loss; None for a model without SNR modules, or with `loss.snr` off.
        total: the weighted sum, which is minimised.
    """

    triplet: Tensor
    identity: Tensor
    domain: Tensor | None
    camera: Tensor | None
    snr: Tensor | None
    total: Tensor


class Terms(Protocol):
    """Scalars by name, as a NamedTuple has them; `total` is minimised, the others are logged unless they are None."""

    @property
    def total(self) -> Tensor:
        """The sum that is minimised."""

    def _asdict(self) -> dict[str, Tensor | None]: ...


LossFunction = Callable[[ModelOutput, Batch, LossConfig, torch.Generator | None], Terms]


class FactorTerms(NamedTuple):
    """The last two terms of Eq. 5: cross-entropies averaged over the DCSD blocks; scalars in fp32.

    Attributes:
        domain: 0 without domain heads, or where they have one class.
        camera: 0 without camera heads, or where they have one class.
    """

    domain: Tensor
    camera: Tensor


class HeadAccuracy(NamedTuple):
    """Share of a batch's images for which the heads of each DCSD block are right, in [0, 1].

    Heads with a single class are left out: they cannot be wrong.

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
        JointreidError: on a CPU: an anchor has no positive or no negative; a P x K batch always has both. On a GPU
            this is not checked: call `require_triplets` before the labels are sent there.

    >>> embedding = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> round(batch_hard_triplet(embedding, torch.tensor([0, 0, 1, 1]), margin=0.3).item(), 6)
    0.952776
    """
    same, distance = _same_identity(labels), _distances(embedding)
    farthest_positive = distance.masked_fill(~same, -torch.inf).amax(1)
    nearest_negative = distance.masked_fill(same, torch.inf).amin(1)
    return functional.relu(farthest_positive - nearest_negative + margin).mean()


def weighted_regularised_triplet(embedding: Tensor, labels: Tensor, numerics: TripletNumerics = "stable") -> Tensor:
    """Return AGW's triplet term: log(1 + exp(mean positive - mean negative distance)), without a margin.

    Both means are weighted: over all positives (and the anchor itself) by the softmax of their distances, over all
    negatives by the softmax of minus their distances. So far positives and near negatives count most.

    Args:
        embedding: [B, D].
        labels: int64 [B].
        numerics: how the softmax is computed. "stable": over its members alone. "published": as in the public code,
            which divides by a sum of exp(-distance) plus 1e-6: if no negative is near, their weights vanish, and so
            does their mean. Sixty negatives at distance 20 count as if they were at 2.2, at 30 as if at 0.0002.

    Raises:
        JointreidError: as `batch_hard_triplet`.
    """
    same, distance = _same_identity(labels), _distances(embedding)
    weights = _softmax_over if numerics == "stable" else _published_softmax_over
    positive = (weights(distance, same) * distance).sum(1)
    negative = (weights(-distance, ~same) * distance).sum(1)
    return functional.softplus(positive - negative).mean()


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


def dual_causality(restitution: Restitution, pairs: Pairs) -> Tensor:
    """Return the loss of one SNR module: its useful part should separate identities, its useless part should not.

    With d = (1 - cosine) / 2 to the positive p and to the negative n, and sp = softplus, the mean over images of

        sp(d_useful(p) - d_plain(p)) + sp(d_plain(n) - d_useful(n))
        + sp(d_plain(p) - d_useless(p)) + sp(d_useless(n) - d_plain(n))

    Every image has the same `plain` vector, so d_plain is 0: the published loss compares with a constant.

    Args:
        restitution: of the module, for the images of the batch.
        pairs: of `draw_pairs`.
    """

    def distances(feature: Tensor) -> tuple[Tensor, Tensor]:
        unit = functional.normalize(feature.float(), dim=1)
        # |a - b|^2 / 4 is (1 - cosine) / 2 for unit vectors, and exactly 0 for equal ones, even if both are 0 as
        # `plain` is at first.
        return (unit - unit[pairs.positive]).square().sum(1) / 4, (unit - unit[pairs.negative]).square().sum(1) / 4

    (plain_p, plain_n), (useful_p, useful_n), (useless_p, useless_n) = map(distances, restitution)
    sp = functional.softplus
    useful = sp(useful_p - plain_p) + sp(plain_n - useful_n)
    useless = sp(plain_p - useless_p) + sp(useless_n - plain_n)
    return (useful + useless).mean()


def reid_loss(
    output: ModelOutput, batch: Batch, config: LossConfig, generator: torch.Generator | None = None
) -> LossTerms:
    """Return the terms of Eq. 5, that of SNR, and their sum, weighted by `config`.

    Args:
        output: of the model, in training.
        batch: its input, with labels.
        config: weights of the terms and other settings.
        generator: draws the pairs of the SNR term; see `draw_pairs`.

    Raises:
        JointreidError: see `batch_hard_triplet`.
    """
    if config.triplet == "wrt":
        triplet = weighted_regularised_triplet(output.embedding, batch.labels, config.wrt_numerics)
    else:
        triplet = batch_hard_triplet(output.embedding, batch.labels, config.margin)
    identity = identity_cross_entropy(output.id_logits, batch.labels, config.id_smoothing)
    domain, camera = factor_cross_entropy(
        output.factor_logits, batch.domain_ids, batch.global_camids, config.aux_smoothing
    )
    total = config.w_triplet * triplet + config.w_id * identity + config.w_domain * domain + config.w_camera * camera
    snr = None
    if config.snr and output.restitutions:
        pairs = draw_pairs(batch.labels, generator)
        terms = [dual_causality(restitution, pairs) for restitution in output.restitutions]
        snr = torch.stack([weight * term for weight, term in zip(config.w_snr, terms, strict=True)]).sum()
        total = total + snr
    has_domains, has_cameras = (any(x.shape[1] > 1 for x in logits) for logits in by_factor(output.factor_logits))
    return LossTerms(triplet, identity, domain if has_domains else None, camera if has_cameras else None, snr, total)


def trained_terms(terms: Terms) -> dict[str, Tensor]:
    """Return the terms that the model is trained by, and `total`, by name: those that are not None."""
    return {name: term for name, term in terms._asdict().items() if term is not None}


def loss_function(kind: str) -> LossFunction:
    """Return the loss that `loss.kind` names: `reid_loss`, or a custom function of the same arguments.

    A custom loss returns a NamedTuple of scalars of any names; `total` is minimised, all are logged.

    Raises:
        JointreidError: there is no such function, or its module is not trusted. The function itself raises it when it
            is called and returns something else.
    """
    if not is_custom(kind):
        return reid_loss
    function = custom_function("loss.kind", kind)

    def checked(output: ModelOutput, batch: Batch, config: LossConfig, generator: torch.Generator | None) -> Terms:
        terms = function(output, batch, config, generator)
        fields = terms._asdict() if hasattr(terms, "_asdict") else {}
        scalars = [isinstance(x, Tensor) and x.ndim == 0 for x in fields.values() if x is not None]
        if not isinstance(fields.get("total"), Tensor) or not all(scalars):
            raise JointreidError(
                f"loss.kind {kind} returned {type(terms).__name__}; expected a NamedTuple of scalar tensors, one of "
                "them `total`, such as jointreid.losses.LossTerms"
            )
        return cast(Terms, terms)

    return checked


@torch.no_grad()
def identity_by_domain(output: ModelOutput, batch: Batch, num_domains: int) -> Tensor:
    """Return the identity loss of the images of each domain, and how many there are.

    It is Eq. 4 over identities as printed, without smoothing. One product with the images' domains adds it up, in a
    fixed order, so that the sums are the same on every run and a GPU need not wait for the host.

    Args:
        output: of the model.
        batch: its input, with labels.
        num_domains: domains of the training set.

    Returns:
        [2, num_domains]: the sums, and the numbers of images.
    """
    loss = functional.cross_entropy(output.id_logits.float(), batch.labels, reduction="none")
    members = functional.one_hot(batch.domain_ids, num_domains).to(loss.dtype)
    return torch.stack([loss, torch.ones_like(loss)]) @ members


@torch.no_grad()
def head_accuracy(factor_logits: Sequence[FactorLogits], domain_ids: Tensor, global_camids: Tensor) -> HeadAccuracy:
    """Return how often each block tells an image's domain and its camera; chance is 1 / classes.

    Args:
        factor_logits: one per DCSD.
        domain_ids: int64 [B].
        global_camids: int64 [B].
    """

    def shares(logits: Sequence[Tensor], ids: Tensor) -> Tensor:
        right = [(x.argmax(1) == ids).float().mean() for x in logits if x.shape[1] > 1]
        return torch.stack(right) if right else torch.zeros(0, device=ids.device)

    domain, camera = by_factor(factor_logits)
    return HeadAccuracy(shares(domain, domain_ids), shares(camera, global_camids))


def by_factor(factor_logits: Sequence[FactorLogits]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the domain logits and the camera logits of the blocks that have them, in order."""
    domain = [block.domain for block in factor_logits if block.domain is not None]
    camera = [block.camera for block in factor_logits if block.camera is not None]
    return domain, camera
