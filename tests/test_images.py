import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from jointreid.data import images
from jointreid.data.images import ImageStore, train_batch
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.errors import JointreidError

SIZES = [(64, 128), (33, 71), (7, 5), (200, 90), (64, 128), (48, 48), (31, 97)]  # width, height
HEIGHT, WIDTH = 37, 19


@pytest.fixture
def records(tmp_path: Path) -> list[ImageRecord]:
    """Seven images of noise in odd sizes; the fourth shows the person in a box."""
    rng = np.random.default_rng(0)
    found = []
    for i, (width, height) in enumerate(SIZES):
        path = tmp_path / "source" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        found.append(ImageRecord(path, str(i // 2), i % 3, box=(50, 10, 83, 61) if i == 3 else None))
    return found


def build(records: list[ImageRecord], cache: Path, **changes: Any) -> ImageStore:
    settings = {"height": HEIGHT, "width": WIDTH, "interpolation": "bicubic", "cache_dir": cache, "threads": 2}
    return ImageStore.build(records, **{**settings, **changes})


def expected(record: ImageRecord, interpolation: Literal["bicubic", "bilinear"] = "bicubic") -> torch.Tensor:
    """One image by Pillow alone, uint8 [3, H, W]."""
    image: Image.Image = Image.open(record.path)
    if record.box is not None:
        x, y, width, height = record.box
        image = image.crop((x, y, x + width, y + height))
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    return torch.from_numpy(np.array(image.resize((WIDTH, HEIGHT), filters[interpolation]))).permute(2, 0, 1)


def never(*_: object) -> None:
    raise AssertionError("decoded again")


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_image_is_decoded_cut_and_resized(
    interpolation: Any, threads: int, records: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "IMAGES_PER_THREAD", 2)  # several chunks, the last one not full
    store = build(records, tmp_path / "cache", interpolation=interpolation, threads=threads)
    assert len(store) == len(records)
    indices = np.array([6, 0, 3, 3, 1, 2, 4, 5])
    taken = store.take(indices)
    assert taken.dtype == torch.uint8
    assert torch.equal(taken, torch.stack([expected(records[i], interpolation) for i in indices]))
    assert taken.is_contiguous(memory_format=torch.channels_last)


def test_the_pixels_are_mapped_and_cannot_be_written(records: list[ImageRecord], tmp_path: Path) -> None:
    store = build(records, tmp_path)
    assert isinstance(store.pixels, np.memmap)
    assert not store.pixels.flags.writeable
    store.take(np.array([0])).zero_()  # a copy
    assert torch.equal(store.take(np.array([0]))[0], expected(records[0]))


def test_the_cache_file_is_plain_npy(records: list[ImageRecord], tmp_path: Path) -> None:
    store = build(records, tmp_path / "cache")
    assert np.array_equal(np.load(store.path, allow_pickle=False), store.pixels)
    assert list((tmp_path / "cache").iterdir()) == [store.path]


def test_images_are_decoded_once(records: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(records, tmp_path)
    monkeypatch.setattr(images, "read_image", never)
    again = build(records, tmp_path, threads=1)
    assert again.path == first.path
    assert np.array_equal(again.pixels, first.pixels)


def test_progress_counts_every_image(records: list[ImageRecord], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    build(records, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 7) for done in range(1, 8)]


def test_whatever_the_pixels_depend_on_gives_another_file(records: list[ImageRecord], tmp_path: Path) -> None:
    changed = {
        "as is": build(records, tmp_path),
        "order": build(records[::-1], tmp_path),
        "fewer": build(records[:-1], tmp_path),
        "box": build([replace(records[0], box=(0, 0, 9, 9)), *records[1:]], tmp_path),
        "height": build(records, tmp_path, height=38),
        "width": build(records, tmp_path, width=38),
        "interpolation": build(records, tmp_path, interpolation="bilinear"),
    }
    # Who is on an image does not change its pixels.
    assert build([replace(records[0], pid="other", camid=9), *records[1:]], tmp_path).path == changed["as is"].path
    assert len({store.path for store in changed.values()}) == len(changed)


@pytest.mark.parametrize("what", ["size", "time"])
def test_a_changed_source_is_never_stale(what: str, records: list[ImageRecord], tmp_path: Path) -> None:
    source = tmp_path / "source" / "changing.bmp"  # not compressed: as many bytes as pixels
    Image.new("RGB", (20, 30), "blue").save(source)
    records[1] = replace(records[1], path=source)
    before, stat = build(records, tmp_path), source.stat()
    Image.new("RGB", (20, 30) if what == "time" else (20, 31), "red").save(source)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns + (1_000_000 if what == "time" else 0)))
    assert (source.stat().st_size == stat.st_size) == (what == "time")
    after = build(records, tmp_path)
    assert after.path != before.path
    assert torch.equal(after.take(np.array([1]))[0], expected(records[1]))


@pytest.mark.parametrize("damage", ["empty", "cut short", "longer", "no header"])
def test_a_damaged_cache_file_is_written_anew(damage: str, records: list[ImageRecord], tmp_path: Path) -> None:
    store = build(records, tmp_path)
    whole = store.path.read_bytes()
    damaged = {"empty": b"", "cut short": whole[:-1], "longer": whole + b"\0", "no header": b"\0" * len(whole)}
    store.path.write_bytes(damaged[damage])
    again = build(records, tmp_path)
    assert again.path == store.path
    assert again.path.read_bytes() == whole


def test_an_unreadable_image_is_named_and_nothing_is_left(records: list[ImageRecord], tmp_path: Path) -> None:
    records[5].path.write_bytes(records[5].path.read_bytes()[:2000])
    with pytest.raises(JointreidError, match=r"5\.png"):
        build(records, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_missing_image_is_named(records: list[ImageRecord], tmp_path: Path) -> None:
    records[5].path.unlink()
    with pytest.raises(JointreidError, match=r"5\.png: cannot read the image: No such file"):
        build(records, tmp_path / "cache")


def test_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="no images"):
        build([], tmp_path)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let writes beyond a size fail, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_failing_write_leaves_nothing_behind(records: list[ImageRecord], tmp_path: Path) -> None:
    seen: list[int] = []
    many = records * 20  # more than a buffer of the file holds
    with largest_file(100_000), pytest.raises(JointreidError, match=r"cannot write the decoded images.*--data\.cache"):
        build(many, tmp_path / "cache", progress=lambda done, _: seen.append(done))
    assert seen  # it did begin
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(build(many, tmp_path / "cache")) == 140


def test_too_small_a_disk_is_refused_before_decoding(
    records: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=7 * HEIGHT * WIDTH * 3 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(images, "read_image", never)
    with pytest.raises(JointreidError, match=r"take 0\.0 GB, but only 0\.0 GB are free; .* --data\.cache"):
        build(records, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_folder_that_is_a_file_is_refused(records: list[ImageRecord], tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(JointreidError, match="cannot write the decoded images"):
        build(records, tmp_path / "cache")


def test_a_batch_holds_each_image_with_its_labels(records: list[ImageRecord], tmp_path: Path) -> None:
    train_set = join([Domain("b", tuple(records[:3])), Domain("a", tuple(records[3:]))])
    store = build([sample.record for sample in train_set.samples], tmp_path)
    batch = train_batch(store, train_set, np.array([4, 0, 4, 6]))
    assert torch.equal(batch.images, torch.stack([expected(records[i]) for i in (4, 0, 4, 6)]))
    assert batch.labels.tolist() == [3, 0, 3, 4]  # b has pids 0, 1; a has 1, 2, 3
    assert batch.global_camids.tolist() == [4, 0, 4, 3]  # both have cameras 0, 1, 2
    assert batch.domain_ids.tolist() == [1, 0, 1, 1]
    assert {tensor.dtype for tensor in batch[1:]} == {torch.int64}
    moved = batch.to("meta")
    assert type(moved) is type(batch)
    assert all(tensor.is_meta for tensor in moved)
