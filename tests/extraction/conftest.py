"""Models that are kept between commands, and the runs and images that the tests of `jointreid extract` share."""

from pathlib import Path
from typing import Any

import pytest

from jointreid.data.records import ImageRecord
from jointreid.extraction import work
from jointreid.extraction.embedder import Embedder
from tests.extraction.nine_images import nine
from tests.extraction.small_runs import draw, untrained_run

_LOAD = Embedder.load
_LOADED: dict[str, Embedder] = {}


@pytest.fixture
def models_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the model of a run once for all commands of a session, which takes most of the time of a small one."""

    def load(run: Any, checkpoint: str = "last", device: str = "auto", **options: Any) -> Embedder:
        key = f"{getattr(run, 'path', run)} {checkpoint} {device} {options}"
        if key not in _LOADED:
            _LOADED[key] = _LOAD(run, checkpoint, device, **options)
        return _LOADED[key]

    monkeypatch.setattr(Embedder, "load", load)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("other") / "run", "bot", seed=1)


@pytest.fixture
def records(tmp_path: Path) -> list[ImageRecord]:
    """Nine images that a test may damage."""
    return draw(tmp_path / "shop" / "images", 9)


@pytest.fixture
def manifest(tmp_path: Path, records: list[ImageRecord]) -> Path:
    """A table of the images that a test may damage."""
    return nine(tmp_path / "shop")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of nine images that stay as they are."""
    folder = tmp_path_factory.mktemp("shop")
    draw(folder / "images", 9)
    return nine(folder)


@pytest.fixture(scope="module")
def whole(run: Path, shop: Path) -> Path:
    """The features of these images, written by one process that was left alone."""
    out = shop.with_name("whole.parquet")
    work.extract_features(run, shop, out, device="cpu")
    return out
