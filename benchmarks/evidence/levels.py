"""Mean mAPs of trainings, and which of the plain networks has the highest."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

Record = Mapping[str, Any]


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


def seed_gains(plain: Sequence[Record], other: Sequence[Record], domains: Sequence[str]) -> list[float]:
    """Return what a network gains over another with each seed, in mAP; both have the same seeds, in the same order."""
    return [level([b], domains) - level([a], domains) for a, b in zip(plain, other, strict=True)]
