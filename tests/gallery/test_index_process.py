"""The process that builds an index: what it leaves when it is killed, and what it says when it fails."""

import time
from pathlib import Path

import pytest

from jointreid.gallery import index_process
from jointreid.gallery.gallery import Gallery
from jointreid.gallery.index_process import change_index_apart, start
from jointreid.gallery.rows import FeatureModel, FeatureRows
from tests.gallery.feature_files import FINGERPRINT, person_features

CODES = "index.tmp/.tmp*/shuffle_data.lance"


@pytest.mark.slow
def test_a_purge_reaches_what_a_killed_build_left(tmp_path: Path) -> None:
    """Lance writes 8-bit codes of all features to a temporary folder; the process ends with the one that started it."""
    gallery = Gallery.open(tmp_path / "g")
    paths = [f"{row}.jpg" for row in range(8_000)]
    gallery.add(FeatureRows.of(person_features(8_000, 1, 64), paths, FeatureModel(FINGERPRINT)))
    process = start(gallery.uri, tmp_path / "g", "build")
    until = time.monotonic() + 60
    while not list((tmp_path / "g").glob(CODES)) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    assert process.stdin is not None
    process.stdin.close()  # as when the parent is killed
    assert process.wait(60) == 1
    assert list((tmp_path / "g").glob(CODES))
    assert Gallery.open(gallery.uri).search(person_features(1, 1, 64)[0]).total == 8_000
    gallery.remove(pid="nobody", purge=True)
    assert [path.name for path in (tmp_path / "g").iterdir() if path.suffix != ".lock"] == ["people.lance"]
    assert not list((tmp_path / "g").rglob("shuffle*"))


def test_a_build_that_fails_says_why_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(uri: str, folder: Path, work: str) -> object:
        (folder / "index.tmp").mkdir()
        raise FileNotFoundError("no such program")

    monkeypatch.setattr(index_process, "start", fail)
    with pytest.raises(FileNotFoundError):
        change_index_apart(str(tmp_path), tmp_path, "build")
    assert not list(tmp_path.iterdir())
