"""The mirror beside a table: its features as one matrix in a mapped file, and its metadata, for exact search.

A mirror belongs to one version of the table. `state.json` names its files and is replaced last, so a process that dies
leaves the old mirror or the new one. Where rows were only appended, the matrix is appended to.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jointreid.gallery.columns import METADATA, TEXT_COLUMNS
from jointreid.gallery.filters import Filter
from jointreid.gallery.rows import BATCH, Floats
from jointreid.machine.files import sync, write_atomically
from jointreid.machine.locks import locked

if TYPE_CHECKING:
    import pyarrow as pa

_STATE = "state.json"
# Filters whose rows are remembered: searches often repeat one, and of 1,000,000 rows a condition takes 3 ms.
_FILTERS = 4


class UnknownRow(LookupError):
    """The table has another version than the mirror, so that row ids of one mean nothing in the other."""


class Chosen(NamedTuple):
    """Rows that a filter leaves, int64 in ascending order and not to be written to, and how many people are on them."""

    rows: NDArray[np.int64]
    people: int


@dataclass(frozen=True, eq=False)
class Mirror:
    """The rows of one version of a table, N, in the order of their row ids.

    Attributes:
        generation: of the table: another one after each rewriting.
        version: of the table.
        rows: metadata; text columns are dictionary-encoded.
        row_ids: uint64 [N], ascending: LanceDB's names of the rows.
        features: float32 [N, D] of length 1, mapped from a file.
    """

    generation: str
    version: int
    rows: "pa.Table"
    row_ids: NDArray[np.uint64]
    features: Floats

    @cached_property
    def people(self) -> NDArray[np.int64]:
        """Return a number from 0 on for each row [N], equal where domain and pid are; rows without pid differ."""
        domain, pid = (_codes(self.rows[name]) for name in ("domain", "pid"))
        people = (pid + 1) * (domain.max(initial=0) + 2) + domain + 1
        different = np.where(pid < 0, -1 - np.arange(len(pid)), people)
        numbers: NDArray[np.int64] = np.unique(different, return_inverse=True)[1]
        return numbers

    @cached_property
    def images_of_person(self) -> float:
        """How many images a person has on average; an image without pid counts as a person."""
        return len(self.people) / max(1, self.count_people())

    def count_people(self) -> int:
        """Return how many different people are on the rows; a row without pid counts as one."""
        return int(self.people.max(initial=-1)) + 1

    @cached_property
    def choose(self) -> Callable[[Filter], Chosen]:
        """From a filter to what it leaves; the last few answers are remembered."""
        rows, people, everybody = self.rows, self.people, self.count_people()  # not self, which would refer to itself

        @lru_cache(_FILTERS)
        def choose(where: Filter) -> Chosen:
            chosen = np.flatnonzero(where.mask(rows))
            chosen.flags.writeable = False
            seen = np.zeros(everybody, dtype=bool)
            seen[people[chosen]] = True
            return Chosen(chosen, int(seen.sum()))

        return choose

    def positions(self, row_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return where rows are.

        Raises:
            UnknownRow: one is not among them.
        """
        found = np.searchsorted(self.row_ids, row_ids)
        if len(row_ids) and not np.array_equal(self.row_ids[np.minimum(found, len(self.row_ids) - 1)], row_ids):
            raise UnknownRow("a row of the table is not in the mirror: the table has changed meanwhile")
        return found


def refresh(
    folder: Path, lock: Path, table: Any, open_table: Callable[[], Any], current: Mirror | None = None
) -> Mirror:
    """Return the mirror of a table's newest version, which is built or appended to if needed.

    Args:
        folder: of the mirror.
        lock: a file to lock meanwhile.
        table: of LanceDB, which always reads the newest version.
        open_table: opens it once more, to read one version.
        current: a mirror that is open.
    """
    version = table_version(table)
    if current is not None and (current.generation, current.version) == version:
        return current
    with locked(lock):
        frozen = open_table()
        frozen.checkout(frozen.version)  # what others append meanwhile is not seen
        version = table_version(frozen)
        state = _read_state(folder)
        if state is not None and (state["generation"], state["version"]) == version:
            return _open(folder, state)
        return _build(folder, state, frozen, *version)


def table_version(table: Any) -> tuple[str, int]:
    """Return the generation and the version of a table."""
    facts = json.loads(table.schema.metadata[METADATA])
    return facts["generation"], table.version


