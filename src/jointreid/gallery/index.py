"""The index of a large table: IVF_HNSW_SQ over features, and indexes of columns that filters name.

HNSW with features of 8 bits finds neighbours also among the few that a filter leaves, where product quantisation
misses most; `search.py` compares the best again with whole features.
"""

from datetime import timedelta
from typing import Any, Literal

# Below this many images every one is compared, and no index is needed.
EXACT_BELOW = 200_000
# Below this many images that a filter leaves of a table with an index, every one is compared. Their features lie
# scattered: of 1,000,000 x 512 on two cores, 200,000 rows take 51 ms (p99 84 ms), while the index finds the nearest of
# the 300,000 that another filter leaves in at most 42 ms (p99) with recall 0.993.
EXACT_FILTERED = 100_000

# Candidates among which each row's neighbours are looked for when the index is built (LanceDB's `ef_construction`). Of
# 1,000,000 x 512, indexes built with 150 found 98.4 to 99.5 % of the 10 nearest images, however many candidates a
# search looked at; one built with 300, in about twice the time, found all of them.
EFFORT = 300

_FEATURE = "feature"
# How LanceDB looks up the rows that a filter leaves: few different values, or an order. Without that of keys, 30 small
# images of 1,000,000 rows take 136 ms, with it 9 ms.
_BITMAPS = ("camera", "domain", "source", "consent")
_TREES = ("key", "pid", "name", "time", "retention")

# Rows that no index holds are compared one by one; above this many the index takes them in.
_UNINDEXED = 20_000


# What is done with the index: build it, take new rows into it, or remove what is left of former versions of the table.
IndexWork = Literal["build", "extend", "clean"]


def index_work(table: Any) -> IndexWork | None:
    """Return what the index of a table needs; a table of less than `EXACT_BELOW` rows needs none."""
    state = index_state(table)
    if state is None:
        return "build" if table.count_rows() >= EXACT_BELOW else None
    return "extend" if state["unindexed"] > _UNINDEXED else None


def change_index(table: Any, work: IndexWork) -> None:
    """Change the index of a table; the caller holds the lock of writers.

    Args:
        table: of LanceDB.
        work: "build" makes the index over features and those of columns, also where there are some. "extend" takes new
            rows into them, and joins small files of the table. "clean" does that too, and removes every version of the
            table but the newest, with the files that no version refers to; rows removed without erasure may stay in
            those that are left. The first two write codes of all features to the folder of TMPDIR meanwhile, see
            `index_process.py`.

    Raises:
        OSError, RuntimeError: LanceDB's, such as for a full disk or an object store that does not answer.
    """
    if work == "build":
        _build(table)
    elif work == "extend":
        table.optimize()
    else:
        table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)


def _build(table: Any) -> None:
    from lancedb.index import Bitmap, BTree, HnswSq

    for names, config in ((_BITMAPS, Bitmap()), (_TREES, BTree())):
        for name in names:
            table.create_index(name, config=config, replace=True)
    table.create_index(_FEATURE, config=HnswSq(distance_type="cosine", ef_construction=EFFORT), replace=True)


def read_index(table: Any) -> None:
    """Read the index over features into memory, if there is one; else its first searches read it."""
    for index in table.list_indices():
        if index.columns == [_FEATURE]:
            table.prewarm_index(index.name)


def index_state(table: Any) -> dict[str, Any] | None:
    """Return kind, and rows with and without, of the index over features; None if there is none."""
    for index in table.list_indices():
        if index.columns == [_FEATURE]:
            return {
                "kind": "IVF_HNSW_SQ",
                "indexed": index.num_indexed_rows,
                "unindexed": index.num_unindexed_rows,
            }
    return None
