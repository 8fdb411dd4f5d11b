"""Writing files and folders atomically: a reader finds the complete old one or the complete new one.

Contents are on disk before a name points to them, and the name is on disk before a function returns. This holds after a
crash of the process or of the machine.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Bytes written at once; a signal waits for no more than these.
_CHUNK = 8 * 2**20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, otherwise it is removed.

    Parent folders are created. The content is on disk (fsync) before the rename, so a crash never leaves half a file.
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
    """Write text (as UTF-8) or bytes to `path`, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_new(path: Path, content: bytes) -> None:
    """Write bytes to a new file and wait until they are on disk; a crash or an error may leave half of them.

    Raises:
        OSError: the file exists, or the disk is full.
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
    """Replace `folder` by the folder `new`; meanwhile the former one is named `old`, and finally it is removed.

    If a crash leaves no `folder`, `new` and `old` are there under their names.

    Args:
        folder: the path that readers use; need not exist yet.
        new: its replacement in the same parent folder, on disk.
        old: a path in the same parent folder; anything there is removed.
    """
    if folder.exists() or folder.is_symlink():
        remove(old)
        os.rename(folder, old)
    os.rename(new, folder)
    sync(folder.parent)
    remove(old)


def remove(path: Path) -> None:
    """Remove a folder with its contents, a link or a file, if it exists."""
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
