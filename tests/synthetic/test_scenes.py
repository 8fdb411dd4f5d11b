"""Places behind people: painted from a seed at any size, each like no other."""

import numpy as np
import pytest
from numpy.typing import NDArray

from jointreid.synthetic.scenes import PLACES, paint_scene

pytestmark = pytest.mark.slow  # its kernels are compiled first

HEIGHT, WIDTH = 36, 126
HORIZONS = (0.03, 0.2, 0.5)  # as cameras have them, from looking down to looking straight on


def paint(
    place: str, seed: int = 0, horizon: float = 0.4, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> NDArray[np.float32]:
    return paint_scene(place, np.random.default_rng(seed), *size, horizon)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", [(35, 112), (36, 119)])
def test_every_place_can_be_painted_from_any_seed(place: str, size: tuple[int, int]) -> None:
    for seed in range(6):
        for horizon in HORIZONS:
            seen = paint(place, seed, horizon, size)
            assert seen.shape == (*size, 3)
            assert seen.dtype == np.float32
            assert 0 <= seen.min() < seen.max() <= 1
            assert seen.std() > 0.01


@pytest.mark.parametrize("place", PLACES)
def test_a_seed_paints_the_same_and_another_seed_another_picture(place: str) -> None:
    assert (paint(place) == paint(place)).all()
    assert np.abs(paint(place) - paint(place, seed=1)).mean() > 0.02


def test_places_differ() -> None:
    mean = {place: np.mean([paint(place, seed) for seed in range(8)], axis=0) for place in PLACES}
    for place, other in ((place, other) for place in PLACES for other in PLACES if place < other):
        assert np.abs(mean[place] - mean[other]).mean() > 0.01, (place, other)


@pytest.mark.parametrize("place", PLACES)
def test_the_ground_begins_at_the_horizon(place: str) -> None:
    # What stands before it reaches a little below; down there both are the same ground, drawn from the same numbers.
    low, high = (np.mean([paint(place, seed, horizon) for seed in range(8)], axis=(0, 2)) for horizon in (0.6, 0.1))
    assert np.abs(low - high)[int(0.2 * HEIGHT) : int(0.5 * HEIGHT)].mean() > 0.02
