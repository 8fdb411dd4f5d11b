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
from jointreid.data.ahead import Ahead
from jointreid.data.augment import augment
from jointreid.data.images import Batch, ImageStore, train_batch
from jointreid.data.joint import JointTrainSet
from jointreid.data.sampling import OwnBatches, UnionPK
from jointreid.losses import require_triplets
from jointreid.own import is_own


class Numbered(NamedTuple):
    """The batch of a number, on the device, and the indices of its images in the training set, int64 [B]."""

    batch: Batch
    indices: NDArray[np.int64]


class AugmentedBatches:
    """The batches of a run by number; the next one is loaded in a thread, inside a `with`, while the last is used.

    Attributes:
        waited: seconds that callers have waited for batches since it was last set to 0.
    """

    def __init__(
        self,
        store: ImageStore,
        train_set: JointTrainSet,
        sampler: UnionPK | OwnBatches,
        config: RunConfig,
        device: torch.device,
    ) -> None:
        self._store, self._train_set, self._config, self._device = store, train_set, config, device
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
        """Return the augmented batch of that number; a GPU may still be copying and changing it.

        Raises:
            JointreidError: an image cannot be read, or has no other of its identity, or of another, in the batch.
        """
        asked = time.monotonic()
        loaded, indices = self._ahead(number)
        batch = loaded.to(self._device)
        batch = batch._replace(images=augment(batch.images, self._config.image, self.generator(number, "images")))
        self.waited += time.monotonic() - asked
        return Numbered(batch, indices)

    def generator(self, number: int, purpose: Literal["images", "pairs"]) -> torch.Generator:
        """Return what is drawn from for the batch of that number, each purpose independently of the other."""
        entropy = [self._config.train.seed, number, *([1] if purpose == "pairs" else [])]
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
        return torch.Generator().manual_seed(seed)

    def _load(self, indices: NDArray[np.int64]) -> Numbered:
        batch = train_batch(self._store, self._train_set, indices, pin=self._device.type == "cuda")
        if not is_own(self._config.loss.kind):
            require_triplets(batch.labels)  # here, where the labels are at hand: asking a GPU would wait for its work
        return Numbered(batch, indices)
