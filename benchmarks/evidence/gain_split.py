"""The table of what each part of the recommended network gains, and what joining the data sets does."""

from collections.abc import Iterator, Sequence

from evidence.arms import Start
from evidence.compared import gain, records_of
from evidence.data import DATASETS
from evidence.figures import paragraph, with_interval
from evidence.levels import Record, level
from evidence.outcome import share_of_context, share_words
from evidence.records import RecordStore
from evidence.tasks import COMPARED
from jointreid.messages.tables import text_table
from jointreid.retrieval.results import percent

STAGES = ("short", "long")
# What causes a difference -> the arms before and after.
_PARTS = (
    ("S: static + S over static", "static", "s"),
    ("D + C: static + context network over static + S", "s", "context"),
    ("S, D and C together", "static", "context"),
    ("what true labels would add", "context", "labels"),
)
_JOINING = {"static": "joining: static", "context": "joining: static + context network"}


def gain_split(store: RecordStore, dataset: str, start: Start) -> Iterator[str]:
    """Yield the section, or nothing if the plain network was not trained."""
    domains = DATASETS[dataset].domains
    stages = [stage for stage in STAGES if records_of(store, dataset, start, stage, "static")]
    if not stages:
        return

    def of_stage(stage: str, arm: str) -> list[Record]:
        return records_of(store, dataset, start, stage, arm)

    def difference(before: Sequence[Record], after: Sequence[Record]) -> str:
        return with_interval(gain(before, after, store, domains)[0]) if before and after else ""

    rows = [["static, all domains in one network", *(percent(level(of_stage(stage, "static"))) for stage in stages)]]
    for words, before, after in _PARTS:
        rows.append([words, *(difference(of_stage(stage, before), of_stage(stage, after)) for stage in stages)])
    for arm in COMPARED:
        alone = _complete(of_stage("solo", arm), domains)
        row = [_JOINING[arm]]
        row += [difference(alone, of_stage(stage, arm)) if stage == "short" else "" for stage in stages]
        rows.append(row)
    rows.append(["D + C, share of the gain over static", *(_share(store, dataset, start, stage) for stage in stages)])
    trained = [row for row in rows if any(row[1:])]
    if len(trained) == 1:  # the plain network alone
        return
    yield "### Where the gain comes from"
    yield ""
    yield paragraph(
        "Mean mAP over the domains, first of the plain network, then what each part adds. D + C is to be at least half "
        "of the gain of S, D and C.",
        *_joining_words(store, dataset, start),
    )
    yield ""
    yield text_table([["part", *(f"{stage} trainings" for stage in stages)], *trained], "l" + "r" * len(stages))
    yield ""


def _joining_words(store: RecordStore, dataset: str, start: Start) -> Iterator[str]:
    """Yield what joining is compared with, once every domain was trained alone."""
    alone = _complete(records_of(store, dataset, start, "solo", "static"), DATASETS[dataset].domains)
    joint = records_of(store, dataset, start, "short", "static")
    if alone and joint:
        steps = [record["steps"] for record in alone]
        yield (
            "Joining: one network of all domains against one network for each domain alone, one seed of each. Each "
            f"image is seen equally often: {joint[0]['steps']:,} steps of the one, {_range(steps)} of each of the "
            f"others, {sum(steps):,} together. Those take the lr that was tuned for the joint one, so a "
            "part of what joining seems to gain may be an lr that suits a single domain less."
        )


def _range(steps: Sequence[int]) -> str:
    low, high = min(steps), max(steps)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _share(store: RecordStore, dataset: str, start: Start, stage: str) -> str:
    return share_words(share_of_context(store, dataset, start, stage))


def _complete(alone: list[Record], domains: Sequence[str]) -> list[Record]:
    """Return the trainings on each domain alone; none as long as one is missing."""
    return alone if {record["task"]["domain"] for record in alone} == set(domains) else []
