"""Cameras: what they are drawn from, what each of their properties does to a shot, and how fast shots are taken."""

import io
import math
import time
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from jointreid.messages.errors import JointreidError
from jointreid.synthetic import cameras
from jointreid.synthetic.cameras import OCCLUDERS, Camera, CameraRanges, draw_camera, photograph
from jointreid.synthetic.looks import draw_look
from jointreid.synthetic.presets import TABLE1

pytestmark = pytest.mark.slow  # its kernels are compiled first

RANGES, FASHION = TABLE1[0].camera_ranges, TABLE1[0].fashion
EMPTY = replace(RANGES, occluded=0.0, crowded=0.0, jitter=0.0)
SOMEBODY = draw_look(np.random.default_rng(5), FASHION)
# As plain as a camera can be, so that a test changes one property.
PLAIN = draw_camera((0,), RANGES)._replace(
    elevation=0.1,
    gain=(0.8, 0.8, 0.8),
    saturation=1.0,
    gamma=1.0,
    haze=0.0,
    blur=0.0,
    noise=0.0,
    resolution=1.0,
    quality=95,
    light=(0.3, -0.5, 0.81, 0.5, 0.5),
)


def shoot(
    camera: Camera = PLAIN, ranges: CameraRanges = EMPTY, seed: int = 0, size: tuple[int, int] = (128, 64)
) -> NDArray[np.float64]:
    """Take a shot of somebody and decode it."""
    content = photograph(SOMEBODY, camera, ranges, FASHION, np.random.default_rng(seed), *size)
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", size[::-1])
        return np.asarray(image, np.float64)


def detail(picture: NDArray[np.float64]) -> float:
    """The mean difference of neighbours."""
    return float(np.abs(np.diff(picture, axis=0)).mean() + np.abs(np.diff(picture, axis=1)).mean())


def colourfulness(picture: NDArray[np.float64]) -> float:
    return float(np.ptp(picture, axis=2).mean())


# Drawing a camera


@pytest.mark.parametrize("spec", TABLE1, ids=lambda spec: spec.name)
def test_a_camera_is_within_its_ranges(spec: Any) -> None:
    ranges = spec.camera_ranges
    drawn = [draw_camera((3, number), ranges) for number in range(100)]
    for camera in drawn:
        for name in ("elevation", "saturation", "gamma", "haze", "blur", "noise", "resolution", "quality"):
            low, high = getattr(ranges, name)
            assert low <= getattr(camera, name) <= high
        assert math.hypot(*camera.light[:3]) == pytest.approx(1)
        assert camera.light[1] < 0  # from above
        assert ranges.sun[0] <= camera.light[3] <= ranges.sun[1]
        assert ranges.sky[0] <= camera.light[4] <= ranges.sky[1]
        low, high = (
            ranges.exposure[0] * (1 - ranges.cast),
            ranges.exposure[1] * (1 + ranges.cast),
        )
        assert low <= min(camera.gain) <= max(camera.gain) <= high
    assert {camera.place for camera in drawn} == set(ranges.places)
    assert {camera.occluder for camera in drawn} == set(OCCLUDERS)
    assert len(set(drawn)) == 100
    assert drawn == [draw_camera((3, number), ranges) for number in range(100)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"places": ()}, "camera ranges need a place; there are street"),
        ({"places": ("plaza", "stret")}, "there is no place stret; did you mean street?"),
        ({"blur": (0.5, 0.2)}, r"blur of the camera ranges is \(0.5, 0.2\)"),
        ({"quality": (90, 80)}, r"quality of the camera ranges is \(90, 80\); expected the least"),
    ],
)
def test_ranges_that_cannot_be_drawn_from_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        replace(RANGES, **changes)


def test_every_range_of_cameras_is_documented() -> None:
    described = (CameraRanges.__doc__ or "").split("Attributes:")[1]
    assert all(f"\n        {field.name}: " in described for field in fields(CameraRanges))


# What its properties do


def test_a_shot_is_drawn_from_its_random_numbers_alone() -> None:
    assert (shoot() == shoot()).all()
    assert np.abs(shoot() - shoot(seed=1)).mean() > 3


@pytest.mark.parametrize("size", [(32, 16), (33, 16), (97, 48), (256, 128)])
@pytest.mark.parametrize("occluder", OCCLUDERS)
def test_shots_of_any_size_with_an_occluder_and_another_person(size: tuple[int, int], occluder: str) -> None:
    ranges = replace(RANGES, occluded=1.0, crowded=1.0)
    for seed in range(3):
        assert shoot(PLAIN._replace(occluder=occluder), ranges, seed, size).std() > 5


