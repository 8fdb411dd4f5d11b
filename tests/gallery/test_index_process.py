"""The process that changes an index: what it does, what it leaves when it is killed, and what it says when it fails.

Each process is a fresh interpreter, which takes two seconds to start, so there are few of them.
"""

import time
from pathlib import Path

import pytest

from jointreid.gallery import index_process
from jointreid.gallery.columns import TABLE
from jointreid.gallery.gallery import Gallery
from jointreid.gallery.index import index_state
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


@pytest.mark.slow
def test_another_process_builds_the_index_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lancedb

    refusing = tmp_path / "refusing"
    refusing.mkdir()
    (refusing / "torch.py").write_text("raise AssertionError('torch was imported')")
    monkeypatch.syspath_prepend(refusing)  # the process is given this one's sys.path
    gallery = Gallery.open(tmp_path / "g")
    paths = [f"{row}.jpg" for row in range(40)]
    gallery.add(FeatureRows.of(person_features(40, 1), paths, FeatureModel(FINGERPRINT)))
    change_index_apart(gallery.uri, tmp_path / "g", "build")
    state = index_state(lancedb.connect(gallery.uri).open_table(TABLE))
    assert state == {"kind": "IVF_HNSW_SQ", "indexed": 40, "unindexed": 0}
    assert not (tmp_path / "g" / "index.tmp").exists()


@pytest.mark.slow
def test_another_process_that_fails_says_why_and_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^the index cannot be changed: .*'people' was not found"):
        change_index_apart(str(tmp_path), tmp_path, "clean")
    assert [path.name for path in tmp_path.iterdir()] == ["index.lock"]


def test_a_process_that_cannot_start_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(uri: str, folder: Path, work: str) -> object:
        (folder / "index.tmp").mkdir()
        raise FileNotFoundError("no such program")

    monkeypatch.setattr(index_process, "start", fail)
    with pytest.raises(FileNotFoundError):
        change_index_apart(str(tmp_path), tmp_path, "build")
    assert not list(tmp_path.iterdir())
