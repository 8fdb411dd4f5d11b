import tracemalloc
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jointreid.config import Metric
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.distances import Features, Indices, Relevance, count_given, relative_margins
from jointreid.retrieval.ranking import evaluate_ranking
from jointreid.retrieval.ranking_torch import ranks

pytestmark = pytest.mark.slow

METRICS: tuple[Metric, ...] = ("cosine", "euclidean")
Rows = NDArray[Any]


def slow_ranks(row: Sequence[Any], matches: Indices, ignored: Indices) -> list[int]:
    """Sort a whole row, in plain Python."""
    order = sorted(set(range(len(row))) - set(ignored.tolist()), key=lambda column: (row[column], column))
    return [rank for rank, column in enumerate(order, start=1) if column in matches]


def choose(rng: np.random.Generator, num_gallery: int, count: int) -> tuple[Indices, Indices]:
    """Return `count` gallery indices that match, and up to three that are ignored."""
    chosen = rng.permutation(num_gallery)
    return np.sort(chosen[:count]), np.sort(chosen[count : count + 3])


# Ranks


NONE = np.empty(0, dtype=np.int64)


def relevance(queries: Indices, query_codes: Indices, gallery_codes: Indices, ignored: Indices = NONE) -> Relevance:
    """Let the matches of `queries` be the gallery images of the same code, without those that are ignored."""
    matches = [np.setdiff1d(np.flatnonzero(gallery_codes == code), ignored) for code in query_codes[queries]]
    starts = np.cumsum([0, *(columns.size for columns in matches)])
    return Relevance(queries, starts, np.concatenate(matches), query_codes, gallery_codes)


def of_one(index: int, num_gallery: int, matches: Indices, ignored: Indices = NONE) -> Relevance:
    """Let query `index` have these matches."""
    gallery_codes = np.ones(num_gallery, dtype=np.int64)
    gallery_codes[np.union1d(matches, ignored)] = 0
    return relevance(np.array([index]), np.zeros(index + 1, dtype=np.int64), gallery_codes, ignored)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 3, 27, 340])
@pytest.mark.parametrize(("high", "scale"), [(1, 1.0), (20, 1.0), (400, 1.0), (400, 1e-3), (10**6, 1e30)])
def test_ranks_of_given_distances(count: int, high: int, scale: float, dtype: type) -> None:
    rng = np.random.default_rng(count)
    values: Rows = (rng.integers(0, high, (2, 403)) * scale).astype(dtype)
    values[1, rng.permutation(403)[:3]] = -scale * 1e6  # far from all others
    matches, ignored = choose(rng, 403, count)
    for row in values:
        row.flags.writeable = False
        ranks = np.zeros(count, dtype=np.int64)
        count_given(row[None], 0, of_one(0, 403, matches, ignored), ranks)
        assert ranks.tolist() == slow_ranks(row.tolist(), matches, ignored)


# Features


def exact_distances(query: Rows, gallery: Rows, metric: Metric) -> list[list[Fraction]]:
    """Return numbers that rank as the distances do, in rational arithmetic: |q - g|^2, or -cos |cos| |q|^2."""
    rows = [[[Fraction(float(x)) for x in row] for row in features] for features in (query, gallery)]

    def dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
        return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))

    def distance(q: list[Fraction], g: list[Fraction]) -> Fraction:
        if metric == "cosine":
            return -dot(q, g) * abs(dot(q, g)) / dot(g, g)
        difference = [x - y for x, y in zip(q, g, strict=True)]
        return dot(difference, difference)

    return [[distance(q, g) for g in rows[1]] for q in rows[0]]


def assert_ranks(
    query: Rows, gallery: Rows, metric: Metric, max_memory: int, expected: Sequence[Sequence[Any]], count: int = 20
) -> None:
    """Every other query, with its own choice of `count` matches, ranks as `expected` [Q, G] sorted."""
    rng = np.random.default_rng(17)
    features = Features(query, gallery, metric, max_memory)
    for index in range(1, len(query), 4):
        matches, ignored = choose(rng, len(gallery), count)
        alone = of_one(index, len(gallery), matches, ignored)
        assert features.ranks(alone).tolist() == slow_ranks(expected[index], matches, ignored)
    codes = rng.integers(0, 4, len(query)), rng.integers(0, 5, len(gallery))
    queries = np.array([index for index in range(1, len(query), 2) if codes[0][index] in codes[1]], dtype=np.int64)
    together = relevance(queries, *codes)
    ranks = np.split(features.ranks(together), together.starts[1:-1])
    for index, own in zip(queries.tolist(), ranks, strict=True):
        matches = np.flatnonzero(codes[1] == codes[0][index])
        assert own.tolist() == slow_ranks(expected[index], matches, NONE)


