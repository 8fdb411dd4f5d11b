"""Where a query's matches rank in the gallery: exactly, though most distances are known only nearly.

Letters: Q queries, G gallery images, D feature dimensions, m matches of one query.

The distance of a pair is -q.g / (|q| |g|) or |q - g|^2, in float64 and summed in one fixed order, so it depends on the
two rows alone. A matrix product is faster, but rounds a pair according to its place in the product. `Features` takes
it in float64 and says how far it may be off; `match_ranks` measures again, pair by pair, what it puts that close to a
match. So the ranks are the same for every block size, number of threads and BLAS library.

A network that maps all images to nearly one point makes all of them close. Then of equal gallery rows one is measured
for all, and queries with most of the gallery that close are measured together, so that they share its conversion.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jointreid.errors import JointreidError

Metric = Literal["cosine", "euclidean"]
Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]
_Doubles = NDArray[np.float64]
_Mask = NDArray[np.bool_]

# Of gallery rows in float64 that are compared pair by pair at once: three such arrays stay in the cache, 2-3 times as
# fast as larger ones.
_PAIR_BYTES = 2**18
# Terms that einsum adds in an order of its own that depends on their number only; it cuts more than 8192 into pieces
# according to the number of rows.
_TERMS = 4096
# Distances of a row, spread over it, that tell whether most of it lies too close together.
_SAMPLE = 64


class DistanceRow(NamedTuple):
    """The distances of one query to the gallery.

    Attributes:
        query: the query's index.
        values: [G] distances.
        margin: the most by which one of `values` is off.
        exact: gallery indices -> their distances without error; None where `values` have none.
    """

    query: int
    values: Floats
    margin: float = 0.0
    exact: Callable[[Indices], Floats] | None = None


def match_ranks(row: DistanceRow, matches: Indices, ignored: Indices) -> Indices:
    """Return the ascending ranks of one query's matches, counted from 1; equal distances rank by gallery index.

    It is enough to count what is ahead of each match, so nothing farther than the worst match is looked at and, unless
    the matches are many, nothing is sorted.

    Args:
        row: the query's distances; left as they are.
        matches: [m] gallery indices, ascending.
        ignored: gallery indices that count nowhere.
    """
    values = row.values.copy()
    values[ignored] = np.inf
    if row.exact is not None:
        values[matches] = row.exact(matches)
    thresholds = values[matches]
    columns, values = _up_to(values, thresholds.max() + row.margin)
    positions = np.searchsorted(columns, matches)
    if row.exact is not None:
        unsure = _near_any(values, thresholds, row.margin)
        unsure[positions] = False
        values[unsure] = row.exact(columns[unsure])
    return np.sort(_count_ahead(values, positions)) + 1


def _up_to(values: Floats, limit: float) -> tuple[Indices, Floats]:
    """Return the indices and values of those at most `limit`; all of them if there is little to leave out."""
    within = values <= limit
    if 4 * np.count_nonzero(within) > values.size:
        return np.arange(values.size), values
    columns = np.flatnonzero(within)
    return columns, values[columns]


def _near_any(values: Floats, thresholds: Floats, margin: float) -> _Mask:
    """Return which values are within `margin` of a threshold."""
    if _sorting_is_cheaper(values.size, thresholds.size):
        thresholds = np.sort(thresholds)
        first = np.searchsorted(thresholds, values - margin).clip(max=thresholds.size - 1)
        near: _Mask = np.abs(values - thresholds[first]) <= margin
        return near
    near = np.zeros(values.size, dtype=bool)
    for threshold in thresholds:
        near |= (values >= threshold - margin) & (values <= threshold + margin)
    return near


def _count_ahead(values: Floats, positions: Indices) -> Indices:
    """Return how many values come before those at `positions`, in order of value, then of position."""
    if _sorting_is_cheaper(values.size, positions.size):
        ahead = np.empty(values.size, dtype=np.int64)
        ahead[np.argsort(values, kind="stable")] = np.arange(values.size)
        return ahead[positions]
    counts = [
        np.count_nonzero(values[:position] <= value) + np.count_nonzero(values[position:] < value)
        for position, value in zip(positions.tolist(), values[positions], strict=True)
    ]
    return np.array(counts, dtype=np.int64)


def _sorting_is_cheaper(size: int, matches: int) -> bool:
    """Tell whether to sort `size` values rather than scan them once for each match.

    Measured: a scan takes about 5 us + 0.5 ns a value, sorting 0.2 us a value.
    """
    return matches * (size + 10_000) > 400 * size


class Features:
    """Features of queries and gallery, and the distances between them.

    Args:
        query: [Q, D] real numbers.
        gallery: [G, D] real numbers.
        metric: cosine or euclidean.
        max_memory: bytes; half for a block of distances with its queries, an eighth for a block of the gallery, an
            eighth for pairs, and the rest for what is derived from one row of distances.

    Raises:
        JointreidError: other dimensions in query and gallery; a feature is not finite, or is all zeros under cosine.
    """

    def __init__(self, query: NDArray[Any], gallery: NDArray[Any], metric: Metric, max_memory: int) -> None:
        if query.shape[1] != gallery.shape[1]:
            raise JointreidError(
                f"query has {query.shape[1]} features a row and gallery {gallery.shape[1]}; expected as many"
            )
        self.query, self.gallery = query, gallery
        self._cosine = metric == "cosine"
        dims = query.shape[1]
        self._query_rows = max(1, max_memory // (16 * (len(gallery) + 2 * dims + 4)))
        self._gallery_rows = max(1, max_memory // (64 * (dims + 2)))
        self._pairs = max(1, min(_PAIR_BYTES, max_memory // 32) // (8 * dims))
        self._centre = np.zeros(dims)
        self._require_comparable("query", query)
        self._require_comparable("gallery", gallery)
        if not self._cosine:
            # Distances stay as they are when all rows are moved, and products of short rows are precise.
            self._centre = gallery[0].astype(np.float64)
        self._query_squares, self._gallery_squares = self._squares(query), self._squares(gallery)
        self._margins = self._error_bounds()
        self._originals = self._first_copies()

    def rows(self, queries: Indices) -> Iterator[DistanceRow]:
        """Yield the distances of the queries in turn; the values of a row are valid until the next."""
        whole = np.empty((min(self._query_rows, queries.size), len(self.gallery)))
        buffer = np.empty((min(self._gallery_rows, len(self.gallery)), self.query.shape[1] + 2))
        for start in range(0, queries.size, len(whole)):
            chosen = queries[start : start + len(whole)]
            block = whole[: chosen.size]
            self._multiply(chosen, block, buffer)
            crowded = _are_crowded(block, self._margins[chosen])
            self._measure_all(chosen[crowded], [block[place] for place in np.flatnonzero(crowded)])
            for index, values, is_exact in zip(chosen.tolist(), block, crowded, strict=True):
                if is_exact:
                    yield DistanceRow(index, values)
                else:
                    yield DistanceRow(index, values, self._margins[index], partial(self.measure, index))

    def measure(self, index: int, columns: Indices) -> _Doubles:
        """Return the distances of a query to gallery images, each computed from the two rows alone."""
        originals, which = np.unique(self._originals[columns], return_inverse=True)
        own = self.query[index].astype(np.float64)
        sums = np.empty(originals.size)
        for start in range(0, originals.size, self._pairs):
            part = slice(start, start + self._pairs)
            sums[part] = self._sums(own, self.gallery[originals[part]].astype(np.float64, order="C"))
        return self._scaled(index, sums[which], columns)

    def _measure_all(self, queries: Indices, rows: list[_Doubles]) -> None:
        """Do as `measure` for all of the gallery and several queries, which share its conversion, into their rows."""
        owns = self.query[queries].astype(np.float64)
        originals = np.unique(self._originals)
        for start in range(0, originals.size if rows else 0, self._pairs):
            part = originals[start : start + self._pairs]
            others = self.gallery[part].astype(np.float64, order="C")
            for own, row in zip(owns, rows, strict=True):
                row[part] = self._sums(own, others)
        for index, row in zip(queries.tolist(), rows, strict=True):
            row[:] = self._scaled(index, row[self._originals], slice(None))

    def _sums(self, own: _Doubles, others: _Doubles) -> _Doubles:
        """Return q.g or |q - g|^2 for rows in C order: summed one by one, in an order that depends on D only."""
        if not self._cosine:
            distances: _Doubles = ((others - own) ** 2).sum(axis=1)
            return distances
        products = np.zeros(len(others))
        for start in range(0, own.size, _TERMS):
            part = slice(start, start + _TERMS)
            products += np.einsum("gd,d->g", others[:, part], own[part])
        return products

    def _scaled(self, index: int, sums: _Doubles, columns: Indices | slice) -> _Doubles:
        """Return the distances that `_sums` stand for."""
        if not self._cosine:
            return sums
        distances: _Doubles = -sums / (np.sqrt(self._query_squares[index]) * np.sqrt(self._gallery_squares[columns]))
        return distances

    def _multiply(self, queries: Indices, block: _Doubles, buffer: _Doubles) -> None:
        """Fill `block` [q, G] with the distances of the queries, as matrix products give them."""
        own = self._left(queries)
        for first in range(0, len(self.gallery), len(buffer)):
            others = self._right(first, buffer)
            np.matmul(own, others.T, out=block[:, first : first + len(others)])

    def _left(self, queries: Indices) -> _Doubles:
        """Return [q, D + 2], such that the product with `_right` is -cos, or |q|^2 + |g|^2 - 2 q.g, both centred."""
        own = np.zeros((queries.size, self.query.shape[1] + 2))
        squares = self._query_squares[queries]
        np.subtract(self.query[queries], self._centre, out=own[:, :-2])
        if self._cosine:
            own[:, :-2] /= -np.sqrt(squares)[:, None]
        else:
            own[:, :-2] *= -2
            own[:, -2], own[:, -1] = 1, squares
        return own

    def _right(self, first: int, buffer: _Doubles) -> _Doubles:
        """Return [g, D + 2] of the gallery from index `first` on, in `buffer`."""
        part = slice(first, first + len(buffer))
        squares = self._gallery_squares[part]
        others = buffer[: squares.size]
        np.subtract(self.gallery[part], self._centre, out=others[:, :-2])
        others[:, -2], others[:, -1] = squares, 1
        if self._cosine:
            others[:, :-2] /= np.sqrt(squares)[:, None]
        return others

    def _error_bounds(self) -> _Doubles:
        """Return [Q], the most by which a product and the exact distance differ for each query.

        In any order of summation a product of D terms is off by at most D u / (1 - D u) times the product of the two
        lengths, u = eps / 2, and so is the exact distance; 4 (D + 16) eps bounds both and the few operations around.
        """
        scales = (np.sqrt(self._query_squares) + np.sqrt(self._gallery_squares.max())) ** 2
        bound = 4 * (self.query.shape[1] + 16) * np.finfo(np.float64).eps
        return np.full(len(self.query), bound) if self._cosine else bound * scales

    def _first_copies(self) -> Indices:
        """Return [G], for each gallery row the index of an equal one: the first of its length, or itself."""
        _, first, which = np.unique(self._gallery_squares, return_index=True, return_inverse=True)
        copies: Indices = first[which]
        for row in np.flatnonzero(copies != np.arange(copies.size)):
            if not np.array_equal(self.gallery[row], self.gallery[copies[row]]):
                copies[row] = row
        return copies

    def _squares(self, features: NDArray[Any]) -> _Doubles:
        """Return the squared length of each row about the centre."""
        squares = np.empty(len(features))
        for start in range(0, len(features), self._pairs):
            rows = features[start : start + self._pairs].astype(np.float64, order="C") - self._centre
            with np.errstate(over="ignore"):
                squares[start : start + len(rows)] = (rows**2).sum(axis=1)
        return squares

    def _require_comparable(self, name: str, features: NDArray[Any]) -> None:
        squares, limits = self._squares(features), np.finfo(np.float64)
        for row in np.flatnonzero(~(squares < limits.max / 64)):
            fault = "too large for float64" if np.isfinite(features[row]).all() else "not finite (NaN or infinite)"
            raise JointreidError(f"{name} row {row} holds values that are {fault}; look at how it was extracted")
        for row in np.flatnonzero(squares < limits.tiny) if self._cosine else ():
            raise JointreidError(
                f"{name} row {row} has length zero, so its cosine distance is undefined; drop the row, or use"
                " metric='euclidean'"
            )


def _are_crowded(block: _Doubles, margins: _Doubles) -> _Mask:
    """Return for which rows of `block` [q, G] most distances lie within the margin of the next larger one.

    A sample decides. A wrong answer costs time only.
    """
    sample = np.sort(block[:, :: max(1, block.shape[1] // _SAMPLE)], axis=1)
    close = np.diff(sample, axis=1) <= margins[:, None]
    crowded: _Mask = 2 * np.count_nonzero(close, axis=1) > close.shape[1]
    return crowded
