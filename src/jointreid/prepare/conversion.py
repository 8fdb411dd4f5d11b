"""What the conversion of a release is, and how it is carried out so that a kill at any point loses nothing.

All work is done in the hidden folder `.preparing` of the target, whose files are each written whole or not at all.
What is finished is then moved out, an entry at a time, the index last: where the index stands, all is there.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jointreid.data.protocols import SplitCounts
from jointreid.machine.files import write_atomically
from jointreid.machine.hashing import file_sha256
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few
from jointreid.messages.progress import OnProgress

WORKING = ".preparing"
_LOCK = "lock"
_REMEDY = "give a folder that is new or empty, or remove what was prepared in this one to start over"


@dataclass(frozen=True)
class Part:
    """One set of splits that a conversion makes.

    Attributes:
        name: which, where there are several (`labeled`, `detected`).
        found: what each split holds.
        expected: what it holds in the whole release.
    """

    name: str
    found: Mapping[str, SplitCounts]
    expected: Mapping[str, SplitCounts]

    @property
    def differences(self) -> tuple[str, ...]:
        """A message for each split that holds something else than expected."""
        return tuple(
            f"{self.name}, {split}: expected {self.expected[split]}, found {found}"
            for split, found in self.found.items()
            if found != self.expected[split]
        )


def count(pids: Iterable[object]) -> SplitCounts:
    """Count a split from the identity of each of its images."""
    pids = list(pids)
    return SplitCounts(len(set(pids)), len(pids))


@dataclass(frozen=True)
class Plan:
    """All that a conversion will write, known before the first image is made.

    Attributes:
        folders: of the images, relative to the target.
        images: paths of the images, relative to the target.
        texts: other files: path relative to the target -> content.
        parts: what the splits hold.
        encode: yields (path, content) once for each of the images asked for, in any order.
    """

    folders: tuple[str, ...]
    images: tuple[str, ...]
    texts: Mapping[str, str]
    parts: tuple[Part, ...]
    encode: Callable[[Sequence[str]], Iterator[tuple[str, bytes]]]


@dataclass(frozen=True)
class Conversion:
    """A release that was found, and what is to be made of it.

    Attributes:
        name: the data set.
        sources: the files that decide the result, by a name that does not depend on where they lie.
        entries: what will stand in the target, in the order it is put there; the index, or the folder that holds it,
            is last.
        index: the file that says from what the rest was made, relative to the target.
        rule: how images are chosen and named, for the index.
        plan: reads the annotations and checks them.
        note: what a person should know about the release found, or nothing.
        options: what the command line needs besides `--data` to read the result.
        format: counts up when the same sources are converted to other images or names, so that a folder never holds
            some of both.
    """

    name: str
    sources: Mapping[str, Path]
    entries: tuple[str, ...]
    index: str
    rule: str
    plan: Callable[[], Plan]
    note: str = ""
    options: tuple[str, ...] = ()
    format: int = 1


def carry_out(
    conversion: Conversion, target: Path, on_progress: OnProgress | None = None
) -> tuple[tuple[Part, ...], bool]:
    """Convert a release, or go on with a conversion that was interrupted.

    Args:
        conversion: what to make.
        target: a folder that is new, empty, or holds this conversion, finished or not.
        on_progress: called with (images done, images in all).

    Returns:
        What the splits hold, and whether everything stood there before.

    Raises:
        JointreidError: the target holds something else, or the same made from other files; another process is at
            work there; it cannot be written; or what the release lacks.
    """
    with _writing(target):
        _refuse_strangers(conversion, target)
    stamp = {"format": conversion.format, "name": conversion.name, "sources": _checksums(conversion.sources)}
    if (finished := _finished(conversion, target, stamp)) is not None:
        return finished, True
    _require_same(target / WORKING / conversion.index, stamp)
    plan = conversion.plan()
    parts = [asdict(part) for part in plan.parts]
    index = json.dumps({**stamp, "rule": conversion.rule, "parts": parts}, indent=2) + "\n"
    with _alone(target):
        # Another process may have finished in the meantime.
        finished = _finished(conversion, target, stamp)
        if finished is None:
            _write(conversion, plan, target, index, on_progress)
            _publish(conversion, target)
    return plan.parts, finished is not None


def _write(conversion: Conversion, plan: Plan, target: Path, index: str, on_progress: OnProgress | None) -> None:
    """Write into the working folder what is not there yet, the index first: it tells a later run what this one made."""
    working = target / WORKING
    moved = {entry for entry in conversion.entries if (target / entry).exists()}
    with _writing(target):
        present = _tidy(working, {_LOCK, conversion.index, *plan.images, *plan.texts})
        if conversion.index not in present:
            write_atomically(working / conversion.index, index)
        for folder in plan.folders:
            if folder not in moved:
                (working / folder).mkdir(parents=True, exist_ok=True)
    missing = [path for path in plan.images if path not in present and path.partition("/")[0] not in moved]
    done = len(plan.images) - len(missing)
    for path, content in plan.encode(missing):
        with _writing(target):
            write_atomically(working / path, content)
        done += 1
        if on_progress is not None:
            on_progress(done, len(plan.images))
    for path, text in plan.texts.items():
        if path not in present and path not in moved:
            with _writing(target):
                write_atomically(working / path, text)


def _publish(conversion: Conversion, target: Path) -> None:
    working = target / WORKING
    with _writing(target):
        for entry in conversion.entries:
            if (working / entry).exists():
                (working / entry).rename(target / entry)
        _remove_working(working)


def _remove_working(working: Path) -> None:
    (working / _LOCK).unlink(missing_ok=True)
    working.rmdir()


def _tidy(working: Path, expected: set[str]) -> set[str]:
    """Remove what a killed run was just writing; return the paths of the files that are whole.

    Raises:
        JointreidError: a file that this conversion does not make.
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
                raise JointreidError(f"{path}: is no part of this preparation; move it away")
    return present


