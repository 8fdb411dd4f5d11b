"""P x K batches over the union of the domains: which images share a batch.

A batch is P identities with K images each, so that every anchor of the triplet loss has positives and negatives.
Batches are a pure function of the seed and the batch index, which counts batches from 0 over the whole run.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jointreid.config import EpochLength, RunConfig, SamplerConfig
from jointreid.custom import custom_function, is_custom
from jointreid.data.joint import JointTrainSet
from jointreid.messages.errors import JointreidError

Indices = NDArray[np.int64]

# Passes whose mean length is that of an epoch under `epoch_length` pass. They differ by a batch or two.
_PASSES = 8
# Keys of a saved state that say how far the run has come, today's and that of older checkpoints.
_POSITION = {"batch_index", "step"}


class UnionPK:
    """P x K batches drawn from all domains as if they were one: domains appear in proportion to their images.

    A pass goes once through the data: the images of each identity are shuffled and cut into groups of K, dropping the
    remainder; an identity with fewer than K images gives one group, drawn from them with replacement. A batch takes
    one group each of P different identities, drawn uniformly among those that have groups left. The pass ends when
    fewer than P identities do, and the next begins with its own shuffle. Pass c is a pure function of (seed, c).

    The stream of batches is endless and the same for any number of processes, which cut each batch into equal parts.

    Args:
        labels: the identity of every image, integers [N]; an index into it is what batches consist of.
        ids_per_batch: P.
        images_per_id: K.
        seed: an integer >= 0.
        epoch_length: see `batches_per_epoch`.

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
        self._length = batches_per_epoch(np.bincount(self._identity), ids_per_batch, images_per_id, epoch_length)
        self._pass_starts = [0]  # index of the first batch of each pass known so far
        self._pass = (-1, np.empty((0, 0), dtype=np.int64))  # the pass drawn last: its number and its batches

    def __len__(self) -> int:
        """Batches in an epoch, see `batches_per_epoch`."""
        return self._length

    def batch_at(self, index: int) -> Indices:
        """Return the images of a batch, int64 [P * K], grouped by identity, read-only.

        Batches need not be asked for in order, but one of a pass not yet known draws all passes up to it.
        """
        while index >= self._pass_starts[-1]:
            last = len(self._pass_starts) - 1
            self._pass_starts.append(self._pass_starts[-1] + len(self._batches(last)))
        number = int(np.searchsorted(self._pass_starts, index, side="right")) - 1
        batch: Indices = self._batches(number)[index - self._pass_starts[number]]
        return batch

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

    def _batches(self, number: int) -> Indices:
        """Return all batches of a pass, int64 [batches, P * K]."""
        if self._pass[0] != number:
            rng = np.random.default_rng([self.seed, number])
            groups, counts = _groups(self._identity, self.images_per_id, rng)
            drawn = _draw_identities(counts, self.ids_per_batch, rng)
            batches = groups[drawn].reshape(len(drawn), -1)
            batches.flags.writeable = False  # batches are views of it
            self._pass = (number, batches)
        return self._pass[1]


def batches_per_epoch(
    images: ArrayLike, ids_per_batch: int, images_per_id: int, epoch_length: EpochLength = "images"
) -> int:
    """Return how many batches of `UnionPK` make an epoch, at least 1.

    `images`: floor(N / (P * K)), as in fast-reid. `pass`: as many as a pass has, as in the BoT and AGW repositories.
    Their sampler drops what is left of each identity, and all that is left when fewer than P identities are, so a pass
    is shorter. How much is a matter of chance, by a batch or two; here every epoch has the rounded mean of a few
    passes, so that the length depends neither on the seed nor on the epoch.

    Args:
        images: images of each identity, integers [I], 1 or more. At least P identities for `pass`.
        ids_per_batch: P.
        images_per_id: K.
        epoch_length: what an epoch is.

    >>> batches_per_epoch([9] * 300 + [10] * 467, 16, 4), batches_per_epoch([9] * 300 + [10] * 467, 16, 4, "pass")
    (115, 95)
    """
    counts = np.asarray(images)
    if epoch_length == "images":
        return max(1, int(counts.sum()) // (ids_per_batch * images_per_id))
    groups = np.maximum(counts // images_per_id, 1)
    lengths = [len(_draw_identities(groups, ids_per_batch, np.random.default_rng(n))) for n in range(_PASSES)]
    return round(sum(lengths) / _PASSES)


def _groups(identity: Indices, size: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Shuffle the images of every identity and cut them into groups.

    Args:
        identity: the identity of every image, [N], each of 0..I-1 at least once.
        size: K, images in a group.
        rng: where the shuffle comes from.

    Returns:
        The groups [G, K], identity after identity, and how many each identity has, [I].
    """
    shuffled = np.lexsort((rng.random(len(identity)), identity))
    images = np.bincount(identity)
    first_image = np.cumsum(images) - images
    counts = np.maximum(images // size, 1)
    first_group = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(images)), counts)
    in_owner = (np.arange(len(owner)) - first_group[owner])[:, None] * size + np.arange(size)
    small = images[owner] < size
    in_owner[small] = rng.integers(images[owner[small], None], size=(int(small.sum()), size))
    return shuffled[first_image[owner, None] + in_owner], counts


def _draw_identities(counts: Indices, ids_per_batch: int, rng: np.random.Generator) -> Indices:
    """Draw P different identities a batch, uniformly among those with groups left, until fewer than P have any.

    Args:
        counts: groups of every identity, [I], all at least 1.
        ids_per_batch: P, at most I.
        rng: where the draws come from.

    Returns:
        The groups of every batch as positions in the list of all groups, [batches, P].
    """
    next_group = np.cumsum(counts) - counts
    end = np.cumsum(counts)
    waiting = np.arange(len(counts))
    drawn = []
    while len(waiting) >= ids_per_batch:
        chosen = rng.choice(waiting, ids_per_batch, replace=False)
        drawn.append(next_group[chosen])
        next_group[chosen] += 1
        waiting = waiting[next_group[waiting] < end[waiting]]
    return np.stack(drawn)


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
                "and a length, see jointreid.data.sampling.Batches"
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


def make_sampler(train_set: JointTrainSet, config: RunConfig) -> UnionPK | CustomBatches:
    """Return the sampler that `sampler.kind` names.

    Raises:
        JointreidError: see `UnionPK` and `CustomBatches`.
    """
    sampler, seed = config.sampler, config.train.seed
    if is_custom(sampler.kind):
        return CustomBatches(sampler.kind, train_set, sampler, seed)
    size = sampler.ids_per_batch, sampler.images_per_id
    return UnionPK(train_set.labels, *size, seed, config.schedule.epoch_length)


class Histogram(NamedTuple):
    """Number of images that some batches took from each domain and camera.

    Attributes:
        domains: images by domain name.
        cameras: images by global camera id.
    """

    domains: dict[str, int]
    cameras: list[int]


def realised_histogram(train_set: JointTrainSet, indices: ArrayLike) -> Histogram:
    """Count the domains and cameras that batches really held; padded images count as often as they were used.

    Args:
        train_set: the images that the indices stand for.
        indices: integers of any shape, for example the batches of an epoch.
    """
    flat = np.asarray(indices, dtype=np.int64).ravel()
    space = train_set.label_space
    domains = np.bincount(train_set.domain_ids[flat], minlength=space.num_domains).tolist()
    cameras = np.bincount(train_set.global_camids[flat], minlength=space.num_cameras).tolist()
    return Histogram(dict(zip((domain.name for domain in space.domains), domains, strict=True)), cameras)
