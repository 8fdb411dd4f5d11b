"""A small run directory to work on: a copy of the one that version 1 left, and its trunk of two 3x3s."""

import shutil
from pathlib import Path

import pytest

from jointreid import custom

FIXTURE = Path(__file__).parent / "fixtures" / "run_v1"


def copy_of_fixture(to: Path, patch: pytest.MonkeyPatch) -> Path:
    """Copy the run and its data to a folder, which becomes the current one, and trust its trunk."""
    shutil.copytree(FIXTURE, to)
    patch.chdir(to)
    patch.syspath_prepend(str(FIXTURE))
    patch.setattr(custom, "_trusted", {"tiny_trunk"})
    return to
