"""Pairs of images of known people, and how similar they are, without keeping them all.

Letters: N images, I identities, D dimensions of a feature, R resamples, T pairs that are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

# Similarities computed at once: 32 MB.
_BLOCK = 2**23


@dataclass(frozen=True, eq=False)
class People:
    """Images of people who are told apart, and which of their pairs count.

    Attributes:
        features: float32 [N, D], each of length 1.
        identities: int64 [N], a number for the person, from 0 to I - 1.
        groups: int64 [N], the camera or the data set of each image, from 0; only pairs of two groups count. None if all
            pairs count.
    """

    features: Floats
    identities: Integers
    groups: Integers | None = None

    @cached_property
    def num_identities(self) -> int:
        """I."""
        return int(self.identities.max(initial=-1)) + 1

    @cached_property
    def num_positives(self) -> int:
        """How many pairs show one person."""
        ones = np.ones((1, self.num_identities))
        alike = (self._images_squared(ones, self.identities) - len(self.identities)) / 2
        if self.groups is not None:
            # Of one person and one group: they do not count.
            both = np.unique(np.stack([self.identities, self.groups]), axis=1, return_counts=True)[1]
            alike = alike - (both * (both - 1) / 2).sum()
        return round(float(alike[0]))

    @cached_property
    def num_negatives(self) -> int:
        """How many pairs show two people."""
        return round(float(self.negatives(np.ones((1, self.num_identities)))[0]))

    def negatives(self, drawn: Doubles) -> Doubles:
        """Return the number of pairs of two people in each resample, [R].

        Args:
            drawn: [R, I], how often each identity was drawn. Two copies of one identity are no pair of two people.
        """
        counts = np.bincount(self.identities, minlength=self.num_identities).astype(float)
        found: Doubles = ((drawn @ counts) ** 2 - drawn**2 @ counts**2) / 2
        if self.groups is None:
            return found
        for group in np.unique(self.groups):
            own = np.bincount(self.identities[self.groups == group], minlength=self.num_identities).astype(float)
            found = found - ((drawn @ own) ** 2 - drawn**2 @ own**2) / 2
        return found

    def _images_squared(self, drawn: Doubles, labels: Integers) -> Doubles:
        found: Doubles = drawn**2 @ np.bincount(labels, minlength=self.num_identities).astype(float) ** 2
        return found


class Tail(NamedTuple):
    """The most similar pairs of two people.

    Attributes:
        similarities: float32 [T], the highest first.
        first: int64 [T], the row of one image.
        second: int64 [T], the row of the other.
        complete: whether these are all pairs of two people.
    """

    similarities: Floats
    first: Integers
    second: Integers
    complete: bool


def _blocks(people: People) -> Iterator[tuple[Floats, NDArray[np.bool_], NDArray[np.bool_], int]]:
    """Yield similarities [n, N - start] of images from row `start` on to those after them.

    With two masks of the same shape, of the pairs that show one person and of those that show two, and `start`.
    """
    rows = max(1, _BLOCK // max(1, len(people.features)))
    for start in range(0, len(people.features), rows):
        stop = min(start + rows, len(people.features))
        found = people.features[start:stop] @ people.features[start:].T
        counts = np.triu(np.ones(found.shape, dtype=bool), 1)
        if people.groups is not None:
            counts &= people.groups[start:stop, None] != people.groups[None, start:]
        alike = people.identities[start:stop, None] == people.identities[None, start:]
        yield found, counts & alike, counts & ~alike, start


def tail_of(people: People, keep: int) -> Tail:
    """Return the most similar pairs of two people, at least `keep` of them if there are as many."""
    values: list[Floats] = []
    firsts: list[Integers] = []
    seconds: list[Integers] = []
    bound, held = -np.inf, 0
    for found, _, negative, start in _blocks(people):
        rows, columns = np.nonzero(negative & (found >= bound))
        values.append(found[rows, columns])
        firsts.append(rows + start)
        seconds.append(columns + start)
        held += len(rows)
        if held > 2 * keep:
            values, firsts, seconds = _highest(values, firsts, seconds, keep)
            bound, held = float(values[0].min()), len(values[0])
    if not values:
        return Tail(np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64), True)
    (value,), (first,), (second,) = _highest(values, firsts, seconds, keep)
    order = np.argsort(-value, kind="stable")
    return Tail(value[order], first[order], second[order], len(value) == people.num_negatives)


def _highest(
    values: list[Floats], firsts: list[Integers], seconds: list[Integers], keep: int
) -> tuple[list[Floats], list[Integers], list[Integers]]:
    """Return the highest values with what belongs to them, as lists of one array; ties of the last stay."""
    value, first, second = np.concatenate(values), np.concatenate(firsts), np.concatenate(seconds)
    if keep < len(value):
        chosen = value >= np.partition(value, len(value) - keep)[len(value) - keep]
        value, first, second = value[chosen], first[chosen], second[chosen]
    return [value], [first], [second]


def positives_of(people: People) -> tuple[Floats, Integers]:
    """Return the similarity of each pair of one person, the lowest first, and the person."""
    values, persons = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for person in range(people.num_identities):
        rows = np.flatnonzero(people.identities == person)
        found = people.features[rows] @ people.features[rows].T
        first, second = np.triu_indices(len(rows), 1)
        if people.groups is not None:
            two = people.groups[rows[first]] != people.groups[rows[second]]
            first, second = first[two], second[two]
        values.append(found[first, second])
        persons.append(np.full(len(first), person))
    value, of = np.concatenate(values), np.concatenate(persons)
    order = np.argsort(value, kind="stable")
    return value[order], of[order]


def count_at_least(people: People, threshold: float) -> int:
    """Return how many pairs of two people are at least so similar."""
    return sum(int((negative & (found >= threshold)).sum()) for found, _, negative, _ in _blocks(people))
