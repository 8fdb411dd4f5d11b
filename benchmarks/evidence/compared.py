"""Differences between arms, from the records: what an arm gains over the plain network, with its interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evidence.levels import Record
from evidence.records import UNIT, RecordStore
from jointreid.analysis.resampling import Estimate, QueryMetrics, resampled_difference

Floats = NDArray[np.float64]


def metrics(
    records: Sequence[Record], store: RecordStore, dataset: str, domain: str, camid: int | None = None
) -> QueryMetrics:
    """Return the average precision of each query of a domain, for each seed.

    Args:
        records: of one arm, one a seed; those of trainings that were not evaluated on the domain are ignored.
        store: where the queries are.
        dataset: name in `DATASETS`.
        domain: whose queries.
        camid: take the queries of this camera alone.
    """
    records = [record for record in records if domain in record["ap"]]
    rows = store.queries(dataset)[domain]
    seeds = tuple(record["task"]["seed"] for record in records)
    values = np.array([record["ap"][domain] for record in records], dtype=float) / UNIT  # None becomes NaN
    chosen = ~np.isnan(values).any(0)
    if camid is not None:
        chosen &= np.array([row[1] == camid for row in rows])
    pids = [rows[index][0] for index in np.flatnonzero(chosen).tolist()]
    return QueryMetrics(seeds, values[:, chosen], np.unique(pids, return_inverse=True)[1].astype(np.int64))


def gain(
    plain: Sequence[Record],
    other: Sequence[Record],
    store: RecordStore,
    domains: Sequence[str],
    camid: int | None = None,
) -> tuple[Estimate, dict[str, Estimate]]:
    """Return what an arm gains over another in mAP: the mean over domains, and each domain's.

    Takes what `resampled_gain` takes.
    """
    value, resampled, each = resampled_gain(plain, other, store, domains, camid)
    return Estimate.of(value, resampled), each


def resampled_gain(
    plain: Sequence[Record],
    other: Sequence[Record],
    store: RecordStore,
    domains: Sequence[str],
    camid: int | None = None,
) -> tuple[float, Floats, dict[str, Estimate]]:
    """Return the mean over domains of what an arm gains over another in mAP, its resamples [R], and each domain's gain.

    The resamples of identities and seeds are the same for all arms of the same seeds, so that the gains of several
    arms may be compared resample by resample.

    Args:
        plain: records of the one arm; of trainings on each domain alone, those of all domains.
        other: of the other; the gain is theirs minus those of `plain`.
        store: where the queries are.
        domains: whose queries.
        camid: take the queries of this camera alone.
    """
    dataset = plain[0]["task"]["dataset"]
    each: dict[str, Estimate] = {}
    resampled: list[Floats] = []
    for number, domain in enumerate(domains):
        a, b = (metrics(records, store, dataset, domain, camid) for records in (plain, other))
        drawn = resampled_difference(a, b, seed=(number,))
        each[domain] = Estimate.of(b.mean - a.mean, drawn)
        resampled.append(drawn)
    value = float(np.mean([estimate.value for estimate in each.values()]))
    mean: Floats = np.mean(resampled, axis=0)
    return value, mean, each


def records_of(store: RecordStore, dataset: str, start: str, stage: str, arm: str) -> list[Record]:
    """Return the records of an arm in one stage, by seed and domain; empty if there is none."""
    found = [
        record
        for record in store
        if (record["task"]["dataset"], record["task"]["start"], record["task"]["stage"], record["task"]["arm"])
        == (dataset, start, stage, arm)
    ]
    return sorted(found, key=lambda record: (record["task"]["seed"], record["task"]["domain"]))
