"""Preparing that is killed anywhere, given again, or given a folder that holds something else."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from jointreid.data.readers import READERS
from jointreid.messages.errors import JointreidError
from jointreid.prepare import prepare, render, terms_of, writing
from tests.prepare.test_cuhk03 import release as cuhk03_release
from tests.prepare.test_cuhk_sysu import TEST, annotate
from tests.prepare.test_cuhk_sysu import release as cuhk_sysu_release

pytestmark = pytest.mark.slow

RELEASES: dict[str, Callable[[Path], Path]] = {"cuhk03": cuhk03_release, "cuhk_sysu": cuhk_sysu_release}
# Images that each release of the tests makes.
IMAGES = {"cuhk03": 76, "cuhk_sysu": 14}


class Releases:
    """A release of each kind and what an unbroken preparation makes of it."""

    def __init__(self, root: Path) -> None:
        self.raw = {name: make(root / name) for name, make in RELEASES.items()}
        for name, raw in self.raw.items():
            prepare(name, raw, root / "whole" / name)
        self.whole = {name: tree(root / "whole" / name) for name in self.raw}


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    return Releases(tmp_path_factory.mktemp("releases"))


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return what lies below a folder: the content of each file, None for a folder."""
    paths = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}


class Cut(BaseException):
    """Stands in for a kill: no `except` of the package catches it."""


def cut_at(monkeypatch: pytest.MonkeyPatch, where: object, name: str, call: int) -> None:
    """Raise `Cut` in place of a function's call of this number, counted from 1."""
    original, calls = getattr(where, name), iter(range(1, 10_000))

    def counted(*arguments: object) -> object:
        if next(calls) == call:
            raise Cut
        return original(*arguments)

    monkeypatch.setattr(where, name, counted)


