"""The table of a gallery in LanceDB: append, delete, and rewrite so that nothing of what was removed is left.

LanceDB keeps removed rows in its data, index, version and transaction files after `delete()`, and after `optimize()`
where the table has a single fragment. What it keeps for good is what a new version refers to: so an erasure writes all
other rows into a new version, then removes every older version and every file that no version refers to.
"""

import json
import os
import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.gallery.columns import METADATA, TABLE, schema
from jointreid.gallery.index import change_index, index_state, index_work
from jointreid.gallery.index_process import INDEX_FILES, change_index_apart, end_builds
from jointreid.gallery.rows import BATCH, FeatureModel, FeatureRows, Floats
from jointreid.machine.extras import library
from jointreid.machine.files import remove, write_atomically
from jointreid.machine.hashing import text_sha256
from jointreid.machine.locks import LockHeld, ProcessLock, lock_files, locked
from jointreid.machine.paths import is_uri, user_cache_folder, user_path, without_password
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

FORMAT_VERSION = 1

# What stays if a process dies in the middle of an erasure; whoever opens the gallery next ends it.
_ERASING = "erasing"
# Metadata of the column `key` from the first removal without erasure on; a table that is written anew has none.
_KEEPS_REMOVED = "keeps_removed"
_MIRROR_LOCK, _WRITE_LOCK = "mirror.lock", "write.lock"
_LOCKS = tuple(file.name for lock in (_MIRROR_LOCK, _WRITE_LOCK) for file in lock_files(Path(lock)))
# What may be in the gallery's folder.
_FILES = (f"{TABLE}.lance", "mirror", *_LOCKS, *INDEX_FILES, _ERASING)


@dataclass(frozen=True)
class Facts:
    """What holds for all rows of a gallery.

    Attributes:
        model: that made the features.
        dims: D, dimensions of a feature.
        generation: another one after each rewriting of the table.
        created: when, in ISO 8601.
    """

    model: FeatureModel
    dims: int
    generation: str
    created: str


