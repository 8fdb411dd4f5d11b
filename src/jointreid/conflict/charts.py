"""Tables whose cells are coloured by their values, and pairs of pictures, as HTML."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jointreid.analysis.html import Html, header, join, table, tag
from jointreid.analysis.pictures import SIZE, thumbnail
from jointreid.data.records import ImageRecord
from jointreid.messages.tables import NO_VALUE

# Of a colour in a cell, in percent: text stays readable on it.
_STRONGEST = 70


def heat_table(
    corner: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: NDArray[np.floating],
    *,
    caption: str,
    most: float,
    percent: bool = False,
    flip: bool = False,
) -> Html:
    """Return a table of numbers, red above 0 and blue below, or the reverse with `flip`; NaN is an empty cell.

    Args:
        corner: what rows and columns stand for.
        rows: names.
        columns: names.
        values: [rows, columns].
        caption: what the table shows.
        most: the size of a value with the strongest colour.
        percent: print percent instead of two digits.
        flip: red below 0 and blue above.
    """
    head = tag("tr", header(corner), *(header(name) for name in columns))
    body = [
        tag("tr", tag("th", name, scope="row"), *(_cell(value, most, percent, flip) for value in row))
        for name, row in zip(rows, values.tolist(), strict=True)
    ]
    return table(head, tag("tbody", *body), caption=caption)


def bar(value: float | None, text: str | None = None) -> Html:
    """Return a cell with a bar for a share in [0, 1], and its percent unless another text is given."""
    if value is None or not math.isfinite(value):
        return tag("td", NO_VALUE)
    size = min(max(100 * value, 0.0), 100.0)
    return tag("td", f"{100 * value:.1f}" if text is None else text, class_="bar", style=f"--v:{size:.1f}")


def plain_table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], *, caption: str) -> Html:
    """Return a table of a name and cells for each row; a cell that is no `Html` becomes one."""
    body = [
        tag("tr", tag("th", name, scope="row"), *(c if isinstance(c, Html) else tag("td", c) for c in cells))
        for name, cells in rows
    ]
    return table(tag("tr", *(header(name) for name in columns)), tag("tbody", *body), caption=caption)


def picture_pair(a: ImageRecord, b: ImageRecord, *lines: str) -> Html:
    """Return two pictures side by side, with lines of text."""
    images = (
        tag("img", src=thumbnail(r), alt=f"person {r.pid}, camera {r.camid}", width=SIZE[0], loading="lazy")
        for r in (a, b)
    )
    words = join(*(part for line in lines for part in (line, tag("br"))))
    return tag("figure", *images, tag("figcaption", words), class_="pair")


def pairs(*figures: Html) -> Html:
    """Return pictures in a grid."""
    return tag("div", *figures, class_="pairs")


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a true minus sign; a dash for none."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    rounded = round(value, digits) + 0.0  # no minus sign for 0
    return f"{rounded:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def share(value: float | None) -> str:
    """Return a share in [0, 1] as percent; a dash for none."""
    return NO_VALUE if value is None or not math.isfinite(value) else f"{100 * value:.0f}%"


def _cell(value: float, most: float, percent: bool, flip: bool) -> Html:
    if not math.isfinite(value):
        return tag("td", "", class_="heat")
    size = min(abs(value) / most, 1.0) * _STRONGEST
    cool = (value < 0) != flip
    text = f"{100 * value:.0f}" if percent else number(value)
    return tag("td", text, class_="heat cool" if cool else "heat", style=f"--v:{size:.0f}")
