"""macOS and Windows, simulated on Linux: what is missing there, and names that mean something else there."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import pytest

from jointreid.machine import system
from jointreid.machine.files import sync, write_new
from jointreid.machine.hashing import apart_from_others, name_on_disk
from jointreid.machine.locks import ProcessLock
from jointreid.machine.shortage import short_of_workers
from jointreid.machine.system import available_memory, is_running, peak_memory, shared_memory
from jointreid.messages.errors import JointreidError

NAMES: tuple[str, ...] = (
    *("CON", "nul", "aux.", "com1", "LPT9.txt", "a.", "..", ".", "", "a:b", 'a"b', "a*b?", "a<b>|c", "a\\b", "a/b"),
    *("a ", "tab\there", "Café", "東京" * 60, "🙂" * 99, "\udcff", "CON+aux", "x" * 300, "COM0", "a.b", "-", "a\0b"),
)


@pytest.mark.slow
def test_everything_runs_without_the_modules_and_calls_of_unix(tiny_manifest: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "USERNAME": "person", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.blocked", str(tiny_manifest), str(tmp_path)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["exit codes 0 0 0"], done.stdout + done.stderr
    assert done.stderr.count("this file system cannot lock a file") == 1


@pytest.mark.parametrize("kept", ["+-", "+-."])
def test_names_of_domains_are_names_on_windows_too_and_stay_apart(kept: str, tmp_path: Path) -> None:
    found = [name_on_disk(name, kept) for name in NAMES]
    assert len({name.casefold() for name in found}) == len(NAMES)
    for name in found:
        assert not PureWindowsPath(name).is_reserved()
        assert PureWindowsPath(name).parts == (name,)
        assert not set(name) & set('<>:"/\\|?*\0\t')
        assert not name.endswith((".", " "))
        assert len(name.encode()) <= 89
        (tmp_path / name).touch()


def test_names_of_today_stay_as_they_are() -> None:
    for name in ("market1501", "Shop", "north+south", "Café", "conference", "nullarbor", "MSMT17_V1"):
        assert name_on_disk(name) == name
    assert name_on_disk("a/b") == "a_b-c14cddc0"


def test_a_name_that_the_disk_takes_for_another_gets_a_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bot-Shop-s0").mkdir()
    assert apart_from_others(tmp_path / "bot-shop-s0") == tmp_path / "bot-shop-s0"  # this disk keeps them apart
    exists = Path.exists

    def folded(path: Path, **_: Any) -> bool:
        return exists(path) or path.name.casefold() in {other.name.casefold() for other in tmp_path.iterdir()}

    monkeypatch.setattr(Path, "exists", folded)
    assert apart_from_others(tmp_path / "bot-Shop-s0") == tmp_path / "bot-Shop-s0"
    other = apart_from_others(tmp_path / "bot-shop-s0")
    assert other.name.startswith("bot-shop-s0-")
    other.mkdir()
    assert apart_from_others(tmp_path / "bot-shop-s0") == other


def test_macos_and_windows_tell_less_of_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    here = peak_memory()
    assert here is not None
    assert 2**20 < here < 2**50
    monkeypatch.setattr(sys, "platform", "darwin")  # bytes there, KiB here
    there = peak_memory()
    assert there is not None
    assert there < here / 512
    nowhere = Path("/nowhere")
    monkeypatch.setattr(system, "SHARED_MEMORY", Path("/nowhere/shm"))
    monkeypatch.setitem(sys.modules, "resource", None)
    assert (available_memory(nowhere, nowhere), peak_memory(), shared_memory()) == (None, None, None)


def test_a_process_is_never_ended_by_asking_whether_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_running(os.getpid())
    if not (child := os.fork()):
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert not is_running(child)  # a zombie
    os.waitpid(child, 0)
    assert not is_running(child)

    closed: list[int] = []
    refused = True

    def exit_code(handle: int, code: Any) -> int:
        code._obj.value = 259 if handle == 1 else 0
        return 1

    kernel = SimpleNamespace(
        OpenProcess=lambda access, inherit, pid: pid if pid < 10 else 0,
        GetExitCodeProcess=exit_code,
        CloseHandle=closed.append,
    )
    monkeypatch.setattr(ctypes, "WinDLL", lambda *_, **__: kernel, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: 5 if refused else 87, raising=False)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("on Windows this ends the process"))
    monkeypatch.setattr(os, "name", "nt")
    assert is_running(1)
    assert not is_running(2)
    assert is_running(10)
    refused = False
    assert not is_running(10)
    assert closed == [1, 2]


def test_on_windows_folders_are_not_opened_and_open_files_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened, lock = os.open, ProcessLock(tmp_path / "lock")
    lock.acquire()

    def of_windows(path: Any, *arguments: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", of_windows)
        patch.setattr(os, "name", "nt")
        sync(tmp_path)
        lock.release(remove=True)
    assert list(tmp_path.iterdir()) == []
    write_new(tmp_path / "a", b"1\n2\r\n")
    assert (tmp_path / "a").read_bytes() == b"1\n2\r\n"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that dataloader's ..."),
        RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
        RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nTraceback\nRuntimeError: unable to write to "
                     "file </torch_12_3>: No space left on device (28)"),
        RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: Success (0)"),
        RuntimeError("unable to open shared memory object </torch_1> in read-write mode: Too many open files (24)"),
        RuntimeError("received 0 items of ancdata"),
        RuntimeError("A process in the process pool was terminated abruptly"),
        OSError(errno.ENOSYS, "Function not implemented"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)  # fmt: skip
def test_a_small_dev_shm_is_named_with_what_to_do(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(total=64_000_000, free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage if path == Path("/dev/shm") else None)
    with pytest.raises(JointreidError) as caught, short_of_workers(8, "load images", alone=0):
        raise error
    message = str(caught.value)
    assert "\n" not in message
    assert "the 8 processes that load images failed: /dev/shm, through which" in message
    assert "holds 64 MB, of which 1 MB are free. Use --workers 0" in message
    assert "docker run --shm-size" in message
    with pytest.raises(type(error)), short_of_workers(0, "load images", alone=0):
        raise error


def test_other_errors_of_a_training_with_workers_stay_what_they_are() -> None:
    for error in (RuntimeError("mat1 and mat2 shapes"), OSError(errno.ENOSPC, "No space left", "metrics.jsonl")):
        with pytest.raises(type(error)), short_of_workers(8, "load images", alone=0):
            raise error
