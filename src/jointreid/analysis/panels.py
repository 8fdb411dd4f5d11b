"""The charts of a report: what the loss and its terms did, and what the domain and camera heads learnt."""

from collections.abc import Sequence

from jointreid.analysis.curves import Level, line_chart, swatch
from jointreid.analysis.html import Html, tag
from jointreid.analysis.reported import ReportedRun
from jointreid.analysis.tables import chances, head_table

# Title, name in metrics.jsonl, factor whose heads a run must have, unit.
LOSSES = (
    ("Total loss", "total", None, "weighted sum"),
    ("Triplet term", "triplet", None, "distance of embeddings"),
    ("Identity term", "identity", None, "nats"),
    ("Domain term", "domain", "domain", "nats, mean over blocks"),
    ("Camera term", "camera", "camera", "nats, mean over blocks"),
)
# Title, kind of line, name, unit.
ACCURACIES = (
    ("mAP", "evaluation", "mAP", "%, mean over domains"),
    ("R1", "evaluation", "rank1", "%, mean over domains"),
    ("mAP on held-out people", "validation", "mAP", "%, mean over domains"),
)


def training_section(runs: Sequence[ReportedRun]) -> Html:
    """Return the curves of the loss, its terms and, where it was measured more than once, of the accuracy."""
    charts = [
        _chart(runs, title, unit, "train", name, factor=factor)
        for title, name, factor, unit in LOSSES
        if any(run.points("train", name) and _has(run, factor) for run in runs)
    ]
    measured = [
        _chart(runs, title, unit, kind, name, scale=100.0)
        for title, kind, name, unit in ACCURACIES
        if any(len(run.points(kind, name)) > 1 for run in runs)
    ]
    if measured:
        words = "The accuracy is that of the models as they were at that time."
    elif charts:
        words = "Accuracy was measured once, at the end, so it has no curve; --train.eval_every 1 would give it one."
    else:
        words = "There are no curves: the run directories hold no lines of training in metrics.jsonl."
    loss = "What training minimises, and its terms: each point is a mean over some steps. " if charts else ""
    if len({run.has_heads("domain") or run.has_heads("camera") for run in runs}) > 1:
        loss += "The total of a model with domain and camera heads holds two terms more. "
    return tag(
        "section",
        tag("h2", "Training"),
        tag("p", loss, words),
        _legend(runs) if charts else Html(),
        *(tag("div", *row, class_="charts") for row in (charts, measured) if row),
        id="training",
    )


def heads_section(runs: Sequence[ReportedRun]) -> Html:
    """Return how often the heads of DCSD are right, over training and at its end, beside chance."""
    told = [
        run
        for run in runs
        if any((r.domain_accuracy, r.camera_accuracy) != (None, None) for r in run.domains.values())
        or run.has_heads("domain")
        or run.has_heads("camera")
    ]
    heading = tag("h2", "What the domain and camera heads know")
    if not told:
        return tag("section", heading, tag("p", "None of these models has them: they belong to DCSD."), id="heads")
    words = "A run directory does not hold the accuracy of each convolution, so that is not shown."
    charts = []
    for index, factor in enumerate(("domain", "camera")):
        rates = sorted({100 * chances(run)[index] for run in told})
        levels = [Level(f"chance {rate:.3g}%", rate) for rate in rates]
        name = f"{factor}_accuracy"
        if any(run.points("train", name) for run in told):
            title, unit = f"{factor.capitalize()} heads right", "% of training images"
            charts.append(_chart(told, title, unit, "train", name, scale=100.0, levels=levels))
    if charts:
        words = f"The curves are means over the convolutions of the network. {words}"
    return tag(
        "section",
        heading,
        tag(
            "p",
            "Every DCSD convolution has two small classifiers that must name the data set and the camera an image "
            "comes from, out of the same numbers that go into its filters. Far above chance, those numbers do tell "
            "domains and cameras apart; near chance, they do not.",
        ),
        tag("div", *charts, class_="charts") if charts else Html(),
        tag("p", words, class_="soft"),
        head_table(told, "Test images whose domain and camera are told at the end, in percent, beside chance."),
        id="heads",
    )


def _legend(runs: Sequence[ReportedRun]) -> Html:
    entries = [tag("li", tag("b", run.key, class_="badge"), " ", swatch(run.line(())), " ", run.name) for run in runs]
    return tag("ul", *entries, class_="legend")


def _has(run: ReportedRun, factor: str | None) -> bool:
    return factor is None or run.has_heads(factor)


def _chart(
    runs: Sequence[ReportedRun],
    title: str,
    unit: str,
    kind: str,
    name: str,
    *,
    factor: str | None = None,
    scale: float = 1.0,
    levels: Sequence[Level] = (),
) -> Html:
    """Return the chart of a logged value, of the runs that have it; a scale of 100 gives percent, up to 100."""
    lines = [
        run.line([(x, scale * y) for x, y in points])
        for run in runs
        if _has(run, factor) and (points := run.points(kind, name))
    ]
    return line_chart(title, unit, lines, levels=levels, top=scale if scale > 1 else 0.0, x_unit="epochs")