def _read_state(folder: Path) -> dict[str, Any] | None:
    """Return the state of a mirror whose files are whole; None if there is none."""
    try:
        state: dict[str, Any] = json.loads((folder / _STATE).read_bytes())
        size = (folder / state["features"]).stat().st_size
        whole = size >= 4 * state["count"] * state["dims"] and (folder / state["rows"]).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if whole else None


def _open(folder: Path, state: Mapping[str, Any]) -> Mirror:
    import pyarrow as pa

    with pa.memory_map(str(folder / state["rows"])) as source:
        rows = pa.ipc.open_file(source).read_all()
    shape = state["count"], state["dims"]
    features: Floats = np.zeros(shape, dtype=np.float32)
    if state["count"]:
        features = np.memmap(folder / state["features"], dtype=np.float32, mode="r", shape=shape)
    row_ids = rows["_rowid"].to_numpy()
    return Mirror(state["generation"], state["version"], rows.drop_columns("_rowid"), row_ids, features)


def _build(folder: Path, state: Mapping[str, Any] | None, table: Any, generation: str, version: int) -> Mirror:
    """Write the mirror of a version and open it; `state` is that of the former one."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = _read_rows(table)
    row_ids: NDArray[np.uint64] = rows["_rowid"].to_numpy()
    dims = table.schema.field("feature").type.list_size
    kept = 0
    if state is not None and state["generation"] == generation:
        before = _open(folder, state).row_ids
        if len(before) and np.array_equal(row_ids[: len(before)], before):
            kept = len(before)
    token = secrets.token_hex(8)
    name = state["features"] if state is not None and kept else f"features-{token}.f32"
    with (folder / name).open("r+b" if kept else "w+b") as file:
        file.truncate(4 * dims * len(rows))
    if len(rows) > kept:
        matrix = np.memmap(folder / name, dtype=np.float32, mode="r+", shape=(len(rows), dims))
        _fill(matrix, row_ids, kept, table)
        matrix.flush()
        del matrix
    sync(folder / name)
    _write_rows(rows, folder / f"rows-{token}.arrow")
    new = {"generation": generation, "version": version, "count": len(rows), "dims": dims}
    new |= {"features": name, "rows": f"rows-{token}.arrow"}
    write_atomically(folder / _STATE, json.dumps(new))
    for path in folder.iterdir():
        if path.name not in (_STATE, name, new["rows"]):
            with suppress(PermissionError):  # Windows keeps files that another process maps
                path.unlink()
    return _open(folder, new)


def _read_rows(table: Any) -> "pa.Table":
    """Return all columns but features and thumbnails, and `_rowid`, which they are sorted by."""
    import pyarrow as pa

    names = [name for name in table.schema.names if name not in ("feature", "thumbnail")]
    rows = table.search().select(names).with_row_id(True).to_arrow().sort_by("_rowid")
    for name in (*TEXT_COLUMNS, "file"):
        column = rows[name].combine_chunks()
        column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
        rows = rows.set_column(rows.column_names.index(name), name, column.dictionary_encode().unify_dictionaries())
    return rows.combine_chunks()


def _fill(matrix: Floats, row_ids: NDArray[np.uint64], kept: int, table: Any) -> None:
    """Write the features of the rows from `kept` on; a few are taken one by one, else all rows are read."""
    if kept and len(row_ids) - kept < max(BATCH, kept // 8):
        for start in range(kept, len(row_ids), BATCH):
            wanted = row_ids[start : start + BATCH]
            taken = table.take_row_ids(wanted.tolist()).select(["feature"]).to_arrow()
            matrix[start : start + len(wanted)] = _matrix(taken["feature"].combine_chunks())
        return
    for batch in table.search().select(["feature"]).with_row_id(True).to_batches(BATCH):
        positions = np.searchsorted(row_ids, batch.column("_rowid").to_numpy())
        new = positions >= kept
        if new.any():
            matrix[positions[new]] = _matrix(batch.column("feature"))[new]


def _codes(column: Any) -> NDArray[np.int64]:
    """Return the number of each value of a dictionary-encoded column, int64 [N]; -1 where it is missing."""
    parts = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts]).astype(np.int64)


def _matrix(column: Any) -> Floats:
    """Return lists of D numbers as [n, D]."""
    import pyarrow as pa

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values: Floats = column.flatten().to_numpy()
    return values.reshape(len(column), -1)


def _write_rows(rows: "pa.Table", path: Path) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    sync(path)
