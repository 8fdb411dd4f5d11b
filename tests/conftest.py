"""Shared by all tests: a tiny data set, skips that say what is missing, and a torchvision that can be imported."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from filelock import FileLock

# No test writes into the cache of whoever runs them.
os.environ["JOINTREID_CACHE"] = tempfile.mkdtemp(prefix="jointreid-tests-")
_MAKER = os.getpid()


@atexit.register
def _remove_cache() -> None:
    if os.getpid() == _MAKER:  # not in processes that were forked from this one
        shutil.rmtree(os.environ["JOINTREID_CACHE"], ignore_errors=True)


if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is loaded: each worker has one core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the preset `tiny`, 32x16 pixels: five domains of 16 + 12 identities, one with one camera.

    All pytest-xdist workers share it: do not change it.
    """
    from jointreid.synthetic import synthesise

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each worker's folder lies in that of the session
    with FileLock(folder / "tiny.lock"):
        manifest = folder / "tiny" / "manifest.csv"
        return manifest if manifest.is_file() else synthesise(manifest.parent, "tiny", height=32)


@pytest.fixture(autouse=True)
def _trust_of_this_test_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after a test which modules it trusted: printed commands name them."""
    from jointreid import custom

    monkeypatch.setattr(custom, "_trusted", set(custom._trusted))


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
    """Makes torchvision importable where its compiled part was built for another torch. Finds nothing itself."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == "torchvision":
            from jointreid.machine.extras import declare_torchvision

            declare_torchvision()
