"""Import of libraries that may be missing or incomplete, by the functions that need them."""

import ctypes
import importlib
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from jointreid.messages.errors import JointreidError


def library(name: str, purpose: str, extra: str = "paper") -> Any:
    """Import a library of an extra.

    Args:
        name: of its module, such as `scipy.io`.
        purpose: beginning of a sentence that continues "with NAME".
        extra: the extra of this package that installs it.

    Raises:
        JointreidError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise JointreidError(
            f"{purpose} with {package}, which is missing; install it with pip install 'jointreid[{extra}]'"
        ) from error


def vision_library(name: str) -> Any:
    """Import torchvision, timm (which needs it), or one of their modules, such as `timm.data`."""
    declare_torchvision()
    return importlib.import_module(name)


def declare_torchvision() -> None:
    """Make torchvision importable if its compiled part was built for another torch, such as one with CUDA.

    Importing it registers Python code for two of its compiled operators without checking that they are loaded. If they
    cannot be loaded, declare them here: that is enough for its transforms and for timm.
    """
    import torch

    spec = PathFinder.find_spec("torchvision")
    if spec is None or spec.origin is None or hasattr(torch.ops.torchvision, "nms"):
        return
    if not any(_loads(library) for library in Path(spec.origin).parent.glob("_C*")):
        for operator in ("nms", "qnms"):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", signature)


def _loads(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library))
    except OSError:
        return False
    return True
