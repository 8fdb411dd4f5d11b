"""The table of what the plan holds and what of it is trained: what has no row elsewhere is not left out silently."""

from collections.abc import Iterator

from evidence.arms import ARMS, Start, short_start
from evidence.compared import records_of
from evidence.data import DATASETS
from evidence.figures import paragraph, short_name
from evidence.records import RecordStore
from evidence.tasks import COMPARED, CPU_FACTOR, LONG_ARMS, LONG_SEEDS, Scale, arms_of
from jointreid.messages.tables import text_table

_HEAD = [
    "data set",
    "start",
    "short",
    "long",
    "equal CPU time",
    "without a domain",
    "on one domain",
    "short ones that are missing",
]


def trained_section(store: RecordStore, scale: Scale) -> Iterator[str]:
    """Yield the section: for each data set and start, the trainings of each kind that are done, of those planned."""
    yield "## What is trained so far"
    yield ""
    yield paragraph(
        "Trainings that are done, of those that the plan holds. Short: all arms, one seed. Long: twice the steps, "
        f"{LONG_ARMS} arms, {LONG_SEEDS} seeds. Equal CPU time: the plain network, trained for as long as the "
        "recommended one takes. Without a domain: all arms, trained without one domain and one camera of another. On "
        "one domain: static and the recommended network, to see what joining does."
    )
    yield ""
    rows = [_row(store, dataset, start) for dataset in scale.datasets for start in scale.starts]
    yield text_table([_HEAD, *rows], "llrrrrrl")
    yield ""


def _row(store: RecordStore, dataset: str, start: Start) -> list[str]:
    arms = arms_of(start)

    def done(stage: str) -> int:
        return sum(len(records_of(store, dataset, start, stage, arm)) for arm in arms)

    alone = len([arm for arm in COMPARED if arm in arms]) * len(DATASETS[dataset].domains)
    planned = {
        "short": len(arms),
        "long": min(LONG_ARMS, len(arms)) * LONG_SEEDS,
        "matched": int(start in CPU_FACTOR),
        "closed": len(arms),
        "solo": alone,
    }
    missing = [ARMS[arm].name for arm in arms if not records_of(store, dataset, start, "short", arm)]
    counts = [f"{done(stage)} of {number}" if number else "" for stage, number in planned.items()]
    return [short_name(dataset), short_start(start), *counts, "; ".join(missing)]
