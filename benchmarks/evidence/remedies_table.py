"""The table of the remedies: what one change of the recommended network gains where it misses its goal."""

from collections.abc import Iterator

from evidence.arm_table import mean_with
from evidence.arms import REMEDIES, Start
from evidence.compared import gain, records_of
from evidence.context_use import CONTEXTS
from evidence.cost_table import millions
from evidence.counts import count
from evidence.data import DATASETS
from evidence.figures import paragraph, with_interval
from evidence.levels import level
from evidence.outcome import rival
from evidence.records import RecordStore
from evidence.tasks import Task
from evidence.tuning_table import held_out
from jointreid.messages.tables import text_table
from jointreid.retrieval.results import percent


def remedies_table(store: RecordStore, dataset: str, start: Start) -> Iterator[str]:
    """Yield the section, or nothing if no remedy was trained."""
    domains = DATASETS[dataset].domains
    of_arms = {arm: found for arm in REMEDIES if (found := records_of(store, dataset, start, "remedies", arm))}
    context = records_of(store, dataset, start, "short", "context")
    plain = rival(store, dataset, start, "short", domains)
    if not of_arms or not context or not plain:
        return
    yield "### Remedies"
    yield ""
    yield paragraph(
        "Where a goal is missed, the recommended network is changed in one thing at a time: short trainings, seed 0, "
        "with its lr. The best plain network is that of the short trainings. Held out: mAP on train identities, after "
        "a training without them as for the learning rates. Of the changes that make sense for every data set, the one "
        "that gains most by it, in the mean over the data sets that miss a goal, is tried on the others, too. A "
        "temperature on the generated kernels is no remedy: FilterNorm gives them one size, and gamma, which is "
        "learnt, scales them."
    )
    yield ""
    head = [
        "remedy", "why", "multiply-adds (M)", "held out", "mAP", "against the recommended one",
        "against the best plain one",
    ]  # fmt: skip
    lr = context[0]["task"]["lr"]
    rows = []
    for arm, records in {"context": context, **of_arms}.items():
        remedy = REMEDIES.get(arm)
        rows.append(
            [
                remedy.words if remedy else "none",
                remedy.why if remedy else "",
                millions(count(arm, start, dataset).macs),
                held_out(store(Task(dataset, start, "tune", arm, lr).name)),
                percent(level(records, domains)),
                with_interval(gain(context, records, store, domains)[0]) if remedy else "",
                with_interval(gain(plain, records, store, domains)[0]),
                *(mean_with(records, name) for name in CONTEXTS),
            ]
        )
    yield text_table([[*head, *(f"context {name}" for name in CONTEXTS)], *rows], "llrrrrrrr")
    yield ""
