"""The uncertainty of a difference between two arms, from resamples of people and of training seeds.

Letters: Q queries of one data set, I identities among them, R resamples, A and B the seeds of the two arms.

The queries of one person resemble each other, so whole people are drawn: with replacement, as many as there are, the
same for both arms and for all seeds. Seeds are drawn too where an arm has several. If both arms have the same seeds,
they are drawn in pairs, because a seed gives both the same order of batches; otherwise each arm's by themselves. With
one person nothing is known of others: the interval is as wide as the metric's range.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 4_000
# Numbers drawn at a time: 32 MB of counts.
BLOCK = 2**22


@dataclass(frozen=True)
class Estimate:
    """A mean difference, with its uncertainty.

    Attributes:
        value: the mean difference.
        low: the 2.5th percentile of the difference over the resamples.
        high: the 97.5th percentile.
    """

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """True if the interval does not hold 0."""
        return self.low > 0 or self.high < 0

    @classmethod
    def of(cls, value: float, resampled: Floats) -> "Estimate":
        """Return the estimate for a difference and its resamples [R]."""
        low, high = np.quantile(resampled, (0.025, 0.975))
        return cls(float(value), float(low), float(high))


@dataclass(frozen=True, eq=False)
class QueryMetrics:
    """A metric of each query of one data set, for each seed of an arm.

    Attributes:
        seeds: the seeds, ascending.
        values: float64 [A, Q].
        identities: [Q], a number for the person of each query, from 0 to I - 1.
    """

    seeds: tuple[int, ...]
    values: Floats
    identities: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """The mean over seeds and queries."""
        return float(self.values.mean())


def difference(a: QueryMetrics, b: QueryMetrics) -> float:
    """Return the mean of b minus that of a."""
    return b.mean - a.mean


def resampled_difference(
    a: QueryMetrics, b: QueryMetrics, *, resamples: int = RESAMPLES, seed: Sequence[int] = (0,)
) -> Floats:
    """Return the difference, b minus a, in each of the resamples, [R].

    The seeds of training that a resample takes depend on its index and the arm's seeds alone, so that the resamples for
    several data sets, averaged, are those of runs that were trained on all of these jointly.

    Args:
        a: the one arm, with a metric in [0, 1].
        b: the other, on the same queries in the same order.
        resamples: R.
        seed: of the resamples of people; another one for each data set.
    """
    of_identities = np.random.default_rng(seed)
    counts = np.bincount(a.identities).astype(float)  # I
    identities = len(counts)
    if identities == 1:
        return of_identities.choice((-1.0, 1.0), resamples)
    weights_a, weights_b = _seed_weights(a.seeds, resamples), _seed_weights(b.seeds, resamples)
    sums_a, sums_b = _sums(a), _sums(b)  # A I, B I
    differences = np.empty(resamples)
    rows = max(1, BLOCK // identities)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = draw_identities(of_identities, identities, stop - start)
        queries = drawn @ counts
        means_a, means_b = ((drawn @ sums.T) / queries[:, None] for sums in (sums_a, sums_b))
        differences[start:stop] = (means_b * weights_b[start:stop]).sum(1) - (means_a * weights_a[start:stop]).sum(1)
    return differences


def draw_identities(generator: np.random.Generator, identities: int, resamples: int) -> NDArray[np.int64]:
    """Return how often each of I identities is in each resample, [R, I]: I are drawn with replacement."""
    drawn: NDArray[np.int64] = generator.multinomial(identities, np.full(identities, 1 / identities), size=resamples)
    return drawn


def estimate(a: QueryMetrics, b: QueryMetrics) -> Estimate:
    """Return the difference in one data set, b minus a, with its interval."""
    return Estimate.of(difference(a, b), resampled_difference(a, b))


def _sums(metrics: QueryMetrics) -> Floats:
    """Return the sum over the queries of each identity, for each seed, [A, I]."""
    return np.stack([np.bincount(metrics.identities, weights=values) for values in metrics.values])


def _seed_weights(seeds: Sequence[int], resamples: int) -> Floats:
    """Return the share of each seed in each resample, [R, A], the same for the same seeds."""
    generator = np.random.default_rng((1, *seeds))
    count = len(seeds)
    weights: Floats = generator.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    return weights
