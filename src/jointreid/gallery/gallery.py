"""`Gallery`: known people on disk. Add features, search them, remove people for good.

Letters: N rows, D dimensions of a feature.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from jointreid.gallery.answers import SearchResult
from jointreid.gallery.changes import Added, Removed
from jointreid.gallery.filters import Filter, all_of, condition, filter_columns
from jointreid.gallery.index import index_state, read_index
from jointreid.gallery.mirror import Mirror, UnknownRow, refresh
from jointreid.gallery.rows import FeatureRows, Floats
from jointreid.gallery.search import search_mirror
from jointreid.gallery.store import Facts, Store
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

# A search is repeated where others change the table meanwhile.
_ATTEMPTS = 3
# Searches after which, of 1,000,000 images, one takes no longer than later ones: the first takes 0.4 to 4 s.
_WARM_UP = 8

Read = TypeVar("Read")


class Gallery:
    """Known people on disk, or in an object store; may be used by several threads and processes at once.

        gallery = Gallery.open("out/g")
        gallery.add("out/e.parquet")
        found = gallery.search(feature, top=10, where=parse_filter("camera in (3, 7)"))
        gallery.remove(pid="12", purge=True)

    Make one with `Gallery.open`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mirror: Mirror | None = None
        self._refreshing = threading.Lock()

    @classmethod
    def open(cls, uri: str | Path) -> "Gallery":
        """Return the gallery in a folder or an object store; the first addition makes it.

        Raises:
            JointreidError: lancedb is missing, there is no folder for the mirror of an object store, or its URI holds a
                password.
        """
        return cls(Store(uri))

    @property
    def uri(self) -> str:
        """Where it is: an absolute path, or an object store."""
        return self._store.uri

    def exists(self) -> bool:
        """Return whether something was added already."""
        return self._store.exists()

    def facts(self) -> Facts:
        """Return the model whose features it holds, with the path of its run.

        Raises:
            JointreidError: there is no gallery.
        """
        return self._store.facts()

    def add(self, rows: FeatureRows | str | Path) -> Added:
        """Add features, all or none; a process that is killed meanwhile has added none.

        Args:
            rows: the features, or the path of a Parquet file that `jointreid extract` wrote. An image is known by path
                and box: one that is there already stays as it is.

        Raises:
            JointreidError: the features are of another model, damaged, or an image is listed twice with two people.
        """
        rows = rows if isinstance(rows, FeatureRows) else FeatureRows.read(rows)
        if not self._store.exists():
            self._store.require_free()
        with self._store.writing():
            if not self._store.exists() or self._store.is_unused():
                self._store.create(rows)
            self.require_model(rows.model.fingerprint, rows.origin or "the features")
            present, repeated = self._known(rows)
            keep = ~(present | repeated)
            if keep.any():
                self._store.append(rows, keep)
                self._store.update_index()
        return Added(int(keep.sum()), int(present.sum()), int((repeated & ~present).sum()))

    def require_model(self, fingerprint: str, what: str) -> None:
        """Refuse features of another model than the gallery's.

        Raises:
            JointreidError: they are; `what` says whose they are.
        """
        model = self.facts().model
        if fingerprint != model.fingerprint:
            of = f" of {model.run}" if model.run else ""
            raise JointreidError(
                f"{what}: made by another model ({fingerprint[:12]}) than the features in {self.uri} "
                f"({model.fingerprint[:12]}{of}); similarities between models mean nothing: extract with the same run, "
                "or start another gallery"
            )

    def search(
        self,
        feature: Floats,
        *,
        top: int = 10,
        images: int = 3,
        where: Filter | None = None,
        threshold: float | None = None,
        fingerprint: str = "",
    ) -> SearchResult:
        """Return the nearest people.

        Args:
            feature: float32 [D] of the gallery's model, of any length but 0.
            top: how many people at most.
            images: how many images of each at most.
            where: only among the images that fulfil it.
            threshold: similarity from which on somebody is taken for the person of the query.
            fingerprint: of the model that made the feature; empty to trust that it is the gallery's.

        Raises:
            JointreidError: there is no gallery, it is of another model, or the feature has another size, is 0 or not
                finite.
        """
        query = np.asarray(feature, dtype=np.float32).ravel()
        length = float(np.linalg.norm(query))
        dims = self.facts().dims
        if query.size != dims or not np.isfinite(length) or not length:
            expected = f"{dims} finite numbers that are not all 0"
            raise JointreidError(f"the feature to search for has {query.size} numbers; expected {expected}")
        if top < 1 or images < 1:
            raise JointreidError(f"top is {top} and images is {images}; expected 1 or more")
        if threshold is not None and not -1 <= threshold <= 1:
            raise JointreidError(f"threshold is {threshold}; expected a similarity, -1 to 1")

        def search(is_last_attempt: bool) -> SearchResult:
            mirror = self._current()
            if fingerprint:  # somebody may have made another gallery here since it was opened
                self.require_model(fingerprint, "the feature to search for")
            return search_mirror(
                *(mirror, self._store.table(), query / length, top, images, where, threshold),
                use_index=not is_last_attempt,  # one that writes all the time cannot fail the last attempt
            )

        return self._read(search)

    def _read(self, read: Callable[[bool], Read]) -> Read:
        """Return what `read` returns; again if another process changes the table between two of its steps.

        `read` is told whether this is the last attempt.
        """
        for attempt in range(_ATTEMPTS):
            is_last = attempt == _ATTEMPTS - 1
            try:
                return read(is_last)
            except (OSError, RuntimeError, UnknownRow):
                if is_last:
                    raise
                self._store.forget()
        raise AssertionError

    def warm_up(self) -> None:
        """Read what searches need into memory, so that the next search is as fast as later ones: a server begins so.

        Raises:
            JointreidError: there is no gallery.
        """
        features = self._current().features
        read_index(self._store.table())
        for row in np.linspace(0, len(features) - 1, min(_WARM_UP, len(features))).astype(int):
            self.search(features[row])

    def select(self, where: Filter | None = None) -> "Any":
        """Return the metadata of the images that fulfil a filter, as an Arrow table in the order of addition."""
        import pyarrow as pa

        rows = self._current().rows
        return rows if where is None else rows.filter(pa.array(where.mask(rows)))

    def thumbnails(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return key -> JPEG, of the images that were added with one."""
        from lancedb.expr import col, lit

        wanted = col("key").isin([lit(key) for key in keys])
        found = self._read(
            lambda _: self._store.table().search().where(wanted).select(["key", "thumbnail"]).to_arrow().to_pylist()
        )
        return {row["key"]: row["thumbnail"] for row in found if row["thumbnail"] is not None}

    def remove(
        self,
        *,
        pid: str | Sequence[str] = (),
        domain: str | None = None,
        where: Filter | None = None,
        expired: date | None = None,
        purge: bool = False,
        dry_run: bool = False,
    ) -> Removed:
        """Remove people or images.

        Args:
            pid: of the people.
            domain: of their pids; needed where a pid is in several domains. Empty: those rows of the pids without one.
            where: a filter; with `pid`, both must be fulfilled.
            expired: those whose retention date is before this day. They are purged, and with them those who were
                removed before without it; the table is written anew only if there are such rows.
            purge: leave no byte of them in any file of the gallery, nor of those who were removed before without it.
                Writes the whole table anew. Without it they are found no more, and their bytes stay in the files until
                the next purge or `compact`.
            dry_run: only return what would be removed.

        Raises:
            JointreidError: nothing says whom to remove, or a pid is in several domains.
        """
        pids = (pid,) if isinstance(pid, str) else tuple(pid)
        chosen = all_of(
            [
                condition("pid", "in", *pids) if pids else None,
                condition("domain", "=", domain) if domain else None,
                where,
                condition("retention", "<", expired.isoformat()) if expired else None,
            ]
        )
        if chosen is None:
            raise JointreidError(f"{self.uri}: nothing says whom to remove; give a pid, a filter or a retention date")
        self._store.facts()  # where there is no gallery, no folder is made for the lock
        with self._store.writing():
            mirror = self._current()
            rows = mirror.rows
            mask = chosen.mask(rows)
            if domain is None and pids:
                # A filter that does not name a domain does not say which of these people is meant.
                named = mask if "domain" in filter_columns(where) else condition("pid", "in", *pids).mask(rows)
                _require_one_domain(_rows_at(rows, named, ("pid", "domain")), pids, self.uri)
            elif domain == "":
                mask &= rows["domain"].is_null().to_numpy()
            found = _rows_at(rows, mask, ("pid", "domain", "file", "key"))
            due = expired is not None and (found["key"] or self._store.keeps_removed())
            if dry_run:
                pass
            elif purge or due:
                self._rewrite(mirror.row_ids[mask])
            elif found["key"]:
                self._store.delete(found["key"])
        people = sorted({value for value in found["pid"] if value is not None})
        files = sorted({value for value in found["file"] if value})
        purged = (purge or expired is not None) and not dry_run
        return Removed(len(found["key"]), tuple(people), tuple(files), purged, dry_run)

    def compact(self) -> None:
        """Write the table anew: one file for each million rows, nothing of removed rows, and an index if it is large.

        Raises:
            JointreidError: there is no gallery.
        """
        self._store.facts()
        with self._store.writing():
            self._rewrite(np.zeros(0, dtype=np.uint64))

    def _rewrite(self, removed: NDArray[np.uint64]) -> None:
        self._mirror = None
        self._store.rewrite(removed)
        self._store.update_index()

    def info(self) -> dict[str, Any]:
        """Return counts, the model, the index, and the files of features that were added, as plain values.

        Raises:
            JointreidError: there is no gallery.
        """
        from jointreid.gallery.overview import overview

        return overview(self.uri, self.facts(), self.select(), index_state(self._store.table()), self._store.folder)

    def _current(self) -> Mirror:
        """Return the mirror of the newest version."""
        with self._refreshing:
            self._store.end_erasure()
            store = self._store
            self._mirror = refresh(store.mirror, store.mirror_lock, store.table(), store.open_table, self._mirror)
            return self._mirror

    def _known(self, rows: FeatureRows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which rows are in the table, and which name an image of an earlier row, bool [N] each."""
        import pyarrow.compute as pc

        keys = rows.metadata["key"].combine_chunks()
        present = pc.is_in(keys, value_set=self._store.keys()).to_numpy(zero_copy_only=False)
        first = np.zeros(len(keys), dtype=bool)
        codes = keys.dictionary_encode().indices.to_numpy()
        first[np.unique(codes, return_index=True)[1]] = True
        if not first.all():
            _require_same_people(rows, codes)
        return present, ~first


def _require_same_people(rows: FeatureRows, codes: NDArray[np.int32]) -> None:
    """Refuse an image that is listed twice with two people."""
    pids: dict[int, str | None] = {}
    for row, (code, pid) in enumerate(zip(codes.tolist(), rows.metadata["pid"].to_pylist(), strict=True)):
        if pids.setdefault(code, pid) != pid:
            path = rows.metadata["path"][row]
            raise JointreidError(
                f"{rows.origin}, row {row} ({path}): is listed with pid {pid}, and in an earlier row with "
                f"{pids[code]}; give each person of an image a box (x, y, w, h), or remove the wrong row"
            )


def _require_one_domain(found: Mapping[str, list[Any]], pids: Sequence[str], uri: str) -> None:
    """Refuse to remove a pid of several domains: these are different people."""
    for pid in pids:
        domains = {domain for domain, of in zip(found["domain"], found["pid"], strict=True) if of == pid}
        if len(domains) > 1:
            names = first_few(sorted("no domain" if name is None else name for name in domains))
            none = ' (--domain "" for those without one)' if None in domains else ""
            raise JointreidError(
                f"{uri}: pid {pid} is in several domains ({names}), where it stands for different people; say in which "
                f"to remove it with --domain{none}"
            )


def _rows_at(rows: Any, mask: NDArray[np.bool_], names: Sequence[str]) -> dict[str, list[Any]]:
    import pyarrow as pa

    plain: dict[str, list[Any]] = rows.select(list(names)).filter(pa.array(mask)).to_pydict()
    return plain
