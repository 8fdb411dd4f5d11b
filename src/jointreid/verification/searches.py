"""Thresholds for searches: how often somebody unknown is taken for anybody in a gallery of so many people (FPIR).

The held-out people are searched for in galleries of M of the others, with all of their images. People count, not
images: images of one person are alike, so each further person is another chance of a false alarm, and each further
image of the same person hardly is. With I held-out people the rate is known for M up to I - 1. For a larger gallery of
M' people it is extrapolated as 1 - (1 - f)^(M' / M) from the rate f of the largest M, as if every M people were another
independent search. Since queries differ, that is rather too high than too low.

Letters: Q queries, which are all images; I identities; M people of a gallery; R resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jointreid.analysis.resampling import Estimate, draw_identities
from jointreid.verification.nearest_people import Encounters, encounters_of
from jointreid.verification.pairs import Integers, People
from jointreid.verification.thresholds import LEAST_ERRORS

Method = Literal["counted", "extrapolated"]

RESAMPLES = 200
# Encounters that a resample may let through, as a multiple of those that the people themselves may.
_MARGIN, _AT_LEAST = 4, 1_000
_SMALLEST = 5


@dataclass(frozen=True)
class SearchThreshold:
    """The threshold for a false-alarm rate per query in a gallery of a size.

    Attributes:
        gallery_people: M, the people in the gallery.
        method: `counted` in galleries of so many people, or `extrapolated` from smaller ones.
        threshold: the lowest that keeps the rate.
        realised: the rate at it for the people of the other half, by its `realised_method`.
        realised_method: how.
    """

    gallery_people: int
    method: Method
    threshold: Estimate
    realised: float
    realised_method: Method


def rescaled(false_alarms: float, people: int, to: int) -> float:
    """Return the false-alarm rate of galleries of `to` people from that of `people`: 1 - (1 - f)^(to / people)."""
    return -math.expm1(to / people * math.log1p(-false_alarms)) if false_alarms < 1 else 1.0


def method_for(people: People, false_alarms: float, gallery_people: int) -> Method | None:
    """Return how the threshold of a gallery's size is found; None where the held-out people are too few.

    At least `LEAST_ERRORS` false alarms are expected among the queries.
    """
    largest, queries = people.num_identities - 1, len(people.identities)
    if largest < 1 or queries * false_alarms < LEAST_ERRORS:
        return None
    if gallery_people <= largest:
        return "counted"
    enough = queries * rescaled(false_alarms, gallery_people, largest) >= LEAST_ERRORS
    return "extrapolated" if enough else None


def largest_gallery(people: People, false_alarms: float) -> int:
    """Return the largest size in people that `method_for` allows; 0 if none."""
    largest, queries = people.num_identities - 1, len(people.identities)
    if method_for(people, false_alarms, largest) is None:
        return 0
    if queries <= LEAST_ERRORS:
        return largest
    size = math.floor(largest * math.log1p(-false_alarms) / math.log1p(-LEAST_ERRORS / queries))
    while size > largest and method_for(people, false_alarms, size) is None:  # a rounding
        size -= 1
    return max(size, largest)


def sizes_for(people: People, false_alarms: float) -> list[int]:
    """Return 5, 10, 20, 50, ... up to the largest size that the people allow, that one, and the largest counted."""
    largest = largest_gallery(people, false_alarms)
    steps = [step * 10**power for power in range(9) for step in (1, 2, 5) if step * 10**power >= _SMALLEST]
    return sorted(
        {size for size in steps if size < largest} | ({largest, people.num_identities - 1} if largest else set())
    )


def search_thresholds(
    people: People,
    others: People,
    false_alarms: float,
    sizes: Sequence[int],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[SearchThreshold]:
    """Return the threshold for each size; none is lower than that of a smaller gallery.

    Args:
        people: those to calibrate on, of one data set.
        others: those of the other half, for the rate that is realised.
        false_alarms: the false-alarm rate per query, above 0 and below 1.
        sizes: of galleries in people, ascending, each allowed by `method_for`.
        resamples: R.
        seed: of the resamples.
    """
    if not sizes:
        return []
    met, met_by_others = encounters_of(people), encounters_of(others)
    drawn = draw_identities(np.random.default_rng(seed), people.num_identities, resamples).astype(np.int64)
    found: list[SearchThreshold] = []
    for size in sizes:
        method = method_for(people, false_alarms, size)
        assert method is not None
        gallery = min(size, people.num_identities - 1)
        threshold = _threshold(met, gallery, rescaled(false_alarms, size, gallery), drawn)
        if found:  # chance may order them otherwise
            before = found[-1].threshold
            pairs = zip(vars(threshold).values(), vars(before).values(), strict=True)
            threshold = Estimate(*(max(pair) for pair in pairs))
        found.append(SearchThreshold(size, method, threshold, *realised(met_by_others, threshold.value, size)))
    return found


def realised(met: Encounters, threshold: float, gallery_people: int) -> tuple[float, Method]:
    """Return the false-alarm rate at a threshold in galleries of so many people, and how it was found."""
    gallery = min(gallery_people, met.num_identities - 1)
    alone = np.ones(met.num_identities, dtype=np.int64)
    rate = met.false_alarms(met.at_least(threshold), gallery, alone)
    if gallery_people <= gallery:
        return rate, "counted"
    return rescaled(rate, gallery, gallery_people), "extrapolated"


def _threshold(met: Encounters, gallery: int, rate: float, drawn: Integers) -> Estimate:
    """Return the lowest threshold that keeps a rate in galleries of so many people, with its interval.

    In a resample some people are drawn several times, so its galleries hold fewer different people than their size
    says, and its thresholds lie around the threshold for galleries drawn with replacement. Their deviations from that
    one are the interval.
    """
    alone, every = np.ones(met.num_identities, dtype=np.int64), len(met.similarities)
    count = met.allowed(rate, gallery, alone, every)
    value = met.threshold(count, every)
    replaced = met.allowed(rate, gallery, alone, every, replace=True)
    most = min(every, _MARGIN * max(count, replaced) + _AT_LEAST)
    resampled = [met.threshold(met.allowed(rate, gallery, counts, most), most) for counts in drawn]
    around = Estimate.of(met.threshold(replaced, every), np.array(resampled))
    return Estimate(
        value, min(value, value + around.low - around.value), max(value, value + around.high - around.value)
    )
