"""Errors for memory, disk space or helper processes that run out during long work, with advice."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jointreid.machine.system import SHARED_MEMORY, shared_memory
from jointreid.messages.errors import JointreidError

# The disk or a quota is full, a file is too large, or the disk has become read-only or is broken.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
# PyTorch's messages on a CPU, where it raises a plain RuntimeError.
_NO_MEMORY = ("can't allocate memory", "not enough memory")
# PyTorch's messages about processes that load data, and about the memory through which they hand it over.
_WORKERS = (
    "dataloader worker",
    "bus error",
    "shared memory",
    "(shm)",
    "file </torch_",
    "torch_shm_manager",
    "too many open files",
    "ancdata",
    "process pool",
)
# Of multiprocessing, which needs semaphores in shared memory.
_NO_SEMAPHORES = {errno.ENOSYS, errno.ENOSPC, errno.EACCES, errno.ENOENT, errno.EMFILE}


@contextmanager
def short_of_memory(advice: Callable[[], str]) -> Iterator[None]:
    """Turn an out-of-memory error, of the machine or of a GPU, into a message for people.

    Args:
        advice: returns which settings to lower and by how much; called only after an error.

    Raises:
        JointreidError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_for_memory(error):
            raise
        cause = str(error).partition("\n")[0][:300] or type(error).__name__
        raise JointreidError(f"out of memory: {advice()}. What failed: {cause}") from error


@contextmanager
def short_of_disk(advice: Callable[[], str]) -> Iterator[None]:
    """Turn an error of a disk that is full or no longer writable into a message for people.

    Args:
        advice: returns what is lost and how to resume; called only after an error.

    Raises:
        JointreidError: the disk is full or no longer writable.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = error.filename or "a file of the run"
        raise JointreidError(f"{where} cannot be written: {error.strerror}; {advice()}") from error


@contextmanager
def short_of_workers(workers: int, work: str, alone: int) -> Iterator[None]:
    """Turn the failure of helper processes (option `--workers`) into a message for people.

    Args:
        workers: how many there are.
        work: what they do, such as `load images`.
        alone: the number of workers that stands for none, with which nothing is changed.

    Raises:
        JointreidError: one was killed, or they could not hand over their results.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        if workers == alone or not _is_of_workers(error):
            raise
        cause = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        if sizes := shared_memory():
            total, free = (f"{size / 1e6:,.0f} MB" for size in sizes)
            held = f"{SHARED_MEMORY}, through which they hand over results, holds {total}, of which {free} are free"
        else:
            held = "they hand over results through shared memory"
        raise JointreidError(
            f"the {workers} processes that {work} failed: {held}. Use --workers {alone}, which does without them, or "
            f"fewer, or mount more (docker run --shm-size 8g, or mount -o remount,size=8G {SHARED_MEMORY}); if one was "
            f"killed, memory may have run out. What failed: {cause.strip():.300}"
        ) from error


def _is_of_workers(error: Exception) -> bool:
    text = str(error).lower()
    if any(sign in text for sign in _WORKERS):
        return True
    return isinstance(error, OSError) and error.filename is None and error.errno in _NO_SEMAPHORES


def _is_for_memory(error: Exception) -> bool:
    # torch.OutOfMemoryError by name, so that torch need not be loaded.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(text in str(error) for text in _NO_MEMORY)
    )
