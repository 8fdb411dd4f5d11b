"""Open images of a data set, and scan which can be opened.

Letters in shapes: H height, W width, in pixels.
"""

import io
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from jointreid.config import Interpolation
from jointreid.data.looks import look_of
from jointreid.data.missing import missing_hint
from jointreid.data.records import ImageRecord
from jointreid.data.remembered import Stamp, look_up
from jointreid.messages.errors import JointreidError

Box = tuple[int, int, int, int]

# Named, because Pillow also knows formats that run other programs (EPS) or fetch other files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
# How files of these formats end.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
MAX_PIXELS = 2**26
# Resizing takes 40 bytes for each pixel of a side.
MAX_SIDE = 2**20

_RESAMPLING: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
# EXIF orientation -> what turns the image upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CACHE_FILE = "readable.json"


def read_image(image: ImageRecord | str | Path, box: Box | None = None) -> NDArray[np.uint8]:
    """Decode an image wholly and return its RGB pixels.

    The EXIF orientation is applied before the box is cut. 16-bit grey is scaled to 8 bit (65535 -> 255), transparent
    parts lie on white, and of an animation the first frame is taken.

    Args:
        image: a record, whose own box is cut out, or a path.
        box: for a path, the part to cut out: `(x, y, width, height)` in pixels of the upright image.

    Returns:
        uint8 [H, W, 3].

    Raises:
        JointreidError: the file is missing, empty, truncated, not an image, larger than 2^26 pixels, with a side of
            more than 2^20, or smaller than the box; the message names the path and the cause.
    """
    path, box = (image.path, image.box) if isinstance(image, ImageRecord) else (Path(image), box)
    return np.array(_open_boxes(path, [box])[0])


def read_boxes(path: Path, boxes: Sequence[Box | None]) -> list[NDArray[np.uint8]]:
    """Decode an image once and return the RGB pixels of several of its boxes, None for all of it; see `read_image`.

    Args:
        path: the image.
        boxes: `(x, y, width, height)` in pixels of the upright image.

    Returns:
        uint8 [H, W, 3] for each box.

    Raises:
        JointreidError: as `read_image` does, for the first box that does not fit.
    """
    return [np.array(cut) for cut in _open_boxes(path, boxes)]


def decode_boxes(content: bytes, name: str, boxes: Sequence[Box | None]) -> list[NDArray[np.uint8]]:
    """Decode an image that was read from elsewhere than a file; see `read_boxes`.

    Args:
        content: the encoded image.
        name: what messages call it.
        boxes: `(x, y, width, height)` in pixels of the upright image, None for all of it.

    Returns:
        uint8 [H, W, 3] for each box.

    Raises:
        JointreidError: as `read_boxes` does.
    """
    return [np.array(cut) for cut in _open_boxes(name, boxes, content)]


