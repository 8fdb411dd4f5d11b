"""Re-ranking against a dense computation that follows the paper's formulas literally, in float64."""

import numpy as np
import pytest
from numpy.typing import NDArray

from jointreid.config import Metric
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.ranking import evaluate_distmat
from jointreid.retrieval.rerank import reranked_blocks

pytestmark = pytest.mark.slow

Rows = NDArray[np.float64]


def dense(query: Rows, gallery: Rows, metric: Metric, k1: int, k2: int, share: float) -> Rows:
    """Compute with all N x N distances and weights, and with sets."""
    rows = np.concatenate([query, gallery]).astype(float)
    if metric == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1)[:, None]
    distance = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    farthest = distance.max(axis=0)
    distance = (distance / np.where(farthest > 0, farthest, 1)).T
    number = len(rows)
    order = np.argsort(distance, axis=1, kind="stable")

    def reciprocal(i: int, k: int) -> set[int]:
        return {int(j) for j in order[i, : k + 1] if i in order[j, : k + 1]}

    weights = np.zeros((number, number))
    for i in range(number):
        own = reciprocal(i, k1)
        expanded = set(own)
        for candidate in own:
            other = reciprocal(candidate, round(k1 / 2))
            if len(own & other) > 2 / 3 * len(other):
                expanded |= other
        for j in expanded:
            weights[i, j] = np.exp(-distance[i, j])
        weights[i] /= weights[i].sum()
    weights = np.stack([weights[order[i, :k2]].mean(axis=0) for i in range(number)])
    final = np.empty((len(query), len(gallery)))
    for i in range(len(query)):
        for g in range(len(gallery)):
            a, b = weights[i], weights[len(query) + g]
            jaccard = 1 - np.minimum(a, b).sum() / np.maximum(a, b).sum()
            final[i, g] = (1 - share) * jaccard + share * distance[i, len(query) + g]
    return final


def people(seed: int, num_query: int, num_gallery: int, dims: int = 12) -> tuple[NDArray[np.int64], Rows, Rows]:
    """Return the gallery's identities, and features of clusters that overlap."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_gallery // 8, dims))
    pids = rng.integers(0, len(centres), num_query + num_gallery)
    rows = centres[pids] + 0.7 * rng.standard_normal((pids.size, dims))
    return pids, rows[:num_query], rows[num_query:]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("k1", "k2", "share"), [(20, 6, 0.3), (7, 1, 0.3), (5, 3, 0.0), (6, 4, 1.0)])
@pytest.mark.parametrize("max_memory", [1, 2**30])
def test_ranking_is_that_of_the_dense_computation(
    metric: Metric, k1: int, k2: int, share: float, max_memory: int
) -> None:
    _, query, gallery = people(k1, 17, 151)
    blocks = list(reranked_blocks(query, gallery, metric, k1=k1, k2=k2, share=share, max_memory=max_memory))
    assert len(blocks) == (17 if max_memory == 1 else 1)
    found, expected = np.concatenate(blocks), dense(query, gallery, metric, k1, k2, share)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # Where the vectors of two images share nothing with the query's, both are at 1: without the original distance these
    # tie, and float32 weights may tell apart what is equal otherwise.
    if share:
        np.testing.assert_array_equal(np.argsort(found, kind="stable"), np.argsort(expected, kind="stable"))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (20, 1), (8, 9)])
@pytest.mark.parametrize("number", [1, 2, 5, "k1", "k1 + 1"])
def test_all_images_are_neighbours_if_there_are_few(metric: Metric, k1: int, k2: int, number: int | str) -> None:
    count = {"k1": k1, "k1 + 1": k1 + 1}.get(str(number), number)
    assert isinstance(count, int)
    rows = np.random.default_rng(count).standard_normal((count, 5))
    query, gallery = np.split(rows, [max(1, count // 3)])
    (found,) = reranked_blocks(query, gallery, metric, k1=k1, k2=k2)
    assert found.shape == (len(query), len(gallery))
    np.testing.assert_allclose(found, dense(query, gallery, metric, k1, k2, 0.3), atol=1e-6)


def test_two_images_by_hand() -> None:
    # Each set holds both images, at distances 0 and 1 of the farthest: weights (e, 1) / (1 + e), averaged over both.
    apart = np.array([[3.0, 0.0]]), np.array([[0.0, 4.0]])
    (averaged,) = reranked_blocks(*apart, "euclidean")
    assert averaged[0, 0] == pytest.approx(0.3 * 1)
    (single,) = reranked_blocks(*apart, "euclidean", k2=1)
    smaller, greater = 1 / (1 + np.e), np.e / (1 + np.e)
    assert single[0, 0] == pytest.approx(0.7 * (1 - smaller / greater) + 0.3, abs=1e-6)


def test_float32_features_and_metrics() -> None:
    pids, query, gallery = people(1, 20, 200)
    labels = {"exclude_same_camera": False}
    narrow = reranked_blocks(query.astype(np.float32), gallery.astype(np.float32))
    found = evaluate_distmat(narrow, pids[:20], pids[20:], **labels)
    expected = evaluate_distmat(dense(query, gallery, "cosine", 20, 6, 0.3), pids[:20], pids[20:], **labels)
    plain = evaluate_distmat(-query @ gallery.T, pids[:20], pids[20:], **labels)
    assert found.mAP == pytest.approx(expected.mAP, abs=1e-4)
    assert found.mINP == pytest.approx(expected.mINP, abs=1e-4)
    assert found.mAP > plain.mAP + 0.02


def test_equal_images_are_each_others_neighbours() -> None:
    (block,) = reranked_blocks(np.ones((2, 4)), np.ones((30, 4)))
    assert np.isfinite(block).all()
    assert (block == block[0, 0]).all()


def test_bad_settings_of_reranking_are_refused() -> None:
    with pytest.raises(JointreidError, match="expected 1 <= k2 <= k1"):
        next(reranked_blocks(np.ones((2, 4)), np.ones((30, 4)), k2=30))
