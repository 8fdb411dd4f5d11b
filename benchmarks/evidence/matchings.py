"""The table of the recommended network against plain ones: of equal width, equal multiply-adds and equal CPU time."""

from collections.abc import Collection, Iterator

from evidence.arms import ARMS, Start
from evidence.compared import gain, records_of
from evidence.counts import count
from evidence.data import DATASETS
from evidence.figures import paragraph, with_interval
from evidence.levels import level
from evidence.records import RecordStore
from evidence.tasks import CPU_FACTOR, RIVAL
from jointreid.messages.tables import text_table
from jointreid.retrieval.results import percent

# What is equal, the stage and arm of the plain network, and the stage of the recommended network.
_MATCHINGS = (
    ("width", "short", "static", "short"),
    ("multiply-adds", "short", RIVAL, "short"),
    ("multiply-adds", "short", "static-dense", "short"),
    ("CPU time", "matched", "static", "short"),
    ("width", "long", "static", "long"),
    ("multiply-adds", "long", RIVAL, "long"),
    ("multiply-adds", "long", "static-dense", "long"),
)


def matching_table(store: RecordStore, dataset: str, start: Start) -> Iterator[str]:
    """Yield the section, or nothing if the recommended network was not trained."""
    if not records_of(store, dataset, start, "short", "context"):
        return
    rows = []
    for equal, stage, arm, stage_of_other in _MATCHINGS:
        plain = records_of(store, dataset, start, stage, arm)
        other = records_of(store, dataset, start, stage_of_other, "context")
        if plain and other:
            share = count(arm, start, dataset).macs / count("context", start, dataset).macs
            rows.append(
                [
                    equal,
                    ARMS[arm].words,
                    stage_of_other,
                    f"{plain[0]['steps']:,}",
                    f"{other[0]['steps']:,}",
                    f"{share:.2f}",
                    percent(level(plain)),
                    percent(level(other)),
                    with_interval(gain(plain, other, store, DATASETS[dataset].domains)[0]),
                ]
            )
    if not rows:
        return
    yield "### The recommended network against plain ones of the same cost"
    yield ""
    yield paragraph(*_words(start, {row[0] for row in rows}))
    yield ""
    head = ["equal", "plain network", "trainings", "its steps", "steps of the recommended", "multiply-adds", "mAP"]
    yield text_table([[*head, "mAP of the recommended", "gain"], *rows], "lllrrrrrr")
    yield ""


def _words(start: Start, equal: Collection[str]) -> Iterator[str]:
    yield "Multiply-adds: of the plain network, as a share of those of the recommended one."
    if "CPU time" in equal:
        yield (
            f"Equal CPU time: the plain network is trained for {CPU_FACTOR[start]:g} times as many epochs, because a "
            "step of the recommended one costs that many times more."
        )
    if start not in ARMS[RIVAL].starts:
        yield "Weights from ImageNet fix the width, so no plain network has equal multiply-adds here."
