"""Small images of the people in a gallery, for pages that show them; only on request."""

import io

import numpy as np

from jointreid.gallery.rows import FeatureRows
from jointreid.messages.errors import JointreidError

_QUALITY = 85
# Width of a small image at most, as many times its height.
WIDEST = 4
_REDUCED = 16


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
    from jointreid.extraction.storage import read_image_boxes

    found: list[bytes | None] = [
        thumbnail(read_image_boxes(path, [box])[0], height)
        for path, box in zip(rows.metadata["path"].to_pylist(), rows.boxes(), strict=True)
    ]
    return rows.with_thumbnails(found)


def thumbnail(pixels: "np.typing.NDArray[np.uint8]", height: int) -> bytes:
    """Return RGB pixels [H, W, 3] as a JPEG in the same proportions, of a height, and at most `WIDEST` times as wide.

    A box that is wider gives a lower image. Either side has at least one pixel.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    scale = min(height / image.height, WIDEST * height / image.width)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    # The filter of `resize` needs memory for each pixel of a side, so sides far too long are averaged to fewer first.
    factors = [max(1, side // (_REDUCED * wanted)) for side, wanted in zip(image.size, size, strict=True)]
    image = image.reduce((factors[0], factors[1])).resize(size, Image.Resampling.BICUBIC)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=_QUALITY)
    return sink.getvalue()
