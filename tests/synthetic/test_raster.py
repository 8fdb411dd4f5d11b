"""Pixels of limbs, against a slow walk over all subpixels and places on the cloth whose colour is known."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jointreid.synthetic import raster
from jointreid.synthetic.raster import KNOTS, LOGOS, PATTERNS, STRAP_KINDS, SUBPIXELS, render

pytestmark = pytest.mark.slow  # its kernels are compiled first

HEIGHT, WIDTH = 16, 20
ALL_AROUND = (0, 0, 1, 0, 1)  # no light from one side
RED, GREEN, BLUE, WHITE = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)


def limb(
    a: tuple[float, float],
    b: tuple[float, float],
    wide: float | tuple[float, float],
    deep: float = 1.0,
    material: int = 0,
    caps: tuple[int, int] = (1, 1),
    depth: float = 0.0,
    facing: float = 0.0,
    size: tuple[float, float] = (1.0, 0.1),
) -> list[float]:
    """A row of `render`: ends in subpixels, the half-widths at both of them, length and half-width in metres."""
    first, last = (wide, wide) if isinstance(wide, int | float) else wide
    widths = np.linspace(first, last, KNOTS).tolist()
    return [*a, depth, *b, depth, *caps, material, facing, *size, *widths, *[deep] * KNOTS]


def cloth(**columns: Any) -> list[float]:
    """A material of red with green and blue, and white straps; `columns` are those of the raster, by name.

    `base_green` is the green of its base.
    """
    row = [0.0] * raster.MATERIAL_COLUMNS
    for start, colour in ((raster.BASE, RED), (raster.SECOND, GREEN), (raster.THIRD, BLUE)):
        row[start : start + 3] = colour
    row[raster.STRAP_COLOUR : raster.STRAP_COLOUR + 3] = WHITE
    row[raster.LOGO_WIDE], row[raster.LOGO_FROM], row[raster.LOGO_TO] = 0.6, 0.2, 0.6
    row[raster.BASE + 1] = columns.pop("base_green", 0)
    for name, value in columns.items():
        row[getattr(raster, name.upper())] = value
    return row


def picture(
    limbs: list[list[float]],
    materials: list[list[float]] | None = None,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    light: tuple[float, ...] = ALL_AROUND,
) -> NDArray[np.float32]:
    rows = np.array(limbs, np.float32).reshape(-1, raster.LIMB_COLUMNS)
    return render(rows, np.array(materials or [cloth()], np.float32), *size, np.array(light, np.float32))


# Which pixels


def slow_coverage(row: list[float]) -> NDArray[np.float64]:
    """Look at every subpixel whether it is nearer to the axis than the limb is wide there."""
    ax, ay, bx, by = row[raster.AX], row[raster.AY], row[raster.BX], row[raster.BY]
    widths = row[raster.WIDTH : raster.WIDTH + KNOTS]
    inside = np.zeros((HEIGHT * SUBPIXELS, WIDTH * SUBPIXELS))
    for y, x in np.ndindex(inside.shape):
        px, py = x + 0.5 - ax, y + 0.5 - ay
        square = (bx - ax) ** 2 + (by - ay) ** 2
        place = (px * (bx - ax) + py * (by - ay)) / square if square else 0.0
        if (place < 0 and not row[raster.CAP_A]) or (place > 1 and not row[raster.CAP_B]):
            continue
        place = min(1.0, max(0.0, place))
        wide = np.interp(place * (KNOTS - 1), range(KNOTS), widths)
        inside[y, x] = math.hypot(px - place * (bx - ax), py - place * (by - ay)) < wide
    share: NDArray[np.float64] = inside.reshape(HEIGHT, SUBPIXELS, WIDTH, SUBPIXELS).mean((1, 3))
    return share


@pytest.mark.parametrize(
    "row",
    [
        limb((30, 24), (30, 24), 10),
        limb((20.3, 24.1), (41.2, 23.7), 7.2),
        limb((30, 8), (30, 40), 7.5, caps=(0, 0)),
        limb((30, 8), (30, 40), 7.5, caps=(1, 0)),
        limb((13.1, 9.4), (44.7, 38.2), (9.3, 2.1)),
        limb((13.1, 38.2), (44.7, 9.4), (0.0, 8.4), caps=(0, 1)),
        limb((-4, 20), (70, 31), (6.1, 14.2)),
        limb((3.2, 60), (55, 44.3), 5.7),
    ],
    ids=["disc", "level", "cut", "cut at one end", "tapered", "pointed", "beyond both sides", "beyond the ground"],
)
def test_coverage_is_the_share_of_subpixels_within_the_limb(row: list[float]) -> None:
    np.testing.assert_allclose(picture([row])[..., 3], slow_coverage(row), atol=1e-6)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [limb((30, 24), (30, 24), 0)],
        [limb((30, 24), (40, 24), 0)],
        [limb((-90, -90), (-60, -90), 9)],
        [limb((30, 900), (30, 990), 9)],
    ],
    ids=["no limbs", "a point", "a line", "far to the left", "far below"],
)
def test_nothing_is_seen(rows: list[list[float]]) -> None:
    assert not picture(rows).any()


@pytest.mark.parametrize("caps", [(0, 0), (1, 1)])
@pytest.mark.parametrize("pattern", range(len(PATTERNS)))
def test_limbs_without_length_or_depth_are_finite(pattern: int, caps: tuple[int, int]) -> None:
    material = cloth(pattern=pattern, period=0.1, logo=1, straps=1, folds=0.5, shine=0.5)
    rows = [limb((30, 24), (30, 24), 200, deep=0, caps=caps, size=(0.0, 0.0)), limb((20, 9), (20, 9.01), 5, caps=caps)]
    seen = picture(rows, [material], light=(0.6, 0, 0.8, 1, 1))
    assert np.isfinite(seen).all()
    assert seen[..., 3].min() >= 0
    assert seen[..., 3].max() == pytest.approx(1, abs=1e-6)


# What is in front


GREEN_CLOTH = cloth(base=0, base_green=1)


@pytest.mark.parametrize("turned", [False, True])
def test_the_nearest_limb_is_seen_in_whatever_order(turned: bool) -> None:
    rows = [limb((10, 24), (50, 24), 6, depth=5), limb((30, 6), (30, 42), 6, material=1)]
    seen = picture(rows[::-1] if turned else rows, [cloth(), GREEN_CLOTH])
    assert seen[8, 10, 0] > 0.5  # where they cross, the red one is 5 nearer
    assert not seen[8, 10, 1]
    assert seen[3, 10, 1] > 0.5
    assert not seen[3, 10, 0]


def test_a_limb_bulges_through_a_thinner_one_before_it() -> None:
    rows = [limb((30, 6), (30, 42), 9, deep=12), limb((10, 24), (50, 24), 9, deep=1, depth=8, material=1)]
    seen = picture(rows, [cloth(), GREEN_CLOTH])
    assert seen[8, 10, 0] > 0.5  # in the middle the red one is 12 before its axis, the green one at 9
    assert not seen[8, 10, 1]
    assert seen[8, 12, 1] > 0.5  # towards its sides it is farther away
    assert not seen[8, 12, 0]


# Light


@pytest.mark.parametrize(
    ("light", "middle"),
    [
        ((0, 0, 1, 1.0, 0), 1.0),
        ((0, 0, 1, 0.5, 0), 0.5),
        ((0, 0, -1, 1.0, 0), 0.0),
        ((0, 0, 1, 0, 1.0), 0.78),
        ((0.8, 0, 0.6, 1.0, 1.0), 0.6 + 0.78),
    ],
    ids=["from the viewer", "weaker", "from behind", "from all around", "both"],
)
def test_what_faces_the_viewer_is_lit(light: tuple[float, ...], middle: float) -> None:
    seen = picture([limb((30, -99), (30, 147), 27)], light=light)
    assert seen[8, 9:11, 0].mean() == pytest.approx(middle, rel=0.02)
    assert not seen[..., 1:3].any()


def test_the_side_towards_the_light_is_brighter() -> None:
    upright = limb((30, -99), (30, 147), 27)
    right = picture([upright], light=(0.9, 0, 0.436, 1, 0))[8, :, 0]
    left = picture([upright], light=(-0.9, 0, 0.436, 1, 0))[8, :, 0]
    assert right[16] > 2 * right[6] > 0
    np.testing.assert_allclose(right, left[::-1], atol=1e-4)
    lying = limb((-99, 24), (159, 24), 20)
    sky = picture([lying])[:, 10, 0]
    assert sky[3] > 1.2 * sky[12]  # more comes from the sky than from the ground


def test_folds_change_lightness_and_not_hue() -> None:
    wide, material = limb((30, -99), (30, 147), 27), cloth(folds=0.4)
    material[raster.BASE : raster.BASE + 3] = (0.8, 0.4, 0.2)
    seen = picture([wide], [material])
    plain = cloth()
    plain[raster.BASE : raster.BASE + 3] = (0.8, 0.4, 0.2)
    share = seen[:, 2:-2, :3] / picture([wide], [plain])[:, 2:-2, :3]
    np.testing.assert_allclose(share, share[..., :1].repeat(3, -1), rtol=1e-4)
    assert 0.79 < share.min() < 0.95 < 1.05 < share.max() < 1.21


# Colours, at an angle around a limb and a share of the way down it


def colour_at(material: list[float], angle: float, place: float, facing: float = 0.0) -> str:
    """Say which colour of a material is seen on an upright limb, 1 m long and 0.1 m thick, that is turned."""
    high, wide, radius = 60, 60, 84.0
    seen = picture(
        [limb((90, 0), (90, 180), radius, deep=radius, caps=(0, 0), facing=facing)], [material], size=(high, wide)
    )
    x = (90 + radius * math.sin(angle - facing)) / SUBPIXELS
    colour = seen[int(place * high), int(x), :3]
    assert colour.max() > 0.1
    return {(1, 0, 0): "base", (0, 1, 0): "second", (0, 0, 1): "third", (1, 1, 1): "strap"}[
        tuple((colour > 0.6 * colour.max()).astype(int).tolist())
    ]


BACK = math.pi
PLACES: list[tuple[str, float, float, float, str]] = [
    ("plain", 0.1, 0, 0.5, "base"),
    ("hoops", 0.1, 0.5, 0.22, "second"),
    ("hoops", 0.1, 0.5, 0.27, "base"),
    ("pinstripes", 0.06, 0.09, 0.5, "second"),
    ("pinstripes", 0.06, 0.4, 0.5, "base"),
    ("checks", 0.1, 0.25, 0.22, "base"),
    ("checks", 0.1, 0.25, 0.27, "second"),
    ("checks", 0.1, 0.75, 0.22, "second"),
    ("checks", 0.1, 0.75, 0.27, "third"),
    ("dots", 0.1, 0.5, 0.05, "second"),
    ("dots", 0.1, 0.5, 0.15, "base"),
    ("dots", 0.1, 0.0, 0.15, "second"),  # every other row is shifted
    ("dots", 0.1, 0.0, 0.05, "base"),
    ("band", 0.2, 0, 0.4, "second"),
    ("band", 0.2, 0, 0.25, "base"),
    ("band", 0.2, 0, 0.55, "base"),
    ("yoke", 0.4, 0, 0.3, "second"),
    ("yoke", 0.4, 0, 0.5, "base"),
    ("sides", 0.5, 1.3, 0.5, "second"),
    ("sides", 0.5, -1.3, 0.5, "second"),
    ("sides", 0.5, 0.8, 0.5, "base"),
    ("diagonal", 0.2, 0, 0.04, "second"),
    ("diagonal", 0.2, 0, 0.14, "base"),
    ("diagonal", 0.2, 0.6, 0.04, "base"),
    ("open", 0.4, 0, 0.5, "second"),
    ("open", 0.4, 0.7, 0.5, "base"),
    ("open", 0.4, BACK, 0.5, "base"),
    ("faded", 0.1, 0, 0.4, "second"),
    ("faded", 0.1, 0, 0.8, "base"),
    ("faded", 0.1, BACK, 0.4, "base"),
    ("head", 0.2, 0, 0.1, "second"),
    ("head", 0.2, 0, 0.35, "base"),
    ("head", 0.2, 0.4, 0.5, "third"),
    ("head", 0.2, -0.4, 0.5, "third"),
    ("head", 0.2, 0, 0.5, "base"),
    ("head", 0.2, 0, 0.95, "base"),
    ("head", 0.2, BACK, 0.5, "second"),
    ("beard", 0.2, 0, 0.95, "second"),
    ("beard", 0.2, 0, 0.35, "base"),
    ("shoe", 0.1, 0, 0.5, "base"),
    ("shoe", 0.1, BACK, 0.5, "second"),
    ("hem", 0.2, 0, 0.9, "second"),
    ("hem", 0.2, 0, 0.7, "base"),
]


@pytest.mark.parametrize(("pattern", "period", "angle", "place", "colour"), PLACES)
def test_a_pattern_has_its_colours_in_their_places(
    pattern: str, period: float, angle: float, place: float, colour: str
) -> None:
    material = cloth(pattern=PATTERNS.index(pattern), period=period)
    assert colour_at(material, angle, place, facing=BACK if angle == BACK else 0.0) == colour


def test_flowers_are_of_three_colours_and_differ_from_cloth_to_cloth() -> None:
    row = limb((90, 0), (90, 180), 84, caps=(0, 0))
    one, other = (
        picture([row], [cloth(pattern=PATTERNS.index("flowers"), period=0.02, seed=seed)], size=(60, 60))
        for seed in (3.0, 4.5)
    )
    assert one[..., :3].sum((0, 1)).min() > 0.05 * one[..., :3].sum()
    assert np.abs(one - other).mean() > 0.1
    assert {pattern for pattern, *_ in PLACES} | {"flowers"} == set(PATTERNS)


LOGO_PLACES: list[tuple[str, float, float, bool]] = [  # angle and share of the way, from the middle of the logo
    ("none", 0, 0, False),
    ("disc", 0, 0, True),
    ("disc", 0.5, 0.17, False),
    ("block", 0.5, 0.17, True),
    ("block", 0.58, 0, False),
    ("ring", 0, 0, False),
    ("ring", 0.45, 0, True),
    ("ring", -0.45, 0, True),
    ("lines", 0.3, -0.18, True),
    ("lines", 0.3, -0.1, False),
    ("wedge", 0.05, 0.15, True),
    ("wedge", 0.5, -0.15, False),
    ("cross", 0, 0.15, True),
    ("cross", 0.4, 0, True),
    ("cross", 0.4, 0.15, False),
]


@pytest.mark.parametrize(("logo", "angle", "place", "coloured"), LOGO_PLACES)
@pytest.mark.parametrize("side", [0.0, BACK])
def test_a_logo_has_its_shape_and_is_on_one_side_only(
    logo: str, angle: float, place: float, coloured: bool, side: float
) -> None:
    material = cloth(logo=LOGOS.index(logo), logo_angle=side)
    assert colour_at(material, angle + side, 0.4 + place, facing=side) == ("third" if coloured else "base")
    assert colour_at(material, angle + side + BACK, 0.4 + place, facing=side + BACK) == "base"
    assert {name for name, *_ in LOGO_PLACES} == set(LOGOS)


@pytest.mark.parametrize(
    ("kind", "angle", "place", "facing", "strap"),
    [
        ("none", 0.62, 0.3, 0, False),
        ("two", 0.62, 0.3, 0, True),
        ("two", -0.62, 0.3, 0, True),
        ("two", 0, 0.3, 0, False),
        ("two", 0.62, 0.8, 0, False),
        ("two", BACK - 0.62, 0.3, BACK, False),
        ("left", -0.8, 0.1, 0, True),  # a bag on the left hangs from the right shoulder
        ("left", 0.8, 0.8, 0, True),
        ("left", 0.8, 0.1, 0, False),
        ("left", BACK + 0.8, 0.1, BACK, True),
        ("left", BACK - 0.8, 0.8, BACK, True),
        ("right", 0.8, 0.1, 0, True),
        ("right", -0.8, 0.8, 0, True),
        ("right", -0.8, 0.1, 0, False),
    ],
)
def test_straps_run_over_the_cloth(kind: str, angle: float, place: float, facing: float, strap: bool) -> None:
    material = cloth(straps=STRAP_KINDS.index(kind))
    assert colour_at(material, angle, place, facing) == ("strap" if strap else "base")


@pytest.mark.parametrize("turns", [-3, 0, 2])
def test_a_limb_turned_right_round_looks_the_same(turns: int) -> None:
    material = cloth(pattern=PATTERNS.index("pinstripes"), period=0.06, logo=1, straps=2)
    one, other = (
        picture([limb((30, 2), (30, 46), 20, facing=0.7 + turn * 2 * math.pi)], [material]) for turn in (0, turns)
    )
    np.testing.assert_allclose(one, other, atol=1e-4)
