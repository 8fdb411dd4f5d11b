"""Models that are kept between commands."""

from typing import Any

import pytest

from jointreid.extraction.embedder import Embedder

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
