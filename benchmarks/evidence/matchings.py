"""The table of the recommended network against plain ones: of equal width, equal multiply-adds and equal CPU time."""

from collections.abc import Collection, Iterator, Sequence

from evidence.arms import ARMS, Start
from evidence.compared import gain, records_of
from evidence.counts import count
from evidence.data import DATASETS
from evidence.figures import paragraph, with_interval
from evidence.levels import Record, level, seeds_of
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
    ("CPU time", "longest", "static", "long"),
)


def matching_table(store: RecordStore, dataset: str, start: Start) -> Iterator[str]:
    """Yield the section, or nothing if the recommended network was not trained."""
    if not records_of(store, dataset, start, "short", "context"):
        return
    rows = []
    for equal, stage, arm, stage_of_other in _MATCHINGS:
        plain = records_of(store, dataset, start, stage, arm)
        other = records_of(store, dataset, start, stage_of_other, "context")
        other = [record for record in other if record["task"]["seed"] in seeds_of(plain)]
        if plain and other and (equal != "CPU time" or start in CPU_FACTOR):
            share = count(arm, start, dataset).macs / count("context", start, dataset).macs
            rows.append(
                [
                    f"{equal}{_times(plain, other, start) if equal == 'CPU time' else ''}",
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


def _times(plain: Sequence[Record], other: Sequence[Record], start: Start) -> str:
    """Write how many times the CPU time of the other network the plain one takes; empty if about the same."""
    times = plain[0]["steps"] / other[0]["steps"] / CPU_FACTOR[start]
    return "" if abs(times - 1) < 0.05 else f" x {times:.2f}"


def _words(start: Start, equal: Collection[str]) -> Iterator[str]:
    yield "Multiply-adds: of the plain network, as a share of those of the recommended one."
    if any(word.startswith("CPU time") for word in equal):
        yield (
            f"CPU time: a step of the recommended network costs {CPU_FACTOR[start]:g} times as much, so the plain one "
            "is trained for as many times more epochs, or for twice as many; x: then it takes that many times the CPU "
            "time. One seed."
        )
    if start not in ARMS[RIVAL].starts:
        yield "Weights from ImageNet fix the width, so no plain network has equal multiply-adds here."
