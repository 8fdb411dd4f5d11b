"""What longer training changes: a table, and a drawing with a chart for each data set and start."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from evidence.arms import Start, short_start
from evidence.compared import gain, records_of
from evidence.data import DATASETS
from evidence.figures import paragraph, short_name, with_interval
from evidence.levels import Record, level
from evidence.records import RecordStore
from evidence.tasks import COMPARED, Scale
from jointreid.analysis.curves import HEIGHT, WIDTH, Curve, line_chart
from jointreid.analysis.html import Html, tag
from jointreid.messages.tables import text_table
from jointreid.retrieval.results import percent

LENGTHS = ("short", "long", "longest")
# Of the drawing: charts in a row, and the space around each.
COLUMNS, MARGIN = 2, 12
STEP_X, STEP_Y = WIDTH + MARGIN, HEIGHT + MARGIN
# Colours and sizes of a chart on white, since a picture in a page has no style sheet of the page's.
_STYLE = """
svg { overflow: visible; }
text { font: 11px system-ui, sans-serif; fill: #1c1e21; }
.title { font-size: 13px; font-weight: 600; } .soft { fill: #5c6370; font-weight: 400; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.line.c0 { stroke: #0063ad; } .line.c1 { stroke: #c24e00; }
.dot.c0, .key.c0 { fill: #0063ad; } .dot.c1, .key.c1 { fill: #c24e00; } .key { font-weight: 700; }
.axis { stroke: #5c6370; fill: none; } .grid { stroke: #dadde2; fill: none; }
"""


class Length(NamedTuple):
    """The trainings of one length: of the plain network, and of the one with the context network."""

    stage: str
    plain: Sequence[Record]
    context: Sequence[Record]


def lengths_of(store: RecordStore, dataset: str, start: Start) -> list[Length]:
    """Return the lengths that both networks were trained for."""
    found = [Length(stage, *(records_of(store, dataset, start, stage, arm) for arm in COMPARED)) for stage in LENGTHS]
    return [length for length in found if length.plain and length.context]


def length_section(store: RecordStore, scale: Scale, image: str) -> Iterator[str]:
    """Yield the section, or nothing as long as no network was trained for two lengths.

    Args:
        store: the records.
        scale: whose data sets and starts.
        image: place of the drawing, as the page links it.
    """
    cells = _cells(store, scale)
    if not cells:
        return
    yield "## Longer training"
    yield ""
    yield f"![Mean mAP of trainings of several lengths, of the plain and of the recommended network]({image})"
    yield ""
    yield paragraph(
        "C: the recommended network; P: the plain network, static; with equal seeds. A training that went wrong, as "
        "the page then says above, is part of the mean."
    )
    yield ""
    head = ["data set", "start", "trainings", "seeds", "steps", "static", "with context", "gain"]
    rows = [
        [
            short_name(dataset),
            short_start(start),
            length.stage,
            str(len(length.context)),
            f"{length.context[0]['steps']:,}",
            percent(level(length.plain)),
            percent(level(length.context)),
            with_interval(gain(length.plain, length.context, store, DATASETS[dataset].domains)[0]),
        ]
        for dataset, start, lengths in cells
        for length in lengths
    ]
    yield text_table([head, *rows], "lllrrrrr")
    yield ""


def length_drawing(store: RecordStore, scale: Scale) -> str:
    """Return the drawing as SVG; empty as long as no network was trained for two lengths."""
    cells = _cells(store, scale)
    if not cells:
        return ""
    charts = []
    for number, (dataset, start, lengths) in enumerate(cells):
        curves = [
            Curve("P", "static", [(length.plain[0]["steps"], 100 * level(length.plain)) for length in lengths]),
            Curve("C", "with context", [(n.context[0]["steps"], 100 * level(n.context)) for n in lengths], colour=1),
        ]
        chart = line_chart(f"{short_name(dataset)}, {_start(start)}", "mAP", curves, x_unit="steps")
        x, y = MARGIN + STEP_X * (number % COLUMNS), MARGIN + STEP_Y * (number // COLUMNS)
        charts.append(tag("svg", chart, x=x, y=y, width=WIDTH, height=HEIGHT))
    width = MARGIN + STEP_X * min(COLUMNS, len(cells))
    height = MARGIN + STEP_Y * -(-len(cells) // COLUMNS)
    return tag(
        "svg",
        tag("style", Html(_STYLE)),
        tag("rect", width="100%", height="100%", fill="#ffffff"),
        *charts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
    )


def _cells(store: RecordStore, scale: Scale) -> list[tuple[str, Start, list[Length]]]:
    cells = [
        (dataset, start, lengths_of(store, dataset, start)) for dataset in scale.datasets for start in scale.starts
    ]
    return [cell for cell in cells if len(cell[2]) > 1]


def _start(start: Start) -> str:
    return "random weights" if start.startswith("random") else "ImageNet"
