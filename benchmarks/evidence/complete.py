"""The records that the page compares: those of trainings that lack no opponent yet.

A stage grows by one training at a time. As long as an opponent or one of its seeds is missing, a mean over the seeds
that are there would hold what seeds differ in, and the recommended network would seem to beat a network that only comes
next.
"""

from collections.abc import Iterator

from evidence.arms import ARMS, Start
from evidence.levels import Record
from evidence.records import RecordStore
from evidence.tasks import ALWAYS_LONG, PLAIN

# (data set, start, stage) -> arm -> its seeds.
_Trained = dict[tuple[str, Start, str], dict[str, set[int]]]


class CompleteRecords(RecordStore):
    """The records of a store without those of incomplete comparisons.

    A seed of the long trainings counts once all arms of `ALWAYS_LONG` have it, and all others that have any seed; the
    trainings without a domain count once all plain networks and the recommended one have theirs.

    Args:
        store: all records, as they are now.
    """

    def __init__(self, store: RecordStore) -> None:
        super().__init__(store.folder)
        records = list(store)
        trained: _Trained = {}
        for record in records:
            task = record["task"]
            arms = trained.setdefault((task["dataset"], task["start"], task["stage"]), {})
            arms.setdefault(task["arm"], set()).add(task["seed"])
        self._kept = [record for record in records if _is_complete(record, trained)]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._kept)


def _is_complete(record: Record, trained: _Trained) -> bool:
    task = record["task"]
    start, stage, seed = task["start"], task["stage"], task["seed"]
    arms = trained[task["dataset"], start, stage]
    needed = {"long": (*ALWAYS_LONG, *arms), "closed": (*PLAIN, "context")}.get(stage, ())
    return all(seed in arms.get(arm, ()) for arm in needed if start in ARMS[arm].starts)
