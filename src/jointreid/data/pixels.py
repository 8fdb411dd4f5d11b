"""Decoded images on disk: for each size one file that grows, shared by all runs and processes.

An image is known by the content of its file and its box, so it is decoded once for all runs and data sets that have it,
and a file that is replaced is a new image.
Letters: N images asked for, R rows in the file, H x W pixels.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as pillow_version

from jointreid.config import ImageConfig
from jointreid.data import decoding
from jointreid.data.decoding import Pixels, decode_in_order
from jointreid.data.records import ImageRecord
from jointreid.data.remembered import content_hashes
from jointreid.machine.files import free_space, sync_handle
from jointreid.machine.hashing import text_sha256
from jointreid.machine.locks import locked
from jointreid.machine.reading import can_map
from jointreid.messages.errors import JointreidError
from jointreid.messages.progress import OnProgress

Rows = NDArray[np.int64]

# Changes with whatever decodes the same file to other pixels, so that old cache files are not taken for new ones.
FORMAT = 2
# Rows whose checksum is compared when a file is opened.
ROWS_CHECKED = 64


def cached_pixels(
    records: Sequence[ImageRecord],
    image: ImageConfig,
    folder: Path,
    threads: int,
    on_progress: OnProgress | None = None,
) -> tuple[Pixels, Rows]:
    """Map the file of decoded images of a size, after adding those that it does not hold: H * W * 3 bytes each.

    Only one process at a time adds to a file. Others that need images it does not hold wait, and then find them; the
    system frees the lock of a process that is killed, and what it had finished stays. A file that is damaged, as far as
    its size and the checksums of some of the rows tell, is replaced. Nothing deletes images that are no longer used; a
    person may delete the folder at any time.

    Args:
        records: the images.
        image: their size and how they are resized.
        folder: where the files are; made if missing.
        threads: threads that decode (decoding releases the interpreter lock).
        on_progress: called with (images added, images to add).

    Returns:
        The pixels, uint8 [R, H, W, 3], RGB, read-only: only what is in use occupies memory. And the row of each record,
        int64 [N].

    Raises:
        JointreidError: a source that is missing or unreadable, or a folder that cannot be written or is too small.
    """
    contents = content_hashes({record.path for record in records}, folder, threads)
    keys = [bytes.fromhex(text_sha256(f"{contents[record.path]} {record.box}"))[:16] for record in records]
    file = PixelFile(folder, image)
    if found := file.find(keys):
        return found
    try:
        with locked(file.lock):
            if found := file.find(keys):
                return found
            file.add(dict(zip(keys, records, strict=True)), threads, on_progress)
            found = file.find(keys)
    except OSError as error:
        raise JointreidError(
            f"{file.pixels}: cannot write the decoded images: {error.strerror}; make room there, choose another folder "
            "with --data.cache, or --data.cache_mode memory or off"
        ) from error
    if found is None:
        raise JointreidError(
            f"{file.pixels}: the disk returned other data than was written; choose another --data.cache"
        )
    return found


class _Index(NamedTuple):
    """Index of a file: the row of each image's key, and the checksum of each row."""

    rows: dict[bytes, int]
    checksums: tuple[int, ...]


