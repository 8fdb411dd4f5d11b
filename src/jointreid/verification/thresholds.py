"""Thresholds for pairs: for a false-match rate, and for a false non-match rate, with intervals from resampled people.

Pairs that share a person are not independent, so people are drawn: with replacement, as many as there are. A pair of
two people counts as often as one was drawn times as often as the other. Letters: I identities, R resamples, T pairs.
"""

import math

import numpy as np

from jointreid.analysis.resampling import Estimate, draw_identities
from jointreid.verification.pairs import Doubles, Floats, People, Tail, positives_of, tail_of

# A rate is estimated only where at least so many errors are expected at it.
LEAST_ERRORS = 10
RESAMPLES = 1_000
# The rows of the tail beyond those that the rate lets through: resamples need other numbers of them.
_MARGIN, _AT_LEAST = 4, 1_000


def smallest_rate(pairs: int) -> float:
    """Return the smallest rate that so many pairs allow; above 1 for fewer than `LEAST_ERRORS`."""
    return LEAST_ERRORS / pairs if pairs else math.inf


def match_threshold(people: People, rate: float, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Return the lowest threshold at which no more than a share `rate` of the pairs of two people is taken for one.

    A pair is taken for one person if its similarity is the threshold or more.

    Args:
        people: with at least `LEAST_ERRORS` / rate pairs of two people.
        rate: the false-match rate, above 0 and below 1.
        resamples: R.
        seed: of the resamples.
    """
    keep = _MARGIN * math.ceil(rate * people.num_negatives) + _AT_LEAST
    return thresholds_at(people, tail_of(people, keep), [rate], resamples=resamples, seed=seed)[0]


def thresholds_at(
    people: People, tail: Tail, rates: list[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Estimate]:
    """Return `match_threshold` for several rates, from the most similar pairs."""
    first, second = people.identities[tail.first], people.identities[tail.second]
    alone = np.ones((1, people.num_identities))
    asked = np.array(rates)
    values = _crossings(tail, np.ones(len(first)), asked * people.negatives(alone)[0])
    generator = np.random.default_rng(seed)
    drawn = draw_identities(generator, people.num_identities, resamples).astype(float)
    totals = people.negatives(drawn)
    resampled = np.stack(
        [
            _crossings(tail, counts[first] * counts[second], asked * total)
            for counts, total in zip(drawn, totals, strict=True)
        ]
    )
    return [Estimate.of(value, found) for value, found in zip(values, resampled.T, strict=True)]


def _crossings(tail: Tail, weights: Doubles, allowed: Doubles) -> Doubles:
    """Return, for each number of pairs that may be let through, the lowest threshold that lets no more through."""
    # Weights are whole numbers, so sums are exact; a billionth more than allowed is the rounding of rate * pairs.
    count = np.searchsorted(np.cumsum(weights), allowed * (1 + 1e-9), side="right")
    lowest = np.float32(-1) if tail.complete or not len(tail.similarities) else tail.similarities[-1]
    inside = tail.similarities[np.minimum(count, len(tail.similarities) - 1)] if len(tail.similarities) else lowest
    above = np.nextafter(inside, np.float32(2))
    return np.where(count < len(tail.similarities), above, lowest).astype(np.float64)


def non_match_threshold(people: People, rate: float, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate | None:
    """Return the highest threshold below which no more than a share `rate` of the pairs of one person lies.

    Args:
        people: images of people.
        rate: the false non-match rate, above 0 and below 1.
        resamples: R.
        seed: of the resamples.

    Returns:
        The threshold; None with fewer than `LEAST_ERRORS` / rate pairs of one person.
    """
    values, persons = positives_of(people)
    if rate < smallest_rate(len(values)):
        return None
    generator = np.random.default_rng(seed)
    drawn = draw_identities(generator, people.num_identities, resamples)
    resampled = np.array([_quantile(values, counts[persons].astype(float), rate) for counts in drawn])
    return Estimate.of(_quantile(values, np.ones(len(values)), rate), resampled)


def _quantile(values: Floats, weights: Doubles, rate: float) -> float:
    """Return the highest of ascending values below which no more than a share `rate` of the weights lies."""
    total = np.cumsum(weights)
    below = np.searchsorted(total, rate * total[-1] * (1 + 1e-9), side="right")
    return float(values[min(below, len(values) - 1)])
