"""The charts of a report: the loss and its terms, and the accuracy of the domain and camera heads."""

from collections.abc import Sequence

from jointreid.analysis.curves import ReferenceLevel, line_chart, swatch
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
    ("Rank-1", "evaluation", "rank1", "%, mean over domains"),
    ("mAP on held-out people", "validation", "mAP", "%, mean over domains"),
)


def training_section(runs: Sequence[ReportedRun]) -> Html:
    """Return the curves of the loss, its terms and, with more than one evaluation, the accuracy."""
    charts = [
        _chart(runs, title, unit, "train", name, factor=factor)
        for title, name, factor, unit in LOSSES
        if any(run.points("train", name) and _has(run, factor) for run in runs)
    ]
    accuracies = [
        _chart(runs, title, unit, kind, name, scale=100.0)
        for title, kind, name, unit in ACCURACIES
        if any(len(run.points(kind, name)) > 1 for run in runs)
    ]
    if accuracies:
        words = "The accuracy is that of the models at that time."
    elif charts:
        words = "The models were evaluated once, at the end, so accuracy has no curve; --train.eval_every 1 gives one."
    else:
        words = "There are no curves: the run directories have no training lines in metrics.jsonl."
    loss = "The training loss and its terms; each point is a mean over some steps. " if charts else ""
    if len({run.has_heads("domain") or run.has_heads("camera") for run in runs}) > 1:
        loss += "The total of a model with domain and camera heads has two more terms. "
    return tag(
        "section",
        tag("h2", "Training"),
        tag("p", loss, words),
        _legend(runs) if charts or accuracies else Html(),
        *(tag("div", *row, class_="charts") for row in (charts, accuracies) if row),
        id="training",
    )


def heads_section(runs: Sequence[ReportedRun]) -> Html:
    """Return the accuracy of DCSD's heads during training and at its end, beside chance."""
    with_heads = [
        run
        for run in runs
        if any((r.domain_accuracy, r.camera_accuracy) != (None, None) for r in run.domains.values())
        or run.has_heads("domain")
        or run.has_heads("camera")
    ]
    heading = tag("h2", "Accuracy of the domain and camera heads")
    if not with_heads:
        return tag("section", heading, tag("p", "None of these models has such heads."), id="heads")
    words = "Run directories do not store the accuracy of each convolution, so it is not shown."
    charts = []
    for index, factor in enumerate(("domain", "camera")):
        rates = sorted({100 * chances(run)[index] for run in with_heads})
        levels = [ReferenceLevel(f"chance {rate:.3g}%", rate) for rate in rates]
        name = f"{factor}_accuracy"
        if any(run.points("train", name) for run in with_heads):
            title, unit = f"Accuracy of the {factor} heads", "% of training images"
            charts.append(_chart(with_heads, title, unit, "train", name, scale=100.0, levels=levels))
    if charts:
        words = f"The curves are means over the convolutions of the network. {words}"
    return tag(
        "section",
        heading,
        tag(
            "p",
            "Every DCSD convolution has two small classifiers that predict the data set and the camera of an image "
            "from the same numbers that generate its filters. Accuracy far above chance means that these numbers "
            "distinguish domains and cameras; accuracy near chance means that they do not.",
        ),
        tag("div", *charts, class_="charts") if charts else Html(),
        tag("p", words, class_="soft"),
        head_table(
            with_heads,
            "Test images whose domain and camera the trained heads predict, in percent, beside chance.",
        ),
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
    levels: Sequence[ReferenceLevel] = (),
) -> Html:
    """Return the chart of a logged value for the runs that have it; a scale of 100 gives percent, up to 100."""
    lines = [
        run.line([(x, scale * y) for x, y in points])
        for run in runs
        if _has(run, factor) and (points := run.points(kind, name))
    ]
    return line_chart(title, unit, lines, levels=levels, top=scale if scale > 1 else 0.0, x_unit="epochs")
