"""Runs that are killed: trained in forked children, killed by SIGKILL at a chosen point, and checked afterwards.

The parent has loaded everything, so a victim costs only its steps. A child computes in one thread, because it must not
use the OpenMP threads of its parent.
"""

import contextlib
import io
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from jointreid.config import RunConfig
from jointreid.messages.errors import RunStopped
from jointreid.run import open_run
from jointreid.training import checkpoint as room
from jointreid.training.checkpoint import newest_checkpoint
from jointreid.training.data import TrainingData
from jointreid.training.log import TrainingLog
from jointreid.training.train import train

# What a checkpoint is made of; a kill comes in the middle of a write, and before each of the others.
OPERATIONS = ("write", "fsync", "rename", "unlink", "rmdir")
RESUMABLE = 75


class KillPoint(NamedTuple):
    """The point at which a victim is killed.

    Attributes:
        kind: `save` at an operation of a save, `step` when a number of steps is completed, `time` at any moment,
            `signal` to ask it to stop by a signal at a step, or `none` to let it finish.
        number: the save, counted from 1 in this victim, or the step.
        operation: of the save, counted from 1; or the signal.
        seconds: after the start of the child.
    """

    kind: str
    number: int = 0
    operation: int = 0
    seconds: float = 0.0


class Outcome(NamedTuple):
    """The end of a victim.

    Attributes:
        killed: whether it was killed by SIGKILL.
        status: exit status of a victim that was not.
        saved: the step of the last finished save, -1 without one.
        operations: how many operations each save took.
        text: its output.
        seconds: from fork to outcome.
    """

    killed: bool
    status: int
    saved: int
    operations: list[int]
    text: str
    seconds: float


@dataclass
class Tally:
    """Counts over many victims."""

    kills: int = 0
    cold_starts: int = 0
    lost: int = 0
    lives: int = 0
    operations: int = 0
    different: list[str] = field(default_factory=list)
    points: list[KillPoint] = field(default_factory=list)


