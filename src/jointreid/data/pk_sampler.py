"""What all samplers of this package have in common: P x K batches in passes, any of them by its index."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jointreid.config import EpochLength
from jointreid.data.groups import Groups
from jointreid.messages.errors import JointreidError

Indices = NDArray[np.int64]

# Passes kept once drawn: an epoch has parts of two, and a thread may already be loading from the second.
_KEPT_PASSES = 2
# Keys of a saved state that say how far the run has come, today's and that of older checkpoints.
_POSITION = {"batch_index", "step"}


class PKSampler(ABC):
    """P x K batches in passes: what the samplers of this package have in common.

    A batch is P identities with K images each, so that every anchor of the triplet loss has positives and negatives.
    Batches are a pure function of the seed and the batch index, which counts batches from 0 over the whole run. They
    come in passes; pass c is a pure function of (seed, c). The stream of batches is endless and the same for any number
    of processes, which cut each batch into equal parts.

    Args:
        labels: the identity of every image, integers [N]; an index into it is what batches consist of.
        ids_per_batch: P.
        images_per_id: K.
        seed: an integer >= 0.
        epoch_length: what an epoch is, see `sampling.batches_per_epoch`.

    Raises:
        JointreidError: an argument is out of range, or there are fewer than P identities.
    """

    def __init__(
        self,
        labels: ArrayLike,
        ids_per_batch: int = 16,
        images_per_id: int = 4,
        seed: int = 0,
        epoch_length: EpochLength = "images",
    ) -> None:
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
        self.epoch_length = epoch_length
        self._groups = Groups(self._identity, images_per_id)
        self._passes: dict[int, Indices] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """Batches in an epoch, see `sampling.batches_per_epoch`."""
        if self.epoch_length == "pass":
            return self.usual_pass
        return max(1, len(self._identity) // (self.ids_per_batch * self.images_per_id))

    @property
    @abstractmethod
    def usual_pass(self) -> int:
        """Batches of a pass; where passes differ, the rounded mean of a few."""

    @property
    def images_together(self) -> int:
        """Images of one domain that come in one piece: those of an identity."""
        return self.images_per_id

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
