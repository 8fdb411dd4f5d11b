"""The table of what the plan holds and what of it is trained: what has no row elsewhere is not left out silently."""

from collections.abc import Iterator, Sequence

from evidence.arms import ARMS, Start, short_start
from evidence.compared import records_of
from evidence.data import DATASETS
from evidence.figures import paragraph, short_name
from evidence.plan import tasks
from evidence.records import RecordStore
from evidence.tasks import COMPARED, CPU_FACTOR, LONG_ARMS, LONG_SEEDS, Scale, Task, arms_of
from jointreid.messages.tables import text_table

_HEAD = [
    "data set",
    "start",
    "short",
    "long",
    "equal CPU time",
    "without a domain",
    "on one domain",
    "longest",
    "remedies",
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
        "one domain: static and the recommended network, to see what joining does. Longest: both, twice the steps of "
        "long, one seed. Remedies: those that the goals missed so far ask for."
    )
    yield ""
    planned = list(tasks(scale, store))
    rows = [_row(store, dataset, start, planned) for dataset in scale.datasets for start in scale.starts]
    yield text_table([_HEAD, *rows], "llrrrrrrrl")
    yield ""


def _row(store: RecordStore, dataset: str, start: Start, planned_tasks: Sequence[Task]) -> list[str]:
    arms = arms_of(start)

    def done(stage: str) -> int:
        if stage == "remedies":
            return sum(store(task.name) is not None for task in remedies)
        return sum(len(records_of(store, dataset, start, stage, arm)) for arm in arms)

    cell = (dataset, start, "remedies")
    remedies = {task for task in planned_tasks if (task.dataset, task.start, task.stage) == cell}  # planned twice
    compared = [arm for arm in COMPARED if arm in arms]
    alone = len(compared) * len(DATASETS[dataset].domains)
    planned = {
        "short": len(arms),
        "long": min(LONG_ARMS, len(arms)) * LONG_SEEDS,
        "matched": int(start in CPU_FACTOR),
        "closed": len(arms),
        "solo": alone,
        "longest": len(compared),
        "remedies": len(remedies),
    }
    missing = [ARMS[arm].name for arm in arms if not records_of(store, dataset, start, "short", arm)]
    counts = [f"{done(stage)} of {number}" if number else "" for stage, number in planned.items()]
    return [short_name(dataset), short_start(start), *counts, "; ".join(missing)]
