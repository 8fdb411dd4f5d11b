"""Any image that a person may hold -> RGB pixels: paths, PIL images, arrays, tensors, and boxes in a frame.

Letters: N images, H x W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps
from torch import Tensor

from jointreid.data.decode import read_image, to_rgb
from jointreid.messages.errors import JointreidError

Pixels = NDArray[np.uint8]
ImageLike = str | Path | Image.Image | Pixels | Tensor

# The order of colours in arrays and tensors; OpenCV reads images as bgr.
Channels = Literal["rgb", "bgr"]
# Two ways to write a box: left, top, width, height; or left, top, right, bottom.
BoxForm = Literal["xywh", "xyxy"]


def as_list(images: ImageLike | Sequence[ImageLike]) -> list[ImageLike]:
    """Return one image, several, or a stack of them [N, ...] as a list."""
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if isinstance(images, np.ndarray | Tensor):
        return [images] if images.ndim == 3 else list(images)
    return list(images)


def name_of(image: ImageLike, index: int) -> str:
    """Return what messages call an image: its path, or its place among those that were given."""
    return str(image) if isinstance(image, str | Path) else f"image {index}"


def rgb_pixels(image: ImageLike, name: str, channels: Channels = "rgb") -> Pixels:
    """Return an image's RGB pixels, uint8 [H, W, 3].

    Args:
        image: a path; a PIL image of any mode; an array uint8 [H, W, 3]; or a tensor [3, H, W], uint8, or float in
            [0, 1], which is rounded to 1/255.
        name: what messages call it.
        channels: the order of colours in an array or a tensor. Files and PIL images tell it themselves.

    Raises:
        JointreidError: it is unreadable or of another kind.
    """
    if channels not in ("rgb", "bgr"):
        raise JointreidError(f"channels is {channels!r}; expected rgb or bgr")
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        try:
            return _checked(to_rgb(ImageOps.exif_transpose(image)), name)
        except JointreidError as error:
            raise error if str(error).startswith(name) else JointreidError(f"{name}: {error}") from error
        except Exception as error:
            # An opened file is decoded only here, where damaged bytes raise nearly anything.
            raise JointreidError(f"{name}: {error}") from error
    if isinstance(image, Tensor):
        image = _of_tensor(image, name)
    if not isinstance(image, np.ndarray):
        raise JointreidError(f"{name}: {type(image).__name__}; expected a path, a PIL image, an array or a tensor")
    pixels = _checked(image, name)
    return pixels if channels == "rgb" else np.ascontiguousarray(pixels[:, :, ::-1])


def cut_boxes(frame: Pixels, boxes: ArrayLike, form: BoxForm = "xywh") -> list[Pixels]:
    """Return the part of a frame that each box shows, cut at the frame's edges.

    Args:
        frame: uint8 [H, W, 3].
        boxes: [N, 4] in pixels, integers or floats, which are rounded.
        form: what the four numbers are.

    Raises:
        JointreidError: not [N, 4], a number that is not finite, or a box without a pixel inside the frame.
    """
    corners = np.asarray(boxes, dtype=np.float64)
    if form not in ("xywh", "xyxy"):
        raise JointreidError(f"form is {form!r}; expected xywh (left, top, width, height) or xyxy (two corners)")
    if corners.size == 0:
        return []
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise JointreidError(f"boxes: {list(corners.shape)}; expected [N, 4]")
    if not np.isfinite(corners).all():
        raise JointreidError(f"box {int(np.isfinite(corners).all(1).argmin())}: a number is not finite")
    if form == "xywh":
        corners = np.hstack([corners[:, :2], corners[:, :2] + corners[:, 2:]])
    height, width = frame.shape[:2]
    inside = np.clip(np.rint(corners), 0, [width, height, width, height]).astype(np.int64)
    cuts = []
    for index, (left, top, right, bottom) in enumerate(inside.tolist()):
        if left >= right or top >= bottom:
            raise JointreidError(
                f"box {index}: {corners[index].tolist()} (left, top, right, bottom) shows no pixel of the frame of "
                f"{width} x {height} pixels; leave it out"
            )
        cuts.append(frame[top:bottom, left:right])
    return cuts


def _checked(pixels: Pixels, name: str) -> Pixels:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise JointreidError(f"{name}: array {pixels.dtype} {list(pixels.shape)}; expected uint8 [H, W, 3], RGB")
    return pixels


def _of_tensor(image: Tensor, name: str) -> Pixels:
    """Return a tensor [3, H, W] as pixels [H, W, 3]."""
    values = image.detach().cpu()
    if values.ndim != 3 or values.shape[0] != 3 or not values.numel():
        raise JointreidError(f"{name}: tensor {values.dtype} {list(values.shape)}; expected [3, H, W]")
    if values.is_floating_point():
        least, most = float(values.min()), float(values.max())
        if not (least >= 0 and most <= 1):
            raise JointreidError(
                f"{name}: values from {least:.3g} to {most:.3g}; expected [0, 1], not normalised: the model's own mean "
                "and standard deviation are applied here"
            )
        values = (values.float() * 255).round().byte()
    pixels: Pixels = values.permute(1, 2, 0).contiguous().numpy()
    return _checked(pixels, name)
