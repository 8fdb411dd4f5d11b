"""A calibration for a terminal."""

from jointreid.analysis.resampling import Estimate
from jointreid.messages.tables import text_table
from jointreid.verification.calibration import Calibration, PairThreshold

_PAIRS = ["pairs", "people", "different", "alike", "threshold", "95 %", "realised", "missed"]
_SEARCHES = ["searches in", "gallery", "threshold", "95 %", "realised"]


def render(found: Calibration) -> str:
    """Return the thresholds as tables, with what the columns mean."""
    lines = [
        f"Thresholds of similarity, chosen on half of the held-out people and checked on the other half (seed "
        f"{found.seed}). Weights {found.checkpoint}{f', step {found.step:,}' if found.step is not None else ''}, "
        f"fingerprint {found.fingerprint[:12]}.",
        "",
        f"Pairs, for a false-match rate of {found.fmr:g}:",
        text_table([_PAIRS, *map(_pair_row, found.pairs)], "lrrrrlrr"),
        "people, different, alike: whom the threshold was chosen on, and their pairs of two people and of one",
        "realised: the false-match rate at the threshold in the other half; missed: its false non-match rate there",
        "",
        f"Searches, for a false alarm in {found.fpir:g} of the searches for somebody who is not in the gallery:",
    ]
    rows = [
        [
            of.domain,
            f"{one.gallery_size:,}",
            f"{one.threshold.value:.3f}",
            _interval(one.threshold),
            f"{one.realised:.3f}{'*' if 'extrapolated' in (one.method, one.realised_method) else ''}",
        ]
        for of in found.searches
        for one in of.searches
    ]
    if rows:
        lines.append(text_table([_SEARCHES, *rows], "lrrlr"))
        lines.append("gallery: its size in images; a search among fewer uses the next larger size")
    if any(row[-1].endswith("*") for row in rows):
        lines.append("*: not counted in galleries of that size but extrapolated from pairs, as 1 - (1 - rate)^size")
    lines += ["", "Verdicts: same from the upper end of the interval; different below its lower end and below the"]
    lines.append(f"similarity that all but {found.fnmr:g} of the pairs of one person reach; unsure between.")
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join(lines)


def _pair_row(entry: PairThreshold) -> list[str]:
    counts = entry.calibrated
    missed = "" if entry.realised_non_match is None else f"{entry.realised_non_match:.3f}"
    return [
        entry.name,
        f"{counts.identities:,}",
        f"{counts.negatives:,}",
        f"{counts.positives:,}",
        f"{entry.same.value:.3f}",
        _interval(entry.same),
        f"{entry.realised:.2g}",
        missed,
    ]


def _interval(found: Estimate) -> str:
    return f"{found.low:.3f} to {found.high:.3f}"
