"""Frames for trackers, made of images of a few people at the model's size.

In `walking` people walk far apart, so that overlap alone keeps their tracks. In `returning` two stand side by side, the
second partly behind the first, and both are out of sight for some frames; then the first comes back in the middle
between their places, so that looks decide whose track it is. `other looks` has the same boxes in all frames, and the
second is in front and comes back: a tracker that does not look gives both scenes the same tracks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PEOPLE = 3
FRAMES = 12
# Frames before both are out of sight, and with neither.
BEFORE, AWAY = 6, 3
# Places of the second and of the box that comes back, in widths to the right of the first. The box overlaps both places
# by more than half (IoU 0.6): BoT-SORT looks at nothing farther.
SECOND, BACK = 0.5, 0.25
_MARGIN = 40


@dataclass(frozen=True, eq=False)
class Scene:
    """Frames with boxes.

    Attributes:
        frames: RGB, uint8 [T, H, W, 3].
        boxes: left, top, right, bottom of each person, float32 [T, P, 4].
        who: whose looks a box has, [T, P]; -1 for none in sight.
    """

    frames: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    who: NDArray[np.int64]


def scenes(people: NDArray[np.uint8]) -> dict[str, Scene]:
    """Return all scenes by name; `people` are images of three people, uint8 [3, H, W, 3]."""
    return {
        "walking": walking(people),
        "returning": returning(people, 0),
        "other looks": returning(people, 1),
    }


def walking(people: NDArray[np.uint8]) -> Scene:
    """Return people who walk to the right, far apart."""
    width = people.shape[2]
    lefts = np.array([[_MARGIN + p * (width + 60) + 2 * time for p in range(PEOPLE)] for time in range(FRAMES)])
    return _drawn(people, lefts, np.tile(np.arange(PEOPLE), (FRAMES, 1)))


def returning(people: NDArray[np.uint8], front: int) -> Scene:
    """Return two people who are out of sight for a while, and the one in front, 0 or 1, who comes back."""
    width = people.shape[2]
    places = np.array([0, round(SECOND * width), 3 * width]) + _MARGIN
    lefts, who = np.tile(places, (FRAMES, 1)), np.tile(np.arange(PEOPLE), (FRAMES, 1))
    who[BEFORE:, :2] = -1
    lefts[BEFORE + AWAY :, 0] = _MARGIN + round(BACK * width)
    who[BEFORE + AWAY :, 0] = front
    return _drawn(people, lefts, who, front)


def _drawn(people: NDArray[np.uint8], lefts: NDArray[np.int64], who: NDArray[np.int64], front: int = 0) -> Scene:
    """Draw people onto a wall whose grain lets a tracker see that the camera stands still."""
    height, width = people.shape[1:3]
    size = height + 2 * _MARGIN, int(lefts.max()) + width + _MARGIN, 3
    wall = np.random.default_rng(0).integers(80, 112, size, dtype=np.uint8)
    frames = np.tile(wall, (FRAMES, 1, 1, 1))
    boxes = np.zeros((FRAMES, PEOPLE, 4), np.float32)
    for time in range(FRAMES):
        for box in sorted(range(PEOPLE), key=lambda box: who[time, box] == front):
            left = lefts[time, box]
            boxes[time, box] = left, _MARGIN, left + width, _MARGIN + height
            if who[time, box] >= 0:
                frames[time, _MARGIN : _MARGIN + height, left : left + width] = people[who[time, box]]
    return Scene(frames, boxes, who)
