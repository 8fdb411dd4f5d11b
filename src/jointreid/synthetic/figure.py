"""A dressed body in a pose, as limbs for `raster.render`.

Lengths of the body are shares of the stature. Axes of the body: x to its left, y up from the ground, z to its front.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jointreid.synthetic import raster
from jointreid.synthetic.builder import BodyBuilder, BodyPlacement, Point, Pose
from jointreid.synthetic.looks import Cloth, Look

# Half-widths of the body by height: to the side, and to the front.
_HEIGHTS = (0.855, 0.84, 0.825, 0.805, 0.77, 0.72, 0.66, 0.6, 0.55, 0.51, 0.465)
_TORSO_SIDE = (0.03, 0.052, 0.084, 0.104, 0.113, 0.11, 0.1, 0.094, 0.101, 0.108, 0.107)
_TORSO_FRONT = (0.032, 0.042, 0.052, 0.06, 0.068, 0.071, 0.067, 0.062, 0.066, 0.071, 0.07)
_THIGH = (0.052, 0.053, 0.051, 0.049, 0.046, 0.043, 0.04, 0.037, 0.036)
_CALF = (0.035, 0.035, 0.037, 0.037, 0.034, 0.03, 0.026, 0.023, 0.021)
_UPPER_ARM = (0.029, 0.031, 0.031, 0.03, 0.028, 0.027, 0.026, 0.025, 0.024)
_FOREARM = (0.024, 0.025, 0.025, 0.024, 0.022, 0.02, 0.018, 0.017, 0.016)
_HEAD_SIDE = (0.03, 0.043, 0.049, 0.051, 0.05, 0.048, 0.044, 0.037, 0.026)
_HEAD_FRONT = (0.034, 0.05, 0.057, 0.059, 0.058, 0.054, 0.049, 0.042, 0.03)
_NECK, _WAIST, _CROTCH, _SHOULDER, _HIP, _KNEE, _ANKLE = 0.855, 0.565, 0.455, 0.792, 0.51, 0.275, 0.045
_THICKNESS = {"tank": 0.003, "tshirt": 0.006, "shirt": 0.006, "hoodie": 0.014, "jacket": 0.013, "coat": 0.017}


def dress(look: Look, pose: Pose, placement: BodyPlacement) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the limbs and materials of a person in a pose, for `raster.render`."""
    body = BodyBuilder(look, pose, placement)
    spread = _add_legs(body)
    _add_trunk(body, spread)
    _add_arms(body)
    _add_head(body)
    _add_bag(body)
    return np.array(body.limbs, np.float32), np.array(body.materials, np.float32)


def _swing(length: float, angle: float) -> tuple[float, float]:
    """Return how far down and to the front a segment reaches when swung forwards by an angle."""
    return length * math.cos(angle), length * math.sin(angle)


