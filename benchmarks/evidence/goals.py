"""What the recommended network gains, beside the goals that were set before any training."""

from collections.abc import Iterator, Mapping
from math import isnan

from evidence.arms import ARMS, Start, short_start
from evidence.compared import gain, records_of
from evidence.counts import count
from evidence.data import DATASETS
from evidence.figures import paragraph, short_name, with_interval
from evidence.outcome import Outcome, outcome, rival, share_words
from evidence.outliers import outlier_notes
from evidence.records import RecordStore
from evidence.tasks import LONG_SEEDS, RIVAL, Scale
from jointreid.analysis.heat_map import signed
from jointreid.analysis.resampling import Estimate
from jointreid.messages.tables import text_table

_HEAD = [
    "data set", "start", "gain", "goal", "D + C, share of the gain over static", "clearly below",
    "closed domain (short, 1 seed)", "each seed", "trainings", "against", "multiply-adds",
]  # fmt: skip
_WORDS = (
    "The recommended network is that of `--recipe joint`, static + context network; [Words](#words) explains it. The "
    "goals were set before any training. From both starts it is to gain at least 5 mAP over the best plain network on "
    "the synthetic people, and 2 on one of the other two, with an interval above 0. D + C, which is what it gains over "
    "static + S, is to be at least half of what it gains over static, which is never less than what it gains over the "
    "best plain network. Nowhere is it to be clearly below the plain network, that is by more than the interval: "
    "neither on the third data set nor on the closed domain, which was left out of training and evaluated afterwards. "
    "Each row of the other two has +2 as its goal, since either may be the second; remedies are tried where a row "
    "misses its gain or the half.",
    "The best plain network is that of the same trainings, static, wider or with dense 3x3s, of those that are trained "
    "so far; on the closed domain, the one that is best on it. Its multiply-adds are a share of those of the "
    "recommended one. Weights from ImageNet are of one width alone, so from there no plain network of equal "
    "multiply-adds exists here, and static has fewer. All these figures compare joint trainings with each other; what "
    "joining itself costs or gains is under *Where the gain comes from*, where each domain was trained alone, too.",
    "An interval of trainings with one seed holds nothing of the difference between seeds. With three, resamples "
    "understate it: where seeds alone differ, such an interval holds the true difference in 75 % of the cases, not in "
    "95 % (`PYTHONPATH=benchmarks:src python -m evidence.coverage`). The goal is therefore reached only if the gain of "
    "every single seed is above 0, too.",
)


def goal_section(store: RecordStore, scale: Scale) -> Iterator[str]:
    """Yield the section: a row for each data set and start, of its longest trainings."""
    yield "## What the recommended network gains"
    yield ""
    goals, *notes = _WORDS
    yield paragraph(goals)
    yield ""
    rows = [_row(store, dataset, start) for dataset in scale.datasets for start in scale.starts]
    yield text_table([_HEAD, *rows], "llrlrlrrllr")
    yield ""
    for words in (*outlier_notes(store, scale), *notes):
        yield paragraph(words)
        yield ""


def _row(store: RecordStore, dataset: str, start: Start) -> list[str]:
    words = [short_name(dataset), short_start(start)]
    for stage in ("long", "short"):
        found = outcome(store, dataset, start, stage)
        if found:
            arm = found.plain[0]["task"]["arm"]
            share = found.share
            macs = count(arm, start, dataset).macs / count("context", start, dataset).macs
            closed = _closed(store, dataset, start)
            return [
                *words,
                with_interval(found.gain),
                _goal(found),
                share_words(share) + (_few(found) if share and not isnan(share.value) else ""),
                _below({"the mean" + _few(found): found.gain, "the closed domain (1 seed)": closed}),
                with_interval(closed) if closed else "not trained yet",
                ", ".join(map(signed, found.seed_gains)),
                f"{stage}, {_seeds(found)}",
                ARMS[arm].words,
                f"{macs:.2f}{'' if start in ARMS[RIVAL].starts else ' (no equal one exists)'}",
            ]
    return [*words, "not trained yet", *8 * [""]]


def is_below(found: Estimate | None) -> bool:
    """Return whether a difference is below 0 by more than its interval."""
    return found is not None and found.high < 0


def _goal(found: Outcome) -> str:
    """Write whether the gain is what it is to be, and by how many seeds if these are fewer than there are to be."""
    return f"{100 * found.wanted:+.0f} {'reached' if found.reaches_gain else 'NOT reached'}{_few(found)}"


def _below(gains: Mapping[str, Estimate | None]) -> str:
    """Write where a network is clearly below the other one."""
    return ", ".join(name for name, value in gains.items() if is_below(value)) or "no"


def _few(found: Outcome) -> str:
    return f" ({len(found.seed_gains)} of {LONG_SEEDS} seeds)" if len(found.seed_gains) < LONG_SEEDS else ""


def _seeds(found: Outcome) -> str:
    number = len(found.seed_gains)
    return f"{number} seed{'s' * (number > 1)}"


def _closed(store: RecordStore, dataset: str, start: Start) -> Estimate | None:
    """Return what it gains on the domain that was left out of train; None if that was not trained."""
    domains = (DATASETS[dataset].closed_domain,)
    other = records_of(store, dataset, start, "closed", "context")
    plain = rival(store, dataset, start, "closed", domains)
    return gain(plain, other, store, domains)[0] if other and plain else None
