"""Thresholds for searches: how often somebody unknown is taken for anybody in a gallery of N images (FPIR).

The held-out people are searched for in galleries without them. With M images of other people and k of them at or above
the threshold, a gallery of N of the M, drawn at random, holds none of the k with probability C(M - k, N) / C(M, N);
the false-alarm rate is the mean over the queries of 1 minus that. It is known for N up to M only. For larger galleries
it is extrapolated as 1 - (1 - f)^N from the false-match rate f of pairs, as if they were independent.

Letters: Q queries, which are all images; M images of other people; N images of a gallery; R resamples; T pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jointreid.analysis.resampling import Estimate, draw_identities
from jointreid.verification.pairs import Doubles, Integers, People, Tail, count_at_least, tail_of
from jointreid.verification.thresholds import LEAST_ERRORS, thresholds_at

Method = Literal["counted", "extrapolated"]

RESAMPLES = 200
# The pairs that are looked at, as a multiple of those that the smallest gallery may let through.
_MARGIN, _AT_LEAST = 4, 1_000


@dataclass(frozen=True)
class SearchThreshold:
    """The threshold for a false-alarm rate per query in a gallery of a size.

    Attributes:
        gallery_size: N, in images.
        method: `counted` in galleries of that size, or `extrapolated` from pairs.
        threshold: the lowest that keeps the rate.
        realised: the rate at it for the people of the other half, by its `realised_method`.
        realised_method: how.
    """

    gallery_size: int
    method: Method
    threshold: Estimate
    realised: float
    realised_method: Method


def pair_rate(false_alarms: float, gallery_size: int) -> float:
    """Return the false-match rate of pairs f for which 1 - (1 - f)^N is the false-alarm rate."""
    return -math.expm1(math.log1p(-false_alarms) / gallery_size)


def method_for(people: People, false_alarms: float, gallery_size: int) -> Method | None:
    """Return how the threshold of a gallery's size is found; None where the people are too few.

    At least `LEAST_ERRORS` false alarms are expected among the queries, or as many among the pairs.
    """
    if gallery_size <= _others(people) and len(people.features) * false_alarms >= LEAST_ERRORS:
        return "counted"
    enough = people.num_negatives * pair_rate(false_alarms, gallery_size) >= LEAST_ERRORS
    return "extrapolated" if enough else None


def largest_gallery(people: People, false_alarms: float) -> int:
    """Return the largest size that `method_for` allows; 0 if none."""
    size = 0
    if people.num_negatives > LEAST_ERRORS:
        size = math.floor(math.log1p(-false_alarms) / math.log1p(-LEAST_ERRORS / people.num_negatives))
    while size and method_for(people, false_alarms, size) is None:  # a rounding
        size -= 1
    return max(size, _others(people)) if method_for(people, false_alarms, max(1, _others(people))) else size


def sizes_for(people: People, false_alarms: float) -> list[int]:
    """Return 10, 20, 50, 100, ... up to the largest size that the people allow, and that one."""
    largest = largest_gallery(people, false_alarms)
    steps = [step * 10**power for power in range(1, 10) for step in (1, 2, 5)]
    return sorted({size for size in steps if size < largest} | ({largest} if largest else set()))


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
        sizes: ascending, each allowed by `method_for`.
        resamples: R.
        seed: of the resamples.
    """
    if not sizes:
        return []
    needed = [_MARGIN * math.ceil(pair_rate(false_alarms, size) * people.num_negatives) + _AT_LEAST for size in sizes]
    whole = tail_of(people, needed[0])
    generator = np.random.default_rng(seed)
    drawn = draw_identities(generator, people.num_identities, resamples).astype(np.int64)
    found: list[SearchThreshold] = []
    for size, keep in zip(sizes, needed, strict=True):
        tail = whole.part(keep)
        method = method_for(people, false_alarms, size)
        assert method is not None
        if method == "counted":
            threshold = _counted(people, tail, size, false_alarms, drawn)
        else:
            rates = [pair_rate(false_alarms, size)]
            threshold = thresholds_at(people, tail, rates, resamples=resamples, seed=seed)[0]
        if found:  # chance may order them otherwise
            before = found[-1].threshold
            pairs = zip(vars(threshold).values(), vars(before).values(), strict=True)
            threshold = Estimate(*(max(pair) for pair in pairs))
        found.append(SearchThreshold(size, method, threshold, *realised(others, threshold.value, size)))
    return found


