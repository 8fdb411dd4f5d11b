"""Batches by index as a step sees them: loaded ahead, on the device, randomly augmented.

Everything random about a batch follows from the seed and its index, so a resumed run continues with the same batches.
Here, and nowhere else, a batch is cut into the parts of the processes.
"""

import time
from types import TracebackType
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jointreid.config import RunConfig
from jointreid.custom import is_custom
from jointreid.data.ahead import Ahead
from jointreid.data.augment import augment
from jointreid.data.images import Batch, ImageStore, train_batch
from jointreid.data.joint import JointTrainSet
from jointreid.data.sampling import Sampler
from jointreid.losses.triplets import require_triplets
from jointreid.machine.device import sent
from jointreid.messages.errors import JointreidError


class TrainingBatch(NamedTuple):
    """A process's part of a batch.

    Attributes:
        batch: images and labels, on the device.
        indices: the images of the whole batch, int64 [B].
        generator: the loss draws its pairs from it.
    """

    batch: Batch
    indices: NDArray[np.int64]
    generator: torch.Generator


class _Loaded(NamedTuple):
    """A process's part of a batch on the CPU, not yet augmented, which part it is, and all indices of the batch."""

    batch: Batch
    part: slice
    indices: NDArray[np.int64]


def draw_kept_contexts(config: RunConfig, images: int, generator: torch.Generator) -> Tensor | None:
    """Return which images of a whole batch keep their context in training: all but about `dcsd.context_dropout`.

    Args:
        config: the run's settings.
        images: of the whole batch.
        generator: of the CPU, so that every device drops the same ones.

    Returns:
        bool [images], on the CPU; None where no context is dropped, or the system has none.
    """
    dropped = config.dcsd.context_dropout
    has_context = config.model.name.endswith("-dcsd") and config.dcsd.factors != ("sample",)
    if not dropped or not has_context:
        return None
    return torch.rand(images, generator=generator) >= dropped


class AugmentedBatches:
    """The batches of a run by index; inside a `with`, a thread loads the next one while the last one is used.

    Args:
        store: the images of `train_set`.
        train_set: where the labels come from.
        sampler: batch index -> indices of images.
        config: the run's settings.
        device: where the batches go.
        rank: which of `world_size` equal parts of a batch to load; the images of an identity stay together. With
            `train.gather` the labels are those of the whole batch all the same.
        world_size: processes that share a batch.

    Attributes:
        waited: seconds that callers have waited for batches since it was last set to 0.
    """

    def __init__(
        self,
        store: ImageStore,
        train_set: JointTrainSet,
        sampler: Sampler,
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

    def __call__(self, batch_index: int) -> TrainingBatch:
        """Return this process's part of a batch, augmented; a GPU may still be copying and changing it.

        Raises:
            JointreidError: an image cannot be read, or the batch has no other image of its identity, or none of
                another identity.
        """
        asked = time.monotonic()
        loaded = self._ahead(batch_index)
        batch = loaded.batch.to(self._device)
        generator = self._generator(batch_index, "images")
        images = augment(batch.images, self._config.image, generator, loaded.part, len(loaded.indices))
        self.waited += time.monotonic() - asked
        batch = batch._replace(images=images, keeps_context=self._keeps_context(batch_index, loaded))
        return TrainingBatch(batch, loaded.indices, self._generator(batch_index, "pairs"))

    def _keeps_context(self, batch_index: int, loaded: _Loaded) -> Tensor | None:
        """Return which of this process's images keep their context, drawn for the whole batch: see `Batch`."""
        kept = draw_kept_contexts(self._config, len(loaded.indices), self._generator(batch_index, "context"))
        return None if kept is None else sent(kept[loaded.part], self._device)

    def _generator(self, batch_index: int, purpose: Literal["images", "pairs", "context"]) -> torch.Generator:
        """Return the generator of a batch for one purpose, independent of the others'."""
        entropy = [self._config.train.seed, batch_index, *{"images": [], "pairs": [1], "context": [2]}[purpose]]
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
        return torch.Generator().manual_seed(seed)

    def _load(self, indices: NDArray[np.int64]) -> _Loaded:
        size, left = divmod(len(indices), self._world_size)
        if left:
            raise JointreidError(f"a batch of {len(indices)} images cannot be cut into {self._world_size} equal parts")
        part = slice(self._rank * size, (self._rank + 1) * size)
        labelled = indices if self._config.train.gather else indices[part]
        batch = train_batch(self._store, self._train_set, indices[part], self._device.type == "cuda", labelled)
        if not is_custom(self._config.loss.kind):
            require_triplets(batch.labels)  # here, while the labels are on the CPU: asking a GPU waits for its work
        return _Loaded(batch, part, indices)
