"""P x K batches over the union of the domains: which images share a batch.

A batch is P identities with K images each, so that every anchor of the triplet loss has positives and negatives.
Batches are a pure function of the seed and the batch index, which counts batches from 0 over the whole run. They come
in passes, each of which goes once through the data; pass c is a pure function of (seed, c).
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jointreid.config import EpochLength, RunConfig
from jointreid.custom import is_custom
from jointreid.data.custom_batches import CustomBatches
from jointreid.data.groups import Groups, group_counts
from jointreid.data.interleaving import interleave, interleaved_batches
from jointreid.data.joint import JointTrainSet
from jointreid.messages.errors import JointreidError

Indices = NDArray[np.int64]

# Passes whose mean length is that of an epoch under `epoch_length` pass. They differ by a batch or two.
_PASSES = 8
# From so many images on, all passes of `UnionPK` have one length: to draw all passes before one would take too long.
_EQUAL_PASSES_FROM = 250_000
# Passes kept once drawn: an epoch has parts of two, and a thread may already be loading from the second.
_KEPT_PASSES = 2
# Keys of a saved state that say how far the run has come, today's and that of older checkpoints.
_POSITION = {"batch_index", "step"}


class PKSampler(ABC):
    """P x K batches in passes: what the samplers of this package have in common.

    The stream of batches is endless and the same for any number of processes, which cut each batch into equal parts.

    Args:
        labels: the identity of every image, integers [N]; an index into it is what batches consist of.
        ids_per_batch: P.
        images_per_id: K.
        seed: an integer >= 0.

    Raises:
        JointreidError: an argument is out of range, or there are fewer than P identities.
    """

    def __init__(self, labels: ArrayLike, ids_per_batch: int = 16, images_per_id: int = 4, seed: int = 0) -> None:
        identities, self._identity = np.unique(np.asarray(labels), return_inverse=True)
        if min(ids_per_batch, images_per_id) < 1:
            raise JointreidError(f"a batch of {ids_per_batch} identities x {images_per_id} images; expected 1 or more")
        if seed < 0:
            raise JointreidError(f"the sampler's seed is {seed}; expected 0 or more (--train.seed)")
        if len(identities) < ids_per_batch:
            raise JointreidError(
                f"the train split has {len(identities)} identities, but a batch needs {ids_per_batch} different ones; "
                f"choose at most {len(identities)} with --sampler.ids_per_batch"
            )
        self.ids_per_batch = ids_per_batch
        self.images_per_id = images_per_id
        self.seed = seed
        self._groups = Groups(self._identity, images_per_id)
        self._passes: dict[int, Indices] = {}
        self._lock = threading.RLock()

    @abstractmethod
    def __len__(self) -> int:
        """Batches in an epoch, see `batches_per_epoch`."""

    @abstractmethod
    def place_of(self, index: int) -> tuple[int, int]:
        """Return the pass that a batch is in, and which of its batches it is, both counted from 0."""

    @abstractmethod
    def _draw(self, number: int) -> Indices:
        """Return the batches of a pass, int64 [batches, P * K]."""

    def batch_at(self, index: int) -> Indices:
        """Return the images of a batch, int64 [P * K], grouped by identity, read-only, in any order of asking."""
        with self._lock:  # a thread loads batches ahead, while the loop counts those of an epoch
            number, place = self.place_of(index)
            batch: Indices = self.batches_of(number)[place]
            return batch

    def batches_of(self, number: int) -> Indices:
        """Return all batches of a pass, int64 [batches, P * K], read-only."""
        with self._lock:
            if number not in self._passes:
                while len(self._passes) >= _KEPT_PASSES:
                    del self._passes[next(iter(self._passes))]
                batches = self._draw(number)
                batches.flags.writeable = False  # single batches are views of it
                self._passes[number] = batches
            return self._passes[number]

    def fingerprint(self) -> dict[str, int]:
        """Return what the batches depend on, as plain ints."""
        return {
            "seed": self.seed,
            "ids_per_batch": self.ids_per_batch,
            "images_per_id": self.images_per_id,
            "num_images": len(self._identity),
        }

    def require_same(self, saved: Mapping[str, int]) -> None:
        """Refuse to resume a run whose batches were others.

        Args:
            saved: the `fingerprint` of the run's sampler; how far the run has come may be in it.

        Raises:
            JointreidError: it differs, or is not one of this sampler.
        """
        current = self.fingerprint()
        if set(saved) - _POSITION != set(current):
            raise JointreidError(f"the sampler's state has the keys {sorted(saved)}; expected {sorted(current)}")
        for key, expected in current.items():
            found = saved[key]
            if type(found) is not int or found < 0:
                raise JointreidError(f"the sampler's state has {key} {found!r}; expected an integer >= 0")
            if found != expected:
                raise JointreidError(
                    f"the sampler's state was saved with {key} {found}, now it is {expected}; "
                    "resume with the settings and the data of the saved run"
                )


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
        epoch_length: see `batches_per_epoch`.
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
        super().__init__(labels, ids_per_batch, images_per_id, seed)
        size = ids_per_batch, images_per_id
        self.version = version or (2 if len(self._identity) >= _EQUAL_PASSES_FROM else 1)
        self._length = batches_per_epoch(np.bincount(self._identity), *size, epoch_length)
        self._pass_length = min(_pass_lengths(self._groups.counts, ids_per_batch)) if self.version == 2 else 0
        self._pass_starts = [0]  # in version 1, index of the first batch of each pass known so far

    def __len__(self) -> int:
        return self._length

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


class InterleavedPK(PKSampler):
    """P x K batches in which every domain and every identity is spread evenly over the pass, see `interleave`.

    The groups are those of `UnionPK`. All passes have one length.

    Args:
        labels, ids_per_batch, images_per_id, seed: see `PKSampler`.
        domain_ids: the domain of every image, integers >= 0, [N].
        epoch_length: see `batches_per_epoch`.

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
        super().__init__(labels, ids_per_batch, images_per_id, seed)
        counts, size = self._groups.counts, (ids_per_batch, images_per_id)
        self._length = batches_per_epoch(np.bincount(self._identity), *size, epoch_length, "interleaved")
        self._pass_length = interleaved_batches(counts, ids_per_batch)
        self._domains = np.empty(len(counts), dtype=np.int64)
        self._domains[self._identity] = np.unique(np.asarray(domain_ids), return_inverse=True)[1]

    def __len__(self) -> int:
        return self._length

    def place_of(self, index: int) -> tuple[int, int]:
        """Return the pass that a batch is in, and which of its batches it is, both counted from 0."""
        return divmod(index, self._pass_length)

    def _draw(self, number: int) -> Indices:
        rng = np.random.default_rng([self.seed, number])
        groups = self._groups.draw(rng)
        drawn = interleave(self._groups.counts, self._domains, self.ids_per_batch, rng)
        return self._groups.cut(groups)[drawn].reshape(len(drawn), -1)


