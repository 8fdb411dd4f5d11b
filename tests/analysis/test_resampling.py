from collections.abc import Sequence

import numpy as np
import pytest

from jointreid.analysis import resampling
from jointreid.analysis.resampling import Estimate, QueryMetrics, difference, estimate, resampled_difference


def metrics(values: Sequence[Sequence[float]], identities: Sequence[int], seeds: Sequence[int] = ()) -> QueryMetrics:
    return QueryMetrics(tuple(seeds or range(len(values))), np.array(values, float), np.array(identities))


def shares(resampled: np.ndarray) -> dict[float, float]:
    """The share of each value among the resamples."""
    found, counts = np.unique(resampled.round(9), return_counts=True)
    return dict(zip(found.tolist(), (counts / counts.sum()).tolist(), strict=True))


def test_people_are_drawn_whole() -> None:
    # One person has three queries of difference 0, the other one of 1. Two people are drawn with replacement: twice the
    # first gives 0, each once gives 1/4, twice the second gives 1, with probability 1/4, 1/2 and 1/4.
    a, b = metrics([[0, 0, 0, 0]], [0, 0, 0, 1]), metrics([[0, 0, 0, 1]], [0, 0, 0, 1])
    assert difference(a, b) == 0.25
    assert shares(resampled_difference(a, b)) == pytest.approx({0.0: 0.25, 0.25: 0.5, 1.0: 0.25}, abs=0.03)
    assert estimate(a, b) == Estimate(0.25, 0.0, 1.0)
    assert not estimate(a, b).is_clear


def test_seeds_are_drawn_in_pairs_where_both_arms_have_them() -> None:
    a, b = metrics([[0.0] * 2, [0.0] * 2], [0, 1]), metrics([[0.0] * 2, [1.0] * 2], [0, 1])
    found = shares(resampled_difference(a, b))
    assert found == pytest.approx({0.0: 0.25, 0.5: 0.5, 1.0: 0.25}, abs=0.03)
    same = metrics([[0.0] * 2, [1.0] * 2], [0, 1])
    assert shares(resampled_difference(same, same)) == {0.0: 1.0}
    other = metrics([[0.0] * 2, [1.0] * 2], [0, 1], seeds=(7, 8))
    # Each side's mean is 0, 1/2 or 1 by itself: the difference is 0 in 1/16 + 1/4 + 1/16 of the resamples.
    assert shares(resampled_difference(same, other))[0.0] == pytest.approx(0.375, abs=0.03)


def test_a_constant_shift_has_no_uncertainty() -> None:
    values = np.random.default_rng(0).random((3, 20))
    found = estimate(metrics(values.tolist(), list(range(20))), metrics((values + 0.125).tolist(), list(range(20))))
    assert [found.value, found.low, found.high] == pytest.approx([0.125] * 3)
    assert found.is_clear


def test_the_interval_is_that_of_the_normal_approximation_over_people() -> None:
    generator = np.random.default_rng(1)
    of_people = generator.normal(0.02, 0.2, 300)
    identities = np.repeat(np.arange(300), 4)
    a = generator.random(1200)
    found = estimate(
        metrics([a.tolist()], identities.tolist()), metrics([(a + of_people[identities]).tolist()], identities.tolist())
    )
    error = 1.96 * of_people.std() / 300**0.5
    assert found.low == pytest.approx(found.value - error, abs=0.06 * error)
    assert found.high == pytest.approx(found.value + error, abs=0.06 * error)


def test_blocks_and_the_number_of_seeds_leave_resamples_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random((2, 3, 9))
    a, b = (metrics(v.tolist(), [0, 0, 1, 1, 2, 3, 4, 5, 6]) for v in values)
    whole = resampled_difference(a, b)
    monkeypatch.setattr(resampling, "BLOCK", 100)
    assert resampled_difference(a, b) == pytest.approx(whole)
    assert resampled_difference(a, b, seed=(0, 1)) != pytest.approx(whole)


def test_an_arm_takes_the_same_seeds_in_every_data_set_whatever_the_other_arm_has() -> None:
    joint = metrics([[0.0] * 2, [0.5] * 2, [1.0] * 2], [0, 1])
    with_three, with_two = (metrics([[0.0] * 2] * n, [0, 1]) for n in (3, 2))
    drawn = resampled_difference(with_three, joint)
    assert drawn.std() > 0.1
    assert resampled_difference(with_two, joint, seed=(0, 1)) == pytest.approx(drawn)


def test_one_person_tells_nothing_of_others() -> None:
    a, b = metrics([[0.1, 0.2]], [0, 0]), metrics([[0.9, 0.9]], [0, 0])
    found = estimate(a, b)
    assert found.value == pytest.approx(0.75)
    assert (found.low, found.high) == (-1.0, 1.0)
    assert not estimate(a, b).is_clear
