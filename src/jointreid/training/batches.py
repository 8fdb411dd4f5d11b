"""Batches by number, as a step sees them: loaded ahead, on the device, changed at random.

Everything random about a batch follows from the seed and its number, so a run goes on exactly where it stopped.
"""

import time
from types import TracebackType
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from jointreid.config import RunConfig
from jointreid.custom import is_custom
from jointreid.data.ahead import Ahead
from jointreid.data.augment import augment
from jointreid.data.images import Batch, ImageStore, train_batch
from jointreid.data.joint import JointTrainSet
from jointreid.data.sampling import CustomBatches, UnionPK
from jointreid.losses import require_triplets
from jointreid.messages.errors import JointreidError


class Numbered(NamedTuple):
    """A process's part of the batch of a number, on the device, and the indices of all its images, int64 [B]."""

    batch: Batch
    indices: NDArray[np.int64]


class AugmentedBatches:
    """The batches of a run by number; the next one is loaded in a thread, inside a `with`, while the last is used.

    Args:
        store: the images of `train_set`.
        train_set: where the labels come from.
        sampler: number -> images of a batch.
        config: the run's settings.
        device: where the batches go.
        rank: which of `world_size` equal parts of a batch to load, a stretch: images of an identity stay together. With
            `train.gather` the labels are those of the whole batch all the same.
        world_size: processes that share a batch.

    Attributes:
        waited: seconds that callers have waited for batches since it was last set to 0.
    """

    def __init__(
        self,
        store: ImageStore,
        train_set: JointTrainSet,
        sampler: UnionPK | CustomBatches,
        config: RunConfig,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._store, self._train_set, self._config, self._device = store, train_set, config, device
        self._rank, self._world_size = rank, world_size
        self._ahead = Ahead(sampler.batch_at, self._load)
        self.waited = 0.0

    def __enter__(self) -> "AugmentedBatches":
        self._ahead.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ahead.__exit__(kind, error, trace)

    def __call__(self, number: int) -> Numbered:
        """Return this process's part of the augmented batch of that number; a GPU may still be copying and changing it.

        Raises:
            JointreidError: an image cannot be read, or has no other of its identity, or of another, in the batch.
        """
        asked = time.monotonic()
        loaded, indices = self._ahead(number)
        batch = loaded.to(self._device)
        generator = self.generator(number, "images")
        images = augment(batch.images, self._config.image, generator, self._rank, self._world_size)
        batch = batch._replace(images=images)
        self.waited += time.monotonic() - asked
        return Numbered(batch, indices)

    def generator(self, number: int, purpose: Literal["images", "pairs"]) -> torch.Generator:
        """Return what is drawn from for the batch of that number, each purpose independently of the other."""
        entropy = [self._config.train.seed, number, *([1] if purpose == "pairs" else [])]
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
        return torch.Generator().manual_seed(seed)

    def _load(self, indices: NDArray[np.int64]) -> Numbered:
        size, left = divmod(len(indices), self._world_size)
        if left:
            raise JointreidError(f"a batch of {len(indices)} images cannot be cut into {self._world_size} equal parts")
        mine = indices[self._rank * size : (self._rank + 1) * size]
        labelled = indices if self._config.train.gather else mine
        batch = train_batch(self._store, self._train_set, mine, self._device.type == "cuda", labelled)
        if not is_custom(self._config.loss.kind):
            require_triplets(batch.labels)  # here, where the labels are at hand: asking a GPU would wait for its work
        return Numbered(batch, indices)
