"""Small images of the people in a gallery, for pages that show them; only on request."""

import io

import numpy as np

from jointreid.gallery.rows import FeatureRows
from jointreid.messages.errors import JointreidError

_QUALITY = 85


def with_thumbnails(rows: FeatureRows, height: int) -> FeatureRows:
    """Return rows with a JPEG of each image's box.

    Args:
        rows: the rows; their images must be readable.
        height: in pixels.

    Raises:
        JointreidError: an image is unreadable, or the height is out of range.
    """
    if not 16 <= height <= 1024:
        raise JointreidError(f"thumbnails are {height} pixels high; expected 16 to 1024")
    from jointreid.extraction.image_input import cut_boxes, rgb_pixels

    found: list[bytes | None] = []
    for path, box in zip(rows.metadata["path"].to_pylist(), rows.boxes(), strict=True):
        pixels = rgb_pixels(path, path)
        found.append(thumbnail(cut_boxes(pixels, [box])[0] if box else pixels, height))
    return rows.with_thumbnails(found)


def thumbnail(pixels: "np.typing.NDArray[np.uint8]", height: int) -> bytes:
    """Return RGB pixels [H, W, 3] as a JPEG of a height, in the same proportions."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image = image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.BICUBIC)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=_QUALITY)
    return sink.getvalue()
