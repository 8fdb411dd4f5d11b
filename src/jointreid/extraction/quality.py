"""How much an image tells about the person in it, for pooling the images of a tracklet.

    quality = score * (1 - overlap)^2 * sqrt(sharpness) * min(1, sqrt(area / (H W)))

score: how sure the detector was, in [0, 1]; 1 where nothing says so. overlap: the largest share of the box that another
box of the same frame covers, since features then mix two people. sharpness: the variance of the Laplacian of the grey
image at the model's size, so that small images, which are enlarged, and moving ones count less. area: pixels of the
box; H x W is the model's size. Only ratios inside a tracklet matter.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jointreid.data.decode import Box

Floats = NDArray[np.float32]

# Luminance of R, G and B (ITU-R BT.601).
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def sharpness(pixels: NDArray[np.uint8]) -> Floats:
    """Return the variance of the Laplacian (four neighbours) of grey images, in [0, 255]^2.

    Args:
        pixels: uint8 [B, H, W, 3], RGB.

    Returns:
        float32 [B].
    """
    grey = pixels.astype(np.float32) @ _GREY  # B H W
    centre = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    variances: Floats = (around - 4 * centre).var(axis=(1, 2), dtype=np.float64).astype(np.float32)
    return variances


def overlaps(files: Sequence[str], boxes: Sequence[Box | None]) -> Floats:
    """Return for each box the largest share of it that another box of the same image covers; 0 for whole images.

    Args:
        files: the image of each of N rows.
        boxes: `(x, y, width, height)` in pixels, or None.

    Returns:
        float32 [N], in [0, 1]. The same box listed twice does not cover itself.
    """
    shares = np.zeros(len(files), dtype=np.float32)
    by_file: dict[str, list[int]] = defaultdict(list)
    for row, (file, box) in enumerate(zip(files, boxes, strict=True)):
        if box is not None:
            by_file[file].append(row)
    for rows in by_file.values():
        if len(rows) > 1:
            shares[rows] = _covered(np.array([boxes[row] for row in rows], dtype=np.float64))
    return shares


def _covered(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest share of each box [n, 4] that another one covers."""
    left, top, width, height = boxes.T
    right, bottom = left + width, top + height
    wide = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    high = np.minimum(bottom[:, None], bottom) - np.maximum(top[:, None], top)
    shared = np.clip(wide, 0, None) * np.clip(high, 0, None) / (width * height)[:, None]
    shared[(boxes[:, None] == boxes).all(-1)] = 0
    most: NDArray[np.float64] = shared.max(axis=1)
    return most


def quality(sharp: Floats, overlap: Floats, areas: NDArray[np.int64], score: Floats, model_area: int) -> Floats:
    """Return the weight of each image in its tracklet, see above; all arguments but the last are [B].

    Args:
        sharp: of `sharpness`.
        overlap: of `overlaps`.
        areas: pixels of each box before resizing.
        score: how sure the detector was, in [0, 1].
        model_area: H W, pixels of the model's images.
    """
    size = np.minimum(1, np.sqrt(areas / model_area))
    weights: Floats = (score * (1 - overlap) ** 2 * np.sqrt(sharp) * size).astype(np.float32)
    return weights