def ternary(rng: np.random.Generator, count: int) -> Rows:
    features = rng.integers(-1, 2, (count, 7))
    features[:, 0] = 1
    return features


def repeated(rng: np.random.Generator, count: int) -> Rows:
    return rng.choice(np.random.default_rng(3).standard_normal((11, 5)).astype(np.float32), count)


def some_repeated(rng: np.random.Generator, count: int) -> Rows:
    """A third of the rows are copies, so that most distances are far from the next."""
    rows = rng.standard_normal((count, 5)).astype(np.float32)
    rows[rng.permutation(count)[: count // 3]] = rows[0]
    return rows


def all_equal(rng: np.random.Generator, count: int) -> Rows:
    return np.full((count, 5), 0.1)


def constant_rows(rng: np.random.Generator, count: int, dims: int = 40) -> Rows:
    """Roundings of such a product all go the same way; under cosine all distances are -1, or nearly."""
    return np.repeat(rng.random((count, 1), dtype=np.float32) + 1, dims, axis=1)


def constant_among_others(rng: np.random.Generator, count: int) -> Rows:
    rows = rng.standard_normal((count, 40)).astype(np.float32)
    rows[::3] = constant_rows(rng, count)[::3]
    return rows


def cancelling(rng: np.random.Generator, count: int) -> Rows:
    """Large terms of both signs, and a small rest that decides."""
    rows = rng.standard_normal((count, 40)).astype(np.float32)
    rows[:, 20:] = -rows[:, :20]
    rows[:, 0] += np.float32(1e-6) * rng.integers(-9, 10, count)
    return rows


def tiny_and_huge(rng: np.random.Generator, count: int) -> Rows:
    """Squares of these are no float32."""
    return (10.0 ** rng.choice([-30, 30], (count, 1)) * rng.integers(1, 5, (count, 6))).astype(np.float32)


def far_from_zero(rng: np.random.Generator, count: int) -> Rows:
    """|q|^2 + |g|^2 - 2 q.g has no correct digit here."""
    return rng.integers(0, 4, (count, 6)) + 1e8


def far_and_wide(rng: np.random.Generator, count: int) -> Rows:
    """As before, also relative to the first gallery row, which is elsewhere."""
    features = far_from_zero(rng, count)
    features[0] = 0
    return features


@pytest.mark.parametrize(
    ("make", "metric"),
    [
        (ternary, "cosine"),
        (ternary, "euclidean"),
        (repeated, "cosine"),
        (repeated, "euclidean"),
        (some_repeated, "cosine"),
        (some_repeated, "euclidean"),
        (all_equal, "cosine"),
        (all_equal, "euclidean"),
        (constant_among_others, "euclidean"),
        (cancelling, "cosine"),
        (cancelling, "euclidean"),
        (tiny_and_huge, "cosine"),
        (far_from_zero, "euclidean"),
        (far_and_wide, "euclidean"),
    ],
)
def test_features_rank_as_in_rational_arithmetic(
    make: Callable[[np.random.Generator, int], Rows], metric: Metric
) -> None:
    rng = np.random.default_rng(9)
    query, gallery = make(rng, 13), make(rng, 90)
    expected = exact_distances(query, gallery, metric)
    for max_memory in (1, 20_000, 2**30):
        assert_ranks(query, gallery, metric, max_memory, expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("num_gallery", [1, 2, 501])
@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.float32, np.float64])
def test_exact_distances_are_those_of_the_formula(metric: Metric, num_gallery: int, dtype: type) -> None:
    rng = np.random.default_rng(7)
    query: Rows = (9 * rng.standard_normal((5, 33)) + 20).astype(dtype)
    gallery: Rows = (9 * rng.standard_normal((num_gallery, 33)) + 20).astype(dtype)
    q, g = query.astype(float), gallery.astype(float)
    if metric == "cosine":
        expected = -(q / np.linalg.norm(q, axis=1)[:, None]) @ (g / np.linalg.norm(g, axis=1)[:, None]).T
    else:
        expected = ((q[:, None] - g[None]) ** 2).sum(axis=2)
    features = Features(query, gallery, metric, 30_000)
    np.testing.assert_allclose([features.exact_distances(index) for index in range(5)], expected, rtol=1e-12)


@pytest.mark.parametrize("dims", [1, 64, 257, 2048, 9001])
def test_errors_of_float32_products_are_far_below_the_margin(dims: int) -> None:
    """The margin holds with high probability only: random rows use little of it, rows of one number the most."""
    rng = np.random.default_rng(dims)
    margin, bound = relative_margins(dims, np.dtype(np.float32))
    assert relative_margins(dims, np.dtype(np.float64))[0] == relative_margins(dims, np.dtype(np.float64))[1] < 1e-10
    assert margin <= bound
    signed = rng.standard_normal((2, 150, dims), dtype=np.float32)
    constant = np.broadcast_to(signed[..., :1], signed.shape)
    for (a, b), share in ((signed, 0.2), (abs(signed), 0.2), (constant, 0.6)):
        lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
        error = np.abs(a @ b.T - a.astype(float) @ b.astype(float).T) / lengths
        assert error.max() < share * margin


@pytest.mark.parametrize("dims", [64, 2048])
def test_rows_of_one_number_rank_by_exact_distances(dims: int) -> None:
    rng = np.random.default_rng(dims)
    query, gallery = constant_rows(rng, 9, dims), constant_rows(rng, 3000, dims)
    measured = [Features(query, gallery, "cosine", 1).exact_distances(index).tolist() for index in range(9)]
    for max_memory in (1, 2**20, 2**30):
        assert_ranks(query, gallery, "cosine", max_memory, measured)


def test_a_product_that_is_too_far_off_for_its_matches_is_trusted_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distance of a match shows the error of its row: then all images within the bound are computed exactly."""
    rng = np.random.default_rng(3)
    query, gallery = rng.standard_normal((1, 64), dtype=np.float32), rng.standard_normal((500, 64), dtype=np.float32)
    features = Features(query, gallery, "cosine", 2**20)
    bound = 4e-3
    features._terms.bounds[:] = bound

    def multiply(queries: Indices, block: Rows) -> None:
        block[:] = query / np.linalg.norm(query) @ gallery.T + bound / 3 * rng.uniform(-1, 1, 500)

    monkeypatch.setattr(features, "_multiply", multiply)
    matches = np.arange(0, 500, 50)
    assert features.ranks(of_one(0, 500, matches)).tolist() == slow_ranks(
        features.exact_distances(0).tolist(), matches, NONE
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_copies_of_a_row_tie_wherever_a_matrix_product_meets_them(metric: Metric, order: Any) -> None:
    rng = np.random.default_rng(5)
    originals = rng.standard_normal((7, 257)).astype(np.float32)
    which = rng.integers(0, 7, 3001)
    query, gallery = rng.standard_normal((9, 257)).astype(np.float32), originals[which]
    expected = np.array(exact_distances(query, originals, metric), dtype=float)[:, which].tolist()
    for max_memory in (1_000_000, 5_000_000, 2**30):
        arranged = np.asarray(query, order=order), np.asarray(gallery, order=order)
        assert_ranks(*arranged, metric, max_memory, expected, count=75)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dims", [3, 2048, 9001])
def test_distances_of_rows_that_differ_by_rounding_do_not_depend_on_other_rows(metric: Metric, dims: int) -> None:
    """As if a network mapped all images to nearly one point: all distances are within the margin under cosine."""
    rng = np.random.default_rng(dims)
    point = rng.random(dims, dtype=np.float32) + 1
    query, gallery = (
        point * (1 + np.float32(1e-7) * rng.standard_normal((count, dims), dtype=np.float32)) for count in (5, 83)
    )
    gallery[50:60] = gallery[20:30]
    measured = [[float(Features(q[None], g[None], metric, 1).exact_distances(0)[0]) for g in gallery] for q in query]
    assert len(set(measured[0])) < 83
    for max_memory in (1, 2**20, 2**30):
        features = Features(query, gallery, metric, max_memory)
        assert [features.exact_distances(i).tolist() for i in range(5)] == measured
        assert_ranks(query, gallery, metric, max_memory, measured)


# Without the cosine of constant rows: many distances differ in the last bit only, by the order of summation.
@pytest.mark.parametrize(
    ("make", "metric"),
    [
        *product([ternary, some_repeated, tiny_and_huge], METRICS),
        *product([constant_rows, constant_among_others], ["euclidean"]),
    ],
)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_pytorch_gives_the_same_ranks(
    device: str, make: Callable[[np.random.Generator, int], Rows], metric: Metric
) -> None:
    rng = np.random.default_rng(2)
    query, gallery = make(rng, 40), make(rng, 200)
    codes = rng.integers(0, 6, 40), rng.integers(0, 7, 200)
    who = relevance(np.flatnonzero(np.isin(codes[0], codes[1])), *codes)
    expected = Features(query, gallery, metric, 2**20).ranks(who)
    for max_memory in (1, 100_000, 2**30):
        tensors = torch.as_tensor(query, device=device), torch.as_tensor(gallery, device=device)
        np.testing.assert_array_equal(ranks(*tensors, metric, max_memory, who), expected)


@pytest.mark.gpu
def test_features_are_ranked_on_their_device() -> None:
    rng = np.random.default_rng(1)
    query, gallery = (rng.standard_normal((count, 256), dtype=np.float32) for count in (50, 900))
    pids = rng.integers(0, 20, 50), rng.integers(0, 20, 900)
    expected = evaluate_ranking(query, gallery, *pids, exclude_same_camera=False)
    on_device = torch.as_tensor(query, device="cuda"), torch.as_tensor(gallery, device="cuda")
    for found in (
        evaluate_ranking(query, gallery, *pids, exclude_same_camera=False, device="cuda"),
        evaluate_ranking(*on_device, *pids, exclude_same_camera=False),
    ):
        assert found.mAP == pytest.approx(expected.mAP, abs=1e-12)


def test_memory_stays_within_the_bound() -> None:
    rng = np.random.default_rng(13)
    spread = rng.standard_normal((20_000, 40), dtype=np.float32)
    # Random features, and some that lie so close together that all pairs are measured.
    for gallery in (spread, 1 + np.float32(1e-7) * spread):
        max_memory, matches = 8 * 2**20, np.arange(0, 20_000, 4_000)
        codes = np.isin(np.arange(20_000), matches, invert=True).astype(np.int64)
        who = relevance(np.arange(0, 600, 3), np.zeros(600, dtype=np.int64), codes)
        tracemalloc.start()
        try:
            Features(gallery[:600], gallery, "cosine", max_memory).ranks(who)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        index_arrays = 100 * (600 + len(gallery))
        assert peak < max_memory + index_arrays
        assert peak < 600 * 20_000 * 4 / 4


def with_value(row: int, value: float) -> NDArray[np.float64]:
    features = np.ones((3, 2))
    features[row, 1] = value
    return features


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("gallery", "message"),
    [
        (np.ones((3, 5)), "query has 2 features a row and gallery 5"),
        (with_value(0, np.nan), "gallery row 0 .* not finite"),
        (with_value(2, -np.inf), "gallery row 2 .* not finite"),
        (with_value(2, 1e200), "gallery row 2 .* too large"),
    ],
)
def test_rows_that_cannot_be_compared_are_named(metric: Metric, gallery: Rows, message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        Features(np.ones((2, 2)), gallery, metric, 2**20)


def test_a_zero_row_has_no_direction() -> None:
    gallery = np.array([[1, 0], [0, 0], [0, 1]])
    with pytest.raises(JointreidError, match=r"gallery row 1 has length zero.*euclidean"):
        Features(np.ones((2, 2)), gallery, "cosine", 2**20)
    assert Features(np.ones((2, 2)), gallery, "euclidean", 2**20).exact_distances(0).tolist() == [1, 2, 1]
