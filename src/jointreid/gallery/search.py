"""Search: every image compared where there are few, the index where there are many.

Letters: N rows of the gallery, D dimensions of a feature.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.gallery import index
from jointreid.gallery.answers import Person, SearchResult, group
from jointreid.gallery.filters import Filter
from jointreid.gallery.mirror import Mirror, UnknownRow, table_version
from jointreid.gallery.rows import Floats

# Features gathered at once from the rows that a filter leaves: 0.5 MiB of 512 dimensions. So many rows need one thread.
_GATHERED, _ALONE = 256, 8192
# Candidates of the index that are compared again with whole features: this many times as many as are wanted, of up to
# this many wanted; a quarter more where many are. Searches for people want many, so that their nearest images are all
# among them.
REFINE, REFINED = 5, 20
# Candidates among which the index looks at least: with fewer, filters that leave a third of the rows cost recall.
EFFORT = 400
# Where a filter leaves at least this share of the rows, the index is asked for more and the filter is applied to them:
# at 1,000,000 rows handing the index the rows that 9 of 10 domains leave takes longer than the search itself.
WIDE = 0.5
# Images asked of the index at once, until they are of enough people.
_MOST_FROM_INDEX = 4096


def search_mirror(
    mirror: Mirror,
    table: Any,
    query: Floats,
    top: int,
    images: int,
    where: Filter | None,
    threshold: float | None,
    *,
    use_index: bool = True,
) -> SearchResult:
    """Return the nearest people, see `Gallery.search`; `query` [D] has length 1.

    Without `use_index` the mirror alone is read, which never changes under a search.

    Raises:
        UnknownRow: the table was changed meanwhile; try again.
    """
    total = len(mirror.row_ids)
    chosen, different = (None, mirror.count_people()) if where is None else mirror.choose(where)
    searched = total if chosen is None else len(chosen)
    enough = index.EXACT_BELOW if chosen is None else index.EXACT_FILTERED
    exact = not use_index or searched < enough or index.index_state(table) is None
    people = None if exact else _by_index(mirror, table, query, where, chosen, min(top, different), images)
    if not exact and table_version(table)[0] != mirror.generation:  # row ids begin again after a rewriting
        raise UnknownRow("the table was written anew during a search")
    if people is None:
        exact, people = True, _exactly(mirror, query, chosen, top, images)
    return SearchResult(tuple(people), threshold, searched, different, total, exact)


def similarities(features: Floats, query: Floats, chosen: NDArray[np.int64] | None = None) -> Floats:
    """Return the cosine similarity of features [N, D] of length 1 to a query [D], [N] or that of the chosen rows."""
    if chosen is None:
        return np.asarray(features @ query)
    if 2 * len(chosen) > len(features):  # reading rows one after the other takes half as long a row
        return np.asarray((features @ query)[chosen])
    found = np.empty(len(chosen), dtype=np.float32)

    def gather(start: int, stop: int) -> None:
        some = np.empty((_GATHERED, features.shape[1]), dtype=np.float32)
        for begin in range(start, stop, _GATHERED):
            rows = chosen[begin : min(begin + _GATHERED, stop)]
            part = some[: len(rows)]
            np.take(features, rows, axis=0, out=part, mode="clip")  # without "clip" it copies once more
            np.dot(part, query, out=found[begin : begin + len(rows)])

    if len(chosen) < _ALONE:
        gather(0, len(chosen))
        return found
    threads = os.cpu_count() or 1
    bounds = np.linspace(0, len(chosen), threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(gather, bounds[:-1], bounds[1:]))
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


def rows_by_index(
    mirror: Mirror, table: Any, query: Floats, where: Filter | None, chosen: NDArray[np.int64] | None, count: int
) -> tuple[NDArray[np.int64], Floats]:
    """Return the nearest rows that the index finds, at most so many, the nearest first, and their similarities.

    The index compares features of 8 bits; more than `count` of its candidates are compared again with whole features.

    Args:
        mirror: of the table.
        table: with an index.
        query: [D], of length 1.
        where: the filter; None for all rows.
        chosen: the rows that it leaves, in ascending order; None for all.
        count: of rows.
    """
    candidates = max(REFINE * min(count, REFINED), count + count // 4)
    share = 1.0 if chosen is None else len(chosen) / len(mirror.row_ids)
    rows = None
    if where is None or chosen is None:
        rows = _candidates(mirror, table, query, None, candidates)
    elif share >= WIDE:
        rows = _candidates(mirror, table, query, None, math.ceil(1.25 * candidates / share))
        rows = rows[chosen[np.searchsorted(chosen, rows) % len(chosen)] == rows]
        rows = rows if len(rows) >= count else None
    if rows is None:
        rows = _candidates(mirror, table, query, where, candidates)
    scores = similarities(mirror.features, query, rows)
    best = nearest(scores, count)
    return rows[best], scores[best]


def _candidates(mirror: Mirror, table: Any, query: Floats, where: Filter | None, count: int) -> NDArray[np.int64]:
    """Return the rows that the index takes for the nearest, in ascending order."""
    asked = table.search(query, vector_column_name="feature").distance_type("cosine")
    asked = asked.limit(count).ef(max(EFFORT, count))
    if where is not None:
        asked = asked.where(where.expression(), prefilter=True)
    found = asked.select(["_distance"]).with_row_id(True).to_arrow()["_rowid"].to_numpy()
    return np.sort(mirror.positions(found))


def _by_index(
    mirror: Mirror,
    table: Any,
    query: Floats,
    where: Filter | None,
    chosen: NDArray[np.int64] | None,
    top: int,
    images: int,
) -> list[Person] | None:
    """Return the nearest people among the images that the index finds; their lists may lack images.

    None if these images are of fewer than `top` people: each has too many of them.
    """
    count = min(max(64, round(1.5 * top * mirror.images_of_person)), _MOST_FROM_INDEX)
    while True:
        rows, scores = rows_by_index(mirror, table, query, where, chosen, count)
        people = mirror.people[rows]
        found = _first_of_each(people)
        if len(found) >= top or count >= _MOST_FROM_INDEX or len(rows) < count:
            if len(found) < top:
                return None
            theirs = np.isin(people, found[:top])
            return _people(mirror, rows[theirs], scores[theirs], images)
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
