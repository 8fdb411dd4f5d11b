import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from jointreid.config import CacheMode, ImageConfig
from jointreid.data import decoding
from jointreid.data.images import Batch, ImageStore, train_batch
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError

SIZES = [(64, 128), (33, 71), (7, 5), (200, 90), (64, 128), (48, 48), (31, 97)]  # width, height
IMAGE = ImageConfig(height=37, width=19)
MODES: list[CacheMode] = ["disk", "memory", "off"]


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


def expected(record: ImageRecord, interpolation: Literal["bicubic", "bilinear"] = "bicubic") -> torch.Tensor:
    """One image by Pillow alone, uint8 [3, H, W]."""
    image: Image.Image = Image.open(record.path)
    if record.box is not None:
        x, y, width, height = record.box
        image = image.crop((x, y, x + width, y + height))
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    resized = image.resize((IMAGE.width, IMAGE.height), filters[interpolation])
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let the paths of decoded images be listed."""
    paths: list[Path] = []

    original = decoding.read_boxes

    def read(path: Path, boxes: Any) -> Any:
        paths.append(path)
        return original(path, boxes)

    monkeypatch.setattr(decoding, "read_boxes", read)
    return paths


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_image_is_decoded_cut_and_resized(
    mode: CacheMode,
    interpolation: Any,
    threads: int,
    records: list[ImageRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "IMAGES_AT_A_TIME", 2)  # several rounds, the last one not full
    image = ImageConfig(height=37, width=19, interpolation=interpolation)
    store = ImageStore.build(records, image, tmp_path / "cache", threads, mode)
    assert len(store) == len(records)
    indices = np.array([6, 0, 3, 3, 1, 2, 4, 5])
    taken = store.take(indices)
    assert taken.dtype == torch.uint8
    assert torch.equal(taken, torch.stack([expected(records[i], interpolation) for i in indices]))
    assert taken.is_contiguous(memory_format=torch.channels_last)
    taken.zero_()  # a copy
    assert torch.equal(store.take(indices[:1])[0], expected(records[6], interpolation))


@pytest.mark.parametrize(("mode", "times"), [("disk", 1), ("memory", 1), ("off", 2)])
def test_how_often_an_image_is_decoded(
    mode: CacheMode, times: int, records: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, threads = counted(monkeypatch), threading.active_count()
    store = ImageStore.build(records, IMAGE, tmp_path / "cache", 2, mode)
    for _ in range(2):
        store.take(np.arange(len(records)))
    assert sorted(paths) == sorted([record.path for record in records] * times)
    # Only `disk` leaves anything behind, and no mode a thread.
    assert (tmp_path / "cache").exists() == (mode == "disk")
    assert threading.active_count() == threads


@pytest.mark.parametrize("mode", MODES)
def test_an_index_out_of_range_is_refused(mode: CacheMode, records: list[ImageRecord], tmp_path: Path) -> None:
    store = ImageStore.build(records, IMAGE, tmp_path, 1, mode)
    with pytest.raises(IndexError):
        store.take(np.array([0, len(records)]))


@pytest.mark.parametrize("mode", ["disk", "memory"])
def test_progress_counts_every_image(mode: CacheMode, records: list[ImageRecord], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    ImageStore.build(records, IMAGE, tmp_path, 2, mode, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 7) for done in range(1, 8)]


@pytest.mark.parametrize("mode", MODES)
def test_an_unreadable_image_is_named(mode: CacheMode, records: list[ImageRecord], tmp_path: Path) -> None:
    records[5].path.write_bytes(records[5].path.read_bytes()[:2000])
    with pytest.raises(JointreidError, match=r"5\.png"):
        ImageStore.build(records, IMAGE, tmp_path, 2, mode).take(np.arange(7))


@pytest.mark.parametrize("mode", MODES)
def test_no_images_are_refused(mode: CacheMode, tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="no images"):
        ImageStore.build([], IMAGE, tmp_path, 1, mode)


def test_too_little_memory_is_said(records: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(JointreidError, match=r"0\.0 GB of memory.*--data\.cache_mode disk or off"):
        ImageStore.build(records, IMAGE, tmp_path, 1, "memory")


def test_a_batch_holds_each_image_with_its_labels(records: list[ImageRecord], tmp_path: Path) -> None:
    train_set = join([Domain("b", tuple(records[:3])), Domain("a", tuple(records[3:]))])
    stores = [
        ImageStore.build([sample.record for sample in train_set.samples], IMAGE, tmp_path, 2, mode) for mode in MODES
    ]
    batch, *others = (train_batch(store, train_set, np.array([4, 0, 4, 6])) for store in stores)
    assert torch.equal(batch.images, torch.stack([expected(records[i]) for i in (4, 0, 4, 6)]))
    assert batch.labels.tolist() == [3, 0, 3, 4]  # b has pids 0, 1; a has 1, 2, 3
    assert batch.global_camids.tolist() == [4, 0, 4, 3]  # both have cameras 0, 1, 2
    assert batch.domain_ids.tolist() == [1, 0, 1, 1]
    assert batch.id_domains is not None
    assert batch.id_domains.tolist() == [0, 0, 1, 1, 1]
    assert {tensor.dtype for tensor in tensors(batch)[1:]} == {torch.int64}
    for other in others:
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(tensors(batch), tensors(other), strict=True))
    moved = batch.to("meta")
    assert type(moved) is type(batch)
    assert all(tensor.is_meta for tensor in tensors(moved))


def tensors(batch: Batch) -> list[Tensor]:
    """All fields; of a train set without dropped contexts, `keeps_context` alone is None."""
    assert batch.keeps_context is None
    found = [tensor for tensor in batch if tensor is not None]
    assert len(found) == len(batch) - 1
    return found


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_a_pinned_batch_reaches_the_gpu_whole(mode: CacheMode, records: list[ImageRecord], tmp_path: Path) -> None:
    train_set = join([Domain("a", tuple(records))])
    store = ImageStore.build([sample.record for sample in train_set.samples], IMAGE, tmp_path, 2, mode)
    batch = train_batch(store, train_set, np.arange(7), pin=True)
    assert all(tensor.is_pinned() for tensor in tensors(batch))
    moved = batch.to("cuda")
    torch.cuda.synchronize()
    assert all(torch.equal(there.cpu(), here) for there, here in zip(tensors(moved), tensors(batch), strict=True))
