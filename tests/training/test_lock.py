"""One process at a time in a run directory."""

import json
import multiprocessing
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from jointreid.messages.errors import JointreidError
from jointreid.training.lock import LockOwner, run_lock


def hold_and_die(run: Path, ready: Any) -> None:
    """Take the lock, say so, and wait to be killed."""
    with run_lock(run, print):
        ready.set()
        signal.pause()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"


def test_a_second_process_is_told_whose_the_directory_is_and_takes_it_over_once_that_died(run: Path) -> None:
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    holder = fork.Process(target=hold_and_die, args=(run, ready))
    holder.start()
    assert ready.wait(60)
    with (
        pytest.raises(JointreidError, match=rf"in use by process {holder.pid} on .* since 20.*--out"),
        run_lock(run, print),
    ):
        pass
    assert (run / "lock.json").exists()  # the holder's, not ours to remove
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    said: list[str] = []
    with run_lock(run, said.append):
        assert json.loads((run / "lock.json").read_text())["pid"] == os.getpid()
    assert f"left by process {holder.pid}" in said[0]
    assert list(run.iterdir()) == []


def test_another_machine_is_believed_until_a_person_removes_its_note(run: Path) -> None:
    run.mkdir(parents=True)
    note = run / "lock.json"
    note.write_text(json.dumps({"host": "elsewhere", "pid": 7, "since": "2026-01-01", "command": "jointreid train"}))
    for _ in range(2):
        with pytest.raises(JointreidError, match=r"process 7 on elsewhere .*delete .*lock\.json"), run_lock(run, print):
            pass
    note.unlink()
    with run_lock(run, print):
        assert json.loads(note.read_text())["host"] == socket.gethostname()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"host": 1}', '{"host": "a", "pid": "b", "since": 1, "command": 2}']
)
def test_a_note_that_cannot_be_read_is_written_anew(run: Path, content: str) -> None:
    run.mkdir(parents=True)
    (run / "lock.json").write_text(content)
    with run_lock(run, print):
        assert json.loads((run / "lock.json").read_text())["pid"] == os.getpid()


def test_an_error_leaves_what_was_written_and_no_lock(run: Path) -> None:
    def fail() -> None:
        with run_lock(run, print):
            (run / "config.yaml").touch()
            raise JointreidError("mine")

    with pytest.raises(JointreidError, match="mine"):
        fail()
    assert [path.name for path in run.iterdir()] == ["config.yaml"]


def test_the_same_process_may_not_hold_it_twice(run: Path) -> None:
    with run_lock(run, print):
        with pytest.raises(JointreidError, match=f"in use by process {os.getpid()}"), run_lock(run, print):
            pass
        with run_lock(run.with_name("other"), print):
            pass


def test_what_cannot_be_written_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = r"file/run cannot be written: Not a directory; .*--out"
    with pytest.raises(JointreidError, match=message), run_lock(tmp_path / "file" / "run", print):
        pass


def test_this_process_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["jointreid", "train", "--out", "my run"])
    owner = LockOwner.here()
    assert (owner.host, owner.pid) == (socket.gethostname(), os.getpid())
    assert owner.command == "jointreid train --out 'my run'"
