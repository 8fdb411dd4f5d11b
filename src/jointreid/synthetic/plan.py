"""Which shots are taken: of whom, by which camera, for which split; counts as asked, every query with a match."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jointreid.data.readers.market_style import SPLIT_FOLDERS
from jointreid.messages.errors import JointreidError
from jointreid.synthetic.looks import Random
from jointreid.synthetic.presets import Recipe, Split

STRANGER = 0  # the pid of people who are nobody's match
_FEWEST = 2  # people of each kind that a domain keeps
_HALVINGS = 12  # of the share that a limit leaves, to find a smaller one


class Shot(NamedTuple):
    """One image to be taken.

    Attributes:
        split: train, query or gallery.
        pid: the identity's number; `STRANGER` for passers-by, each of whom is somebody else.
        camid: the camera's number, from 0.
        number: of the shot, different for all of a domain's.
    """

    split: str
    pid: int
    camid: int
    number: int

    @property
    def path(self) -> str:
        """Where it lies below its domain's folder: the layout and names of Market-1501."""
        return f"{SPLIT_FOLDERS[self.split]}/{self.pid:04d}_c{self.camid + 1}s1_{self.number:06d}_00.jpg"


class _Person(NamedTuple):
    """One identity and the shots of it: (split, camid)."""

    pid: int
    shots: tuple[tuple[str, int], ...]


def plan(recipes: Sequence[Recipe], seed: int, limit: int = 0) -> dict[str, tuple[Shot, ...]]:
    """Plan every domain's shots.

    Args:
        recipes: the domains.
        seed: of who stands before which camera.
        limit: images at most; identities keep all their images, and every camera and match stays. Domains keep their
            shares, but for one that needs more than its own to do so. 0 takes all. A shot of a limited plan is also one
            of the whole plan.

    Returns:
        The shots by domain, in the order of `recipes`.

    Raises:
        JointreidError: no domains, two of one name, one whose numbers do not agree, or a `limit` too small to keep two
            identities to train on and two to search for in each domain.
    """
    names = [recipe.name for recipe in recipes]
    if not names or len(set(names)) < len(names):
        raise JointreidError(f"the domains are called {names}; expected one or more, each with a name of its own")
    whole = [_people(recipe, np.random.default_rng([seed, index, 7])) for index, recipe in enumerate(recipes)]
    kept = _keep_within(recipes, whole, limit) if 0 < limit < _count(whole) else whole
    return {
        recipe.name: tuple(_number(people, keep)) for recipe, people, keep in zip(recipes, whole, kept, strict=True)
    }


def _number(people: Iterable[_Person], kept: Iterable[_Person]) -> Iterable[Shot]:
    """Number the shots of the whole plan, and return those that are kept."""
    pids, number = {id(person) for person in kept}, 0
    for person in people:
        for split, camid in person.shots:
            if id(person) in pids:
                yield Shot(split, person.pid, camid, number)
            number += 1


# Who is seen where


