"""Cameras: their view, light, optics and electronics, and the shots they take."""

import io
import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from jointreid.messages.errors import JointreidError, no_such
from jointreid.synthetic.builder import BodyPlacement, Pose
from jointreid.synthetic.figure import dress
from jointreid.synthetic.looks import Fashion, Look, Random, draw_look
from jointreid.synthetic.raster import SUBPIXELS, render
from jointreid.synthetic.scenes import PLACES, paint_scene

Range = tuple[float, float]
Picture = NDArray[np.float32]

OCCLUDERS = ("rail", "pillar", "bush")


@dataclass(frozen=True)
class CameraRanges:
    """Ranges from which the cameras of a domain are drawn; a range is the least and the greatest value.

    Attributes:
        places: names of `scenes.PLACES`; each camera has one of them.
        elevation: angle by which cameras look down, in radians.
        spread: deviation of people from the usual walking direction of a camera, in radians.
        sun: strength of the light from one side.
        sky: strength of the light from all around.
        cast: largest gain or loss of a colour channel, as a share.
        exposure: gain of all channels.
        saturation: 1 leaves colours as they are, 0 makes them grey.
        gamma: bends the response; 1 is a screen's.
        haze: share of grey mixed in.
        blur: standard deviation, in pixels of a picture 128 pixels high.
        noise: standard deviation, in intensities.
        resolution: sensor pixels per pixel of the picture, along a side.
        quality: of the JPEG file, in libjpeg's scale.
        jitter: standard deviation of the position and size of a box, in shares of its height.
        occluded: share of shots with an object in front.
        crowded: share of shots with another person.

    Raises:
        JointreidError: there is no place, an unknown one, or a range whose least value is above its greatest.
    """

    places: tuple[str, ...]
    elevation: Range
    spread: float
    sun: Range
    sky: Range
    cast: float
    exposure: Range
    saturation: Range
    gamma: Range
    haze: Range
    blur: Range
    noise: Range
    resolution: Range
    quality: tuple[int, int]
    jitter: float
    occluded: float
    crowded: float

    def __post_init__(self) -> None:
        if not self.places:
            raise JointreidError(f"camera ranges need a place; there are {', '.join(PLACES)}")
        for place in self.places:
            if place not in PLACES:
                raise JointreidError(no_such("place", place, PLACES))
        for name in (field.name for field in fields(self) if field.name != "places"):
            value = getattr(self, name)
            if isinstance(value, tuple) and value[0] > value[1]:
                raise JointreidError(f"{name} of the camera ranges is {value}; expected the least, then the greatest")


class Camera(NamedTuple):
    """One camera, with values drawn from `CameraRanges`.

    Attributes:
        seed: of the background picture, which is painted when it is first needed.
        place: one of `scenes.PLACES`.
        elevation: angle by which it looks down, in radians.
        distance: to the people, in statures.
        yaw: usual walking direction of people, in radians.
        both_ways: whether people also walk the other way.
        light: direction (x right, y down, z to the viewer), strength, strength from all around.
        gain: of each channel, exposure included.
        occluder: object that may stand in front, one of `OCCLUDERS`.
    """

    seed: tuple[int, ...]
    place: str
    elevation: float
    distance: float
    yaw: float
    both_ways: bool
    light: tuple[float, ...]
    gain: tuple[float, float, float]
    saturation: float
    gamma: float
    haze: float
    blur: float
    noise: float
    resolution: float
    quality: int
    occluder: str


