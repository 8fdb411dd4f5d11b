"""Probes on points where the answer is known."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jointreid.conflict.probe import PENALTY, LinearProbe, halves, probe, vote


def test_separable_points_are_told_apart_and_noise_is_not() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    pids = np.repeat(np.arange(30), 2)
    features = np.hstack([10 * np.eye(3)[labels], generator.normal(size=(60, 4))])
    found = probe(features, labels.tolist(), pids.tolist())
    assert found is not None
    assert (found.linear, found.neighbours) == (1.0, 1.0)
    assert (found.classes, found.images) == (3, 60)
    assert found.chance == pytest.approx(1 / 3)
    noise = probe(generator.normal(size=(60, 7)), labels.tolist(), pids.tolist())
    assert noise is not None
    assert max(noise.linear, noise.neighbours) < 0.6


def test_knowing_the_people_gives_nothing_away() -> None:
    # Each person has a direction of their own, which says nothing about the direction of others of their class.
    pids = np.repeat(np.arange(12), 4)
    labels = pids % 2
    found = probe(np.eye(12)[pids], labels.tolist(), pids.tolist())
    assert found is not None
    assert found.linear <= 0.6


def test_there_is_no_answer_without_two_classes_in_both_halves() -> None:
    assert probe(np.eye(4), ["a"] * 4, [0, 1, 2, 3]) is None
    assert probe(np.eye(3), ["a", "a", "b"], [0, 1, 2]) is None  # b has one person


def test_halves_share_the_people_of_each_class() -> None:
    codes = np.repeat([0, 0, 0, 0, 1, 1], 3)
    owners = np.repeat(np.arange(6), 3)
    first = halves(codes, owners, 6, seed=1)
    assert first[:4].sum() == 2
    assert first[4:].sum() == 1


def test_the_linear_probe_is_the_logistic_regression_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    features = generator.normal(size=(60, 5)) + 0.7 * np.eye(5)[labels]
    own = LinearProbe.fit(features, labels, 3)
    scaled = (features - features.mean(0)) / features.std(0) / np.sqrt(5)
    # scikit-learn minimises C sum of losses + |w|^2 / 2; here it is their balanced mean + PENALTY |w|^2.
    other = LogisticRegression(C=1 / (2 * PENALTY * 60), class_weight="balanced", tol=1e-8, max_iter=1000)
    other.fit(scaled, labels)
    np.testing.assert_allclose(own.posterior(features), other.predict_proba(scaled), atol=2e-3)
    np.testing.assert_allclose(own.posterior(features).sum(1), 1.0)


def test_the_nearest_neighbours_vote_and_the_nearest_breaks_a_tie() -> None:
    known = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    labels = np.array([0, 1, 2, 2])
    assert vote(known, labels, np.array([[0.9, 0.8]]), count=2).tolist() == [0]
    assert vote(known, labels, np.array([[-0.1, -0.1], [0.1, 0.9]]), count=1).tolist() == [2, 1]


def test_classes_count_alike_so_that_noise_is_right_as_often_as_chance() -> None:
    generator = np.random.default_rng(3)
    labels = np.repeat([0, 1], [340, 60])
    pids = np.repeat(np.arange(200), 2)
    found = probe(generator.normal(size=(400, 6)), labels.tolist(), pids.tolist())
    assert found is not None
    assert found.chance == 0.5
    assert [found.linear, found.neighbours] == pytest.approx([0.5, 0.5], abs=0.1)
    told = probe(2 * labels[:, None] + generator.normal(size=(400, 6)), labels.tolist(), pids.tolist())
    assert told is not None
    assert told.linear > 0.9
