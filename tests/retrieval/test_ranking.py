import doctest
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from jointreid.messages.errors import JointreidError
from jointreid.retrieval import ranking
from jointreid.retrieval.distances import Features
from jointreid.retrieval.ranking import RankingMetrics, evaluate_distmat, evaluate_ranking
from jointreid.retrieval.ranking_inputs import RankingLabels

METRICS: tuple[Literal["cosine", "euclidean"], ...] = ("cosine", "euclidean")
PER_QUERY = ("valid_queries", "average_precision", "inverse_negative_penalty", "first_match_rank")


def naive(
    distmat: Sequence[Sequence[Any]],
    query_pids: Sequence[Any],
    gallery_pids: Sequence[Any],
    query_camids: Sequence[int],
    gallery_camids: Sequence[int],
    exclude: bool = True,
    max_rank: int = 50,
) -> dict[str, Any]:
    """Sort each whole row and walk down it: O(Q G log G), in plain Python."""
    found = []
    for i, row in enumerate(distmat):
        order = sorted(range(len(row)), key=lambda j: (row[j], j))
        kept = [
            j
            for j in order
            if not (exclude and gallery_pids[j] == query_pids[i] and gallery_camids[j] == query_camids[i])
        ]
        ranks = [rank for rank, j in enumerate(kept, start=1) if gallery_pids[j] == query_pids[i]]
        if ranks:
            precisions = [k / rank for k, rank in enumerate(ranks, start=1)]
            found.append((i, sum(precisions) / len(ranks), len(ranks) / ranks[-1], ranks[0]))
    columns = dict(zip(PER_QUERY, map(list, zip(*found, strict=True)), strict=True))
    first = columns["first_match_rank"]
    return columns | {
        "skipped_queries": sorted(set(range(len(distmat))) - set(columns["valid_queries"])),
        "cmc": [sum(rank <= k for rank in first) / len(first) for k in range(1, max_rank + 1)],
        "mAP": sum(columns["average_precision"]) / len(first),
        "mINP": sum(columns["inverse_negative_penalty"]) / len(first),
        "num_valid_queries": len(first),
    }


def assert_is(metrics: RankingMetrics, expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(metrics, name), value, rtol=1e-14, atol=0, err_msg=name)


