"""File systems that refuse a safety step: everything works without it, with one line; real errors still stop."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from jointreid.machine import files
from jointreid.machine.files import free_space, is_part, rename_folder, replace_folder, write_atomically, write_new
from jointreid.machine.locks import LockHeld, ProcessLock, locked
from jointreid.machine.reading import can_map, load_metadata, read_facts, read_tensors
from jointreid.messages.errors import JointreidError
from tests.refusing_disk import STEPS, refuse

REFUSALS = [
    pytest.param(step, number, id=f"{step}-{errno.errorcode[number]}")
    for step, numbers in STEPS.items()
    for number in numbers
]


def use_all(folder: Path) -> None:
    """Do everything that files and folders are written with, and compare what is there then."""
    for text in ("old", "new"):
        write_atomically(folder / "sub" / "a.txt", text)
        assert (folder / "sub" / "a.txt").read_text() == text
    write_new(folder / "b.bin", b"0123\n")
    assert (folder / "b.bin").read_bytes() == b"0123\n"
    for number in ("1", "2"):
        (folder / "last.new").mkdir()
        (folder / "last.new" / "number").write_text(number)
        replace_folder(folder / "last", folder / "last.new", folder / "last.old")
        assert [path.read_text() for path in (folder / "last").iterdir()] == [number]
    with locked(folder / "lock"):
        pass
    free_space(folder)
    assert can_map(folder / "b.bin") in (True, False)
    assert sorted(path.name for path in folder.rglob("*") if not path.name.startswith("lock")) == [
        *("a.txt", "b.bin", "last", "number", "sub")
    ]


@pytest.mark.parametrize(("step", "number"), REFUSALS)
def test_a_refused_step_is_left_out_with_one_line(
    step: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(monkeypatch, tmp_path, step, number)
    use_all(tmp_path)
    use_all(tmp_path / "again")
    lines = capsys.readouterr().err.splitlines()
    expected = {"open folder": "sync folder", "attributes": ""}.get(step, step)
    if not expected:  # nothing needs it
        assert lines == []
        return
    assert len(lines) == 1
    assert lines[0].startswith(f"jointreid: {tmp_path}")
    assert "this file system cannot " in lines[0]
    assert lines[0].endswith("(see docs/reliability.md)")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("step", ["sync folder", "sync file", "create", "replace", "rename folder", "map", "lock"])
def test_errors_of_a_broken_or_full_disk_still_stop(
    step: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(monkeypatch, tmp_path, step, number)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is compared
        use_all(tmp_path)
    assert caught.value.errno == number
    assert capsys.readouterr().err == ""


def test_a_folder_without_permission_still_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    write_atomically(tmp_path / "a", "old")
    monkeypatch.setattr(os, "replace", forbidden)
    monkeypatch.setattr(os, "rename", forbidden)
    with pytest.raises(PermissionError):
        write_atomically(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_failure_after_the_old_file_is_moved_aside_brings_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "a", "old")
    refuse(monkeypatch, tmp_path, "replace", errno.EPERM)
    rename = os.rename

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "a" and not Path(source).name.endswith(".before"):
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_a_folder_that_was_half_copied_is_known_and_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        (source / name).write_text(name)
    refuse(monkeypatch, tmp_path, "rename folder", errno.EXDEV)
    copy = shutil.copyfile

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "sync", die)
    with pytest.raises(KeyboardInterrupt):
        rename_folder(source, target)
    assert is_part(target)
    assert shutil.copyfile is copy
    monkeypatch.undo()
    rename_folder(source, target)
    assert not is_part(target)
    assert not source.exists()
    assert {path.relative_to(target).as_posix() for path in target.rglob("*")} == {"a", "sub", "sub/b"}


def test_without_locks_a_marker_keeps_a_second_process_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(monkeypatch, tmp_path, "lock", errno.ENOLCK)
    first, second = ProcessLock(tmp_path / "lock"), ProcessLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(LockHeld):
        second.acquire()
    first.release(remove=True)
    second.acquire()
    second.release(remove=True)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.count("cannot lock a file (flock)") == 1


def test_the_marker_of_a_process_that_is_gone_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, tmp_path, "lock", errno.ENOSYS)
    if not (child := os.fork()):
        held = ProcessLock(tmp_path / "lock")
        held.acquire()
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "lock.held").exists()
    lock = ProcessLock(tmp_path / "lock")
    lock.acquire()
    lock.release()


def test_without_locks_and_markers_there_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, tmp_path, "lock", errno.ENOLCK)
    (tmp_path / "lock").touch()
    refuse(monkeypatch, tmp_path, "create", errno.EINVAL)
    for _ in range(2):
        lock = ProcessLock(tmp_path / "lock")
        lock.acquire(wait=True)
        lock.release()


def test_tensors_are_read_without_a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1], dtype=torch.int64)}
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, {"state": "here"})
    facts = read_facts(path)
    refuse(monkeypatch, tmp_path, "map", errno.ENODEV)
    assert read_facts(path) == facts
    found = read_tensors(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert load_metadata(path) == {"state": "here"}
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(JointreidError, match="not a readable safetensors file"):
        read_tensors(path)
