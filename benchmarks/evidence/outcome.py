"""What the recommended network gains in the trainings of one stage, and whether it reaches the goals set before any.

The page and the plan of the trainings both ask here, so that the remedies are trained where the page says that a goal
is missed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from evidence.arms import ARMS, Start
from evidence.compared import gain, records_of, resampled_gain
from evidence.data import DATASETS
from evidence.levels import Record, best_plain, seed_gains, seeds_of
from evidence.records import RecordStore
from evidence.tasks import ALWAYS_LONG, PLAIN
from jointreid.analysis.resampling import Estimate

# What the recommended network is to gain over the best plain one in mAP, by data set.
GOALS: Mapping[str, float] = {"people": 0.05, "omniglot": 0.02, "emoji": 0.02}
# The part of what it gains over static which is to come from D + C.
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Outcome:
    """What the recommended network gains over the best plain one in mAP, with equal seeds.

    Attributes:
        plain: trainings of the plain network, one a seed.
        gain: the mean over domains and seeds.
        seed_gains: the mean over domains, for each seed.
        share: D + C of what it gains over static, as `share_of_context` returns it.
        wanted: the gain that is its goal.
    """

    plain: Sequence[Record]
    gain: Estimate
    seed_gains: Sequence[float]
    share: Estimate | None
    wanted: float

    @property
    def reaches_gain(self) -> bool:
        """True if the gain is what is wanted, its interval is above 0, and so is the gain of every single seed.

        With one seed the interval is that of the identities alone, so the page names the number of seeds.
        """
        return self.gain.value >= self.wanted and self.gain.low > 0 and min(self.seed_gains) > 0

    @property
    def reaches_goals(self) -> bool:
        """True if the gain is what is wanted, and enough of it comes from D + C."""
        return self.reaches_gain and has_least_share(self.share)


def outcome(store: RecordStore, dataset: str, start: Start, stage: str) -> Outcome | None:
    """Return what the recommended network gains in a stage; None if it or all plain networks were not trained so."""
    domains = DATASETS[dataset].domains
    context, plain = records_of(store, dataset, start, stage, "context"), rival(store, dataset, start, stage, domains)
    if not (context and plain):
        return None
    found, _ = gain(plain, context, store, domains)
    share = share_of_context(store, dataset, start, stage)
    return Outcome(plain, found, seed_gains(plain, context, domains), share, GOALS[dataset])


def rival(store: RecordStore, dataset: str, start: Start, stage: str, domains: Sequence[str]) -> Sequence[Record]:
    """Return the records of the plain network to beat, the one with the highest mAP in a stage, mean over `domains`.

    It has the seeds of the context network; empty if none was trained with them, or if the one of equal width or that
    of equal multiply-adds was not, which might be the best.
    """
    other = records_of(store, dataset, start, stage, "context")
    candidates = {arm: records_of(store, dataset, start, stage, arm) for arm in PLAIN if start in ARMS[arm].starts}
    if any(arm in ALWAYS_LONG and seeds_of(found) != seeds_of(other) for arm, found in candidates.items()):
        return ()
    return best_plain(candidates.values(), other, domains)


def share_of_context(store: RecordStore, dataset: str, start: Start, stage: str) -> Estimate | None:
    """Return D + C as a share of S, D and C; NaN where these gain nothing clear, None if a part was not trained."""
    plain, sample, whole = (records_of(store, dataset, start, stage, arm) for arm in ("static", "s", "context"))
    if not (plain and sample and whole):
        return None
    domains = DATASETS[dataset].domains
    total, totals, _ = resampled_gain(plain, whole, store, domains)
    of_context, of_contexts, _ = resampled_gain(sample, whole, store, domains)
    if Estimate.of(total, totals).low <= 0:
        return Estimate(nan, nan, nan)
    return Estimate.of(of_context / total, of_contexts / totals)


def has_least_share(share: Estimate | None) -> bool:
    """Return whether enough of a gain comes from D + C: not if it is unknown, or if there is no clear gain."""
    return share is not None and share.value >= LEAST_SHARE


def share_words(share: Estimate | None) -> str:
    """Write the share that D + C has in the gain, with its interval, beside the goal."""
    if share is None:
        return ""
    if isnan(share.value):
        return "no clear gain"
    if share.value < 0:
        return "none, NOT half"
    goal = "" if has_least_share(share) else ", NOT half"
    return f"{100 * share.value:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f}){goal}"
