"""Line charts as SVG: pure functions from points to markup, with colours from the page's style sheet.

Both axes start at 0, so that a curve's height can be read as an amount.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jointreid.analysis.html import Html, join, tag

Point = tuple[float, float]

# Of the picture and of the area within the axes, in SVG units; a letter is about 6 wide.
WIDTH, HEIGHT = 360, 236
LEFT, RIGHT, TOP, BOTTOM = 40, 336, 34, 204
LETTER_HEIGHT = 12
# Letters at the ends of curves that fit above each other within the axes.
MOST_LETTERS = (BOTTOM - TOP) // LETTER_HEIGHT + 1
MOST_POINTS = 150
COLOURS, DASHES = 6, 4


@dataclass(frozen=True)
class Curve:
    """One run's curve.

    Attributes:
        key: a letter or two, printed at the end of the curve.
        label: its description.
        points: (x, y) with rising x, at least one; none below 0.
        colour: index of its colour, from 0; colours repeat after `COLOURS`.
        dash: index of its dash pattern, 0 for none; patterns repeat after `DASHES`.
    """

    key: str
    label: str
    points: Sequence[Point]
    colour: int = 0
    dash: int = 0

    @property
    def style(self) -> str:
        """The classes in the style sheet that draw it."""
        return f"line c{self.colour % COLOURS} d{self.dash % DASHES}"


@dataclass(frozen=True)
class ReferenceLevel:
    """A value to compare the curves with, drawn across the chart."""

    label: str
    value: float


def round_ticks(high: float, most: int = 6) -> tuple[float, ...]:
    """Return round numbers from 0 to the first at or above `high`, evenly spaced, at most `most` of them.

    The space is 1, 2 or 5 times a power of ten.

    >>> round_ticks(9.7)
    (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    >>> round_ticks(0.3, most=4)
    (0.0, 0.1, 0.2, 0.3)
    >>> round_ticks(0.0)
    (0.0, 1.0)
    """
    if high <= 0:
        return 0.0, 1.0
    decade = math.floor(math.log10(high / (most - 1)))
    spaces = [(factor, power) for power in (decade, decade + 1) for factor in (1, 2, 5)]
    # Rounding errors do not move a value past a tick: 0.3 counts as three times 0.1.
    counts = [math.ceil(round(high / (factor * 10.0**power), 9)) for factor, power in spaces]
    (factor, power), count = next(found for found in zip(spaces, counts, strict=True) if found[1] < most)
    return tuple(float(f"{k * factor}e{power}") for k in range(count + 1))


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most `most` points: the means of runs of neighbours, as many in each.

    >>> thin([(1, 8), (2, 6), (3, 4), (4, 2)], most=2)
    [(1.5, 7.0), (3.5, 3.0)]
    """
    size = math.ceil(len(points) / most)
    parts = [points[start : start + size] for start in range(0, len(points), size)] if size > 1 else []
    means = [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
    return means or list(points)


def line_chart(
    title: str,
    unit: str,
    lines: Sequence[Curve],
    *,
    levels: Sequence[ReferenceLevel] = (),
    top: float = 0.0,
    x_unit: str = "",
) -> Html:
    """Return a chart.

    Args:
        title: of the chart.
        unit: of y.
        lines: one or more curves; more than `MOST_LETTERS` have no letters at their ends.
        levels: values to compare them with.
        top: the least value of y at the top of the axis.
        x_unit: of x.
    """
    ys = [y for line in lines for _, y in line.points] + [level.value for level in levels] + [top]
    x_high = max(x for line in lines for x, _ in line.points) or 1.0
    y_ticks, x_ticks = round_ticks(max(ys)), [tick for tick in round_ticks(x_high, most=8) if tick <= x_high]
    y_high = y_ticks[-1]

    def place(point: Point) -> Point:
        x, y = point
        return LEFT + (RIGHT - LEFT) * x / x_high, BOTTOM - (BOTTOM - TOP) * y / y_high

    drawn = [[place(point) for point in thin(line.points)] for line in lines]
    ends: Sequence[float | None] = [None] * len(drawn)
    if len(drawn) <= MOST_LETTERS:
        ends = spread([points[-1][1] for points in drawn], LETTER_HEIGHT, TOP, BOTTOM)
    last = "; ".join(f"{line.key} {line.label} ends at {_short(line.points[-1][1])}" for line in lines)
    return tag(
        "svg",
        tag("text", title, " ", tag("tspan", unit, class_="soft"), x=0, y=14, class_="title"),
        *_y_axis(y_ticks, [place((0, tick))[1] for tick in y_ticks]),
        *_x_axis(x_ticks, [place((tick, 0))[0] for tick in x_ticks], x_unit),
        *(_level(level, place((0, level.value))[1]) for level in levels),
        *(_curve(line, points, end) for line, points, end in zip(lines, drawn, ends, strict=True)),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}, {unit}: {last}",
        class_="chart",
    )


def swatch(line: Curve) -> Html:
    """Return a short piece of a line, for a legend."""
    piece = tag("path", d="M0 5H30", class_=line.style)
    return tag("svg", piece, viewBox="0 0 30 10", class_="swatch", aria_hidden="true")


def spread(wanted: Sequence[float], gap: float, low: float = -math.inf, high: float = math.inf) -> list[float]:
    """Return positions near the wanted ones, in the same order, at least `gap` apart, from `low` to `high`.

    Neighbours that are too close move apart around the mean of their wanted positions. All must fit.

    >>> spread([50.0, 10.0, 50.0], 12)
    [44.0, 10.0, 56.0]
    >>> spread([50.0, 50.0], 12, high=50.0)
    [38.0, 50.0]
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    clusters: list[list[int]] = []

    def first_place(cluster: Sequence[int]) -> float:
        return sum(wanted[index] for index in cluster) / len(cluster) - gap * (len(cluster) - 1) / 2

    for index in order:
        clusters.append([index])
        while len(clusters) > 1 and (first_place(clusters[-1]) - first_place(clusters[-2]) < gap * len(clusters[-2])):
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    unbounded = [
        (i, first_place(cluster) + gap * position) for cluster in clusters for position, i in enumerate(cluster)
    ]
    places, last = list(wanted), len(wanted) - 1
    for rank, (index, place) in enumerate(unbounded):
        places[index] = min(max(place, low + gap * rank), high - gap * (last - rank))
    return places


def _y_axis(ticks: Sequence[float], places: Sequence[float]) -> Iterator[Html]:
    for tick, y in zip(ticks, places, strict=True):
        yield tag("path", d=f"M{LEFT} {y:.1f}H{RIGHT}", class_="axis" if tick == 0 else "grid")
        yield tag("text", f"{tick:g}", x=LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end")


def _x_axis(ticks: Sequence[float], places: Sequence[float], unit: str) -> Iterator[Html]:
    for tick, x in zip(ticks, places, strict=True):
        yield tag("path", d=f"M{x:.1f} {BOTTOM}v4", class_="axis")
        yield tag("text", f"{tick:g}", x=f"{x:.1f}", y=BOTTOM + 17, text_anchor="middle")
    yield tag("text", unit, x=(LEFT + RIGHT) / 2, y=BOTTOM + 31, text_anchor="middle", class_="soft")


def _level(level: ReferenceLevel, y: float) -> Html:
    line = tag("path", d=f"M{LEFT} {y:.1f}H{RIGHT}", class_="level")
    return join(line, tag("text", level.label, x=RIGHT, y=f"{y - 4:.1f}", text_anchor="end", class_="soft"))


def _curve(line: Curve, points: Sequence[Point], end: float | None) -> Html:
    """Return a curve with its letter at the height `end`, without one for None."""
    x, y = points[-1]
    colour = f"c{line.colour % COLOURS}"
    letter = Html()
    if end is not None:
        letter = tag("text", line.key, x=f"{x + 6:.1f}", y=f"{end + 4:.1f}", class_=f"key {colour}")
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag(
        "g",
        tag("title", f"{line.key} {line.label}: {_short(line.points[-1][1])} at the end"),
        tag("path", d=f"M{path}", class_=line.style),
        tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.5, class_=f"dot {colour}"),
        letter,
    )


def _short(value: float) -> str:
    return f"{value:.3g}"
