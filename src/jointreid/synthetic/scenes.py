"""Backgrounds: a wide picture of a place for each camera, of which every shot shows a part."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from jointreid.synthetic.looks import Colour, Random

_FINER = 2  # drawn this much larger, then averaged

Draw = ImageDraw.ImageDraw


def paint_scene(place: str, random: Random, height: int, width: int, horizon: float) -> NDArray[np.float32]:
    """Paint a place.

    Args:
        place: one of `PLACES`.
        random: makes every picture of a place another one.
        height: in pixels, 24 or more.
        width: in pixels.
        horizon: where the ground ends, as a share of the height from the top, in [0, 1].

    Returns:
        float32 [H, W, 3], linear RGB in [0, 1].
    """
    size = (width * _FINER, height * _FINER)
    canvas = Image.new("RGB", size)
    PLACES[place](ImageDraw.Draw(canvas), random, size, int(horizon * size[1]))
    canvas = canvas.filter(ImageFilter.GaussianBlur(_FINER * 0.8)).reduce(_FINER)
    pixels = np.asarray(canvas, np.float32) / 255
    coarse = random.normal(0, 1, (height // 4 + 1, width // 4 + 1, 1))
    grain = coarse.repeat(4, 0).repeat(4, 1)[:height, :width] + random.normal(0, 1, (height, width, 1))
    linear: NDArray[np.float32] = ((pixels * (1 + 0.022 * grain)).clip(0, 1) ** 2.2).astype(np.float32)
    return linear


def _rgb(colour: Colour, light: float = 1.0) -> tuple[int, int, int]:
    red, green, blue = (int(255 * min(1.0, max(0.0, channel * light))) for channel in colour)
    return red, green, blue


def _any_of(random: Random, *colours: Colour) -> Colour:
    base = colours[int(random.integers(len(colours)))]
    light = float(random.uniform(0.85, 1.15))
    return (base[0] * light, base[1] * light, base[2] * light)


# Grounds


def _paving(draw: Draw, random: Random, size: tuple[int, int], top: int, colour: Colour, joints: float = 0.8) -> None:
    """Tiles that grow towards the viewer."""
    width, height = size
    draw.rectangle((0, top, width, height), _rgb(colour))
    line = _rgb(colour, joints)
    depth = max(1, height - top)
    rows = int(random.integers(7, 12))
    for row in range(rows):
        y = top + int(depth * (row / rows) ** 1.5)
        draw.line((0, y, width, y), line, 1 + row // 4)
    middle = width * float(random.uniform(0.3, 0.7))
    gap = height * 0.16
    for column in range(-60, 61):
        draw.line((middle + column * gap * 0.45, top, middle + column * gap * 1.7, height), line, 2)


def _asphalt(draw: Draw, random: Random, size: tuple[int, int], top: int, colour: Colour) -> None:
    width, height = size
    draw.rectangle((0, top, width, height), _rgb(colour))
    kerb = top + int((height - top) * float(random.uniform(0.15, 0.4)))
    draw.rectangle((0, kerb, width, kerb + height // 60), _rgb((0.75, 0.75, 0.72)))
    draw.rectangle((0, top, width, kerb), _rgb(_any_of(random, (0.58, 0.56, 0.53), (0.5, 0.46, 0.42))))
    marks = kerb + (height - kerb) * 2 // 3
    for x in range(0, width, height // 2):
        draw.polygon(
            (x, marks, x + height // 5, marks, x + height // 4, marks + height // 40, x, marks + height // 40),
            _rgb((0.85, 0.85, 0.8)),
        )


def _lawn(draw: Draw, random: Random, size: tuple[int, int], top: int) -> None:
    width, height = size
    green = _any_of(random, (0.33, 0.47, 0.22), (0.42, 0.5, 0.26), (0.5, 0.48, 0.28))
    draw.rectangle((0, top, width, height), _rgb(green))
    for _ in range(500):
        x, y = int(random.integers(width)), int(random.integers(min(top, height - 1), height))
        draw.line((x, y, x + 2, y - height // 50), _rgb(green, float(random.uniform(0.75, 1.25))), 2)
    path = _any_of(random, (0.66, 0.6, 0.5), (0.55, 0.54, 0.52))
    low = top + (height - top) // 3
    draw.polygon((0, low, width, low + height // 12, width, height, 0, height), _rgb(path))


# Walls and objects in front of them


def _bricks(draw: Draw, random: Random, size: tuple[int, int], bottom: int) -> None:
    width, height = size
    colour = _any_of(random, (0.56, 0.34, 0.28), (0.62, 0.5, 0.4), (0.48, 0.42, 0.4))
    draw.rectangle((0, 0, width, bottom), _rgb(colour))
    row = max(4, height // 28)
    for index, y in enumerate(range(0, bottom, row)):
        draw.line((0, y, width, y), _rgb(colour, 1.25), 1)
        for x in range((index % 2) * row, width, 2 * row):
            draw.line((x, y, x, y + row), _rgb(colour, 1.25), 1)


def _panels(draw: Draw, random: Random, size: tuple[int, int], bottom: int) -> None:
    width, height = size
    colour = _any_of(random, (0.75, 0.74, 0.7), (0.6, 0.64, 0.68), (0.78, 0.7, 0.58), (0.45, 0.5, 0.52))
    draw.rectangle((0, 0, width, bottom), _rgb(colour))
    for x in range(0, width, height // 3):
        draw.line((x, 0, x, bottom), _rgb(colour, 0.8), 2)
    draw.rectangle((0, bottom - height // 24, width, bottom), _rgb(colour, 0.55))


def _windows(draw: Draw, random: Random, size: tuple[int, int], bottom: int, lit: float = 0.1) -> None:
    width, height = size
    step, tall = int(height * float(random.uniform(0.28, 0.5))), int(height * float(random.uniform(0.16, 0.3)))
    frame = _any_of(random, (0.85, 0.85, 0.85), (0.25, 0.25, 0.28))
    for x in range(step // 4, width, step):
        for y in range(bottom - height // 8 - tall, -tall, -(tall + height // 10)):
            glass = (0.9, 0.82, 0.55) if random.random() < lit else _any_of(random, (0.25, 0.32, 0.4), (0.4, 0.5, 0.58))
            draw.rectangle((x, y, x + step // 2, y + tall), _rgb(glass), _rgb(frame), 3)
            draw.line((x + step // 4, y, x + step // 4, y + tall), _rgb(frame), 2)


def _shops(draw: Draw, random: Random, size: tuple[int, int], bottom: int) -> None:
    width, height = size
    x = 0
    while x < width:
        wide = int(height * float(random.uniform(0.5, 1.1)))
        sign = _any_of(
            random, (0.75, 0.2, 0.2), (0.2, 0.4, 0.65), (0.9, 0.75, 0.25), (0.2, 0.5, 0.35), (0.85, 0.85, 0.85)
        )
        draw.rectangle(
            (x, bottom - int(height * 0.34), x + wide, bottom),
            _rgb(_any_of(random, (0.3, 0.34, 0.38), (0.6, 0.58, 0.5))),
        )
        for pane in range(3):
            left = x + wide * pane // 3
            draw.rectangle(
                (left + 4, bottom - int(height * 0.3), left + wide // 3 - 4, bottom - 6),
                _rgb(_any_of(random, (0.65, 0.66, 0.6), (0.4, 0.46, 0.5))),
            )
        draw.rectangle((x, bottom - int(height * 0.44), x + wide, bottom - int(height * 0.34)), _rgb(sign))
        x += wide


def _trees(draw: Draw, random: Random, size: tuple[int, int], bottom: int, bare: bool = False) -> None:
    width, height = size
    for _ in range(int(random.integers(4, 9))):
        x, tall = int(random.integers(width)), int(height * float(random.uniform(0.35, 0.8)))
        trunk = max(4, height // 40)
        draw.rectangle((x, bottom - tall, x + trunk, bottom + height // 30), _rgb((0.3, 0.23, 0.17)))
        leaves = _any_of(random, (0.22, 0.36, 0.16), (0.32, 0.44, 0.2), (0.55, 0.42, 0.18))
        for _ in range(0 if bare else 22):
            cx = x + float(random.normal(0, height * 0.09))
            cy = bottom - tall + float(random.normal(0, height * 0.08))
            r = height * float(random.uniform(0.03, 0.08))
            draw.ellipse((cx - r, cy - r, cx + r, cy + r), _rgb(leaves, float(random.uniform(0.7, 1.25))))


def _cars(draw: Draw, random: Random, size: tuple[int, int], bottom: int) -> None:
    width, height = size
    for _ in range(int(random.integers(2, 6))):
        x, long, tall = int(random.integers(width)), int(height * 0.75), int(height * 0.13)
        y = bottom + int(height * float(random.uniform(0.0, 0.06)))
        paint = _any_of(
            random, (0.85, 0.85, 0.85), (0.15, 0.16, 0.18), (0.55, 0.12, 0.12), (0.25, 0.32, 0.5), (0.6, 0.6, 0.62)
        )
        draw.polygon(
            (
                x + long // 5,
                y - tall,
                x + long // 3,
                y - tall * 2,
                x + long * 2 // 3,
                y - tall * 2,
                x + long * 5 // 6,
                y - tall,
            ),
            _rgb((0.25, 0.3, 0.34)),
        )
        draw.rounded_rectangle((x, y - tall, x + long, y), tall // 3, _rgb(paint))
        for wheel in (x + long // 6, x + long * 4 // 6):
            draw.ellipse((wheel, y - tall // 2, wheel + tall, y + tall // 2), _rgb((0.08, 0.08, 0.08)))


def _furniture(draw: Draw, random: Random, size: tuple[int, int], bottom: int) -> None:
    """Poles, bins, benches and signs."""
    width, height = size
    for _ in range(int(random.integers(3, 8))):
        x, kind = int(random.integers(width)), int(random.integers(4))
        dark = _rgb(_any_of(random, (0.2, 0.22, 0.22), (0.45, 0.45, 0.45), (0.2, 0.33, 0.25)))
        if kind == 0:
            draw.rectangle((x, 0, x + height // 45, bottom + height // 20), dark)
        elif kind == 1:
            draw.rectangle((x, bottom - height // 9, x + height // 12, bottom + height // 30), dark)
        elif kind == 2:
            draw.rectangle((x, bottom - height // 14, x + height // 3, bottom - height // 24), _rgb((0.45, 0.32, 0.2)))
            for leg in (x + 6, x + height // 3 - 10):
                draw.rectangle((leg, bottom - height // 24, leg + 5, bottom + height // 40), dark)
        else:
            draw.rectangle((x, bottom - height // 3, x + 5, bottom), dark)
            face = _any_of(random, (0.2, 0.35, 0.65), (0.8, 0.25, 0.2), (0.9, 0.9, 0.9))
            draw.rectangle((x - height // 16, bottom - height // 3, x + height // 16, bottom - height // 4), _rgb(face))


# Places


def _street(draw: Draw, random: Random, size: tuple[int, int], horizon: int) -> None:
    _bricks(draw, random, size, horizon) if random.random() < 0.5 else _panels(draw, random, size, horizon)
    _windows(draw, random, size, horizon)
    if random.random() < 0.5:
        _shops(draw, random, size, horizon)
    _asphalt(draw, random, size, horizon, _any_of(random, (0.38, 0.38, 0.39), (0.5, 0.5, 0.5)))
    _cars(draw, random, size, horizon)
    _furniture(draw, random, size, horizon)


def _plaza(draw: Draw, random: Random, size: tuple[int, int], horizon: int) -> None:
    draw.rectangle((0, 0, size[0], horizon), _rgb(_any_of(random, (0.68, 0.78, 0.88), (0.82, 0.84, 0.86))))
    _shops(draw, random, size, horizon)
    _trees(draw, random, size, horizon)
    _paving(draw, random, size, horizon, _any_of(random, (0.7, 0.67, 0.62), (0.62, 0.55, 0.5), (0.58, 0.6, 0.6)))
    _furniture(draw, random, size, horizon)


def _park(draw: Draw, random: Random, size: tuple[int, int], horizon: int) -> None:
    draw.rectangle((0, 0, size[0], horizon), _rgb(_any_of(random, (0.7, 0.8, 0.88), (0.8, 0.82, 0.82))))
    _trees(draw, random, size, horizon)
    _lawn(draw, random, size, horizon)
    _trees(draw, random, size, horizon, bare=random.random() < 0.3)
    _furniture(draw, random, size, horizon)


def _winter(draw: Draw, random: Random, size: tuple[int, int], horizon: int) -> None:
    draw.rectangle((0, 0, size[0], horizon), _rgb(_any_of(random, (0.72, 0.74, 0.76), (0.6, 0.62, 0.66))))
    _bricks(draw, random, size, horizon)
    _windows(draw, random, size, horizon, lit=0.25)
    _paving(draw, random, size, horizon, _any_of(random, (0.55, 0.54, 0.52), (0.78, 0.79, 0.82)), joints=0.88)
    _trees(draw, random, size, horizon, bare=True)
    _furniture(draw, random, size, horizon)


def _corridor(draw: Draw, random: Random, size: tuple[int, int], horizon: int) -> None:
    _panels(draw, random, size, horizon)
    for _ in range(int(random.integers(3, 7))):
        x, tall = int(random.integers(size[0])), int(size[1] * 0.5)
        draw.rectangle(
            (x, horizon - tall, x + int(tall * 0.45), horizon),
            _rgb(_any_of(random, (0.5, 0.36, 0.24), (0.35, 0.4, 0.45), (0.8, 0.78, 0.72))),
            (40, 40, 40),
            2,
        )
    _paving(
        draw, random, size, horizon, _any_of(random, (0.72, 0.7, 0.66), (0.5, 0.52, 0.54), (0.6, 0.5, 0.42)), joints=0.9
    )


def _station(draw: Draw, random: Random, size: tuple[int, int], horizon: int) -> None:
    _panels(draw, random, size, horizon)
    _windows(draw, random, size, horizon, lit=0.6)
    _paving(draw, random, size, horizon, _any_of(random, (0.52, 0.52, 0.54), (0.66, 0.64, 0.6)))
    edge = horizon + (size[1] - horizon) // 4
    draw.rectangle((0, edge, size[0], edge + size[1] // 50), _rgb((0.85, 0.72, 0.2)))
    for x in range(int(random.integers(size[1])), size[0], int(size[1] * 1.3)):
        draw.rectangle((x, 0, x + size[1] // 9, horizon + size[1] // 12), _rgb((0.45, 0.46, 0.5)))
    _furniture(draw, random, size, horizon)


def _court(draw: Draw, random: Random, size: tuple[int, int], horizon: int) -> None:
    _panels(draw, random, size, horizon)
    _windows(draw, random, size, horizon)
    _lawn(draw, random, size, horizon)
    _furniture(draw, random, size, horizon)


PLACES: dict[str, Callable[[Draw, Random, tuple[int, int], int], None]] = {
    "street": _street,
    "plaza": _plaza,
    "park": _park,
    "winter": _winter,
    "corridor": _corridor,
    "station": _station,
    "court": _court,
}
