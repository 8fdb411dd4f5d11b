"""Rendering of limbs into pixels: swept along a line, textured around it, lit, and averaged down.

A limb is a generalised cylinder seen from far away: on the screen an axis from `a` to `b` with a half-width at each of
`KNOTS` places along it. Whatever lies on it is told by two coordinates that turn with the body: the angle around the
axis (0 is the body's front, positive to its left) and the length along it. So what is on the back is not seen from the
front.

Letters in shapes: L limbs, M materials, H and W height and width in pixels, S subpixels a side of a pixel.
"""

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from jointreid.machine.numba_kernel import cached

KNOTS = 9
SUBPIXELS = 3

# Columns of a limb: its two ends in subpixels, whether they are round (1) or cut (0), the number of its material, the
# angle that is turned to the viewer in radians, length and mean half-width in metres; then half-widths in subpixels.
AX, AY, AD, BX, BY, BD, CAP_A, CAP_B, MATERIAL, FACING, LENGTH, ROUND = range(12)
WIDTH = 12  # KNOTS half-widths on the screen
DEPTH = WIDTH + KNOTS  # KNOTS half-widths towards the viewer
LIMB_COLUMNS = DEPTH + KNOTS

# Columns of a material. Colours are linear RGB in [0, 1].
BASE, SECOND, THIRD = 0, 3, 6
PATTERN, PERIOD, SEED, FOLDS, SHINE = 9, 10, 11, 12, 13
LOGO, LOGO_ANGLE, LOGO_WIDE, LOGO_FROM, LOGO_TO = 14, 15, 16, 17, 18
STRAPS, STRAP_COLOUR = 19, 20
MATERIAL_COLUMNS = 23

PATTERNS = (
    "plain",
    "hoops",
    "pinstripes",
    "checks",
    "dots",
    "band",
    "yoke",
    "sides",
    "diagonal",
    "flowers",
    "open",
    "faded",
    "head",
    "beard",
    "shoe",
    "hem",
)
LOGOS = ("none", "disc", "block", "ring", "lines", "wedge", "cross")
STRAP_KINDS = ("none", "two", "left", "right")

# The same by number, for compiled code.
_PLAIN, _HOOPS, _PINSTRIPES, _CHECKS, _DOTS, _BAND, _YOKE, _SIDES = range(8)
_DIAGONAL, _FLOWERS, _OPEN, _FADED, _HEAD, _BEARD, _SHOE, _HEM = range(8, len(PATTERNS))
_NO_LOGO, _DISC, _BLOCK, _RING, _LINES, _WEDGE, _CROSS = range(len(LOGOS))
_NO_STRAP, _TWO, _LEFT, _RIGHT = range(len(STRAP_KINDS))


def _compiled(loop: Callable[..., Any]) -> Any:
    return cached(numba.njit(nogil=True, fastmath=True, error_model="numpy")(loop))


