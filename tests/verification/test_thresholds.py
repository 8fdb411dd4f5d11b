"""Thresholds and rates of similarities that are made by hand, so that the right answers are known."""

import numpy as np
import pytest

from jointreid.verification.pairs import People, count_at_least, positives_of, tail_of
from jointreid.verification.thresholds import match_threshold, non_match_threshold, smallest_rate


def crowd(identities: int = 12, images: int = 4, cameras: int = 2, seed: int = 0, spread: float = 0.7) -> People:
    """People whose features are a direction of their own, with noise."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(identities, 16)).repeat(images, axis=0)
    features = (centres + spread * random.normal(size=centres.shape)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    numbers = np.arange(identities).repeat(images)
    return People(features, numbers, np.arange(len(numbers)) % cameras if cameras > 1 else None)


def by_hand(people: People) -> tuple[list[tuple[float, int, int]], list[float]]:
    """All pairs that count, one by one: those of two people (similarity, row, row) and those of one."""
    different, alike = [], []
    for i in range(len(people.features)):
        for j in range(i + 1, len(people.features)):
            if people.groups is not None and people.groups[i] == people.groups[j]:
                continue
            similarity = float(people.features[i] @ people.features[j])
            if people.identities[i] == people.identities[j]:
                alike.append(similarity)
            else:
                different.append((similarity, i, j))
    return sorted(different, reverse=True), sorted(alike)


@pytest.mark.parametrize("cameras", [1, 2])
def test_pairs_are_those_of_two_loops(cameras: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointreid.verification.pairs._BLOCK", 300)  # several blocks
    people = crowd(cameras=cameras)
    different, alike = by_hand(people)
    assert people.num_negatives == len(different) > 500
    assert people.num_positives == len(alike) > 40
    assert positives_of(people)[0] == pytest.approx(alike, abs=1e-6)
    tail = tail_of(people, 50)
    assert 50 <= len(tail.similarities) <= 100
    assert not tail.complete
    assert tail.similarities == pytest.approx([s for s, _, _ in different[: len(tail.similarities)]], abs=1e-6)
    assert {(int(i), int(j)) for i, j in zip(tail.first[:50], tail.second[:50], strict=True)} == {
        (i, j) for _, i, j in different[:50]
    }
    assert count_at_least(people, different[20][0] - 1e-6) == 21
    assert tail_of(people, 10**6).complete


@pytest.mark.parametrize("cameras", [1, 2])
def test_pairs_of_two_people_in_a_resample_are_those_of_copies(cameras: int) -> None:
    people = crowd(identities=5, cameras=cameras)
    drawn = np.array([[2.0, 0, 1, 1, 1], [0, 0, 5, 0, 0]])
    expected = [
        float(sum(counts[people.identities[i]] * counts[people.identities[j]] for _, i, j in by_hand(people)[0]))
        for counts in drawn
    ]
    assert people.negatives(drawn).tolist() == expected
    assert expected[1] == 0


def test_a_threshold_lets_exactly_the_wanted_share_through() -> None:
    # 101 people with an image each, all against one: similarities of 0.01 to 1 to it, and of at most 0.1 elsewhere.
    angles = np.arccos(np.linspace(0.01, 1, 100))
    features = np.zeros((101, 101), dtype=np.float32)
    features[0, 0] = 1
    features[np.arange(1, 101), 0] = np.cos(angles)
    features[np.arange(1, 101), np.arange(1, 101)] = np.sin(angles)
    groups = np.minimum(np.arange(101), 1)  # so that only pairs with the first count
    people = People(features, np.arange(101), groups)
    found = match_threshold(people, 0.1)
    assert found.value == pytest.approx(0.9, abs=1e-6)
    assert found.value > np.float32(0.9)  # the pair of 0.9 is not let through: it would be the eleventh
    assert count_at_least(people, found.value) == 10
    assert found.low <= found.value <= found.high


def test_equal_similarities_are_let_through_together_or_not_at_all() -> None:
    features = np.tile(np.array([1, 0], dtype=np.float32), (20, 1))
    people = People(features, np.arange(20))
    assert match_threshold(people, 0.5).value > 1  # all 190 pairs have similarity 1


def test_the_interval_holds_the_threshold_of_a_large_crowd() -> None:
    truth = match_threshold(crowd(400, 2, 1, seed=99), 0.02, resamples=2).value
    inside = 0
    for seed in range(20):
        found = match_threshold(crowd(30, 2, 1, seed=seed), 0.02, resamples=200)
        inside += found.low <= truth <= found.high
    assert inside >= 16


def test_few_people_with_many_images_get_a_wider_interval_than_pairs_would() -> None:
    many, few = match_threshold(crowd(60, 2, 1), 0.02), match_threshold(crowd(6, 20, 1), 0.02)
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_no_more_than_the_wanted_share_of_one_person_is_below() -> None:
    people = crowd(30, 4, 1)
    alike = by_hand(people)[1]
    found = non_match_threshold(people, 0.1)
    assert found is not None
    assert found.value == pytest.approx(alike[len(alike) // 10], abs=1e-6)
    assert np.mean(np.array(alike) < found.value - 1e-6) <= 0.1
    assert non_match_threshold(people, 0.01) is None  # 180 pairs are no 1,000


def test_the_smallest_rate_leaves_ten_errors() -> None:
    assert smallest_rate(6_840) == pytest.approx(10 / 6_840)
    assert smallest_rate(0) > 1
