"""Errors for memory or disk space that runs out during long work, with advice."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jointreid.messages.errors import JointreidError

# The disk or a quota is full, a file is too large, or the disk has become read-only or is broken.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
# PyTorch's messages on a CPU, where it raises a plain RuntimeError.
_NO_MEMORY = ("can't allocate memory", "not enough memory")


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


def _is_for_memory(error: Exception) -> bool:
    # torch.OutOfMemoryError by name, so that torch need not be loaded.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(text in str(error) for text in _NO_MEMORY)
    )