def realised(people: People, threshold: float, gallery_size: int) -> tuple[float, Method]:
    """Return the false-alarm rate at a threshold in galleries of a size, and how it was found."""
    above = count_at_least(people, threshold)
    if gallery_size > _others(people):
        share = above / max(1, people.num_negatives)
        return -math.expm1(gallery_size * math.log1p(-share)) if share < 1 else 1.0, "extrapolated"
    tail = tail_of(people, above)
    count = int((tail.similarities >= threshold).sum())
    alone = np.ones(people.num_identities, dtype=np.int64)
    return _rate(people, tail, count, gallery_size, alone, _log_factorials(len(people.features))), "counted"


def _others(people: People) -> int:
    """Return M of the query that has the fewest images of other people."""
    return len(people.features) - int(np.bincount(people.identities).max(initial=0))


def _counted(people: People, tail: Tail, size: int, false_alarms: float, drawn: Integers) -> Estimate:
    logs = _log_factorials(len(people.features) * int(drawn.max(initial=1)))
    alone = np.ones(people.num_identities, dtype=np.int64)
    value = _threshold(people, tail, size, false_alarms, alone, logs)
    return Estimate.of(
        value, np.array([_threshold(people, tail, size, false_alarms, counts, logs) for counts in drawn])
    )


def _threshold(people: People, tail: Tail, size: int, false_alarms: float, counts: Integers, logs: Doubles) -> float:
    """Return the lowest threshold at which the rate of galleries of a size is no higher than wanted."""
    low, high = 0, len(tail.similarities)  # this many of the most similar pairs are let through
    while low < high:
        middle = (low + high + 1) // 2
        if _rate(people, tail, middle, size, counts, logs) <= false_alarms * (1 + 1e-9):
            low = middle
        else:
            high = middle - 1
    if low == len(tail.similarities):
        return -1.0 if tail.complete else float(tail.similarities[-1])
    return float(np.nextafter(tail.similarities[low], np.float32(2)))


def _rate(people: People, tail: Tail, count: int, size: int, counts: Integers, logs: Doubles) -> float:
    """Return the false-alarm rate where the `count` most similar pairs are let through.

    Args:
        people: Q queries, each searched for in galleries of `size` images of the others.
        tail: the most similar pairs.
        count: how many of them reach the threshold.
        size: N.
        counts: [I], how often each person counts, as a query and in the gallery.
        logs: log n! for n from 0 on.
    """
    first, second = tail.first[:count], tail.second[:count]
    weights = counts[people.identities]
    reached = np.bincount(first, weights[second], len(weights)) + np.bincount(second, weights[first], len(weights))
    images = np.bincount(people.identities, minlength=people.num_identities)
    others = int(weights.sum()) - (counts * images)[people.identities]
    asked = (weights > 0) & (others > 0)
    total, hit = others[asked], reached[asked].astype(np.int64)
    drawn = np.minimum(size, total)
    rest = total - hit
    missed = np.zeros(len(total))
    possible = rest >= drawn
    n, r, t = drawn[possible], rest[possible], total[possible]
    missed[possible] = np.exp(logs[r] - logs[r - n] - logs[t] + logs[t - n])
    own = weights[asked]
    return float(((1 - missed) * own).sum() / own.sum()) if len(own) else 0.0


def _log_factorials(largest: int) -> Doubles:
    """Return log n! for n from 0 to `largest`."""
    logs: Doubles = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])
    return logs
