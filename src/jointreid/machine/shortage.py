"""What runs out during long work, memory or disk, told with what to do about it."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jointreid.messages.errors import JointreidError

# The disk or a quota is full, a file larger than allowed, the disk not writable any more, or broken.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
# How PyTorch says so where it has no exception of its own: on a CPU.
_NO_MEMORY = ("can't allocate memory", "not enough memory")


@contextmanager
def short_of_memory(advice: Callable[[], str]) -> Iterator[None]:
    """Turn an error for want of memory, of the machine or of a GPU, into one for people.

    Args:
        advice: returns what to lower, by how much; called after the error only.

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
    """Turn an error of a disk that is full, or can no longer be written, into one for people.

    Args:
        advice: returns what is lost, and how to go on; called after the error only.

    Raises:
        JointreidError: the disk is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        where = error.filename or "a file of the run"
        raise JointreidError(f"{where} cannot be written: {error.strerror}; {advice()}") from error


def _is_for_memory(error: Exception) -> bool:
    # torch.OutOfMemoryError by its name: whoever catches this need not have loaded torch.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(text in str(error) for text in _NO_MEMORY)
    )
