"""What several test files share: a tiny data set, skips that say what is missing, and an importable torchvision."""

import ctypes
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def tiny_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the preset `tiny`, 32x16 pixels: five domains of 16 + 12 identities, one with one camera."""
    from jointreid.data.synthetic import synthesise

    return synthesise(tmp_path_factory.mktemp("tiny") / "data", "tiny", height=32)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and torch sees none")
    if item.get_closest_marker("triton"):
        if os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("runs in a process of its own: TRITON_INTERPRET=1 pytest -m triton")
        if find_spec("triton") is None:
            pytest.skip("needs triton, which is not installed")
    if item.get_closest_marker("browser") and not shutil.which("chromium"):
        pytest.skip("needs Chromium, and there is no `chromium` on the path")


def pytest_configure(config: pytest.Config) -> None:
    sys.meta_path.insert(0, _BeforeTorchvision())


class _BeforeTorchvision(MetaPathFinder):
    """Lets torchvision import where its compiled part was built for another torch, such as one with CUDA.

    Importing it registers Python code for two of its compiled operators without looking whether they were loaded.
    Where they cannot be, they are declared here: its transforms and timm need no more than that. Finds nothing itself.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == "torchvision" and (spec := PathFinder.find_spec(fullname)) and spec.origin:
            _declare_missing_operators(Path(spec.origin).parent)


def _declare_missing_operators(torchvision: Path) -> None:
    import torch

    if not any(_loads(library) for library in torchvision.glob("_C*.so")):
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _loads(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library))
    except OSError:
        return False
    return True