def _people(recipe: Recipe, random: Random) -> list[_Person]:
    """Return everybody of a domain: those to train on, those to search for, those nobody asks for, strangers."""
    _check(recipe)
    people: list[_Person] = []
    for images in _spread(recipe.train, random, least=min(4, recipe.train.images // recipe.train.ids)):
        cameras = _cameras(recipe, random, 2)
        shots = tuple(("train", cameras[shot % len(cameras)]) for shot in range(images))
        people.append(_Person(len(people) + 1, shots))
    queries = _spread(recipe.query, random, least=1, most=recipe.cameras if recipe.exclude_same_camera else 0)
    galleries = _spread(recipe.gallery, random, least=2 if recipe.exclude_same_camera else 1)
    for asked, held in zip(queries, galleries, strict=True):
        cameras = _cameras(recipe, random, max(2, asked))
        shots = tuple(("query", cameras[shot % len(cameras)]) for shot in range(asked))
        # From the cameras' end, so that a query's own is the last to come up.
        shots += tuple(("gallery", cameras[-1 - shot % len(cameras)]) for shot in range(held))
        people.append(_Person(len(people) + 1, shots))
    if recipe.others.ids:
        for held in _spread(recipe.others, random, least=1):
            cameras = _cameras(recipe, random, 1)
            shots = tuple(("gallery", cameras[shot % len(cameras)]) for shot in range(held))
            people.append(_Person(len(people) + 1, shots))
    people += [_Person(STRANGER, (("gallery", int(random.integers(recipe.cameras))),)) for _ in range(recipe.strangers)]
    return people


def _check(recipe: Recipe) -> None:
    """Refuse numbers that do not agree with each other."""
    if not re.fullmatch(r"\w[\w.-]*", recipe.name):
        raise JointreidError(f"a domain is called {recipe.name!r}; its folder needs a name of letters, digits, . _ -")
    if min(recipe.train.ids, recipe.query.ids, recipe.gallery.ids, recipe.cameras, recipe.views) < 1:
        raise JointreidError(f"{recipe.name}: expected one identity or more in each split, one camera and one view")
    if recipe.strangers < 0 or recipe.others.ids < 0 or (recipe.others.images > 0 and not recipe.others.ids):
        raise JointreidError(f"{recipe.name}: strangers or others are fewer than 0, or images of others are nobody's")
    least = {
        "train": recipe.train.ids,
        "query": recipe.query.ids,
        "gallery": recipe.gallery.ids,
        "others": recipe.others.ids,
    }
    if recipe.exclude_same_camera:
        least["gallery"] *= 2
        if recipe.cameras < 2:
            raise JointreidError(f"{recipe.name}: one camera, whose own matches do not count, leaves no match")
        if recipe.query.images > recipe.query.ids * recipe.cameras:
            raise JointreidError(f"{recipe.name}: more than one query for each identity and camera")
    if recipe.query.ids != recipe.gallery.ids:
        raise JointreidError(f"{recipe.name}: query and gallery hold different numbers of identities")
    for split, images in least.items():
        if getattr(recipe, split).images < images:
            raise JointreidError(f"{recipe.name}, {split}: fewer than {images} images for its identities")


def _cameras(recipe: Recipe, random: Random, least: int) -> list[int]:
    """Draw the cameras that see somebody, at least so many where there are."""
    least = min(least, recipe.cameras)
    count = int(random.integers(least, recipe.cameras + 1))
    return [int(camid) for camid in random.permutation(recipe.cameras)[:count]]


def _spread(split: Split, random: Random, least: int, most: int = 0) -> list[int]:
    """Deal a split's images to its identities: some have many, none fewer than `least` or, if set, more than `most`."""
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


# Fewer of them


def _count(domains: Iterable[Iterable[_Person]]) -> int:
    return sum(len(person.shots) for people in domains for person in people)


def _keep_within(recipes: Sequence[Recipe], whole: Sequence[Sequence[_Person]], limit: int) -> list[list[_Person]]:
    """Keep an equal share of all domains, as large as the limit lets it be."""

    def keep(share: float) -> list[list[_Person]]:
        return [_limit(recipe, people, share) for recipe, people in zip(recipes, whole, strict=True)]

    share = limit / _count(whole)
    kept = keep(share)
    if _count(kept) <= limit:
        return kept
    # What a domain keeps in any case is more than its share: the others get less, if need be no more than that either.
    kept, low = keep(0.0), 0.0
    if (needed := _count(kept)) > limit:
        raise JointreidError(
            f"the limit of {limit} images is too small: two identities to train on and two to search for in each of "
            f"{len(recipes)} domains, seen by all cameras, take {needed}; give at least that"
        )
    for _ in range(_HALVINGS):
        middle = (low + share) / 2
        if _count(fewer := keep(middle)) <= limit:
            kept, low = fewer, middle
        else:
            share = middle
    return kept


def _limit(recipe: Recipe, people: Sequence[_Person], share: float) -> list[_Person]:
    """Keep a share of a domain's images: whole people, all cameras, at least two to train on and to search for."""
    kinds: dict[str, list[_Person]] = {"train": [], "test": [], "other": []}
    for person in people:
        kind = {"train": "train", "query": "test"}.get(person.shots[0][0], "other")
        kinds[kind].append(person)
    kept: list[_Person] = []
    for kind, group in kinds.items():
        budget = share * sum(len(person.shots) for person in group)
        kept += _choose(group, budget, recipe.cameras) if kind != "other" else _fill([], group, budget, 0)
    return kept


def _choose(group: Sequence[_Person], budget: float, cameras: int) -> list[_Person]:
    """Choose people whose shots fit the budget: first those who, with few shots, are seen by all cameras."""
    chosen: list[_Person] = []
    missing = set(range(cameras)) & {camid for person in group for _, camid in person.shots}
    while missing:
        best = max(group, key=lambda person: len(missing & {camid for _, camid in person.shots}) / len(person.shots))
        chosen.append(best)
        missing -= {camid for _, camid in best.shots}
    return _fill(chosen, group, budget, _FEWEST)


def _fill(chosen: list[_Person], group: Sequence[_Person], budget: float, fewest: int) -> list[_Person]:
    """Add people in their order while they fit the budget; to reach the fewest, those of the fewest shots."""
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
