"""Trainings of a seed that end far below those of the other seeds: a mean gain says little where one is part of it."""

from collections.abc import Iterator

from evidence.arms import ARMS, Start, short_start
from evidence.compared import gain, records_of
from evidence.data import DATASETS
from evidence.figures import short_name, with_interval
from evidence.levels import Record, level
from evidence.outcome import rival
from evidence.records import RecordStore
from evidence.tasks import Scale, arms_of
from jointreid.retrieval.results import percent

# As far below the mean of the other seeds a training is named, in mAP. Set after the first such training was seen.
FAR = 0.10


def outlier_notes(store: RecordStore, scale: Scale) -> Iterator[str]:
    """Yield a sentence for each long training that ends far below those of the other seeds, with the gain without it.

    Args:
        store: the records.
        scale: whose data sets and starts.
    """
    for dataset in scale.datasets:
        for start in scale.starts:
            for arm in arms_of(start):
                for record in far_below(records_of(store, dataset, start, "long", arm)):
                    yield _note(store, dataset, start, record)


def far_below(records: list[Record]) -> Iterator[Record]:
    """Yield the trainings of an arm, one a seed, that end `FAR` below the mean of its others; none of fewer than 3."""
    for record in records if len(records) > 2 else ():
        if level([record]) <= level([other for other in records if other is not record]) - FAR:
            yield record


def _note(store: RecordStore, dataset: str, start: Start, record: Record) -> str:
    arm, seed = record["task"]["arm"], record["task"]["seed"]
    others = [other for other in records_of(store, dataset, start, "long", arm) if other is not record]
    words = (
        f"One training went wrong: {ARMS[arm].words} on {short_name(dataset)}, from {short_start(start)}, long, seed "
        f"{seed}, has {percent(level([record]))} mAP, its other seeds {percent(level(others))} in the mean."
    )
    domains = DATASETS[dataset].domains
    plain = rival(store, dataset, start, "long", domains)
    context = records_of(store, dataset, start, "long", "context")
    if not plain or arm not in (plain[0]["task"]["arm"], "context"):
        return words
    rest = [[found for found in records if found["task"]["seed"] != seed] for records in (plain, context)]
    found = gain(rest[0], rest[1], store, domains)[0]
    return (
        f"{words} Take the gain in that row for {with_interval(found)}, which is that of the other seeds, not for the "
        "mean over all."
    )
