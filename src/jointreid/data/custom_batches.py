"""A sampler of the user's own, `sampler.kind my_package.module:function`, its batches checked."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jointreid.config import SamplerConfig
from jointreid.custom import custom_function
from jointreid.data.joint import JointTrainSet
from jointreid.messages.errors import JointreidError

Indices = NDArray[np.int64]


class Batches(Protocol):
    """A custom sampler: any batch of an endless stream, asked for by its index."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def batch_at(self, index: int) -> Indices:
        """Return the images of a batch, integers [B] into the train set, the same whenever it is asked for."""


class CustomBatches:
    """A custom sampler, its batches checked.

    Args:
        kind: its name, `module:function`: of the train set, `SamplerConfig` and the seed, returns `Batches`.
        train_set: the images that indices stand for.
        config: settings of the sampler.
        seed: an integer >= 0.

    Raises:
        JointreidError: there is no such function, it is not trusted, or it returns something else; from `batch_at`, a
            batch that is not one or more indices of train images.
    """

    def __init__(self, kind: str, train_set: JointTrainSet, config: SamplerConfig, seed: int) -> None:
        self._kind, self._num_images, self._seed = kind, len(train_set.labels), seed
        self._batches: Batches = custom_function("sampler.kind", kind)(train_set, config, seed)
        if not callable(getattr(self._batches, "batch_at", None)) or not hasattr(self._batches, "__len__"):
            raise JointreidError(
                f"sampler.kind {kind} returned {type(self._batches).__name__}; expected an object with batch_at(index) "
                "and a length, see jointreid.data.custom_batches.Batches"
            )

    def __len__(self) -> int:
        """Batches in an epoch, at least 1."""
        return max(1, len(self._batches))

    def batch_at(self, index: int) -> Indices:
        """Return the images of a batch, int64 [B]."""
        batch = np.asarray(self._batches.batch_at(index))
        if batch.ndim != 1 or batch.dtype.kind not in "iu" or not batch.size:
            raise JointreidError(
                f"sampler.kind {self._kind}: batch {index} is {batch.dtype} {batch.shape}; expected 1 or more integers"
            )
        if batch.min() < 0 or batch.max() >= self._num_images:
            raise JointreidError(
                f"sampler.kind {self._kind}: batch {index} holds {batch.min()} to {batch.max()}; expected indices "
                f"of the {self._num_images} train images, from 0"
            )
        return batch.astype(np.int64)

    def fingerprint(self) -> dict[str, int]:
        """Return what the batches depend on, as far as it is known here."""
        return {"seed": self._seed, "num_images": self._num_images}

    def require_same(self, saved: Mapping[str, int]) -> None:
        """Do nothing: what a custom sampler depends on is its own affair."""
