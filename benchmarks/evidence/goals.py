"""What the recommended network gains, beside the goals that were set before any training."""

from collections.abc import Iterator, Sequence

from evidence.arms import ARMS, START_WORDS, STARTS, Start
from evidence.compared import gain, records_of
from evidence.data import DATASETS
from evidence.figures import paragraph, short_name, signed
from evidence.gain_split import share_of_context, share_words
from evidence.records import RecordStore
from evidence.tasks import RIVAL, Record
from jointreid.analysis.resampling import Estimate
from jointreid.messages.tables import text_table

# In mAP, over the plain network of no fewer multiply-adds.
GOALS = {"people": 0.05, "omniglot": 0.02, "emoji": 0.02}
_RIVALS = (RIVAL, "static")  # the first that was trained from that start


def goal_section(store: RecordStore, datasets: Sequence[str]) -> Iterator[str]:
    """Yield the section: a row for each data set and start, of its longest trainings."""
    yield "## What the recommended network gains"
    yield ""
    yield paragraph(
        "The recommended network is static + context network. The goals were set before any training. From both starts "
        "it is to gain at least 5 mAP over the plain network of no fewer multiply-adds on the synthetic people, and 2 "
        "on a second data set, with an interval above 0. D + C, which is what it gains over static + S, is to be at "
        "least half of what it gains over static. Nowhere is it to be clearly below the plain network, that is by more "
        "than the interval: neither on a third data set nor on a domain that was left out of training."
    )
    yield ""
    head = ["data set", "start", "trainings", "against", "gain", "goal", "D + C of the gain", "closed domain"]
    rows = [_row(store, dataset, start) for dataset in datasets for start in STARTS]
    yield text_table([[*head, "clearly below"], *rows], "llllrlrrl")
    yield ""


def rival(store: RecordStore, dataset: str, start: Start, stage: str) -> list[Record]:
    """Return the records of the plain network to beat; empty if it was not trained in a stage."""
    return next((found for arm in _RIVALS if (found := records_of(store, dataset, start, stage, arm))), [])


def _row(store: RecordStore, dataset: str, start: Start) -> list[str]:
    words = [short_name(dataset), START_WORDS[start].partition(",")[0]]
    for stage in ("long", "short"):
        other, plain = records_of(store, dataset, start, stage, "context"), rival(store, dataset, start, stage)
        if other and plain:
            found, _ = gain(plain, other, store, DATASETS[dataset].domains)
            closed = _closed(store, dataset, start)
            below = [name for name, value in (("all domains", found), ("closed domain", closed)) if is_below(value)]
            return [
                *words,
                f"{stage}, {len(other)} seed{'s' * (len(other) > 1)}",
                ARMS[plain[0]["task"]["arm"]].words,
                signed(found),
                _goal(found, GOALS[dataset]),
                share_words(share_of_context(store, dataset, start, stage)),
                signed(closed) if closed else "not trained yet",
                ", ".join(below) or "no",
            ]
    return [*words, "not trained yet", *6 * [""]]


def is_below(found: Estimate | None) -> bool:
    """Return whether a difference is below 0 by more than its interval."""
    return found is not None and found.high < 0


def _goal(found: Estimate, wanted: float) -> str:
    reached = found.value >= wanted and found.low > 0
    return f"{100 * wanted:+.0f} {'reached' if reached else 'NOT reached'}"


def _closed(store: RecordStore, dataset: str, start: Start) -> Estimate | None:
    """Return what it gains on the domain that was left out of train; None if that was not trained."""
    other, plain = records_of(store, dataset, start, "closed", "context"), rival(store, dataset, start, "closed")
    if not other or not plain:
        return None
    return gain(plain, other, store, (DATASETS[dataset].closed_domain,))[0]
