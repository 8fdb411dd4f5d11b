"""Bodies in poses: what is on a side is seen from that side, and they stand where they are put."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from jointreid.synthetic import raster
from jointreid.synthetic.builder import BodyPlacement, Pose
from jointreid.synthetic.figure import dress
from jointreid.synthetic.looks import BAGS, HATS, LOWERS, UPPERS, Cloth, Look, draw_look
from jointreid.synthetic.presets import TABLE1

pytestmark = pytest.mark.slow  # its kernels are compiled first

HEIGHT, WIDTH, FOOT, STATURE = 128, 96, 118, 108  # pixels
FRONT, RIGHT, BEHIND, LEFT = 0.0, math.pi / 2, math.pi, -math.pi / 2
STANDING = Pose(yaw=FRONT, phase=0.0, stride=0.0, elevation=0.0, distance=6.0, lean=0.0)
GREY, GREEN = (0.5, 0.5, 0.5), (0.0, 0.9, 0.0)
# Everything but what a test makes green is grey.
SOMEBODY = Look(
    stature=1.7,
    build=1.0,
    hips=1.0,
    skin=GREY,
    hair=GREY,
    hair_style="short",
    beard=False,
    hat="none",
    hat_colour=GREY,
    upper="tshirt",
    upper_cloth=Cloth(GREY, GREY, GREY),
    sleeve_cloth=Cloth(GREY),
    hem=0.1,
    lower="trousers",
    lower_cloth=Cloth(GREY),
    lower_end=0.04,
    flare=0.3,
    shoes=GREY,
    boots=False,
    socks=None,
    bag="none",
    bag_colour=GREY,
    bag_side=1,
    scarf=None,
    gait=1.0,
    seed=7.0,
)


def draw(look: Look, pose: Pose, folds: bool = True) -> NDArray[np.float32]:
    """Draw somebody lit from the viewer and from all around: [HEIGHT, WIDTH, 4]."""
    scale = STATURE / (math.cos(pose.elevation) + 0.12 * math.sin(pose.elevation))
    limbs, materials = dress(look, pose, BodyPlacement(scale, WIDTH / 2 * raster.SUBPIXELS, FOOT * raster.SUBPIXELS))
    if not folds:
        materials[:, raster.FOLDS] = 0
    return raster.render(limbs, materials, HEIGHT, WIDTH, np.array((0, 0, 1, 0.5, 0.5), np.float32))


def green(look: Look, yaw: float) -> NDArray[np.bool_]:
    """Where something green is seen, facing that way."""
    seen = draw(look, STANDING._replace(yaw=yaw))
    return seen[..., 1] > 2 * seen[..., 0] + 0.05


# What is seen from where


@pytest.mark.parametrize(("on_back", "seen_from", "hidden_from"), [(True, BEHIND, FRONT), (False, FRONT, BEHIND)])
def test_a_logo_is_seen_from_its_side_and_not_from_the_other(
    on_back: bool, seen_from: float, hidden_from: float
) -> None:
    look = SOMEBODY._replace(upper_cloth=Cloth(GREY, third=GREEN, logo="block", on_back=on_back))
    rows, columns = np.nonzero(green(look, seen_from))
    assert rows.size > 50
    assert columns.mean() == pytest.approx(WIDTH / 2 - 0.5, abs=1)
    assert 0.55 < (FOOT - rows.mean()) / STATURE < 0.8  # on chest or back
    assert not green(look, hidden_from).any()
    assert 0 < green(look, seen_from + 0.9).sum() < rows.size


@pytest.mark.parametrize("bag", ["shoulder", "handbag"])
@pytest.mark.parametrize("side", [1, -1])
def test_a_bag_on_the_left_is_on_the_viewers_right_from_the_front(bag: str, side: int) -> None:
    look = SOMEBODY._replace(bag=bag, bag_colour=GREEN, bag_side=side)
    for yaw, towards in ((FRONT, side), (BEHIND, -side)):
        below_the_hip = np.nonzero(green(look, yaw)[FOOT - int(0.55 * STATURE) :])[1]
        assert below_the_hip.size > 10
        assert towards * (below_the_hip.mean() - WIDTH / 2) > 0.08 * STATURE
    near, far = (LEFT, RIGHT) if side == 1 else (RIGHT, LEFT)
    below = slice(FOOT - int(0.55 * STATURE), None)  # above is the strap, which is seen from both sides
    assert green(look, near)[below].sum() > 2 * green(look, far)[below].sum()


def test_a_shoulder_bag_hangs_from_the_other_shoulder() -> None:
    look = SOMEBODY._replace(bag="shoulder", bag_colour=GREEN, bag_side=1)
    for yaw, towards in ((FRONT, -1), (BEHIND, 1)):
        chest = green(look, yaw)[FOOT - int(0.8 * STATURE) : FOOT - int(0.75 * STATURE)]
        assert towards * (np.nonzero(chest)[1].mean() - WIDTH / 2) > 2


def test_a_backpack_is_seen_from_behind_and_its_straps_from_the_front() -> None:
    look = SOMEBODY._replace(bag="backpack", bag_colour=GREEN)
    front, behind = green(look, FRONT), green(look, BEHIND)
    assert behind.sum() > 3 * front.sum() > 0
    assert front[:, : WIDTH // 2].sum() == pytest.approx(front[:, WIDTH // 2 :].sum(), rel=0.2)
    assert not front[:, WIDTH // 2 - 1 : WIDTH // 2 + 1].any()  # a strap on each side
    for yaw, towards in ((RIGHT, -1), (LEFT, 1)):  # facing right, the pack is on the left of the picture
        assert towards * (np.nonzero(green(look, yaw))[1].mean() - WIDTH / 2) > 0.05 * STATURE


@pytest.mark.parametrize(("yaw", "towards"), [(RIGHT, 1), (LEFT, -1)])
def test_feet_point_the_way_the_body_faces(yaw: float, towards: int) -> None:
    columns = np.nonzero(green(SOMEBODY._replace(shoes=GREEN), yaw))[1]
    assert towards * (columns.mean() - WIDTH / 2) > 1


@pytest.mark.parametrize("style", ["short", "bob", "long", "ponytail", "bun", "bald"])
def test_hair_covers_the_head_from_behind_and_leaves_the_face_free(style: str) -> None:
    look = SOMEBODY._replace(hair=GREEN, hair_style=style)
    front, behind = green(look, FRONT).sum(), green(look, BEHIND).sum()
    assert (behind > 1.3 * front > 0) if style != "bald" else (front == behind == 0)


@pytest.mark.parametrize("hat", ["cap", "beanie"])
def test_a_hat_is_seen_all_around_and_above_the_face(hat: str) -> None:
    look = SOMEBODY._replace(hat=hat, hat_colour=GREEN)
    for yaw in (FRONT, RIGHT, BEHIND, LEFT):
        rows = np.nonzero(green(look, yaw))[0]
        assert rows.size > 20
        assert (FOOT - rows.mean()) / STATURE > 0.9


def test_a_hood_leaves_the_face_free_and_covers_the_rest() -> None:
    hooded = SOMEBODY._replace(hat="hood", skin=GREEN, upper="hoodie", hair_style="short")
    head = slice(0, FOOT - int(0.87 * STATURE))
    assert green(hooded, FRONT)[head].sum() > 20
    assert not green(hooded, BEHIND)[head].any()


@pytest.mark.parametrize("lower", LOWERS)
def test_what_covers_the_legs_reaches_as_far_as_it_should(lower: str) -> None:
    end = {"trousers": 0.04, "jeans": 0.045}.get(lower, 0.3)
    look = SOMEBODY._replace(lower=lower, lower_cloth=Cloth(GREEN), lower_end=end, flare=0.5)
    for yaw in (FRONT, RIGHT, BEHIND):
        rows = np.nonzero(green(look, yaw).any(1))[0]
        assert (FOOT - rows.max()) / STATURE == pytest.approx(end, abs=0.04)
        assert 0.4 < (FOOT - rows.min()) / STATURE < 0.6


@pytest.mark.parametrize(("upper", "longest"), [("tank", 0.0), ("tshirt", 0.7), ("shirt", 1.0), ("coat", 1.0)])
def test_sleeves_are_as_long_as_the_garments(upper: str, longest: float) -> None:
    look = SOMEBODY._replace(upper=upper, sleeve_cloth=Cloth(GREEN))
    rows = np.nonzero(green(look, FRONT).any(1))[0]
    if not longest:
        assert not rows.size
    else:  # from the shoulder at 0.79 of the stature along upper arm and forearm
        lowest = 0.79 - 0.175 * longest - (0.15 if longest == 1 else 0)
        assert (FOOT - rows.max()) / STATURE == pytest.approx(lowest, abs=0.04)


# Poses


def mirrored(look: Look, pose: Pose) -> tuple[Look, Pose]:
    """Somebody who is the mirror image, with the other foot forward."""
    pose = pose._replace(yaw=-pose.yaw, phase=(pose.phase + 0.5) % 1, lean=-pose.lean)
    return look._replace(bag_side=-look.bag_side), pose


@pytest.mark.parametrize("seed", range(6))
def test_a_mirrored_pose_is_the_mirror_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    look = SOMEBODY._replace(
        upper=UPPERS[seed],
        lower=LOWERS[seed % len(LOWERS)],
        lower_end=0.3,
        bag=BAGS[seed % len(BAGS)],
        bag_colour=GREEN,
        hat=HATS[seed % len(HATS)],
        upper_cloth=Cloth(GREY, GREEN, GREEN, ("hoops", "sides", "band")[seed % 3], logo="disc", on_back=seed % 2 == 0),
    )
    pose = Pose(random.uniform(-3, 3), random.random(), random.uniform(0.3, 1.2), 0.3, 5.0, random.normal())
    one, other = draw(look, pose, folds=False), draw(*mirrored(look, pose), folds=False)
    off = np.abs(one - other[:, ::-1]).max(-1)
    # A subpixel on the very edge of something may go to either side of it.
    assert (off > 1e-3).mean() < 0.005
    assert off.mean() < 5e-4
    assert np.abs(one - other).mean() > 20 * off.mean()


def test_a_step_is_seen_from_the_side_and_its_halves_are_alike() -> None:
    walking = STANDING._replace(yaw=RIGHT, stride=1.0, phase=0.25)

    def spread(pose: Pose) -> int:
        feet = draw(SOMEBODY, pose)[FOOT - 12 : FOOT + 6, :, 3].any(0)
        return int(np.ptp(np.nonzero(feet)[0]))

    assert spread(walking) > 2 * spread(STANDING._replace(yaw=RIGHT))
    assert spread(walking) == pytest.approx(spread(walking._replace(phase=0.75)), abs=2)


def test_looking_down_shortens_legs_more_than_the_head() -> None:
    look = SOMEBODY._replace(lower_cloth=Cloth(GREEN))

    def legs(elevation: float) -> float:
        seen = draw(look, STANDING._replace(elevation=elevation, distance=3.5))
        rows = np.nonzero((seen[..., 1] > 2 * seen[..., 0] + 0.05).any(1))[0]
        everybody = np.nonzero(seen[..., 3].any(1))[0]
        return float(np.ptp(rows) / np.ptp(everybody))

    assert legs(0.55) < legs(0.0) - 0.03


# Everybody


def test_a_person_stands_at_the_given_place() -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for number in range(200):
        look = draw_look(random, TABLE1[number % len(TABLE1)].fashion)
        pose = Pose(
            yaw=random.uniform(-4, 4),
            phase=random.random(),
            stride=random.uniform(0.15, 1.3),
            elevation=random.uniform(0, 0.55),
            distance=random.uniform(3.5, 9),
            lean=random.normal(),
        )
        seen = draw(look, pose)
        cover = seen[..., 3]
        assert np.isfinite(seen).all()
        assert cover.min() >= 0
        assert cover.max() == pytest.approx(1, abs=1e-6)
        assert (x * cover).sum() / cover.sum() == pytest.approx(WIDTH / 2, abs=0.04 * STATURE)
        assert 0.42 < (FOOT - (y * cover).sum() / cover.sum()) / STATURE < 0.62
        rows, columns = (np.nonzero((cover > 0.5).any(axis))[0] for axis in (1, 0))
        assert 0.9 < np.ptp(rows) / STATURE < 1.16
        assert rows[-1] == pytest.approx(FOOT, abs=0.1 * STATURE)
        assert np.abs(columns - WIDTH / 2).max() < 0.36 * STATURE
        assert 0.12 < cover.sum() / STATURE**2 < 0.32


def test_limbs_and_materials_are_as_the_raster_takes_them() -> None:
    random = np.random.default_rng(1)
    for number in range(50):
        look = draw_look(random, TABLE1[number % len(TABLE1)].fashion)
        limbs, materials = dress(look, STANDING._replace(yaw=random.uniform(-4, 4)), BodyPlacement(100, 144, 354))
        assert limbs.shape[1:] == (raster.LIMB_COLUMNS,)
        assert materials.shape[1:] == (raster.MATERIAL_COLUMNS,)
        assert limbs.dtype == materials.dtype == np.float32
        assert set(limbs[:, raster.MATERIAL]) <= set(range(len(materials)))
        assert limbs[:, raster.WIDTH :].min() > 0
        assert 0 <= materials[:, : raster.PATTERN].min() <= materials[:, : raster.PATTERN].max() <= 1


def test_size_follows_the_placement_and_build_the_look() -> None:
    def width(look: Look) -> float:
        return float(draw(look, STANDING)[..., 3].sum())

    assert width(SOMEBODY._replace(build=1.3)) > 1.1 * width(SOMEBODY)
    limbs, _ = dress(SOMEBODY, STANDING, BodyPlacement(100, 0, 0))
    larger, _ = dress(SOMEBODY, STANDING, BodyPlacement(200, 0, 0))
    on_screen = [raster.AX, raster.AY, raster.BX, raster.BY, *range(raster.WIDTH, raster.DEPTH)]
    np.testing.assert_allclose(larger[:, on_screen], 2 * limbs[:, on_screen], atol=1e-2)
