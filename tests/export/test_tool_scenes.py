"""The frames on which trackers of other tools are proved: nobody passes without looking."""

import numpy as np
from numpy.typing import NDArray

from tests.soak.tool_scenes import AWAY, BEFORE, FRAMES, PEOPLE, Scene, scenes
from tests.soak.tools import ToolResult, follows


def people() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (PEOPLE, 96, 48, 3), dtype=np.uint8)


def tracks_by(scene: Scene, of: NDArray[np.int64]) -> list[dict[str, int]]:
    """Return tracks as a tool gives them: `of` [T, P] is the track of each box in sight."""
    return [
        {str(box): 10 + int(of[time, box]) for box in range(PEOPLE) if scene.who[time, box] >= 0}
        for time in range(FRAMES)
    ]


def test_tracks_of_looks_are_right_and_those_of_places_alone_are_not() -> None:
    shown = scenes(people())
    blind = []
    for scene in shown.values():
        assert follows(tracks_by(scene, scene.who), scene)
        blind.append(follows(tracks_by(scene, np.tile(np.arange(PEOPLE), (FRAMES, 1))), scene))
    assert blind == [True, True, False]  # the box that comes back is the first one's, or always the second's
    assert not follows(tracks_by(shown["returning"], np.where(shown["returning"].who == 0, 1, 2)), shown["returning"])
    lost = tracks_by(shown["walking"], shown["walking"].who)
    del lost[3]["1"]
    assert not follows(lost, shown["walking"])
    assert ToolResult("a", "1", 1e-6, {"walking": True}).passed
    assert not ToolResult("a", "1", 1e-6, {"walking": True, "returning": False}).passed
    assert not ToolResult("a", "1", 1e-3, {"walking": True}).passed


def test_the_places_do_not_say_who_comes_back() -> None:
    shown = scenes(people())
    one, other = shown["returning"], shown["other looks"]
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.who >= 0, other.who >= 0)
    assert (one.who[BEFORE : BEFORE + AWAY, :2] == -1).all()
    back = one.boxes[-1, 0]
    assert overlap(back, one.boxes[0, 0]) == overlap(back, one.boxes[0, 1]) >= 0.59
    for scene, person in ((one, 0), (other, 1)):  # who comes back was seen whole
        for time, box in ((0, person), (FRAMES - 1, 0)):
            left, top, right, bottom = scene.boxes[time, box].astype(int)
            np.testing.assert_array_equal(scene.frames[time, top:bottom, left:right], people()[person])


def overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the intersection over union of two boxes of one height at one height."""
    shared = min(one[2], other[2]) - max(one[0], other[0])
    return float(shared / (max(one[2], other[2]) - min(one[0], other[0])))
