"""The gain of joint training as a page: what was found in sentences, heat maps, the parts of each gain as bars."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jointreid.analysis.gain_text import (
    METRIC_NAMES,
    cell,
    change_in_words,
    notes,
    sentences,
    settings_in_words,
    shown,
    starts_in_words,
)
from jointreid.analysis.gain_values import ArmAccuracy, ArmDifference, Gain, GainSplit, JointGain
from jointreid.analysis.heat_map import bars, heat_map
from jointreid.analysis.html import Html, header, join, page, table, tag
from jointreid.analysis.resampling import Estimate
from jointreid.machine.files import write_atomically

TITLE = "What joint training gains"
MEAN = "mean"
# The least difference that may have the strongest colour of a map: two points. Smaller ones are often chance.
LEAST_STRONG = 0.02
METRIC_WORDS = {
    "mAP": "mAP, which is 100 if all pictures of the person come before all others",
    "rank1": "Rank-1, the share of queries whose first picture shows the same person",
}

NETWORKS = (
    "A plain network (bot, agw) applies the same filters to every picture. The others here generate filters for every "
    "picture: from the picture itself (S), and with D and C also from the data set and the camera that they recognise "
    "in it. At test time they are told neither."
)
# What else a label may say, for a reader who has not read the paper.
WORDS = {
    "static base": "the generated filters are added to fixed ones, which are those of a plain network.",
    "context network": "one small network recognises the data set and the camera for all layers; without it, each "
    "layer does so by itself.",
    "context labels": "the true data set and camera are told, at test time too: a control, for comparison alone.",
    "film": "a scale and a shift of each channel in the place of generated filters: a control.",
    "norm": "a normalisation for each data set in the place of generated filters: a control.",
}


def write_gain_page(gain: Gain, path: Path, command: str = "") -> Path:
    """Write the page; the same runs give the same bytes.

    Args:
        gain: what `compute_gain` returned.
        path: the HTML file; it appears whole or not at all.
        command: the command that makes the page, shown at the end.
    """
    body = (
        tag("header", tag("h1", TITLE), *_lead(gain)),
        tag("main", *(_section(gain, joint, _strongest(gain)) for joint in gain.joint), _reading(gain)),
        tag("footer", *_runs(gain), tag("p", "Made by ", tag("code", command)) if command else Html()),
    )
    write_atomically(path, page(TITLE, *body))
    return path


def _lead(gain: Gain) -> Iterator[Html]:
    yield tag(
        "p",
        "A network that finds people again can be trained on each data set alone, or on all of them jointly. One joint "
        "network is easier to use and has seen more people, but data sets differ in light, colour and cameras, and "
        "what it learns from one can disturb what it needs for another.",
        class_="lead",
    )
    yield tag(
        "p",
        "This page compares the two on the same test pictures. The numbers are ",
        METRIC_WORDS[gain.metric],
        "; a difference of +1.0 is one point of these hundred.",
    )
    if any(joint.splits for joint in gain.joint):
        yield tag("p", NETWORKS)
        said = {word for joint in gain.joint for arm in joint.arms for word in arm.label.split(", ")}
        if used := [tag("li", tag("b", word), ": ", words) for word, words in WORDS.items() if word in said]:
            yield tag("p", "In the names of networks:")
            yield tag("ul", *used)


def _strongest(gain: Gain) -> float:
    """Return the difference that has the strongest colour on every map of the page."""
    changes = [change for joint in gain.joint for of_map in _mapped(joint) for change in of_map.values()]
    found = [estimate for change in changes for estimate in (*change.domains.values(), change.mean)]
    return max([LEAST_STRONG, *(abs(estimate.value) for estimate in found if estimate is not None)])


def _mapped(joint: JointGain) -> tuple[Mapping[str, ArmDifference], Mapping[str, ArmDifference]]:
    """Return by the keys of arms what the two maps show: joint training over alone, and networks over the plain one."""
    joining = {arm.key: arm.joining for arm in joint.arms if arm.joining.mean is not None}
    over = {arm.key: arm.over_plain for arm in joint.arms if arm.over_plain and arm.over_plain.mean is not None}
    return joining, over


def _section(gain: Gain, joint: JointGain, strongest: float) -> Html:
    heading = f"Joint training on {', '.join(joint.trained_on)}" if len(joint.trained_on) > 1 else "Accuracy"
    found = list(sentences(gain, joint))
    return tag(
        "section",
        tag("h2", heading),
        tag("ul", *(tag("li", text) for text in found)) if found else Html(),
        *_maps(joint, strongest),
        tag("h3", "Accuracy") if len(joint.trained_on) > 1 else Html(),
        _accuracy(gain, joint),
        *(_split(gain, split) for split in joint.splits),
        _missing(joint.missing),
    )


def _maps(joint: JointGain, strongest: float) -> Iterator[Html]:
    joining, over = _mapped(joint)
    if joining:
        yield tag("h3", "Does joining help?")
        yield tag(
            "p",
            "Each network, trained jointly minus trained on the data set alone. Blue: joint training is better. "
            "Orange: the data set alone is better, so the others disturb it.",
        )
        yield _map(joint, joining, "Jointly minus alone, in percent.", strongest)
    if over:
        yield tag("h3", "What do other networks add?")
        yield tag(
            "p",
            "Each network minus the plain one, both trained jointly. Blue: better than the plain network.",
        )
        yield _map(joint, over, f"Jointly, minus {_plain(over)}, in percent.", strongest)
        yield from (
            tag("p", f"{change.after} and {change.before} also differ in {words}.", class_="soft")
            for change in over.values()
            if (words := settings_in_words(change, without=["model.name"]))
        )


def _plain(over: Mapping[str, ArmDifference]) -> str:
    names = dict.fromkeys(change.before for change in over.values())
    return " or ".join(names)


def _map(joint: JointGain, changes: Mapping[str, ArmDifference], caption: str, strongest: float) -> Html:
    values: dict[tuple[str, str], Estimate] = {}
    labels = {arm.key: f"{arm.key} {arm.label}" for arm in joint.arms}
    for key, change in changes.items():
        values |= {(name, labels[key]): found for name, found in change.domains.items()}
        if change.mean is not None:
            values[MEAN, labels[key]] = change.mean
    rows = [name for name in joint.trained_on if any((name, labels[key]) in values for key in changes)]
    caption += (
        f" The strongest colour stands for {100 * strongest:.1f} points, on every map of this page. Bold: the 95 % "
        "interval, below each difference, does not hold 0."
    )
    return heat_map([*rows, MEAN], [labels[key] for key in changes], values, caption, most=strongest)


def _accuracy(gain: Gain, joint: JointGain) -> Html:
    """Return the accuracy of each arm, alone and jointly."""
    head = join(
        tag(
            "tr",
            tag("td"),
            *(header(f"{arm.key} {arm.label}", scope="colgroup", colspan=2, class_="first wrap") for arm in joint.arms),
        ),
        tag(
            "tr",
            header("Data set"),
            *(header(name, class_=None if index else "first") for _ in joint.arms for index, name in enumerate(_SIDES)),
        ),
    )
    rows = [
        tag("tr", tag("th", name, scope="row"), *(td for arm in joint.arms for td in _values(arm, name)))
        for name in joint.trained_on
    ]
    means = [td for arm in joint.arms for td in _cells([shown(value) for value in arm.means])]
    foot = tag("tr", tag("th", MEAN, scope="row"), *means)
    caption = (
        f"{METRIC_NAMES[gain.metric]} in percent, trained on the data set alone and on all jointly; mean over seeds, "
        "which are trainings that differ in their random numbers. " + starts_in_words(joint)
    )
    return table(head, tag("tbody", *rows), tag("tbody", foot), caption=caption)


_SIDES = ("alone", "joint")


def _values(arm: ArmAccuracy, name: str) -> list[Html]:
    return _cells([shown(side.get(name)) for side in (arm.alone, arm.joint)])


def _cells(texts: Sequence[str]) -> list[Html]:
    return [tag("td", text, class_=None if index else "first") for index, text in enumerate(texts)]


def _split(gain: Gain, split: GainSplit) -> Html:
    changes = list(split.changes)
    parts, adding = "", ""
    if len(changes) > 1:
        changes.append(split.total)
        parts, adding = " in parts", " The parts add up to the total."
    rows = [(change.name, change.mean) for change in changes]
    shown = [(name, mean) for name, mean in rows if mean is not None]
    if not shown:
        return Html()
    head = tag("tr", header("Data set"), *(header(change.name, class_="first") for change in changes))
    lines = [
        tag(
            "tr", tag("th", name, scope="row"), *(tag("td", cell(c.domains.get(name)), class_="first") for c in changes)
        )
        for name in split.total.domains
    ]
    before = "trained on each data set alone" if split.total.before_training == "alone" else "trained jointly"
    heading = f"The gain of {split.label}{parts}"
    return join(
        tag("h3", heading),
        tag(
            "p",
            f"From {split.plain}, {before}, to {split.label}, trained jointly: mean over the data sets in "
            f"{METRIC_NAMES[gain.metric]}, with 95 % intervals.{adding}",
        ),
        bars(shown, heading),
        table(head, tag("tbody", *lines), caption="The same for each data set, in percent."),
        tag("ul", *(tag("li", change_in_words(change)) for change in split.changes), class_="soft"),
    )


def _missing(missing: Sequence[str]) -> Html:
    if not missing:
        return Html()
    return join(tag("h3", "What these runs cannot tell"), tag("ul", *(tag("li", _code(text)) for text in missing)))


def _code(text: str) -> Html:
    """Return a text with what stands between backticks as code."""
    parts = text.split("`")
    return join(*(tag("code", part) if index % 2 else part for index, part in enumerate(parts)))


def _reading(gain: Gain) -> Html:
    found = list(notes(gain))
    return tag("section", tag("h2", "How to read this"), tag("ul", *(tag("li", text) for text in found)), id="reading")


def _runs(gain: Gain) -> Iterator[Html]:
    count = len(gain.runs)
    yield tag("p", f"{count} run{'s' * (count != 1)}: ", ", ".join(gain.runs))
