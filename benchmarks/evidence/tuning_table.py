"""The table of the tunings: what each arm reaches on held-out train identities with each learning rate."""

from collections.abc import Iterator, Mapping, Sequence

from evidence.arms import ARMS, Start
from evidence.compared import records_of
from evidence.data import DATASETS
from evidence.figures import paragraph
from evidence.levels import Record
from evidence.records import RecordStore
from evidence.tasks import LRS, Task, arms_of
from evidence.training_config import epochs_of, milestones_of
from jointreid.messages.tables import text_table
from jointreid.retrieval.results import percent


def lr_words(store: RecordStore, dataset: str, start: Start, arm: str, lr: float) -> str:
    """Write a learning rate, marked if a higher or lower one might be better, or is: the plan tries a few alone."""
    tried = _tried(store, dataset, start, arm)
    if lr not in tried:
        return f"{lr:g}"
    if any(record["mean"] > tried[lr]["mean"] for record in tried.values()):
        return f"{lr:g} (not the best)"
    return f"{lr:g}{' (edge)' if lr in (min(tried), max(tried)) else ''}"


def held_out(record: Record | None) -> str:
    """Write the mean mAP on held-out train identities; nothing if the training of `record` was not done."""
    if record is None:
        return ""
    return "diverged" if "diverged" in record else percent(record["mean"])


def tuning_table(store: RecordStore, dataset: str, start: Start) -> Iterator[str]:
    """Yield the section, or nothing if no learning rate was tried."""
    of_arms = {arm: tried for arm in arms_of(start) if (tried := _tried(store, dataset, start, arm))}
    lrs = sorted({lr for tried in of_arms.values() for lr in tried})
    if not lrs:
        return
    yield "### Learning rates"
    yield ""
    yield paragraph(*_words(dataset, start, lrs))
    yield ""
    rows = [[ARMS[arm].name, *(held_out(tried.get(lr)) for lr in lrs)] for arm, tried in of_arms.items()]
    yield text_table([["arm", *(f"lr {lr:g}" for lr in lrs)], *rows], "l" + "r" * len(lrs))
    yield ""


def _tried(store: RecordStore, dataset: str, start: Start, arm: str) -> Mapping[float, Record]:
    return {record["task"]["lr"]: record for record in records_of(store, dataset, start, "tune", arm)}


def _words(dataset: str, start: Start, lrs: Sequence[float]) -> Iterator[str]:
    data = DATASETS[dataset]
    epochs = epochs_of(Task(dataset, start, "tune", "static", lrs[0]))
    yield (
        f"Mean mAP on {data.tuning_ids} held-out train identities of each domain, after {epochs} epochs without them. "
        f"Each arm is trained with its best lr of {', '.join(f'{lr:g}' for lr in LRS[start])}; where that is the "
        "lowest or the highest that was tried, another may be better, and the tables mark it as edge. Compare arms "
        "within a column: there the lr is the same."
    )
    if others := sorted(set(lrs) - set(LRS[start])):
        yield f"{', '.join(f'{lr:g}' for lr in others)} was tried with a few arms alone, and is not chosen from."
    if milestones_of(epochs)[-1] >= epochs:
        yield (
            "These trainings end at the second milestone of their schedule: their lr falls once, that of all longer "
            "trainings twice."
        )
    yield (
        f"The train identities of {data.closed_domain} and those before camera {data.closed_camera[1]} of "
        f"{data.closed_camera[0]} took part, so the lr of the trainings without them is chosen with them."
    )