def _add_legs(body: BodyBuilder) -> float:
    """Return how far the knees are in front of or behind the body."""
    look, pose = body.look, body.pose
    skin = body.plain(look.skin)
    cover = body.cloth(look.lower_cloth)
    heel_colour = tuple(0.5 * channel + 0.2 for channel in look.shoes)
    shoe = body.cloth(Cloth(look.shoes, (heel_colour[0], heel_colour[1], heel_colour[2]), pattern="shoe"), folds=0.0)
    boot = body.plain(look.shoes, shine=0.15)
    socks = body.plain(look.socks) if look.socks else None
    reach, knees = 0.42 * pose.stride * look.gait, []
    for side in (1, -1):
        angle = reach * math.sin(2 * math.pi * pose.phase) * side
        lifting = max(0.0, math.cos(2 * math.pi * pose.phase) * side)
        bend = 0.12 * pose.stride + 0.8 * pose.stride * lifting
        hip = (0.049 * side * look.build, _HIP, 0.0)
        down, ahead = _swing(_HIP - _KNEE, angle + 0.25 * bend)
        knee = (hip[0], hip[1] - down, ahead)
        down, ahead = _swing(_KNEE - _ANKLE, angle - 0.75 * bend)
        ankle = (hip[0] * 0.9, knee[1] - down, knee[2] + ahead)
        knees.append(knee)
        _cover_leg(body, hip, knee, ankle, skin, cover)
        tip = 0.5 * (angle - 0.75 * bend)
        toe = (ankle[0] * 1.15, ankle[1] - 0.02 + 0.1 * tip, ankle[2] + 0.085)
        heel = (ankle[0], ankle[1] - 0.02, ankle[2] - 0.022)
        body.limb(heel, toe, (0.023, 0.025, 0.026, 0.026, 0.027, 0.027, 0.026, 0.024, 0.02), None, shoe)
        if look.boots:
            top = _between(ankle, knee, 0.5)
            body.limb(top, ankle, (0.04,) * 9, None, boot, caps=(0, 1))
        elif socks is not None:
            body.limb(_between(ankle, knee, 0.25), ankle, (0.03,) * 9, None, socks, more=0.003)
    spread = max(abs(knee[2]) for knee in knees)
    if look.lower in ("skirt", "dress"):
        _add_sheath(body, _WAIST + 0.02, look.lower_end, cover, spread, 0.004, 0.05 * look.flare)
    return spread


def _add_sheath(
    body: BodyBuilder, top: float, end: float, material: int, spread: float, more: float, flare: float = 0.0
) -> None:
    """Add cloth around the body from a height down to another, open at its ends; below the hips it hangs freely.

    Args:
        body: where to add it.
        top: where it begins.
        end: where it ends.
        material: what it is made of.
        spread: how far the knees are before or behind the body; what hangs over them must reach as far.
        more: how far it stands off the body.
        flare: how much wider it is at the ground than at the hips.
    """
    heights = [top + (end - top) * k / (raster.KNOTS - 1) for k in range(raster.KNOTS)]
    side, front = _trunk_at(body.look, heights)
    hanging = [max(0.0, _HIP - y) / (_HIP - _KNEE) for y in heights]
    side = [s + 0.4 * flare * share for s, share in zip(side, hanging, strict=True)]
    front = [
        max(f, 1.2 * (min(share, 1.15) * spread + 0.055)) if share else f
        for f, share in zip(front, hanging, strict=True)
    ]
    body.limb((0, top, 0), (0, end, 0), side, front, material, more=more, caps=(0, 0))


