"""Keeping the memory that a network on a CPU frees for its next step, instead of returning it to the system.

glibc requests every block above 32 MiB from the system, which zeroes its pages, and returns it when it is freed. A step
of a ResNet does this with most of its feature maps, and spends up to 40 % of its time there.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Constants of glibc's malloc.h; mallopt takes a parameter and its value.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
_DEFAULT = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 128 * 1024}

_lock = threading.Lock()
_users = 0


@contextmanager
def kept_memory(device: str) -> Iterator[None]:
    """Keep memory that this process frees, if `device` is the CPU; afterwards return it to the system.

    A step then needs about a fifth more memory, because blocks of different sizes leave gaps. Without glibc (outside
    Linux) nothing changes.

    Args:
        device: a torch device's type.
    """
    if device != "cpu" or not sys.platform.startswith("linux"):
        yield
        return
    _change(+1)
    try:
        yield
    finally:
        _change(-1)


def _change(by: int) -> None:
    """Count the users, and configure glibc for the first and after the last of them."""
    global _users
    with _lock:
        before, _users = _users, _users + by
        if (before == 0) == (_users == 0):
            return
        libc = ctypes.CDLL(None)
        if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
            return
        for setting, value in (_KEEP if _users else _DEFAULT).items():
            libc.mallopt(setting, value)
        if not _users:
            libc.malloc_trim(0)
