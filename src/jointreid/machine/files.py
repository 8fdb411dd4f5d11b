"""Writing files and folders so that a reader finds the old one or the new one, whole.

Contents are on disk before a name points at them, and the name before a function returns: after a crash, of the machine
too, the old one or the new one is there.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Bytes handed to the system at once; a signal waits for no more than these.
_CHUNK = 8 * 2**20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; on success it takes the place of `path`, else it is removed.

    Parent folders are made. The content is on disk (fsync) before the rename, so a crash never leaves half a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        temporary.chmod(0o644)  # mkstemp makes files only their owner can read
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_new(path: Path, content: bytes) -> None:
    """Write bytes to a file that is not there yet, on to the disk; half of them may be left by a crash or an error.

    Raises:
        OSError: it is there, or the disk is full.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(handle, left[:_CHUNK]) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_folder(folder: Path, new: Path, old: Path) -> None:
    """Let folder `new` take the place of `folder`, which is called `old` until it has and then removed.

    A crash leaves `new` and `old` under these names where `folder` is missing.

    Args:
        folder: the name that readers use; need not exist yet.
        new: what takes it, in the same parent, on disk.
        old: a name in the same parent; what is there is removed.
    """
    if folder.exists() or folder.is_symlink():
        remove(old)
        os.rename(folder, old)
    os.rename(new, folder)
    sync(folder.parent)
    remove(old)


def remove(path: Path) -> None:
    """Remove a folder and what is in it, or a link or a file of that name, if any of them is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
