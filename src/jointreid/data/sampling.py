"""P x K batches over the union of the domains: which images share a batch.

A batch is P identities with K images each, so that every anchor of the triplet loss has positives and negatives.
Batches are a pure function of the seed and a step count; that count is all a checkpoint has to keep.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jointreid.config import SamplerConfig
from jointreid.custom import custom_function, is_custom
from jointreid.data.joint import JointTrainSet
from jointreid.messages.errors import JointreidError

Indices = NDArray[np.int64]


class UnionPK:
    """P x K batches drawn from all domains as if they were one: domains appear in proportion to their images.

    A cycle goes once through the data: the images of each identity are shuffled and cut into groups of K, dropping the
    remainder; an identity with fewer than K images gives one group, drawn from them with replacement. A batch takes
    one group each of P different identities, drawn uniformly among those that have groups left. The cycle ends when
    fewer than P identities do, and the next begins with its own shuffle. Cycle c is a pure function of (seed, c).

    The stream of batches is endless. An epoch is floor(N / (P * K)) of them, at least one, whatever the cycles are.
    Iterating yields what is left of the current epoch, so a loop writes `for batch in sampler` once an epoch.

    Over several ranks the batch of a step is the same as in a single process; rank r gets P / world_size of its
    identities, with all K images of each. A run may therefore be resumed on another number of processes.

    Position: `step` counts the batches handed out since the first epoch. A caller that fetches ahead has handed out
    more than it has trained on, so it saves `{**sampler.state_dict(), "step": trained}`.

    Args:
        labels: the identity of every image, integers [N]; an index into it is what batches consist of.
        ids_per_batch: P, over all ranks together.
        images_per_id: K.
        seed: an integer >= 0.
        rank: which share to yield, in [0, world_size).
        world_size: processes that share a batch; divides P.

    Raises:
        JointreidError: an argument is out of range, or there are fewer than P identities.
    """

    def __init__(
        self,
        labels: ArrayLike,
        ids_per_batch: int = 16,
        images_per_id: int = 4,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        identities, self._identity = np.unique(np.asarray(labels), return_inverse=True)
        if min(ids_per_batch, images_per_id) < 1:
            raise JointreidError(f"a batch of {ids_per_batch} identities x {images_per_id} images; expected 1 or more")
        if seed < 0:
            raise JointreidError(f"the sampler's seed is {seed}; expected 0 or more (--train.seed)")
        if not 0 <= rank < world_size:
            raise JointreidError(f"rank is {rank}; expected one of the {world_size} ranks from 0")
        if ids_per_batch % world_size:
            raise JointreidError(
                f"{ids_per_batch} identities a batch cannot be shared evenly by {world_size} processes; "
                "choose a multiple of them with --sampler.ids_per_batch"
            )
        if len(identities) < ids_per_batch:
            raise JointreidError(
                f"the train split has {len(identities)} identities, but a batch needs {ids_per_batch} different ones; "
                f"choose at most {len(identities)} with --sampler.ids_per_batch"
            )
        self.ids_per_batch = ids_per_batch
        self.images_per_id = images_per_id
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.step = 0
        self._cycle_starts = [0]  # step of the first batch of each cycle known so far
        self._cycle = (-1, np.empty((0, 0), dtype=np.int64))  # the cycle drawn last: its number and its batches

    def __len__(self) -> int:
        """Batches in an epoch: floor(N / (P * K)), at least 1."""
        return max(1, len(self._identity) // (self.ids_per_batch * self.images_per_id))

    def __iter__(self) -> Iterator[Indices]:
        """Yield this rank's share of each batch left in the epoch, int64 [P / world_size * K], grouped by identity."""
        epoch_end = (self.step // len(self) + 1) * len(self)
        while self.step < epoch_end:
            batch = self.batch_at(self.step)
            self.step += 1
            yield self._share(batch)

    def batch_at(self, step: int) -> Indices:
        """Return the batch of a step, over all ranks and wherever the iteration stands, int64 [P * K], read-only.

        Steps need not be asked for in order, but a step of an unknown cycle draws all cycles up to it.
        """
        while step >= self._cycle_starts[-1]:
            last = len(self._cycle_starts) - 1
            self._cycle_starts.append(self._cycle_starts[-1] + len(self._batches(last)))
        cycle = int(np.searchsorted(self._cycle_starts, step, side="right")) - 1
        batch: Indices = self._batches(cycle)[step - self._cycle_starts[cycle]]
        return batch

    def state_dict(self) -> dict[str, int]:
        """Return the position and what the batches depend on, as plain ints."""
        return {
            "step": self.step,
            "seed": self.seed,
            "ids_per_batch": self.ids_per_batch,
            "images_per_id": self.images_per_id,
            "num_images": len(self._identity),
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on exactly where a state was taken, also in the middle of an epoch.

        Raises:
            JointreidError: the state belongs to other batches, or is not one of this sampler.
        """
        own = self.state_dict()
        if set(state) != set(own):
            raise JointreidError(f"the sampler's state has the keys {sorted(state)}; expected {sorted(own)}")
        for key, expected in own.items():
            found = state[key]
            if type(found) is not int or found < 0:
                raise JointreidError(f"the sampler's state has {key} {found!r}; expected an integer >= 0")
            if key != "step" and found != expected:
                raise JointreidError(
                    f"the sampler's state was saved with {key} {found}, now it is {expected}; "
                    "resume with the settings and the data of the saved run"
                )
        self.step = state["step"]

    def _share(self, batch: Indices) -> Indices:
        size = len(batch) // self.world_size
        return batch[self.rank * size : (self.rank + 1) * size]

    def _batches(self, cycle: int) -> Indices:
        """Return all batches of a cycle, int64 [batches, P * K]."""
        if self._cycle[0] != cycle:
            rng = np.random.default_rng([self.seed, cycle])
            groups, counts = _groups(self._identity, self.images_per_id, rng)
            drawn = _draw_identities(counts, self.ids_per_batch, rng)
            batches = groups[drawn].reshape(len(drawn), -1)
            batches.flags.writeable = False  # batches are views of it
            self._cycle = (cycle, batches)
        return self._cycle[1]


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
    """What a sampler of one's own is: any batch of an endless stream, asked for by its number."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def batch_at(self, step: int) -> Indices:
        """Return the images of batch `step`, integers [B] into the train set, the same whenever it is asked for."""


class CustomBatches:
    """A person's own sampler, its batches checked.

    Args:
        kind: its name, `module:function`: of the train set, `SamplerConfig` and the seed, returns `Batches`.
        train_set: what indices point into.
        config: settings of the sampler.
        seed: an integer >= 0.

    Raises:
        JointreidError: there is no such function, it is not trusted, or it returns another thing; from `batch_at`, a
            batch that is none.
    """

    def __init__(self, kind: str, train_set: JointTrainSet, config: SamplerConfig, seed: int) -> None:
        self._kind, self._num_images, self._seed = kind, len(train_set.labels), seed
        self._batches: Batches = custom_function("sampler.kind", kind)(train_set, config, seed)
        if not callable(getattr(self._batches, "batch_at", None)) or not hasattr(self._batches, "__len__"):
            raise JointreidError(
                f"sampler.kind {kind} returned {type(self._batches).__name__}; expected an object with batch_at(step) "
                "and a length, see jointreid.data.sampling.Batches"
            )

    def __len__(self) -> int:
        """Batches in an epoch, at least 1."""
        return max(1, len(self._batches))

    def batch_at(self, step: int) -> Indices:
        """Return the images of a batch, int64 [B]."""
        batch = np.asarray(self._batches.batch_at(step))
        if batch.ndim != 1 or batch.dtype.kind not in "iu" or not batch.size:
            raise JointreidError(
                f"sampler.kind {self._kind}: batch {step} is {batch.dtype} {batch.shape}; expected one or more integers"
            )
        if batch.min() < 0 or batch.max() >= self._num_images:
            raise JointreidError(
                f"sampler.kind {self._kind}: batch {step} holds {batch.min()} to {batch.max()}; expected indices of the"
                f" {self._num_images} train images, from 0"
            )
        return batch.astype(np.int64)

    def state_dict(self) -> dict[str, int]:
        """Return what the batches depend on, as far as it is known here."""
        return {"step": 0, "seed": self._seed, "num_images": self._num_images}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Do nothing: any batch can be asked for at any time."""


def make_sampler(train_set: JointTrainSet, config: SamplerConfig, seed: int) -> UnionPK | CustomBatches:
    """Return the sampler that `sampler.kind` names.

    Raises:
        JointreidError: see `UnionPK` and `CustomBatches`.
    """
    if is_custom(config.kind):
        return CustomBatches(config.kind, train_set, config, seed)
    return UnionPK(train_set.labels, config.ids_per_batch, config.images_per_id, seed)


class Histogram(NamedTuple):
    """How many images of a stretch of training came from where.

    Attributes:
        domains: images by domain name.
        cameras: images by global camera id.
    """

    domains: dict[str, int]
    cameras: list[int]


def realised_histogram(train_set: JointTrainSet, indices: ArrayLike) -> Histogram:
    """Count the domains and cameras that batches really held; padded images count as often as they were used.

    Args:
        train_set: what the indices point into.
        indices: integers of any shape, for example the batches of an epoch.
    """
    flat = np.asarray(indices, dtype=np.int64).ravel()
    space = train_set.label_space
    domains = np.bincount(train_set.domain_ids[flat], minlength=space.num_domains).tolist()
    cameras = np.bincount(train_set.global_camids[flat], minlength=space.num_cameras).tolist()
    return Histogram(dict(zip((domain.name for domain in space.domains), domains, strict=True)), cameras)
