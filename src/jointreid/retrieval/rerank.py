"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) without a matrix of all images against all.

Letters: Q queries, G gallery images, N = Q + G, D feature dimensions.

Two images that show one person tend to be among each other's k1 nearest. R(i) contains the images for which that is so,
and the members of their sets of half that width, where more than two thirds of such a set are in R(i). Each set is a
vector of weights exp(-d(i, j) / max_j d(i, j)), of sum 1, and averaged over the k2 nearest images. The final distance
is

    (1 - lambda) (1 - sum_j min(v_i, v_g)_j / sum_j max(v_i, v_g)_j) + lambda d(i, g) / max_j d(i, j),

where d is the squared Euclidean distance, of rows of length 1 under cosine. Neighbours are found block by block, and a
vector has tens of entries where it is not zero, so memory grows with N and not with its square.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from jointreid.config import Metric
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.distances import Features, Floats
from jointreid.retrieval.rerank_numba import combine, expand, nearest

# Images whose sets are made at once, before they are packed.
_ROWS = 4096


def reranked_blocks(
    query: NDArray[Any],
    gallery: NDArray[Any],
    metric: Metric = "cosine",
    *,
    k1: int = 20,
    k2: int = 6,
    share: float = 0.3,
    max_memory: int = 2**30,
    leave_one_out: bool = False,
) -> Iterator[Floats]:
    """Yield blocks [q, G] of the final distances of the queries in turn, for `evaluate_distmat`.

    Pids and cameras are not used: as published, images of the query's camera may be neighbours.

    Args:
        query: [Q, D] real features.
        gallery: [G, D] real features.
        metric: which distance d is; see the module.
        k1: neighbours of a set, without the image itself; all other images if there are fewer.
        k2: nearest images, the image itself among them, whose vectors are averaged; all if there are fewer.
        share: lambda, the part of the original distance.
        leave_one_out: query and gallery are the same images in the same order, each of which exists once.
        max_memory: bytes for blocks of distances, in addition to two copies of the features and about 1 kB an image.

    Raises:
        JointreidError: a setting is out of range, or the features cannot be compared.
    """
    if not (1 <= k2 <= k1 + 1 and 0 <= share <= 1):
        raise JointreidError(f"k1 {k1}, k2 {k2}, share {share}: expected 1 <= k2 <= k1 + 1, and a share in [0, 1]")
    images = gallery if leave_one_out else np.concatenate([query, gallery])
    before = len(images) - len(gallery)  # images that are no gallery images
    features = Features(images, images, metric, max_memory)
    neighbours, farthest = _neighbours(features, min(k1 + 1, len(images)))
    vectors = _expanded(features, neighbours, farthest, k1)
    if k2 > 1:
        vectors = _averaged(vectors, neighbours[:, :k2])
    holders = vectors.tocsc()
    indices = vectors.indptr, vectors.indices, vectors.data, holders.indptr, holders.indices, holders.data
    for first, block in features.blocks(np.arange(len(query))):
        final = block[:, before:].copy()
        combine(final, first, before, np.float64(share), farthest, *indices)
        yield final


def _neighbours(features: Features, count: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return [N, count] the nearest images of each, itself among them, and [N] its distance to the farthest."""
    number = len(features.gallery)
    neighbours, farthest = np.empty((number, count), dtype=np.int32), np.empty(number)
    for first, block in features.blocks(np.arange(number)):
        nearest(block, first, features.cosine, features.gallery, features.lengths, neighbours)
        farthest[first : first + len(block)] = block.max(axis=1)
    # Where all images are the same, all distances are 0, whatever they are divided by.
    return neighbours, np.where(farthest > 0, farthest, 1)


def _expanded(features: Features, neighbours: NDArray[np.int32], farthest: NDArray[np.float64], k1: int) -> Any:
    """Return the vectors of the expanded k-reciprocal sets, sparse [N, N], from the neighbours [N, k] of each image."""
    number, k = neighbours.shape
    half = min(int(np.around(k1 / 2)) + 1, k)
    parts = []
    for first in range(0, number, _ROWS):
        rows = min(_ROWS, number - first)
        counts, shape = np.empty(rows, dtype=np.int64), (rows, min(number, k * (half + 1)))
        members, weights = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32)
        pairs = features.cosine, features.gallery, features.lengths
        expand(first, k, half, *pairs, farthest, neighbours, counts, members, weights)
        used = np.arange(shape[1]) < counts[:, None]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        parts.append(sparse.csr_array((weights[used], members[used], starts), shape=(rows, number)))
    return sparse.vstack(parts, format="csr")


def _averaged(vectors: Any, neighbours: NDArray[np.int32]) -> Any:
    """Return the mean of the vectors of the neighbours [N, k2] of each image."""
    number, k2 = neighbours.shape
    starts = np.arange(0, number * k2 + 1, k2, dtype=np.int32)
    mean = sparse.csr_array((np.full(number * k2, 1 / k2, np.float32), neighbours.ravel(), starts), shape=(number,) * 2)
    averaged = mean @ vectors
    averaged.sort_indices()
    return averaged
