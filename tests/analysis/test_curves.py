import doctest
from collections.abc import Sequence
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from jointreid.analysis import curves
from jointreid.analysis.curves import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Curve,
    ReferenceLevel,
    line_chart,
    round_ticks,
    spread,
    swatch,
    thin,
)


def test_examples_hold() -> None:
    assert doctest.testmod(curves) == (0, 6)


@pytest.mark.parametrize(
    ("high", "most", "expected"),
    [
        (5, 6, (0, 1, 2, 3, 4, 5)),
        (5.01, 6, (0, 2, 4, 6)),
        (9.7, 6, (0, 2, 4, 6, 8, 10)),
        (0.3, 4, (0, 0.1, 0.2, 0.3)),
        (0.07, 8, (0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07)),
        (100, 6, (0, 20, 40, 60, 80, 100)),
        (1, 2, (0, 1)),
        (120, 8, (0, 20, 40, 60, 80, 100, 120)),
        (3e-7, 4, (0, 1e-7, 2e-7, 3e-7)),
        (0, 6, (0, 1)),
    ],
)
def test_ticks_are_round_numbers_up_to_the_value(high: float, most: int, expected: tuple[float, ...]) -> None:
    assert round_ticks(high, most) == expected


@pytest.mark.parametrize("high", [0.013, 1.0, 3.7, 6.0, 49.0, 51.0, 123456.0, 1e-9])
@pytest.mark.parametrize("most", [2, 3, 6, 8])
def test_ticks_are_few_and_the_last_is_the_first_to_reach_the_value(high: float, most: int) -> None:
    ticks = round_ticks(high, most)
    assert 2 <= len(ticks) <= most
    assert ticks[-2] < high <= ticks[-1] * (1 + 1e-9)
    assert f"{ticks[1]:e}"[0] in "125"
    assert float(f"{ticks[1]:.0e}") == ticks[1]


@pytest.mark.parametrize(
    ("count", "most", "sizes"), [(4, 4, [1, 1, 1, 1]), (5, 4, [2, 2, 1]), (9, 4, [3, 3, 3]), (1, 4, [1])]
)
def test_thinned_points_are_means_of_neighbours(count: int, most: int, sizes: list[int]) -> None:
    points = [(float(x), float(x * x)) for x in range(count)]
    found, start = [], 0
    for size in sizes:
        part = points[start : start + size]
        found.append((sum(x for x, _ in part) / size, sum(y for _, y in part) / size))
        start += size
    assert thin(points, most) == found


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([10, 30], [10, 30]),
        ([10, 10], [4, 16]),
        ([30, 10], [30, 10]),
        ([10, 15, 100], [6.5, 18.5, 100]),
        ([0, 10, 20, 30], [-3, 9, 21, 33]),
        ([50], [50]),
        ([], []),
    ],
)
def test_labels_that_overlap_move_apart_around_their_places(wanted: list[float], expected: list[float]) -> None:
    assert spread(wanted, 12) == pytest.approx(expected)


def parse(lines: Sequence[Curve], **options: object) -> ElementTree.Element:
    return ElementTree.fromstring(line_chart("Loss", "nats", lines, **options))  # type: ignore[arg-type]


def texts(chart: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in chart.iter("text")]


def test_a_chart_by_hand() -> None:
    chart = parse([Curve("A", "one", [(0, 5), (5, 2.5), (10, 0)], colour=1, dash=2)], x_unit="epochs")
    (curve,) = [path for path in chart.iter("path") if "line" in path.get("class", "")]
    middle = (LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2
    assert curve.get("d") == f"M{LEFT}.0 {TOP}.0L{middle[0]} {middle[1]}L{RIGHT}.0 {BOTTOM}.0"
    assert curve.get("class") == "line c1 d2"
    assert texts(chart) == ["Loss nats", *"012345", "0", "2", "4", "6", "8", "10", "epochs", "A"]
    assert chart.get("aria-label") == "Loss, nats: A one ends at 0"
    assert "A one: 0 at the end" in ["".join(title.itertext()) for title in chart.iter("title")]


def test_levels_are_drawn_at_their_height_and_labelled() -> None:
    chart = parse([Curve("A", "one", [(0, 10), (1, 90)])], levels=[ReferenceLevel("chance 25%", 25)], top=100)
    (level,) = [path for path in chart.iter("path") if path.get("class") == "level"]
    assert level.get("d") == f"M{LEFT} {BOTTOM - (BOTTOM - TOP) / 4:.1f}H{RIGHT}"
    assert "chance 25%" in texts(chart)
    assert "100" in texts(chart)


def test_labels_of_curves_that_end_together_do_not_overlap() -> None:
    chart = parse([Curve(key, "x", [(0, 1), (4, 1)]) for key in "ABCD"])
    places = sorted(
        float(text.get("y", "")) for text in chart.iter("text") if (text.text or "") in "ABCD" and text.text
    )
    assert len(places) == 4
    assert min(b - a for a, b in pairwise(places)) >= 12 - 0.11  # each is rounded to 0.1


def key_places(count: int, height: float) -> list[float]:
    """Where the letters of curves stand that all end at one height, of 0 to 10."""
    chart = parse([Curve(f"A{i}", "x", [(0, 1), (4, height)]) for i in range(count)], top=10.0)
    return sorted(float(text.get("y", "")) for text in chart.iter("text") if "key" in text.get("class", ""))


@pytest.mark.parametrize("height", [0.0, 0.1, 5.0, 10.0])
@pytest.mark.parametrize("count", [1, 4, 15])
def test_letters_stay_within_the_axes(count: int, height: float) -> None:
    places = key_places(count, height)
    assert len(places) == count
    assert TOP + 4 <= places[0] <= places[-1] <= BOTTOM + 4
    assert all(b - a >= 12 - 0.11 for a, b in pairwise(places))


def test_40_curves_have_no_letters_and_are_all_drawn() -> None:
    assert key_places(40, 1.0) == []
    chart = parse([Curve(f"A{i}", "x", [(0, 1), (4, 1)]) for i in range(40)])
    assert sum("line" in path.get("class", "") for path in chart.iter("path")) == 40


def test_one_point_or_zeros_alone_are_drawn() -> None:
    chart = parse([Curve("A", "one", [(0, 0)])])
    (dot,) = chart.iter("circle")
    assert (dot.get("cx"), dot.get("cy")) == (f"{LEFT}.0", f"{BOTTOM}.0")


def test_names_are_escaped_and_styles_repeat() -> None:
    line = Curve("A", '<b>&"x"', [(0, 1), (1, 2)], colour=7, dash=5)
    chart = parse([line])
    assert '<b>&"x"' in chart.get("aria-label", "")
    assert line.style == "line c1 d1"
    (path,) = ElementTree.fromstring(swatch(line)).iter("path")
    assert path.get("class") == line.style


def test_a_long_training_stays_small() -> None:
    points = [(x / 100, 1.0) for x in range(20_000)]
    assert len(line_chart("Loss", "", [Curve("A", "one", points)])) < 6_000
