"""Images decoded and resized by threads, in order, each file opened once for all of its boxes.

Letters: H x W pixels.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from jointreid.config import ImageConfig
from jointreid.data.decode import read_boxes as read_boxes
from jointreid.data.decode import resize_image
from jointreid.data.records import ImageRecord

Pixels = NDArray[np.uint8]
T = TypeVar("T")

# Images used at a time, while as many are decoded: few enough for memory, and little work to lose.
IMAGES_AT_A_TIME = 1024


def decode_in_order(
    records: Sequence[ImageRecord], image: ImageConfig, threads: int, finish: Callable[[Pixels], T]
) -> Generator[T, None, None]:
    """Yield each image at its size, finished by a function, while threads decode those that follow.

    Of the images that are decoded ahead together, those of one file (the boxes of a frame) are cut from one decoding.
    An unreadable image raises in its turn, or in that of the first image of its file, and the rest is given up.

    Args:
        records: the images.
        image: their size and how they are resized.
        threads: threads that decode (decoding releases the interpreter lock).
        finish: called by the threads with the pixels, uint8 [H, W, 3].

    Raises:
        JointreidError: an image is unreadable.
    """
    pool = ThreadPoolExecutor(threads)

    def of_file(path: Path, same: Sequence[ImageRecord]) -> list[T]:
        cuts = read_boxes(path, [record.box for record in same])
        return [finish(resize_image(cut, image.height, image.width, image.interpolation)) for cut in cuts]

    def begin(first: int) -> list[tuple[Future[list[T]], int]]:
        """Return for each image what decodes its file, and its place in that."""
        block = records[first : first + IMAGES_AT_A_TIME]
        by_path: dict[Path, list[ImageRecord]] = {}
        places = []
        for record in block:
            same = by_path.setdefault(record.path, [])
            places.append(len(same))
            same.append(record)
        futures = {path: pool.submit(of_file, path, same) for path, same in by_path.items()}
        return [(futures[record.path], place) for record, place in zip(block, places, strict=True)]

    try:
        ahead = begin(0)
        for first in range(0, len(records), IMAGES_AT_A_TIME):
            ready, ahead = ahead, begin(first + IMAGES_AT_A_TIME)
            for future, place in ready:
                yield future.result()[place]
    finally:
        pool.shutdown(cancel_futures=True)
