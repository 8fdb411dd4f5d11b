"""The filters that a run generates, and how well they separate the domains of the images.

Letters: N images, D domains, C channels of a block's 3x3, KK the taps of its kernel.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jointreid.data.records import Domain, ImageRecord
from jointreid.machine.device import pick_device
from jointreid.machine.paths import cache_folder
from jointreid.messages.errors import JointreidError, no_such
from jointreid.models.dcsd import DCSD
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.extract import extract
from jointreid.run import Run

Split = Literal["test", "train"]
Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

# The DCSDs of Fig. 5, counted from 0 at the input: layer1.0, layer3.5 and layer4.2 of a ResNet-50.
SHOWN = (0, 12, 15)
NEIGHBOURS = 5
# Rows of distances held at a time.
BLOCK = 512
_ENOUGH = f"{NEIGHBOURS + 1} or more, so that {NEIGHBOURS} neighbours of an image can be of its domain"


@dataclass(frozen=True)
class ChosenImages:
    """The same number of images of every domain.

    Attributes:
        split: test (query and gallery) or train.
        seed: of the choice.
        images: domain -> its images; domains in the order of the data.
    """

    split: Split
    seed: int
    images: Mapping[str, tuple[ImageRecord, ...]]

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the D domains."""
        return tuple(self.images)

    @property
    def per_domain(self) -> int:
        """Images of each domain."""
        return len(self.images[self.domains[0]])

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """The N images, domain after domain."""
        return tuple(record for records in self.images.values() for record in records)

    @property
    def domain_ids(self) -> Indices:
        """[N]: the position in `domains` of each of `records`."""
        return np.repeat(np.arange(len(self.images)), self.per_domain)


class BlockFilters(NamedTuple):
    """The filters that one DCSD generates for N images.

    Attributes:
        number: of the DCSD, counted from 0 at the input.
        block: the block it stands in, as `layer3.5`.
        values: [N, C * KK], the channel filters, after FilterNorm where there is one; tap t of channel c at c * KK + t.
    """

    number: int
    block: str
    values: Floats


class Separation(NamedTuple):
    """The separation of the domains, by Euclidean distance.

    Attributes:
        silhouette: the mean silhouette by domain, in [-1, 1]; 0 where domains overlap entirely.
        accuracy: the share of images whose domain most of their `NEIGHBOURS` nearest others have.
        spread: root mean square distance from the mean, relative to the root mean square length. Near 0 the filters
            hardly depend on the image, and the other two numbers say little.
    """

    silhouette: float
    accuracy: float
    spread: float


def choose_images(domains: Sequence[Domain], per_domain: int, split: Split = "test", seed: int = 0) -> ChosenImages:
    """Choose images at random, the same number of every domain, neither junk nor distractors.

    Identities take turns: none has a second image before all have one. Images of a person resemble each other and are
    of one domain, so neighbours that show the same person would count as neighbours of the same domain. The choice in
    a domain depends on its images, the number and the seed, and not on the other domains.

    Args:
        domains: two or more.
        per_domain: images of each; where one domain has fewer, that many of each.
        split: test (query and gallery) or train.
        seed: of the choice.

    Raises:
        JointreidError: an unknown split, a single domain, or fewer than `NEIGHBOURS` + 1 images of one.
    """
    if split not in get_args(Split):
        raise JointreidError(no_such("split", split, get_args(Split)))
    if len(domains) < 2:
        names = ", ".join(domain.name for domain in domains) or "none"
        raise JointreidError(f"filters are compared between two or more domains; found {names}")
    if per_domain <= NEIGHBOURS:
        raise JointreidError(f"{per_domain} images of each domain asked for; expected {_ENOUGH}")
    pools = {domain.name: _usable(domain, split) for domain in domains}
    for name, pool in pools.items():
        if len(pool) <= NEIGHBOURS:
            raise JointreidError(f"{name}: {len(pool)} images to choose from in {split}; expected {_ENOUGH}")
    size = min(per_domain, *map(len, pools.values()))
    return ChosenImages(split, seed, {name: _take_turns(name, pool, size, seed) for name, pool in pools.items()})


