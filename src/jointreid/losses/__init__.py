"""The loss: Eq. 3-5 and the terms of AGW and SNR, as pure functions, in fp32 whatever the precision of the network.

Letters: B images of a batch.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional

from jointreid.config import IdHead, LossConfig
from jointreid.custom import custom_function, is_custom
from jointreid.data.images import Batch
from jointreid.losses.identity import identity_loss, own_domain_losses
from jointreid.losses.triplets import Pairs, batch_hard_triplet, draw_pairs, minable, weighted_regularised_triplet
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
        generator: draws the pairs of the SNR term, see `draw_pairs`, and the domains and cameras of shuffled labels.

    Raises:
        JointreidError: see `batch_hard_triplet` and `identity_loss`.
    """
    negatives = minable(batch.domain_ids, config.mining)
    if config.triplet == "wrt":
        triplet = weighted_regularised_triplet(output.embedding, batch.labels, config.wrt_numerics, negatives)
    else:
        triplet = batch_hard_triplet(output.embedding, batch.labels, config.margin, negatives)
    identity = identity_loss(output.id_logits, batch.labels, config.id_smoothing, config.id_head, batch.id_domains)
    origins = batch.domain_ids, batch.global_camids
    if config.context_labels == "shuffled":
        origins = _random_origins(output.factor_logits, batch, generator)
    domain, camera = factor_cross_entropy(output.factor_logits, *origins, config.aux_smoothing)
    total = config.w_triplet * triplet + config.w_id * identity + config.w_domain * domain + config.w_camera * camera
    snr = None
    if config.snr and output.restitutions:
        pairs = draw_pairs(batch.labels, generator)
        terms = [dual_causality(restitution, pairs) for restitution in output.restitutions]
        snr = torch.stack([weight * term for weight, term in zip(config.w_snr, terms, strict=True)]).sum()
        total = total + snr
    has_domains, has_cameras = (any(x.shape[1] > 1 for x in logits) for logits in by_factor(output.factor_logits))
    return LossTerms(triplet, identity, domain if has_domains else None, camera if has_cameras else None, snr, total)


def _random_origins(
    factor_logits: Sequence[FactorLogits], batch: Batch, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return a domain and a camera for each image that say nothing of it, int64 [B] each.

    The labels of another image of the batch would say something: which images share a batch depends on their domains.
    """
    drawn = []
    for logits in by_factor(factor_logits):
        classes = logits[0].shape[1] if logits else 1
        drawn.append(torch.randint(classes, (len(batch.labels),), generator=generator))
    domain, camera = (sent(ids, batch.labels.device) for ids in drawn)
    return domain, camera


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
def identity_by_domain(output: ModelOutput, batch: Batch, num_domains: int, id_head: IdHead = "softmax") -> Tensor:
    """Return the identity loss of the images of each domain, and how many there are.

    It is Eq. 4 over identities as printed, without smoothing, and with an identity head by domain over those of the
    own domain. One product with the images' domains adds it up, in a
    fixed order, so that the sums are the same on every run and a GPU need not wait for the host.

    Args:
        output: of the model.
        batch: its input, with labels.
        num_domains: domains of the training set.
        id_head: `loss.id_head`.

    Returns:
        [2, num_domains]: the sums, and the numbers of images.
    """
    if id_head == "softmax":
        loss = functional.cross_entropy(output.id_logits.float(), batch.labels, reduction="none")
    else:
        loss = own_domain_losses(output.id_logits, batch.labels, 0, batch.id_domains)
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
