"""Files that other people's tools read beside the ONNX file, and the input that each of them gives it.

Nothing here uses these tools: some have licences that a dependency would spread.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointreid.config import ImageConfig, InputKind, ToolName
from jointreid.export.contract import Contract
from jointreid.machine.files import write_atomically
from jointreid.messages.errors import JointreidError


@dataclass(frozen=True)
class Tool:
    """Another tool.

    Attributes:
        kind: of the input that it gives a file.
        files: returns suffix -> content of the files beside it.
        imagenet: whether it normalises by ImageNet's mean and standard deviation, whatever the run used.
    """

    kind: InputKind
    files: Callable[[Path, Contract], Mapping[str, str]] = lambda path, contract: {}
    imagenet: bool = False


def _boxmot(path: Path, contract: Contract) -> Mapping[str, str]:
    """Return what BoxMOT 25 reads instead of guessing the architecture from the file's name."""
    size = [contract.height, contract.width]
    metadata = {
        "schema_version": 1,
        "source": path.name,
        "model_name": f"jointreid-{contract.model.get('system', '')}",
        "num_classes": 1,
        "preprocess": "resize",
        "img_size": size,
        "model_kwargs_schema_version": 1,
        "model_kwargs": {"img_size": size},
    }
    return {f"{path.suffix}.metadata.json": json.dumps(metadata, indent=2) + "\n"}


def _ultralytics(path: Path, contract: Contract) -> Mapping[str, str]:
    """Return a tracker's settings: those of BoT-SORT with this file for the appearance."""
    settings: dict[str, Any] = {
        "tracker_type": "botsort",
        "track_high_thresh": 0.25,
        "track_low_thresh": 0.1,
        "new_track_thresh": 0.25,
        "track_buffer": 30,
        "match_thresh": 0.8,
        "fuse_score": True,
        "gmc_method": "sparseOptFlow",
        "proximity_thresh": 0.5,
        "appearance_thresh": 0.8,
        "with_reid": True,
        "model": str(path.resolve()),
    }
    return {".botsort.yaml": "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())}


def _deepstream(path: Path, contract: Contract) -> Mapping[str, str]:
    """Return the section `ReID` of a configuration of NvDCF or NvDeepSORT."""
    lines = [
        "# For a tracker's configuration (NvDCF, NvDeepSORT). The graph normalises pixels and scales features itself.",
        "ReID:",
        "  reidType: 2            # features for association and for re-association",
        "  outputReidTensor: 1",
        "  batchSize: 100",
        "  workspaceSize: 1000",
        f"  reidFeatureSize: {contract.dims}",
        "  reidHistorySize: 100",
        f"  inferDims: [3, {contract.height}, {contract.width}]",
        "  networkMode: 0         # fp32; 1 is fp16",
        "  inputOrder: 0          # NCHW",
        "  colorFormat: 0         # RGB",
        "  offsets: [0.0, 0.0, 0.0]",
        "  netScaleFactor: 1.0",
        "  keepAspc: 0            # resize to the whole size, whatever the shape of the box",
        "  addFeatureNormalization: 0",
        f'  onnxFile: "{path.resolve()}"',
        f'  modelEngineFile: "{path.resolve()}_b100_gpu0_fp32.engine"',
    ]
    return {".deepstream.yml": "\n".join(lines) + "\n"}


TOOLS: Mapping[ToolName, Tool] = {
    "boxmot": Tool("imagenet", _boxmot, imagenet=True),
    "ultralytics": Tool("unit", _ultralytics),
    "deepstream": Tool("raw255", _deepstream),
    "deep-sort-realtime": Tool("uint8"),
    "norfair": Tool("uint8"),
}


def require_fitting(tool: ToolName, image: ImageConfig) -> None:
    """Refuse a run whose images are normalised by other numbers than the tool's.

    Raises:
        JointreidError: the message names both.
    """
    ours, theirs = (image.mean, image.std), (ImageConfig().mean, ImageConfig().std)
    if TOOLS[tool].imagenet and ours != theirs:
        raise JointreidError(
            f"{tool} normalises images by ImageNet's mean and standard deviation, and this run by {image.mean} and "
            f"{image.std}; train with the default image.mean and image.std to use it there"
        )


def write_companions(tool: ToolName, path: Path, contract: Contract) -> list[Path]:
    """Write the files that a tool reads beside an exported one, and return them."""
    written = []
    for suffix, content in TOOLS[tool].files(path, contract).items():
        target = path.with_name(path.stem + suffix)
        write_atomically(target, content)
        written.append(target)
    return written
