"""A second check of a table repeats the outcome of the first, and a new one is made as soon as anything changed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jointreid.cli import main
from jointreid.config import DataConfig
from jointreid.data import preflight
from jointreid.data.readers.left_out import with_omissions
from jointreid.data.records import Domain
from jointreid.data.sources import load_domains


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = ["domain,split,path,pid,camid"]
    for number in range(12):
        pid, split = number // 2, ("train" if number < 8 else ("query", "gallery")[number % 2])
        Image.fromarray(rng.integers(0, 255, (12, 6, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"d,{split},{number}.png,{pid},{number % 2}")
    path = tmp_path / "table.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each check that was really made."""
    made: list[int] = []
    original = preflight.check

    def counted(*args: object, **options: object) -> object:
        made.append(1)
        return original(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(preflight, "check", counted)
    return made


def run(table: Path, *options: str) -> int:
    return main(["data", "check", "--manifest", str(table), "--cache", str(table.parent / "cache"), *options])


def test_a_second_check_says_the_same_and_checks_nothing(
    table: Path, checks: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(table) == 0
    first = capsys.readouterr().out
    assert run(table) == 0
    assert capsys.readouterr().out == first.replace("12 decoded, 0 known", "0 decoded, 12 known")
    assert run(table, "--json") == 0
    remembered = capsys.readouterr().out
    assert len(checks) == 1
    (table.parent / "cache" / "checks.json").unlink()
    assert run(table, "--json") == 0
    assert capsys.readouterr().out == remembered
    assert len(checks) == 2


def _same_size_and_time(table: Path) -> None:
    image = table.parent / "3.png"
    status = image.stat()
    image.write_bytes(b"x" * status.st_size)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda table: table.write_text(table.read_text().replace("3.png,1,1", "3.png,5,1")), 0),
        (lambda table: table.with_name("table.domains.json").write_text('{"d": {"exclude_same_camera": false}}'), 0),
        (lambda table: (table.parent / "3.png").unlink(), 1),
        (_same_size_and_time, 1),
        (lambda table: shutil.copy(table.parent / "2.png", table.parent / "3.png"), 0),
    ],
)
def test_a_change_is_noticed(table: Path, checks: list[int], change: Callable[[Path], object], code: int) -> None:
    assert run(table) == 0
    change(table)
    assert run(table) == code
    assert run(table) == code
    # What cannot be read is tried again each time.
    assert len(checks) == (2 if code == 0 else 3)


def test_other_settings_are_another_check(table: Path, checks: list[int]) -> None:
    assert run(table) == run(table, "--sampler.ids_per_batch", "2") == run(table) == 0
    assert len(checks) == 2


def test_a_damaged_memory_is_as_none(table: Path, checks: list[int]) -> None:
    for content in ("", "[]", "{", '{"a": 1}'):
        assert run(table) == 0
        (table.parent / "cache" / "checks.json").write_text(content)
    assert len(checks) == 4


def test_errors_are_remembered_too(table: Path, checks: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(table.read_text() + "d,query,0.png,0,0\n")
    assert run(table) == 1
    first = capsys.readouterr().out
    assert run(table) == 1
    assert capsys.readouterr().out.splitlines()[:-2] == first.splitlines()[:-2]
    assert "in train and in query" in first
    assert len(checks) == 1


def test_a_folder_is_checked_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    folders = {"bounding_box_train": (1, 2), "query": (3, 4), "bounding_box_test": (3, 4)}
    for number, (folder, people) in enumerate(folders.items()):
        (tmp_path / folder).mkdir()
        for pid in people:
            for camera in (number % 2 + 1, 3):
                image = Image.fromarray(rng.integers(0, 255, (12, 6, 3), dtype=np.uint8))
                image.save(tmp_path / folder / f"{pid:04}_c{camera}s1_{number:06}_00.jpg")
    monkeypatch.chdir(tmp_path)
    (found,) = load_domains(DataConfig(sources=("market1501=.",)))
    assert [omission for omission in found.omissions if not omission.by_rule] == []
    assert main(["data", "check", "--data", "market1501=."]) in (0, 1)


def test_a_folder_that_cannot_be_read_and_is_no_split_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("query", "lost+found"):
        (tmp_path / folder).mkdir()
    scan = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name in refused:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    refused = ("lost+found",)
    assert with_omissions(Domain("x"), tmp_path, {"query": "query"}).omissions == ()
    refused = ("query",)
    with pytest.raises(PermissionError):
        with_omissions(Domain("x"), tmp_path, {"query": "query"})
