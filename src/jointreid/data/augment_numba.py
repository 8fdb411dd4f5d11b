"""The CPU kernel behind `augment.apply`: every change of an image in one pass, from uint8 to normalised float32."""

import numba
import numpy as np
from numpy.typing import NDArray

from jointreid.machine.numba_kernel import cached

# Without fastmath: what is looked up is copied, so the outcome is the reference's to the last bit.
_compiled = numba.njit(nogil=True, error_model="numpy")


@cached
@_compiled
def change(
    images: NDArray[np.uint8],
    draws: NDArray[np.int64],
    pad: int,
    to_edge: bool,
    normalised: NDArray[np.float32],
    fill: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write flipped, cropped, normalised and erased images.

    Args:
        images: [B, H, W, 3].
        draws: [B, 7], the columns as in `augment.AugmentDraws`.
        pad: P, pixels.
        to_edge: whether the border holds the nearest pixel, instead of zeros.
        normalised: [256, 3], what each intensity becomes in each channel.
        fill: [3], what erased pixels become.
        out: [B, H, W, 3], written.
    """
    batch, height, width, _ = images.shape
    source = np.empty(width, np.int64)  # the column that each column of the crop shows; -1 in the border
    for image in range(batch):
        flip, top, left, erase_top, erase_left, erase_height, erase_width = draws[image]
        for x in range(width):
            column = x + left - pad
            if to_edge:
                column = min(max(column, 0), width - 1)
            inside = 0 <= column < width
            source[x] = (width - 1 - column if flip else column) if inside else -1
        for y in range(height):
            row = y + top - pad
            if to_edge:
                row = min(max(row, 0), height - 1)
            inside = 0 <= row < height
            erased = erase_top <= y < erase_top + erase_height
            for x in range(width):
                column = source[x]
                if erased and erase_left <= x < erase_left + erase_width:
                    for channel in range(3):
                        out[image, y, x, channel] = fill[channel]
                elif inside and column >= 0:
                    for channel in range(3):
                        out[image, y, x, channel] = normalised[images[image, row, column, channel], channel]
                else:
                    for channel in range(3):
                        out[image, y, x, channel] = normalised[0, channel]