Sampler = PKSampler | CustomBatches


def make_sampler(train_set: JointTrainSet, config: RunConfig, saved: Mapping[str, int] | None = None) -> Sampler:
    """Return the sampler that `sampler.kind` names.

    Args:
        train_set: the images that indices stand for.
        config: the settings of a step over all processes.
        saved: of a run that is resumed, the `fingerprint` of its sampler, whose version is taken.

    Raises:
        JointreidError: see `PKSampler` and `CustomBatches`.
    """
    sampler, seed = config.sampler, config.train.seed
    if is_custom(sampler.kind):
        return CustomBatches(sampler.kind, train_set, sampler, seed)
    return pk_sampler(train_set.labels, train_set.domain_ids, config, saved)


def pk_sampler(
    labels: Indices, domain_ids: Indices, config: RunConfig, saved: Mapping[str, int] | None = None
) -> PKSampler:
    """Return the sampler of this package that `sampler.kind` names.

    Args:
        labels: the identity of every image, [N].
        domain_ids: the domain of every image, [N].
        config: the settings of a step over all processes.
        saved: see `make_sampler`.

    Raises:
        JointreidError: see `PKSampler`.
    """
    return SAMPLERS[config.sampler.kind](labels, domain_ids, config, saved or {})


def _union_pk(labels: Indices, domain_ids: Indices, config: RunConfig, saved: Mapping[str, int]) -> UnionPK:
    return UnionPK(labels, *_settings(config), version=saved.get("version", 1) if saved else None)


def _interleaved(labels: Indices, domain_ids: Indices, config: RunConfig, saved: Mapping[str, int]) -> InterleavedPK:
    return InterleavedPK(labels, domain_ids, *_settings(config))


def _settings(config: RunConfig) -> tuple[int, int, int, EpochLength]:
    sampler = config.sampler
    return sampler.ids_per_batch, sampler.images_per_id, config.train.seed, config.schedule.epoch_length


# Builders of the samplers, by their names in `sampler.kind`.
SAMPLERS: Mapping[str, Callable[[Indices, Indices, RunConfig, Mapping[str, int]], PKSampler]] = {
    "union_pk": _union_pk,
    "interleaved": _interleaved,
}


def batches_per_epoch(
    images: ArrayLike,
    ids_per_batch: int,
    images_per_id: int,
    epoch_length: EpochLength = "images",
    kind: str = "union_pk",
) -> int:
    """Return how many batches make an epoch, at least 1.

    `images`: floor(N / (P * K)), as in fast-reid. `pass`: as many as a pass has, as in the BoT and AGW repositories.
    Their sampler drops what is left of each identity, and all that is left when fewer than P identities are, so a pass
    is shorter. How much is a matter of chance, by a batch or two; here every epoch has the rounded mean of a few
    passes, so that the length depends neither on the seed nor on the epoch. An interleaved pass has a fixed length.

    Args:
        images: images of each identity, integers [I], 1 or more. At least P identities for `pass`.
        ids_per_batch: P.
        images_per_id: K.
        epoch_length: what an epoch is.
        kind: the sampler, one of this package.

    >>> batches_per_epoch([9] * 300 + [10] * 467, 16, 4), batches_per_epoch([9] * 300 + [10] * 467, 16, 4, "pass")
    (115, 95)
    """
    counts = np.asarray(images)
    if epoch_length == "images":
        return max(1, int(counts.sum()) // (ids_per_batch * images_per_id))
    groups = group_counts(counts, images_per_id)
    if kind == "interleaved":
        return interleaved_batches(groups, ids_per_batch)
    return round(sum(_pass_lengths(groups, ids_per_batch)) / _PASSES)


def _pass_lengths(groups: Indices, ids_per_batch: int) -> list[int]:
    """Return the lengths of a few passes drawn with fixed seeds."""
    return [len(_draw_identities(groups, ids_per_batch, np.random.default_rng(n))) for n in range(_PASSES)]


def _draw_identities(groups: Indices, ids_per_batch: int, rng: np.random.Generator) -> Indices:
    from jointreid.data.sampling_numba import draw_identities  # here, because numba takes long to import

    return draw_identities(groups, ids_per_batch, rng)
