"""The rule of an evaluation for one query: which images of the gallery are right answers, and which do not count."""

from collections.abc import Sequence

import numpy as np

from jointreid.data.records import Domain, ImageRecord
from jointreid.retrieval.distances import Indices


class EvaluationRule:
    """Which images of a gallery are matches of a query, and which are junk to it.

    Args:
        domain: the domain, whose rule it is.
        gallery: the images, those of the evaluation first.
    """

    def __init__(self, domain: Domain, gallery: Sequence[ImageRecord]) -> None:
        self._domain = domain
        self._pids = np.array([record.pid for record in gallery])
        self._camids = np.array([record.camid for record in gallery])
        self._distractor = np.array([record.distractor for record in gallery], dtype=bool)
        self._junk = np.array([record.junk for record in gallery], dtype=bool)

    def split(self, query: ImageRecord, index: int) -> tuple[Indices, Indices, int | None]:
        """Return the indices of a query's matches and of its junk, and its own if it is in the gallery itself.

        Args:
            query: the query.
            index: its index among the queries.
        """
        same = (self._pids == query.pid) & ~self._distractor & ~self._junk & (not query.distractor)
        ignored = same & (self._camids == query.camid) & self._domain.exclude_same_camera
        own = index if self._domain.leave_one_out else None
        matches, junk = same & ~ignored, ignored | self._junk
        if own is not None:
            matches[own] = junk[own] = False
        return np.flatnonzero(matches), np.flatnonzero(junk), own
