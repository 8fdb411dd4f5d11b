"""Synthetic people on disk: JPEG files in Market-1501's layout, a manifest, and a sheet to look at."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import astuple
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from jointreid.data.manifest import write_manifest
from jointreid.data.readers.market_style import SPLIT_FOLDERS
from jointreid.data.records import Domain, ImageRecord
from jointreid.machine.files import replace, write_atomically
from jointreid.machine.hashing import text_sha256
from jointreid.machine.paths import require_writable, user_path
from jointreid.machine.shortage import short_of_workers
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.progress import OnProgress
from jointreid.synthetic.cameras import Camera, draw_camera, photograph
from jointreid.synthetic.looks import Look, draw_look
from jointreid.synthetic.presets import PRESETS, DomainSpec
from jointreid.synthetic.sheet import contact_sheet
from jointreid.synthetic.shots import STRANGER, Shot, choose_shots

TERMS = "Drawn by a program: nobody is shown. Names, people, places and cameras are made up."

# What classes and fields of custom domains were called when their hash depended on these names.
_EARLIER_NAMES = {
    "DomainSpec(": "Recipe(",
    "SplitSize(": "Split(",
    "CameraRanges(": "World(",
    "camera_ranges=": "world=",
}
_DRAWING = 1  # raised when the same arguments draw other pictures than before
_STATE = "synthetic.json"
_CHUNK = 128  # shots a worker takes at a time
_FEW = 8 * _CHUNK  # up to this many shots, starting other processes takes longer than it saves
_LEAST_HEIGHT = 32  # thin objects in a street are at least a pixel wide then
_LEFT_BEHIND = 60  # seconds after which a half-written file counts as abandoned; writing takes milliseconds


def synthesise(
    folder: str | Path,
    preset: str | Sequence[DomainSpec] = "tiny",
    *,
    seed: int = 0,
    limit: int = 0,
    height: int = 128,
    workers: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> Path:
    """Draw people before the cameras of several domains, and write them to disk.

    A shot is drawn from the seed, its domain and its number alone: equal arguments give equal files, on one machine
    with one version of NumPy, numba and Pillow, with any number of processes. After an interruption, the same call
    resumes.

    Args:
        folder: where to write: `manifest.csv`, its side file, `sheet.jpg`, and for each domain a folder in the layout
            of Market-1501, which its reader and those of other tools read.
        preset: a name among `PRESETS`, or custom domains.
        seed: of everything that is drawn.
        limit: greatest number of images, see `choose_shots`; 0 draws all.
        height: of an image, in pixels; it is half as wide.
        workers: processes; 0 takes one for each core. With more than one, a script that calls this must do so
            under `if __name__ == "__main__":`, because each process imports it.
        on_progress: called with (images done, images in all).

    Returns:
        The path of the manifest.

    Raises:
        JointreidError: there is no such preset, the domains are inconsistent, a number is out of range, or the folder
            contains other files.
    """
    folder = user_path(folder)
    require_writable(folder, "--out")
    if isinstance(preset, str) and preset not in PRESETS:
        raise JointreidError(no_such("preset", preset, PRESETS))
    if height < _LEAST_HEIGHT or min(limit, seed, workers) < 0:
        raise JointreidError(
            f"height is {height}, limit {limit}, seed {seed}, workers {workers}; expected a height of {_LEAST_HEIGHT} "
            "pixels or more, the others 0 or more"
        )
    specs = PRESETS[preset] if isinstance(preset, str) else tuple(preset)
    shots = choose_shots(specs, seed, limit)
    counts = {domain: len(taken) for domain, taken in shots.items()}
    numbers = {"seed": seed, "limit": limit, "height": height, "images": counts}
    names = [preset] if isinstance(preset, str) else _custom_names(specs)
    _claim(folder, [{"drawing": _DRAWING, "preset": name, **numbers} for name in names])
    _draw_all(folder, specs, shots, seed, height, workers, on_progress)
    manifest = folder / "manifest.csv"
    domains = [_domain(folder, spec, shots[spec.name]) for spec in specs]
    write_atomically(folder / "sheet.jpg", contact_sheet(domains))
    write_manifest(domains, manifest)
    return manifest


def _custom_names(specs: Sequence[DomainSpec]) -> list[str]:
    """Return the name of custom domains, made of their values, and the one that they had in earlier folders."""
    values = json.dumps([astuple(spec) for spec in specs], default=float)
    earlier = repr(specs)
    for name, before in _EARLIER_NAMES.items():
        earlier = earlier.replace(name, before)
    return [f"custom, {text_sha256(values)[:16]}", f"own, {text_sha256(earlier)[:16]}"]


def _claim(folder: Path, states: Sequence[Mapping[str, object]]) -> None:
    """Record what will be drawn here, or find the record of an earlier call; refuse a folder with other files.

    Args:
        folder: where to draw.
        states: the record to write, then others that an earlier version wrote for the same images.
    """
    path = folder / _STATE
    texts = [json.dumps(state, indent=2) + "\n" for state in states]
    if path.is_file():
        if path.read_text(encoding="utf-8") not in texts:
            raise JointreidError(
                f"{folder}: contains other synthetic images (see {path.name}); remove it, or choose another folder"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise JointreidError(f"{folder}: is not empty and contains no synthetic images; choose another folder")
    write_atomically(path, texts[0])


def _domain(folder: Path, spec: DomainSpec, shots: Sequence[Shot]) -> Domain:
    splits: dict[str, list[ImageRecord]] = {"train": [], "query": [], "gallery": []}
    for shot in shots:
        path = folder / spec.name / shot.path
        record = ImageRecord(path, f"{shot.pid:04d}", shot.camid, distractor=shot.pid == STRANGER)
        splits[shot.split].append(record)
    return Domain(
        spec.name,
        train=tuple(splits["train"]),
        query=tuple(splits["query"]),
        gallery=tuple(splits["gallery"]),
        exclude_same_camera=spec.exclude_same_camera,
        cameras=tuple(range(spec.cameras)),
        terms=TERMS,
        source=str(folder / spec.name),
    )


# Drawing


def _draw_all(
    folder: Path,
    specs: Sequence[DomainSpec],
    shots: Mapping[str, Sequence[Shot]],
    seed: int,
    height: int,
    workers: int,
    on_progress: OnProgress,
) -> None:
    chunks: list[tuple[int, list[Shot]]] = []
    for index, spec in enumerate(specs):
        for split in SPLIT_FOLDERS.values():
            (folder / spec.name / split).mkdir(parents=True, exist_ok=True)
            _clear(folder / spec.name / split)
        missing = [shot for shot in shots[spec.name] if not (folder / spec.name / shot.path).exists()]
        # By camera, because painting a place takes as long as many shots.
        missing.sort(key=lambda shot: shot.camid)
        chunks += [(index, missing[start : start + _CHUNK]) for start in range(0, len(missing), _CHUNK)]
    total, left = sum(len(taken) for taken in shots.values()), sum(len(chunk) for _, chunk in chunks)
    for drawn in _draw_chunks(folder, specs, chunks, seed, height, 1 if left <= _FEW else workers):
        left -= drawn
        on_progress(total - left, total)


def _draw_chunks(
    folder: Path,
    specs: Sequence[DomainSpec],
    chunks: Sequence[tuple[int, Sequence[Shot]]],
    seed: int,
    height: int,
    workers: int,
) -> Iterator[int]:
    """Draw chunks, here or in other processes, and yield the number of shots of each that is finished."""
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        for index, chunk in chunks:
            yield _draw_chunk(folder, specs[index], index, chunk, seed, height)
        return
    with short_of_workers(workers, "draw images", alone=1), _pool(workers) as pool:
        begun: list[Future[int]] = [
            pool.submit(_draw_chunk, folder, specs[index], index, chunk, seed, height) for index, chunk in chunks
        ]
        for done in as_completed(begun):
            yield done.result()


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A process pool that starts no further work after a failure or an interruption."""
    if os.name == "nt":
        workers = min(workers, 61)  # more than Windows can wait for
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _draw_chunk(folder: Path, spec: DomainSpec, index: int, chunk: Sequence[Shot], seed: int, height: int) -> int:
    for shot in chunk:
        random = np.random.default_rng([seed, index, 2, shot.number])
        view = int(random.integers(spec.views))
        camera = _camera(spec, (seed, index, 0, shot.camid, view))
        look = _look(spec, (seed, index, 1, shot.pid, shot.number if shot.pid == STRANGER else 0))
        content = photograph(look, camera, spec.camera_ranges, spec.fashion, random, height, height // 2)
        _put(folder / spec.name / shot.path, content)
    return len(chunk)


@lru_cache(maxsize=256)
def _camera(spec: DomainSpec, seed: tuple[int, ...]) -> Camera:
    return draw_camera(seed, spec.camera_ranges)


@lru_cache(maxsize=4096)
def _look(spec: DomainSpec, seed: tuple[int, ...]) -> Look:
    return draw_look(np.random.default_rng(seed), spec.fashion)


def _put(path: Path, content: bytes) -> None:
    """Write a complete file without waiting for the disk: hundreds are written per second, and any can be redrawn."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Remove half-written files of a killed call, but not those of a call that is running now."""
    for left in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):  # just finished
            if time.time() - left.stat().st_mtime > _LEFT_BEHIND:
                left.unlink()
