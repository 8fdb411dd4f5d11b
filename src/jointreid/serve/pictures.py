"""Images as clients send them -> RGB pixels, in memory, with a limit before anything is decoded."""

import base64
import binascii
import io
import warnings

import numpy as np
from numpy.typing import NDArray

from jointreid.messages.errors import JointreidError

NAME = "the image"


def decoded(text: str, max_bytes: int) -> bytes:
    """Return the bytes of base64.

    Raises:
        JointreidError: it is none, or of more bytes than allowed.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise JointreidError(f"{NAME} is no base64") from error
    if len(content) > max_bytes:
        raise JointreidError(f"{NAME} has {len(content):,} bytes; expected at most {max_bytes:,}")
    return content


def upright_pixels(content: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Return an image's RGB pixels, uint8 [H, W, 3], turned as its EXIF says.

    Raises:
        JointreidError: it is not an image, damaged, or has more pixels than allowed, which is known before decoding.
    """
    from PIL import Image, UnidentifiedImageError

    from jointreid.data.decode import FORMATS, decode_boxes

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
                width, height = opened.size
    except UnidentifiedImageError as error:
        raise JointreidError(f"{NAME}: not an image of format {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise JointreidError(f"{NAME}: too many pixels; expected at most {max_pixels:,}") from error
    except Exception as error:  # damaged bytes raise nearly anything
        raise JointreidError(f"{NAME}: damaged") from error
    if width * height > max_pixels:
        raise JointreidError(f"{NAME}: {width} x {height} pixels; expected at most {max_pixels:,}; shrink it")
    return decode_boxes(content, NAME, [None])[0]
