"""An alarm for images unlike those of every domain of a run, with the rate of false alarms that it really has.

The score of an image is its distance to the nearest train images of the run, in the features after one layer, relative
to the distances between train images of different people in the same domain. Which layer is chosen by leaving out each
domain in turn: its images are then those that should raise an alarm. Half of the people in the run's own test images
set a threshold for each domain, the other half tells the rate of false alarms.

Letters: N images, R reference images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jointreid.conflict.probe import halves, unit
from jointreid.messages.errors import JointreidError

Matrix = NDArray[np.float64]
Codes = NDArray[np.int64]

NEIGHBOURS = 5
USUAL_LAYER = "stage 2"


@dataclass(frozen=True, eq=False)
class KnownImages:
    """Images of a run, with their features.

    Attributes:
        layers: layer -> [N, dimensions].
        domains: [N], the domain class of each.
        people: [N], a number for each identity; those of two domains differ.
    """

    layers: Mapping[str, NDArray[np.floating]]
    domains: Codes
    people: Codes

    def subset(self, rows: NDArray[np.bool_]) -> "KnownImages":
        """Return some of the images."""
        layers = {layer: values[rows] for layer, values in self.layers.items()}
        return KnownImages(layers, self.domains[rows], self.people[rows])


class NearestDistance:
    """Distances of images to reference images in the features after one layer.

    Args:
        reference: the images, with two people or more of a domain.
        layer: whose features.
    """

    def __init__(self, reference: KnownImages, layer: str) -> None:
        values = reference.layers[layer].astype(np.float64)
        self._mean, deviation = values.mean(0), values.std(0)
        self._scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
        self._rows, self._domains = unit((values - self._mean) * self._scale), reference.domains
        own = self._distances(self._rows)
        own[reference.people[:, None] == reference.people] = np.inf
        own[reference.domains[:, None] != reference.domains] = np.inf
        typical = _mean_of_nearest(own)
        self._typical = {
            int(domain): float(np.median(typical[(reference.domains == domain) & np.isfinite(typical)]))
            for domain in np.unique(reference.domains)
            if np.isfinite(typical[reference.domains == domain]).any()
        }

    def __call__(self, features: NDArray[np.floating]) -> tuple[Matrix, Codes]:
        """Return the score of each image [N], and the domain of its nearest reference images [N]."""
        distances = self._distances(unit((features.astype(np.float64) - self._mean) * self._scale))
        by_domain = {
            domain: _mean_of_nearest(distances[:, self._domains == domain]) / max(typical, 1e-12)
            for domain, typical in self._typical.items()
        }
        scores = np.stack(list(by_domain.values()), axis=1)
        return scores.min(1), np.array(list(by_domain), dtype=np.int64)[scores.argmin(1)]

    def _distances(self, rows: Matrix) -> Matrix:
        distances: Matrix = 1 - rows @ self._rows.T
        return distances


def auroc(inside: NDArray[np.floating], outside: NDArray[np.floating]) -> float:
    """Return the probability that an image from outside scores higher than one from inside; ties count half.

    >>> auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.875
    """
    ordered = np.sort(inside)
    below = np.searchsorted(ordered, outside, side="left")
    up_to = np.searchsorted(ordered, outside, side="right")
    return float((below + up_to).mean() / 2 / len(inside))


def threshold(scores: NDArray[np.floating], rate: float) -> float:
    """Return the score that a further image of the same kind exceeds with at most this probability.

    It is the k-th smallest of n scores, k = ceil((n + 1) (1 - rate)); infinite where k is n + 1, with too few images.
    """
    k = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    return float(np.sort(scores)[k - 1]) if k <= len(scores) else math.inf


@dataclass(frozen=True, eq=False)
class DriftAlarm:
    """The alarm.

    Attributes:
        layer: whose features it reads.
        aurocs: layer -> mean over domains of how well it tells images of a domain that was left out; empty with one
            domain.
        thresholds: domain class of the nearest images -> the highest score without an alarm.
        pooled: domain classes with too few images for an own threshold; they have that of all images together.
        asked_rate: of false alarms, that the thresholds are set for.
        least_rate: of false alarms, that the images at hand can set a threshold for.
        false_alarms: domain class -> (images of people who set no threshold, share of them with an alarm).
        rates: domain class of the nearest images -> the same share among the images nearest to it.
        distance: scores images.
    """

    layer: str
    aurocs: Mapping[str, float]
    thresholds: Mapping[int, float]
    pooled: tuple[int, ...]
    asked_rate: float
    least_rate: float
    false_alarms: Mapping[int, tuple[int, float]]
    rates: Mapping[int, float]
    distance: NearestDistance

    @property
    def realised_rate(self) -> float:
        """The share of false alarms over all domains; NaN without images to judge by."""
        count = sum(images for images, _ in self.false_alarms.values())
        return sum(n * share for n, share in self.false_alarms.values()) / count if count else math.nan

    def expected_rate(self, nearest: Codes) -> float:
        """Return the rate of alarms to expect of images like the run's own.

        For each image it is the rate that was measured where its nearest images are, and not less than what the
        thresholds are set for.

        Args:
            nearest: [N], the domain class of the images nearest to each.
        """
        least = max(self.asked_rate, self.least_rate)
        return float(np.mean([max(least, self.rates.get(domain, 0.0)) for domain in nearest.tolist()]))

    def judge(self, layers: Mapping[str, NDArray[np.floating]]) -> tuple[Matrix, NDArray[np.bool_], Codes]:
        """Return for N images the scores, which raise an alarm, and the domain class of the nearest images."""
        scores, nearest = self.distance(layers[self.layer])
        return scores, scores > np.array([self.thresholds[domain] for domain in nearest.tolist()]), nearest


def fit_alarm(reference: KnownImages, known: KnownImages, rate: float, seed: int = 0) -> DriftAlarm:
    """Choose a layer, set the thresholds, and count false alarms.

    Where too few images are near a domain to set a threshold for the rate, all images together set it; where they are
    too few, too, it is the highest score among them.

    Args:
        reference: train images of the run.
        known: other images of its domains, of people who are not in `reference`; half of them set the thresholds.
        rate: of false alarms, in (0, 1).
        seed: of the halves.

    Raises:
        JointreidError: `reference` has no domain with two people.
    """
    if not _can_compare(reference):
        raise JointreidError(
            "no data set of the run has two train identities with two images each to compare, so nothing tells which "
            "distance is usual"
        )
    aurocs = {layer: _left_out(reference, known, layer) for layer in reference.layers}
    aurocs = {layer: value for layer, value in aurocs.items() if not math.isnan(value)}
    layer = max(aurocs, key=lambda name: aurocs[name]) if aurocs else _without_others(list(reference.layers))
    distance = NearestDistance(reference, layer)
    people, owners = np.unique(known.people, return_inverse=True)
    first = halves(known.domains, owners, len(people), seed)[owners]
    scores, nearest = distance(known.layers[layer])
    own = {
        domain: threshold(scores[first & (nearest == domain)], rate) for domain in np.unique(reference.domains).tolist()
    }
    pooled = tuple(domain for domain, value in own.items() if math.isinf(value))
    of_all = min(threshold(scores[first], rate), float(scores[first].max()))
    thresholds = own | dict.fromkeys(pooled, of_all)
    alarms = scores > np.array([thresholds[domain] for domain in nearest.tolist()])
    false_alarms, rates = (
        {
            int(domain): (int(rows.sum()), float(alarms[rows].mean()))
            for domain in np.unique(of)
            if (rows := ~first & (of == domain)).any()
        }
        for of in (known.domains, nearest)
    )
    return DriftAlarm(
        layer,
        aurocs,
        thresholds,
        pooled if len(own) > 1 else (),
        rate,
        1 / (int(first.sum()) + 1),
        false_alarms,
        {domain: share for domain, (_, share) in rates.items()},
        distance,
    )


def _without_others(layers: Sequence[str]) -> str:
    """Return the layer where no domain can be left out: the second stage, which was best or nearly so in trials."""
    return USUAL_LAYER if USUAL_LAYER in layers else layers[0]


def _left_out(reference: KnownImages, known: KnownImages, layer: str) -> float:
    """Return the mean over domains of the AUROC against the others, with each left out of the reference in turn."""
    values = []
    domains: Sequence[int] = np.unique(reference.domains).tolist()
    for domain in domains if len(domains) > 1 else ():
        inside, outside = known.domains != domain, known.domains == domain
        others = reference.subset(reference.domains != domain)
        if inside.any() and outside.any() and _can_compare(others):
            scores, _ = NearestDistance(others, layer)(known.layers[layer])
            values.append(auroc(scores[inside], scores[outside]))
    return float(np.mean(values)) if values else math.nan


def _can_compare(reference: KnownImages) -> bool:
    """Return whether two people of one domain are there."""
    pairs = np.unique(np.stack([reference.domains, reference.people]), axis=1)
    return bool(len(np.unique(pairs[0])) < pairs.shape[1])


def _mean_of_nearest(distances: Matrix) -> Matrix:
    """Return the mean of the smallest finite distances of each row; infinite where there is none."""
    nearest = np.sort(distances, axis=1)[:, :NEIGHBOURS]
    finite = np.isfinite(nearest)
    sums = np.where(finite, nearest, 0).sum(1)
    counts = finite.sum(1)
    mean: Matrix = np.divide(sums, counts, out=np.full(len(sums), np.inf), where=counts > 0)
    return mean
