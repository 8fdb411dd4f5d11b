"""Freed memory is kept while a network runs, and handed back afterwards."""

import sys
from pathlib import Path

import pytest
import torch

from jointreid.machine import memory
from jointreid.machine.memory import kept_memory
from jointreid.machine.system import available_memory

SIZE = 100 * 2**20  # above the 32 MiB from which glibc hands blocks back at once


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc: Linux only")
def test_memory_is_kept_inside_and_handed_back_at_the_end() -> None:
    before = resident()
    with kept_memory("cpu"), kept_memory("cpu"):
        block = torch.ones(SIZE, dtype=torch.uint8)
        del block
        kept = resident() - before
    assert kept > SIZE / 2
    assert resident() - before < SIZE / 2


def test_other_devices_and_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with kept_memory("cuda"):
        assert memory._users == 0
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    with kept_memory("cpu"):
        assert memory._users == 1
    assert memory._users == 0


def test_free_memory_counts_what_may_be_dropped_and_a_containers_limit(tmp_path: Path) -> None:
    assert available_memory(tmp_path, tmp_path) is None
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 1000 kB\nMemAvailable: 4000 kB\n")
    assert available_memory(tmp_path, tmp_path) == 4_096_000
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 700000\n")
    assert available_memory(tmp_path, tmp_path) == 1_200_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path, tmp_path) == 4_096_000
