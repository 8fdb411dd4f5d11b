"""The sampler that `sampler.kind` names: which images share a batch.

What each does and why one would try it: "Against domain conflict" in docs/train.md.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jointreid.config import EpochLength, RunConfig, SamplerKind
from jointreid.custom import is_custom
from jointreid.data.custom_batches import CustomBatches
from jointreid.data.even_pk import DomainSharesPK, IdUniformPK, InterleavedPK
from jointreid.data.grouped_pk import GroupedDomainsPK, grouped_pass
from jointreid.data.groups import group_counts
from jointreid.data.interleaving import interleaved_batches
from jointreid.data.joint import JointTrainSet
from jointreid.data.pk_sampler import PKSampler
from jointreid.data.union_pk import UnionPK, usual_pass
from jointreid.messages.errors import JointreidError, no_such

Indices = NDArray[np.int64]
Sampler = PKSampler | CustomBatches


def make_sampler(train_set: JointTrainSet, config: RunConfig, saved: Mapping[str, int] | None = None) -> Sampler:
    """Return the sampler that `sampler.kind` names.

    Args:
        train_set: the images that indices stand for.
        config: the settings of a step over all processes.
        saved: of a run that is resumed, the `fingerprint` of its sampler, whose version is taken.

    Raises:
        JointreidError: see `pk_sampler` and `CustomBatches`.
    """
    sampler, seed = config.sampler, config.train.seed
    if is_custom(sampler.kind):
        return CustomBatches(sampler.kind, train_set, sampler, seed)
    names = [domain.name for domain in train_set.label_space.domains]
    return pk_sampler(train_set.labels, train_set.domain_ids, names, config, saved)


def pk_sampler(
    labels: Indices,
    domain_ids: Indices,
    names: Sequence[str],
    config: RunConfig,
    saved: Mapping[str, int] | None = None,
) -> PKSampler:
    """Return the sampler of this package that `sampler.kind` names.

    Args:
        labels: the identity of every image, [N].
        domain_ids: the domain of every image, [N], each at least once.
        names: the domains' names, in the order of their ids.
        config: the settings of a step over all processes.
        saved: see `make_sampler`.

    Raises:
        JointreidError: weights that the sampler does not use; see also `PKSampler`, `GroupedDomainsPK` and
            `domain_weights`.
    """
    sampler = config.sampler
    if sampler.domain_weights and sampler.kind != "domain_weighted":
        raise JointreidError(
            f"sampler.domain_weights is given, but sampler.kind {sampler.kind} does not use it; choose --sampler.kind "
            "domain_weighted, or leave the weights out"
        )
    size = sampler.ids_per_batch, sampler.images_per_id, config.train.seed, config.schedule.epoch_length

    def shares(weights: ArrayLike) -> DomainSharesPK:
        return DomainSharesPK(labels, domain_ids, weights, *size, version=saved.get("version", 1) if saved else 2)

    make: dict[str, Callable[[], PKSampler]] = {
        "union_pk": lambda: UnionPK(labels, *size, version=saved.get("version", 1) if saved else None),
        "interleaved": lambda: InterleavedPK(labels, domain_ids, *size),
        "id_uniform": lambda: IdUniformPK(labels, domain_ids, *size),
        "domain_balanced": lambda: shares(np.ones(len(names))),
        "domain_temperature": lambda: shares(
            groups_by_domain(labels, domain_ids, sampler.images_per_id) ** (1 / sampler.temperature)
        ),
        "domain_weighted": lambda: shares(domain_weights(sampler.domain_weights, names)),
        "grouped_domains": lambda: GroupedDomainsPK(
            labels, domain_ids, *size, domains_per_batch=sampler.domains_per_batch, names=tuple(names)
        ),
    }
    return make[sampler.kind]()


def groups_by_domain(labels: Indices, domain_ids: Indices, images_per_id: int) -> Indices:
    """Return the groups of K images that each domain has, int64 [domains]."""
    _, first, images = np.unique(labels, return_index=True, return_counts=True)
    counts = np.bincount(domain_ids[first], weights=group_counts(images, images_per_id))
    return counts.astype(np.int64)


def domain_weights(given: Sequence[str], names: Sequence[str]) -> list[float]:
    """Return the weight of each domain.

    Args:
        given: `sampler.domain_weights`, one NAME=WEIGHT for each domain.
        names: the domains' names.

    Raises:
        JointreidError: a name is none of the domains, or one of them has no weight.
    """
    weights = {name: float(weight) for name, _, weight in (text.rpartition("=") for text in given)}
    for name in weights:
        if name not in names:
            raise JointreidError(f"sampler.domain_weights: {no_such('domain', name, names)}")
    if missing := [name for name in names if name not in weights]:
        raise JointreidError(
            f"sampler.domain_weights has no weight for {', '.join(missing)}; give each data set one, as in "
            f'--sampler.domain_weights "[{", ".join(f"{name}=1" for name in names)}]"'
        )
    return [weights[name] for name in names]


# The batches of a pass, by `sampler.kind`: of the groups of every identity, its domain, P and D.
PASSES: Mapping[SamplerKind, Callable[[Indices, Indices, int, int], int]] = {
    "union_pk": lambda groups, _, ids, __: usual_pass(groups, ids),
    "interleaved": lambda groups, _, ids, __: interleaved_batches(groups, ids),
    "id_uniform": lambda groups, _, ids, __: len(groups) // ids,
    "domain_balanced": lambda groups, _, ids, __: int(groups.sum()) // ids,
    "domain_temperature": lambda groups, _, ids, __: int(groups.sum()) // ids,
    "domain_weighted": lambda groups, _, ids, __: int(groups.sum()) // ids,
    "grouped_domains": grouped_pass,
}


def batches_per_epoch(
    images: ArrayLike,
    ids_per_batch: int,
    images_per_id: int,
    epoch_length: EpochLength = "images",
    kind: SamplerKind = "union_pk",
    domains: ArrayLike | None = None,
    domains_per_batch: int = 2,
) -> int:
    """Return how many batches make an epoch, at least 1.

    `images`: floor(N / (P * K)), as in fast-reid. `pass`: as many as a pass has, as in the BoT and AGW repositories.
    Their sampler drops what is left of each identity, and all that is left when fewer than P identities are, so a pass
    is shorter. How much is a matter of chance, by a batch or two; here every epoch has the rounded mean of a few
    passes, so that the length depends neither on the seed nor on the epoch. Of the other samplers all passes have one
    length.

    Args:
        images: images of each identity, integers [I], 1 or more. At least P identities for `pass`.
        ids_per_batch: P.
        images_per_id: K.
        epoch_length: what an epoch is.
        kind: the sampler, one of this package.
        domains: the domain of each identity, integers from 0, [I]; by default they have one.
        domains_per_batch: D of `grouped_domains`.

    >>> batches_per_epoch([9] * 300 + [10] * 467, 16, 4), batches_per_epoch([9] * 300 + [10] * 467, 16, 4, "pass")
    (115, 95)
    """
    counts = np.asarray(images)
    if epoch_length == "images":
        return max(1, int(counts.sum()) // (ids_per_batch * images_per_id))
    of_domain = np.zeros(len(counts), dtype=np.int64) if domains is None else np.asarray(domains)
    return max(1, PASSES[kind](group_counts(counts, images_per_id), of_domain, ids_per_batch, domains_per_batch))
