"""Differences as pictures: a heat map, and bars with their intervals; colours come from the page's style sheet."""

from collections.abc import Callable, Mapping, Sequence

from jointreid.analysis.html import Html, header, join, table, tag
from jointreid.analysis.resampling import Estimate
from jointreid.messages.tables import NO_VALUE

# Of the bars, in SVG units; a letter is about 6 wide.
WIDTH, LABEL, VALUE, ROW = 560, 110, 150, 30
# Of a colour in a cell of a map, in percent: text stays readable on it.
STRONGEST = 60
# For readers who subtract the numbers of a table.
ROUNDED = "differences were computed before rounding, so they may be 0.1 away from those of the numbers as printed"


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Mapping[tuple[str, str], Estimate],
    caption: str,
    *,
    most: float,
) -> Html:
    """Return differences in percent as a table whose cells are coloured: blue above 0, orange below.

    A difference whose interval holds 0 is in thin type.

    Args:
        rows: names, two or more, the last one set apart from the others.
        columns: names.
        values: (row, column) -> difference in [-1, 1].
        caption: what the table shows.
        most: the size of a difference with the strongest colour, above 0; maps on one page share it.
    """
    head = tag("tr", header(""), *(header(name, class_="wrap") for name in columns))
    lines = [
        tag("tr", tag("th", row, scope="row"), *(_cell(values.get((row, column)), most) for column in columns))
        for row in rows
    ]
    return table(head, tag("tbody", *lines[:-1]), tag("tbody", lines[-1]), caption=caption, class_="heat")


def _cell(found: Estimate | None, most: float) -> Html:
    if found is None:
        return tag("td", NO_VALUE, class_="none")
    share = round(STRONGEST * min(abs(found.value) / most, 1.0))
    number = tag("b", signed(found.value)) if found.is_clear else signed(found.value)
    between = tag("small", f"{signed(found.low)} to {signed(found.high)}")
    side = "more" if found.value > 0 else "less"
    return tag("td", number, tag("br"), between, class_=side, style=f"--share: {share}%")


def bars(rows: Sequence[tuple[str, Estimate]], title: str) -> Html:
    """Return differences as bars from 0 with their intervals, in percent.

    Args:
        rows: (name, difference in [-1, 1]), one or more; the last is the sum of the others.
        title: of the picture.
    """
    ends = [0.0, *(end for _, found in rows for end in (found.low, found.high, found.value))]
    low, high = min(ends), max(ends)
    span = high - low or 1.0
    left, right = LABEL, WIDTH - VALUE

    def place(value: float) -> float:
        return left + (right - left) * (value - low) / span

    height = ROW * len(rows) + 8
    drawn = [_bar(name, found, 4 + ROW * index, place) for index, (name, found) in enumerate(rows)]
    rule = 4 + ROW * (len(rows) - 1)
    words = "; ".join(f"{name} {signed(found.value)}" for name, found in rows)
    return tag(
        "svg",
        *drawn,
        tag("path", d=f"M0 {rule}H{WIDTH}", class_="grid") if len(rows) > 1 else Html(),
        tag("path", d=f"M{place(0):.1f} 0V{height}", class_="axis"),
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=f"{title}: {words}",
        class_="chart bars",
    )


def _bar(name: str, found: Estimate, top: float, place: Callable[[float], float]) -> Html:
    start, stop = sorted((place(0), place(found.value)))
    middle = top + ROW / 2
    whisker = f"M{place(found.low):.1f} {middle}H{place(found.high):.1f}"
    ends = "".join(f"M{place(end):.1f} {middle - 4}v8" for end in (found.low, found.high))
    values = f"{signed(found.value)} ({signed(found.low)} to {signed(found.high)})"
    return join(
        tag("text", name, x=0, y=middle + 4, class_="name"),
        tag(
            "rect",
            x=f"{start:.1f}",
            y=top + 5,
            width=f"{stop - start:.1f}",
            height=ROW - 10,
            class_="more" if found.value > 0 else "less",
        ),
        tag("path", d=whisker + ends, class_="whisker"),
        tag("text", values, x=WIDTH, y=middle + 4, text_anchor="end", class_="soft"),
    )


def signed(value: float) -> str:
    """Return a difference in percent, with its sign.

    >>> signed(0.0123), signed(-0.00001)
    ('+1.2', '0.0')
    """
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text
