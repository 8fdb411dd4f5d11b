"""Exact ranks of the matches of each query, although most distances are known only approximately.

Letters: Q queries, V of them with matches, M matches of all of them, G gallery images, D feature dimensions, q queries
of a block.

The distance of a pair is -q.g / (|q| |g|) or |q - g|^2, in float64 and summed in one fixed order, so it depends on the
two rows alone. A matrix product is faster, but rounds a pair according to its place in the product. `Features` takes
the product in the precision of the features, with a limit to its error, the margin. Where it gives a distance within a
margin of that of a match, the pair is computed again from its two rows. So the ranks are the same for every block size,
number of threads and BLAS library.

The margin. Let u be half the spacing of numbers at 1. In any order of summation a product of D terms is off by at most
D u / (1 - D u) times the two lengths. In float64 the margin is a bound made of that, and the ranks are certain. In
float32 such a bound would put thousands of images within the margin of a match. There the margin is 8 sqrt(D) u, which
errors that are independent and of mean zero exceed with a negligible probability (Higham and Mary, SIAM J. Sci. Comput.
2019). Measured errors were below 0.9 sqrt(D) u for random rows, and below 4.1 sqrt(D) u for rows of one repeated
number, whose roundings all go the same way. Every query tests the margin, because the distances of its matches are
computed exactly anyway: if the product is off by more than a quarter of the margin for a match, the bound replaces the
margin. A rank can be wrong only if all matches of the query are off by less than 2 sqrt(D) u, and an image that close
to a match is off by more than 8 sqrt(D) u.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.config import Metric
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.ranking_numba import (
    BlockQueries,
    FeaturePairs,
    ProductTerms,
    count_ahead,
    query_distances,
    squares,
)

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]
Doubles = NDArray[np.float64]

# The factor of sqrt(D) u; see above.
_LAMBDA = 8
# Lengths whose products float32 holds with all their digits.
_LEAST, _MOST = 2.0**-40, 2.0**40


@dataclass(frozen=True, eq=False)
class Relevance:
    """The gallery images that match each query. Other images of a query's pid are ignored.

    Attributes:
        queries: [V] the queries that have a match, ascending.
        starts: [V + 1] position in `matches` of the first match of each; the last is M.
        matches: [M] gallery indices, ascending for each query.
        query_codes: [Q] a number for each pid.
        gallery_codes: [G] of the same numbers.
    """

    queries: Indices
    starts: Indices
    matches: Indices
    query_codes: Indices
    gallery_codes: Indices

    def among(self, first: int, stop: int) -> slice:
        """Return the slice of `queries` that are at least `first` and below `stop`."""
        return slice(*np.searchsorted(self.queries, (first, stop)).tolist())


def count_given(distances: Floats, first: int, relevance: Relevance, ranks: Indices) -> None:
    """Write the ranks of the matches of some queries, ascending for each; equal distances rank by gallery index.

    Only the matches are sorted; of the other images, those ahead of each match are counted.

    Args:
        distances: [q, G] float32 or float64, of the queries from index `first` on.
        first: the index of the first.
        relevance: the matches of the queries.
        ranks: [M], written for these queries, counted from 1.
    """
    distances, chosen = _read_only(distances), relevance.among(first, first + len(distances))
    zeros, ones = np.zeros(relevance.query_codes.size), np.ones(distances.shape[1], dtype=distances.dtype)
    terms = ProductTerms(ones, 0 * ones, zeros, zeros, zeros)
    no_features = _read_only(np.empty((1, 0), dtype=distances.dtype))
    pairs = FeaturePairs(False, no_features, no_features, zeros, zeros)
    rows = relevance.queries[chosen] - first
    count_ahead(distances, _block_queries(rows, chosen, relevance), terms, pairs, True, ranks)


class Features:
    """Features of queries and gallery, and the distances between them.

    Args:
        query: [Q, D] real numbers.
        gallery: [G, D] real numbers.
        metric: cosine or euclidean.
        max_memory: bytes; half for a block of distances, an eighth for the block's queries and an eighth for a part of
            the gallery. Features other than float32 and float64, or not in C order, are copied whole in addition.

    Raises:
        JointreidError: other dimensions in query and gallery; a feature is not finite, or is all zeros under cosine.
    """

    def __init__(self, query: NDArray[Any], gallery: NDArray[Any], metric: Metric, max_memory: int) -> None:
        if query.shape[1] != gallery.shape[1]:
            raise JointreidError(
                f"query has {query.shape[1]} features a row and gallery {gallery.shape[1]}; expected the same number"
            )
        narrow = {query.dtype, gallery.dtype} <= {np.dtype(np.float16), np.dtype(np.float32)}
        kind = np.dtype(np.float32 if narrow else np.float64)
        self.query, self.gallery = (_read_only(np.ascontiguousarray(rows, dtype=kind)) for rows in (query, gallery))
        self.cosine = metric == "cosine"
        dims = query.shape[1]
        self._centre = np.zeros(dims, dtype=kind)
        self._q_lengths = checked_lengths("query", self.query, self._lengths(self.query), self.cosine)
        self.lengths = checked_lengths("gallery", self.gallery, self._lengths(self.gallery), self.cosine)
        if not self.cosine:
            self._choose_origin()
        self._kind = kind if is_moderate(self._q_lengths, self.lengths, self.cosine) else np.dtype(np.float64)
        size = self._kind.itemsize
        self._query_rows = max(1, min(max_memory // (2 * size * len(gallery)), max_memory // (8 * size * dims)))
        self._gallery_rows = max(1, max_memory // (8 * size * dims))
        self._terms = self._make_terms()
        self._pairs = FeaturePairs(self.cosine, self.query, self.gallery, self._q_lengths, self.lengths)

    def ranks(self, relevance: Relevance) -> Indices:
        """Return [M], the ascending ranks of each query's matches, counted from 1; equal distances by gallery index."""
        ranks = np.empty(relevance.matches.size, dtype=np.int64)
        rows = min(self._query_rows, relevance.queries.size)
        whole = np.empty((rows, len(self.gallery)), dtype=self._kind)
        for start in range(0, relevance.queries.size, rows):
            queries = relevance.queries[start : start + rows]
            block, chosen = whole[: queries.size], slice(start, start + queries.size)
            self._multiply(queries, block)
            block_queries = _block_queries(np.arange(queries.size), chosen, relevance)
            count_ahead(_read_only(block), block_queries, self._terms, self._pairs, False, ranks)
        return ranks

    def blocks(self, queries: Indices) -> Iterator[tuple[int, Floats]]:
        """Yield blocks [q, G] of |a - b|^2 as the product gives them, half of it of rows of length 1 under cosine.

        Each comes with the position of its first query in `queries`, and is valid until the next.
        """
        rows = min(self._query_rows, queries.size)
        whole = np.empty((rows, len(self.gallery)), dtype=self._kind)
        for start in range(0, queries.size, rows):
            chosen = queries[start : start + rows]
            block = whole[: chosen.size]
            self._multiply(chosen, block)
            block *= self._terms.scale
            block += self._terms.offset
            block += 1 if self.cosine else self._terms.base[chosen, None].astype(self._kind)
            yield start, np.maximum(block, 0, out=block)

    def exact_distances(self, index: int) -> Doubles:
        """Return [G], the distances of a query to the gallery, each computed from the two rows alone."""
        distances = np.empty(len(self.gallery))
        query_distances(self._pairs, index, distances)
        return distances

    def _multiply(self, queries: Indices, block: Floats) -> None:
        """Fill `block` [q, G] with the products of the queries, of length 1 under cosine, with the gallery."""
        rows: Floats = self.query[queries].astype(self._kind, copy=False)
        if self.cosine:
            rows /= self._q_lengths[queries, None].astype(self._kind)
        else:
            rows -= self._centre
        if self.gallery.dtype == self._kind and not self._centre.any():
            np.matmul(rows, self.gallery.T, out=block)
            return
        for first in range(0, len(self.gallery), self._gallery_rows):
            part = slice(first, first + self._gallery_rows)
            np.matmul(rows, np.subtract(self.gallery[part], self._centre, dtype=self._kind).T, out=block[:, part])

    def _make_terms(self) -> ProductTerms:
        margin, bound = relative_margins(self.query.shape[1], self._kind)
        if self.cosine:
            base, reach = np.zeros(len(self.query)), np.ones(len(self.query))
            scale, offset = -1 / self.lengths, np.zeros(len(self.gallery))
        else:
            base, reach = self._q_lengths**2, (self._q_lengths + self.lengths.max()) ** 2
            scale, offset = np.full(len(self.gallery), -2.0), self.lengths**2
        return ProductTerms(scale.astype(self._kind), offset.astype(self._kind), base, margin * reach, bound * reach)

    def _choose_origin(self) -> None:
        """Subtract the first gallery row from all rows if that makes them shorter, and so products more precise."""
        origin, self._centre = self._centre, self.gallery[0].copy()
        q_lengths, g_lengths = self._lengths(self.query), self._lengths(self.gallery)
        if 4 * (q_lengths.max() + g_lengths.max()) < self._q_lengths.max() + self.lengths.max():
            self._q_lengths, self.lengths = q_lengths, g_lengths
        else:
            self._centre = origin

    def _lengths(self, rows: NDArray[Any]) -> Doubles:
        out = np.empty(len(rows))
        squares(rows, _read_only(self._centre), out)
        return np.sqrt(out)


