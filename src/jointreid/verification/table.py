"""A calibration for a terminal."""

from jointreid.analysis.resampling import Estimate
from jointreid.messages.tables import text_table
from jointreid.verification.calibrated_thresholds import PairThreshold
from jointreid.verification.calibration import Calibration
from jointreid.verification.verdicts import in_percent

_PAIRS = ["pairs", "people", "two people", "one person", "threshold", "95 %", "realised", "missed"]
_VERDICTS = ["pairs", "two people: same", "unsure", "different", "one person: same", "unsure", "different"]
_SEARCHES = ["searches in", "people", "threshold", "95 %", "realised"]


def render(found: Calibration) -> str:
    """Return the thresholds as tables, with what the columns mean."""
    lines = [
        f"Thresholds of similarity, chosen on half of the held-out people and checked on the other half (seed "
        f"{found.seed}). Weights {found.checkpoint}{f', step {found.step:,}' if found.step is not None else ''}, "
        f"fingerprint {found.fingerprint[:12]}.",
        "",
        f"Pairs, for a false-match rate of {found.fmr:g}:",
        text_table([_PAIRS, *map(_pair_row, found.pairs)], "lrrrrlrr"),
        "people: whom the threshold was chosen on; two people, one person: their pairs that show two people, or one",
        "realised: the false-match rate at the threshold in the other half; missed: its false non-match rate there",
        "",
        "Verdicts on the pairs of the other half, in %:",
        text_table([_VERDICTS, *(_verdict_row(entry) for entry in found.pairs if entry.of_two_people)], "lrrrrrr"),
        "same: from the upper end of the interval on; different: below its lower end, and below the similarity that",
        f"all but {in_percent(found.fnmr)} of the pairs of one person reach (lower end of its interval); unsure: "
        "between",
        "",
        f"Searches, for a false alarm in {in_percent(found.fpir)} of the searches for somebody who is not in the "
        "gallery:",
    ]
    rows = [
        [
            of.domain,
            f"{one.gallery_people:,}",
            f"{one.threshold.value:.3f}",
            _interval(one.threshold),
            f"{one.realised:.3f}{'*' if 'extrapolated' in (one.method, one.realised_method) else ''}",
        ]
        for of in found.searches
        for one in of.searches
    ]
    if rows:
        lines.append(text_table([_SEARCHES, *rows], "lrrlr"))
        lines.append("people: different people in the gallery; a search among fewer uses the next larger number")
        each = ", ".join(
            f"{of.calibrated.images / of.calibrated.identities:.1f} of {of.domain}"
            for of in found.searches
            if of.searches
        )
        lines.append(
            f"images of each person in these galleries, on average: {each}; with more there are more false alarms"
        )
    if any(row[-1].endswith("*") for row in rows):
        lines.append("*: extrapolated from galleries of fewer people, as 1 - (1 - rate)^(people / fewer people)")
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


def _verdict_row(entry: PairThreshold) -> list[str]:
    cells = [entry.name]
    for shares in (entry.of_two_people, entry.of_one_person):
        values = () if shares is None else (shares.same, shares.unsure, shares.different)
        cells += [f"{100 * value:.3g}" for value in values] if values else ["", "", ""]
    return cells


def _interval(found: Estimate) -> str:
    return f"{found.low:.3f} to {found.high:.3f}"
