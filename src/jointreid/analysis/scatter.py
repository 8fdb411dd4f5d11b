"""A grid of scatter plots as a PNG, with a colour and a shape for each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.machine.extras import library

# Okabe and Ito's colours, which colour-blind people can distinguish, without their yellow, which is invisible on white.
# Seven and eight have no common divisor, so 56 classes have different pairs of colour and shape.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#d55e00")
SHAPES = ("o", "^", "s", "D", "X", "v", "P", "*")
MAKING = "the figure is made"  # for the message on a missing library
SOFT = "#555555"
# Each class is drawn in this many parts, classes taking turns, so that the last does not cover all others.
PARTS = 10


@dataclass(frozen=True)
class ScatterPanel:
    """One scatter plot.

    Attributes:
        title: above it, as text in one or more lines.
        points: [N, 2].
    """

    title: str
    points: NDArray[np.floating]


def scatter_grid(
    headings: Sequence[str],
    rows: Sequence[Sequence[ScatterPanel]],
    classes: Sequence[str],
    class_ids: NDArray[np.int64],
    footnote: str,
) -> bytes:
    """Return the PNG, 1800 pixels wide and made to be read at half of that; the same input gives the same bytes.

    Args:
        headings: one for each column.
        rows: the panels, row by row; each has as many as there are headings.
        classes: their names, for the legend.
        class_ids: [N], the class of each point, the same in every panel.
        footnote: below the panels, in lines.

    Raises:
        JointreidError: matplotlib is not installed.
    """
    matplotlib, figures = library("matplotlib", MAKING), library("matplotlib.figure", MAKING)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc would give other bytes
        figure = figures.Figure(figsize=(9, 3.9 * len(rows) + 1.6), dpi=200, layout="constrained")  # needs no display
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # inches
        grid = figure.subplots(len(rows), len(headings), squeeze=False)
        for row, panels in zip(grid, rows, strict=True):
            for axes, panel in zip(row, panels, strict=True):
                _draw(axes, panel, class_ids)
        for axes, heading in zip(grid[0], headings, strict=True):
            above = {"xycoords": "axes fraction", "xytext": (0, 48), "textcoords": "offset points", "ha": "center"}
            axes.annotate(_literal(heading), (0.5, 1), fontsize=13, fontweight="bold", **above)
        for class_id, name in enumerate(classes):
            grid[0][0].scatter([], [], label=_literal(name), s=70, **_looks(class_id))
        figure.legend(loc="outside upper center", ncols=min(5, len(classes)), frameon=False, fontsize=12)
        figure.supxlabel(_literal(footnote), x=0.02, ha="left", fontsize=10, color=SOFT, linespacing=1.5)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw(axes: Any, panel: ScatterPanel, class_ids: NDArray[np.int64]) -> None:
    axes.set_title(_literal(panel.title), fontsize=11, linespacing=1.4)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#bbbbbb")
    for part in range(PARTS):
        for class_id in range(class_ids.max() + 1):
            x, y = panel.points[class_ids == class_id][part::PARTS].T
            axes.scatter(x, y, s=20, **_looks(class_id)).set_in_layout(False)  # inside the axes; measuring it is slow
    axes.set_aspect("equal", "datalim")


def _literal(text: str) -> str:
    """Return a text that matplotlib draws as it is: with `$` it would be a formula.

    It leaves a class whose name begins with `_` out of the legend, so a space without width stands before that.
    """
    text = text.replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text


def _looks(class_id: int) -> dict[str, Any]:
    colour, shape = COLOURS[class_id % len(COLOURS)], SHAPES[class_id % len(SHAPES)]
    return {"c": colour, "marker": shape, "alpha": 0.8, "edgecolors": "white", "linewidths": 0.3}
