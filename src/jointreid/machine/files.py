"""Writing files and folders atomically: a reader finds the complete old one or the complete new one.

Contents are on disk before a name points to them, and the name is on disk before a function returns. This holds after a
crash of the process or of the machine, except for the steps that a file system refuses (`refusals.py`).
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jointreid.machine.refusals import Step, is_refusal, tell

# Bytes written at once; a signal waits for no more than these.
_CHUNK = 8 * 2**20
# In a folder that is being copied.
_PART = ".being-copied"
# Without O_BINARY, Windows writes each line feed as two characters.
_BINARY = getattr(os, "O_BINARY", 0)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, otherwise it is removed.

    Parent folders are created. The content is on disk (fsync) before the rename, so a crash never leaves half a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    begin = os.fsencode(path.name)[:80].decode(errors="ignore")
    temporary = path.with_name(f".{begin}.{secrets.token_hex(6)}{path.suffix[:16]}")
    os.close(_create(temporary))
    try:
        yield temporary
        sync(temporary)
        replace(temporary, path)
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
    handle = _create(path)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(handle, left[:_CHUNK]) :]
        sync_handle(handle, path)
    finally:
        os.close(handle)


def replace(new: Path, path: Path) -> None:
    """Rename a file to `path`, over the file that may be there."""
    try:
        os.replace(new, path)
    except OSError as error:
        if not (is_refusal("replace", error) and path.is_file()):
            raise
        before = path.with_name(f".{path.name}.before")
        before.unlink(missing_ok=True)
        os.rename(path, before)
        try:
            os.rename(new, path)
        except OSError:
            os.rename(before, path)
            raise
        before.unlink()
        tell("replace", path)


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
        rename_folder(folder, old)
    rename_folder(new, folder)
    sync(folder.parent)
    try:
        remove(old)
    except OSError as error:  # another process reads from it, on a network share or on Windows
        if not is_refusal("clean up", error):
            raise
        tell("clean up", old)


def rename_folder(source: Path, target: Path) -> None:
    """Rename a folder, or a link to one; where that is refused, copy it, then remove the first one.

    A crash during the copy leaves `source`, and a part of it as `target`, which `is_part` knows and the next call
    removes.

    Args:
        source: what to rename.
        target: its new name, which must be free.
    """
    if is_part(target):
        remove(target)
    try:
        os.rename(source, target)
    except OSError as error:
        if not is_refusal("rename folder", error) or source.is_symlink() or not source.is_dir() or target.exists():
            raise
        target.mkdir()
        (target / _PART).touch()
        _copy_contents(source, target)
        remove(source)
        (target / _PART).unlink()
        tell("rename folder", source)


def _copy_contents(source: Path, target: Path) -> None:
    for path in source.iterdir():
        copy = target / path.name
        if path.is_dir():
            copy.mkdir()
            _copy_contents(path, copy)
        else:
            shutil.copyfile(path, copy)
            sync(copy)
    sync(target)


def is_part(folder: Path) -> bool:
    """Return whether a folder was being copied by `rename_folder` when the process died."""
    return (folder / _PART).is_file()


def remove(path: Path) -> None:
    """Remove a folder with its contents, a link or a file, if it exists."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        for entry in list(path.iterdir()):  # not shutil.rmtree: it opens folders, which some file systems refuse
            remove(entry)
        path.rmdir()


def free_space(folder: Path) -> int | None:
    """Return how many bytes may be written to a folder's file system; None if it does not say."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        if not is_refusal("free space", error):
            raise
        usage = None
    if usage is None or not usage.total:
        tell("free space", folder)
        return None
    return usage.free


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on disk."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":  # Windows opens no folders; NTFS keeps a journal of names
        return
    try:
        handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | _BINARY)  # Windows: only what may be written
    except OSError as error:
        if not (is_folder and is_refusal("sync folder", error)):
            raise
        tell("sync folder", path)
        return
    try:
        sync_handle(handle, path, is_folder=is_folder)
    finally:
        os.close(handle)


def sync_handle(handle: int, path: Path, *, is_folder: bool = False) -> None:
    """Wait until what was written to an open file is on disk.

    Args:
        handle: its descriptor.
        path: its path, for a message.
        is_folder: whether it is a folder.
    """
    step: Step = "sync folder" if is_folder else "sync file"
    try:
        os.fsync(handle)
    except OSError as error:
        if not is_refusal(step, error):
            raise
        tell(step, path)


def probe(folder: Path) -> None:
    """Write a file into a folder and remove it.

    Raises:
        OSError: no file can be written there.
    """
    path = folder / f".{secrets.token_hex(8)}.probe"
    os.close(_create(path))
    path.unlink()


def _create(path: Path) -> int:
    """Create a file, with the permissions of the user's umask, and return its descriptor.

    Raises:
        OSError: it exists, or cannot be created.
    """
    flags = os.O_RDWR | os.O_CREAT | _BINARY
    try:
        return os.open(path, flags | os.O_EXCL, 0o666)
    except OSError as error:
        if not is_refusal("create", error) or path.exists() or path.is_symlink():
            raise
        handle = os.open(path, flags, 0o666)
        tell("create", path)
        return handle
