"""The contract of an exported file: what it takes, what it returns, and what of that was proved. JSON beside the file.

Nothing here needs torch.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from jointreid.config import GraphPrecision, ImageConfig, InputKind
from jointreid.messages.errors import JointreidError

VERSION = 1
# Key of the contract among the metadata of an ONNX file, which so explains itself without the file beside it.
METADATA = "jointreid"


@dataclass(frozen=True)
class InputForm:
    """What images must be when they enter the graph.

    Attributes:
        dtype: of the array.
        layout: `NHWC` or `NCHW`.
        low: smallest value of any image; None for values around 0.
        high: largest value of any image; None for values around 0.
        normalised_by: `graph`, which subtracts the mean and divides, or `caller`, who has done so.
        words: the same for people.
    """

    dtype: Literal["uint8", "float32"]
    layout: Literal["NHWC", "NCHW"]
    low: float | None
    high: float | None
    normalised_by: Literal["graph", "caller"]
    words: str


INPUTS: Mapping[InputKind, InputForm] = {
    "uint8": InputForm("uint8", "NHWC", 0, 255, "graph", "uint8 pixels as PIL and numpy hold them"),
    "raw255": InputForm("float32", "NCHW", 0, 255, "graph", "floats from 0 to 255"),
    "unit": InputForm("float32", "NCHW", 0, 1, "graph", "floats from 0 to 1, that is pixels / 255"),
    "imagenet": InputForm("float32", "NCHW", None, None, "caller", "(pixels / 255 - mean) / std"),
}


@dataclass(frozen=True)
class Contract:
    """What a file takes and returns.

    Attributes:
        file: its name.
        kind: a key of `INPUTS`.
        height: of the images, in pixels.
        width: of the images, in pixels.
        interpolation: with which images are resized to that size, ignoring their aspect ratio, by Pillow, which
            antialiases when it shrinks.
        mean: of the R, G and B intensities in [0, 1].
        std: of the R, G and B intensities in [0, 1].
        dims: numbers of a feature.
        fingerprint: of the model; features of other models must not be compared with its own.
        precision: of its arithmetic.
        model: system, trunk, run and checkpoint, in words.
        proof: what was compared with the model in PyTorch; None if nothing was.
        accuracy: domain -> mAP, of `exported` and of the model in `fp32`; None if it was not evaluated.
        versions: of the packages that made the file.
        sha256: checksum of the file; empty inside it.
    """

    file: str
    kind: InputKind
    height: int
    width: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dims: int
    fingerprint: str
    precision: GraphPrecision = "fp32"
    model: Mapping[str, Any] = field(default_factory=dict)
    proof: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Mapping[str, float]] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""

    @property
    def form(self) -> InputForm:
        """What images must be when they enter the graph."""
        return INPUTS[self.kind]

    def shape(self) -> list[str | int]:
        """Return the shape of the input, whose first axis is named `batch`."""
        size: list[str | int] = [self.height, self.width]
        return ["batch", *size, 3] if self.form.layout == "NHWC" else ["batch", 3, *size]

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return pixels uint8 [B, H, W, 3], RGB and of the right size, as the graph takes them."""
        if self.kind == "uint8":
            return np.ascontiguousarray(pixels)
        images = pixels.transpose(0, 3, 1, 2).astype(np.float32)
        if self.kind != "raw255":
            images /= np.float32(255)
        if self.kind == "imagenet":
            images = (images - _per_channel(self.mean)) / _per_channel(self.std)
        return np.ascontiguousarray(images)

    def require_input(self, images: NDArray[Any]) -> None:
        """Refuse an array that the graph would misread, as far as its values tell.

        Raises:
            JointreidError: another dtype or shape; or values of another range, such as images that are normalised
                already where the graph normalises.
        """
        form, shape = self.form, self.shape()
        fits = images.ndim == 4 and all(a == b for a, b in zip(images.shape[1:], shape[1:], strict=True))
        if images.dtype != form.dtype or not fits:
            raise JointreidError(
                f"{self.file}: images are {images.dtype} {list(images.shape)}; expected {form.dtype} "
                f"[{', '.join(map(str, shape))}], RGB, {form.words}"
            )
        if not images.size or form.dtype == "uint8":
            return
        low, high = float(images.min()), float(images.max())
        if form.normalised_by == "graph":
            if low < -1e-3 * (form.high or 1):
                raise JointreidError(
                    f"{self.file}: values from {low:.3g} to {high:.3g}: these images look normalised, and this graph "
                    f"normalises itself; give it {form.words}, or export with --input imagenet"
                )
            if high > 1.001 * (form.high or 1):
                raise JointreidError(f"{self.file}: values up to {high:.3g}; this graph takes {form.words}")
            if self.kind == "raw255" and 0 < high <= 1 and (images % 1).any():
                raise JointreidError(
                    f"{self.file}: values from {low:.3g} to {high:.3g} look like pixels / 255; this graph takes "
                    f"{form.words}. Export with --input unit for these"
                )
            return
        least, most = self._normalised_range()
        # Images of 0 to 1 fill that range; normalised ones that do so too show little else than one grey.
        unit = least < 0 and low >= 0 and low < 0.2 and 0.8 < high <= 1
        if unit or low < least - 1e-3 or high > most + 1e-3:
            raise JointreidError(
                f"{self.file}: values from {low:.3g} to {high:.3g}: these images are not normalised, and this graph "
                f"takes {form.words}; export with --input unit, raw255 or uint8 for others"
            )

    def _normalised_range(self) -> tuple[float, float]:
        """Return the least and the greatest value of images that are normalised by mean and standard deviation."""
        pairs = list(zip(self.mean, self.std, strict=True))
        return min(-mean / std for mean, std in pairs), max((1 - mean) / std for mean, std in pairs)

    def to_dict(self) -> dict[str, Any]:
        """Return the contract as JSON of its own words."""
        form = self.form
        return {
            "format": "jointreid-export",
            "version": VERSION,
            "file": self.file,
            "sha256": self.sha256,
            "input": {
                "name": "images",
                "kind": self.kind,
                "dtype": form.dtype,
                "layout": form.layout,
                "shape": self.shape(),
                "range": None if form.low is None else [form.low, form.high],
                "colours": "RGB",
                "normalised_by": form.normalised_by,
                "mean": list(self.mean),
                "std": list(self.std),
                "in_words": f"RGB, {form.words}",
            },
            "resize": {
                "height": self.height,
                "width": self.width,
                "interpolation": self.interpolation,
                "antialias": True,
                "keep_aspect_ratio": False,
                "library": "Pillow",
            },
            "output": {
                "name": "features",
                "dtype": "float32",
                "shape": ["batch", self.dims],
                "normalised": "L2",
                "metric": "cosine",
            },
            "fingerprint": self.fingerprint,
            "precision": self.precision,
            "model": dict(self.model),
            "proof": self.proof,
            "accuracy": self.accuracy,
            "versions": dict(self.versions),
        }

    @classmethod
    def from_dict(cls, plain: Any, where: str) -> "Contract":
        """Return the contract that `to_dict` wrote.

        Args:
            plain: the parsed JSON.
            where: its file, for messages.

        Raises:
            JointreidError: it is something else, or of a newer version.
        """
        try:
            if plain["format"] != "jointreid-export" or plain["version"] > VERSION:
                raise KeyError(f"format {plain['format']}, version {plain['version']}")
            if plain["input"]["kind"] not in get_args(InputKind):
                raise KeyError(f"input kind {plain['input']['kind']}")
            given, resize = plain["input"], plain["resize"]
            return cls(
                plain["file"],
                given["kind"],
                int(resize["height"]),
                int(resize["width"]),
                str(resize["interpolation"]),
                tuple(map(float, given["mean"])),  # type: ignore[arg-type]
                tuple(map(float, given["std"])),  # type: ignore[arg-type]
                int(plain["output"]["shape"][1]),
                str(plain["fingerprint"]),
                plain["precision"],
                plain["model"],
                plain["proof"],
                plain["accuracy"],
                plain["versions"],
                str(plain["sha256"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise JointreidError(
                f"{where}: not the contract of an exported model of version {VERSION} ({error}); export it again"
            ) from error


def contract_path(file: Path) -> Path:
    """Return where the contract of an exported file lies: `model.onnx` -> `model.onnx.json`."""
    return file.with_name(f"{file.name}.json")


def contract_text(contract: Contract) -> str:
    """Return the JSON of a contract."""
    return json.dumps(contract.to_dict(), indent=2, allow_nan=False) + "\n"


def contract_of(
    image: ImageConfig, *, file: str, kind: InputKind, dims: int, fingerprint: str, **more: Any
) -> Contract:
    """Return the contract of a file for images of these settings; `more` are other fields of `Contract`."""
    return Contract(
        file, kind, image.height, image.width, image.interpolation, image.mean, image.std, dims, fingerprint, **more
    )


def _per_channel(values: tuple[float, float, float]) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)[:, None, None]
