"""Batches of images, decoded and resized by threads while the model computes the ones before.

Letters: B images in a batch, H x W pixels of the model's size.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jointreid.data.decode import Box
from jointreid.extraction.image_input import Pixels
from jointreid.extraction.image_table import ImageTable
from jointreid.extraction.storage import read_image_boxes
from jointreid.messages.errors import JointreidError

# Batches that are decoded ahead.
_AHEAD = 2


class DecodedBatch(NamedTuple):
    """The readable images of a batch, and why others are not.

    Attributes:
        rows: int64 [B], their rows in the table.
        pixels: uint8 [B, H, W, 3].
        areas: int64 [B], pixels of each image or box before resizing.
        failures: row -> why it cannot be read.
    """

    rows: NDArray[np.int64]
    pixels: Pixels
    areas: NDArray[np.int64]
    failures: dict[int, str]


class _Decoded(NamedTuple):
    pixels: Pixels | None
    area: int
    failure: str


def decoded_batches(
    table: ImageTable, starts: Sequence[tuple[int, int]], resize: Callable[[Pixels], Pixels], threads: int
) -> Iterator[DecodedBatch]:
    """Yield batches of images, each of the rows from a start to a stop; the boxes of one frame share a decoding.

    Args:
        table: the images.
        starts: (first row, row after the last) of each batch.
        resize: brings an image [h, w, 3] to the model's size.
        threads: threads that decode.
    """
    pool = ThreadPoolExecutor(max(1, threads))
    waiting: deque[tuple[int, int, list[Future[list[_Decoded]]], list[list[int]]]] = deque()

    def begin(start: int, stop: int) -> None:
        groups: dict[str, list[int]] = {}
        for row in range(start, stop):
            groups.setdefault(table.files[row], []).append(row)
        futures = [
            pool.submit(_decode, file, [table.boxes[row] for row in rows], resize) for file, rows in groups.items()
        ]
        waiting.append((start, stop, futures, list(groups.values())))

    try:
        queue = iter(starts)
        for start, stop in queue:
            begin(start, stop)
            if len(waiting) > _AHEAD:
                yield _collect(*waiting.popleft())
        while waiting:
            yield _collect(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _collect(
    start: int, stop: int, futures: Sequence[Future[list[_Decoded]]], groups: Sequence[Sequence[int]]
) -> DecodedBatch:
    by_row = {
        row: one
        for future, rows in zip(futures, groups, strict=True)
        for row, one in zip(rows, future.result(), strict=True)
    }
    good = [(row, by_row[row]) for row in range(start, stop) if by_row[row].pixels is not None]
    failures = {row: by_row[row].failure for row in range(start, stop) if by_row[row].pixels is None}
    pixels = [one.pixels for _, one in good if one.pixels is not None]
    return DecodedBatch(
        np.array([row for row, _ in good], dtype=np.int64),
        np.stack(pixels) if pixels else np.empty((0, 0, 0, 3), np.uint8),
        np.array([one.area for _, one in good], dtype=np.int64),
        failures,
    )


def _decode(file: str, boxes: Sequence[Box | None], resize: Callable[[Pixels], Pixels]) -> list[_Decoded]:
    try:
        cuts = read_image_boxes(file, boxes)
    except JointreidError as error:
        if len(boxes) > 1:  # perhaps only one box does not fit
            return [one for box in boxes for one in _decode(file, [box], resize)]
        return [_Decoded(None, 0, str(error).removeprefix(f"{file}: "))]
    return [_Decoded(resize(cut), cut.shape[0] * cut.shape[1], "") for cut in cuts]
