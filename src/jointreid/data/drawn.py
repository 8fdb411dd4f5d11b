"""Small data sets of drawn figures, for the demo and the tests: no person is shown, nothing is downloaded.

An identity is how the parts of a figure are coloured and patterned, a camera is its light, a domain is its background
and its palette. Identities of a domain share one palette, so that which colours occur says less than where they are.
"""

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from jointreid.data.manifest import write_manifest
from jointreid.data.records import Domain, ImageRecord
from jointreid.errors import JointreidError

Colour = tuple[int, int, int]

CAMERAS = 3
_PATTERNS = ("plain", "band", "stripes", "halves")
_CUTS = ("trousers", "skirt", "shorts")
_EXTRAS = ("none", "bag", "scarf")
_OVERSAMPLING = 4  # drawn this much larger, then averaged: smooth edges at any size


class _Style(NamedTuple):
    """What the images of a domain have in common."""

    background: Callable[[ImageDraw.ImageDraw, int, int], None]
    skin: Colour
    palette: tuple[Colour, ...]


class _Look(NamedTuple):
    """What the images of an identity have in common."""

    hair: Colour
    upper: Colour
    second: Colour  # of pattern, shoes and extra; never that of `upper`, so no two looks draw the same figure
    lower: Colour
    pattern: str
    cut: str
    extra: str


class _Light(NamedTuple):
    """What the images of a camera have in common: gains per RGB channel, an offset and noise, in [0, 1] intensities."""

    gain: NDArray[np.float64]
    offset: float
    noise: float