def _open_boxes(path: Path | str, boxes: Sequence[Box | None], content: bytes | None = None) -> list[Image.Image]:
    """Return RGB images as `read_boxes` does, before their pixels become arrays."""
    try:
        if content is None:
            _require_content(Path(path))
        elif not content:
            raise JointreidError("the file is empty")
        with Image.open(path if content is None else io.BytesIO(content), formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise JointreidError(f"{opened.width} x {opened.height} pixels are more than {MAX_PIXELS}; shrink it")
            if max(opened.size) > MAX_SIDE:
                raise JointreidError(f"{opened.width} x {opened.height} pixels; expected sides of {MAX_SIDE} at most")
            upright = _upright(opened)
            return [_in_rgb(_cut(upright, box)) for box in boxes]
    except UnidentifiedImageError as error:
        raise JointreidError(f"{path}: not an image of format {', '.join(FORMATS)}") from error
    except FileNotFoundError as error:
        raise JointreidError(f"{path}: no such file{missing_hint(Path(path))}") from error
    except Exception as error:
        # Pillow's decoders raise nearly anything on damaged bytes: OSError, SyntaxError, struct.error, zlib.error.
        plain = error.strerror if isinstance(error, OSError) else ""
        raise JointreidError(f"{path}: {plain or error or type(error).__name__}") from error


def _cut(upright: Image.Image, box: Box | None) -> Image.Image:
    if box is None:
        return upright
    if cause := box_outside(box, upright.width, upright.height):
        raise JointreidError(cause)
    x, y, width, height = box
    return upright.crop((x, y, x + width, y + height))


def _require_content(path: Path) -> None:
    status = path.stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # of a folder, opening says that it is one
        raise JointreidError("a pipe or device, which may never end; expected a file")
    if status.st_size == 0:
        raise JointreidError("the file is empty")


def _upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its EXIF says; EXIF that cannot be read says nothing about the pixels."""
    image.load()
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return image
    return image if turn is None else image.transpose(turn)


def box_outside(box: Box, width: int, height: int) -> str:
    """Return how a box `(x, y, width, height)` leaves an image of this size, or nothing if it does not."""
    right, bottom = box[0] + box[2], box[1] + box[3]
    if right <= width and bottom <= height:
        return ""
    return f"the box {box} reaches to {right}, {bottom}, but the image is {width} x {height} pixels"


def resize_image(
    image: NDArray[np.uint8], height: int, width: int, interpolation: Interpolation = "bicubic"
) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to uint8 [height, width, 3], with antialiasing when it shrinks."""
    return np.array(Image.fromarray(image).resize((width, height), _RESAMPLING[interpolation]))


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of an image in any of Pillow's modes, uint8 [H, W, 3], as it lies: EXIF is not looked at.

    16-bit grey is scaled to 8 bit (65535 -> 255), and transparent parts lie on white.

    Raises:
        JointreidError: grey values are fractions or out of 16 bits, so their range is unknown.
    """
    return np.array(_in_rgb(image))


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255, which turns a 16-bit image white.
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise JointreidError(f"grey values from {grey.min()} to {grey.max()}; expected 8 or 16 bits")
        return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise JointreidError("grey values are fractions, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


class Scan(NamedTuple):
    """Outcome of a scan: the images that decode and those that do not.

    Attributes:
        sizes: path -> (width, height) of the upright image, in pixels.
        looks: path -> the look of the upright image, see `data.looks`.
        unreadable: path -> why it does not decode.
        from_cache: how many of `sizes` were known from an earlier scan.
        stamps: path -> the stamp of the file, see `look_up`.
    """

    sizes: Mapping[Path, tuple[int, int]]
    looks: Mapping[Path, str]
    unreadable: Mapping[Path, str]
    from_cache: int
    stamps: Mapping[Path, Stamp]


def scan_images(paths: Iterable[Path], cache_dir: Path | None, threads: int) -> Scan:
    """Decode every image once, and remember in `cache_dir` those that could be.

    A remembered image is decoded again when its file has changed (see `look_up`).

    Args:
        paths: the images; each is decoded once however often it is listed.
        cache_dir: folder for the results of all scans, made if missing; None remembers nothing.
        threads: images decoded at a time.

    Raises:
        JointreidError: the cache cannot be written.
    """
    found = look_up(paths, _size_and_look, str, cache_dir and cache_dir / _CACHE_FILE, threads)
    unreadable = {path: cause.removeprefix(f"{path}: ") for path, cause in found.failures.items()}
    sizes: dict[Path, tuple[int, int]] = {}
    looks: dict[Path, str] = {}
    for path, fact in found.facts.items():
        width, height, looks[path] = fact.split(" ")
        sizes[path] = int(width), int(height)
    return Scan(sizes, looks, unreadable, found.remembered, found.stamps)


def _size_and_look(path: Path) -> str:
    """Return an image's width, height and look in one text, after decoding it wholly."""
    image = _open_boxes(path, [None])[0]
    return f"{image.width} {image.height} {look_of(image)}"
