"""Runs that die: trained in forked children, killed by SIGKILL at a chosen place, and looked at afterwards.

The parent has loaded and prepared everything, so a victim costs what its steps cost. A child computes in one thread: it
may not enter the OpenMP that its parent has used.
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


class Place(NamedTuple):
    """Where a victim dies.

    Attributes:
        kind: `save` at an operation of a save, `step` when a number of steps is completed, `time` at any moment,
            `signal`, asked to stop by one at a step, or `none`, which lets it live.
        number: the save, counted from 1 in this victim, or the step.
        operation: of the save, counted from 1; or the signal.
        seconds: after the start of the child.
    """

    kind: str
    number: int = 0
    operation: int = 0
    seconds: float = 0.0


class Death(NamedTuple):
    """How a victim ended.

    Attributes:
        killed: whether by SIGKILL, else its exit status.
        status: of a victim that was not.
        saved: the step of the last save that had come to its end, -1 without one.
        operations: how many operations each save took.
        text: what it printed.
        seconds: from fork to death.
    """

    killed: bool
    status: int
    saved: int
    operations: list[int]
    text: str
    seconds: float


@dataclass
class Toll:
    """What was counted."""

    kills: int = 0
    cold_starts: int = 0
    lost: int = 0
    lives: int = 0
    operations: int = 0
    different: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)


def victim(config: RunConfig, data: TrainingData, place: Place, log: Path) -> Death:
    """Train in a forked child until it ends or dies at a place, going on if there is a run already."""
    reader, writer = os.pipe()
    since = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_victim(config, data, place, writer, log)
    os.close(writer)
    if place.kind == "time":
        time.sleep(place.seconds)
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
    return Death(killed, code, saved, counts, printed, seconds)


def is_lost(config: RunConfig, death: Death) -> str:
    """Return why a killed run could not go on where its last save ended; empty if it can."""
    path = Path(config.train.out)
    if not (path / "config.yaml").is_file():
        return "" if death.saved < 0 else "the run is gone"
    said: list[str] = []
    saved = newest_checkpoint(open_run(path), said.append)
    step = saved.state["step"] if saved else -1
    if said:
        return f"a damaged checkpoint: {said}"
    return "" if step >= death.saved else f"step {death.saved} was saved, {step} is there"


def difference(a: Path, b: Path) -> str:
    """Return what differs between two runs that came to their end: weights, optimiser, progress, log, results."""
    files = [f"{name}/{file}" for name in ("last", "best") for file in ("model.safetensors", "state.json")]
    for file in [*files, "last/training.safetensors", "metrics.jsonl", "labels.json"]:
        if (a / file).exists() != (b / file).exists():
            return f"{file} is in one of them only"
        if (a / file).exists() and (a / file).read_bytes() != (b / file).read_bytes():
            return f"{file} differs"
    results = [json.loads((path / "results.json").read_text()) | {"seconds": 0} for path in (a, b)]
    return "" if results[0] == results[1] else "results.json differs"


def live(
    config: RunConfig,
    data: TrainingData,
    places: Iterator[Place],
    kills: int,
    whole: Path,
    toll: Toll,
    finish: Callable[[RunConfig], None] | None = None,
) -> None:
    """Kill a run at so many places, then let it come to its end, by `finish` where given, and compare it with `whole`.

    What is found is added to `toll`.
    """
    path = Path(config.train.out)
    log = path.with_suffix(".txt")
    toll.lives += 1
    left = kills
    while left:
        death = victim(config, data, place := next(places), log)
        if death.killed:
            left -= 1
            toll.kills += 1
            toll.places.append(place)
            if why := is_lost(config, death):
                toll.lost += 1
                print(f"lost at {place}: {why}")
        elif death.status == 0:
            break
        else:
            raise AssertionError(f"a victim of {place} ended with {death.status}: {death.text}")
    if finish is None:
        death = victim(config, data, Place("none"), log)
        assert (death.killed, death.status) == (False, 0), death.text
    else:
        finish(config)
    if found := difference(path, whole):
        toll.different.append(f"{path}: {found}")


def places(seed: int, operations: list[int], steps: int, seconds: float) -> Iterator[Place]:
    """Yield every operation of a save in turn, and between them random steps and moments, without end.

    Args:
        seed: of what is drawn.
        operations: how many each save of a whole run takes; the first one, which replaces none, takes fewer.
        steps: of a whole run.
        seconds: that it takes.
    """
    rng = random.Random(seed)
    while True:
        for operation in range(1, max(operations) + 1):
            yield rng.choice([Place("step", rng.randint(1, steps)), Place("time", seconds=rng.uniform(0, seconds))])
            yield Place("save", rng.choice((1, 2)) if operation <= operations[0] else 2, operation)


def _be_victim(config: RunConfig, data: TrainingData, place: Place, writer: int, log: Path) -> None:
    """Train, and leave the process; never returns."""
    status = 1
    with log.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            torch.set_num_threads(1)
            _arm(place, writer)
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


def _arm(place: Place, writer: int) -> None:
    """Count the operations of each save in this process, tell of saves that ended, and die at the place."""
    checkpoint: Any = room
    save, advance = checkpoint.write_checkpoint, TrainingLog.advance
    saves = 0

    def counted_save(run: Path, name: str, contents: Any) -> None:
        nonlocal saves
        saves += 1
        step = json.loads(contents["state.json"]())["step"]
        with _counting(place.operation if place.kind == "save" and place.number == saves else 0) as count:
            save(run, name, contents)
        if name == "last":
            _write(writer, f"{step} {count()}\n".encode())

    def counted_advance(self: TrainingLog, step: int) -> None:
        if place.kind == "step" and step >= place.number:
            die()
        if place.kind == "signal" and step == place.number:
            os.kill(os.getpid(), place.operation)
        advance(self, step)

    checkpoint.write_checkpoint = counted_save
    TrainingLog.advance = counted_advance  # type: ignore[method-assign]


_write = os.write


@contextlib.contextmanager
def _counting(fatal: int) -> Iterator[Callable[[], int]]:
    """Count what is done to the disk, dying at operation `fatal`, counted from 1; 0 lets all pass."""
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
    """End this process as a kernel does that is short of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def quiet() -> Console:
    return Console(file=io.StringIO())