def collect_filters(
    run: Run,
    records: Sequence[ImageRecord],
    *,
    ablate_context: bool = False,
    device: str = "auto",
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[BlockFilters, ...]:
    """Return the channel filters that the DCSDs number `SHOWN` generate, as evaluation would (checkpoint `last`).

    Args:
        run: a run with DCSD.
        records: the N images.
        ablate_context: set the vectors Domain and Camera to 0 in every block, so that filters are generated from the
            sample alone, with the weights that were trained with both.
        device: where to compute: auto, cpu, cuda or mps.
        on_batch: called with (images done, images in all) after each batch.

    Raises:
        JointreidError: the run has no DCSD, fewer of them than are shown, no weights, or no context to remove; no such
            device; an unreadable image.
    """
    where = pick_device(device)
    require_dcsd(run)
    model = run.model()
    blocks = _dcsds(model)
    if len(blocks) <= max(SHOWN):
        raise JointreidError(
            f"{run.path}: {run.config.model.trunk} has {len(blocks)} DCSDs, and the figure shows numbers "
            f"{', '.join(map(str, SHOWN))}, counted from 0; expected a trunk with {max(SHOWN) + 1} or more"
        )
    if ablate_context:
        if not any(dcsd.domain or dcsd.camera or dcsd.projection for _, dcsd in blocks):
            raise JointreidError(
                f"{run.path}: its filters come from the sample alone; there is no domain or camera to remove"
            )
        model.trunk.zero_context()
    shown = [(number, *blocks[number]) for number in SHOWN]
    with _collecting([dcsd for _, _, dcsd in shown]) as parts:
        extract(
            model.to(where),
            records,
            run.config.image,
            replace(run.config.eval, flip=False),  # a mirrored image has other filters
            device=where,
            cache_dir=cache_folder(run.config.data.cache),
            workers=run.config.train.workers,
            cache_mode=run.config.data.cache_mode,
            on_batch=on_batch,
        )
    return tuple(
        BlockFilters(number, block, np.concatenate(values))
        for (number, block, _), values in zip(shown, parts, strict=True)
    )


def require_dcsd(run: Run) -> None:
    """Check that a run generates filters, and from images alone.

    Raises:
        JointreidError: it has no DCSD, or is told the true domain and camera.
    """
    name, dcsd = run.config.model.name, run.config.dcsd
    if not name.endswith("-dcsd") or dcsd.inject != "kernel":
        what = name if dcsd.inject == "kernel" else f"{name} with dcsd.inject {dcsd.inject}"
        raise JointreidError(f"{run.path}: {what} generates no filters; expected a run of bot-dcsd or agw-dcsd")
    if dcsd.context == "labels":
        raise JointreidError(
            f"{run.path}: its filters are generated from the true domain and camera (dcsd.context labels); expected a "
            "run that predicts both"
        )


def compute_separation(values: NDArray[np.floating], domain_ids: Indices) -> Separation:
    """Compute how well domains are separated, in bounded memory.

    An image's silhouette is (b - a) / max(a, b), where a is its mean distance to the others of its domain and b that
    to the nearest other domain; 0 where both are 0. Where several domains have the most neighbours, the first is taken.

    Args:
        values: [N, dimensions].
        domain_ids: [N], of 0 to D - 1, each more than `NEIGHBOURS` times.
    """
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    squares = np.square(centred).sum(axis=1)  # N
    length = np.square(values, dtype=np.float64).sum(axis=1).mean()
    member = np.eye(domain_ids.max() + 1)[domain_ids]  # N D
    sizes = member.sum(axis=0)  # D
    silhouettes, hits = [], []
    for start in range(0, len(centred), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(centred)))
        own, places = domain_ids[rows], np.arange(rows.size)
        products = centred[rows] @ centred.T  # rows N
        distances = np.sqrt(np.maximum(squares[rows, None] + squares - 2 * products, 0))
        distances[places, rows] = 0
        sums = distances @ member  # rows D
        inner = sums[places, own] / (sizes[own] - 1)
        means = sums / sizes
        means[places, own] = np.inf
        outer = means.min(axis=1)
        larger = np.maximum(inner, outer)
        silhouettes.append(np.divide(outer - inner, larger, out=np.zeros_like(larger), where=larger > 0))
        distances[places, rows] = np.inf
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBOURS]  # rows NEIGHBOURS
        hits.append(member[nearest].sum(axis=1).argmax(axis=1) == own)
    return Separation(
        silhouette=float(np.concatenate(silhouettes).mean()),
        accuracy=float(np.concatenate(hits).mean()),
        spread=float(np.sqrt(squares.mean() / length)) if length else 0.0,
    )


def _usable(domain: Domain, split: Split) -> tuple[ImageRecord, ...]:
    records = domain.train if split == "train" else domain.query + domain.gallery
    once = {record.key: record for record in records}  # a query that is also in the gallery would be its own neighbour
    return tuple(record for record in once.values() if not record.junk and not record.distractor)


def _take_turns(name: str, records: Sequence[ImageRecord], count: int, seed: int) -> tuple[ImageRecord, ...]:
    """Return `count` records in a random order that gives every identity its first turn before any has its second."""
    generator = np.random.default_rng([seed, *name.encode()])
    turns: dict[str, int] = {}
    queue = []
    for index in generator.permutation(len(records)).tolist():
        pid = records[index].pid
        turns[pid] = turns.get(pid, 0) + 1
        queue.append((turns[pid], index))
    queue.sort(key=lambda entry: entry[0])  # stable: within a turn the order stays random
    return tuple(records[index] for _, index in queue[:count])


def _dcsds(model: ReIDModel) -> list[tuple[str, DCSD]]:
    """Return every DCSD with its block's name, from input to output."""
    named = model.trunk.named_modules()
    return [(name.removesuffix(".conv2"), module) for name, module in named if isinstance(module, DCSD)]


@contextmanager
def _collecting(dcsds: Sequence[DCSD]) -> Iterator[list[list[Floats]]]:
    """Yield, for each DCSD, a list that collects the channel filters [B, C * KK] of each batch in this context."""
    parts: list[list[Floats]] = [[] for _ in dcsds]

    def taking(part: list[Floats]) -> Callable[[object, object, Tensor], None]:
        return lambda _module, _inputs, filters: part.append(filters.flatten(1).float().cpu().numpy())

    handles = [dcsd.channel_branch.register_forward_hook(taking(part)) for dcsd, part in zip(dcsds, parts, strict=True)]
    try:
        yield parts
    finally:
        for handle in handles:
            handle.remove()
