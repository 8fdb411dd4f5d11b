"""Facts of the machine and its processes, on Linux, macOS and Windows; None where the system does not tell."""

import ctypes
import os
import shutil
import sys
from importlib import import_module
from pathlib import Path

# Through which processes hand over images: memory that looks like a disk, on Linux.
SHARED_MEMORY = Path("/dev/shm")


def peak_memory() -> int | None:
    """Return the most bytes of memory that this process has used."""
    try:
        resource = import_module("resource")
    except ImportError:  # Windows
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes of memory that a process can still get, copies of files that may be dropped among them.

    A container's limit counts, where the system tells it (version 2 of control groups).

    Args:
        proc: where Linux tells of its memory.
        cgroup: where it tells of that of this container.
    """
    try:
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # macOS, Windows
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), "")
    if not kilobytes.isdecimal():
        return None
    of_machine = int(kilobytes) * 1024
    try:
        limit, used = ((cgroup / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
        kept = dict(line.split() for line in (cgroup / "memory.stat").read_text(encoding="ascii").splitlines())
        return min(of_machine, max(0, int(limit) - int(used) + int(kept.get("inactive_file", 0))))
    except (OSError, ValueError):  # no such file, or the limit `max`
        return of_machine


def shared_memory() -> tuple[int, int] | None:
    """Return how many bytes of memory processes can share, and how many of them are free."""
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError:  # macOS, Windows
        return None
    return usage.total, usage.free


def is_running(pid: int) -> bool:
    """Return whether a process of this machine is running, and not a zombie."""
    if os.name == "nt":  # os.kill would end it
        return _is_running_on_windows(pid)
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # another user's, or no /proc here
        return True
    return state not in "ZX"


def _is_running_on_windows(pid: int) -> bool:
    """Ask Windows; a process that cannot be opened for want of permission is running."""
    query, still_active, access_denied = 0x1000, 259, 5
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    if not (handle := kernel.OpenProcess(query, False, pid)):
        return bool(ctypes.get_last_error() == access_denied)  # type: ignore[attr-defined]
    try:
        code = ctypes.c_ulong()
        return not kernel.GetExitCodeProcess(handle, ctypes.byref(code)) or code.value == still_active
    finally:
        kernel.CloseHandle(handle)
