"""Mean mAPs of trainings, the opponent of the recommended network, and what it is to gain."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

Record = Mapping[str, Any]

# What the recommended network is to gain over the best plain one in mAP, by data set.
GOALS: Mapping[str, float] = {"people": 0.05, "omniglot": 0.02, "emoji": 0.02}
# The part of that gain, over static, which is to come from D + C.
LEAST_SHARE = 0.5


def level(records: Sequence[Record], domains: Sequence[str] | None = None) -> float:
    """Return the mean mAP of trainings, over seeds and domains: by default over all that they were tested on."""
    return fmean(record["domains"][domain]["mAP"] for record in records for domain in domains or record["domains"])


def seeds_of(records: Sequence[Record]) -> list[int]:
    """Return the seed of each training."""
    return [record["task"]["seed"] for record in records]


def best_plain(
    candidates: Iterable[Sequence[Record]], other: Sequence[Record], domains: Sequence[str]
) -> Sequence[Record]:
    """Return the trainings of the plain network with the highest mAP; empty if none has the seeds of another network.

    Args:
        candidates: trainings of each plain network, by seed.
        other: of the network that is compared with it.
        domains: the mAP is the mean over these.
    """
    comparable = [records for records in candidates if records and seeds_of(records) == seeds_of(other)]
    return max(comparable, key=lambda records: level(records, domains), default=())


def misses_goal(
    dataset: str, plain: Iterable[Sequence[Record]], sample: Sequence[Record], context: Sequence[Record]
) -> bool:
    """Return whether the recommended network misses its goal in a data set, to the mean mAPs of long trainings.

    It does if it gains less than `GOALS` over the best plain network, or nothing with a seed, or if D + C is less than
    `LEAST_SHARE` of what it gains over static + S and static. Intervals are left to the page.

    Args:
        dataset: name in `DATASETS`.
        plain: trainings of each plain network, static first; all arms have the same seeds.
        sample: of static + S.
        context: of the recommended network.
    """
    static, *others = ([record["mean"] for record in records] for records in plain)
    of_sample, of_context = ([record["mean"] for record in records] for records in (sample, context))
    best = max((static, *others), key=sum)
    gains = [b - a for a, b in zip(best, of_context, strict=True)]
    of_labels = sum(of_context) - sum(of_sample)
    is_enough = sum(gains) / len(gains) >= GOALS[dataset] and min(gains) > 0
    return not (is_enough and of_labels >= LEAST_SHARE * (sum(of_context) - sum(static)))


def seed_gains(plain: Sequence[Record], other: Sequence[Record], domains: Sequence[str]) -> list[float]:
    """Return what a network gains over another with each seed, in mAP; both have the same seeds, in the same order."""
    return [level([b], domains) - level([a], domains) for a, b in zip(plain, other, strict=True)]
