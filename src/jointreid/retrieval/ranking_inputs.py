"""The arguments of ranking as arrays, checked: features, distances, and the labels that say what matches.

Letters: Q queries, G gallery images. A message names the argument, what it is and what was expected.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jointreid.messages.errors import JointreidError
from jointreid.retrieval.distances import Indices, Relevance


class RankingLabels:
    """The gallery images that match each query, found from pids and camids; arguments as of `evaluate_ranking`.

    Attributes:
        num_queries: Q.
        num_gallery: G.
        relevance: the matches of the queries that have one.
        skipped: the indices of the other queries.

    Raises:
        JointreidError: an argument has the wrong shape, length or kind; no query has a match.
    """

    def __init__(
        self,
        query_pids: ArrayLike,
        gallery_pids: ArrayLike,
        query_camids: ArrayLike | None,
        gallery_camids: ArrayLike | None,
        exclude_same_camera: bool,
        leave_one_out: bool = False,
    ) -> None:
        pids = _labels("query_pids", query_pids), _labels("gallery_pids", gallery_pids)
        if pids[0].dtype.kind != pids[1].dtype.kind:
            raise JointreidError(
                f"query_pids holds {pids[0].dtype} and gallery_pids {pids[1].dtype}, so none can match; expected"
                " integers in both, or strings in both"
            )
        self.num_queries, self.num_gallery = map(len, pids)
        self._query_camids = self._camids("query_camids", query_camids, self.num_queries, exclude_same_camera)
        self._gallery_camids = self._camids("gallery_camids", gallery_camids, self.num_gallery, exclude_same_camera)
        names, codes = np.unique(np.concatenate(pids), return_inverse=True)
        query_codes, gallery_codes = np.split(codes.astype(np.int64, copy=False), [self.num_queries])
        by_pid = np.argsort(gallery_codes, kind="stable")
        bounds = np.searchsorted(gallery_codes[by_pid], np.arange(len(names) + 1))
        self._same_pid = bounds[query_codes + 1] - bounds[query_codes]  # gallery images of each query's pid
        owners = np.repeat(np.arange(self.num_queries), self._same_pid)
        first = np.cumsum(self._same_pid) - self._same_pid
        columns = by_pid[np.arange(owners.size) + (bounds[query_codes] - first)[owners]]
        if self._query_camids is not None and self._gallery_camids is not None:
            matches = self._gallery_camids[columns] != self._query_camids[owners]
            owners, columns = owners[matches], columns[matches]
        self._leave_one_out = leave_one_out
        if leave_one_out:
            if self.num_queries != self.num_gallery or not np.array_equal(query_codes, gallery_codes):
                raise JointreidError(
                    f"leave_one_out=True takes the same images as query and gallery, in one order; found "
                    f"{self.num_queries} queries and {self.num_gallery} gallery images, or other pids"
                )
            owners, columns = owners[owners != columns], columns[owners != columns]
        counts = np.bincount(owners, minlength=self.num_queries)
        self.skipped, queries = np.flatnonzero(counts == 0), np.flatnonzero(counts)
        if not queries.size:
            raise JointreidError(self._no_valid_query())
        starts = np.concatenate([[0], np.cumsum(counts[queries])])
        self.relevance = Relevance(queries, starts, columns, query_codes, gallery_codes)

    @staticmethod
    def _camids(name: str, value: ArrayLike | None, count: int, needed: bool) -> Indices | None:
        if value is not None:
            camids = _labels(name, value, count, strings=False)
            return camids if needed else None
        if needed:
            raise JointreidError(
                f"{name} is None, but exclude_same_camera=True needs the cameras of query and gallery; give them, or"
                " pass exclude_same_camera=False to let every match count"
            )
        return None

    def _no_valid_query(self) -> str:
        if self._leave_one_out:
            return (
                f"no valid query: none of the {self.num_queries} images has another image of its pid"
                f"{' and of another camera' * (self._query_camids is not None)}; leave-one-out needs two of an identity"
            )
        absent = int(np.count_nonzero(self._same_pid == 0))
        if absent == self.num_queries:
            return (
                f"no valid query: the pids of all {absent} queries are missing from gallery_pids; check that query and"
                " gallery come from the same data set and number persons alike"
            )
        return (
            f"no valid query: of {self.num_queries} queries, {self.num_queries - absent} have gallery images of their"
            f" pid from their own camera only, which exclude_same_camera=True ignores, and {absent} have none; pass"
            " exclude_same_camera=False if all images are from one camera or the cameras are unknown"
        )


def matrix(name: str, value: ArrayLike, num_pids: int | None = None) -> NDArray[Any]:
    """Return a matrix of real numbers; with `num_pids`, of so many rows.

    Raises:
        JointreidError: it is not one.
    """
    matrix = to_array(name, value)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise JointreidError(f"{name} has shape {matrix.shape}; expected two dimensions, none of them empty")
    if num_pids is not None and len(matrix) != num_pids:
        raise JointreidError(f"{name} has {len(matrix)} rows, but {name}_pids {num_pids} entries; expected as many")
    if matrix.dtype.kind not in "fiu":
        raise JointreidError(f"{name} holds {matrix.dtype}; expected real numbers")
    return matrix


def _labels(name: str, value: ArrayLike, count: int | None = None, strings: bool = True) -> NDArray[Any]:
    """Return labels as int64, or as strings where allowed; with `count`, so many."""
    labels = to_array(name, value)
    if labels.ndim != 1 or not labels.size or count not in (None, labels.size):
        expected = "one label or more" if count is None else f"{count} labels, one for each pid"
        raise JointreidError(f"{name} has shape {labels.shape}; expected one dimension of {expected}")
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    # A column of strings, as of pandas, comes as objects.
    if strings and all(isinstance(label, str) for label in labels):
        return labels.astype(str)
    raise JointreidError(f"{name} holds {labels.dtype}; expected integers{' or strings' * strings}")


def to_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Return a NumPy array.

    Raises:
        JointreidError: NumPy cannot make one of `value`.
    """
    try:
        on_gpu = getattr(value, "is_cuda", False)  # a tensor to rank on the CPU
        return np.asarray(value.detach().cpu() if on_gpu else value)  # type: ignore[union-attr]
    except (TypeError, ValueError, RuntimeError) as error:
        raise JointreidError(f"{name} cannot be read as an array: {error}") from error


def require_count(name: str, value: int) -> None:
    """Refuse what is not an integer of at least 1.

    Raises:
        JointreidError: the value is another.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise JointreidError(f"{name} is {value!r}; expected an integer >= 1")
