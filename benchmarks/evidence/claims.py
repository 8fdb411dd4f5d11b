"""Several processes on one plan: each takes a task that no other has taken."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evidence.tasks import Task
from jointreid.machine.locks import LockHeld, ProcessLock


def lock_folder(out: Path) -> Path:
    """Return the folder of the locks below `out`; it is made if it is not there."""
    folder = out / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def claimed(tasks: Iterable[Task], is_left: Callable[[Task], bool], out: Path) -> Iterator[Task | None]:
    """Yield the first task that is left and that no other process works on now; None if there is none.

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
            if is_left(task):  # another process may have finished it just before
                yield task
                return
        finally:
            lock.release()
    yield None