@pytest.mark.parametrize("name", RELEASES)
@pytest.mark.parametrize("call", [1, 2, 9, -1])
def test_an_interrupted_run_resumes_where_it_stopped(
    tmp_path: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    raw, target = releases.raw[name], tmp_path / "out"
    call = IMAGES[name] + 1 if call == -1 else call  # the index is written first
    with monkeypatch.context() as patch:
        cut_at(patch, writing, "write_atomically", call)
        with pytest.raises(Cut):
            prepare(name, raw, target)
    assert os.listdir(target) == [".preparing"]
    with pytest.raises(JointreidError, match=r"out: no CUHK.* here: expected"):
        READERS[name](target)
    done: list[tuple[int, int]] = []
    assert not prepare(name, raw, target, on_progress=lambda *counts: done.append(counts)).already
    assert done == [(image, IMAGES[name]) for image in range(max(call - 1, 1), IMAGES[name] + 1)]
    assert tree(target) == releases.whole[name]


@pytest.mark.parametrize(
    ("name", "call"), [("cuhk03", 1), ("cuhk03", 2), ("cuhk03", 3), ("cuhk03", 5), ("cuhk_sysu", 1)]
)
def test_a_run_interrupted_while_it_moves_finished_files_resumes(
    tmp_path: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    raw, target = releases.raw[name], tmp_path / "out"
    with monkeypatch.context() as patch:
        cut_at(patch, writing, "_move", call)
        with pytest.raises(Cut):
            prepare(name, raw, target)
    done: list[tuple[int, int]] = []
    assert not prepare(name, raw, target, on_progress=lambda *counts: done.append(counts)).already
    assert not done
    assert tree(target) == releases.whole[name]


@pytest.mark.parametrize("name", RELEASES)
def test_a_run_cut_in_its_last_step_is_finished(
    tmp_path: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    raw, target = releases.raw[name], tmp_path / "out"
    with monkeypatch.context() as patch:
        cut_at(patch, Path, "rmdir", 1)
        with pytest.raises(Cut):
            prepare(name, raw, target)
    assert prepare(name, raw, target).already
    assert tree(target) == releases.whole[name]


def test_another_process_resumes_after_one_is_killed(tmp_path: Path, releases: Releases) -> None:
    target = tmp_path / "out"
    code = f"""
import os, signal
from jointreid.prepare import prepare
fsync, calls = os.fsync, iter(range(11))  # of each file, then of its folder
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == 10 else fsync(file)
prepare("cuhk_sysu", {str(releases.raw["cuhk_sysu"])!r}, {str(target)!r})
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = [path.name for path in (target / ".preparing").rglob("*.jpg")]
    assert sorted(name.startswith(".") for name in left) == [False] * 4 + [True]  # the last was half written
    prepare("cuhk_sysu", releases.raw["cuhk_sysu"], target)
    assert tree(target) == releases.whole["cuhk_sysu"]


@pytest.mark.parametrize("name", RELEASES)
def test_a_finished_preparation_is_recognised(
    tmp_path: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first = prepare(name, releases.raw[name], tmp_path)
    monkeypatch.setattr("jointreid.prepare.matlab._read_v5", None)  # nothing is read again
    second = prepare(name, releases.raw[name], tmp_path)
    assert (first.already, second.already) == (False, True)
    assert (second.parts, second.notes, second.arguments) == (first.parts, first.notes, first.arguments)
    assert render(second).startswith(f"{name}: already prepared in {tmp_path}\n")
    assert tree(tmp_path) == releases.whole[name]


@pytest.mark.parametrize("finished", [True, False])
def test_another_annotation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool) -> None:
    raw, target = cuhk_sysu_release(tmp_path / "raw"), tmp_path / "out"
    with monkeypatch.context() as patch:
        cut_at(patch, writing, "write_atomically", 1000 if finished else 4)
        try:
            prepare("cuhk_sysu", raw, target)
        except Cut:
            assert not finished
    before = tree(target)
    train = raw / "annotation/test/train_test/Train.mat"
    content = train.read_bytes()
    annotate(raw, test={"p4": TEST["p4"]})
    train.write_bytes(content)  # as it was: each file that is written holds the second it was written in
    message = r"prepared\.json: was made from other files .*\(annotation/test/train_test/TestG50\.mat\); .* start over"
    with pytest.raises(JointreidError, match=message):
        prepare("cuhk_sysu", raw, target)
    assert tree(target) == before


def test_a_source_that_was_only_copied_is_the_same(tmp_path: Path, releases: Releases) -> None:
    raw = cuhk_sysu_release(tmp_path / "raw")
    prepare("cuhk_sysu", raw, tmp_path / "out")
    for path in raw.rglob("*.mat"):
        os.utime(path, (0, 0))
    raw.rename(tmp_path / "elsewhere")
    assert prepare("cuhk_sysu", tmp_path / "elsewhere", tmp_path / "out").already


@pytest.mark.parametrize(
    "stranger", ["holiday.jpg", "images_labeled/1_001_1_01.png", "cuhksysu4reid/train/00001_s1_0000000_0.jpg"]
)
@pytest.mark.parametrize("name", RELEASES)
def test_a_folder_with_other_files_is_refused(tmp_path: Path, releases: Releases, name: str, stranger: str) -> None:
    (tmp_path / stranger).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / stranger).write_bytes(b"mine")
    before = tree(tmp_path)
    with pytest.raises(
        JointreidError, match=f"contains other files than a preparation of {name} .{stranger.split('/')[0]}"
    ):
        prepare(name, releases.raw[name], tmp_path)
    assert tree(tmp_path) == before


def test_another_data_sets_folder_is_refused(
    tmp_path: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("cuhk_sysu", releases.raw["cuhk_sysu"], tmp_path / "whole")
    with pytest.raises(JointreidError, match=r"contains other files than a preparation of cuhk03 \(cuhksysu4reid\)"):
        prepare("cuhk03", releases.raw["cuhk03"], tmp_path / "whole")
    with monkeypatch.context() as patch:
        cut_at(patch, writing, "write_atomically", 4)
        with pytest.raises(Cut):
            prepare("cuhk_sysu", releases.raw["cuhk_sysu"], tmp_path / "begun")
    before = tree(tmp_path / "begun")
    with pytest.raises(
        JointreidError, match=r"\.jpg: does not belong to this preparation; move it away|prepared\.json: does not"
    ):
        prepare("cuhk03", releases.raw["cuhk03"], tmp_path / "begun")
    assert tree(tmp_path / "begun") == before


def test_the_release_itself_is_refused_as_target(tmp_path: Path) -> None:
    raw = cuhk_sysu_release(tmp_path / "raw")
    before = tree(raw)
    with pytest.raises(
        JointreidError, match=r"contains other files than a preparation of cuhk_sysu \(Image, annotation\)"
    ):
        prepare("cuhk_sysu", raw, raw)
    assert tree(raw) == before


def test_a_target_that_is_a_file_is_refused(tmp_path: Path, releases: Releases) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(JointreidError, match="out: is a file; give a folder that is new or empty"):
        prepare("cuhk_sysu", releases.raw["cuhk_sysu"], tmp_path / "out")


def test_a_prepared_file_that_was_removed_is_an_error(tmp_path: Path, releases: Releases) -> None:
    prepare("cuhk03", releases.raw["cuhk03"], tmp_path)
    (tmp_path / "splits_new_labeled.json").unlink()
    with pytest.raises(JointreidError, match=r"was prepared, but splits_new_labeled\.json has been removed since"):
        prepare("cuhk03", releases.raw["cuhk03"], tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"format": 0}', "parts"])
def test_a_damaged_index_is_an_error(tmp_path: Path, releases: Releases, content: str) -> None:
    prepare("cuhk_sysu", releases.raw["cuhk_sysu"], tmp_path)
    index = tmp_path / "cuhksysu4reid" / "prepared.json"
    if content == "parts":
        content = json.dumps({**json.loads(index.read_text()), "parts": [1]})
    index.write_text(content)
    with pytest.raises(JointreidError, match=r"prepared\.json: (cannot be read|was not written by|is damaged)"):
        prepare("cuhk_sysu", releases.raw["cuhk_sysu"], tmp_path)


def test_a_full_disk_is_an_error_that_says_how_to_resume(
    tmp_path: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_atomically", full)
        with pytest.raises(
            JointreidError, match=r"cannot be written: No space left on device; .* resume where it stopped"
        ):
            prepare("cuhk_sysu", releases.raw["cuhk_sysu"], tmp_path)
    prepare("cuhk_sysu", releases.raw["cuhk_sysu"], tmp_path)
    assert tree(tmp_path) == releases.whole["cuhk_sysu"]


def test_two_processes_do_not_prepare_one_folder(tmp_path: Path, releases: Releases) -> None:
    (tmp_path / ".preparing").mkdir()
    busy = pytest.raises(JointreidError, match="another process is preparing a data set here")
    with FileLock(tmp_path / ".preparing" / "lock"), busy:
        prepare("cuhk_sysu", releases.raw["cuhk_sysu"], tmp_path)
    prepare("cuhk_sysu", releases.raw["cuhk_sysu"], tmp_path)
    assert tree(tmp_path) == releases.whole["cuhk_sysu"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("market1501", "market1501 needs no conversion; use it directly, with --data market1501={path}"),
        ("msmt17", "msmt17 needs no conversion; use it directly, with --data msmt17={path}"),
        ("dukemtmc", "dukemtmc needs no conversion; use it directly, with --data dukemtmc={path}"),
        ("cuhk-sysu", "there is no data set to prepare cuhk-sysu; did you mean cuhk_sysu"),
        ("", "there is no data set to prepare ; there are cuhk03, cuhk_sysu"),
    ],
)
def test_other_names_are_refused_with_advice(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(JointreidError) as raised:
        prepare(name, tmp_path / "raw", tmp_path / "out")
    assert str(raised.value).startswith(message.format(path=tmp_path / "raw"))
    with pytest.raises(JointreidError) as raised:
        terms_of(name)
    assert str(raised.value).startswith(message.format(path="PATH"))


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        JointreidError, match="raw: there is no such folder; give the folder that contains the release of cuhk03"
    ):
        prepare("cuhk03", tmp_path / "raw", tmp_path / "out")


def test_terms_are_known_before_anything_is_done() -> None:
    assert "on request" in terms_of("cuhk03")
    assert "non-commercial research" in terms_of("cuhk_sysu")
