"""The loops of ranking on a CPU: exact distances of pairs, and the number of gallery images ahead of each match.

Letters: Q queries, G gallery images, D feature dimensions, q queries of a block, M matches of all queries.

A distance is summed in float64 in one order that depends on D alone, without any freedom for the compiler, so that it
is the same wherever a pair is computed. Features are float32 or float64 in C order.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from jointreid.machine.numba_kernel import Kernel

_STRICT: dict[str, Any] = {"fastmath": False}
# Values that are tested together: most tiles contain no image near enough to be counted.
_TILE = 128
# Entries of the table that shortens the search among matches.
_BUCKETS = 1024


class FeaturePairs(NamedTuple):
    """The features that distances of pairs are computed from; empty where distances are given.

    Attributes:
        cosine: whether the distance is -a.b / (|a| |b|); else it is |a - b|^2.
        query: [Q, D].
        gallery: [G, D].
        query_lengths: [Q] lengths of the rows; used by cosine only.
        gallery_lengths: [G].
    """

    cosine: bool
    query: NDArray[Any]
    gallery: NDArray[Any]
    query_lengths: NDArray[np.float64]
    gallery_lengths: NDArray[np.float64]


class ProductTerms(NamedTuple):
    """The terms that give distances from a product x, base + offset + scale * x, and their largest errors.

    Attributes:
        scale: [G] in the product's precision.
        offset: [G] in the product's precision.
        base: [Q].
        margins: [Q] largest error of a distance that is expected.
        bounds: [Q] largest error of a distance that is possible; see `distances`.
    """

    scale: NDArray[Any]
    offset: NDArray[Any]
    base: NDArray[np.float64]
    margins: NDArray[np.float64]
    bounds: NDArray[np.float64]


class BlockQueries(NamedTuple):
    """The queries of a block of distances, and their matches.

    Attributes:
        rows: [q] the block's row of each query.
        queries: [q] their indices among all Q.
        starts: [q + 1] position in `matches` of the first match of each.
        matches: [M] gallery indices.
        query_codes: [Q] a number for each pid.
        gallery_codes: [G] of the same numbers.
    """

    rows: NDArray[np.int64]
    queries: NDArray[np.int64]
    starts: NDArray[np.int64]
    matches: NDArray[np.int64]
    query_codes: NDArray[np.int64]
    gallery_codes: NDArray[np.int64]


@njit(nogil=True, error_model="numpy", forceinline=True)
def _product(a: Any, b: Any) -> Any:
    """Return a.b of two rows: eight partial sums, then their sum."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = a.size - a.size % 8
    for k in range(0, whole, 8):
        s0 += np.float64(a[k]) * np.float64(b[k])
        s1 += np.float64(a[k + 1]) * np.float64(b[k + 1])
        s2 += np.float64(a[k + 2]) * np.float64(b[k + 2])
        s3 += np.float64(a[k + 3]) * np.float64(b[k + 3])
        s4 += np.float64(a[k + 4]) * np.float64(b[k + 4])
        s5 += np.float64(a[k + 5]) * np.float64(b[k + 5])
        s6 += np.float64(a[k + 6]) * np.float64(b[k + 6])
        s7 += np.float64(a[k + 7]) * np.float64(b[k + 7])
    for k in range(whole, a.size):
        s0 += np.float64(a[k]) * np.float64(b[k])
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@njit(nogil=True, error_model="numpy", forceinline=True)
def _square(a: Any, b: Any) -> Any:
    """Return |a - b|^2 of two rows, in the order of `_product`."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = a.size - a.size % 8
    for k in range(0, whole, 8):
        s0 += (np.float64(a[k]) - np.float64(b[k])) ** 2
        s1 += (np.float64(a[k + 1]) - np.float64(b[k + 1])) ** 2
        s2 += (np.float64(a[k + 2]) - np.float64(b[k + 2])) ** 2
        s3 += (np.float64(a[k + 3]) - np.float64(b[k + 3])) ** 2
        s4 += (np.float64(a[k + 4]) - np.float64(b[k + 4])) ** 2
        s5 += (np.float64(a[k + 5]) - np.float64(b[k + 5])) ** 2
        s6 += (np.float64(a[k + 6]) - np.float64(b[k + 6])) ** 2
        s7 += (np.float64(a[k + 7]) - np.float64(b[k + 7])) ** 2
    for k in range(whole, a.size):
        s0 += (np.float64(a[k]) - np.float64(b[k])) ** 2
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@njit(nogil=True, error_model="numpy")
def distance(pairs: Any, i: Any, j: Any) -> Any:
    """Return the distance of query i and gallery image j."""
    if pairs.cosine:
        return -_product(pairs.query[i], pairs.gallery[j]) / (pairs.query_lengths[i] * pairs.gallery_lengths[j])
    return _square(pairs.query[i], pairs.gallery[j])


@njit(nogil=True, error_model="numpy", fastmath=True)  # so that the least is found in SIMD lanes; all is finite here
def _fill(rough: Any, size: Any, start: Any, offset: Any, scale: Any, values: Any) -> Any:
    """Write `size` distances without the part of the query alone, and return the smallest."""
    least = offset[start] + scale[start] * values[start]
    for t in range(size):
        rough[t] = offset[start + t] + scale[start + t] * values[start + t]
        least = min(least, rough[t])
    return least


@njit(nogil=True, error_model="numpy")
def _index(thresholds: Any, margin: Any) -> Any:
    """Return a table that shortens the search in sorted thresholds, where it begins, and its entries per unit.

    Entry b is the first threshold that is at least b entries above the beginning, less the margin.
    """
    floor = thresholds[0] - margin
    width = (thresholds[-1] + margin - floor) / _BUCKETS
    table = np.full(_BUCKETS + 2, thresholds.size)
    table[0] = 0
    k = 0
    for bucket in range(_BUCKETS + 1):
        while k < thresholds.size and thresholds[k] < floor + bucket * width - margin:
            k += 1
        table[bucket] = k
    return table, floor, 1 / width if width > 0 else 0.0


def _squares(features: NDArray[Any], centre: NDArray[Any], out: NDArray[np.float64]) -> None:
    for row in prange(len(features)):
        out[row] = _square(features[row], centre)


def _query_distances(pairs: FeaturePairs, query: int, out: NDArray[np.float64]) -> None:
    for j in prange(len(pairs.gallery)):
        out[j] = distance(pairs, query, j)


def _count_ahead(
    block: NDArray[Any],
    block_queries: BlockQueries,
    terms: ProductTerms,
    pairs: FeaturePairs,
    given: bool,
    ranks: NDArray[np.int64],
) -> None:
    """Write the ranks of the matches of a block's queries: the loop of `distances.count_given` and `Features.ranks`.

    Args:
        block: [q, G] products x, from which distances follow to within a margin; if `given`, exact distances.
        block_queries: the queries of the block and their matches.
        terms: how distances follow from products.
        pairs: features for exact distances; not used if `given`.
        given: whether the block holds distances.
        ranks: [M], written for these queries.
    """
    rows, queries, starts, matches, query_codes, gallery_codes = block_queries
    scale, offset, base, margins, bounds = terms
    for place in prange(len(queries)):
        i, values, first = queries[place], block[rows[place]], starts[place]
        columns = matches[first : starts[place + 1]]
        count, margin, shift = columns.size, margins[i], base[i]
        exact = np.empty(count)
        for k in range(count):
            j = columns[k]
            near = np.float64(offset[j] + scale[j] * values[j]) + shift
            if given:
                exact[k] = near
            else:
                exact[k] = distance(pairs, i, j)
                if not abs(exact[k] - near) <= margin / 4:
                    margin = bounds[i]
        order = np.argsort(exact, kind="mergesort")
        thresholds = exact[order]
        table, floor, density = _index(thresholds, margin)
        ahead = np.zeros(count + 1, np.int64)
        # One more margin than it takes, for the rounding of the limit itself to the block's precision.
        limits = np.full(1, thresholds[count - 1] - shift + 2 * margin).astype(values.dtype)
        rough = np.empty(_TILE, values.dtype)
        for start in range(0, values.size, _TILE):
            size = min(_TILE, values.size - start)
            if _fill(rough, size, start, offset, scale, values) > limits[0]:
                continue
            for t in range(size):
                j = start + t
                if not rough[t] <= limits[0] or gallery_codes[j] == query_codes[i]:
                    continue
                near = np.float64(rough[t]) + shift
                # The first match that is not surely behind this image ...
                low = 0
                if near > floor:
                    bucket = int(min((near - floor) * density, float(_BUCKETS)))
                    low, high = table[max(bucket - 1, 0)], table[min(bucket + 2, _BUCKETS + 1)]
                    while low < high:
                        middle = (low + high) // 2
                        if thresholds[middle] < near - margin:
                            low = middle + 1
                        else:
                            high = middle
                # ... and if it is not surely ahead of that either, the first that is in truth.
                if low < count and thresholds[low] <= near + margin:
                    if not given:
                        near = distance(pairs, i, j)
                    while low < count and (
                        thresholds[low] < near or (thresholds[low] == near and columns[order[low]] < j)
                    ):
                        low += 1
                ahead[low] += 1
        total = 0
        for k in range(count):
            total += ahead[k]
            ranks[first + k] = total + k + 1


squares = Kernel(_squares, **_STRICT)
query_distances = Kernel(_query_distances, **_STRICT)
count_ahead = Kernel(_count_ahead, **_STRICT)