def run_victim(config: RunConfig, data: TrainingData, point: KillPoint, log: Path) -> Outcome:
    """Train in a forked child until it finishes or is killed; resume if there is a run already."""
    reader, writer = os.pipe()
    since = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_victim(config, data, point, writer, log)
    os.close(writer)
    if point.kind == "time":
        time.sleep(point.seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with os.fdopen(reader) as told:
        lines = [line.split() for line in told.read().splitlines()]
    _, status = os.waitpid(pid, 0)
    seconds = time.monotonic() - since
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    saves = [(int(step), int(count)) for step, count in lines]
    saved, counts = max((step for step, _ in saves), default=-1), [count for _, count in saves]
    code = 0 if killed else os.waitstatus_to_exitcode(status)
    printed = log.read_text() if log.exists() else ""  # it may die before it has a log
    return Outcome(killed, code, saved, counts, printed, seconds)


def is_lost(config: RunConfig, outcome: Outcome) -> str:
    """Return why a killed run cannot resume from its last finished save; empty if it can."""
    path = Path(config.train.out)
    if not (path / "config.yaml").is_file():
        return "" if outcome.saved < 0 else "the run is gone"
    said: list[str] = []
    saved = newest_checkpoint(open_run(path), said.append)
    step = saved.state["step"] if saved else -1
    if said:
        return f"a damaged checkpoint: {said}"
    return "" if step >= outcome.saved else f"step {outcome.saved} was saved, {step} is there"


def difference(a: Path, b: Path) -> str:
    """Return the difference between two finished runs in weights, optimiser, progress, log or results."""
    files = [f"{name}/{file}" for name in ("last", "best") for file in ("model.safetensors", "state.json")]
    for file in [*files, "last/training.safetensors", "metrics.jsonl", "labels.json"]:
        if (a / file).exists() != (b / file).exists():
            return f"{file} is in one of them only"
        if (a / file).exists() and (a / file).read_bytes() != (b / file).read_bytes():
            return f"{file} differs"
    return "" if _timeless(a / "results.json") == _timeless(b / "results.json") else "results.json differs"


def _timeless(path: Path) -> dict[str, Any]:
    """Return results without when they were found, and how long it took."""
    plain: dict[str, Any] = json.loads(path.read_text()) | {"seconds": 0}
    for domain in plain["domains"]:
        domain["conditions"]["date"] = ""
    return plain


def kill_and_resume(
    config: RunConfig,
    data: TrainingData,
    points: Iterator[KillPoint],
    kills: int,
    whole: Path,
    tally: Tally,
    finish: Callable[[RunConfig], None] | None = None,
) -> None:
    """Kill a run at so many points, then let it finish, by `finish` where given, and compare it with `whole`.

    The counts are added to `tally`.
    """
    path = Path(config.train.out)
    log = path.with_suffix(".txt")
    tally.lives += 1
    left = kills
    while left:
        outcome = run_victim(config, data, point := next(points), log)
        if outcome.killed:
            left -= 1
            tally.kills += 1
            tally.points.append(point)
            if why := is_lost(config, outcome):
                tally.lost += 1
                print(f"lost at {point}: {why}")
        elif outcome.status == 0:
            break
        else:
            raise AssertionError(f"a victim of {point} ended with {outcome.status}: {outcome.text}")
    if finish is None:
        outcome = run_victim(config, data, KillPoint("none"), log)
        assert (outcome.killed, outcome.status) == (False, 0), outcome.text
    else:
        finish(config)
    if found := difference(path, whole):
        tally.different.append(f"{path}: {found}")


def kill_points(seed: int, operations: list[int], steps: int, seconds: float) -> Iterator[KillPoint]:
    """Yield every operation of a save in turn, with random steps and moments between them, without end.

    Args:
        seed: of the random points.
        operations: how many each save of a whole run takes; the first one, which replaces none, takes fewer.
        steps: of a whole run.
        seconds: duration of a whole run.
    """
    rng = random.Random(seed)
    while True:
        for operation in range(1, max(operations) + 1):
            yield rng.choice(
                [KillPoint("step", rng.randint(1, steps)), KillPoint("time", seconds=rng.uniform(0, seconds))]
            )
            yield KillPoint("save", rng.choice((1, 2)) if operation <= operations[0] else 2, operation)


def _be_victim(config: RunConfig, data: TrainingData, point: KillPoint, writer: int, log: Path) -> None:
    """Train, and exit the process."""
    status = 1
    with log.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            torch.set_num_threads(1)
            _arm(point, writer)
            resume = (Path(config.train.out) / "config.yaml").is_file()
            train(config.replace(train={"resume": resume}), Console(file=file, width=200), data=data)
            status = 0
        except RunStopped as stopped:
            print(stopped, file=file)
            status = RESUMABLE
        except BaseException:
            import traceback

            traceback.print_exc(file=file)
        file.flush()
    os._exit(status)


def _arm(point: KillPoint, writer: int) -> None:
    """Count the operations of each save in this process, report finished saves, and die at the point."""
    checkpoint: Any = room
    save, advance = checkpoint.write_checkpoint, TrainingLog.advance
    saves = 0

    def counted_save(run: Path, name: str, contents: Any) -> None:
        nonlocal saves
        saves += 1
        step = json.loads(contents["state.json"]())["step"]
        with _counting(point.operation if point.kind == "save" and point.number == saves else 0) as count:
            save(run, name, contents)
        if name == "last":
            _write(writer, f"{step} {count()}\n".encode())

    def counted_advance(self: TrainingLog, step: int) -> None:
        if point.kind == "step" and step >= point.number:
            die()
        if point.kind == "signal" and step == point.number:
            os.kill(os.getpid(), point.operation)
        advance(self, step)

    checkpoint.write_checkpoint = counted_save
    TrainingLog.advance = counted_advance  # type: ignore[method-assign]


_write = os.write


@contextlib.contextmanager
def _counting(fatal: int) -> Iterator[Callable[[], int]]:
    """Count the operations on the disk, and die at number `fatal`, counted from 1; 0 lets all pass."""
    count = 0

    def watched(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == fatal:
                if name == "write":
                    _write(args[0], args[1][: len(args[1]) // 2])
                die()
            return operation(*args, **kwargs)

        return call

    before = {name: getattr(os, name) for name in OPERATIONS}
    for name, operation in before.items():
        setattr(os, name, watched(name, operation))
    try:
        yield lambda: count
    finally:
        for name, operation in before.items():
            setattr(os, name, operation)


def die() -> None:
    """Kill this process, as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def quiet() -> Console:
    return Console(file=io.StringIO())
