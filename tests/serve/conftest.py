"""A gallery that is made once."""

from pathlib import Path

import pytest

from tests.serve.small_service import made


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, its images and a gallery; do not change them."""
    return made(tmp_path_factory.mktemp("shop"))
