"""Exact CMC, mAP and mINP in bounded memory: pure functions of arrays.

Letters: Q queries, V of them valid, G gallery images, D feature dimensions, m matches of one query.

A gallery image with the query's pid is a match; if it is from the query's camera too and `exclude_same_camera` holds,
it is ignored instead, as if it were not in the gallery. With `leave_one_out` the queries are the gallery, and each
ignores itself, by its index and not by its distance. A query without a match is not valid: it is skipped and
reported. No pid is special: a distractor is a gallery image whose pid no query has, and junk is left out beforehand.

The gallery images that are not ignored are ranked by distance, equal distances by gallery index, from rank 1. With
r_1 < ... < r_m the ranks of a query's matches,

    AP = (1/m) sum_k k / r_k,    INP = m / r_m,    CMC@k = share of the valid queries with r_1 <= k,

and mAP and mINP are the means of AP and INP over the valid queries. AP is the plain sum over the whole list (not the
trapezoid, no cut-off); INP is that of AGW. `distances` finds the ranks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jointreid.config import Metric
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.distances import Features, Floats, Indices, count_given
from jointreid.retrieval.ranking_inputs import RankingLabels, matrix, require_count, to_array

# Rows of given distances that are converted and ranked at once.
_ROWS = 512


@dataclass(frozen=True, eq=False)
class RankingMetrics:
    """The metrics of a ranking, in [0, 1].

    Attributes:
        cmc: float64 [max_rank]; `cmc[k - 1]` is the share of the valid queries with a match among the first k answers.
            Always max_rank long: beyond the end of a shorter gallery it repeats its last value.
        mAP: mean average precision.
        mINP: mean inverse negative penalty.
        num_valid_queries: V, the queries that have a match; the others are left out of every metric.
        valid_queries: int64 [V], their indices, ascending.
        skipped_queries: int64 [Q - V], the indices of the others, ascending.
        average_precision: float64 [V], AP of each valid query.
        inverse_negative_penalty: float64 [V], INP of each valid query.
        first_match_rank: int64 [V], r_1 of each valid query, counted from 1.
    """

    cmc: NDArray[np.float64]
    mAP: float
    mINP: float
    num_valid_queries: int
    valid_queries: Indices
    skipped_queries: Indices
    average_precision: NDArray[np.float64]
    inverse_negative_penalty: NDArray[np.float64]
    first_match_rank: Indices


def evaluate_ranking(
    query: ArrayLike,
    gallery: ArrayLike,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike | None = None,
    gallery_camids: ArrayLike | None = None,
    *,
    exclude_same_camera: bool = True,
    metric: Metric = "cosine",
    max_rank: int = 50,
    max_memory: int = 2**30,
    device: Any = None,
    leave_one_out: bool = False,
) -> RankingMetrics:
    """Rank the gallery for every query by the distance of features, and compute its metrics.

    The distance of a pair is -q.g / (|q| |g|) or |q - g|^2 in float64, and depends on the two rows alone: equal gallery
    rows tie exactly, different ones where float64 gives the same number, as it does for small integers. The ranks are
    the same for every max_memory, number of threads and BLAS library; `distances` says how, although float32 features
    are first compared by a float32 product. On a GPU float64 sums have another order, so pairs whose
    distances differ in the last bit may rank otherwise than on a CPU.

    Args:
        query: [Q, D] real features; a NumPy array, or anything that `numpy.asarray` takes.
        gallery: [G, D] real features.
        query_pids: [Q] integers or strings.
        gallery_pids: [G] of the same kind.
        query_camids: [Q] integers; None needs `exclude_same_camera=False`.
        gallery_camids: [G] integers; None needs `exclude_same_camera=False`.
        exclude_same_camera: ignore gallery images that have both the pid and the camid of the query.
        leave_one_out: query and gallery are the same images in the same order, and each is left out of its own list.
        metric: cosine, or euclidean. No feature may be all zeros under cosine: its direction is undefined.
        max_rank: length of the CMC curve.
        max_memory: bytes for distances and copies of features, in addition to some arrays with an entry for each query,
            image and match, and a copy of all features unless they are float32 or float64 in C order. At least one
            query is compared with the whole gallery at a time, which takes 4 G bytes (float32) or 8 G.
        device: a CUDA device, or its name, to compute on; None for the device of the features. Others mean the CPU.

    Raises:
        JointreidError: an argument has the wrong shape, length or kind; a feature is not finite, or is all zeros under
            cosine (the message names the row); no query is valid (the message names the rule to change).
    """
    if metric not in get_args(Metric):
        raise JointreidError(f"metric is {metric!r}; expected one of {', '.join(get_args(Metric))}")
    require_count("max_rank", max_rank)
    require_count("max_memory", max_memory)
    labels = RankingLabels(query_pids, gallery_pids, query_camids, gallery_camids, exclude_same_camera, leave_one_out)
    if str(device if device is not None else getattr(query, "device", "")).startswith("cuda"):
        ranks = _ranks_on(device, query, gallery, metric, max_memory, labels)
    else:
        queries = matrix("query", query, labels.num_queries)
        features = Features(queries, matrix("gallery", gallery, labels.num_gallery), metric, max_memory)
        ranks = features.ranks(labels.relevance)
    return _metrics(ranks, labels, max_rank)


def evaluate_distmat(
    distmat_or_chunks: ArrayLike | Iterable[ArrayLike],
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike | None = None,
    gallery_camids: ArrayLike | None = None,
    *,
    exclude_same_camera: bool = True,
    max_rank: int = 50,
    leave_one_out: bool = False,
) -> RankingMetrics:
    """Rank the gallery for every query by given distances, and compute its metrics.

    Distances are compared as they are, in their own precision up to float64; equal ones are ranked by gallery index.

    Here the matches of the first query stand at ranks 1, 3 and 6. The second has one match, at rank 1: the nearer
    image of "b" is from the query's camera and ignored.

        >>> distmat = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.4, 0.1, 0.5, 0.2, 0.6, 0.3]])
        >>> gallery_pids = ["a", "b", "a", "b", "c", "a"]
        >>> metrics = evaluate_distmat(distmat, ["a", "b"], gallery_pids, [0, 1], [1, 1, 1, 0, 0, 1], max_rank=3)
        >>> metrics.average_precision  # (1/1 + 2/3 + 3/6) / 3 and 1/1
        array([0.72222222, 1.        ])
        >>> metrics.inverse_negative_penalty  # 3/6 and 1/1
        array([0.5, 1. ])
        >>> metrics.cmc
        array([1., 1., 1.])

    Args:
        distmat_or_chunks: [Q, G] distances, or an iterable of row blocks [q, G] or rows [G] in the order of the
            queries, one of which is in memory at a time.
        query_pids: [Q] integers or strings.
        gallery_pids: [G] of the same kind.
        query_camids: [Q] integers, as for `evaluate_ranking`.
        gallery_camids: [G] integers, as for `evaluate_ranking`.
        exclude_same_camera: as for `evaluate_ranking`.
        leave_one_out: as for `evaluate_ranking`; an image's distance to itself is not looked at.
        max_rank: length of the CMC curve.

    Raises:
        JointreidError: an argument has the wrong shape, length or kind; a distance is not finite (the message names the
            row); no query is valid (the message names the rule to change).
    """
    require_count("max_rank", max_rank)
    labels = RankingLabels(query_pids, gallery_pids, query_camids, gallery_camids, exclude_same_camera, leave_one_out)
    ranks = np.empty(labels.relevance.matches.size, dtype=np.int64)
    for first, block in _given_blocks(distmat_or_chunks, labels.num_queries, labels.num_gallery):
        count_given(block, first, labels.relevance, ranks)
    return _metrics(ranks, labels, max_rank)


def _ranks_on(device: Any, query: Any, gallery: Any, metric: Metric, max_memory: int, labels: RankingLabels) -> Indices:
    """Return the ranks as PyTorch computes them on a device; None for the device of the query."""
    import torch

    from jointreid.retrieval.ranking_torch import ranks

    target = query.device if device is None else device
    tensors = []
    for name, value, count in (("query", query, labels.num_queries), ("gallery", gallery, labels.num_gallery)):
        given = value if isinstance(value, torch.Tensor) else torch.as_tensor(matrix(name, value, count))
        if given.ndim != 2 or len(given) != count or given.is_complex():
            matrix(name, given.detach().cpu().numpy(), count)  # raises, and says what is wrong
        tensors.append(given.to(target))
    return ranks(tensors[0], tensors[1], metric, max_memory, labels.relevance)


def _metrics(ranks: Indices, labels: RankingLabels, max_rank: int) -> RankingMetrics:
    """Return the metrics of the valid queries, given [M] the ascending ranks of the matches of each."""
    starts = labels.relevance.starts[:-1]
    counts = np.diff(labels.relevance.starts)
    places = np.arange(1, ranks.size + 1) - np.repeat(starts, counts)  # k of each match
    average_precision = np.add.reduceat(places / ranks, starts) / counts
    first, last = ranks[starts], ranks[starts + counts - 1]
    inverse_negative_penalty = counts / last
    hits = np.bincount(first[first <= max_rank], minlength=max_rank + 1)[1:]
    return RankingMetrics(
        cmc=np.cumsum(hits) / first.size,
        mAP=float(average_precision.mean()),
        mINP=float(inverse_negative_penalty.mean()),
        num_valid_queries=first.size,
        valid_queries=labels.relevance.queries,
        skipped_queries=labels.skipped,
        average_precision=average_precision,
        inverse_negative_penalty=inverse_negative_penalty,
        first_match_rank=first,
    )


def _given_blocks(
    distmat_or_chunks: ArrayLike | Iterable[ArrayLike], num_queries: int, num_gallery: int
) -> Iterator[tuple[int, Floats]]:
    """Yield blocks of distances, checked and as float32 or float64, each with the index of its first query."""
    whole = hasattr(distmat_or_chunks, "__array__")
    chunks: Any = (distmat_or_chunks,) if whole else distmat_or_chunks
    if not isinstance(chunks, Iterable):
        raise JointreidError(f"distmat is a {type(chunks).__name__}; expected an array or an iterable of row blocks")
    index = 0
    for number, chunk in enumerate(chunks):
        name = "distmat" if whole else f"distmat block {number}"
        block = matrix(name, np.atleast_2d(to_array(name, chunk)))
        if block.shape[1] != num_gallery or index + len(block) > num_queries:
            raise JointreidError(
                f"{name} has shape {block.shape}; expected {num_queries - index} query rows"
                f"{'' if whole else ' or fewer'} of {num_gallery} distances, as many as pids"
            )
        for start in range(0, len(block), _ROWS):
            yield index + start, _finite(block[start : start + _ROWS], index + start)
        index += len(block)
    if index < num_queries:
        raise JointreidError(f"distmat has {index} rows in all; expected one for each of the {num_queries} query_pids")


def _finite(distances: NDArray[Any], first: int) -> Floats:
    """Return distances as float32 or float64 in C order; `first` is the index of the first query."""
    kind = np.float32 if distances.dtype in (np.float16, np.float32) else np.float64
    converted: Floats = np.ascontiguousarray(distances, dtype=kind)
    finite = np.isfinite(converted.min(axis=1)) & np.isfinite(converted.max(axis=1))
    if not finite.all():
        raise JointreidError(f"distmat row {first + int(finite.argmin())} holds distances that are NaN or infinite")
    return converted
