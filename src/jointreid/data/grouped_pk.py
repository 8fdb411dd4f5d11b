"""P x K batches of few domains each, so that most negatives are of the anchor's own domain."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jointreid.config import EpochLength
from jointreid.data.even_pk import EvenPK
from jointreid.data.interleaving import interleave, interleaved_batches
from jointreid.messages.errors import JointreidError

Indices = NDArray[np.int64]


class GroupedDomainsPK(EvenPK):
    """P x K batches of D domains with P / D identities each.

    The groups of a domain are those of `UnionPK`. They are cut into pieces of P / D different identities, and a batch
    is a piece each of D different domains, one domain after the other, so that a process's part of the batch has fewer
    still. Domains appear in proportion to their images and evenly over the pass, like identities in their domain. With
    D above 1 a domain can have at most one piece a batch; what a larger one has beyond it is left out of the pass, and
    is something else in each.

    Args:
        labels, domain_ids, ids_per_batch, images_per_id, seed, epoch_length: see `EvenPK`.
        domains_per_batch: D; with fewer domains as many as there are.
        names: of the domains, for messages.

    Raises:
        JointreidError: see `PKSampler`; P is no multiple of D, or a domain has fewer than P / D identities.
    """

    def __init__(
        self,
        labels: ArrayLike,
        domain_ids: ArrayLike,
        ids_per_batch: int = 16,
        images_per_id: int = 4,
        seed: int = 0,
        epoch_length: EpochLength = "images",
        *,
        domains_per_batch: int = 2,
        names: tuple[str, ...] = (),
    ) -> None:
        super().__init__(labels, domain_ids, ids_per_batch, images_per_id, seed, epoch_length)
        identities = np.bincount(self._domains)
        self.domains_per_batch = min(domains_per_batch, len(identities))
        self.ids_per_domain = ids_per_domain(ids_per_batch, self.domains_per_batch)
        smallest = int(identities.argmin())
        if identities[smallest] < self.ids_per_domain:
            name = names[smallest] if names else f"domain {smallest}"
            raise JointreidError(
                f"{name} has {identities[smallest]} train identities, but "
                f"sampler.kind grouped_domains takes {self.ids_per_domain} of one data set: choose a smaller "
                "--sampler.ids_per_batch, a larger --sampler.domains_per_batch, or leave the data set out"
            )
        self._pieces = _pieces(self._groups.counts, self._domains, self.ids_per_domain)
        self._pass_length = interleaved_batches(self._pieces, self.domains_per_batch)

    @property
    def usual_pass(self) -> int:
        """As many batches as D different domains allow."""
        return self._pass_length

    @property
    def images_together(self) -> int:
        """Images of one domain that come in one piece."""
        return self.ids_per_domain * self.images_per_id

    def _draw(self, number: int) -> Indices:
        rng = np.random.default_rng([self.seed, number])
        groups = self._groups.draw(rng)
        starts = np.cumsum(self._groups.counts) - self._groups.counts
        pieces = []
        for domain in range(len(self._pieces)):
            own = self._domains == domain
            counts = self._groups.counts[own]
            position = np.repeat(starts[own] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
            drawn = interleave(counts, np.zeros(len(counts), dtype=np.int64), self.ids_per_domain, rng)
            pieces.append(position[drawn])
        order = interleave(self._pieces, np.arange(len(self._pieces)), self.domains_per_batch, rng)
        batches = np.concatenate(pieces)[order]
        images: Indices = self._groups.cut(groups)[batches].reshape(len(batches), -1)
        return images


def ids_per_domain(ids_per_batch: int, domains_per_batch: int) -> int:
    """Return P / D.

    Raises:
        JointreidError: it is no whole number.
    """
    if ids_per_batch % domains_per_batch:
        raise JointreidError(
            f"{ids_per_batch} identities a batch are no multiple of {domains_per_batch} domains a batch; choose "
            "another --sampler.ids_per_batch or --sampler.domains_per_batch"
        )
    return ids_per_batch // domains_per_batch


def grouped_pass(groups: Indices, domains: Indices, ids_per_batch: int, domains_per_batch: int) -> int:
    """Return the batches of a pass.

    Args:
        groups: groups of K images of every identity, [I].
        domains: the domain of every identity, [I], each of 0.. at least once.
        ids_per_batch: P.
        domains_per_batch: D.
    """
    each = min(domains_per_batch, int(domains.max()) + 1)
    return interleaved_batches(_pieces(groups, domains, ids_per_domain(ids_per_batch, each)), each)


def _pieces(groups: Indices, domains: Indices, size: int) -> Indices:
    """Return the pieces of P / D different identities that each domain has."""
    return np.array([interleaved_batches(groups[domains == d], size) for d in range(int(domains.max()) + 1)])