@pytest.mark.parametrize(
    ("changes", "measure", "factor"),
    [
        ({"gain": (0.4, 0.4, 0.4)}, np.mean, 0.73),  # of light; on the screen 0.5 ** (1 / 2.2)
        ({"saturation": 0.0}, colourfulness, 0.0),
        ({"saturation": 0.5}, colourfulness, 0.55),
        ({"haze": 0.5}, np.std, 0.33),
        ({"gamma": 1.5}, np.mean, 0.64),
        ({"blur": 1.5}, detail, 0.6),
        ({"resolution": 0.4}, detail, 0.6),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_a_property_takes_away(changes: dict[str, Any], measure: Any, factor: float) -> None:
    before, after = measure(shoot()), measure(shoot(PLAIN._replace(**changes)))
    assert after == pytest.approx(factor * before, rel=0.2)


def test_noise_has_the_given_strength_and_differs_between_shots() -> None:
    difference = shoot(PLAIN._replace(noise=0.04, quality=100)) - shoot(PLAIN._replace(quality=100))
    assert difference.std() == pytest.approx(0.04 * 255, rel=0.15)


def test_a_cast_tints() -> None:
    warm, cold = (shoot(PLAIN._replace(gain=gain)).mean((0, 1)) for gain in ((0.9, 0.8, 0.7), (0.7, 0.8, 0.9)))
    assert warm[0] / warm[2] > 1.15 * cold[0] / cold[2]


def test_a_worse_file_is_smaller() -> None:
    sizes = [
        len(photograph(SOMEBODY, PLAIN._replace(quality=quality), EMPTY, FASHION, np.random.default_rng(0), 128, 64))
        for quality in (60, 80, 95)
    ]
    assert sizes == sorted(sizes)
    assert 2 * sizes[0] < sizes[2]


@pytest.mark.parametrize(("occluder", "rows", "columns"), [("rail", 0.5, 0), ("bush", 0.6, 0), ("pillar", 0, 0.6)])
def test_an_occluder_hides_a_part(occluder: str, rows: float, columns: float) -> None:
    """`rows` and `columns`: what stays free, from the top and in the middle."""
    camera = PLAIN._replace(occluder=occluder)
    hidden = np.zeros((128, 64))
    for seed in range(8):
        # The numbers drawn before it are the same, those of light after it are not: look at where the picture changes.
        free, covered = (shoot(camera, replace(EMPTY, occluded=share), seed) for share in (0.0, 1.0))
        share = covered.mean((1, 2))[:40].sum() / free.mean((1, 2))[:40].sum() if rows else 1.0
        hidden = np.maximum(hidden, np.abs(covered - share * free).max(-1))
    if rows:
        assert hidden[: int(rows * 128)].mean() < 0.4 * hidden[int(0.9 * 128) :].mean()
    else:
        assert hidden[:, 28:36].mean() < hidden[:, [0, 1, 2, 61, 62, 63]].mean()


def test_other_people_appear_at_the_given_rate() -> None:
    def share(crowded: float) -> float:
        ranges = replace(EMPTY, crowded=crowded)
        pairs = ((shoot(seed=seed, size=(32, 16)), shoot(PLAIN, ranges, seed, (32, 16))) for seed in range(60))
        return float(np.mean([(one != other).any() for one, other in pairs]))

    assert share(0.0) == 0
    assert share(0.4) == pytest.approx(0.4, abs=0.25)  # four standard deviations
    assert share(1.0) == 1


def test_a_shot_leaves_the_place_behind_as_it_is() -> None:
    plate = cameras._plate(PLAIN, 128, 64)
    before = plate.copy()
    for seed in range(4):
        shoot(PLAIN, replace(RANGES, occluded=1.0, crowded=1.0), seed)
    assert cameras._plate(PLAIN, 128, 64) is plate
    assert (plate == before).all()


def test_people_walk_one_way_or_both() -> None:
    """Somebody with another colour on the back is seen from one side only where people walk one way."""
    ways = {}
    for both in (False, True):
        camera = PLAIN._replace(yaw=0.0, both_ways=both)
        ranges = replace(EMPTY, spread=0.0)
        cloth = SOMEBODY.upper_cloth._replace(
            pattern="plain", logo="block", on_back=True, base=(0.5,) * 3, third=(0, 1, 0)
        )
        look = SOMEBODY._replace(upper="shirt", lower="trousers", upper_cloth=cloth, bag="none", hair_style="short")
        seen = 0
        for seed in range(40):
            content = photograph(look, camera, ranges, FASHION, np.random.default_rng(seed), 64, 32)
            with Image.open(io.BytesIO(content)) as image:
                red, green, blue = np.asarray(image, np.float64)[16:32, 12:20].mean((0, 1))
            seen += green > 1.5 * max(red, blue)
        ways[both] = seen
    assert ways[False] == 0
    assert 8 <= ways[True] <= 32


# Speed


def test_a_core_takes_a_hundred_shots_a_second() -> None:
    """By this process's own time, so that a busy machine does not matter; the best of three, after a warm-up."""
    random = np.random.default_rng(0)
    drawn = [draw_camera((1, number), RANGES) for number in range(3)]
    looks = [draw_look(random, FASHION) for _ in range(10)]

    def rate(shots: int) -> float:
        start = time.process_time()
        for number in range(shots):
            camera, look = drawn[number % len(drawn)], looks[number % len(looks)]
            photograph(look, camera, RANGES, FASHION, random, 128, 64)
        return shots / (time.process_time() - start)

    rate(6)
    best = max(rate(50) for _ in range(3))
    assert best >= 100, f"{best:.0f} images/s per core"