def relative_margins(dims: int, kind: np.dtype[Any]) -> tuple[float, float]:
    """Return the margin and the bound of `kind`, relative to the product of the lengths; see the module.

    Scaling or moving the rows and what follows the product are rounded too: 16 u covers these.
    """
    unit = float(np.finfo(kind).eps) / 2
    bound = 8 * (dims + 16) * unit if kind == np.float64 else 2 * (dims + 16) * unit
    return min(bound, (_LAMBDA * dims**0.5 + 16) * unit) if kind == np.float32 else bound, bound


def is_moderate(q_lengths: Doubles, g_lengths: Doubles, cosine: bool) -> bool:
    """Return whether float32 can hold products of the rows without overflow, or loss of digits near zero."""
    longest = max(float(q_lengths.max()), float(g_lengths.max()))
    shortest = float(g_lengths.min()) if cosine else longest
    return longest == 0 or (shortest >= _LEAST and longest <= _MOST)


def checked_lengths(name: str, rows: Any, lengths: Doubles, cosine: bool) -> Doubles:
    """Return the lengths of rows if all rows can be compared.

    Raises:
        JointreidError: a row cannot be compared; the message names it.
    """
    limits = np.finfo(np.float64)
    for row in np.flatnonzero(~(lengths < np.sqrt(limits.max / 64))):
        fault = "too large for float64" if np.isfinite(rows[row].tolist()).all() else "not finite (NaN or infinite)"
        raise JointreidError(f"{name} row {row} holds values that are {fault}; check how it was extracted")
    for row in np.flatnonzero(lengths**2 < limits.tiny) if cosine else ():
        raise JointreidError(
            f"{name} row {row} has length zero, so its cosine distance is undefined; drop the row, or use"
            " metric='euclidean'"
        )
    return lengths


def _block_queries(rows: Indices, chosen: slice, relevance: Relevance) -> BlockQueries:
    """Return the queries `chosen` of `relevance.queries`, which are in the given rows of a block."""
    starts = relevance.starts[chosen.start : chosen.stop + 1]
    codes = relevance.query_codes, relevance.gallery_codes
    return BlockQueries(rows, relevance.queries[chosen], starts, relevance.matches, *codes)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view that is not written to: numba would compile a loop once more for arrays that are."""
    view = array.view()
    view.flags.writeable = False
    return view
