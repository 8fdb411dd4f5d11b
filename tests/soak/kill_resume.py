"""Kill runs again and again: `.venv/bin/python -m tests.soak.kill_resume --kills 100 --minutes 25`; 1 if any is lost.

Each life of a run is killed at some places, goes on after each, comes to its end and is compared with one that was
never killed. Victims fork from this process; some lives end in a fresh interpreter instead, which starts cold and goes
on with `python -m jointreid train --resume RUN`.
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
from tests.victims import Place, Toll, live, places, quiet, victim

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
        toll = soak(config, data, options.kills, options.cold_starts, since + 60 * options.minutes, options.seed)
    kinds = Counter(place.kind for place in toll.places)
    reached = {place.operation for place in toll.places if place.kind == "save"}
    print(
        f"\nkills {toll.kills}: {kinds['save']} at {len(reached)} of the {toll.operations} operations of a save, "
        f"{kinds['step']} at a step, {kinds['time']} at any moment\n"
        f"lives {toll.lives}, cold starts {toll.cold_starts}, lost {toll.lost}, "
        f"bit-identical ends {toll.lives - len(toll.different)} of {toll.lives}, "
        f"{(time.monotonic() - since) / 60:.1f} minutes"
    )
    for line in toll.different:
        print(line)
    short = toll.kills < options.kills or toll.cold_starts < options.cold_starts
    if short:
        print("the time was over before all of them")
    return int(bool(toll.lost or toll.different or short))


def soak(config: RunConfig, data: TrainingData, kills: int, cold_starts: int, until: float, seed: int) -> Toll:
    """Live one life after the other until there were enough kills, or the time is over."""
    toll = Toll()
    death = victim(config.replace(train={"out": "sample"}), data, Place("none"), Path("sample.txt"))
    assert death.status == 0, death.text
    toll.operations = max(death.operations)
    drawn = places(seed, death.operations, death.saved, death.seconds)
    spacing = max(1, kills // KILLS_PER_LIFE // max(1, cold_starts))
    while toll.kills < kills and time.monotonic() < until:
        cold = toll.cold_starts < cold_starts and toll.lives % spacing == 0
        now = config.replace(train={"out": f"life{toll.lives}"})
        left = min(KILLS_PER_LIFE, kills - toll.kills)
        live(now, data, drawn, left, Path("whole"), toll, start_cold(toll) if cold else None)
        print(f"{toll.kills} kills, {toll.lives} lives, {toll.cold_starts} cold starts, {toll.lost} lost", flush=True)
    return toll


def start_cold(toll: Toll) -> Callable[[RunConfig], None]:
    """Return what lets a run come to its end in a fresh interpreter."""

    def finish(config: RunConfig) -> None:
        argv = [sys.executable, "-m", "jointreid", "train", "--resume", config.train.out, "--code", "tiny_trunk"]
        path = os.pathsep.join([str(FIXTURE), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        toll.cold_starts += 1

    return finish


if __name__ == "__main__":
    sys.exit(main())