def draw_camera(seed: tuple[int, ...], ranges: CameraRanges) -> Camera:
    """Draw one of a domain's cameras."""
    random = np.random.default_rng(seed)
    side, up = random.uniform(-1, 1), random.uniform(0.3, 1.0)
    direction = np.array([side, -up, random.uniform(0.2, 0.9)])
    direction /= np.linalg.norm(direction)
    warmth, tint = random.uniform(-1, 1) * ranges.cast, random.uniform(-0.4, 0.4) * ranges.cast
    exposure = random.uniform(*ranges.exposure)
    return Camera(
        seed=(*seed, 1),
        place=str(random.choice(ranges.places)),
        elevation=random.uniform(*ranges.elevation),
        distance=random.uniform(3.5, 9),
        yaw=random.uniform(-math.pi, math.pi),
        both_ways=random.random() < 0.75,
        light=(*direction.tolist(), random.uniform(*ranges.sun), random.uniform(*ranges.sky)),
        gain=(exposure * (1 + warmth), exposure * (1 + tint), exposure * (1 - warmth)),
        saturation=random.uniform(*ranges.saturation),
        gamma=random.uniform(*ranges.gamma),
        haze=random.uniform(*ranges.haze),
        blur=random.uniform(*ranges.blur),
        noise=random.uniform(*ranges.noise),
        resolution=random.uniform(*ranges.resolution),
        quality=int(random.integers(ranges.quality[0], ranges.quality[1] + 1)),
        occluder=str(random.choice(OCCLUDERS)),
    )


def photograph(
    look: Look, camera: Camera, ranges: CameraRanges, fashion: Fashion, random: Random, height: int, width: int
) -> bytes:
    """Draw one shot of a person and return it as a JPEG file.

    Args:
        look: who it is.
        camera: which camera takes it.
        ranges: of the domain.
        fashion: how other people in the picture look.
        random: of the pose, the box and all that differs from shot to shot.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
    """
    picture = _background(camera, random, height, width)
    middle = width / 2 + random.normal(0, ranges.jitter) * height
    foot = height * (0.955 + random.normal(0, ranges.jitter))
    scale = height * (0.9 + random.normal(0, 1.5 * ranges.jitter))
    crowd = random.random()
    if crowd < 0.7 * ranges.crowded:  # somebody behind, to a side
        aside = random.choice((-1, 1)) * random.uniform(0.2, 0.45) * width
        other = draw_look(random, fashion)
        _place(picture, other, camera, ranges, random, (middle + aside, foot - 0.05 * height, scale * 0.9))
    _place(picture, look, camera, ranges, random, (middle, foot, scale))
    if 0.7 * ranges.crowded <= crowd < ranges.crowded:  # somebody in front, cut by the box
        aside = random.choice((-1, 1)) * random.uniform(0.36, 0.5) * width
        other = draw_look(random, fashion)
        _place(picture, other, camera, ranges, random, (middle + aside, foot + 0.06 * height, scale * 1.08))
    if random.random() < ranges.occluded:
        _occlude(picture, camera, random)
    image = _develop(picture, camera, random)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=camera.quality)
    return encoded.getvalue()


@lru_cache(maxsize=64)
def _plate(camera: Camera, height: int, width: int) -> Picture:
    """Return the background picture of a camera, larger than a shot."""
    horizon = max(0.03, 0.5 - 1.05 * camera.elevation)
    return paint_scene(camera.place, np.random.default_rng(camera.seed), int(1.12 * height), 7 * width, horizon)


def _background(camera: Camera, random: Random, height: int, width: int) -> Picture:
    plate = _plate(camera, height, width)
    top = int(random.integers(plate.shape[0] - height + 1))
    left = int(random.integers(plate.shape[1] - width + 1))
    lit = 0.5 * camera.light[3] + camera.light[4]
    return plate[top : top + height, left : left + width] * np.float32(lit)