def _trunk_at(look: Look, heights: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the half-widths of the body at some heights; below the crotch, those of the crotch."""
    up, side, front = (np.array(values[::-1]) for values in (_HEIGHTS, _TORSO_SIDE, _TORSO_FRONT))
    broad = np.where(np.array(heights) < 0.62, look.build * look.hips, look.build)
    wide, deep = np.interp(heights, up, side) * broad, np.interp(heights, up, front) * (0.5 + 0.5 * look.build)
    return wide.tolist(), deep.tolist()


def _cover_leg(body: BodyBuilder, hip: Point, knee: Point, ankle: Point, skin: int, cover: int) -> None:
    look = body.look
    thick = 0.92 + 0.25 * (look.build - 1)
    thigh, calf = [r * thick for r in _THIGH], [r * thick for r in _CALF]
    body.limb(hip, knee, thigh, None, skin)
    body.limb(knee, ankle, calf, None, skin)
    loose = 0.004 + 0.01 * look.flare
    if look.lower in ("trousers", "jeans"):
        body.limb(hip, knee, thigh, None, cover, more=loose)
        wide = [max(r, 0.027 + 0.008 * look.flare) for r in calf]
        body.limb(knee, ankle, wide, None, cover, more=loose, caps=(1, 0))
    elif look.lower == "shorts":
        if look.lower_end > _KNEE:
            end = _between(hip, knee, (_HIP - look.lower_end) / (_HIP - _KNEE))
            body.limb(hip, end, thigh, None, cover, more=loose + 0.008, caps=(1, 0))
        else:
            body.limb(hip, knee, thigh, None, cover, more=loose + 0.006)


def _between(a: Point, b: Point, share: float) -> Point:
    return (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2]))


def _add_trunk(body: BodyBuilder, spread: float) -> None:
    look = body.look
    straps = {"backpack": "two", "shoulder": "left" if look.bag_side > 0 else "right"}.get(look.bag, "none")
    _add_sheath(body, _WAIST, _CROTCH, body.cloth(look.lower_cloth._replace(pattern="plain")), 0.0, 0.001)
    skin = body.plain(look.skin)
    upper = body.cloth(look.upper_cloth, straps=straps)
    more, end = _THICKNESS[look.upper], _WAIST - look.hem
    # The cloth of chest and back is one piece as far as the hips, so that a pattern's place does not hang on the hem.
    _add_sheath(body, _NECK, max(end, _HIP), upper, 0.0, more)
    if end < _HIP:
        same = look.upper_cloth.pattern not in ("yoke", "band")
        hang = body.cloth(look.upper_cloth._replace(logo="none") if same else Cloth(look.upper_cloth.base))
        _add_sheath(body, _HIP, end, hang, spread, more, 0.02)
    body.limb((0, 0.885, 0.004), (0, 0.84, 0), (0.03,) * 9, None, skin)
    if look.scarf is not None:
        scarf = body.plain(look.scarf, folds=0.5)
        body.limb(
            (0, 0.872, 0.008),
            (0, 0.838, 0.012),
            (0.05, 0.054, 0.057, 0.06, 0.062, 0.062, 0.06, 0.057, 0.05),
            None,
            scarf,
        )
        body.limb((0.02, 0.83, 0.075), (0.024, 0.7, 0.088), (0.018,) * 9, None, scarf, caps=(1, 0))


def _add_arms(body: BodyBuilder) -> None:
    look, pose = body.look, body.pose
    skin = body.plain(look.skin)
    sleeve = body.cloth(look.sleeve_cloth)
    more = _THICKNESS[look.upper]
    for side in (1, -1):
        angle = -0.5 * pose.stride * look.gait * math.sin(2 * math.pi * pose.phase) * side
        carries = look.bag == "handbag" and side == look.bag_side
        if carries:
            angle *= 0.3
        shoulder = (0.098 * side * look.build, _SHOULDER, 0.0)
        down, ahead = _swing(0.175, angle)
        elbow = (shoulder[0] + 0.026 * side, shoulder[1] - down, ahead)
        down, ahead = _swing(0.15, angle + 0.15 + 0.35 * pose.stride * (0 if carries else 1))
        wrist = (elbow[0] + 0.004 * side, elbow[1] - down, elbow[2] + ahead)
        hand = (wrist[0], wrist[1] - 0.035, wrist[2] + 0.012)
        body.limb(shoulder, elbow, _UPPER_ARM, None, skin)
        body.limb(elbow, wrist, _FOREARM, None, skin)
        body.limb(wrist, hand, (0.017, 0.019, 0.021, 0.022, 0.022, 0.021, 0.02, 0.018, 0.016), None, skin)
        if look.upper == "tshirt":
            body.limb(shoulder, _between(shoulder, elbow, 0.62), _UPPER_ARM, None, sleeve, more=0.009, caps=(1, 0))
        elif look.upper != "tank":
            body.limb(shoulder, elbow, _UPPER_ARM, None, sleeve, more=more)
            body.limb(elbow, _between(elbow, wrist, 0.98), _FOREARM, None, sleeve, more=more, caps=(1, 0))
        if carries:
            bag = body.plain(look.bag_colour, shine=0.2)
            top, low = (hand[0], hand[1] - 0.035, hand[2]), (hand[0], hand[1] - 0.13, hand[2])
            body.limb(hand, top, (0.006,) * 9, None, bag)
            body.limb(
                top, low, (0.02,) * 9, (0.075, 0.078, 0.08, 0.082, 0.084, 0.085, 0.085, 0.084, 0.08), bag, caps=(0, 0)
            )


def _add_head(body: BodyBuilder) -> None:
    look, pose = body.look, body.pose
    tilt = 0.12 * math.sin(pose.lean)
    crown, chin = (tilt, 0.955, 0.012), (0.3 * tilt, 0.888, 0.012)
    hairline = {"bald": -0.4, "short": 0.2}.get(look.hair_style, 0.24)
    hair_colour = look.skin if look.hair_style == "bald" else look.hair
    face = Cloth(look.skin, hair_colour, (0.12, 0.09, 0.09), "beard" if look.beard else "head", hairline)
    body.limb(crown, chin, _HEAD_SIDE, _HEAD_FRONT, body.cloth(face, folds=0.0, shine=0.05))
    hair = body.plain(look.hair, folds=0.3, shine=0.1)
    full = (0.034, 0.047, 0.053, 0.055, 0.055, 0.055, 0.055, 0.054, 0.05)
    if look.hair_style == "bob":
        body.limb((tilt, 0.958, -0.008), (0, 0.868, -0.016), full, full, hair, caps=(1, 0))
    elif look.hair_style == "long":
        body.limb((tilt, 0.958, -0.008), (0, 0.76, -0.05), full, full, hair, caps=(1, 1))
    elif look.hair_style == "ponytail":
        thin = (0.022, 0.026, 0.028, 0.028, 0.027, 0.025, 0.022, 0.018, 0.012)
        body.limb((tilt, 0.945, -0.055), (tilt, 0.81, -0.088), thin, None, hair)
    elif look.hair_style == "bun":
        body.limb((tilt, 0.985, -0.03), (tilt, 0.992, -0.034), (0.027,) * 9, None, hair)
    _add_hat(body, tilt)


def _add_hat(body: BodyBuilder, tilt: float) -> None:
    look = body.look
    if look.hat == "none":
        return
    cloth = body.plain(look.hat_colour, folds=0.15)
    over_side = (0.036, 0.046, 0.052, 0.055, 0.056, 0.057, 0.057, 0.057, 0.057)
    over_front = (0.042, 0.054, 0.061, 0.064, 0.065, 0.066, 0.066, 0.066, 0.066)
    if look.hat == "cap":
        body.limb((tilt, 0.962, 0.01), (tilt, 0.938, 0.012), over_side, over_front, cloth, caps=(1, 0))
        brim = (0.008, 0.009, 0.01, 0.01, 0.01, 0.01, 0.01, 0.009, 0.008)
        body.limb((tilt - 0.034, 0.938, 0.07), (tilt + 0.034, 0.938, 0.07), brim, (0.03,) * 9, cloth)
    elif look.hat == "beanie":
        body.limb((tilt, 0.968, 0.008), (tilt, 0.93, 0.01), over_side, over_front, cloth, caps=(1, 0))
    else:
        hood = body.plain(look.upper_cloth.base, folds=0.3)
        body.limb((tilt, 0.96, -0.012), (0, 0.85, -0.02), over_side, over_front, hood)


def _add_bag(body: BodyBuilder) -> None:
    look = body.look
    bag = body.plain(look.bag_colour, folds=0.08, shine=0.1)
    if look.bag == "backpack":
        wide = (0.055, 0.074, 0.082, 0.085, 0.087, 0.087, 0.086, 0.082, 0.064)
        deep = (0.025, 0.036, 0.042, 0.046, 0.05, 0.054, 0.055, 0.05, 0.035)
        body.limb((0, 0.79, -0.1), (0, 0.605, -0.108), wide, deep, bag)
    elif look.bag == "shoulder":
        x = 0.125 * look.build * look.bag_side
        deep = (0.06, 0.062, 0.064, 0.066, 0.068, 0.068, 0.068, 0.066, 0.06)
        body.limb((x, 0.57, 0.01), (x * 1.05, 0.47, 0.01), (0.022,) * 9, deep, bag, caps=(0, 1))
