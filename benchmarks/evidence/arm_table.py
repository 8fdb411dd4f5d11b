"""The table of all arms in one stage."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from evidence.arms import ARMS, Start
from evidence.compared import gain, records_of
from evidence.context_use import CONTEXTS
from evidence.cost_table import millions
from evidence.counts import count
from evidence.data import DATASETS
from evidence.figures import paragraph, with_interval
from evidence.levels import Record, level
from evidence.records import RecordStore
from evidence.tasks import arms_of
from evidence.tuning_table import lr_words
from jointreid.messages.tables import text_table
from jointreid.retrieval.results import percent

HEADS = ("domain", "camera")


def arm_table(store: RecordStore, dataset: str, start: Start, stage: str) -> Iterator[str]:
    """Yield the lines of the table, or nothing if the plain network was not trained."""
    plain = records_of(store, dataset, start, stage, "static")
    if not plain:
        return
    domains = DATASETS[dataset].domains
    of_arms = {arm: records for arm in arms_of(start) if (records := records_of(store, dataset, start, stage, arm))}
    contexts = CONTEXTS if any(_with_contexts(records) for records in of_arms.values()) else ()
    heads = [name for name in HEADS if any(_accuracy(records, name) for records in of_arms.values())]
    left = ["arm", "params (M)", "multiply-adds (M)", "lr", "seeds", "steps", "CPU s"]
    several = any(len(records) > 1 for records in of_arms.values())
    each = ["mean of each seed"] if several else []
    head = [*left, *domains, "mean", *each, "worst", "mean against static"]
    head += [*(f"{name} right" for name in heads), *(f"context {name}" for name in contexts)]
    rows = []
    for arm, records in of_arms.items():
        values = [level(records, [domain]) for domain in domains]
        first = records[0]
        rows.append(
            [
                ARMS[arm].name,
                millions(count(arm, start, dataset).params),
                millions(count(arm, start, dataset).macs),
                lr_words(store, dataset, start, arm, first["task"]["lr"]),
                str(len(records)),
                f"{first['steps']:,}",
                _cpu_seconds(records),
                *(percent(value) for value in values),
                percent(fmean(values)),
                *([", ".join(percent(level([record])) for record in records)] if several else []),
                percent(min(values)),
                "" if arm == "static" else with_interval(gain(plain, records, store, domains)[0]),
                *(_accuracy(records, name) for name in heads),
                *(mean_with(records, name) for name in contexts),
            ]
        )
    yield text_table([head, *rows], "l" + "r" * (len(head) - 1))
    yield ""
    yield paragraph(*_words(heads, contexts))
    yield ""


def _words(heads: Sequence[str], contexts: Sequence[str]) -> Iterator[str]:
    yield (
        "CPU s: on machines that had other work, too, so compare arms by the table of costs at the end; empty where "
        "the training was interrupted or its record does not say."
    )
    if heads:
        yield (
            "Domain right, camera right: of how many test images a network predicts the domain and the camera, mean "
            "over the domains."
        )
    if contexts:
        yield (
            "Context zeroed, context shuffled: the mean mAP of the same networks when the vectors of domain and camera "
            "are 0 at test, or those of other images. A network that uses its context loses by it."
        )


def _cpu_seconds(records: Sequence[Record]) -> str:
    """Write the mean CPU seconds of the trainings that were not interrupted; the others trained some steps twice.

    Early records do not say whether theirs was.
    """
    found = [record["cpu_seconds"] for record in records if not record.get("resumed", True)]
    return f"{fmean(found):.0f}" if found else ""


def _with_contexts(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.get("context")]


def _accuracy(records: Sequence[Record], head: str) -> str:
    """Write how often a head is right, mean over domains and seeds; empty if the network has none."""
    found = [domain.get(f"{head}_accuracy") for record in records for domain in record["domains"].values()]
    known = [value for value in found if value is not None]
    return f"{100 * fmean(known):.0f} %" if known else ""


def mean_with(records: Sequence[Record], context: str) -> str:
    """Write the mean mAP with another context, over domains and seeds; empty if it was not tried."""
    found = [fmean(record["context"][context].values()) for record in _with_contexts(records)]
    return percent(fmean(found)) if found else ""
