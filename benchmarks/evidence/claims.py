"""Several processes on one plan: each takes a training that no other has taken."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evidence.records import RecordStore
from evidence.tasks import Task
from jointreid.machine.locks import LockHeld, ProcessLock


def lock_folder(out: Path) -> Path:
    """Return the folder of the locks below `out`; it is made if it is not there."""
    folder = out / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def claimed(tasks: Iterable[Task], store: RecordStore, out: Path) -> Iterator[Task | None]:
    """Yield the first training that has no record and that no other process trains now; None if there is none.

    In this context it is locked, by a file below `out/locks`; the system frees the lock of a process that dies.
    """
    folder = lock_folder(out)
    for task in tasks:
        lock = ProcessLock(folder / task.name)
        try:
            lock.acquire()
        except LockHeld:
            continue
        try:
            if store(task.name) is None:  # another process may have finished it just before
                yield task
                return
        finally:
            lock.release()
    yield None
