"""A grid of scatter plots: the picture's bytes, and what tells the classes apart."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.cbook
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jointreid.analysis.scatter import COLOURS, SHAPES, ScatterPanel, scatter_grid


def draw(classes: int = 3, names: Sequence[str] = ()) -> bytes:
    points = np.random.default_rng(0).normal(size=(5 * classes, 2))
    rows = [
        [ScatterPanel("one", points), ScatterPanel("two\nlines", points)],
        [ScatterPanel("far", points + 1e4), ScatterPanel("same", 0 * points)],
    ]
    ids = np.repeat(np.arange(classes), 5)
    return scatter_grid(["Left", "Right"], rows, names or [f"class {i}" for i in range(classes)], ids, "below\nthem")


@pytest.mark.slow
def test_the_same_points_give_the_same_bytes_with_any_matplotlib_settings() -> None:
    before = draw()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 50}):
        assert draw() == before
        assert matplotlib.rcParams["font.size"] == 30
    with Image.open(BytesIO(before)) as image:
        assert image.width == 1800
        assert "Software" not in image.info  # nothing but the picture


@pytest.mark.slow
def test_the_picture_shows_every_colour_on_white(tmp_path: Path) -> None:
    with Image.open(BytesIO(draw(7))) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(float)
    assert tuple(pixels[0]) == (255, 255, 255)
    for colour in COLOURS:
        solid = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        shown = 255 + 0.8 * (solid - 255)
        assert (np.abs(pixels - shown).max(axis=1) < 3).sum() > 100, colour


def test_56_classes_differ_in_colour_or_shape() -> None:
    looks = {(COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)]) for i in range(56)}
    assert len(looks) == 56


@pytest.mark.slow
@pytest.mark.filterwarnings("error")  # of a letter that the font lacks
def test_names_are_drawn_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    draw(3, ["_hidden", "a$b$c", "plain"])
    (legend,) = figures[0].legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["\u200b_hidden", r"a\$b\$c", "plain"]
    assert not any(map(matplotlib.cbook.is_math_text, texts))
