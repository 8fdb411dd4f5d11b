"""Contributions of positions as a picture: the image in grey, with warm colours where similarity comes from."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 85
# Colours at full strength: what adds to the similarity, and what takes away from it.
ADDS, TAKES = (255, 72, 0), (0, 96, 255)
# The image below stays visible at full strength.
_OPACITY = 0.72


def overlay(pixels: NDArray[np.uint8], contributions: NDArray[np.float64], strongest: float) -> NDArray[np.uint8]:
    """Return an image with the contributions of its positions over it, uint8 [H, W, 3].

    Args:
        pixels: the image, uint8 [H, W, 3].
        contributions: [h, w], positions from top left to bottom right of the image.
        strongest: the absolute contribution that has full colour, > 0; equal for the two images of a pair.
    """
    height, width = pixels.shape[:2]
    small = Image.fromarray((contributions / strongest).astype(np.float32))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).clip(-1, 1)[..., None]
    grey = pixels.mean(axis=2, keepdims=True) * 0.75 + 40
    opacity = _OPACITY * np.abs(smooth)
    shown = (1 - opacity) * grey + opacity * np.where(smooth > 0, np.array(ADDS), np.array(TAKES))
    pixels = shown.round().clip(0, 255).astype(np.uint8)
    return pixels


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image, uint8 [H, W, 3], as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
