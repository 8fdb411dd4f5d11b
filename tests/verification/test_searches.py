"""Thresholds for searches count people: rates by hand, and rates on fresh people whose images are alike."""

import numpy as np
import pytest

from jointreid.verification.nearest_people import encounters_of
from jointreid.verification.pairs import Floats, People
from jointreid.verification.searches import (
    SearchThreshold,
    largest_gallery,
    method_for,
    realised,
    rescaled,
    search_thresholds,
    sizes_for,
)
from tests.verification.test_thresholds import crowd

ASKED = 0.1


def nearest(queries: People, gallery: People) -> Floats:
    """Return the similarity of each query to the nearest image of the gallery."""
    found: Floats = (queries.features @ gallery.features.T).max(axis=1)
    return found


def nearest_other(people: People) -> Floats:
    """Return the similarity of each image to the nearest image of another person."""
    similarities = people.features @ people.features.T
    similarities[people.identities[:, None] == people.identities] = -1
    found: Floats = similarities.max(axis=1)
    return found


def test_encounters_are_those_of_two_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointreid.verification.nearest_people._BLOCK", 100)  # several blocks
    people = crowd(6, 3, 1)
    shuffled = np.random.default_rng(3).permutation(18)
    people = People(people.features[shuffled], people.identities[shuffled])
    met = encounters_of(people)
    assert len(met.similarities) == 18 * 5
    assert (np.diff(met.similarities) <= 0).all()
    for similarity, query, person in zip(met.similarities, met.queries, met.persons, strict=True):
        assert people.identities[query] != person
        of_person = people.features[people.identities == person]
        assert similarity == pytest.approx((of_person @ people.features[query]).max(), abs=1e-6)


def test_false_alarms_are_those_of_people_drawn_at_random() -> None:
    people = crowd(12, 4, 1)
    threshold, size = 0.5, 4
    alarms: list[bool] = []
    random = np.random.default_rng(5)
    for query, person in enumerate(people.identities):
        similarities = people.features @ people.features[query]
        others = np.delete(np.arange(12), person)
        for _ in range(300):
            gallery = np.isin(people.identities, random.choice(others, size, replace=False))
            alarms.append(bool(similarities[gallery].max() >= threshold))
    rate, method = realised(encounters_of(people), threshold, size)
    assert method == "counted"
    assert 0.1 < rate < 0.9
    assert rate == pytest.approx(np.mean(alarms), abs=0.02)


def test_in_the_largest_gallery_the_nearest_other_person_decides() -> None:
    people, other = crowd(30, 4, 1), crowd(30, 4, 1, seed=1)
    (found,) = search_thresholds(people, other, ASKED, [29], resamples=20)
    assert found.method == "counted"
    near = nearest_other(people)
    assert (near >= found.threshold.value).mean() <= ASKED
    assert (near >= found.threshold.value - 1e-4).mean() > ASKED
    assert found.realised == pytest.approx((nearest_other(other) >= found.threshold.value).mean())


def test_more_images_of_the_same_people_allow_no_more_people_to_be_counted() -> None:
    few, many = crowd(30, 4, 1), crowd(30, 40, 1)
    assert [method_for(people, ASKED, size) for people in (few, many) for size in (29, 30)] == [
        "counted",
        "extrapolated",
        "counted",
        "extrapolated",
    ]
    assert method_for(few, ASKED, 36) is None  # 120 queries, of which fewer than 10 would be false alarms
    assert largest_gallery(few, ASKED) == 35
    assert method_for(crowd(30, 3, 1), ASKED, 5) is None


def test_a_larger_gallery_needs_a_higher_threshold() -> None:
    people, other = crowd(60, 4, 1), crowd(60, 4, 1, seed=1)
    sizes = sizes_for(people, ASKED)
    assert sizes == [5, 10, 20, 50, 59, 100, largest_gallery(people, ASKED)]
    found = search_thresholds(people, other, ASKED, sizes, resamples=20)
    values = [one.threshold.value for one in found]
    assert values == sorted(values)
    assert values[-1] > values[0]
    assert [one.method for one in found] == ["counted"] * 5 + ["extrapolated"] * 2
    assert [one.realised_method for one in found] == ["counted"] * 5 + ["extrapolated"] * 2


def test_a_gallery_of_more_people_is_extrapolated_from_the_largest_counted() -> None:
    assert rescaled(0.1, 10, 20) == pytest.approx(1 - 0.9**2)
    assert rescaled(rescaled(0.1, 10, 25), 25, 10) == pytest.approx(0.1)
    assert rescaled(1.0, 10, 20) == 1
    people = crowd(60, 4, 1)
    found = search_thresholds(people, people, ASKED, [118], resamples=20)[0]
    in_half = search_thresholds(people, people, 1 - 0.9**0.5, [59], resamples=20)[0]
    assert found.threshold == in_half.threshold
    assert found.method == found.realised_method == "extrapolated"
    assert found.realised <= ASKED


def by_images(people: People, images: int, random: np.random.Generator) -> float:
    """Return the threshold for galleries of so many images, whoever is on them."""
    similarities = people.features @ people.features.T
    highest = []
    for query, person in enumerate(people.identities):
        others = np.flatnonzero(people.identities != person)
        highest += [similarities[query, random.choice(others, images, replace=False)].max() for _ in range(3)]
    return float(np.quantile(highest, 1 - ASKED))


def test_the_rate_on_fresh_people_is_the_one_asked_for() -> None:
    """Thirty people calibrate; others, whose images are as alike, are searched for in galleries of others again."""
    sizes, images = [5, 15, 29, 60], 8
    thresholds: dict[int, list[SearchThreshold]] = {size: [] for size in sizes}
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    with_bounds: dict[int, list[float]] = {size: [] for size in sizes}
    counted_in_images = []
    for trial in range(24):
        people = crowd(30, images, 1, seed=10 * trial, spread=0.15)
        strangers = crowd(300, 1, 1, seed=10 * trial + 1, spread=0.15)
        for found in search_thresholds(people, people, ASKED, sizes, resamples=40):
            size = found.gallery_people
            galleries = [
                crowd(size, images, 1, seed=1000 + 50 * trial + i, spread=0.15) for i in range(1 + 120 // size)
            ]
            near = np.stack([nearest(strangers, gallery) for gallery in galleries])
            thresholds[size].append(found)
            rates[size].append(float((near >= found.threshold.value).mean()))
            with_bounds[size].append(float((near >= found.threshold.high).mean()))
        # 176 images once more, but of 88 people and not of 22.
        bound = by_images(people, 176, np.random.default_rng(trial))
        near = nearest(strangers, crowd(88, 2, 1, seed=10 * trial + 3, spread=0.15))
        counted_in_images.append(float((near >= bound).mean()))
    for size in sizes:
        assert {one.method for one in thresholds[size]} == {"counted" if size < 30 else "extrapolated"}
        assert 0.06 < np.mean(rates[size]) < 0.14, size
        # From the upper end of the interval on, somebody is called the same: the rate is kept in most trials.
        kept = np.mean(np.array(with_bounds[size]) <= 1.1 * ASKED)
        assert kept >= (0.85 if size < 30 else 0.7), size
    assert np.mean(counted_in_images) > 2 * ASKED
