"""Runs killed at any point resume as if nothing had happened; runs asked to stop save and say how to resume.

`tests/soak/kill_resume.py` is the long form.
"""

import signal
import time
from pathlib import Path

import pytest
import torch

from jointreid.cli import main
from jointreid.config import RunConfig
from jointreid.run import open_run, read_config
from jointreid.training import log as room
from jointreid.training.data import TrainingData, load_training_data
from jointreid.training.stop import StopSignals
from jointreid.training.train import train
from tests.small_run import copy_of_fixture
from tests.victims import RESUMABLE, KillPoint, Tally, difference, kill_and_resume, quiet, run_victim

pytestmark = pytest.mark.slow

STEPS = 8


class Reference:
    """Settings, data, and a run that was never killed, to compare with."""

    def __init__(self, config: RunConfig, data: TrainingData, whole: Path) -> None:
        self.config, self.data, self.whole = config, data, whole

    def config_for(self, name: str) -> RunConfig:
        return self.config.replace(train={"out": name})


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> "pytest.Generator[Reference]":  # type: ignore[name-defined]
    with pytest.MonkeyPatch.context() as patch:
        place = copy_of_fixture(tmp_path_factory.mktemp("kills") / "place", patch)
        config = read_config(place / "run" / "config.yaml").replace(
            train={"max_steps": 0, "save_every": 2, "log_every": 3, "out": "whole"}
        )
        data = load_training_data(config)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:  # in this process, which then has loaded and compiled what its children need
            train(config, quiet(), data=data)
            yield Reference(config, data, place / "whole")
        finally:
            torch.set_num_threads(threads)


def test_a_run_killed_five_times_ends_bit_for_bit_as_one_never_killed(reference: Reference) -> None:
    # Deterministic points; the soak kills at random times as well.
    points = iter(
        [
            KillPoint("save", 1, 1),  # in the middle of the weights of the first save of all
            KillPoint("save", 2, 3),  # in the middle of a later one's state
            KillPoint("step", 5),
            KillPoint("save", 1, 11),  # between the two renames
            KillPoint("step", 7),
        ]
    )
    tally = Tally()
    kill_and_resume(reference.config_for("killed"), reference.data, points, 5, reference.whole, tally)
    assert (tally.kills, tally.lost, tally.different) == (5, 0, [])


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, 5), (signal.SIGINT, 4), (signal.SIGUSR1, STEPS)])
def test_a_signal_saves_and_stops_and_the_run_resumes_exactly(reference: Reference, number: int, step: int) -> None:
    """In mid-epoch; in the evaluation at the end of an epoch, which is repeated; in the last evaluation of all."""
    config = reference.config_for(f"asked{number}")
    outcome = run_victim(config, reference.data, KillPoint("signal", step, number), Path("asked.txt"))
    assert (outcome.killed, outcome.status) == (False, RESUMABLE), outcome.text
    again = f"jointreid train --resume {config.train.out} --code tiny_trunk"  # its network is a custom one
    assert f"saved at step {step} of {STEPS}; resume with `{again}`" in outcome.text
    assert open_run(config.train.out).state()["step"] == step
    assert run_victim(config, reference.data, KillPoint("none"), Path("asked.txt")).status == 0
    assert difference(Path(config.train.out), reference.whole) == ""


@pytest.mark.gpu
def test_the_scaler_of_half_precision_is_resumed(reference: Reference) -> None:
    half = {"precision": "16-mixed", "device": "cuda", "deterministic": False, "eval_every": 0, "compile": "never"}
    scalers = []
    for name, sittings in (("half", [5]), ("half-cut", [3, 5])):
        for sitting, steps in enumerate(sittings):
            where = {"out": name, "max_steps": steps, "resume": sitting > 0}
            train(reference.config.replace(train={**half, **where}), quiet(), data=reference.data)
        scalers.append(open_run(name).state()["scaler"])
    assert scalers[0]["scale"] > 0
    assert scalers[0] == scalers[1]


def test_resuming_a_finished_run_changes_nothing(reference: Reference) -> None:
    config = reference.config_for("finished")
    for _ in range(2):
        assert run_victim(config, reference.data, KillPoint("none"), Path("finished.txt")).status == 0
    assert difference(Path("finished"), reference.whole) == ""


def test_a_second_signal_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins without
    with StopSignals(said.append) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # a launcher's, right after
        assert stop.name == "SIGINT"
        assert len(said) == 1
        later = time.monotonic() + 2
        monkeypatch.setattr(time, "monotonic", lambda: later)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_the_command_line_exits_with_75(
    reference: Reference, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    advance = room.TrainingLog.advance

    def advance_and_ask(self: room.TrainingLog, step: int) -> None:
        signal.raise_signal(signal.SIGTERM)
        advance(self, step)

    monkeypatch.setattr(room.TrainingLog, "advance", advance_and_ask)
    argv = ["train", "--config", "run/config.yaml", "--max-steps", "0", "--out", "by-hand"]
    assert main(argv) == RESUMABLE
    printed = capsys.readouterr()
    assert "SIGTERM: saving at the next step" in printed.out
    assert "jointreid: stopped by SIGTERM, saved at step 1 of 8; resume with" in printed.err
