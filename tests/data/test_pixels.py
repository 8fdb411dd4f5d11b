"""The file of decoded images: what it holds, who shares it, and what it survives."""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from jointreid.config import ImageConfig
from jointreid.data import decoding, pixels
from jointreid.data.decode import read_image, resize_image
from jointreid.data.decoding import Pixels
from jointreid.data.pixels import PixelFile, cached_pixels
from jointreid.data.records import ImageRecord
from jointreid.messages.errors import JointreidError
from tests.full_disk import largest_file

IMAGE = ImageConfig(height=37, width=19)
ROW_BYTES = 37 * 19 * 3
SPAWN = get_context("spawn")


@pytest.fixture
def records(tmp_path: Path) -> list[ImageRecord]:
    return draw(tmp_path / "source", 9)


def draw(folder: Path, count: int, seed: int = 0) -> list[ImageRecord]:
    """Images of noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return [ImageRecord(folder / f"{i}.png", "0", 0) for i in range(count)]


def cached(records: Sequence[ImageRecord], folder: Path, image: ImageConfig = IMAGE, threads: int = 2) -> Pixels:
    mapped, rows = cached_pixels(records, image, folder, threads)
    return mapped[rows]


def decode(record: ImageRecord, image: ImageConfig) -> Pixels:
    return resize_image(read_image(record), image.height, image.width, image.interpolation)


def wanted(records: Sequence[ImageRecord], image: ImageConfig = IMAGE) -> Pixels:
    return np.stack([decode(record, image) for record in records])


def rows_in(folder: Path) -> int:
    return PixelFile(folder, IMAGE).pixels.stat().st_size // ROW_BYTES


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of images decoded since the test cleared it."""
    names: list[str] = []
    original = decoding.read_boxes

    def noting(path: Path, boxes: Any) -> Any:
        names.append(path.name)
        return original(path, boxes)

    monkeypatch.setattr(decoding, "read_boxes", noting)
    return names


def test_the_pixels_are_mapped_and_cannot_be_written(records: list[ImageRecord], tmp_path: Path) -> None:
    mapped, rows = cached_pixels(records, IMAGE, tmp_path / "new" / "cache", threads=2)
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    assert np.array_equal(mapped[rows], wanted(records))


def test_whatever_set_an_image_stands_in_it_is_decoded_once(tmp_path: Path, decodings: list[str]) -> None:
    domains = [draw(tmp_path / f"source{seed}", 3, seed) for seed in range(3)]
    for domain in domains[:2]:
        cached(domain, tmp_path)
    assert sorted(decodings) == sorted(["0.png", "1.png", "2.png"] * 2)
    decodings.clear()
    union = [*domains[2], *domains[1][::-1], *domains[0]]
    assert np.array_equal(cached(union, tmp_path), wanted(union))
    assert sorted(decodings) == ["0.png", "1.png", "2.png"]  # of the third
    decodings.clear()
    for part in (union, union[::-1], union[2:5], domains[0]):
        assert np.array_equal(cached(part, tmp_path, threads=1), wanted(part))
    assert decodings == []


def test_images_are_known_by_their_content(records: list[ImageRecord], tmp_path: Path, decodings: list[str]) -> None:
    before = cached(records, tmp_path)
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "source", moved)
    elsewhere = [replace(record, path=moved / record.path.name, pid="other", camid=9) for record in records]
    decodings.clear()
    assert np.array_equal(cached(elsewhere, tmp_path), before)
    assert np.array_equal(cached([*elsewhere, *records], tmp_path), np.concatenate((before, before)))
    assert decodings == []


def test_whatever_the_pixels_depend_on_is_told_apart(records: list[ImageRecord], tmp_path: Path) -> None:
    boxed = [replace(records[0], box=(0, 0, 9, 9)), replace(records[0], box=(0, 0, 9, 8)), *records]
    assert np.array_equal(cached(boxed, tmp_path), wanted(boxed))
    assert rows_in(tmp_path) == 11
    for change in ({"height": 38}, {"width": 20}, {"interpolation": "bilinear"}):
        image = replace(IMAGE, **change)
        assert np.array_equal(cached(records, tmp_path, image), wanted(records, image))
    assert len(list(tmp_path.glob("*.pixels"))) == 4