class Store:
    """The table of a gallery.

    Args:
        uri: a folder, or an object store's `s3://...`, `gs://...` or `az://...`.

    Attributes:
        uri: the folder as an absolute path, or the object store.
        folder: on this machine, for locks and the mirror: the gallery's own, or one in the user's cache.
    """

    def __init__(self, uri: str | Path) -> None:
        self.is_local = not is_uri(str(uri))
        self.uri = os.path.abspath(user_path(uri)) if self.is_local else str(uri)
        if (shown := without_password(self.uri)) != self.uri and not self.is_local:
            raise JointreidError(
                f"{shown}: holds a password, which messages and the list of processes would show; give it in the "
                "environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if self.is_local:
            self.folder = Path(self.uri)
        else:
            cache = user_cache_folder()
            if cache is None:
                raise JointreidError(f"{uri}: a gallery in an object store needs a cache folder; set JOINTREID_CACHE")
            self.folder = cache / "galleries" / text_sha256(self.uri)[:16]
        self._db: Any = None
        self._table: Any = None

    @property
    def mirror(self) -> Path:
        """The folder of the mirror."""
        return self.folder / "mirror"

    @property
    def mirror_lock(self) -> Path:
        """The file that whoever builds or removes the mirror locks."""
        return self.folder / _MIRROR_LOCK

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of those who change the table; others wait.

        Raises:
            JointreidError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self._write_lock):
                self._end_erasure()
                yield
        except OSError as error:
            raise JointreidError(f"{self.uri}: cannot be written: {error.strerror or error}") from error
        except RuntimeError as error:  # LanceDB's, for a full disk and an object store that does not answer
            raise JointreidError(f"{self.uri}: LanceDB cannot change the table: {_first_line(error)}") from error

    def end_erasure(self) -> None:
        """End an erasure that was interrupted, unless somebody writes now: who does has ended it already."""
        if not (self.folder / _ERASING).exists():
            return
        lock = ProcessLock(self._write_lock)
        try:
            lock.acquire()
        except LockHeld:
            return
        try:
            self._end_erasure()
        finally:
            lock.release()

    def exists(self) -> bool:
        """Return whether there is a table."""
        if self.is_local and not (self.folder / f"{TABLE}.lance").is_dir():
            return False
        database = self._connected()
        try:
            database.open_table(TABLE)
        except (FileNotFoundError, ValueError):
            return False
        return True

    def is_unused(self) -> bool:
        """Return whether the table never got a row, or none is left of those it had: it is of no model then."""
        return not self.table().count_rows() and not self.keeps_removed()

    def table(self) -> Any:
        """Return LanceDB's table, which always reads the newest version.

        Raises:
            JointreidError: there is none.
        """
        table = self._table  # another thread may forget it meanwhile
        if table is None:
            table = self._table = self.open_table()
        return table

    def forget(self) -> None:
        """Open the table anew at its next use."""
        self._db = self._table = None

    def open_table(self) -> Any:
        """Return LanceDB's table, opened anew.

        Raises:
            JointreidError: there is none.
        """
        if self.is_local and not (self.folder / f"{TABLE}.lance").is_dir():
            raise JointreidError(f"{self.uri}: is no gallery; `jointreid gallery add` makes one")
        database = self._connected()
        try:
            return database.open_table(TABLE)
        except (FileNotFoundError, ValueError) as error:
            raise JointreidError(f"{self.uri}: is no gallery; `jointreid gallery add` makes one") from error

    def facts(self) -> Facts:
        """Return what holds for all rows.

        Raises:
            JointreidError: there is no table, or it was written by a later version of this program.
        """
        try:
            plain = json.loads(self.table().schema.metadata[METADATA])
            version = plain.pop("format_version")
            if version == FORMAT_VERSION:
                return Facts(FeatureModel(**plain.pop("model")), **plain)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, JointreidError):
                raise
            raise JointreidError(f"{self.uri}: holds a table of another kind than a gallery's") from error
        raise JointreidError(f"{self.uri}: is a gallery of format {version}; this version reads {FORMAT_VERSION}")

    def require_free(self) -> None:
        """Refuse to make a gallery in a folder of other files.

        Raises:
            JointreidError: there are some.
        """
        folder = Path(self.uri)
        if self.is_local and folder.is_dir():
            others = sorted({path.name for path in folder.iterdir()} - set(_FILES))
            if others:
                raise JointreidError(
                    f"{self.uri}: holds other files than a gallery's ({first_few(others)}); name a new folder"
                )

    def create(self, rows: FeatureRows) -> None:
        """Make an empty table for rows of this kind, in the place of an unused one."""
        facts = Facts(rows.model, rows.dims, _generation(), datetime.now(UTC).isoformat("T", "seconds"))
        empty = schema(rows.dims, _plain(facts))
        self._table = self._connected().create_table(TABLE, schema=empty, mode="overwrite")

    def append(self, rows: FeatureRows, keep: NDArray[np.bool_]) -> None:
        """Append the rows that are marked in `keep`, bool [N], all in one new version.

        Raises:
            JointreidError: a feature is not one, see `FeatureRows.normalised`.
        """
        import pyarrow as pa

        table = self.table()
        target, metadata = table.schema, rows.metadata.filter(pa.array(keep))
        causes: list[JointreidError] = []

        def parts() -> Iterator[Floats]:
            try:
                yield from rows.normalised()
            except JointreidError as error:
                causes.append(error)
                raise

        def batches() -> Iterator[Any]:
            start = written = 0
            for whole in parts():
                part = whole[keep[start : start + len(whole)]]
                start += len(whole)
                if not len(part):
                    continue
                feature = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), rows.dims)
                columns = dict(_columns(metadata.slice(written, len(part))))
                written += len(part)
                arrays = [feature if name == "feature" else columns[name] for name in target.names]
                yield pa.RecordBatch.from_arrays(arrays, schema=target)

        try:
            table.add(pa.RecordBatchReader.from_batches(target, batches()))
        except RuntimeError:  # LanceDB's, around ours
            if causes:
                raise causes[0] from None
            raise

    def keys(self) -> Any:
        """Return the keys of all rows, as an Arrow array."""
        return self.table().search().select(["key"]).to_arrow()["key"].combine_chunks()

    def delete(self, keys: Sequence[str]) -> None:
        """Remove rows from what is found; their bytes stay in the files until the table is rewritten."""
        from lancedb.expr import col, lit

        if not self.keeps_removed():  # said first: a process may die between the two
            self.table().update_field_metadata({"path": "key", "metadata": {_KEEPS_REMOVED: "yes"}})
        self.table().delete(col("key").isin([lit(key) for key in keys]))

    def keeps_removed(self) -> bool:
        """Return whether rows were removed since the table was last written anew: its files may hold their bytes."""
        return _KEEPS_REMOVED.encode() in (self.table().schema.field("key").metadata or {})

    def rewrite(self, removed: NDArray[np.uint64]) -> None:
        """Write the table without some rows, given by row id, and remove all that is left of former versions.

        The index goes too; it must be built again. The caller holds the lock of writers.
        """
        import pyarrow as pa

        with locked(self.mirror_lock):
            write_atomically(self.folder / _ERASING, "")
            table = self.table()
            facts = self.facts()
            facts = replace(facts, generation=_generation())
            target = schema(facts.dims, _plain(facts))

            def batches() -> Iterator[Any]:
                for batch in table.search().with_row_id(True).to_batches(BATCH):
                    kept = batch.filter(pa.array(~np.isin(batch.column("_rowid").to_numpy(), removed)))
                    if kept.num_rows:
                        yield pa.RecordBatch.from_arrays([kept.column(name) for name in target.names], schema=target)

            reader = pa.RecordBatchReader.from_batches(target, batches())
            self._table = self._connected().create_table(TABLE, reader, mode="overwrite")
            self._remove_leftovers()

    def update_index(self) -> None:
        """Build the index of a table that has grown large, or take its new rows into it."""
        if work := index_work(self.table()):
            change_index_apart(self.uri, self.folder, work)

    @property
    def _write_lock(self) -> Path:
        return self.folder / _WRITE_LOCK

    def _end_erasure(self) -> None:
        end_builds(self.folder)
        if (self.folder / _ERASING).exists() and self.exists():
            with locked(self.mirror_lock):
                self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Remove the mirror, every version but the newest, and the files that it does not refer to."""
        remove(self.mirror)
        if index_state(self.table()):  # an erasure was interrupted before the table was written anew
            change_index_apart(self.uri, self.folder, "clean")
        else:
            with warnings.catch_warnings():
                # LanceDB warns that readers of older versions will fail; ours read again.
                warnings.simplefilter("ignore", UserWarning)
                change_index(self.table(), "clean")
        (self.folder / _ERASING).unlink(missing_ok=True)

    def _connected(self) -> Any:
        database = self._db  # as in `table`
        if database is None:
            lancedb = library("lancedb", "a gallery is kept", "gallery")
            database = self._db = lancedb.connect(self.uri, read_consistency_interval=timedelta(0))
        return database


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _generation() -> str:
    return secrets.token_hex(8)


def _plain(facts: Facts) -> Mapping[str, Any]:
    return {"format_version": FORMAT_VERSION, **asdict(facts)}


def _columns(table: Any) -> Iterator[tuple[str, Any]]:
    """Yield the columns of a table, each as one array."""
    for name in table.column_names:
        column = table[name].combine_chunks()
        yield name, column.chunk(0) if hasattr(column, "chunks") else column