def assert_same(first: RankingMetrics, second: RankingMetrics) -> None:
    for name in (*PER_QUERY, "skipped_queries", "cmc", "mAP", "mINP", "num_valid_queries"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def one_query(relevant: Sequence[int]) -> RankingMetrics:
    """Rank a gallery that is relevant or not in this order."""
    return evaluate_distmat(
        np.arange(len(relevant), dtype=float)[None], [1], relevant, exclude_same_camera=False, max_rank=4
    )


def labels(seed: int, num_query: int, num_gallery: int, num_pids: int) -> tuple[NDArray[np.int64], ...]:
    """Pids and camids; some gallery pids belong to no query, and some query pids to no gallery image."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, num_pids, num_query),
        rng.integers(1, num_pids + 2, num_gallery),
        rng.integers(0, 3, num_query),
        rng.integers(0, 3, num_gallery),
    )


# Values by hand


def test_average_precision_and_inverse_negative_penalty_by_hand() -> None:
    metrics = one_query([1, 0, 1, 0, 0, 1])
    assert metrics.mAP == pytest.approx(13 / 18, abs=1e-15)
    assert metrics.mINP == 0.5
    assert metrics.cmc.tolist() == [1, 1, 1, 1]
    assert one_query([0, 1, 1]).mAP == pytest.approx(7 / 12, abs=1e-15)
    assert one_query([0, 1, 1]).mINP == pytest.approx(2 / 3, abs=1e-15)


def test_cmc_counts_the_first_match_and_is_padded_beyond_the_gallery() -> None:
    assert one_query([0, 0, 1]).cmc.tolist() == [0, 0, 1, 1]
    two = evaluate_distmat(np.array([[1.0, 2.0], [2.0, 1.0]]), [7, 7], [7, 8], exclude_same_camera=False)
    assert two.cmc.shape == (50,)
    assert two.cmc[:2].tolist() == [0.5, 1]
    assert two.cmc.dtype == np.float64


def test_an_image_of_the_same_pid_and_camera_takes_no_rank() -> None:
    distmat = np.array([[1.0, 2.0, 3.0, 4.0]])
    pids, camids = [5, 9, 5, 5], [0, 0, 0, 1]
    ignored = evaluate_distmat(distmat, [5], pids, [0], camids)
    assert (ignored.first_match_rank[0], ignored.mAP, ignored.mINP) == (2, 0.5, 0.5)
    counted = evaluate_distmat(distmat, [5], pids, [0], camids, exclude_same_camera=False)
    assert (counted.first_match_rank[0], counted.mAP, counted.mINP) == (1, (1 + 2 / 3 + 3 / 4) / 3, 3 / 4)


def test_a_distractor_ranked_first_costs_rank1() -> None:
    metrics = evaluate_distmat(np.array([[0.1, 0.2]]), ["0002"], ["0000", "0002"], [0], [0, 1])
    assert (metrics.cmc[0], metrics.cmc[1], metrics.mAP) == (0, 1, 0.5)


def test_queries_without_a_match_are_skipped_and_named() -> None:
    distmat = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
    metrics = evaluate_distmat(distmat, [1, 3, 2], [1, 2], [0, 0, 0], [0, 1])
    assert metrics.skipped_queries.tolist() == [0, 1]
    assert metrics.valid_queries.tolist() == [2]
    assert (metrics.num_valid_queries, metrics.mAP) == (1, 1)


def test_equal_distances_rank_by_gallery_index() -> None:
    for match in range(5):
        pids = [int(j == match) for j in range(5)]
        metrics = evaluate_distmat(np.zeros((1, 5)), [1], pids, exclude_same_camera=False)
        assert metrics.first_match_rank == match + 1


def test_the_docstring_example_runs() -> None:
    outcome = doctest.testmod(ranking)
    assert outcome.attempted >= 6
    assert outcome.failed == 0


# Against independent computations


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize("kind", [int, str])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize(("num_gallery", "num_pids"), [(1, 1), (31, 5), (400, 60), (401, 2)])
def test_distmat_equals_sorting_each_row(
    dtype: type, kind: type, exclude: bool, num_gallery: int, num_pids: int
) -> None:
    """Few distinct distances, so that most tie; few identities, so that some queries have 100 matches and more."""
    query_pids, gallery_pids, query_camids, gallery_camids = labels(num_gallery, 23, num_gallery, num_pids)
    query_pids[:2], query_camids[0], gallery_camids[0] = gallery_pids[0], 0, 1
    distmat: NDArray[Any] = np.random.default_rng(0).integers(0, 20, (23, num_gallery)).astype(dtype)
    pids = [kind(pid) for pid in query_pids], [kind(pid) for pid in gallery_pids]
    cameras = query_camids.tolist(), gallery_camids.tolist()
    expected = naive(distmat.tolist(), *pids, *cameras, exclude, max_rank=7)
    assert_is(evaluate_distmat(distmat, *pids, *cameras, exclude_same_camera=exclude, max_rank=7), expected)


def test_average_precision_equals_that_of_scikit_learn_without_ties() -> None:
    query_pids, gallery_pids, *_ = labels(1, 17, 250, 12)
    distmat = np.random.default_rng(2).permuted(np.tile(np.arange(250.0), (17, 1)), axis=1)
    metrics = evaluate_distmat(distmat, query_pids, gallery_pids, exclude_same_camera=False)
    expected = [average_precision_score(gallery_pids == query_pids[i], -distmat[i]) for i in metrics.valid_queries]
    assert len(expected) > 10
    np.testing.assert_allclose(metrics.average_precision, expected, rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_rank_as_their_explicit_distances(metric: Literal["cosine", "euclidean"], dtype: type) -> None:
    rng = np.random.default_rng(7)
    query: NDArray[Any] = rng.standard_normal((37, 33)).astype(dtype)
    gallery: NDArray[Any] = rng.standard_normal((501, 33)).astype(dtype)
    who = labels(8, 37, 501, 30)
    q, g = query.astype(float), gallery.astype(float)
    if metric == "cosine":
        distmat = 1 - (q / np.linalg.norm(q, axis=1)[:, None]) @ (g / np.linalg.norm(g, axis=1)[:, None]).T
    else:
        distmat = np.linalg.norm(q[:, None] - g[None], axis=2)
    assert_same(evaluate_ranking(query, gallery, *who, metric=metric), evaluate_distmat(distmat, *who))


# Blocks and memory


def test_blocks_of_rows_equal_the_whole() -> None:
    distmat = np.random.default_rng(9).integers(0, 9, (14, 60)).astype(np.float32)
    who = labels(10, 14, 60, 8)
    whole = evaluate_distmat(distmat, *who)
    for size in (1, 5, 14):
        assert_same(evaluate_distmat((distmat[i : i + size] for i in range(0, 14, size)), *who), whole)
    assert_same(evaluate_distmat(distmat.tolist(), *who), whole)


def test_inputs_are_not_changed() -> None:
    distmat = np.random.default_rng(11).random((6, 20))
    distmat.flags.writeable = False
    who = labels(12, 6, 20, 3)
    evaluate_distmat(distmat, *who)
    evaluate_ranking(distmat, distmat[:, ::-1][[0] * 20], *who)


def test_tensors_are_taken_as_arrays() -> None:
    torch = pytest.importorskip("torch")
    features, pids = torch.eye(3), torch.tensor([0, 1, 2])
    assert evaluate_ranking(features, features, pids, pids, exclude_same_camera=False).mAP == 1
    with pytest.raises(JointreidError, match=r"query cannot be read as an array: .*requires grad"):
        evaluate_ranking(features.requires_grad_(), features, pids, pids, exclude_same_camera=False)


# Camera rule


def test_one_camera_for_all_needs_the_exclusion_off() -> None:
    features, pids, camids = np.eye(4), [0, 0, 1, 1], [0, 0, 0, 0]
    assert np.isfinite(evaluate_ranking(features, features, pids, pids, camids, camids, exclude_same_camera=False).mAP)
    with pytest.raises(JointreidError, match=r"4 have .* own camera only.* pass exclude_same_camera=False"):
        evaluate_ranking(features, features, pids, pids, camids, camids)


def test_missing_pids_and_the_camera_rule_have_different_messages() -> None:
    with pytest.raises(JointreidError, match=r"pids of all 2 queries are missing from gallery_pids"):
        evaluate_distmat(np.zeros((2, 1)), ["1", "2"], ["01"], [0, 0], [0])
    with pytest.raises(JointreidError, match=r"of 2 queries, 1 have .* own camera only.* and 1 have none"):
        evaluate_distmat(np.zeros((2, 1)), [1, 2], [1], [0, 0], [0])


# Refusals


def distmat_call(**changes: Any) -> Callable[[], RankingMetrics]:
    arguments: dict[str, Any] = {
        "distmat_or_chunks": np.zeros((2, 3)),
        "query_pids": [1, 2],
        "gallery_pids": [1, 2, 3],
        "query_camids": [0, 0],
        "gallery_camids": [1, 1, 1],
    }
    return lambda: evaluate_distmat(**(arguments | changes))


def ranking_call(**changes: Any) -> Callable[[], RankingMetrics]:
    arguments: dict[str, Any] = {
        "query": np.eye(2),
        "gallery": np.ones((3, 2)),
        "query_pids": [1, 2],
        "gallery_pids": [1, 2, 3],
        "query_camids": [0, 0],
        "gallery_camids": [1, 1, 1],
    }
    return lambda: evaluate_ranking(**(arguments | changes))


def with_value(shape: tuple[int, int], row: int, value: float) -> NDArray[np.float64]:
    features = np.ones(shape)
    features[row, 1] = value
    return features


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (distmat_call(distmat_or_chunks=with_value((2, 3), 1, np.nan)), "distmat row 1 .* NaN or infinite"),
        (distmat_call(distmat_or_chunks=with_value((2, 3), 0, np.inf)), "distmat row 0 .* NaN or infinite"),
        (distmat_call(distmat_or_chunks=[np.ones((1, 3)), with_value((1, 3), 0, np.nan)]), "distmat row 1 "),
        (distmat_call(distmat_or_chunks=np.zeros((2, 4))), r"distmat has shape \(2, 4\); expected 2 .* of 3"),
        (distmat_call(distmat_or_chunks=np.zeros((1, 3))), "distmat has 1 rows in all; expected .* 2 query_pids"),
        (distmat_call(distmat_or_chunks=np.zeros((3, 3))), r"distmat has shape \(3, 3\); expected 2"),
        (distmat_call(distmat_or_chunks=[np.zeros((1, 3))] * 3), r"distmat block 2 has shape \(1, 3\); expected 0"),
        (distmat_call(distmat_or_chunks=[np.zeros((0, 3))]), r"distmat block 0 has shape \(0, 3\).*empty"),
        (distmat_call(distmat_or_chunks=np.zeros((2, 3), complex)), "distmat holds complex128; expected real"),
        (distmat_call(distmat_or_chunks=3.0), "distmat is a float; expected an array or an iterable"),
        (distmat_call(query_pids=[1, 2, 3], query_camids=[0, 0, 0]), "distmat has 2 rows in all; .* 3 query_pids"),
        (distmat_call(query_pids=[]), r"query_pids has shape \(0,\)"),
        (distmat_call(query_pids=[[1, 2]]), r"query_pids has shape \(1, 2\)"),
        (distmat_call(gallery_pids=[1.0, 2.0, 3.0]), "gallery_pids holds float64; expected integers or strings"),
        (distmat_call(gallery_pids=np.array(["1", None, "2"])), "gallery_pids holds object"),
        (distmat_call(gallery_pids=["1", "2", "3"]), "query_pids holds int64 and gallery_pids <U1"),
        (distmat_call(query_camids=None), "query_camids is None.*exclude_same_camera=False"),
        (distmat_call(gallery_camids=None), "gallery_camids is None.*exclude_same_camera=False"),
        (distmat_call(gallery_camids=[1, 1]), r"gallery_camids has shape \(2,\); expected .* 3 labels"),
        (distmat_call(query_camids=["a", "b"]), "query_camids holds <U1; expected integers$"),
        (distmat_call(query_camids=[0], exclude_same_camera=False), r"query_camids has shape \(1,\)"),
        (distmat_call(max_rank=0), "max_rank is 0; expected an integer >= 1"),
        (distmat_call(max_rank=True), "max_rank is True"),
        (ranking_call(max_memory=1.5), "max_memory is 1.5; expected an integer >= 1"),
        (ranking_call(metric="cosin"), "metric is 'cosin'; expected one of cosine, euclidean"),
        (ranking_call(query=np.ones((3, 2))), "query has 3 rows, but query_pids 2 entries"),
        (ranking_call(gallery=np.ones((4, 2))), "gallery has 4 rows, but gallery_pids 3 entries"),
        (ranking_call(query=np.ones(2)), r"query has shape \(2,\); expected two dimensions"),
        (ranking_call(gallery=np.full((3, 2), "a")), "gallery holds <U1; expected real numbers"),
        (ranking_call(query=with_value((2, 2), 1, np.nan)), "query row 1 .* not finite"),
    ],
)
def test_bad_input_is_refused_by_name(call: Callable[[], RankingMetrics], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        call()


def test_a_zero_feature_has_a_euclidean_distance() -> None:
    assert ranking_call(query=np.zeros((2, 2)), metric="euclidean")().num_valid_queries == 2


# Properties


def ternary(rng: np.random.Generator, count: int) -> NDArray[Any]:
    features = rng.integers(-1, 2, (count, 7))
    features[:, 0] = 1
    return features


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[Any], ...]:
    """Small features with many ties and at least one valid query, and their labels."""
    num_query, num_gallery = draw(st.integers(1, 8)), draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    query, gallery = ternary(rng, num_query), ternary(rng, num_gallery)
    who = [rng.integers(0, high, count) for high in (4, 3) for count in (num_query, num_gallery)]
    who[0][0], who[2][0] = who[1][0], who[3][0] + 1
    return query, gallery, *who


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from(METRICS), st.randoms(use_true_random=False))
def test_permuting_queries_permutes_their_results(
    case: tuple[NDArray[Any], ...], metric: Literal["cosine", "euclidean"], random: Any
) -> None:
    query, gallery, query_pids, gallery_pids, query_camids, gallery_camids = case
    order = list(range(len(query)))
    random.shuffle(order)
    plain = evaluate_ranking(*case, metric=metric)
    moved = evaluate_ranking(
        query[order], gallery, query_pids[order], gallery_pids, query_camids[order], gallery_camids, metric=metric
    )
    back = np.argsort(np.array(order)[moved.valid_queries])
    np.testing.assert_array_equal(np.array(order)[moved.valid_queries][back], plain.valid_queries)
    for name in PER_QUERY[1:]:
        np.testing.assert_array_equal(getattr(moved, name)[back], getattr(plain, name))
    np.testing.assert_array_equal(moved.cmc, plain.cmc)


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from(METRICS), st.integers(0, 25))
def test_an_ignored_image_changes_nothing(
    case: tuple[NDArray[Any], ...], metric: Literal["cosine", "euclidean"], place: int
) -> None:
    """A copy of the only query, from its camera, is put anywhere in the gallery."""
    query, gallery, query_pids, gallery_pids, query_camids, gallery_camids = case
    one = query[:1], query_pids[:1], query_camids[:1]
    place = min(place, len(gallery))
    plain = evaluate_ranking(one[0], gallery, one[1], gallery_pids, one[2], gallery_camids, metric=metric)
    more = evaluate_ranking(
        one[0],
        np.insert(gallery, place, query[0], axis=0),
        one[1],
        np.insert(gallery_pids, place, query_pids[0]),
        one[2],
        np.insert(gallery_camids, place, query_camids[0]),
        metric=metric,
    )
    assert_same(more, plain)


def test_float64_distances_are_compared_in_float64() -> None:
    """In float32 both distances would be equal, and the first gallery image would come first."""
    distances = np.array([[1 + 1e-12, 1.0]])
    metrics = evaluate_distmat(distances, ["a"], ["b", "a"], exclude_same_camera=False)
    assert metrics.first_match_rank.tolist() == [1]


@pytest.mark.parametrize("metric", METRICS)
def test_tensors_are_ranked_on_their_device_as_arrays_are(metric: Literal["cosine", "euclidean"]) -> None:
    rng = np.random.default_rng(0)
    query, gallery = rng.standard_normal((5, 8), dtype=np.float32), rng.standard_normal((30, 8), dtype=np.float32)
    labels = RankingLabels(rng.integers(0, 3, 5), rng.integers(0, 3, 30), None, None, False)
    expected = Features(query, gallery, metric, 2**30).ranks(labels.relevance)
    for given_query, given_gallery in ((query, gallery), (torch.as_tensor(query), torch.as_tensor(gallery))):
        found = ranking._ranks_on("cpu", given_query, given_gallery, metric, 2**30, labels)
        assert found.tolist() == expected.tolist()
    with pytest.raises(JointreidError, match="gallery has 29 rows, but gallery_pids 30 entries"):
        ranking._ranks_on("cpu", query, torch.as_tensor(gallery[:29]), metric, 2**30, labels)
    with pytest.raises(JointreidError, match="query holds complex64; expected real numbers"):
        ranking._ranks_on("cpu", torch.as_tensor(query) * 1j, gallery, metric, 2**30, labels)
