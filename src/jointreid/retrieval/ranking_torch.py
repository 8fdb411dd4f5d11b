"""The ranks of matches as `distances` computes them, by PyTorch's operations alone, for features on a GPU.

Letters: Q queries, G gallery images, D feature dimensions, q queries of a block, m the most matches that one has, p
pairs. A distance is summed in float64 over D in blocks of one fixed shape, so it depends on its two rows alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from jointreid.config import Metric
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.distances import (
    Indices,
    Relevance,
    checked_lengths,
    is_moderate,
    relative_margins,
)

# Pairs whose distances are computed at once.
_PAIRS = 2048
# Bytes that a block takes for each of its distances: the product, its copy in float64, positions, masks.
_EACH = 48


@torch.no_grad()
def ranks(query: Tensor, gallery: Tensor, metric: Metric, max_memory: int, relevance: Relevance) -> Indices:
    """Return what `Features(query, gallery, metric, max_memory).ranks(relevance)` does, on the device of the features.

    Args:
        query: [Q, D] real features.
        gallery: [G, D] real features, on the same device.
        metric: cosine or euclidean.
        max_memory: bytes on the device for distances, in addition to features in float32 or float64.
        relevance: the matches of the queries.

    Returns:
        [M], the ascending ranks of each query's matches.

    Raises:
        JointreidError: as of `Features`.
    """
    if query.shape[1] != gallery.shape[1]:
        raise JointreidError(
            f"query has {query.shape[1]} features a row and gallery {gallery.shape[1]}; expected the same number"
        )
    with _full_float32():
        pairs = _Pairs(query, gallery, metric)
        rows = max(1, max_memory // (_EACH * len(gallery)))
        starts = range(0, relevance.queries.size, rows)
        parts = [_ranks_of_block(pairs, relevance, slice(start, start + rows)) for start in starts]
    return np.concatenate(parts)


class _Pairs:
    """The distances of queries and gallery images."""

    def __init__(self, query: Tensor, gallery: Tensor, metric: Metric) -> None:
        narrow = {query.dtype, gallery.dtype} <= {torch.float16, torch.bfloat16, torch.float32}
        kind = torch.float32 if narrow else torch.float64
        self.cosine = metric == "cosine"
        self.query, self.gallery = (_aligned(part.to(kind)) for part in (query, gallery))
        self.q_lengths, self.g_lengths = _lengths(self.query), _lengths(self.gallery)
        lengths = [
            checked_lengths(name, part, length.cpu().numpy(), self.cosine)
            for name, part, length in (("query", self.query, self.q_lengths), ("gallery", self.gallery, self.g_lengths))
        ]
        self.kind = kind if is_moderate(lengths[0], lengths[1], self.cosine) else torch.float64
        known = np.dtype(np.float32 if self.kind == torch.float32 else np.float64)
        self.margin, self.bound = relative_margins(query.shape[1], known)

    def block(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distances [q, G] of queries as a product gives them, in float64, and their reach [q]."""
        rows, scale = self.query[chosen].to(self.kind), self.g_lengths
        if self.cosine:
            rows = rows / self.q_lengths[chosen, None].to(self.kind)
            return -(rows @ self.gallery.to(self.kind).T).double() / scale, torch.ones_like(self.q_lengths[chosen])
        squares = self.q_lengths[chosen, None] ** 2 + scale**2
        reach = (self.q_lengths[chosen] + scale.max()) ** 2
        return squares - 2 * (rows @ self.gallery.to(self.kind).T).double(), reach

    def exact_distances(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the distances [p] of pairs, each from the two rows alone."""
        parts = []
        for start in range(0, len(rows), _PAIRS):
            here, there = rows[start : start + _PAIRS], columns[start : start + _PAIRS]
            count = len(here)
            here, there = (torch.nn.functional.pad(part, (0, _PAIRS - count)) for part in (here, there))
            one, other = self.query[here].double(), self.gallery[there].double()
            if self.cosine:
                found = -(one * other).sum(1) / (self.q_lengths[here] * self.g_lengths[there])
            else:
                found = (one - other).square_().sum(1)
            parts.append(found[:count])
        return torch.cat(parts) if parts else self.q_lengths[:0]


def _ranks_of_block(pairs: _Pairs, relevance: Relevance, chosen: slice) -> Indices:
    """Return the ascending ranks of the matches of some queries."""
    device = pairs.query.device
    queries = torch.as_tensor(relevance.queries[chosen], device=device)
    starts = relevance.starts[chosen.start : chosen.start + len(queries) + 1]
    counts = torch.as_tensor(np.diff(starts), device=device)
    known = torch.arange(int(counts.max()), device=device) < counts[:, None]  # q m
    columns = torch.zeros(known.shape, dtype=torch.int64, device=device)
    columns[known] = torch.as_tensor(relevance.matches[starts[0] : starts[-1]], device=device)
    codes = (torch.as_tensor(part, device=device) for part in (relevance.query_codes, relevance.gallery_codes))
    query_codes, gallery_codes = codes
    same = query_codes[queries, None] == gallery_codes  # q G

    values, reach = pairs.block(queries)
    thresholds = torch.full(known.shape, torch.inf, dtype=torch.float64, device=device)
    thresholds[known] = pairs.exact_distances(queries.repeat_interleave(counts), columns[known])
    off = (values.gather(1, columns) - thresholds).abs().masked_fill_(~known, 0).amax(1)
    margin = torch.where(off <= pairs.margin * reach / 4, pairs.margin * reach, pairs.bound * reach)[:, None]
    thresholds, order = thresholds.sort(dim=1, stable=True)
    columns = columns.gather(1, order)

    # The first match that is not surely behind each image; if not surely ahead either, its distance is computed.
    low = torch.searchsorted(thresholds, values - margin)
    low[same] = known.shape[1]
    next_one = torch.nn.functional.pad(thresholds, (0, 1), value=torch.inf).gather(1, low)
    rows, places = torch.nonzero((next_one <= values + margin) & next_one.isfinite(), as_tuple=True)
    distances = pairs.exact_distances(queries[rows], places)
    for start in range(0, len(rows), _PAIRS):
        part = slice(start, start + _PAIRS)
        row, place, distance = rows[part], places[part], distances[part, None]
        nearer = thresholds[row] < distance
        equal = (thresholds[row] == distance) & (columns[row] < place[:, None])
        low[row, place] = (nearer | equal).sum(1)
    ahead = torch.zeros((len(queries), known.shape[1] + 1), dtype=torch.int64, device=device)
    ahead.scatter_add_(1, low, torch.ones_like(low))
    found = ahead[:, :-1].cumsum(1) + torch.arange(1, known.shape[1] + 1, device=device)
    result: Indices = found[known].cpu().numpy()
    return result


def _aligned(rows: Tensor) -> Tensor:
    """Add columns of zeros up to a multiple of 4: a GPU sums rows that start elsewhere in another order."""
    return torch.nn.functional.pad(rows, (0, -rows.shape[1] % 4))


def _lengths(rows: Tensor) -> Tensor:
    """Return the length of each row, always summed in blocks of one size, so that equal rows have equal lengths."""
    parts = []
    for part in torch.split(rows, _PAIRS):
        whole = torch.nn.functional.pad(part, (0, 0, 0, _PAIRS - len(part))).double()
        parts.append(whole.square_().sum(1)[: len(part)])
    return torch.cat(parts).sqrt_()


@contextmanager
def _full_float32() -> Iterator[None]:
    """Multiply without TF32 or bfloat16, even if the program chose them for its network."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
