"""What the tests of the comparison of networks share: its modules, which are no package of the project."""

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of a training; the benchmarks are no package of the project."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import evidence.tasks

    return evidence.tasks
