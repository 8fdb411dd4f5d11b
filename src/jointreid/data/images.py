"""Decode and resize every image once, keep the pixels in one memory-mapped file, and take batches out of it.

Resizing is the last step before the random ones, so it needs doing only once; `augment` does the rest on the batch.
Letters: B images in a batch, N in the store, H x W pixels.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jointreid.data.decode import Interpolation, read_image, resize_image
from jointreid.data.joint import JointTrainSet
from jointreid.data.records import ImageRecord
from jointreid.errors import JointreidError
from jointreid.files import replacing

Pixels = NDArray[np.uint8]

# Changes with whatever decodes the same file to other pixels, so that old cache files are not taken for new ones.
FORMAT = "jointreid-images-1"
# Images decoded between two writes, per thread: enough to keep the threads busy, few enough to hold in memory.
IMAGES_PER_THREAD = 32


class Batch(NamedTuple):
    """What one training step sees.

    Attributes:
        images: [B, 3, H, W], RGB; uint8 as stored, float32 and normalised once augmented.
        labels: int64 [B].
        global_camids: int64 [B].
        domain_ids: int64 [B].
    """

    images: Tensor
    labels: Tensor
    global_camids: Tensor
    domain_ids: Tensor

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device."""
        return Batch(*(tensor.to(device) for tensor in self))


@dataclass(frozen=True, eq=False)
class ImageStore:
    """Decoded images of one size.

    Attributes:
        pixels: uint8 [N, H, W, 3], RGB, read-only and mapped from `path`: only the images in use occupy memory.
        path: the cache file.
    """

    pixels: Pixels
    path: Path

    @classmethod
    def build(
        cls,
        records: Sequence[ImageRecord],
        height: int,
        width: int,
        interpolation: Interpolation,
        cache_dir: Path,
        threads: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> "ImageStore":
        """Open the cache file of these images, after writing it if it is not there: H * W * 3 bytes an image.

        The file's name is a hash of the order, path, size, modification time and box of all images and of the target
        size, so that a changed source gives another file and an old one is never taken for it. (An image replaced by
        another of the same size and modification time goes unnoticed.) Nothing deletes cache files that are no longer
        used, nor the hidden, unfinished one of a killed process; a person may delete the folder at any time.

        With several processes on one machine, let one build first: others that start meanwhile do the work again.

        Args:
            records: the images, in the order of their indices.
            height: H, pixels.
            width: W, pixels.
            interpolation: how an image is resized.
            cache_dir: folder for cache files; made if missing.
            threads: threads that decode (decoding releases the interpreter lock).
            progress: called with (images done, images in all) while writing.

        Raises:
            JointreidError: no records, a source that is missing or unreadable, or a cache folder that cannot be
                written or is too small. No file is left behind.
        """
        if not records:
            raise JointreidError("there are no images to decode")
        path = cache_dir / f"{_key(records, height, width, interpolation)}.npy"
        shape = (len(records), height, width, 3)
        header = _header(shape)
        if not _is_whole(path, header, math.prod(shape)):
            _write(path, header, shape, _decode(records, height, width, interpolation, threads), progress)
        return cls(np.memmap(path, np.uint8, mode="r", offset=len(header), shape=shape), path)

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: NDArray[np.int64]) -> Tensor:
        """Copy images out of the store.

        Args:
            indices: [B].

        Returns:
            uint8 [B, 3, H, W], in the channels_last memory format.
        """
        return torch.from_numpy(np.asarray(self.pixels[indices])).permute(0, 3, 1, 2)


def train_batch(store: ImageStore, train_set: JointTrainSet, indices: NDArray[np.int64]) -> Batch:
    """Return the batch that a sampler's indices mean, its images uint8 and not yet augmented, on the CPU.

    Args:
        store: the images of `train_set.samples`, in that order.
        train_set: where the labels come from.
        indices: [B].
    """
    return Batch(
        images=store.take(indices),
        labels=torch.from_numpy(train_set.labels[indices]),
        global_camids=torch.from_numpy(train_set.global_camids[indices]),
        domain_ids=torch.from_numpy(train_set.domain_ids[indices]),
    )


def _key(records: Sequence[ImageRecord], height: int, width: int, interpolation: Interpolation) -> str:
    """Return 32 hex digits that change with anything the pixels depend on."""
    digest = hashlib.sha256(json.dumps([FORMAT, height, width, interpolation]).encode())
    for record in records:
        try:
            stat = record.path.stat()
        except OSError as error:
            raise JointreidError(f"{record.path}: cannot read the image: {error.strerror}") from error
        source = [os.path.abspath(record.path), stat.st_size, stat.st_mtime_ns, record.box]
        digest.update(json.dumps(source).encode() + b"\n")
    return digest.hexdigest()[:32]


def _header(shape: tuple[int, ...]) -> bytes:
    """Return the head of an .npy file of uint8 in this shape."""
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _is_whole(path: Path, header: bytes, size: int) -> bool:
    """Return whether a cache file is there, of the expected shape and not cut short."""
    try:
        with path.open("rb") as file:
            return file.read(len(header)) == header and os.fstat(file.fileno()).st_size == len(header) + size
    except OSError:
        return False


def _decode(
    records: Sequence[ImageRecord], height: int, width: int, interpolation: Interpolation, threads: int
) -> Iterator[Pixels]:
    """Yield the images [H, W, 3] in order, decoded by threads a chunk ahead."""

    def decode(record: ImageRecord) -> Pixels:
        return resize_image(read_image(record), height, width, interpolation)

    chunk = IMAGES_PER_THREAD * threads
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(records), chunk):
            yield from pool.map(decode, records[start : start + chunk])


def _write(
    path: Path,
    header: bytes,
    shape: tuple[int, ...],
    images: Iterator[Pixels],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write images as one .npy file, which appears whole or not at all.

    Plain writes, not a writable memory map: on a full disk a write raises an error, a map kills the process.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            _require_space(path.parent, math.prod(shape))
            file.write(header)
            for done, image in enumerate(images, start=1):
                file.write(image.tobytes())
                if progress is not None:
                    progress(done, shape[0])
    except OSError as error:
        raise JointreidError(
            f"{path}: cannot write the decoded images: {error.strerror}; "
            "make room there or choose another folder with --data.cache"
        ) from error


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise JointreidError(
            f"{folder}: the decoded images take {size / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free; "
            "make room there or choose another folder with --data.cache"
        )
