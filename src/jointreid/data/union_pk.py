"""The paper's batches: P identities of the union of the domains, drawn at random among those that have images left."""

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jointreid.config import EpochLength
from jointreid.data.pk_sampler import PKSampler

Indices = NDArray[np.int64]

# Passes whose mean length is that of an epoch under `epoch_length` pass. They differ by a batch or two.
_PASSES = 8
# From so many images on, all passes of `UnionPK` have one length: to draw all passes before one would take too long.
_EQUAL_PASSES_FROM = 250_000


class UnionPK(PKSampler):
    """P x K batches drawn from all domains as if they were one: domains appear in proportion to their images.

    A pass goes once through the data: the images of each identity are shuffled and cut into groups of K, dropping the
    remainder; an identity with fewer than K images gives one group, drawn from them with replacement. A batch takes
    one group each of P different identities, drawn uniformly among those that have groups left. The pass ends when
    fewer than P identities do, and the next begins with its own shuffle.

    Where a pass ends is a matter of chance, by a batch or two, so to find a batch the passes before it are counted. In
    version 2, which is for data of 250,000 images or more, all passes have one length, the shortest of eight drawn with
    fixed seeds: a pass that turns out shorter is drawn again, a longer one is cut there.

    Args:
        labels, ids_per_batch, images_per_id, seed: see `PKSampler`.
        epoch_length: see `sampling.batches_per_epoch`.
        version: 1 or 2; by default that for so many images. A run that was started with another resumes with that.

    Raises:
        JointreidError: see `PKSampler`.
    """

    def __init__(
        self,
        labels: ArrayLike,
        ids_per_batch: int = 16,
        images_per_id: int = 4,
        seed: int = 0,
        epoch_length: EpochLength = "images",
        *,
        version: int | None = None,
    ) -> None:
        super().__init__(labels, ids_per_batch, images_per_id, seed, epoch_length)
        self.version = version or (2 if len(self._identity) >= _EQUAL_PASSES_FROM else 1)
        self._pass_length = min(_pass_lengths(self._groups.counts, ids_per_batch)) if self.version == 2 else 0
        self._pass_starts = [0]  # in version 1, index of the first batch of each pass known so far

    @cached_property
    def usual_pass(self) -> int:
        """The rounded mean of a few passes, in batches."""
        return usual_pass(self._groups.counts, self.ids_per_batch)

    def place_of(self, index: int) -> tuple[int, int]:
        """Return the pass that a batch is in, and which of its batches it is, both counted from 0."""
        if self.version == 2:
            return divmod(index, self._pass_length)
        while index >= self._pass_starts[-1]:
            rng = np.random.default_rng([self.seed, len(self._pass_starts) - 1])
            self._groups.draw(rng)  # the numbers that come before those of the identities
            self._pass_starts.append(self._pass_starts[-1] + len(self._draw_identities(rng)))
        number = int(np.searchsorted(self._pass_starts, index, side="right")) - 1
        return number, index - self._pass_starts[number]

    def fingerprint(self) -> dict[str, int]:
        """Return what the batches depend on, as plain ints."""
        return super().fingerprint() | ({"version": self.version} if self.version > 1 else {})

    def _draw(self, number: int) -> Indices:
        rng = np.random.default_rng([self.seed, number])
        groups = self._groups.draw(rng)
        drawn = self._draw_identities(rng)
        while len(drawn) < self._pass_length:
            drawn = self._draw_identities(rng)
        if self.version == 2:
            drawn = drawn[: self._pass_length]
        return self._groups.cut(groups)[drawn].reshape(len(drawn), -1)

    def _draw_identities(self, rng: np.random.Generator) -> Indices:
        return _draw_identities(self._groups.counts, self.ids_per_batch, rng)


def usual_pass(groups: Indices, ids_per_batch: int) -> int:
    """Return the rounded mean length of a few passes, in batches.

    Args:
        groups: groups of K images of every identity, [I].
        ids_per_batch: P.
    """
    return round(sum(_pass_lengths(groups, ids_per_batch)) / _PASSES)


def _pass_lengths(groups: Indices, ids_per_batch: int) -> list[int]:
    """Return the lengths of a few passes drawn with fixed seeds."""
    return [len(_draw_identities(groups, ids_per_batch, np.random.default_rng(n))) for n in range(_PASSES)]


def _draw_identities(groups: Indices, ids_per_batch: int, rng: np.random.Generator) -> Indices:
    from jointreid.data.sampling_numba import draw_identities  # here, because numba takes long to import

    return draw_identities(groups, ids_per_batch, rng)
