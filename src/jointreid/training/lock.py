"""One process at a time in a run directory: a lock that tells whose it is."""

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

from filelock import FileLock, Timeout

from jointreid.machine.files import write_atomically
from jointreid.machine.reading import read_json
from jointreid.messages.errors import JointreidError
from jointreid.messages.typed import conform


@dataclass(frozen=True)
class Owner:
    """Who trains in a run directory.

    Attributes:
        host: its machine's name.
        pid: its process there.
        since: when it began, local time with offset; for people, nothing is decided by it.
        command: as it was started.
    """

    host: str
    pid: int
    since: str
    command: str

    @classmethod
    def here(cls) -> "Owner":
        """Return this process."""
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), now, shlex.join(sys.orig_argv))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


@contextmanager
def held(run: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from training in a run directory, which is made if it is not there.

    The system frees the lock of a process that dies; `lock.json` then tells whose it was, and is taken over with a
    note. Across machines not every file system passes such a lock on: there the note of another machine counts, until
    a person removes it. Without an error or with one, what was made here and is still empty is removed at the end.

    Args:
        run: the run directory.
        say: told that a dead process's lock is taken over.

    Raises:
        JointreidError: another process has it, or may have it, or the directory cannot be written.
    """
    made = [folder for folder in (run, *run.parents) if not folder.exists()]
    lock, note = run / "lock", run / "lock.json"
    mutex = FileLock(lock, timeout=0)
    try:
        try:
            run.mkdir(parents=True, exist_ok=True)
            mutex.acquire()
            _take_over(run, note, say)
        except OSError as error:  # of which Timeout is one
            raise JointreidError(_why_not(run, note, error)) from error
        try:
            yield
        finally:
            note.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
    finally:
        mutex.release()
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _take_over(run: Path, note: Path, say: Callable[[str], None]) -> None:
    """Write this process's name into the note, unless another machine's stands there."""
    before = _owner(note)
    if before and before.host != socket.gethostname():
        raise JointreidError(
            f"{run} is in use by {before}, or was when that process died, which cannot be told from here. If it is "
            f"gone, delete {note} and try again"
        )
    if before:
        say(f"{run} was left by {before}, which is gone; taken over.")
    write_atomically(note, json.dumps(asdict(Owner.here()), indent=1))


def _why_not(run: Path, note: Path, error: OSError) -> str:
    if isinstance(error, Timeout):
        owner = _owner(note) or "another process"
        return f"{run} is in use by {owner}; wait for its end, or choose another directory with --out"
    return f"{run} cannot be written: {error.strerror or error}; choose another directory with --out"


def _owner(note: Path) -> Owner | None:
    """Return whom a note names; None if there is none, or it cannot be read."""
    try:
        plain = read_json(note)
        return Owner(**{key: conform(kind, plain[key]) for key, kind in Owner.__annotations__.items()})
    except (JointreidError, KeyError, TypeError, ValueError):
        return None
