"""Run an exported ONNX file on images, without PyTorch.

    model = ExportedModel.load("out/export/bot-dcsd-uint8.onnx")
    features = model(["anna.jpg", "ben.jpg"])             # float32 [2, D], of length 1
    features = model.boxes(frame, boxes)                  # of people in a frame, RGB, boxes left, top, right, bottom

Letters: N images, H x W pixels, D numbers of a feature.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps

from jointreid.data.decode import read_image, resize_image, to_rgb
from jointreid.export.contract import METADATA, Contract, contract_path
from jointreid.machine.extras import library
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError

ImageLike = str | Path | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """An exported ONNX file with its contract.

    Attributes:
        contract: what it takes and returns.
        session: of onnxruntime.
        batch_size: images at a time.
    """

    contract: Contract
    session: Any
    batch_size: int = 64

    @classmethod
    def load(cls, path: str | Path, *, threads: int = 0, batch_size: int = 64) -> "ExportedModel":
        """Open a file that `jointreid export` wrote.

        Args:
            path: the file. Its contract is read from its metadata, else from the JSON beside it.
            threads: that compute; 0 for as many as there are cores.
            batch_size: images at a time.

        Raises:
            JointreidError: not such a file, or onnxruntime is missing.
        """
        path = user_path(path)
        if not path.is_file():
            raise JointreidError(f"{path}: no such file; expected an ONNX file of `jointreid export`")
        session = open_session(path.read_bytes(), str(path), threads)
        text = session.get_modelmeta().custom_metadata_map.get(METADATA)
        beside = contract_path(path)
        if text is None and beside.is_file():
            text = beside.read_text(encoding="utf-8")
        if text is None:
            raise JointreidError(f"{path}: holds no contract, and there is no {beside.name}; export it again")
        try:
            plain = json.loads(text)
        except ValueError as error:
            raise JointreidError(f"{path}: its contract is no JSON: {error}") from error
        return cls(Contract.from_dict(plain, str(path)), session, batch_size)

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> NDArray[np.float32]:
        """Return features [N, D] of length 1, whose dot product is the cosine similarity.

        Args:
            images: one or several, each a path, a PIL image of any mode, or RGB pixels uint8 [H, W, 3] of any size.

        Raises:
            JointreidError: an image is unreadable or of another kind.
        """
        single = isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim == 3)
        queue = [images] if single else list(images)  # type: ignore[arg-type]
        parts = [np.empty((0, self.contract.dims), np.float32)]
        for start in range(0, len(queue), self.batch_size):
            pixels = [self._pixels(image) for image in queue[start : start + self.batch_size]]  # type: ignore[arg-type]
            parts.append(self._features(self.contract.prepare(np.stack(pixels))))
        return np.concatenate(parts)

    def boxes(self, frame: ImageLike, boxes: ArrayLike) -> NDArray[np.float32]:
        """Return the features [N, D] of people in one frame.

        Args:
            frame: a path, a PIL image, or RGB pixels. OpenCV reads images as BGR: give `frame[:, :, ::-1]`.
            boxes: [N, 4], left, top, right, bottom in pixels; cut at the edges of the frame.

        Raises:
            JointreidError: boxes are not [N, 4], or one shows nothing of the frame.
        """
        pixels = _rgb(frame)
        given = np.asarray(boxes, dtype=np.float64)
        if given.size == 0:
            given = given.reshape(0, 4)
        if given.ndim != 2 or given.shape[1] != 4:
            raise JointreidError(f"boxes are {list(given.shape)}; expected [N, 4], left, top, right, bottom each")
        if not np.isfinite(given).all():
            row = int(np.flatnonzero(~np.isfinite(given).all(1))[0])
            raise JointreidError(f"box {row}: {given[row].tolist()}; expected four finite numbers")
        edges = given.round().astype(np.int64)
        sides = np.clip(edges, 0, [pixels.shape[1], pixels.shape[0]] * 2)
        for row, (left, top, right, bottom) in enumerate(sides.tolist()):
            if right <= left or bottom <= top:
                raise JointreidError(
                    f"box {row}: {edges[row].tolist()} shows nothing of a frame of {pixels.shape[1]} x "
                    f"{pixels.shape[0]} pixels; expected left, top, right, bottom"
                )
        return self([pixels[top:bottom, left:right] for left, top, right, bottom in sides.tolist()])

    def run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the features of images that are as the graph takes them.

        Raises:
            JointreidError: the graph would misread them, see `Contract.require_input`.
        """
        self.contract.require_input(images)
        return self._features(images)

    def _features(self, images: NDArray[Any]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self.session.run(["features"], {"images": images})[0]
        return features

    def _pixels(self, image: ImageLike) -> NDArray[np.uint8]:
        size: Any = self.contract.height, self.contract.width, self.contract.interpolation
        return resize_image(_rgb(image), *size)


def open_session(content: bytes, name: str, threads: int = 0) -> Any:
    """Return onnxruntime's session of the bytes of an ONNX file, on the CPU.

    Args:
        content: the bytes.
        name: what messages call them.
        threads: that compute; 0 for as many as there are cores.

    Raises:
        JointreidError: they are no ONNX model, or onnxruntime is missing.
    """
    runtime = library("onnxruntime", "exported files are run", extra="export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no class of their own
        raise JointreidError(f"{name}: onnxruntime cannot load it: {error}") from error


def _rgb(image: ImageLike) -> NDArray[np.uint8]:
    if isinstance(image, str | Path):
        return read_image(user_path(image))
    if isinstance(image, Image.Image):
        return to_rgb(ImageOps.exif_transpose(image))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise JointreidError(f"an image is {found}; expected a path, a PIL image, or RGB pixels uint8 [H, W, 3]")
    return image
