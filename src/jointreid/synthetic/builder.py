"""Projection of a body into the picture: points are rotated, tilted and scaled by distance; limbs get width and cloth.

Lengths of the body are shares of the stature. Axes of the body: x to its left, y up from the ground, z to its front.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from jointreid.synthetic import raster
from jointreid.synthetic.looks import Cloth, Colour, Look

Point = tuple[float, float, float]


class Pose(NamedTuple):
    """The pose of a person in front of a camera.

    Attributes:
        yaw: direction that the body faces, in radians: 0 to the viewer, pi / 2 to the right of the picture.
        phase: of the walking step, in [0, 1).
        stride: length of the step: 0 stands, 1 walks.
        elevation: angle by which the camera looks down, in radians.
        distance: of the camera, in statures.
        lean: of the head to a side, in radians.
    """

    yaw: float
    phase: float
    stride: float
    elevation: float
    distance: float
    lean: float


class BodyPlacement(NamedTuple):
    """Size and place of a body in the picture: pixels per stature, and the ground point below it, in subpixels."""

    scale: float
    foot_x: float
    foot_y: float


class BodyBuilder:
    """Collects the limbs and materials of one body; depth is measured from the axis of the body."""

    def __init__(self, look: Look, pose: Pose, placement: BodyPlacement) -> None:
        self.look, self.pose, self.placement = look, pose, placement
        self.limbs: list[list[float]] = []
        self.materials: list[list[float]] = []
        self._yaw = (math.cos(pose.yaw), math.sin(pose.yaw))
        self._tilt = (math.cos(pose.elevation), math.sin(pose.elevation))

    def limb(
        self,
        a: Point,
        b: Point,
        side: Sequence[float],
        front: Sequence[float] | None,
        material: int,
        *,
        more: float = 0.0,
        caps: tuple[int, int] = (1, 1),
    ) -> None:
        """Add a limb from `a` to `b`; `front` is None for round limbs, `more` is the thickness of clothes."""
        ax, ay, ad, grown = self._project(a)
        bx, by, bd, _ = self._project(b)
        unit = self.placement.scale * raster.SUBPIXELS * grown
        cos, sin = self._yaw
        if front is None:
            wide = deep = [(radius + more) * unit for radius in side]
        else:
            pairs = list(zip(side, front, strict=True))
            wide = [math.hypot((s + more) * cos, (f + more) * sin) * unit for s, f in pairs]
            deep = [math.hypot((s + more) * sin, (f + more) * cos) * unit for s, f in pairs]
        length = math.dist(a, b) * self.look.stature
        around = (sum(side) / len(side) + more) * self.look.stature
        row = [ax, ay, ad, bx, by, bd, *caps, material, -self.pose.yaw, length, around, *wide, *deep]
        self.limbs.append(row)

    def cloth(self, cloth: Cloth, *, folds: float = 0.22, shine: float = 0.0, straps: str = "none") -> int:
        """Add a material and return its number."""
        row = [0.0] * raster.MATERIAL_COLUMNS
        row[raster.BASE : raster.BASE + 3] = _linear(cloth.base)
        row[raster.SECOND : raster.SECOND + 3] = _linear(cloth.second)
        row[raster.THIRD : raster.THIRD + 3] = _linear(cloth.third)
        row[raster.PATTERN] = raster.PATTERNS.index(cloth.pattern)
        row[raster.PERIOD], row[raster.SEED] = cloth.period, self.look.seed
        row[raster.FOLDS], row[raster.SHINE] = folds, shine
        row[raster.LOGO] = raster.LOGOS.index(cloth.logo)
        row[raster.LOGO_ANGLE] = math.pi if cloth.on_back else 0.0
        row[raster.LOGO_WIDE] = 0.85 if cloth.on_back else 0.62
        row[raster.LOGO_FROM], row[raster.LOGO_TO] = (0.2, 0.62) if cloth.on_back else (0.24, 0.52)
        row[raster.STRAPS] = raster.STRAP_KINDS.index(straps)
        row[raster.STRAP_COLOUR : raster.STRAP_COLOUR + 3] = _linear(self.look.bag_colour)
        self.materials.append(row)
        return len(self.materials) - 1

    def plain(self, colour: Colour, folds: float = 0.0, shine: float = 0.0) -> int:
        """Add a material of one colour and return its number."""
        return self.cloth(Cloth(colour), folds=folds, shine=shine)

    def _project(self, point: Point) -> tuple[float, float, float, float]:
        """Return x, y and depth in subpixels, and the magnification relative to the axis of the body."""
        x, y, z = point
        cos, sin = self._yaw
        right, near = x * cos + z * sin, -x * sin + z * cos
        cos, sin = self._tilt
        up, depth = y * cos - near * sin, near * cos + y * sin
        grown = self.pose.distance / (self.pose.distance - depth)
        unit = self.placement.scale * raster.SUBPIXELS
        return (
            self.placement.foot_x + right * unit * grown,
            self.placement.foot_y - up * unit * grown,
            depth * unit,
            grown,
        )


def _linear(colour: Colour) -> list[float]:
    return [channel**2.2 for channel in colour]
