"""Looks of images, each in 66 bytes: enough to find its copies that were re-encoded, resized or mirrored.

A look is a grey thumbnail of 9 x 7 cells and the mean red, green and blue. Letters: N images, A and B of two kinds.
"""

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Looks = NDArray[np.int16]

HEIGHT, WIDTH = 9, 7
CELLS = HEIGHT * WIDTH
# Grey levels by which the cells of a copy may differ, on average and at most, and its mean colours.
MEAN_OFF, MOST_OFF, COLOUR_OFF = 2.5, 10, 4
# An image whose cells vary less (standard deviation, in grey levels) shows too little: only an equal look is a copy.
FLAT = 3.0
# Images compared in full with each image, nearest first.
_CANDIDATES = 8
# How far the nine parts of a copy may be off: a sieve before the full comparison.
_PARTS_OFF = 5.0


def look_of(image: Image.Image) -> str:
    """Return the look of an RGB image as 88 characters; takes a tenth of the time that decoding it does."""
    cells = image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return base64.b64encode(cells.tobytes() + image.reduce(image.size).tobytes()).decode()


def read_looks(texts: Sequence[str]) -> Looks:
    """Return the looks that texts of `look_of` stand for, int16 [N, 66]."""
    flat = np.frombuffer(base64.b64decode("".join(texts)), np.uint8)
    return flat.reshape(len(texts), CELLS + 3).astype(np.int16)


def find_copies_by_look(ours: Looks, others: Looks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the images that are copies of others, as they are or mirrored.

    Args:
        ours: [A, 66].
        others: [B, 66].

    Returns:
        The pairs, as indices into `ours` and into `others`; of each of ours at most eight for each way round.
    """
    if not len(ours) or not len(others):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    from scipy.spatial import cKDTree

    tree = cKDTree(_parts(others))
    pairs: list[NDArray[np.int64]] = []
    for turned in (ours, _mirrored(ours)):
        count = min(_CANDIDATES, len(others))
        _, found = tree.query(_parts(turned), count, p=np.inf, distance_upper_bound=_PARTS_OFF)
        columns = np.asarray(found).reshape(len(ours), count)
        here = np.repeat(np.arange(len(ours)), count)[columns.ravel() < len(others)]
        there = columns[columns < len(others)].ravel()
        pairs.append(np.stack([here, there])[:, _is_copy(turned[here], others[there])].astype(np.int64))
    rows, found_columns = np.unique(np.concatenate(pairs, axis=1), axis=1)
    return rows, found_columns


def _is_copy(a: Looks, b: Looks) -> NDArray[np.bool_]:
    off = np.abs(a - b)
    flat = (a[:, :CELLS].std(axis=1) < FLAT) | (b[:, :CELLS].std(axis=1) < FLAT)
    cells, colours = off[:, :CELLS], off[:, CELLS:]
    alike = (cells.mean(axis=1) <= MEAN_OFF) & (cells.max(axis=1) <= MOST_OFF) & (colours.max(axis=1) <= COLOUR_OFF)
    result: NDArray[np.bool_] = np.where(flat, off.max(axis=1) == 0, alike)
    return result


def _mirrored(looks: Looks) -> Looks:
    cells = looks[:, :CELLS].reshape(-1, HEIGHT, WIDTH)[:, :, ::-1].reshape(-1, CELLS)
    return np.concatenate([cells, looks[:, CELLS:]], axis=1)


def _parts(looks: Looks) -> NDArray[np.float32]:
    """Return the mean of three by three parts of the cells, [N, 9]; mirrored cells give mirrored parts."""
    cells = looks[:, :CELLS].reshape(-1, 3, HEIGHT // 3, WIDTH).mean(axis=2)  # N 3 7
    parts = [cells[:, :, :2].mean(axis=2), cells[:, :, 2:5].mean(axis=2), cells[:, :, 5:].mean(axis=2)]
    return np.concatenate(parts, axis=1).astype(np.float32)
