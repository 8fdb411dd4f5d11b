"""The alarm on points of known distance: thresholds, false alarms, and the layer that tells a new domain."""

import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jointreid.conflict import alarm
from jointreid.conflict.alarm import KnownImages, NearestDistance, auroc, fit_alarm, threshold


def cloud(centres: list[list[float]], people: int, seed: int, first_person: int = 0) -> KnownImages:
    """Images around the centre of each domain, two of each person; a second layer holds noise alone."""
    generator = np.random.default_rng(seed)
    domains = np.repeat(np.arange(len(centres)), 2 * people)
    rows = np.array(centres)[domains] + 0.2 * generator.normal(size=(len(domains), len(centres[0])))
    noise = generator.normal(size=(len(domains), 3))
    owners = first_person + np.repeat(np.arange(len(centres) * people), 2)
    return KnownImages({"noise": noise, "style": rows}, domains, owners)


CENTRES = [[3.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]]


def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    inside, outside = generator.integers(0, 9, 40).astype(float), generator.integers(3, 12, 25).astype(float)
    expected = roc_auc_score([0] * 40 + [1] * 25, np.concatenate([inside, outside]))
    assert auroc(inside, outside) == pytest.approx(expected)
    assert doctest.testmod(alarm) == (0, 1)


def test_a_threshold_leaves_the_asked_share_above_it() -> None:
    scores = np.arange(1.0, 20.0)  # 19 scores: the 19th of 20 places at 5 %
    assert threshold(scores, 0.05) == 19.0
    assert threshold(scores, 0.1) == 18.0
    assert threshold(scores[:18], 0.05) == math.inf
    assert threshold(np.array([]), 0.05) == math.inf


def test_the_rate_of_false_alarms_is_kept_on_new_people() -> None:
    generator = np.random.default_rng(0)
    rates = [np.mean(generator.normal(size=400) > threshold(generator.normal(size=60), 0.1)) for _ in range(200)]
    assert np.mean(rates) == pytest.approx(6 / 61, abs=0.01)


def test_the_layer_that_tells_a_left_out_domain_is_chosen_and_a_new_one_raises_the_alarm() -> None:
    reference, known = cloud(CENTRES, 20, seed=0), cloud(CENTRES, 30, seed=1, first_person=100)
    found = fit_alarm(reference, known, 0.1)
    assert found.layer == "style"
    assert found.aurocs["style"] == pytest.approx(1.0)
    assert found.aurocs["noise"] < 0.65
    assert [count for count, _ in found.false_alarms.values()] == [30, 30, 30]
    assert found.realised_rate == pytest.approx(np.mean([share for _, share in found.false_alarms.values()]))
    assert found.realised_rate < 0.25
    new = cloud([[0.0, 0.0, 0.0, 3.0]], 10, seed=2)
    scores, alarms, nearest = found.judge(new.layers)
    assert alarms.all()
    assert nearest.shape == (20,)
    assert scores.min() > max(found.thresholds.values())


def test_a_score_of_one_is_usual_between_people_of_a_domain() -> None:
    reference = cloud(CENTRES[:2], 30, seed=0)
    scores, nearest = NearestDistance(reference, "style")(cloud(CENTRES[:2], 30, seed=3).layers["style"])
    assert np.median(scores) == pytest.approx(1.0, abs=0.4)
    assert (nearest == np.repeat([0, 1], 60)).all()


def test_with_one_domain_the_second_stage_is_taken_where_there_is_one() -> None:
    reference, known = cloud(CENTRES[:1], 20, seed=0), cloud(CENTRES[:1], 20, seed=1, first_person=50)
    assert fit_alarm(reference, known, 0.1).layer == "noise"  # the first
    reference, known = (
        KnownImages({"stem": images.layers["noise"], "stage 2": images.layers["style"]}, images.domains, images.people)
        for images in (reference, known)
    )
    found = fit_alarm(reference, known, 0.1)
    assert (found.layer, found.aurocs) == ("stage 2", {})


def test_too_few_images_for_the_rate_still_raise_an_alarm_and_the_rate_is_told() -> None:
    reference, known = cloud(CENTRES, 20, seed=0), cloud(CENTRES, 8, seed=1, first_person=100)
    found = fit_alarm(reference, known, 0.01)  # 24 images set thresholds, 99 are needed
    assert found.pooled == (0, 1, 2)
    assert found.least_rate == pytest.approx(1 / 25)
    assert found.judge(cloud([[0.0, 0.0, 0.0, 3.0]], 10, seed=2).layers)[1].all()
    assert found.expected_rate(np.array([0, 1])) >= 1 / 25
    many = fit_alarm(reference, cloud(CENTRES, 60, seed=1, first_person=100), 0.1)
    assert (many.pooled, many.least_rate < 0.01) == ((), True)


def test_alarms_are_expected_as_often_as_they_were_measured_where_the_images_are() -> None:
    found = replace(fit_alarm(cloud(CENTRES, 9, 0), cloud(CENTRES, 40, 1, 50), 0.1), rates={0: 0.5, 1: 0.02})
    assert found.expected_rate(np.array([0, 0, 1, 2])) == pytest.approx((0.5 + 0.5 + 0.1 + 0.1) / 4)
