"""Loops of re-ranking on a CPU: nearest neighbours, k-reciprocal sets, and the overlap of such sets.

Letters: N images, D feature dimensions, b rows of a block, k neighbours.
"""

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from jointreid.machine.numba_kernel import Kernel
from jointreid.retrieval.ranking_numba import FeaturePairs, distance

_STRICT: dict[str, Any] = {"fastmath": False}
# More candidates than k are compared exactly: the product gives their order only approximately.
_SPARE = 16


@njit(nogil=True, error_model="numpy")
def _original(cosine: Any, features: Any, i: Any, j: Any, lengths: Any) -> Any:
    """Return |a - b|^2, of rows of length 1 half of it under cosine."""
    if i == j:
        return 0.0
    pairs = FeaturePairs(cosine, features, features, lengths, lengths)
    return max(distance(pairs, i, j) + (1.0 if cosine else 0.0), 0.0)


def _nearest(
    block: NDArray[Any],
    first: int,
    cosine: bool,
    features: NDArray[Any],
    lengths: NDArray[np.float64],
    neighbours: NDArray[np.int32],
) -> None:
    """Write the k nearest images of rows from `first` on, themselves among them; equal ones by index."""
    for row in prange(len(block)):
        values, k = block[row], neighbours.shape[1]
        size = min(k + _SPARE, values.size)
        best, places = np.full(size, np.inf), np.zeros(size, np.int64)
        for j in range(values.size):
            if values[j] < best[size - 1]:
                t = size - 1
                while t > 0 and best[t - 1] > values[j]:
                    best[t], places[t] = best[t - 1], places[t - 1]
                    t -= 1
                best[t], places[t] = values[j], j
        places = np.sort(places)
        for t in range(size):
            best[t] = _original(cosine, features, first + row, places[t], lengths)
        order = np.argsort(best, kind="mergesort")
        for t in range(k):
            neighbours[first + row, t] = places[order[t]]


@njit(nogil=True, error_model="numpy")
def _reciprocal(i: Any, k: Any, neighbours: Any, out: Any) -> Any:
    """Write those of the k nearest of i that have i among their k nearest, and return their number."""
    count = 0
    for a in range(k):
        for b in range(k):
            if neighbours[neighbours[i, a], b] == i:
                out[count] = neighbours[i, a]
                count += 1
                break
    return count


def _expand(
    first: int,
    k: int,
    half: int,
    cosine: bool,
    features: NDArray[Any],
    lengths: NDArray[np.float64],
    farthest: NDArray[np.float64],
    neighbours: NDArray[np.int32],
    counts: NDArray[np.int64],
    members: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> None:
    """Write the expanded k-reciprocal sets of images from `first` on, [b, most], and the weights of their members."""
    for row in prange(len(counts)):
        i = first + row
        own, other = np.empty(k, np.int32), np.empty(half, np.int32)
        count = _reciprocal(i, k, neighbours, own)
        found = np.empty(count * (half + 1), np.int32)
        found[:count] = own[:count]
        total = count
        for a in range(count):
            size = _reciprocal(own[a], half, neighbours, other)
            common = 0
            for b in range(size):
                if np.any(own[:count] == other[b]):
                    common += 1
            if 3 * common > 2 * size:
                found[total : total + size] = other[:size]
                total += size
        unique = np.unique(found[:total])
        counts[row] = unique.size
        heaviest = 0.0
        own_weights = np.empty(unique.size)
        for t in range(unique.size):
            own_weights[t] = np.exp(-_original(cosine, features, i, unique[t], lengths) / farthest[i])
            heaviest += own_weights[t]
        for t in range(unique.size):
            members[row, t] = unique[t]
            weights[row, t] = own_weights[t] / heaviest


def _combine(
    block: NDArray[Any],
    first: int,
    num_query: int,
    share: float,
    farthest: NDArray[np.float64],
    starts: NDArray[np.int32],
    members: NDArray[np.int32],
    weights: NDArray[np.float32],
    holder_starts: NDArray[np.int32],
    holders: NDArray[np.int32],
    holder_weights: NDArray[np.float32],
) -> None:
    """Turn distances of queries from `first` on to the gallery, [b, G], into the final ones.

    `holders` lists the sets that contain each image: only these overlap.
    """
    for row in prange(len(block)):
        i = first + row
        overlap = np.zeros(num_query + block.shape[1])
        for t in range(starts[i], starts[i + 1]):
            member = members[t]
            for u in range(holder_starts[member], holder_starts[member + 1]):
                overlap[holders[u]] += min(weights[t], holder_weights[u])
        for j in range(block.shape[1]):
            jaccard = 1 - overlap[num_query + j] / (2 - overlap[num_query + j])
            block[row, j] = (1 - share) * jaccard + share * block[row, j] / farthest[i]


nearest = Kernel(_nearest, **_STRICT)
expand = Kernel(_expand, **_STRICT)
combine = Kernel(_combine, **_STRICT)
