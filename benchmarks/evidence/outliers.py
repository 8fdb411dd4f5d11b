"""Trainings of a seed that end far below those of the other seeds: a mean gain says little where one is part of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evidence.arms import ARMS, Start, short_start
from evidence.compared import records_of
from evidence.figures import short_name, with_interval
from evidence.levels import Record, level
from evidence.outcome import outcome, share_words
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
    found = outcome(WithoutSeed(store, seed), dataset, start, "long")
    if found is None:
        return words
    return (
        f"{words} With the other seeds alone the gain is {with_interval(found.gain)}, of which D + C are "
        f"{share_words(found.share)}: take these, not the mean over all seeds, for what the network gains there."
    )


class WithoutSeed(RecordStore):
    """The records of a store but for those of one seed.

    Args:
        store: the records.
        seed: of the trainings that are left out.
    """

    def __init__(self, store: RecordStore, seed: int) -> None:
        super().__init__(store.folder)
        self._store, self._seed = store, seed

    def __iter__(self) -> Iterator[Record]:
        """Yield the records of the other seeds."""
        return (record for record in self._store if record["task"]["seed"] != self._seed)

    def queries(self, dataset: str) -> Mapping[str, Sequence[Sequence[Any]]]:
        """Return the test queries, which are those of all seeds."""
        return self._store.queries(dataset)
