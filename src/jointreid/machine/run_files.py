"""Checkpoints on disk: folders that are written whole, with checksums, and the versions of their format.

`manifest.json` lists every other file of a checkpoint with its size and SHA-256. It is written last, so a folder
without a readable one was not finished. A new checkpoint is read back before it replaces the previous one.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

from jointreid.machine.files import remove, rename_folder, replace_folder, sync, write_new
from jointreid.machine.hashing import bytes_sha256, file_sha256
from jointreid.machine.reading import read_json, require_inside
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError

FORMAT_VERSION = 2

CheckpointName = Literal["last", "best"]
CHECKPOINTS = get_args(CheckpointName)
CHECKSUMS, STATE, WEIGHTS, TRAINING = "manifest.json", "state.json", "model.safetensors", "training.safetensors"
NEW, OLD = ".new", ".old"

# Bytes. The checksums are a few lines, the state a few hundred numbers.
_MAX_CHECKSUMS, _MAX_STATE = 2**16, 2**24


def write_checkpoint(run: Path, name: str, contents: Mapping[str, Callable[[], bytes]]) -> None:
    """Write a checkpoint beside the previous one, read it back, then replace the previous one.

    Args:
        run: the run directory.
        name: one of `CHECKPOINTS`.
        contents: file name -> a function that returns its bytes; one file is in memory at a time.

    Raises:
        JointreidError: it cannot be written, or reads back differently; the previous one is unchanged.
    """
    folder, new = run / name, run / f"{name}{NEW}"
    try:
        _keep_finished(folder, new, contents)
        remove(new)
        new.mkdir(parents=True)
        listed = {file: _write(new / file, make()) for file, make in contents.items()}
        checksums = json.dumps({"format_version": FORMAT_VERSION, "files": listed}, indent=1) + "\n"
        write_new(new / CHECKSUMS, checksums.encode())
        sync(new)
        for file in listed:
            _forget(new / file)
            verify(new / file)
        replace_folder(folder, new, run / f"{name}{OLD}")
    except (OSError, JointreidError) as error:
        if folder.is_dir():
            _discard(new)
        kept = f"; the previous checkpoint, {folder}, is unchanged" if folder.is_dir() else ""
        raise JointreidError(
            f"{folder}: cannot save a checkpoint: {getattr(error, 'strerror', None) or error}{kept}. Correct this, "
            f"then resume with `{command('train', '--resume', run)}`"
        ) from error


def folder_of(run: Path, name: str) -> Path | None:
    """Return the folder of the newest finished checkpoint of that name; None if there is none.

    It is `run/name`, unless a save was killed between two renames.
    """
    for folder in candidates(run, name):
        return folder
    return None


def candidates(run: Path, name: str) -> list[Path]:
    """Return the folders that may hold a checkpoint of that name, in the order to try them."""
    folder, new, old = run / name, run / f"{name}{NEW}", run / f"{name}{OLD}"
    found = [folder] if folder.is_dir() else []
    found += [new] if new.is_dir() and _is_finished(new) else []
    return found + ([old] if old.is_dir() else [])


def read_state(run: Path, folder: Path) -> dict[str, Any]:
    """Return the state of a checkpoint, in the format of this version.

    Raises:
        JointreidError: it is damaged, of an unknown version, or a link out of the run directory.
    """
    path = folder / STATE
    require_inside(path, run)
    verify(path)
    state = read_json(path, _MAX_STATE)
    version = state.pop("format_version", None)
    if version != 1 and not (folder / CHECKSUMS).is_file():
        raise JointreidError(f"{folder}: {CHECKSUMS} is missing, so its files cannot be verified")
    require_version(version, path)
    for step in range(version, FORMAT_VERSION):
        state = MIGRATIONS[step](state)
    return state


def verify(path: Path) -> None:
    """Compare a file with its checksum, if the folder has checksums; checkpoints of version 1 have none.

    Raises:
        JointreidError: its size or content is not what was written, or the checksums do not list it.
    """
    checksums = path.parent / CHECKSUMS
    if not checksums.is_file():
        return
    before: tuple[int, str] | None = None
    damage = ""
    while (listed := _listed(checksums, path.name)) != before:  # if they changed, a running training saved meanwhile
        before = listed
        damage = _damage(path, *listed)
        if not damage:
            return
    raise JointreidError(f"{path} {damage}{_remedy(path)}")


def require_version(version: object, path: Path) -> None:
    """Refuse a file of a format version that this package cannot read.

    Raises:
        JointreidError: the version is unknown; the message says if a newer jointreid wrote it.
    """
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        newer = "; a newer jointreid wrote it: update" if type(version) is int and version > FORMAT_VERSION else ""
        raise JointreidError(
            f"{path}: its format version is {version!r:.20}, this jointreid reads 1 to {FORMAT_VERSION}{newer}"
        )


def _state_from_1(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the optimiser's settings, which version 1 wrote although they are those of the run."""
    return {key: value for key, value in state.items() if key != "optimizer"}


# Version -> a function from its state to that of the next version.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _state_from_1}


def _keep_finished(folder: Path, new: Path, files: Iterable[str]) -> None:
    """Rename a finished checkpoint that a kill left as `<name>.new`: until the next one it may be the only one."""
    if folder.exists() or folder.is_symlink() or new.is_symlink() or not _is_finished(new):
        return
    try:
        for file in files:
            verify(new / file)
    except JointreidError:
        return
    rename_folder(new, folder)
    sync(folder.parent)


def _write(path: Path, content: bytes) -> dict[str, Any]:
    """Write a file and return its entry in the checksums."""
    write_new(path, content)
    return {"bytes": len(content), "sha256": bytes_sha256(content)}


def _forget(path: Path) -> None:
    """Drop a file from the system's page cache, so that the next read comes from the disk."""
    if hasattr(os, "posix_fadvise"):
        handle = os.open(path, os.O_RDONLY)
        try:
            with suppress(OSError):  # not every file system can
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _discard(folder: Path) -> None:
    """Remove what a failed save left, if possible: it takes up space that is needed."""
    try:
        remove(folder)
    except OSError:
        return


def _is_finished(folder: Path) -> bool:
    try:
        _listed(folder / CHECKSUMS, STATE)
    except JointreidError:
        return False
    return True


def _listed(checksums: Path, name: str) -> tuple[int, str]:
    """Return the size and SHA-256 that are listed for a file."""
    plain = read_json(checksums, _MAX_CHECKSUMS)
    require_version(plain.get("format_version"), checksums)
    files = plain.get("files")
    entry = files.get(name) if isinstance(files, dict) else None
    if not isinstance(entry, dict) or type(entry.get("bytes")) is not int or type(entry.get("sha256")) is not str:
        raise JointreidError(f"{checksums}: does not list {name} with its bytes and sha256; it is damaged")
    return entry["bytes"], entry["sha256"]


def _damage(path: Path, size: int, digest: str) -> str:
    """Return how a file differs from what was written; an empty text if it does not."""
    found = path.stat().st_size if path.is_file() else None
    if found is None:
        return "is missing"
    if found != size:
        return f"is damaged: it holds {found:,} bytes, {size:,} were written"
    return "" if file_sha256(path) == digest else "is damaged: its content is not what was written (SHA-256)"


def _remedy(path: Path) -> str:
    """Return advice about a damaged checkpoint."""
    folder = path.parent
    others = [folder.with_name(folder.name + suffix) for suffix in (NEW, OLD)]
    if there := [other for other in others if other.is_dir() and folder.suffix not in (NEW, OLD)]:
        return f"; {there[0]} may hold another checkpoint: --resume tries it"
    return "; restore it from a copy of the run, or train again"
