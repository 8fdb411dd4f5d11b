"""Choice of the shots to draw: person, camera and split of each; counts are as specified, every query has a match."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jointreid.data.readers.market_style import SPLIT_FOLDERS
from jointreid.messages.errors import JointreidError
from jointreid.synthetic.looks import Random
from jointreid.synthetic.presets import DomainSpec, SplitSize

STRANGER = 0  # pid of people who match nobody
_FEWEST = 2  # least number of people of each kind that a domain keeps
_HALVINGS = 12  # bisection steps to find the share of images that a limit allows


class Shot(NamedTuple):
    """One image to draw.

    Attributes:
        split: train, query or gallery.
        pid: the identity's number; `STRANGER` for passers-by, each of whom is somebody else.
        camid: the camera's number, from 0.
        number: of the shot, unique within a domain.
    """

    split: str
    pid: int
    camid: int
    number: int

    @property
    def path(self) -> str:
        """Path below the folder of the domain, in the layout and with the names of Market-1501."""
        return f"{SPLIT_FOLDERS[self.split]}/{self.pid:04d}_c{self.camid + 1}s1_{self.number:06d}_00.jpg"


class _Person(NamedTuple):
    """One identity and the shots of it: (split, camid)."""

    pid: int
    shots: tuple[tuple[str, int], ...]


def choose_shots(specs: Sequence[DomainSpec], seed: int, limit: int = 0) -> dict[str, tuple[Shot, ...]]:
    """Choose the shots of every domain.

    Args:
        specs: the domains.
        seed: of the choice of cameras for each person.
        limit: greatest number of images, 0 for all. Identities keep all their images, and every camera and match stays.
            Domains keep their shares, except one that needs more for this. The shots are a subset of those without a
            limit.

    Returns:
        The shots by domain, in the order of `specs`.

    Raises:
        JointreidError: there are no domains, two have the same name, the numbers of one are inconsistent, or `limit`
            is too small to keep two identities for training and two queries in each domain.
    """
    names = [spec.name for spec in specs]
    if not names or len(set(names)) < len(names):
        raise JointreidError(f"the domains are called {names}; expected one or more, each with a different name")
    whole = [_people(spec, np.random.default_rng([seed, index, 7])) for index, spec in enumerate(specs)]
    kept = _keep_within(specs, whole, limit) if 0 < limit < _count(whole) else whole
    return {spec.name: tuple(_number(people, keep)) for spec, people, keep in zip(specs, whole, kept, strict=True)}


def _number(people: Iterable[_Person], kept: Iterable[_Person]) -> Iterable[Shot]:
    """Number all shots, and yield those that are kept."""
    pids, number = {id(person) for person in kept}, 0
    for person in people:
        for split, camid in person.shots:
            if id(person) in pids:
                yield Shot(split, person.pid, camid, number)
            number += 1


# People and their cameras


def _people(spec: DomainSpec, random: Random) -> list[_Person]:
    """Return all people of a domain: for training, for queries, those without a query, and strangers."""
    _check(spec)
    people: list[_Person] = []
    for images in _spread(spec.train, random, least=min(4, spec.train.images // spec.train.ids)):
        cameras = _cameras(spec, random, 2)
        shots = tuple(("train", cameras[shot % len(cameras)]) for shot in range(images))
        people.append(_Person(len(people) + 1, shots))
    queries = _spread(spec.query, random, least=1, most=spec.cameras if spec.exclude_same_camera else 0)
    galleries = _spread(spec.gallery, random, least=2 if spec.exclude_same_camera else 1)
    for asked, held in zip(queries, galleries, strict=True):
        cameras = _cameras(spec, random, max(2, asked))
        shots = tuple(("query", cameras[shot % len(cameras)]) for shot in range(asked))
        # Cameras in reverse order, so that the query's own camera comes last.
        shots += tuple(("gallery", cameras[-1 - shot % len(cameras)]) for shot in range(held))
        people.append(_Person(len(people) + 1, shots))
    if spec.others.ids:
        for held in _spread(spec.others, random, least=1):
            cameras = _cameras(spec, random, 1)
            shots = tuple(("gallery", cameras[shot % len(cameras)]) for shot in range(held))
            people.append(_Person(len(people) + 1, shots))
    people += [_Person(STRANGER, (("gallery", int(random.integers(spec.cameras))),)) for _ in range(spec.strangers)]
    return people


def _check(spec: DomainSpec) -> None:
    """Refuse inconsistent numbers."""
    if not re.fullmatch(r"\w[\w.-]*", spec.name):
        raise JointreidError(f"a domain is named {spec.name!r}; expected letters, digits, . _ - for its folder")
    if min(spec.train.ids, spec.query.ids, spec.gallery.ids, spec.cameras, spec.views) < 1:
        raise JointreidError(f"{spec.name}: expected one identity or more in each split, one camera and one view")
    if spec.strangers < 0 or spec.others.ids < 0 or (spec.others.images > 0 and not spec.others.ids):
        raise JointreidError(f"{spec.name}: strangers or others are below 0, or others have images but no identities")
    least = {
        "train": spec.train.ids,
        "query": spec.query.ids,
        "gallery": spec.gallery.ids,
        "others": spec.others.ids,
    }
    if spec.exclude_same_camera:
        least["gallery"] *= 2
        if spec.cameras < 2:
            raise JointreidError(f"{spec.name}: one camera, whose matches do not count, gives no query a match")
        if spec.query.images > spec.query.ids * spec.cameras:
            raise JointreidError(f"{spec.name}: more than one query for each identity and camera")
    if spec.query.ids != spec.gallery.ids:
        raise JointreidError(f"{spec.name}: query and gallery hold different numbers of identities")
    for split, images in least.items():
        if getattr(spec, split).images < images:
            raise JointreidError(f"{spec.name}, {split}: fewer than {images} images for its identities")


def _cameras(spec: DomainSpec, random: Random, least: int) -> list[int]:
    """Draw the cameras that see a person: at least `least`, if there are as many."""
    least = min(least, spec.cameras)
    count = int(random.integers(least, spec.cameras + 1))
    return [int(camid) for camid in random.permutation(spec.cameras)[:count]]


def _spread(split: SplitSize, random: Random, least: int, most: int = 0) -> list[int]:
    """Distribute images over identities: some get many, none fewer than `least` or, if set, more than `most`."""
    weights = random.gamma(2.5, size=split.ids)
    counts: NDArray[np.int64] = least + np.floor(
        weights / weights.sum() * max(0, split.images - least * split.ids)
    ).astype(np.int64)
    limit = most or split.images
    counts = np.minimum(counts, limit)
    while (rest := split.images - int(counts.sum())) > 0:
        open_to_more = random.permutation(np.flatnonzero(counts < limit))
        counts[open_to_more[:rest]] += 1
    return [int(count) for count in counts]


# A limited number of images


def _count(domains: Iterable[Iterable[_Person]]) -> int:
    return sum(len(person.shots) for people in domains for person in people)


def _keep_within(specs: Sequence[DomainSpec], whole: Sequence[Sequence[_Person]], limit: int) -> list[list[_Person]]:
    """Keep the same share of all domains, as large as the limit allows."""

    def keep(share: float) -> list[list[_Person]]:
        return [_limit(spec, people, share) for spec, people in zip(specs, whole, strict=True)]

    share = limit / _count(whole)
    kept = keep(share)
    if _count(kept) <= limit:
        return kept
    # Some domain needs more than its share: find a smaller share for the others.
    kept, low = keep(0.0), 0.0
    if (needed := _count(kept)) > limit:
        raise JointreidError(
            f"the limit of {limit} images is too small: two identities for training and two for queries in each of "
            f"{len(specs)} domains, seen by all cameras, need {needed}; give at least that"
        )
    for _ in range(_HALVINGS):
        middle = (low + share) / 2
        if _count(fewer := keep(middle)) <= limit:
            kept, low = fewer, middle
        else:
            share = middle
    return kept


def _limit(spec: DomainSpec, people: Sequence[_Person], share: float) -> list[_Person]:
    """Keep a share of a domain's images: whole people, all cameras, at least two for training and two for queries."""
    kinds: dict[str, list[_Person]] = {"train": [], "test": [], "other": []}
    for person in people:
        kind = {"train": "train", "query": "test"}.get(person.shots[0][0], "other")
        kinds[kind].append(person)
    kept: list[_Person] = []
    for kind, group in kinds.items():
        budget = share * sum(len(person.shots) for person in group)
        kept += _choose(group, budget, spec.cameras) if kind != "other" else _fill([], group, budget, 0)
    return kept


def _choose(group: Sequence[_Person], budget: float, cameras: int) -> list[_Person]:
    """Choose people whose shots fit the budget: first those who cover all cameras with few shots."""
    chosen: list[_Person] = []
    missing = set(range(cameras)) & {camid for person in group for _, camid in person.shots}
    while missing:
        best = max(group, key=lambda person: len(missing & {camid for _, camid in person.shots}) / len(person.shots))
        chosen.append(best)
        missing -= {camid for _, camid in best.shots}
    return _fill(chosen, group, budget, _FEWEST)


def _fill(chosen: list[_Person], group: Sequence[_Person], budget: float, fewest: int) -> list[_Person]:
    """Add people in order while they fit the budget; first those with fewest shots until there are `fewest`."""
    taken = {id(person) for person in chosen}
    left = [person for person in group if id(person) not in taken]
    for person in sorted(left, key=lambda person: len(person.shots))[: max(0, fewest - len(chosen))]:
        chosen.append(person)
        taken.add(id(person))
    spent = sum(len(person.shots) for person in chosen)
    for person in left:
        if id(person) not in taken and spent + len(person.shots) <= budget:
            chosen.append(person)
            spent += len(person.shots)
    return chosen