def render(
    limbs: NDArray[np.float32],
    materials: NDArray[np.float32],
    height: int,
    width: int,
    light: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return limbs as they are seen, nearest first.

    Args:
        limbs: [L, LIMB_COLUMNS], in subpixels, y downwards, depth towards the viewer.
        materials: [M, MATERIAL_COLUMNS].
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        light: where it comes from (x right, y down, z to the viewer, of length 1), then its strength and that of the
            light from all around.

    Returns:
        float32 [H, W, 4]: linear RGB times coverage, and coverage in [0, 1].
    """
    picture = np.zeros((height, width, 4), np.float32)
    _paint(limbs, materials, light, picture)
    return picture


@_compiled
def _paint(limbs, materials, light, picture):  # type: ignore[no-untyped-def]
    height, width = picture.shape[0] * SUBPIXELS, picture.shape[1] * SUBPIXELS
    nearest = np.full((height, width), -1e9, np.float32)
    owner = np.full((height, width), -1, np.int16)
    along = np.empty((height, width), np.float32)
    across = np.empty((height, width, 3), np.float32)  # side in [-1, 1], then the normal's x and y
    for index in range(limbs.shape[0]):
        _sweep(limbs[index], index, nearest, owner, along, across)
    share = np.float32(1.0 / (SUBPIXELS * SUBPIXELS))
    for y in range(height):
        for x in range(width):
            index = owner[y, x]
            if index < 0:
                continue
            limb = limbs[index]
            side, nx, ny = across[y, x, 0], across[y, x, 1], across[y, x, 2]
            nz = math.sqrt(max(0.0, 1.0 - nx * nx - ny * ny))
            angle = math.asin(min(1.0, max(-1.0, side))) + limb[FACING]
            angle -= 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))
            material = materials[int(limb[MATERIAL])]
            red, green, blue = _colour(material, angle, along[y, x], limb[LENGTH], limb[ROUND])
            lit = max(0.0, nx * light[0] + ny * light[1] + nz * light[2])
            # Light from all around: more from the sky than from the ground, less where the surface turns away.
            around = light[4] * (0.78 - 0.22 * ny) * (0.7 + 0.3 * nz)
            folds = 1.0
            if material[FOLDS] > 0:
                wave = _noise(angle * 2.1 + material[SEED], along[y, x] * limb[LENGTH] * 9.0 + limb[AX] * 0.01)
                folds += material[FOLDS] * (wave - 0.5)
            shade = (around + light[3] * lit) * folds
            gloss = material[SHINE] * lit**12 * light[3]
            picture[y // SUBPIXELS, x // SUBPIXELS, 0] += share * (red * shade + gloss)
            picture[y // SUBPIXELS, x // SUBPIXELS, 1] += share * (green * shade + gloss)
            picture[y // SUBPIXELS, x // SUBPIXELS, 2] += share * (blue * shade + gloss)
            picture[y // SUBPIXELS, x // SUBPIXELS, 3] += share


@_compiled
def _sweep(limb, index, nearest, owner, along, across):  # type: ignore[no-untyped-def]
    """Mark the subpixels where this limb is in front of earlier ones."""
    height, width = nearest.shape
    reach = 0.0
    for knot in range(KNOTS):
        reach = max(reach, limb[WIDTH + knot])
    dx, dy = limb[BX] - limb[AX], limb[BY] - limb[AY]
    square = max(dx * dx + dy * dy, 1e-3)
    root = math.sqrt(square)
    left = max(0, math.floor(min(limb[AX], limb[BX]) - reach))
    right = min(width - 1, math.ceil(max(limb[AX], limb[BX]) + reach))
    top = max(0, math.floor(min(limb[AY], limb[BY]) - reach))
    bottom = min(height - 1, math.ceil(max(limb[AY], limb[BY]) + reach))
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            px, py = x + 0.5 - limb[AX], y + 0.5 - limb[AY]
            place = (px * dx + py * dy) / square
            if (place < 0 and limb[CAP_A] == 0) or (place > 1 and limb[CAP_B] == 0):
                continue
            place = min(1.0, max(0.0, place))
            knot = min(int(place * (KNOTS - 1)), KNOTS - 2)
            part = place * (KNOTS - 1) - knot
            wide = limb[WIDTH + knot] * (1 - part) + limb[WIDTH + knot + 1] * part
            ox, oy = px - place * dx, py - place * dy
            off = ox * ox + oy * oy
            if off >= wide * wide:
                continue
            deep = limb[DEPTH + knot] * (1 - part) + limb[DEPTH + knot + 1] * part
            depth = limb[AD] + place * (limb[BD] - limb[AD]) + deep * math.sqrt(1 - off / (wide * wide))
            if depth > nearest[y, x]:
                nearest[y, x] = depth
                owner[y, x] = index
                along[y, x] = place
                # Seen along an axis that points down the screen, positive is the viewer's right.
                across[y, x, 0] = (px * dy - py * dx) / (root * wide)
                across[y, x, 1] = ox / wide
                across[y, x, 2] = oy / wide


@_compiled
def _colour(material, angle, place, length, radius):  # type: ignore[no-untyped-def]
    """Return the linear RGB of a material at an angle around a limb and a share of the way along it."""
    at = _choose(material, angle, place, length, radius)
    return material[at], material[at + 1], material[at + 2]


@_compiled
def _choose(material, angle, place, length, radius):  # type: ignore[no-untyped-def]
    """Return the visible colour of a material, as the column of its red value."""
    straps = int(material[STRAPS])
    if straps != _NO_STRAP and _on_strap(straps, angle, place):
        return STRAP_COLOUR
    logo = int(material[LOGO])
    if logo != _NO_LOGO:
        turn = abs(angle - material[LOGO_ANGLE])
        turn = min(turn, 2 * math.pi - turn) / material[LOGO_WIDE]
        rise = (place - material[LOGO_FROM]) / (material[LOGO_TO] - material[LOGO_FROM]) * 2 - 1
        if turn < 1 and abs(rise) < 1 and _in_logo(logo, turn, rise):
            return THIRD
    pattern, period, seed = int(material[PATTERN]), material[PERIOD], material[SEED]
    return _in_pattern(pattern, period, seed, angle, place, place * length, angle * radius)


@_compiled
def _on_strap(straps, angle, place):  # type: ignore[no-untyped-def]
    """Return whether the strap of a bag passes here."""
    if straps == _TWO:
        return abs(abs(angle) - 0.62) < 0.15 and place < 0.62
    # From one shoulder to the other hip, in front and on the back.
    side = 1.0 if straps == _LEFT else -1.0
    front = angle if abs(angle) < math.pi / 2 else (math.pi - abs(angle)) * (1.0 if angle > 0 else -1.0)
    return abs(side * front * 0.62 + 0.62 - 1.35 * place) < 0.1


@_compiled
def _in_pattern(pattern, period, seed, angle, place, down, around):  # type: ignore[no-untyped-def]
    """Return the visible colour of a pattern; `down` and `around` are lengths along the cloth in metres."""
    if pattern == _PLAIN:
        return BASE
    if pattern == _HOOPS:
        return SECOND if (down / period) % 1 < 0.5 else BASE
    if pattern == _PINSTRIPES:
        return SECOND if (around / period) % 1 < 0.3 else BASE
    if pattern == _CHECKS:
        first, other = (down / period) % 1 < 0.5, (around / period) % 1 < 0.5
        return BASE if first and other else (THIRD if not first and not other else SECOND)
    if pattern == _DOTS:
        row = math.floor(down / period)
        ux, uy = (around / period + 0.5 * (row % 2)) % 1 - 0.5, (down / period) % 1 - 0.5
        return SECOND if ux * ux + uy * uy < 0.085 else BASE
    if pattern == _BAND:
        return SECOND if 0.3 < place < 0.3 + period else BASE
    if pattern == _YOKE:
        return SECOND if place < period else BASE
    if pattern == _SIDES:
        return SECOND if abs(abs(angle) - math.pi / 2) < period else BASE
    if pattern == _DIAGONAL:
        return SECOND if ((down + around) / period) % 1 < 0.4 else BASE
    if pattern == _FLOWERS:
        wave = _noise(around / period + seed, down / period + 3.7 * seed)
        return SECOND if wave > 0.62 else (THIRD if wave < 0.3 else BASE)
    if pattern == _OPEN:
        return SECOND if abs(angle) < period * (0.6 + 0.5 * place) else BASE
    if pattern == _FADED:
        return SECOND if 0.15 < place < 0.62 and abs(angle) < 0.75 else BASE
    if pattern in (_HEAD, _BEARD):
        return _face(pattern == _BEARD, angle, place, period)
    if pattern == _SHOE:
        return SECOND if abs(angle) > 2.2 else BASE
    return SECOND if place > 1 - period else BASE


@_compiled
def _face(beard, angle, place, hairline):  # type: ignore[no-untyped-def]
    """Return hair, skin or dark (eyes, mouth), going down from the crown."""
    turn = abs(angle)
    if turn > 1.75 - 0.25 * place or place < hairline + 0.05 * turn * turn:
        return SECOND
    if 0.46 < place < 0.55 and 0.24 < turn < 0.56:
        return THIRD
    if beard and (place > 0.86 or (place > 0.6 and turn > 0.9)):
        return SECOND
    if 0.8 < place < 0.845 and turn < 0.3:
        return THIRD
    return BASE


@_compiled
def _in_logo(kind, turn, rise):  # type: ignore[no-untyped-def]
    """Return whether a point is coloured: `turn` in [0, 1] from the middle to the side, `rise` in [-1, 1] downwards."""
    if kind == _DISC:
        return turn * turn + rise * rise < 0.9
    if kind == _BLOCK:
        return turn < 0.9
    if kind == _RING:
        far = turn * turn + rise * rise
        return 0.35 < far < 0.95
    if kind == _LINES:
        return (rise * 0.5 + 0.5) * 3 % 1 < 0.5
    if kind == _WEDGE:
        return turn < (rise + 1) / 2
    return turn < 0.28 or abs(rise) < 0.28


@_compiled
def _noise(x, y):  # type: ignore[no-untyped-def]
    """Return smooth noise in [0, 1] with features about 1 wide."""
    left, top = math.floor(x), math.floor(y)
    u, v = x - left, y - top
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    upper = _hash(left, top) * (1 - u) + _hash(left + 1, top) * u
    lower = _hash(left, top + 1) * (1 - u) + _hash(left + 1, top + 1) * u
    return upper * (1 - v) + lower * v


@_compiled
def _hash(x, y):  # type: ignore[no-untyped-def]
    number = np.uint32(np.int64(x) * 374761393 + np.int64(y) * 668265263)
    number = np.uint32((number ^ (number >> np.uint32(13))) * np.uint32(1274126177))
    return ((number ^ (number >> np.uint32(16))) & np.uint32(0xFFFF)) / 65535.0
