"""The gain of joint training in words and as text: sentences, tables for a terminal, CSV."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from jointreid.analysis.arms import start_in_words
from jointreid.analysis.gain_values import (
    JOINING,
    OVER_PLAIN,
    SETTINGS,
    TRUNK,
    ArmAccuracy,
    ArmDifference,
    Gain,
    GainSplit,
    JointGain,
)
from jointreid.analysis.heat_map import ROUNDED, signed
from jointreid.analysis.resampling import RESAMPLES, Estimate
from jointreid.messages.table_formats import csv_text
from jointreid.messages.tables import NO_VALUE, text_table
from jointreid.retrieval.results import percent

METRIC_NAMES = {"mAP": "mAP", "rank1": "Rank-1"}
# What each part of a gain is, for a reader who has not read the paper.
PARTS = {
    JOINING: "joining: the plain network trained on all data sets at once instead of on each alone",
    TRUNK: "trunk: another plain network, the one that the generated filters are put into",
    SETTINGS: "settings: another plain network on the same trunk, with the settings that the generated filters have",
    "S": "S: filters generated from the picture itself",
    "D + C": "D + C: the filters also depend on the data set and the camera that the network recognises in the picture",
    "D": "D: the filters also depend on the data set that the network recognises in the picture",
    "C": "C: the filters also depend on the camera that the network recognises in the picture",
}


_SIDES = ("trained_on", "metric", "part", "before", "before_training", "after", "after_training")
_NUMBERS = ("domain", "difference", "low", "high", "identities")


def render(gain: Gain) -> str:
    """Return the comparison for people: for each set of data sets what was found, the tables, what is missing."""
    parts = []
    for joint in gain.joint:
        parts.append("\n".join([title(gain, joint), *sentences(gain, joint)]))
        parts.append(_accuracy_table(joint))
        parts += [_split_table(split) for split in joint.splits]
        if joint.missing:
            parts.append("\n".join(["What these runs cannot tell:", *(f"- {text}" for text in joint.missing)]))
    return "\n\n".join([*parts, "\n".join(notes(gain))])


def title(gain: Gain, joint: JointGain) -> str:
    """Return what is compared, in a line."""
    names = ", ".join(joint.trained_on)
    metric = METRIC_NAMES[gain.metric]
    return f"{metric} in percent: training on each of {names} alone, and on all of them jointly"


def sentences(gain: Gain, joint: JointGain) -> Iterator[str]:
    """Yield what was found, in sentences for a reader who has not read the paper."""
    metric = METRIC_NAMES[gain.metric]
    for arm in joint.arms:
        mean, domains = arm.joining.mean, arm.joining.domains
        if mean is not None:
            worse = sum(e.value < 0 for e in domains.values())
            where = f"worse on {worse} of {len(domains)} data sets" if worse else f"on none of {len(domains)} worse"
            verb = "gains" if mean.value >= 0 else "loses"
            yield (
                f"{arm.label}: trained jointly instead of on each data set alone it {verb} "
                f"{100 * abs(mean.value):.1f} {metric} on average ({_interval(mean)}), {where}{_clear(mean)}."
            )
    for split in joint.splits:
        total = split.total.mean
        if total is None or not split.changes:
            continue
        parts = ", ".join(f"{c.name} {signed(c.mean.value)}" for c in split.changes if c.mean is not None)
        of = f" Its parts: {parts}." if len(split.changes) > 1 else ""
        begin = "on each data set alone" if split.total.before_training == "alone" else "jointly too"
        yield (
            f"{split.label}, trained jointly, against {split.plain}, trained {begin}: {signed(total.value)} {metric} "
            f"on average ({_interval(total)}){_clear(total)}.{of}"
        )


def notes(gain: Gain) -> Iterator[str]:
    """Yield how intervals were found, and which runs were left out."""
    parts = dict.fromkeys(n for j in gain.joint for s in j.splits for c in s.changes for n in c.name.split(" + "))
    if "D" in parts and "C" in parts:
        parts = {**{name: None for name in parts if name not in "DC"}, "D + C": None}
    yield from (PARTS[name] for name in parts)
    people = ", ".join(f"{name} {count:,}" for name, count in gain.identities.items())
    yield "mean: over the data sets that an arm was trained on both alone and jointly, or over all of them if none was"
    yield (
        f"interval: 95 %, from {RESAMPLES:,} resamples of the people among the queries ({people}) and of the seeds; "
        "with one seed it says how sure a difference is for these trained networks, not for another training"
    )
    yield ROUNDED
    yield from gain.remarks


def starts_in_words(joint: JointGain) -> str:
    """Return what the training of each arm started from, in a sentence; nothing where the labels say so."""
    starts = [start_in_words(arm.start) for arm in joint.arms]
    if len(set(starts)) == 1:
        return f"Training started from {starts[0]}."
    if all(f"from {start}" in arm.label for arm, start in zip(joint.arms, starts, strict=True)):
        return ""
    each = (f"{arm.key} from {start}" for arm, start in zip(joint.arms, starts, strict=True))
    return f"Training started: {', '.join(each)}."


def _interval(estimate: Estimate) -> str:
    return f"95 % interval {signed(estimate.low)} to {signed(estimate.high)}"


def _clear(estimate: Estimate) -> str:
    return "" if estimate.is_clear else "; the interval holds 0, so this may be chance"


def cell(estimate: Estimate | None) -> str:
    """Return a difference with its interval, in percent."""
    if estimate is None:
        return NO_VALUE
    return f"{signed(estimate.value)} ({signed(estimate.low)} to {signed(estimate.high)})"


def _accuracy_table(joint: JointGain) -> str:
    legend = [f"{arm.key} {arm.label}, {arm.runs} run{'s' * (arm.runs > 1)}" for arm in joint.arms]
    rows = [["Arm", "Domain", "Alone", "Joint", "Joint - alone", "Seeds alone/joint"]]
    for arm in joint.arms:
        for name in joint.trained_on:
            if name in arm.alone or name in arm.joint:
                values = (shown(side.get(name)) for side in (arm.alone, arm.joint))
                rows.append([arm.key, name, *values, cell(arm.joining.domains.get(name)), seeds_of(arm, name)])
        rows.append([arm.key, "mean", *map(shown, arm.means), cell(arm.joining.mean), ""])
    return "\n".join(filter(None, [*legend, starts_in_words(joint), text_table(rows, "llrrrr")]))


def shown(value: float | None) -> str:
    """Return a metric in percent, a dash for None."""
    return NO_VALUE if value is None else percent(value)


def seeds_of(arm: ArmAccuracy, name: str) -> str:
    """Return how many seeds an arm has on a data set, alone and jointly."""
    return "/".join(str(len(seeds.get(name, ()))) for seeds in (arm.alone_seeds, arm.joint_seeds))


def _split_table(split: GainSplit) -> str:
    heads = [
        "Domain",
        *(
            change.name.capitalize() if change.name in (JOINING, TRUNK, SETTINGS) else change.name
            for change in split.changes
        ),
        "Total",
    ]
    columns = [*split.changes, split.total]
    rows = [[name, *(cell(change.domains.get(name)) for change in columns)] for name in split.total.domains]
    rows.append(["mean", *(cell(change.mean) for change in columns)])
    lines = [f"Parts of the gain of {split.label}, jointly, over {split.plain}, {_training(split.total)}:"]
    lines.append(text_table([heads, *rows], "l" + "r" * (len(heads) - 1)))
    return "\n".join([*lines, *(f"- {text}" for text in map(change_in_words, split.changes) if text)])


def _training(total: ArmDifference) -> str:
    return "on each data set alone" if total.before_training == "alone" else "jointly"


def change_in_words(change: ArmDifference) -> str:
    """Return between which arms a part of a gain lies, and the settings that they differ in."""
    if change.name == JOINING:
        return f"joining: {change.before}, jointly minus alone"
    return (
        f"{change.name}: {change.after} minus {change.before}, both jointly; settings of both that differ: "
        f"{settings_in_words(change)}"
    )


def settings_in_words(change: ArmDifference, *, without: Sequence[str] = ()) -> str:
    """Return the settings that both arms of a difference have and that differ, but for some."""
    both = {key: pair for key, pair in change.settings.items() if None not in pair and key not in without}
    return ", ".join(f"{key} {_brief(a)} -> {_brief(b)}" for key, (a, b) in both.items())


def _brief(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else PurePath(str(value)).name


def as_csv(gain: Gain) -> str:
    """Return every difference as CSV, one a line, in [0, 1]; `mean` stands for the mean over the data sets."""
    rows: list[Sequence[object]] = [(*_SIDES, *_NUMBERS)]
    for joint in gain.joint:
        for part, change in _changes(joint):
            values: list[tuple[str, Estimate]] = list(change.domains.items())
            if change.mean is not None:
                values.append(("mean", change.mean))
            for name, found in values:
                sides = [change.before, change.before_training, change.after, change.after_training]
                numbers = [found.value, found.low, found.high, gain.identities.get(name, "")]
                rows.append([" ".join(joint.trained_on), gain.metric, part, *sides, name, *numbers])
    return csv_text(rows)


def _changes(joint: JointGain) -> Iterator[tuple[str, ArmDifference]]:
    for arm in joint.arms:
        yield JOINING, arm.joining
        if arm.over_plain is not None:
            yield OVER_PLAIN, arm.over_plain
    for split in joint.splits:
        parts: Sequence[ArmDifference] = (*split.changes, split.total)
        yield from ((f"{split.label}: {change.name}", change) for change in parts)