class PixelFile:
    """Images of one size, row after row, and beside them an index with the key and checksum of each row.

    Rows are only added, so processes that have mapped the file keep reading. A row is valid once it is in the index,
    which is written last.

    Args:
        folder: where both files are.
        image: size and resampling, which their names tell, with the version of what decodes.
    """

    _ENTRY = struct.Struct("<16sI")

    def __init__(self, folder: Path, image: ImageConfig) -> None:
        self.image = image
        name = f"{image.height}x{image.width}-{image.interpolation}-pillow{pillow_version}-{FORMAT}"
        self.pixels, self.index, self.lock = (folder / f"{name}.{end}" for end in ("pixels", "index", "lock"))
        self._shape = (image.height, image.width, 3)
        self._row_bytes = image.height * image.width * 3
        self._header = f"{name}\n".encode()

    def find(self, keys: Sequence[bytes]) -> tuple[Pixels, Rows] | None:
        """Map the file and return the row of each key, or None if one is missing or a row is damaged."""
        index = self._read()
        try:
            rows = np.array([index.rows[key] for key in keys], dtype=np.int64)
        except KeyError:
            return None
        return (self._map(index), rows) if self._is_sound(index, rows) else None

    def add(self, records: dict[bytes, ImageRecord], threads: int, on_progress: OnProgress | None) -> None:
        """Decode and append the images that are missing; the caller must hold the lock.

        Plain writes, not a writable memory map: on a full disk a write raises an error, a map kills the process.

        Raises:
            JointreidError: an unreadable image, or too little room.
            OSError: the files cannot be written.
        """
        index = self._read()
        present = [index.rows[key] for key in records if key in index.rows]
        if not self._is_sound(index, np.array(present, dtype=np.int64)):
            index = _Index({}, ())
        if not index.checksums:  # new files, not the old ones emptied: another process may have mapped them
            self.index.unlink(missing_ok=True)
            self.pixels.unlink(missing_ok=True)
        missing = {key: record for key, record in records.items() if key not in index.rows}
        _require_space(self.pixels.parent, len(missing) * self._row_bytes)
        self._append(missing, len(index.checksums), threads, on_progress)

    def _append(
        self, records: dict[bytes, ImageRecord], count: int, threads: int, on_progress: OnProgress | None
    ) -> None:
        """Decode images and write them behind the first `count` rows."""

        def row(pixels: Pixels) -> tuple[bytes, int]:
            content = pixels.tobytes()
            return content, zlib.crc32(content)

        images = decode_in_order(list(records.values()), self.image, threads, row)
        self.pixels.touch()
        self.index.touch()
        try:
            with closing(images), self.pixels.open("r+b") as pixels, self.index.open("r+b") as index:
                index.write(self._header)
                index.seek(len(self._header) + count * self._ENTRY.size)
                index.truncate()
                pixels.seek(count * self._row_bytes)
                entries: list[bytes] = []
                for done, (key, (content, checksum)) in enumerate(zip(records, images, strict=True), start=1):
                    pixels.write(content)
                    entries.append(self._ENTRY.pack(key, checksum))
                    if done % decoding.IMAGES_AT_A_TIME == 0 or done == len(records):
                        pixels.flush()
                        # Else the index could outlive a crash of the system, and they not.
                        sync_handle(pixels.fileno(), self.pixels)
                        index.write(b"".join(entries))
                        index.flush()
                        count, entries = count + len(entries), []
                    if on_progress is not None:
                        on_progress(done, len(records))
        finally:
            os.truncate(self.pixels, count * self._row_bytes)  # also what a killed process left

    def _read(self) -> _Index:
        """Return what the index says of the rows that are wholly there; nothing if it is another's or damaged."""
        try:
            content, size = self.index.read_bytes(), self.pixels.stat().st_size
        except OSError:
            return _Index({}, ())
        if not content.startswith(self._header):
            return _Index({}, ())
        body = content[len(self._header) :]
        count = min(len(body) // self._ENTRY.size, size // self._row_bytes)
        entries = list(self._ENTRY.iter_unpack(body[: count * self._ENTRY.size]))
        return _Index({key: row for row, (key, _) in enumerate(entries)}, tuple(checksum for _, checksum in entries))

    def _map(self, index: _Index) -> Pixels:
        shape = (len(index.checksums), *self._shape)
        if can_map(self.pixels):
            return np.memmap(self.pixels, np.uint8, mode="r", shape=shape)
        return np.fromfile(self.pixels, np.uint8, shape[0] * self._row_bytes).reshape(shape)

    def _is_sound(self, index: _Index, rows: Rows) -> bool:
        """Return whether the pixels have the checksums of the index, by some of the rows."""
        if not len(rows):
            return True
        pixels, some = self._map(index), rows[:: -(-len(rows) // ROWS_CHECKED)]
        return all(zlib.crc32(pixels[row]) == index.checksums[row] for row in some)


def _require_space(folder: Path, size: int) -> None:
    free = free_space(folder)
    if free is not None and free < size:
        raise JointreidError(
            f"{folder}: the decoded images take {size / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free; make room "
            "there, choose another folder with --data.cache, or --data.cache_mode memory or off"
        )