@pytest.mark.parametrize("how", ["written", "replaced", "copied over"])
def test_a_changed_source_is_never_stale(how: str, records: list[ImageRecord], tmp_path: Path) -> None:
    """Not even when it has as many bytes and the same time."""
    source, other = tmp_path / "source" / "changing.bmp", tmp_path / "other.bmp"
    Image.new("RGB", (20, 30), "blue").save(source)
    records[1] = replace(records[1], path=source)
    before, stat = cached(records, tmp_path), source.stat()
    Image.new("RGB", (20, 30), "red").save(source if how == "written" else other)
    if how == "replaced":
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        other.rename(source)
    elif how == "copied over":
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        shutil.copy2(other, source)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (source.stat().st_size, source.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    after = cached(records, tmp_path)
    assert np.array_equal(after, wanted(records))
    assert not np.array_equal(after, before)
    assert rows_in(tmp_path) == 10


@pytest.mark.parametrize("damage", ["no pixels", "no index", "pixels cut", "index cut", "other header", "a wrong byte"])
def test_damaged_files_are_mended(
    damage: str, records: list[ImageRecord], tmp_path: Path, decodings: list[str]
) -> None:
    mapped, rows = cached_pixels(records, IMAGE, tmp_path, threads=2)
    file = PixelFile(tmp_path, IMAGE)
    content, index = file.pixels.read_bytes(), file.index.read_bytes()
    decodings.clear()
    if damage == "no pixels":
        file.pixels.unlink()
    elif damage == "no index":
        file.index.unlink()
    elif damage == "pixels cut":
        file.pixels.write_bytes(content[:-1])
    elif damage == "index cut":
        file.index.write_bytes(index[:-1])
    elif damage == "other header":
        file.index.write_bytes(b"x" + index[1:])
    else:
        file.pixels.write_bytes(
            content[: ROW_BYTES + 5] + bytes([content[ROW_BYTES + 5] ^ 1]) + content[ROW_BYTES + 6 :]
        )
    assert np.array_equal(cached(records, tmp_path), wanted(records))
    assert len(decodings) == (1 if "cut" in damage else 9)
    assert rows_in(tmp_path) == 9
    if damage in ("no index", "other header"):
        assert np.array_equal(mapped[rows], wanted(records))  # who had mapped the old file reads on


def test_what_a_killed_process_had_finished_stays(
    records: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodings: list[str]
) -> None:
    monkeypatch.setattr(decoding, "IMAGES_AT_A_TIME", 2)
    cut = [*records[:5], replace(records[5], box=(0, 0, 100, 100))]  # unreadable
    with pytest.raises(JointreidError, match="the box"):
        cached(cut, tmp_path)
    assert rows_in(tmp_path) == 4
    with PixelFile(tmp_path, IMAGE).pixels.open("ab") as file:
        file.write(b"x" * 3 * ROW_BYTES)  # written, but not yet in the index
    decodings.clear()
    assert np.array_equal(cached(records, tmp_path), wanted(records))
    assert sorted(decodings) == [record.path.name for record in records[4:]]
    assert rows_in(tmp_path) == 9


def test_a_missing_image_is_named(records: list[ImageRecord], tmp_path: Path) -> None:
    records[5].path.unlink()
    with pytest.raises(JointreidError, match=r"5\.png: cannot read the image: No such file"):
        cached(records, tmp_path)


# Several processes.


def _build(folder: Path, names: Any, seconds: float) -> None:
    original = decoding.read_boxes

    def slow(path: Path, boxes: Any) -> Any:
        names.put(path.name)
        time.sleep(seconds)
        return original(path, boxes)

    decoding.read_boxes = slow  # this process's own
    records = [ImageRecord(path, "0", 0) for path in sorted((folder / "source").iterdir())]
    assert np.array_equal(cached(records, folder), wanted(records))


@contextmanager
def processes(count: int, *args: Any) -> Iterator[list[Any]]:
    started = [SPAWN.Process(target=_build, args=args) for _ in range(count)]
    for process in started:
        process.start()
    try:
        yield started
    finally:
        for process in started:
            process.join(30)


@pytest.mark.slow
def test_processes_that_start_at_once_share_the_work(records: list[ImageRecord], tmp_path: Path) -> None:
    names = SPAWN.Queue()
    with processes(3, tmp_path, names, 0.02) as started:
        decoded = sorted(names.get(timeout=30) for _ in records)
    assert [process.exitcode for process in started] == [0, 0, 0]
    assert decoded == [record.path.name for record in records]
    assert names.empty()


@pytest.mark.slow
def test_a_killed_process_blocks_nobody(records: list[ImageRecord], tmp_path: Path) -> None:
    names = SPAWN.Queue()
    with processes(1, tmp_path, names, 60.0) as (process,):
        names.get(timeout=30)  # it has the lock and decodes
        os.kill(process.pid, signal.SIGKILL)
    since = time.monotonic()
    assert np.array_equal(cached(records, tmp_path), wanted(records))
    assert time.monotonic() - since < 10


def test_a_complete_file_is_read_while_another_process_adds(records: list[ImageRecord], tmp_path: Path) -> None:
    cached(records, tmp_path)
    with FileLock(PixelFile(tmp_path, IMAGE).lock):
        assert np.array_equal(cached(records[2:4], tmp_path), wanted(records[2:4]))


# Where there is no room.


def test_a_failing_write_keeps_what_was_finished(
    records: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "IMAGES_AT_A_TIME", 2)
    with (
        largest_file(5 * ROW_BYTES + 100),
        pytest.raises(JointreidError, match=r"cannot write the decoded images.*--data\.cache.*--data\.cache_mode"),
    ):
        cached(records, tmp_path)
    assert rows_in(tmp_path) == 4
    assert np.array_equal(cached(records, tmp_path), wanted(records))


def test_too_small_a_disk_is_refused_before_decoding(
    records: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodings: list[str]
) -> None:
    cached(records[:2], tmp_path)
    decodings.clear()
    for free, refused in ((7 * ROW_BYTES - 1, True), (7 * ROW_BYTES, False)):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        if refused:
            with pytest.raises(JointreidError, match=r"take 0\.0 GB, but only 0\.0 GB are free; .* --data\.cache"):
                cached(records, tmp_path)
            assert decodings == []
        else:
            cached(records, tmp_path)


def test_a_cache_folder_that_is_a_file_is_refused(records: list[ImageRecord], tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(JointreidError, match=r"cannot be written: .*choose another --data\.cache"):
        cached(records, tmp_path / "cache")


def test_a_folder_that_cannot_be_locked_is_refused(
    records: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pixels, "locked", denied)
    with pytest.raises(JointreidError, match="cannot write the decoded images: Permission denied"):
        cached(records, tmp_path)


def test_a_frame_is_decoded_once_for_all_of_its_boxes(tmp_path: Path, decodings: list[str]) -> None:
    frames = [record.path for record in draw(tmp_path / "frames", 3, 7)]
    boxes = [ImageRecord(path, f"{x}", 0, box=(x, 0, 4, 8)) for path in frames for x in range(5)]
    mixed = [boxes[i] for i in (7, 0, 12, 1, 8, 2, 13, 3, 9, 4, 14, 5, 10, 6, 11)]
    mapped, rows = cached_pixels(mixed, IMAGE, tmp_path / "cache", 2)
    assert sorted(decodings) == sorted(path.name for path in frames)
    assert np.array_equal(mapped[rows], wanted(mixed))