def _bricks(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    draw.rectangle((0, 0, width, height), (148, 96, 80))
    rows = height // 12
    for y in range(0, height, rows):
        draw.line((0, y, width, y), (190, 170, 160), 2)
        for x in range((y // rows % 2) * rows, width, 2 * rows):
            draw.line((x, y, x, y + rows), (190, 170, 160), 2)


def _meadow(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    draw.rectangle((0, 0, width, height // 3), (150, 190, 220))
    draw.rectangle((0, height // 3, width, height), (96, 140, 76))
    draw.polygon((0, height, width, height, width * 2 // 3, height // 3, width // 2, height // 3), (170, 160, 130))


def _night(draw: ImageDraw.ImageDraw, width: int, height: int) -> None:
    draw.rectangle((0, 0, width, height), (28, 30, 48))
    for column in range(3):
        for row in range(4):
            x, y = width * (2 * column + 1) // 7, height * (2 * row + 1) // 14
            draw.rectangle((x, y, x + width // 10, y + height // 20), (150, 140, 80))


_STYLES = {
    "bricks": _Style(_bricks, (224, 182, 150), ((178, 44, 46), (46, 78, 150), (216, 190, 84), (60, 60, 64))),
    "meadow": _Style(_meadow, (198, 150, 116), ((226, 120, 44), (70, 128, 140), (128, 62, 110), (240, 236, 200))),
    "night": _Style(_night, (140, 112, 96), ((110, 40, 60), (40, 84, 110), (104, 98, 58), (86, 84, 96))),
}


def draw_dataset(
    folder: str | Path,
    *,
    domains: int = len(_STYLES),
    train_ids: int = 24,
    test_ids: int = 12,
    images_per_id: int = 6,
    height: int = 64,
    width: int = 32,
    seed: int = 0,
) -> Path:
    """Draw data sets and their manifest, over what an earlier call drew in the same folder.

    Every identity stands before each of three cameras in turn. Of a test identity, the first image at each camera is a
    query and the others are the gallery, so each query has a match at another camera.

    Args:
        folder: where to draw: `manifest.csv`, and the images as PNG in `images/<domain>/`.
        domains: how many, at most three.
        train_ids: identities a domain to train on.
        test_ids: other identities a domain, to search for.
        images_per_id: images of each identity.
        height: of an image, in pixels.
        width: of an image, in pixels.
        seed: of looks, lights and poses; equal arguments draw equal files, by one version of Pillow.

    Returns:
        The path of the manifest.

    Raises:
        JointreidError: a number is out of range: more domains or identities than there are styles or looks, fewer than
            two images of an identity a camera, or images smaller than 16 pixels.
    """
    _require(1 <= domains <= len(_STYLES), "domains", domains, f"1 to {len(_STYLES)}")
    _require(train_ids >= 1 and test_ids >= 1, "train_ids and test_ids", (train_ids, test_ids), "1 or more each")
    _require(train_ids + test_ids <= 1000, "train_ids and test_ids", (train_ids, test_ids), "1000 together at most")
    _require(images_per_id >= 2 * CAMERAS, "images_per_id", images_per_id, f"{2 * CAMERAS} or more: two a camera")
    _require(min(height, width) >= 16, "height and width", (height, width), "at least 16 pixels each")
    manifest = Path(folder) / "manifest.csv"
    drawn = []
    for index, (name, style) in enumerate(list(_STYLES.items())[:domains]):
        images = manifest.parent / "images" / name
        images.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng([seed, index])
        lights = [_draw_light(random) for _ in range(CAMERAS)]
        splits: dict[str, list[ImageRecord]] = {"train": [], "query": [], "gallery": []}
        for pid, look in enumerate(_draw_looks(random, train_ids + test_ids, style.palette)):
            for shot in range(images_per_id):
                camid = shot % CAMERAS
                path = images / f"{pid:04d}_c{camid}_{shot:02d}.png"
                _save(_photograph(style, look, lights[camid], height, width, random), path)
                split = "train" if pid < train_ids else "query" if shot < CAMERAS else "gallery"
                splits[split].append(ImageRecord(path, f"{pid:04d}", camid))
        drawn.append(Domain(name, tuple(splits["train"]), tuple(splits["query"]), tuple(splits["gallery"])))
    write_manifest(drawn, manifest)
    return manifest


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise JointreidError(f"draw_dataset: {name} is {value}; expected {expected}")


def _draw_looks(random: np.random.Generator, count: int, palette: Sequence[Colour]) -> list[_Look]:
    """Return different looks, chosen among all there are."""
    pairs = list(itertools.permutations(palette, 2))
    looks = [
        _Look(hair, upper, second, lower, pattern, cut, extra)
        for hair, (upper, second), lower, pattern, cut, extra in itertools.product(
            palette, pairs, palette, _PATTERNS, _CUTS, _EXTRAS
        )
    ]
    return [looks[index] for index in random.choice(len(looks), count, replace=False)]


def _draw_light(random: np.random.Generator) -> _Light:
    return _Light(random.uniform(0.85, 1.15, 3), random.uniform(-0.04, 0.04), random.uniform(0.01, 0.03))


def _photograph(
    style: _Style, look: _Look, light: _Light, height: int, width: int, random: np.random.Generator
) -> Image.Image:
    """Return one image of an identity in a pose of its own, as its camera sees it."""
    size = (width * _OVERSAMPLING, height * _OVERSAMPLING)
    canvas = Image.new("RGB", size)
    draw = ImageDraw.Draw(canvas)
    style.background(draw, *size)
    _draw_figure(draw, style, look, size, random)
    pixels = np.asarray(canvas.reduce(_OVERSAMPLING), np.float64) / 255
    pixels = pixels * light.gain + light.offset + random.normal(0, light.noise, pixels.shape)
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))


def _draw_figure(
    draw: ImageDraw.ImageDraw, style: _Style, look: _Look, size: tuple[int, int], random: np.random.Generator
) -> None:
    """Draw a figure; x and y of its parts are shares of its own width and height, y downwards."""
    scale, left, top, stride = random.uniform((0.78, -0.08, 0.0, -0.1), (1.0, 0.08, 0.06, 0.1))
    left += (1 - scale) / 2

    def place(*shares: float) -> list[float]:
        offsets = (left, top)
        return [(offsets[i % 2] + scale * share) * size[i % 2] for i, share in enumerate(shares)]

    for leg in (0.3 + stride, 0.54 - stride):
        draw.rectangle(place(leg, 0.55, leg + 0.16, 0.9), look.lower if look.cut == "trousers" else style.skin)
        draw.rectangle(place(leg, 0.9, leg + 0.16, 0.95), look.second)
    if look.cut == "skirt":
        draw.polygon(place(0.32, 0.52, 0.68, 0.52, 0.8, 0.76, 0.2, 0.76), look.lower)
    elif look.cut == "shorts":
        draw.rectangle(place(0.26, 0.54, 0.74, 0.7), look.lower)
    for arm in (0.14 - stride / 2, 0.74 + stride / 2):
        draw.rectangle(place(arm, 0.22, arm + 0.12, 0.52), look.upper)
    draw.rectangle(place(0.26, 0.2, 0.74, 0.56), look.upper)
    parts = {
        "plain": [],
        "band": [(0.26, 0.33, 0.74, 0.43)],
        "stripes": [(0.32, 0.2, 0.4, 0.56), (0.6, 0.2, 0.68, 0.56)],
        "halves": [(0.26, 0.2, 0.5, 0.56)],
    }
    for part in parts[look.pattern]:
        draw.rectangle(place(*part), look.second)
    draw.ellipse(place(0.34, 0.02, 0.66, 0.19), style.skin)
    draw.pieslice(place(0.32, 0.0, 0.68, 0.19), 180, 360, look.hair)
    extras = {"none": [], "bag": [(0.1, 0.4, 0.28, 0.54)], "scarf": [(0.34, 0.17, 0.66, 0.24)]}
    for part in extras[look.extra]:
        draw.rectangle(place(*part), look.second)


def _save(image: Image.Image, path: Path) -> None:
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    path.write_bytes(encoded.getvalue())
