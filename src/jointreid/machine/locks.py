"""Locks between processes that work in one folder; the system frees those of a process that dies.

Where a file system has no locks, a marker file with the owner's process id and host name replaces them: it is taken
over once no such process runs on this host. Where that is refused too, there is no lock. Both are told once.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that there are only markers: `tell` says it when one is used
    from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from jointreid.machine.refusals import is_refusal, tell

# A system without fcntl that is not Windows either.
_NO_LOCKS = issubclass(FileLock, SoftFileLock)


class LockHeld(OSError):
    """The lock is held by another process, or elsewhere in this one."""


class ProcessLock:
    """A lock on a file, which is created if it is not there; not re-entrant.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: BaseFileLock | None = None

    def acquire(self, *, wait: bool = False) -> None:
        """Take the lock.

        Args:
            wait: until it is free, rather than raise.

        Raises:
            LockHeld: it is not free.
            OSError: the file cannot be created, or the disk fails.
        """
        self.path.touch()  # a file system may refuse the way in which filelock creates it
        try:
            if not _NO_LOCKS:
                self._take(FileLock(self.path, fallback_to_soft=False), wait)
                return
        except (OSError, NotImplementedError) as error:
            if isinstance(error, LockHeld) or not is_refusal("lock", error):
                raise
        tell("lock", self.path)
        try:
            self._take(SoftFileLock(_marker(self.path)), wait)
        except OSError as error:
            if isinstance(error, LockHeld) or not is_refusal("create", error):
                raise
            self._lock = None

    def release(self, *, remove: bool = False) -> None:
        """Free the lock, if it is held.

        Args:
            remove: the file too, unless the system keeps files that are open.
        """
        # On Unix the file goes first: once the lock is free, it may be another process's.
        if remove and os.name != "nt":
            self.path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if remove and os.name == "nt":
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _take(self, lock: BaseFileLock, wait: bool) -> None:
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            if not wait:
                raise LockHeld(f"{self.path} is held by another process") from error
            if isinstance(lock, SoftFileLock) and sys.stderr is not None:
                print(
                    f"jointreid: waiting for another process; if there is none, delete {lock.lock_file}",
                    file=sys.stderr,
                )
            lock.acquire(timeout=-1)
        self._lock = lock


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, after waiting until it is free.

    Raises:
        OSError: the file cannot be created.
    """
    lock = ProcessLock(path)
    lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()


def lock_files(path: Path) -> tuple[Path, Path]:
    """Return the files that a lock of this path may create: itself, and a marker where there are no locks."""
    return path, _marker(path)


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.held")
