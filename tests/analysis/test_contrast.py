"""Text on the pages stands out from what is behind it, in every colour scheme: 4.5 to 1, as WCAG 2 asks for."""

import re
from importlib.resources import files

import pytest

from jointreid.analysis.heat_map import STRONGEST
from jointreid.conflict.charts import _STRONGEST as STRONGEST_OF_CONFLICT

STYLE = files("jointreid.analysis").joinpath("report.css").read_text(encoding="utf-8")
LEAST = 4.5

Colour = list[float]


def scheme(name: str) -> dict[str, str]:
    """The variables of a colour scheme: those of `:root`, which the others change."""
    light, dark, printed = re.findall(r":root \{([^}]*)\}", STYLE)
    changes = {"light": "", "dark": dark, "print": printed}[name]
    return dict(re.findall(r"--(\w+): ([^;]+);", light + changes))


def colour(text: str) -> Colour:
    digits = text.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    return [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]


def luminance(of: Colour) -> float:
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in of)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: Colour, b: Colour) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_and_white() -> None:
    assert contrast(colour("#000"), colour("#fff")) == pytest.approx(21)
    assert contrast(colour("#777777"), colour("#ffffff")) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("name", ["light", "dark", "print"])
def test_text_stands_out(name: str) -> None:
    values = scheme(name)
    paper, ink = colour(values["paper"]), colour(values["ink"])
    for key in ("soft", "c0", "c1", "c2", "c3", "c4", "c5"):  # small text and the keys of curves
        assert contrast(colour(values[key]), paper) >= LEAST, key
    for key, percent in (("c0", STRONGEST), ("c1", STRONGEST), ("wrong", STRONGEST_OF_CONFLICT)):
        share = percent / 100 * float(values["strength"])
        behind = [share * a + (1 - share) * b for a, b in zip(colour(values[key]), paper, strict=True)]
        assert contrast(ink, behind) >= LEAST, key
    assert "opacity" not in "".join(re.findall(r"\.heat[^{]*\{[^}]*\}", STYLE))
