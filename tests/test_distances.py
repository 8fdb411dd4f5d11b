import tracemalloc
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jointreid.errors import JointreidError
from jointreid.retrieval.distances import DistanceRow, Features, Indices, Metric, match_ranks

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


@pytest.mark.parametrize("count", [1, 3, 27, 340])
@pytest.mark.parametrize(("high", "scale"), [(20, 1.0), (400, 1.0), (400, 1e-3)])
def test_ranks_of_given_distances(count: int, high: int, scale: float) -> None:
    """Few distinct distances tie; few matches are counted one by one, many are sorted."""
    rng = np.random.default_rng(count)
    values = rng.integers(0, high, 403) * scale
    matches, ignored = choose(rng, 403, count)
    given = values.copy()
    given.flags.writeable = False
    assert match_ranks(DistanceRow(0, given), matches, ignored).tolist() == slow_ranks(
        values.tolist(), matches, ignored
    )


@pytest.mark.parametrize("count", [1, 27, 300])
def test_distances_known_nearly_are_measured_where_it_matters(count: int) -> None:
    rng = np.random.default_rng(count)
    exact, margin = rng.random(403), 0.003
    matches, ignored = choose(rng, 403, count)
    measured: set[int] = set()

    def measure(columns: Indices) -> NDArray[np.float64]:
        measured.update(columns.tolist())
        distances: NDArray[np.float64] = exact[columns]
        return distances

    row = DistanceRow(0, exact + rng.uniform(-margin, margin, 403), margin, measure)
    assert match_ranks(row, matches, ignored).tolist() == slow_ranks(exact.tolist(), matches, ignored)
    assert set(matches.tolist()) <= measured
    if count == 1:
        assert len(measured) < 20


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
    queries = np.arange(1, len(query), 2)
    seen = []
    for row in Features(query, gallery, metric, max_memory).rows(queries):
        matches, ignored = choose(rng, len(gallery), count)
        assert match_ranks(row, matches, ignored).tolist() == slow_ranks(expected[row.query], matches, ignored)
        seen.append(row.query)
    assert seen == queries.tolist()


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


def far_from_zero(rng: np.random.Generator, count: int) -> Rows:
    """|q|^2 + |g|^2 - 2 q.g has no correct digit here."""
    return rng.integers(0, 4, (count, 6)) + 1e8


def far_and_wide(rng: np.random.Generator, count: int) -> Rows:
    """As before, also about the first gallery row, which lies elsewhere."""
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
def test_a_row_is_within_its_margin_of_the_measured_distances(metric: Metric, num_gallery: int, dtype: type) -> None:
    rng = np.random.default_rng(7)
    query: Rows = (9 * rng.standard_normal((37, 33)) + 20).astype(dtype)
    gallery: Rows = (9 * rng.standard_normal((num_gallery, 33)) + 20).astype(dtype)
    features = Features(query, gallery, metric, 30_000)
    q, g = query.astype(float), gallery.astype(float)
    if metric == "cosine":
        expected = -(q / np.linalg.norm(q, axis=1)[:, None]) @ (g / np.linalg.norm(g, axis=1)[:, None]).T
    else:
        expected = ((q[:, None] - g[None]) ** 2).sum(axis=2)
    for row in features.rows(np.arange(37)):
        measured = features.measure(row.query, np.arange(num_gallery))
        np.testing.assert_allclose(measured, expected[row.query], rtol=1e-12)
        assert 0 < row.margin < 1e-7
        assert np.abs(row.values - measured).max() <= row.margin


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
def test_rows_that_differ_by_rounding_are_measured_alike_in_any_company(metric: Metric, dims: int) -> None:
    """As if a network mapped all images to nearly one point: all distances are within the margin under cosine."""
    rng = np.random.default_rng(dims)
    point = rng.random(dims, dtype=np.float32) + 1
    query, gallery = (
        point * (1 + np.float32(1e-7) * rng.standard_normal((count, dims), dtype=np.float32)) for count in (5, 83)
    )
    gallery[50:60] = gallery[20:30]
    alone = Features(query, gallery, metric, 1)
    measured = [[float(alone.measure(i, np.array([j]))[0]) for j in range(83)] for i in range(5)]
    assert len(set(measured[0])) < 83
    for max_memory in (1, 2**20, 2**30):
        features = Features(query, gallery, metric, max_memory)
        assert [features.measure(i, np.arange(83)).tolist() for i in range(5)] == measured
        assert_ranks(query, gallery, metric, max_memory, measured)
        if metric == "cosine":
            assert [row.values.tolist() for row in features.rows(np.arange(5)) if row.exact is None] == measured


def test_memory_stays_within_the_bound() -> None:
    rng = np.random.default_rng(13)
    spread = rng.standard_normal((20_000, 40), dtype=np.float32)
    # Random features, and some that lie so close together that all pairs are measured.
    for gallery in (spread, 1 + np.float32(1e-7) * spread):
        max_memory, matches = 8 * 2**20, np.arange(0, 20_000, 4_000)
        tracemalloc.start()
        try:
            for row in Features(gallery[:600], gallery, "cosine", max_memory).rows(np.arange(0, 600, 3)):
                match_ranks(row, matches, matches[:0])
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
    assert Features(np.ones((2, 2)), gallery, "euclidean", 2**20).measure(0, np.arange(3)).tolist() == [1, 2, 1]
