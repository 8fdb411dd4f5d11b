"""Kill runs again and again: `.venv/bin/python -m tests.soak.kill_resume --kills 100 --minutes 25`; 1 if any is lost.

Each run is killed at some points, resumed after each, finishes and is compared with one that was
never killed. Victims fork from this process; some runs finish in a fresh interpreter instead, which starts cold and
resumes with `python -m jointreid train --resume RUN`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# Before torch is loaded: a child may not enter the OpenMP of its parent, and bits depend on the number of threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import pytest
import torch

from jointreid.config import RunConfig
from jointreid.run import read_config
from jointreid.training.data import TrainingData, load_training_data
from jointreid.training.train import train
from tests.small_run import FIXTURE, copy_of_fixture
from tests.victims import KillPoint, Tally, kill_and_resume, kill_points, quiet, run_victim

KILLS_PER_LIFE = 5


def main() -> int:
    """Kill, count and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--cold-starts", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=25.0, help="stop with what was counted until then")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    since = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        place = copy_of_fixture(Path(folder) / "place", patch)
        torch.set_num_threads(1)
        config = read_config(place / "run" / "config.yaml").replace(
            train={"max_steps": 0, "save_every": 2, "log_every": 3, "out": "whole"}
        )
        data = load_training_data(config)
        train(config, quiet(), data=data)
        tally = soak(config, data, options.kills, options.cold_starts, since + 60 * options.minutes, options.seed)
    kinds = Counter(point.kind for point in tally.points)
    reached = {point.operation for point in tally.points if point.kind == "save"}
    print(
        f"\nkills {tally.kills}: {kinds['save']} at {len(reached)} of the {tally.operations} operations of a save, "
        f"{kinds['step']} at a step, {kinds['time']} at any moment\n"
        f"lives {tally.lives}, cold starts {tally.cold_starts}, lost {tally.lost}, "
        f"bit-identical ends {tally.lives - len(tally.different)} of {tally.lives}, "
        f"{(time.monotonic() - since) / 60:.1f} minutes"
    )
    for line in tally.different:
        print(line)
    short = tally.kills < options.kills or tally.cold_starts < options.cold_starts
    if short:
        print("the time was over before all of them")
    return int(bool(tally.lost or tally.different or short))


def soak(config: RunConfig, data: TrainingData, kills: int, cold_starts: int, until: float, seed: int) -> Tally:
    """Live one life after the other until there were enough kills, or the time is over."""
    tally = Tally()
    outcome = run_victim(config.replace(train={"out": "sample"}), data, KillPoint("none"), Path("sample.txt"))
    assert outcome.status == 0, outcome.text
    tally.operations = max(outcome.operations)
    drawn = kill_points(seed, outcome.operations, outcome.saved, outcome.seconds)
    spacing = max(1, kills // KILLS_PER_LIFE // max(1, cold_starts))
    while tally.kills < kills and time.monotonic() < until:
        cold = tally.cold_starts < cold_starts and tally.lives % spacing == 0
        now = config.replace(train={"out": f"life{tally.lives}"})
        left = min(KILLS_PER_LIFE, kills - tally.kills)
        kill_and_resume(now, data, drawn, left, Path("whole"), tally, start_cold(tally) if cold else None)
        print(
            f"{tally.kills} kills, {tally.lives} runs, {tally.cold_starts} cold starts, {tally.lost} lost", flush=True
        )
    return tally


def start_cold(tally: Tally) -> Callable[[RunConfig], None]:
    """Return a function that finishes a run in a fresh interpreter."""

    def finish(config: RunConfig) -> None:
        argv = [sys.executable, "-m", "jointreid", "train", "--resume", config.train.out, "--code", "tiny_trunk"]
        path = os.pathsep.join([str(FIXTURE), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        tally.cold_starts += 1

    return finish


if __name__ == "__main__":
    sys.exit(main())