# What stands in the target


def _refuse_strangers(conversion: Conversion, target: Path) -> None:
    """Raise unless the target is new, empty, or holds this conversion, finished or not."""
    if not target.exists():
        return
    if not target.is_dir():
        raise JointreidError(f"{target}: is a file; give a folder that is new or empty")
    if (target / conversion.index).is_file():
        return
    found = set(os.listdir(target)) - {WORKING}
    begun = (target / WORKING / conversion.index).is_file()
    ours = {entry for entry in conversion.entries if begun and not (target / WORKING / entry).exists()}
    if strangers := sorted(found - ours):
        raise JointreidError(
            f"{target}: holds other things than a preparation of {conversion.name} "
            f"({first_few(strangers)}); give a folder that is new or empty"
        )


def _finished(conversion: Conversion, target: Path, stamp: Mapping[str, Any]) -> tuple[Part, ...] | None:
    """Return what a finished conversion holds, or None where there is none."""
    index = target / conversion.index
    found = _require_same(index, stamp)
    if found is None:
        return None
    if lost := [entry for entry in conversion.entries if not (target / entry).exists()]:
        raise JointreidError(
            f"{target}: was prepared, but {', '.join(lost)} is gone since; prepare it again in a new folder"
        )
    # A run that was killed in its last step leaves the empty folder.
    if (target / WORKING).is_dir() and set(os.listdir(target / WORKING)) <= {_LOCK}:
        with suppress(OSError):
            _remove_working(target / WORKING)
    try:
        return tuple(_part_from_json(part) for part in found["parts"])
    except (KeyError, TypeError, AttributeError) as error:
        raise JointreidError(f"{index}: is damaged; prepare the data set again in a new folder") from error


def _require_same(index: Path, stamp: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what an index says, None where there is none; raise if it speaks of another conversion."""
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise JointreidError(f"{index}: cannot be read: {error}; {_REMEDY}") from error
    if not isinstance(found, dict) or any(found.get(key) != stamp[key] for key in ("format", "name")):
        raise JointreidError(f"{index}: was written by something else than this version of jointreid; {_REMEDY}")
    before, now = found.get("sources"), stamp["sources"]
    if before != now:
        before = before if isinstance(before, dict) else {}
        changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        raise JointreidError(
            f"{index}: was made from other files than those given now ({', '.join(changed)}); {_REMEDY}"
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


def _part_from_json(part: Mapping[str, Any]) -> Part:
    counts = [{split: SplitCounts(**count) for split, count in part[key].items()} for key in ("found", "expected")]
    return Part(part["name"], *counts)


# Writing


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JointreidError(
            f"{target}: cannot be written: {error.strerror or error}; mend that and give the same command again to "
            "go on where it stopped"
        ) from error


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold a lock that the system frees when the process dies; go on without one where the disk offers no locks."""
    lock = FileLock(target / WORKING / _LOCK, timeout=0)
    with _writing(target):
        (target / WORKING).mkdir(parents=True, exist_ok=True)
        (target / WORKING / _LOCK).touch()
    with suppress(OSError):  # a file system without locks
        try:
            lock.acquire()
        except Timeout as error:
            raise JointreidError(f"{target}: another process is preparing a data set here; wait for it") from error
    try:
        yield
    finally:
        lock.release()
