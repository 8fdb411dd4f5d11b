"""A lock, so that one process at a time trains in a run directory; it records its owner."""

import json
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from jointreid.machine.files import write_atomically
from jointreid.machine.locks import LockHeld, ProcessLock
from jointreid.machine.reading import read_json
from jointreid.messages.errors import JointreidError
from jointreid.messages.typed import conform


@dataclass(frozen=True)
class LockOwner:
    """The process that trains in a run directory.

    Attributes:
        host: its machine's name.
        pid: its process id there.
        since: when it started, local time with offset; only shown to people.
        command: its command line.
    """

    host: str
    pid: int
    since: str
    command: str

    @classmethod
    def here(cls) -> "LockOwner":
        """Return this process."""
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), now, shlex.join(sys.orig_argv))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


@contextmanager
def run_lock(run: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from training in a run directory, which is made if it is not there.

    The operating system frees the lock of a process that dies; `lock.json` names its owner, and is taken over with a
    message. Not every network file system shares locks between machines, so a `lock.json` of another machine is
    respected until a person removes it. At the end, folders that were made here and are still empty are removed.

    Args:
        run: the run directory.
        say: told that the lock of a dead process is taken over.

    Raises:
        JointreidError: another process holds the lock, or may hold it, or the directory cannot be written.
    """
    new_folders = [folder for folder in (run, *run.parents) if not folder.exists()]
    lock, owner_file = ProcessLock(run / "lock"), run / "lock.json"
    try:
        try:
            run.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            _take_over(run, owner_file, say)
        except OSError as error:  # LockHeld is a subclass
            raise JointreidError(_refusal(run, owner_file, error)) from error
        try:
            yield
        finally:
            owner_file.unlink(missing_ok=True)
            lock.release(remove=True)
    finally:
        lock.release()
        for folder in new_folders:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _take_over(run: Path, owner_file: Path, say: Callable[[str], None]) -> None:
    """Record this process as the owner, unless a process of another machine is recorded."""
    before = _owner(owner_file)
    if before and before.host != socket.gethostname():
        raise JointreidError(
            f"{run} is in use by {before}, or was when that process died, which cannot be seen from here. If it is "
            f"gone, delete {owner_file} and try again"
        )
    if before:
        say(f"{run} was left by {before}, which is gone; taken over.")
    write_atomically(owner_file, json.dumps(asdict(LockOwner.here()), indent=1))


def _refusal(run: Path, owner_file: Path, error: OSError) -> str:
    if isinstance(error, LockHeld):
        owner = _owner(owner_file) or "another process"
        return f"{run} is in use by {owner}; wait for its end, or choose another directory with --out"
    return f"{run} cannot be written: {error.strerror or error}; choose another directory with --out"


def _owner(owner_file: Path) -> LockOwner | None:
    """Return the recorded owner; None if there is no such file, or it cannot be read."""
    try:
        plain = read_json(owner_file)
        return LockOwner(**{key: conform(kind, plain[key]) for key, kind in LockOwner.__annotations__.items()})
    except (JointreidError, KeyError, TypeError, ValueError):
        return None
