"""Carrying out a conversion so that a kill at any point loses nothing.

All work is done in the hidden folder `.preparing` of the target, whose files are each written whole or not at all.
Finished entries are then moved out one by one, the index last: once the index is in place, everything is there.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jointreid.data.protocols import SplitCounts
from jointreid.machine.files import is_part, rename_folder, replace, write_atomically
from jointreid.machine.hashing import file_sha256
from jointreid.machine.locks import LockHeld, ProcessLock, lock_files
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few
from jointreid.messages.progress import OnProgress
from jointreid.prepare.conversion import Conversion, ConversionOutput, PreparedSplits

WORKING = ".preparing"
_LOCK = "lock"
_LOCK_FILES = {path.name for path in lock_files(Path(_LOCK))}
_REMEDY = "give a folder that is new or empty, or remove the prepared files in this one to start over"


def carry_out(
    conversion: Conversion, target: Path, on_progress: OnProgress | None = None
) -> tuple[tuple[PreparedSplits, ...], bool]:
    """Convert a release, or resume an interrupted conversion.

    Args:
        conversion: the release and how to convert it.
        target: a folder that is new, empty, or contains this conversion, finished or not.
        on_progress: called with (images done, images in all).

    Returns:
        The counts of the splits, and whether everything was there before.

    Raises:
        JointreidError: the target contains other files, or was made from other sources; another process is working
            there; it cannot be written; or the release is incomplete.
    """
    with _write_errors(target):
        _refuse_other_contents(conversion, target)
    stamp = {"format": conversion.format, "name": conversion.name, "sources": _checksums(conversion.sources)}
    if (finished := _finished(conversion, target, stamp)) is not None:
        return finished, True
    _read_matching_index(target / WORKING / conversion.index, stamp)
    output = conversion.list_output()
    parts = [asdict(part) for part in output.parts]
    index = json.dumps({**stamp, "rule": conversion.rule, "parts": parts}, indent=2) + "\n"
    with _exclusive_lock(target):
        # Another process may have finished in the meantime.
        finished = _finished(conversion, target, stamp)
        if finished is None:
            _write(conversion, output, target, index, on_progress)
            _publish(conversion, target)
    return output.parts, finished is not None


def _write(
    conversion: Conversion, output: ConversionOutput, target: Path, index: str, on_progress: OnProgress | None
) -> None:
    """Write the missing files into the working folder, the index first, so that a later run knows their sources."""
    working = target / WORKING
    moved = {entry for entry in conversion.entries if (target / entry).exists() and not is_part(target / entry)}
    with _write_errors(target):
        present = _remove_half_written(working, {*_LOCK_FILES, conversion.index, *output.images, *output.texts})
        if conversion.index not in present:
            write_atomically(working / conversion.index, index)
        for folder in output.folders:
            if folder not in moved:
                (working / folder).mkdir(parents=True, exist_ok=True)
    missing = [path for path in output.images if path not in present and path.partition("/")[0] not in moved]
    done = len(output.images) - len(missing)
    for path, content in output.encode(missing):
        with _write_errors(target):
            write_atomically(working / path, content)
        done += 1
        if on_progress is not None:
            on_progress(done, len(output.images))
    for path, text in output.texts.items():
        if path not in present and path not in moved:
            with _write_errors(target):
                write_atomically(working / path, text)


def _publish(conversion: Conversion, target: Path) -> None:
    working = target / WORKING
    with _write_errors(target):
        for entry in conversion.entries:
            if (working / entry).exists():
                _move(working / entry, target / entry)
        _remove_working(working)


def _move(source: Path, target: Path) -> None:
    """Move a finished file or folder out of the working folder."""
    rename_folder(source, target) if source.is_dir() else replace(source, target)


def _remove_working(working: Path) -> None:
    """Remove the empty working folder, if no other process holds its lock and the system lets a file in use go."""
    with suppress(OSError):
        for name in _LOCK_FILES:
            (working / name).unlink(missing_ok=True)
        working.rmdir()


def _remove_half_written(working: Path, expected: set[str]) -> set[str]:
    """Remove half-written files of a killed run; return the paths of the complete ones.

    Raises:
        JointreidError: there is a file that this conversion does not make.
    """
    present = set()
    for folder, _, names in os.walk(working):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(working).as_posix()
            if relative in expected:
                present.add(relative)
            elif name.startswith("."):
                path.unlink()
            else:
                raise JointreidError(f"{path}: does not belong to this preparation; move it away")
    return present


# Contents of the target


def _refuse_other_contents(conversion: Conversion, target: Path) -> None:
    """Raise unless the target is new, empty, or contains this conversion, finished or not."""
    if not target.exists():
        return
    if not target.is_dir():
        raise JointreidError(f"{target}: is a file; give a folder that is new or empty")
    if (target / conversion.index).is_file():
        return
    found = set(os.listdir(target)) - {WORKING}
    begun = (target / WORKING / conversion.index).is_file()
    entries = conversion.entries if begun else ()
    ours = {entry for entry in entries if not (target / WORKING / entry).exists() or is_part(target / entry)}
    if strangers := sorted(found - ours):
        raise JointreidError(
            f"{target}: contains other files than a preparation of {conversion.name} "
            f"({first_few(strangers)}); give a folder that is new or empty"
        )


def _finished(conversion: Conversion, target: Path, stamp: Mapping[str, Any]) -> tuple[PreparedSplits, ...] | None:
    """Return the counts of a finished conversion, or None if there is none."""
    index = target / conversion.index
    found = _read_matching_index(index, stamp)
    if found is None:
        return None
    if lost := [entry for entry in conversion.entries if not (target / entry).exists()]:
        raise JointreidError(
            f"{target}: was prepared, but {', '.join(lost)} has been removed since; prepare it again in a new folder"
        )
    # A run killed in its last step leaves the empty folder.
    if (target / WORKING).is_dir() and set(os.listdir(target / WORKING)) <= _LOCK_FILES:
        _remove_working(target / WORKING)
    try:
        return tuple(_part_from_json(part) for part in found["parts"])
    except (KeyError, TypeError, AttributeError) as error:
        raise JointreidError(f"{index}: is damaged; prepare the data set again in a new folder") from error


def _read_matching_index(index: Path, stamp: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the content of an index, None if there is none; raise if it belongs to another conversion."""
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise JointreidError(f"{index}: cannot be read: {error}; {_REMEDY}") from error
    if not isinstance(found, dict) or any(found.get(key) != stamp[key] for key in ("format", "name")):
        raise JointreidError(f"{index}: was not written by this version of jointreid; {_REMEDY}")
    before, now = found.get("sources"), stamp["sources"]
    if before != now:
        before = before if isinstance(before, dict) else {}
        changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        raise JointreidError(
            f"{index}: was made from other files than the given ones ({', '.join(changed)}); {_REMEDY}"
        )
    return found


def _checksums(sources: Mapping[str, Path]) -> dict[str, str]:
    checksums = {}
    for name, path in sources.items():
        try:
            checksums[name] = f"sha256:{file_sha256(path)}"
        except OSError as error:
            raise JointreidError(f"{path}: cannot be read: {error.strerror}") from error
    return checksums


def _part_from_json(part: Mapping[str, Any]) -> PreparedSplits:
    counts = [{split: SplitCounts(**count) for split, count in part[key].items()} for key in ("found", "expected")]
    return PreparedSplits(part["name"], *counts)


# Writing


@contextmanager
def _write_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JointreidError(
            f"{target}: cannot be written: {error.strerror or error}; fix this and run the same command again to "
            "resume where it stopped"
        ) from error


@contextmanager
def _exclusive_lock(target: Path) -> Iterator[None]:
    """Keep other processes from preparing a data set in a folder, which is made if it is not there."""
    lock = ProcessLock(target / WORKING / _LOCK)
    with _write_errors(target):
        (target / WORKING).mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except LockHeld as error:
            raise JointreidError(f"{target}: another process is preparing a data set here; wait for it") from error
    try:
        yield
    finally:
        lock.release()
