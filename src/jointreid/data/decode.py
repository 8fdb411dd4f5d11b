"""How images of a data set are opened, and the scan that shows which can be.

Letters in shapes: H height, W width, in pixels.
"""

import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from jointreid.data.records import ImageRecord
from jointreid.errors import JointreidError
from jointreid.files import write_atomically

Box = tuple[int, int, int, int]
Interpolation = Literal["bicubic", "bilinear"]

# Named, because Pillow also knows formats that run other programs (EPS) or fetch other files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
# How files of these formats end.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
MAX_PIXELS = 2**26

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_CACHE_FILE = "readable.json"
_CACHE_VERSION = 1


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
        JointreidError: the file is missing, empty, truncated, not an image, larger than 2^26 pixels, or smaller than
            the box; the message names the path and the cause.
    """
    path, box = (image.path, image.box) if isinstance(image, ImageRecord) else (Path(image), box)
    try:
        with Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise JointreidError(f"{opened.width} x {opened.height} pixels are more than {MAX_PIXELS}; shrink it")
            ImageOps.exif_transpose(opened, in_place=True)
            if box is None:
                return to_rgb(opened)
            if cause := box_outside(box, opened.width, opened.height):
                raise JointreidError(cause)
            x, y, width, height = box
            return to_rgb(opened.crop((x, y, x + width, y + height)))
    except UnidentifiedImageError as error:
        empty = os.path.getsize(path) == 0
        cause = "the file is empty" if empty else f"not an image of format {', '.join(FORMATS)}"
        raise JointreidError(f"{path}: {cause}") from error
    except FileNotFoundError as error:
        raise JointreidError(f"{path}: no such file") from error
    except Exception as error:
        # Pillow's decoders raise nearly anything on damaged bytes: OSError, SyntaxError, struct.error, zlib.error.
        raise JointreidError(f"{path}: {error}") from error


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
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255, which turns a 16-bit image white.
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise JointreidError(f"grey values from {grey.min()} to {grey.max()}; expected 8 or 16 bits")
        scaled = ((grey * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(scaled[..., None], 3, axis=2)
    if image.mode == "F":
        raise JointreidError("grey values are fractions, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


class Scan(NamedTuple):
    """Which images decode.

    Attributes:
        sizes: path -> (width, height) of the upright image, in pixels.
        unreadable: path -> why it does not decode.
        from_cache: how many of `sizes` were known from an earlier scan.
    """

    sizes: Mapping[Path, tuple[int, int]]
    unreadable: Mapping[Path, str]
    from_cache: int


def scan_images(paths: Iterable[Path], cache_dir: Path | None, threads: int) -> Scan:
    """Decode every image once, and remember in `cache_dir` those that could be.

    A remembered image is decoded again when its size in bytes or its time of change differs. What failed is never
    remembered, so that a repaired disk or permission is noticed.

    Args:
        paths: the images; each is decoded once however often it stands there.
        cache_dir: folder for the results of all scans, made if missing; None remembers nothing.
        threads: images decoded at a time.

    Raises:
        JointreidError: the cache cannot be written.
    """
    known = _read_cache(cache_dir)
    stamps = {path: _stamp(path) for path in sorted(set(paths))}
    fresh = {path: known[str(path.absolute())] for path, stamp in stamps.items() if _is_known(known, path, stamp)}
    rest = [path for path in stamps if path not in fresh]
    with ThreadPoolExecutor(threads) as pool:
        outcomes = dict(zip(rest, pool.map(_probe, rest), strict=True))
    decoded = {path: outcome for path, outcome in outcomes.items() if not isinstance(outcome, str)}
    if cache_dir is not None and decoded:
        entries = {str(path.absolute()): [*stamps[path], *size] for path, size in decoded.items()}
        _write_cache(cache_dir / _CACHE_FILE, {**known, **entries})
    return Scan(
        sizes={path: (entry[2], entry[3]) for path, entry in fresh.items()} | decoded,
        unreadable={path: outcome for path, outcome in outcomes.items() if isinstance(outcome, str)},
        from_cache=len(fresh),
    )


def _probe(path: Path) -> tuple[int, int] | str:
    """Return an image's (width, height), or why it does not decode."""
    try:
        height, width, _ = read_image(path).shape
    except JointreidError as error:
        return str(error).removeprefix(f"{path}: ")
    return width, height


def _stamp(path: Path) -> tuple[int, int]:
    """Return a file's size in bytes and time of change in ns, or zeros where there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _is_known(known: Mapping[str, list[int]], path: Path, stamp: tuple[int, int]) -> bool:
    entry = known.get(str(path.absolute()))
    return entry is not None and tuple(entry[:2]) == stamp


def _read_cache(cache_dir: Path | None) -> dict[str, list[int]]:
    """Return path -> [bytes, time of change in ns, width, height]; nothing if there is no cache or it is damaged."""
    try:
        cache = json.loads((cache_dir / _CACHE_FILE).read_bytes()) if cache_dir else {}
    except (OSError, ValueError):
        return {}
    if not isinstance(cache, dict) or cache.get("version") != _CACHE_VERSION:
        return {}
    files = cache.get("files")
    return {path: entry for path, entry in files.items() if _is_entry(entry)} if isinstance(files, dict) else {}


def _write_cache(path: Path, files: Mapping[str, list[int]]) -> None:
    try:
        write_atomically(path, json.dumps({"version": _CACHE_VERSION, "files": files}))
    except OSError as error:
        raise JointreidError(f"{path}: cannot be written: {error.strerror}; choose another --data.cache") from error


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 4 and all(isinstance(number, int) for number in entry)