def _place(
    picture: Picture,
    look: Look,
    camera: Camera,
    ranges: CameraRanges,
    random: Random,
    where: tuple[float, float, float],
) -> None:
    """Paint a person and their shadow over a picture; `where` is x and y of the feet and the size, in pixels."""
    x, y, size = where
    yaw = camera.yaw + (math.pi if camera.both_ways and random.random() < 0.5 else 0) + random.normal(0, ranges.spread)
    stands = random.random() < 0.15
    pose = Pose(
        yaw=yaw,
        phase=random.random(),
        stride=0.15 if stands else float(np.clip(random.normal(0.9, 0.2), 0.3, 1.3)),
        elevation=max(0.0, camera.elevation + random.normal(0, 0.03)),
        distance=camera.distance,
        lean=random.normal(0, 0.25),
    )
    # Looking down makes people shorter in the picture; the box surrounds the visible part.
    scale = size / (math.cos(pose.elevation) + 0.12 * math.sin(pose.elevation))
    limbs, materials = dress(look, pose, BodyPlacement(scale, x * SUBPIXELS, (y - 0.01 * size) * SUBPIXELS))
    height, width = picture.shape[:2]
    _cast_shadow(picture, camera, x, y, size)
    figure = render(limbs, materials, height, width, np.array(camera.light, np.float32))
    picture *= 1 - figure[..., 3:]
    picture += figure[..., :3]


def _cast_shadow(picture: Picture, camera: Camera, x: float, y: float, size: float) -> None:
    height, width = picture.shape[:2]
    top = max(0, int(y - 0.09 * size))
    rows, columns = np.ogrid[top:height, :width]
    slant = -camera.light[0] * 0.16 * size
    away = ((columns - x - 0.5 * slant) / (0.15 * size + abs(slant))) ** 2 + ((rows - y) / (0.045 * size)) ** 2
    depth = min(0.6, 0.3 + 0.3 * camera.light[3])
    picture[top:] *= (1 - depth * np.exp(-1.5 * away)).astype(np.float32)[..., None]


def _occlude(picture: Picture, camera: Camera, random: Random) -> None:
    """Paint the object in front of a camera over a part of the picture."""
    height, width = picture.shape[:2]
    lit = np.float32(0.4 * camera.light[3] + camera.light[4])
    if camera.occluder == "rail":
        top = int(height * random.uniform(0.55, 0.8))
        for row in range(top, height, max(3, height // 12)):
            picture[row : row + max(1, height // 50)] = np.array((0.16, 0.17, 0.18), np.float32) * lit
    elif camera.occluder == "pillar":
        wide = int(width * random.uniform(0.12, 0.34))
        shade = np.linspace(0.5, 1.0, wide, dtype=np.float32)[None, :, None] * lit
        columns = slice(0, wide) if random.random() < 0.5 else slice(width - wide, width)
        picture[:, columns] = np.array((0.3, 0.29, 0.27), np.float32) * shade
    else:
        tops = height * (random.uniform(0.7, 0.85) + 0.05 * np.abs(np.sin(np.arange(width) * random.uniform(0.2, 0.5))))
        leaves = np.arange(height)[:, None] > tops + random.normal(0, 0.01 * height, width)
        tone = random.uniform(0.5, 1.3, (height, width, 1)).astype(np.float32) * lit
        np.copyto(picture, np.array((0.05, 0.11, 0.03), np.float32) * tone, where=leaves[..., None])


def _develop(picture: Picture, camera: Camera, random: Random) -> Image.Image:
    """Apply the camera's optics and electronics to the light and return the picture."""
    height, width = picture.shape[:2]
    light = picture * (np.array(camera.gain, np.float32) * np.float32(random.uniform(0.88, 1.14)))
    grey = light @ np.array((0.3, 0.59, 0.11), np.float32)
    light = grey[..., None] + np.float32(camera.saturation) * (light - grey[..., None])
    light = (1 - camera.haze) * light + camera.haze * 0.45
    seen = np.clip(light, 0, 1) ** np.float32(camera.gamma / 2.2)
    image = Image.fromarray((seen * 255).astype(np.uint8))
    if camera.resolution < 0.97:
        small = (max(8, round(width * camera.resolution)), max(16, round(height * camera.resolution)))
        image = image.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR)
    if camera.blur > 0.15:
        image = image.filter(ImageFilter.GaussianBlur(camera.blur * height / 128))
    noise = random.standard_normal((height, width, 1), np.float32) * np.float32(255 * camera.noise)
    return Image.fromarray(np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8))
