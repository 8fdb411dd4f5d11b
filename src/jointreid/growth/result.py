"""What a model gained and lost when it was trained further, as numbers and as a table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jointreid.analysis.compare import Comparison
from jointreid.analysis.evaluated_run import open_evaluated
from jointreid.analysis.joint_gain import query_metrics
from jointreid.analysis.resampling import RESAMPLES, Estimate, estimate
from jointreid.messages.tables import text_table
from jointreid.run import Run


@dataclass(frozen=True)
class Growth:
    """What a model gained and lost when it was trained further with new data sets.

    Attributes:
        run: the grown run.
        known: the domains that the run before was trained on.
        added: the new domains.
        replayed: whether the known domains were trained on again, beside the new ones.
        comparison: the run before (A) and the grown one (B), on every domain.
        changes: domain -> the change in mAP, with an interval over the people among its queries.
    """

    run: Run
    known: tuple[str, ...]
    added: tuple[str, ...]
    replayed: bool
    comparison: Comparison
    changes: Mapping[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Return the growth as plain dicts, lists and strings, for JSON."""
        return {
            "run": str(self.run.path),
            "known": self.known,
            "added": self.added,
            "replayed": self.replayed,
            "comparison": self.comparison.to_dict(),
            "changes": {name: asdict(change) for name, change in self.changes.items()},
        }


def accuracy_changes(before: Path, after: Path) -> dict[str, Estimate]:
    """Return the change in mAP of every domain that both runs were evaluated on, over the queries valid in both.

    The queries of one person resemble each other, so the interval is from resamples of whole people, as in `gain`.

    Raises:
        JointreidError: one of them is no run, is damaged, or was not evaluated.
    """
    sides = [open_evaluated(path) for path in (before, after)]
    a, b = (side.valid_queries for side in sides)
    changes = {}
    for name in a:
        if shared := sorted(a[name].keys() & b.get(name, {}).keys()):
            changes[name] = estimate(*(query_metrics({side.seed: side}, name, "mAP", shared) for side in sides))
    return changes


def render(growth: Growth) -> str:
    """Return the growth for people: mAP and Rank-1 before and after, in percent, and what was forgotten."""
    head = ["Domain", "", "mAP before", "after", "change", "95% interval", "Rank-1 before", "after"]
    rows = []
    lost = []
    for domain in growth.comparison.domains:
        if domain.mAP is None or domain.rank1 is None:
            continue
        is_known = domain.domain in growth.known
        change = growth.changes[domain.domain]
        rows.append(
            [
                domain.domain,
                "known" if is_known else "new",
                *(f"{100 * value:.1f}" for value in (domain.mAP.a, domain.mAP.b)),
                f"{100 * change.value:+.1f}",
                f"{100 * change.low:+.1f} to {100 * change.high:+.1f}",
                *(f"{100 * value:.1f}" for value in (domain.rank1.a, domain.rank1.b)),
            ]
        )
        if is_known and change.high < 0:
            lost.append(f"{domain.domain} ({100 * change.value:+.1f} mAP)")
    compared = {row[0] for row in rows}
    lines = [text_table([head, *rows], "llrrrrrr")] if rows else []
    if rows:
        lines.append(
            f"interval: {RESAMPLES:,} resamples of the people among the queries; another training seed is not in it"
        )
    if missing := [name for name in (*growth.known, *growth.added) if name not in compared]:
        lines.append(f"Not compared, since no query is valid in both runs: {', '.join(missing)}.")
    if lost:
        lines.append(f"Forgotten: {', '.join(lost)}.")
    elif known := [name for name in growth.known if name in compared]:
        worst = min(known, key=lambda name: growth.changes[name].low)
        low = growth.changes[worst].low
        at_most = f"; the interval of {worst} allows a loss of {-100 * low:.1f}" if low < 0 else ""
        lines.append(f"No known data set lost more mAP than the choice of people explains{at_most}.")
    return "\n".join(lines)
