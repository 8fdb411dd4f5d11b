"""Safety steps that some file systems refuse, such as waiting until the names in a folder are on disk.

Network shares, shared folders of virtual machines and FUSE file systems lack some of the calls that make a file safe
against a power cut or another process. Such a step is left out, with one line on stderr for each process and step;
`docs/reliability.md` says what is still promised. Errors of a disk that is full or broken are no refusals.
"""

import errno
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

Step = Literal[
    "sync folder", "sync file", "create", "replace", "rename folder", "clean up", "map", "lock", "free space"
]

# Errors that mean: this file system, or its driver, has no such call.
_MISSING = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOTTY}
_FORBIDDEN = {errno.EACCES, errno.EPERM}

# A step that may fail for another reason too (no permission in a folder) has a second way to do it, which then fails
# in the same way and stops.
_REFUSALS: dict[Step, set[int]] = {
    "sync folder": _MISSING | _FORBIDDEN | {errno.EISDIR},
    "sync file": _MISSING,
    "create": _MISSING,
    "replace": _MISSING | _FORBIDDEN | {errno.EEXIST},
    "rename folder": _MISSING | _FORBIDDEN | {errno.EXDEV},
    "clean up": _FORBIDDEN | {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY},
    "map": _MISSING | _FORBIDDEN | {errno.ENODEV},
    "lock": _MISSING | {errno.ENOLCK},
    "free space": _MISSING | _FORBIDDEN,
}

# What the file system cannot do, and what follows.
_LINES: dict[Step, tuple[str, str]] = {
    "sync folder": (
        "write the names in a folder through to the disk (fsync)",
        "after a power cut, the files written last may be missing",
    ),
    "sync file": (
        "write a file through to the disk (fsync)",
        "after a power cut, the files written last may be incomplete; checksums find that out",
    ),
    "create": (
        "create a file only where there is none (O_EXCL)",
        "two processes that write there at the same moment may disturb each other",
    ),
    "replace": (
        "rename a file over another one",
        "the old one is moved aside first; after a crash at that moment it is beside it, as .NAME.before",
    ),
    "rename folder": (
        "rename a folder",
        "checkpoints are copied instead; after a crash at that moment the newest may be under `last.new` or `last.old`",
    ),
    "clean up": (
        "remove files that are still in use",
        "an old checkpoint is left beside the new one and is removed at a later save",
    ),
    "map": (
        "map a file into memory (mmap)",
        "it is read as a whole, so its size in memory is needed",
    ),
    "lock": (
        "lock a file (flock)",
        "a marker file, or none, keeps other processes away: start only one process at a time in a folder",
    ),
    "free space": (
        "say how much space is free",
        "a disk that is too small is only noticed when it is full",
    ),
}

_told: set[Step] = set()


def is_refusal(step: Step, error: Exception) -> bool:
    """Return whether an error means that the file system cannot do a step, rather than that something is wrong."""
    return isinstance(error, NotImplementedError) or (isinstance(error, OSError) and error.errno in _REFUSALS[step])


def tell(step: Step, path: Path) -> None:
    """Print on stderr what the file system of `path` cannot do, the first time in this process."""
    if step in _told:
        return
    _told.add(step)
    cannot, follows = _LINES[step]
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            line = f"jointreid: {path}: this file system cannot {cannot}: {follows} (see docs/reliability.md)"
            print(line, file=sys.stderr, flush=True)
