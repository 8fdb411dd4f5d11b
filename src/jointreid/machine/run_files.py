"""Checkpoints on disk: a folder of files under a list of their checksums, written whole, and versions of its format.

`manifest.json` names every other file of a checkpoint with its size and SHA-256, and is written last: a folder without
a readable one was cut off. A new checkpoint is read back before it takes the place of the one before.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jointreid.machine.files import remove, replace_folder, sync, write_new
from jointreid.machine.hashing import bytes_sha256, file_sha256
from jointreid.machine.reading import read_json, require_inside
from jointreid.messages.errors import JointreidError

FORMAT_VERSION = 2

CHECKPOINTS = ("last", "best")
MANIFEST, STATE, WEIGHTS, TRAINING = "manifest.json", "state.json", "model.safetensors", "training.safetensors"
NEW, OLD = ".new", ".old"

# A manifest is a few lines, the numbers of progress a few hundred.
_MAX_MANIFEST, _MAX_STATE = 2**16, 2**24


def write_checkpoint(run: Path, name: str, contents: Mapping[str, Callable[[], bytes]]) -> None:
    """Write a checkpoint beside the old one, read it back, then let it take the other's place.

    Args:
        run: the run directory.
        name: one of `CHECKPOINTS`.
        contents: file name -> what gives its bytes; one is held in memory at a time.

    Raises:
        JointreidError: it cannot be written, or does not read back; the old one is as it was.
    """
    folder, new = run / name, run / f"{name}{NEW}"
    try:
        _keep_finished(folder, new, contents)
        remove(new)
        new.mkdir(parents=True)
        listed = {file: _write(new / file, make()) for file, make in contents.items()}
        manifest = json.dumps({"format_version": FORMAT_VERSION, "files": listed}, indent=1) + "\n"
        write_new(new / MANIFEST, manifest.encode())
        sync(new)
        for file in listed:
            _forget(new / file)
            verify(new / file)
        replace_folder(folder, new, run / f"{name}{OLD}")
    except (OSError, JointreidError) as error:
        if folder.is_dir():
            _discard(new)
        kept = f"; the one before it, {folder}, is as it was" if folder.is_dir() else ""
        raise JointreidError(
            f"{folder}: cannot save a checkpoint: {getattr(error, 'strerror', None) or error}{kept}. Mend this, then "
            f"go on with --resume {run}"
        ) from error


def folder_of(run: Path, name: str) -> Path | None:
    """Return the folder of the newest checkpoint of a name that was written to its end, None without one.

    It is not `run/name` only where a save was killed between two renames.
    """
    for folder in candidates(run, name):
        return folder
    return None


def candidates(run: Path, name: str) -> list[Path]:
    """Return the folders that may hold a checkpoint, in the order in which they are to be tried."""
    folder, new, old = run / name, run / f"{name}{NEW}", run / f"{name}{OLD}"
    found = [folder] if folder.is_dir() else []
    found += [new] if new.is_dir() and _is_finished(new) else []
    return found + ([old] if old.is_dir() else [])


def read_state(run: Path, folder: Path) -> dict[str, Any]:
    """Return the progress that a checkpoint records, in the form of this version.

    Raises:
        JointreidError: it is damaged, leads out of the run, or of a version that is not known.
    """
    path = folder / STATE
    require_inside(path, run)
    verify(path)
    state = read_json(path, _MAX_STATE)
    version = state.pop("format_version", None)
    if version != 1 and not (folder / MANIFEST).is_file():
        raise JointreidError(f"{folder}: {MANIFEST} is missing, so nothing says whether the other files are whole")
    require_version(version, path)
    for step in range(version, FORMAT_VERSION):
        state = MIGRATIONS[step](state)
    return state


def verify(path: Path) -> None:
    """Compare a file with the checksum beside it, if there is one; checkpoints of version 1 have none.

    Raises:
        JointreidError: it has another size or other content than was written, or is not of the checkpoint.
    """
    manifest = path.parent / MANIFEST
    if not manifest.is_file():
        return
    before: tuple[int, str] | None = None
    damage = ""
    while (listed := _listed(manifest, path.name)) != before:  # else a run in training has saved in between
        before = listed
        damage = _damage(path, *listed)
        if not damage:
            return
    raise JointreidError(f"{path} {damage}{_remedy(path)}")


def require_version(version: object, path: Path) -> None:
    """Refuse what another version of this package wrote and this one cannot read.

    Raises:
        JointreidError: says whether a newer version is needed.
    """
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        newer = "; a newer jointreid wrote it: update" if type(version) is int and version > FORMAT_VERSION else ""
        raise JointreidError(
            f"{path}: its format version is {version!r:.20}, this jointreid reads 1 to {FORMAT_VERSION}{newer}"
        )


def _state_from_1(state: dict[str, Any]) -> dict[str, Any]:
    """Version 1 kept the optimiser's settings, which are those of the run, and no count of the lines logged."""
    return {key: value for key, value in state.items() if key != "optimizer"}


# Version -> what makes progress of it into that of the next.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _state_from_1}


def _keep_finished(folder: Path, new: Path, files: Iterable[str]) -> None:
    """Let a save that a kill left beside its name have it: it may be the only whole one until the next is written."""
    if folder.exists() or folder.is_symlink() or new.is_symlink() or not _is_finished(new):
        return
    try:
        for file in files:
            verify(new / file)
    except JointreidError:
        return
    os.rename(new, folder)
    sync(folder.parent)


def _write(path: Path, content: bytes) -> dict[str, Any]:
    """Write a file and return its entry in the manifest."""
    write_new(path, content)
    return {"bytes": len(content), "sha256": bytes_sha256(content)}


def _forget(path: Path) -> None:
    """Let the system drop what it holds of a file in memory, so that the next reader reads the disk."""
    if hasattr(os, "posix_fadvise"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _discard(folder: Path) -> None:
    """Remove what a failed save left, if that is possible: it holds the space that is needed."""
    try:
        remove(folder)
    except OSError:
        return


def _is_finished(folder: Path) -> bool:
    try:
        _listed(folder / MANIFEST, STATE)
    except JointreidError:
        return False
    return True


def _listed(manifest: Path, name: str) -> tuple[int, str]:
    """Return the size and checksum that a manifest lists for a file."""
    plain = read_json(manifest, _MAX_MANIFEST)
    require_version(plain.get("format_version"), manifest)
    files = plain.get("files")
    entry = files.get(name) if isinstance(files, dict) else None
    if not isinstance(entry, dict) or type(entry.get("bytes")) is not int or type(entry.get("sha256")) is not str:
        raise JointreidError(f"{manifest}: does not list {name} with its bytes and sha256; it is damaged")
    return entry["bytes"], entry["sha256"]


def _damage(path: Path, size: int, digest: str) -> str:
    """Return what is wrong with a file, compared with what a manifest says of it."""
    found = path.stat().st_size if path.is_file() else None
    if found is None:
        return "is missing"
    if found != size:
        return f"is damaged: it holds {found:,} bytes, {size:,} were written"
    return "" if file_sha256(path) == digest else "is damaged: its content is not what was written (SHA-256)"


def _remedy(path: Path) -> str:
    """Return what to do about a damaged checkpoint."""
    folder = path.parent
    others = [folder.with_name(folder.name + suffix) for suffix in (NEW, OLD)]
    if there := [other for other in others if other.is_dir() and folder.suffix not in (NEW, OLD)]:
        return f"; {there[0]} may hold another save: --resume tries it"
    return "; restore it from a copy of the run, or train again"
