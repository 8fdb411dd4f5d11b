"""Facts about files that are slow to find, remembered in a small JSON file until the files change."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from jointreid.machine.collection import collection
from jointreid.machine.files import write_atomically
from jointreid.machine.hashing import file_sha256
from jointreid.messages.errors import JointreidError
from jointreid.messages.typed import conform

Fact = TypeVar("Fact")
# A file's bytes, ns of its last change of content and of anything, and inode; zeros for no file.
Stamp = list[int]

_VERSION = 2
_CONTENTS = "contents.json"


class LookUp(NamedTuple, Generic[Fact]):
    """Facts about files, and files without.

    Attributes:
        facts: path -> fact, of those that it could be found for.
        failures: path -> why not.
        remembered: number of `facts` that were known from an earlier time.
        stamps: path -> the file's stamp at the time.
    """

    facts: Mapping[Path, Fact]
    failures: Mapping[Path, str]
    remembered: int
    stamps: Mapping[Path, Stamp]


def look_up(
    paths: Iterable[Path],
    find: Callable[[Path], Fact],
    kind: Any,
    memory: Path | None,
    threads: int,
    stamps: Mapping[Path, Stamp] | None = None,
) -> LookUp[Fact]:
    """Return a fact about each file, found only where it is not remembered.

    A remembered fact holds as long as the file's size, times of change and inode are the same: to leave all of them as
    they were while the content changes takes more than writing, copying or setting a file's time. What failed is never
    remembered, so that a repaired disk or permission is noticed.

    Args:
        paths: the files; each is looked at once however often it is listed.
        find: returns the fact of a file, or raises JointreidError.
        kind: type of the fact, one that `typed.conform` knows.
        memory: the JSON file, made if missing; None remembers nothing.
        threads: files that `find` is called for at a time.
        stamps: of all files, where another look-up has just taken them.

    Raises:
        JointreidError: the JSON file cannot be written.
    """
    known = _read(memory)
    names = absolute_names(paths)
    if stamps is None:
        stamps = {path: stamp_of(name) for path, name in names.items()}
    fresh = {}
    for path, name in names.items():
        entry = known.get(name)
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] != stamps[path]:
            continue  # not remembered, changed, or an entry of another kind
        if type(entry[1]) is kind:
            fresh[path] = entry[1]
        else:
            with suppress(TypeError):
                fresh[path] = conform(kind, entry[1])
    rest = sorted(path for path in names if path not in fresh)

    def outcome(path: Path) -> Fact | JointreidError:
        try:
            return find(path)
        except JointreidError as error:
            return error

    with collection(on=True) if rest else nullcontext(), ThreadPoolExecutor(threads) as pool:
        outcomes = dict(zip(rest, pool.map(outcome, rest), strict=True))
    found = {path: fact for path, fact in outcomes.items() if not isinstance(fact, JointreidError)}
    if memory is not None and found:
        _write(memory, known | {names[path]: [stamps[path], fact] for path, fact in found.items()})
    failures = {path: str(error) for path, error in outcomes.items() if isinstance(error, JointreidError)}
    return LookUp({**fresh, **found} if found else fresh, failures, len(fresh), stamps)


def content_hashes(
    paths: Iterable[Path], memory_dir: Path | None, threads: int, stamps: Mapping[Path, Stamp] | None = None
) -> Mapping[Path, str]:
    """Return the content of each file as 32 hexadecimal digits (SHA-256, cut).

    A file is read when it is new or changed (see `look_up`): about a second for a GB that is in the system's memory.

    Args:
        paths: the files.
        memory_dir: folder that remembers the digits; None remembers nothing.
        threads: files read at a time.
        stamps: see `look_up`.

    Raises:
        JointreidError: a file cannot be read, or the folder not be written.
    """
    found = look_up(paths, _hash, str, memory_dir and memory_dir / _CONTENTS, threads, stamps)
    for cause in found.failures.values():
        raise JointreidError(cause)
    return found.facts


def _hash(path: Path) -> str:
    try:
        return file_sha256(path)[:32]
    except OSError as error:
        raise JointreidError(f"{path}: cannot read the image: {error.strerror}") from error


def absolute_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Return path -> `os.path.abspath` of it, each path once; several times as fast for many."""
    here = ""
    names = {}
    for path in dict.fromkeys(paths):
        name = str(path)  # without double or single dots between separators, but for ".."
        if os.name != "posix" or ".." in name or name == "." or name.startswith("//"):
            name = os.path.abspath(name)
        elif not name.startswith("/"):
            here = here or os.path.join(os.getcwd(), "")
            name = here + name
        names[path] = name
    return names


def stamp_of(path: str) -> Stamp:
    """Return a file's bytes, ns of its last change of content and of anything, and inode; zeros for no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return [0, 0, 0, 0]
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read(memory: Path | None) -> dict[str, Any]:
    """Return path -> [stamp, fact], not yet checked; nothing if there is no memory or it is damaged."""
    try:
        plain = json.loads(memory.read_bytes()) if memory else {}
    except (OSError, ValueError, RecursionError):
        return {}
    files = plain.get("files") if isinstance(plain, dict) and plain.get("version") == _VERSION else None
    return files if isinstance(files, dict) else {}


def _write(memory: Path, known: Mapping[str, Any]) -> None:
    try:
        write_atomically(memory, json.dumps({"version": _VERSION, "files": known}))
    except OSError as error:
        raise JointreidError(f"{memory}: cannot be written: {error.strerror}; choose another --data.cache") from error
