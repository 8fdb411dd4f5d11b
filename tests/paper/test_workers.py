"""Sharing the grid among processes, played through in one."""

from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest

from jointreid.config import RunConfig
from jointreid.messages.errors import JointreidError
from jointreid.paper import workers as room
from jointreid.paper.datasets import datasets_of_paper
from jointreid.paper.plan import GridTask, plan_for
from jointreid.paper.request import Request
from jointreid.paper.workers import _outcomes, _work


def test_a_process_takes_trainings_until_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(tmp_path, RunConfig(), tables=("VI",))
    data = SimpleNamespace(datasets=datasets_of_paper())
    names = [task.name for task in plan_for(request, data.datasets).tasks]

    def train_and_evaluate(task: GridTask, *rest: Any) -> str:
        if task.name == names[2]:
            raise JointreidError("no memory")
        return "well"

    monkeypatch.setattr(room, "load_grid_data", lambda *_: data)
    monkeypatch.setattr(room, "train_and_evaluate", train_and_evaluate)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    tasks: Queue[str | None] = Queue()
    outcomes: Queue[tuple[str, str, bool]] = Queue()
    for name in (names[0], names[2], None, names[1]):
        tasks.put(name)
    _work(request, "", tasks, outcomes)
    assert list(_outcomes(outcomes, 2, [])) == [(names[0], "well", False), (names[2], "no memory", True)]
    assert tasks.qsize() == 1


def test_processes_that_are_gone_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_SECONDS_BETWEEN_LOOKS", 0.01)
    dead = SimpleNamespace(is_alive=lambda: False, exitcode=-9)
    with pytest.raises(JointreidError, match=r"all processes ended \(exit codes -9\) with 3 trainings unfinished"):
        next(_outcomes(Queue(), 3, [dead]))
