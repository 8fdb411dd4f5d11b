"""A matrix of training and test sets as Markdown, CSV, JSON and LaTeX; the best of a column is bold."""

import json
from collections.abc import Callable, Mapping
from typing import Literal

from jointreid.analysis.arms import start_in_words
from jointreid.analysis.matrix import METRICS, OTHERS, Matrix, MatrixNumber, MatrixRow
from jointreid.messages.table_formats import csv_text, latex_table, markdown_table, tex
from jointreid.messages.tables import NO_VALUE

MatrixFormat = Literal["md", "csv", "json", "latex"]

HEADS = ("Network", "Start", "Trained on", "Seeds")
CAPTION = (
    "Rows: what a network was trained on. Columns: what it was evaluated on, in percent, the mean over seeds. Bold: "
    "the best of a column."
)
ABOUT_SEEDS = "(1 of 3): the mean over so many seeds of the row, since the runs of the others were not evaluated there."
ABOUT_OTHERS = (
    f"{OTHERS}: over the data sets that the row was not trained on; bold among rows of the same training set."
)


def markdown(matrix: Matrix) -> str:
    """Return a matrix as Markdown, with notes below it."""
    heads = [*HEADS, *(f"{column} {name}" for column in matrix.columns for name in METRICS.values())]
    rows = [_cells(matrix, row, lambda n: f"**{n.printed}**" if n.is_best else n.printed) for row in matrix.rows]
    notes = [f"- {note}" for note in _notes(matrix)]
    return "\n".join([CAPTION, "", *markdown_table(heads, rows, _align(matrix)), "", *notes]).rstrip("\n") + "\n"


def as_csv(matrix: Matrix) -> str:
    """Return a matrix as CSV, one line for each number, in [0, 1]."""
    rows: list[list[object]] = [
        ["network", "start", "trained_on", "evaluated_on", "metric", "value", "deviation", "seeds", "is_best"]
    ]
    for row in matrix.rows:
        for (column, metric), number in row.numbers.items():
            if column in matrix.columns:
                sides: list[object] = [row.network, row.start, " ".join(row.trained_on), column, metric]
                rows.append([*sides, number.mean, number.deviation, len(number.by_seed), str(number.is_best).lower()])
    return csv_text(rows)


def as_json(matrix: Matrix) -> str:
    """Return a matrix as JSON."""
    return json.dumps(matrix.to_dict(), indent=2, allow_nan=False) + "\n"


def latex(matrix: Matrix) -> str:
    """Return a matrix as LaTeX, for `\\input` in a document that loads the package graphicx; as wide as the page."""

    def bold(number: MatrixNumber) -> str:
        printed = tex(number.printed)
        return f"\\textbf{{{printed}}}" if number.is_best else printed

    lines = latex_table(
        [*HEADS, *(name for _ in matrix.columns for name in METRICS.values())],
        [[*map(tex, _names(row)), *(map(str, _numbers(matrix, row, bold, "--")))] for row in matrix.rows],
        _align(matrix),
        caption=CAPTION,
        groups=[*[("", 1)] * len(HEADS), *((column, len(METRICS)) for column in matrix.columns)],
        notes=[note.replace("`", "") for note in _notes(matrix)],
    )
    return "\n".join(lines) + "\n"


FORMATS: Mapping[MatrixFormat, Callable[[Matrix], str]] = {
    "md": markdown,
    "csv": as_csv,
    "json": as_json,
    "latex": latex,
}


def _notes(matrix: Matrix) -> list[str]:
    fewer = any(_seeds_in_words(row, number) for row in matrix.rows for number in row.numbers.values())
    return [*([ABOUT_OTHERS] if OTHERS in matrix.columns else []), *([ABOUT_SEEDS] if fewer else []), *matrix.notes]


def _names(row: MatrixRow) -> list[str]:
    return [row.network, start_in_words(row.start), row.source, str(len(row.seeds))]


def _cells(matrix: Matrix, row: MatrixRow, printed: Callable[[MatrixNumber], str]) -> list[str]:
    return [*_names(row), *_numbers(matrix, row, printed, NO_VALUE)]


def _numbers(matrix: Matrix, row: MatrixRow, printed: Callable[[MatrixNumber], str], none: str) -> list[str]:
    found = [row.numbers.get((column, metric)) for column in matrix.columns for metric in METRICS]
    return [none if number is None else f"{printed(number)}{_seeds_in_words(row, number)}" for number in found]


def _seeds_in_words(row: MatrixRow, number: MatrixNumber) -> str:
    """Return how many of the row's seeds a number is of; empty if all."""
    count = len(number.by_seed)
    return f" ({count} of {len(row.seeds)})" if count < len(row.seeds) else ""


def _align(matrix: Matrix) -> str:
    return "l" * len(HEADS) + "r" * len(matrix.columns) * len(METRICS)
