"""P x K batches in which every domain and every identity is spread evenly over the pass, whatever their shares are."""

from abc import abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jointreid.config import EpochLength
from jointreid.data.groups import draw_groups
from jointreid.data.interleaving import interleave, interleaved_batches, spread_evenly
from jointreid.data.pk_sampler import PKSampler

Indices = NDArray[np.int64]
Numbers = NDArray[np.float64]


class EvenPK(PKSampler):
    """Passes of one length, of which `interleaving.interleave` makes every stretch alike.

    Args:
        labels, ids_per_batch, images_per_id, seed: see `PKSampler`.
        domain_ids: the domain of every image, integers >= 0, [N].
        epoch_length: see `sampling.batches_per_epoch`.

    Raises:
        JointreidError: see `PKSampler`.
    """

    def __init__(
        self,
        labels: ArrayLike,
        domain_ids: ArrayLike,
        ids_per_batch: int = 16,
        images_per_id: int = 4,
        seed: int = 0,
        epoch_length: EpochLength = "images",
    ) -> None:
        super().__init__(labels, ids_per_batch, images_per_id, seed, epoch_length)
        self._domains = np.empty(len(self._groups.counts), dtype=np.int64)  # of each identity
        self._domains[self._identity] = np.unique(np.asarray(domain_ids), return_inverse=True)[1]

    def place_of(self, index: int) -> tuple[int, int]:
        """Return the pass that a batch is in, and which of its batches it is, both counted from 0."""
        return divmod(index, self.usual_pass)


class InterleavedPK(EvenPK):
    """The groups of `UnionPK` in another order: domains appear in proportion to their images, in any stretch."""

    @property
    def usual_pass(self) -> int:
        """As many batches as P different identities allow."""
        return interleaved_batches(self._groups.counts, self.ids_per_batch)

    def _draw(self, number: int) -> Indices:
        rng = np.random.default_rng([self.seed, number])
        groups = self._groups.draw(rng)
        drawn = interleave(self._groups.counts, self._domains, self.ids_per_batch, rng)
        return self._groups.cut(groups)[drawn].reshape(len(drawn), -1)


class _SharesPK(EvenPK):
    """A sampler that decides how many groups each identity gives to a pass; everything else follows."""

    @abstractmethod
    def _used(self, rng: np.random.Generator) -> Indices:
        """Return the groups that each identity gives, int64 [I]: P x batches in all, at most one a batch."""

    def _draw(self, number: int) -> Indices:
        rng = np.random.default_rng([self.seed, number])
        used = self._used(rng)
        groups = draw_groups(self._identity, used, self.images_per_id, rng)
        drawn = spread_evenly(used, self._domains, self.ids_per_batch, rng)
        return groups[drawn].reshape(len(drawn), -1)


class IdUniformPK(_SharesPK):
    """Every identity once in a pass, with K of its images: domains appear in proportion to their identities.

    The fewer than P identities that are left over are other ones in each pass.
    """

    @property
    def usual_pass(self) -> int:
        """As many batches as the identities make."""
        return len(self._domains) // self.ids_per_batch

    def _used(self, rng: np.random.Generator) -> Indices:
        used = np.ones(len(self._domains), dtype=np.int64)
        used[rng.permutation(len(used))[self.usual_pass * self.ids_per_batch :]] = 0
        return used


class DomainSharesPK(_SharesPK):
    """Every domain has its share of the places of a pass, and inside it identities appear in proportion to images.

    A pass has as many batches as once through the data. A domain with a larger share than its images make is shown
    more than once in it, each time shuffled anew; of one with a smaller share other images come in each pass. Where a
    share does not come out even, chance decides from pass to pass between the whole numbers beside it. A domain with
    few identities gets at most all of them in each batch; what is then left goes to the others.

    Version 2 orders the identities of a domain anew in each pass before chance decides which of them come. In version 1
    neighbours in the order of the labels hardly ever came in one pass where fewer than half of a domain's did.

    Args:
        labels, domain_ids, ids_per_batch, images_per_id, seed, epoch_length: see `EvenPK`.
        weights: of each domain, positive, in the order of the ids; only their ratios matter.
        version: 1 or 2. A run that was started with version 1 resumes with that.

    Raises:
        JointreidError: see `PKSampler`.
    """

    def __init__(
        self,
        labels: ArrayLike,
        domain_ids: ArrayLike,
        weights: ArrayLike,
        ids_per_batch: int = 16,
        images_per_id: int = 4,
        seed: int = 0,
        epoch_length: EpochLength = "images",
        version: int = 2,
    ) -> None:
        super().__init__(labels, domain_ids, ids_per_batch, images_per_id, seed, epoch_length)
        self.version = version
        most = np.bincount(self._domains) * self.usual_pass
        self._places = share_out(self.usual_pass * self.ids_per_batch, np.asarray(weights, dtype=np.float64), most)

    @property
    def usual_pass(self) -> int:
        """As many batches as the groups of all identities make."""
        return max(1, int(self._groups.counts.sum()) // self.ids_per_batch)

    def fingerprint(self) -> dict[str, int]:
        """Return what the batches depend on, as plain ints."""
        return super().fingerprint() | ({"version": self.version} if self.version > 1 else {})

    def _used(self, rng: np.random.Generator) -> Indices:
        places = round_at_random(self._places, rng)
        used = np.zeros(len(self._domains), dtype=np.int64)
        for domain, count in enumerate(places.tolist()):
            own = np.flatnonzero(self._domains == domain)
            if self.version > 1:
                own = rng.permutation(own)
            expected = share_out(count, self._groups.counts[own], np.full(len(own), self.usual_pass))
            used[own] = round_at_random(expected, rng)
        return used


def share_out(total: int, weights: ArrayLike, most: ArrayLike) -> Numbers:
    """Return the parts of a total in proportion to weights, none larger than its limit, float64 [n].

    Args:
        total: at most the sum of the limits.
        weights: positive, [n].
        most: the limits, [n].

    >>> share_out(12, [1, 1, 2], [9, 9, 9]).tolist(), share_out(12, [1, 1, 2], [9, 9, 4]).tolist()
    ([3.0, 3.0, 6.0], [4.0, 4.0, 4.0])
    """
    weights, most = np.asarray(weights, dtype=np.float64), np.asarray(most, dtype=np.float64)
    parts, is_open = np.zeros(len(weights)), np.ones(len(weights), dtype=bool)
    while is_open.any():
        left = total - most[~is_open].sum()
        parts[is_open] = left * weights[is_open] / weights[is_open].sum()
        if not (over := is_open & (parts > most)).any():
            break
        parts[over] = most[over]
        is_open &= ~over
    return parts


def round_at_random(expected: Numbers, rng: np.random.Generator) -> Indices:
    """Return whole numbers beside the expected ones, which have the same sum, a whole number too, and the same means.

    One random number shifts the grid that all are counted on, so each is the floor or the ceiling of what is expected.
    """
    ends = np.concatenate([[0.0], np.cumsum(expected)])
    ends[-1] = round(ends[-1])
    # What arithmetic makes of a whole number is not quite one; it must not decide about a place.
    whole = np.abs(ends - np.round(ends)) < 1e-6
    ends[whole] = np.round(ends[whole])
    return np.diff(np.floor(ends + rng.random())).astype(np.int64)
