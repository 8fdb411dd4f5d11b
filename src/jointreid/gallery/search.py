"""Search: every image compared where there are few, the index where there are many.

Letters: N rows of the gallery, D dimensions of a feature.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.gallery.answers import Person, SearchResult, group
from jointreid.gallery.filters import Filter
from jointreid.gallery.index import REFINE, index_state
from jointreid.gallery.mirror import Mirror
from jointreid.gallery.rows import Floats

# Below this many images, in all or after a filter, every one is compared.
EXACT_BELOW = 200_000

# Features gathered at once from the rows that a filter leaves: 4 MiB of 512 dimensions.
_GATHERED = 2048
# Images asked of the index at once, until they are of enough people.
_MOST_FROM_INDEX = 4096


def search_mirror(
    mirror: Mirror,
    open_table: Callable[[], Any],
    query: Floats,
    top: int,
    images: int,
    where: Filter | None,
    threshold: float | None,
) -> SearchResult:
    """Return the nearest people, see `Gallery.search`; `query` [D] has length 1."""
    total = len(mirror.row_ids)
    chosen = None if where is None else np.flatnonzero(where.mask(mirror.rows))
    searched = total if chosen is None else len(chosen)
    table = open_table() if searched >= EXACT_BELOW else None
    exact = table is None or index_state(table) is None
    if exact:
        people = _exactly(mirror, query, chosen, top, images)
    else:
        people = _by_index(mirror, table, query, where, top, images)
    return SearchResult(tuple(people), threshold, searched, total, exact)


def similarities(features: Floats, query: Floats, chosen: NDArray[np.int64] | None = None) -> Floats:
    """Return the cosine similarity of features [N, D] of length 1 to a query [D], [N] or that of the chosen rows."""
    if chosen is None or len(chosen) == len(features):
        return np.asarray(features @ query)
    found = np.empty(len(chosen), dtype=np.float32)
    for start in range(0, len(chosen), _GATHERED):
        some = chosen[start : start + _GATHERED]
        np.dot(features[some], query, out=found[start : start + len(some)])
    return found


def nearest(scores: Floats, count: int) -> NDArray[np.int64]:
    """Return where the largest scores are, the largest first; of equal ones the earlier first."""
    if count < len(scores):
        bound = scores[np.argpartition(-scores, count - 1)[count - 1]]
        candidates = np.flatnonzero(scores >= bound)
    else:
        candidates = np.arange(len(scores))
    return candidates[np.argsort(-scores[candidates], kind="stable")][:count]


def _exactly(mirror: Mirror, query: Floats, chosen: NDArray[np.int64] | None, top: int, images: int) -> list[Person]:
    scores = similarities(mirror.features, query, chosen)
    people = mirror.people if chosen is None else mirror.people[chosen]
    count = 16 * top
    while True:
        found = _first_of_each(people[nearest(scores, count)])
        if len(found) >= top or count >= len(scores):
            break
        count *= 8
    # All images of these people, of which the nearest are listed.
    theirs = np.flatnonzero(np.isin(people, found[:top]))
    best = theirs[np.argsort(-scores[theirs], kind="stable")]
    return _people(mirror, best if chosen is None else chosen[best], scores[best], images)


def _by_index(mirror: Mirror, table: Any, query: Floats, where: Filter | None, top: int, images: int) -> list[Person]:
    """Return the nearest people among the images that the index finds; their lists may lack images."""
    count = max(64, 4 * top * images)
    while True:
        asked = table.search(query, vector_column_name="feature").distance_type("cosine").limit(count)
        if where is not None:
            asked = asked.where(where.expression(), prefilter=True)
        found = asked.refine_factor(REFINE).select(["_distance"]).with_row_id(True).to_arrow()
        rows = mirror.positions(found["_rowid"].to_numpy())
        if len(_first_of_each(mirror.people[rows])) >= top or count >= _MOST_FROM_INDEX or len(rows) < count:
            return _people(mirror, rows, 1 - found["_distance"].to_numpy(), images)[:top]
        count *= 4


def _first_of_each(people: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the different values, in the order in which they first occur."""
    values, first = np.unique(people, return_index=True)
    return values[np.argsort(first)]


def _people(mirror: Mirror, rows: NDArray[np.int64], scores: Floats, images: int) -> list[Person]:
    """Return the people of rows that are sorted by score, the nearest first, with their nearest images."""
    people = mirror.people[rows]
    seen: dict[int, int] = {}
    listed = []
    for at, person in enumerate(people.tolist()):
        seen[person] = seen.get(person, 0) + 1
        if seen[person] <= images:
            listed.append(at)
    return group(mirror.rows.take(rows[listed]).to_pylist(), [float(score) for score in scores[listed]])
