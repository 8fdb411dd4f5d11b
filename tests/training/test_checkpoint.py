import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from jointreid.config import RunConfig
from jointreid.data.joint import join
from jointreid.data.label_space import LabelSpace
from jointreid.data.records import Domain, ImageRecord
from jointreid.machine import run_files as stored
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ReIDModel
from jointreid.run import Run, model_for, open_run, write_config
from jointreid.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from jointreid.training.optim import WeightAverage, build_optimizer

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run directory without checkpoints, of a small BoT with three identities."""
    records = tuple(ImageRecord(Path(f"{pid}.png"), pid, 0) for pid in "abc")
    space: LabelSpace = join([Domain("d", train=records)]).label_space
    config = RunConfig().replace(model={"trunk": "resnet50-w16"})
    write_config(config, tmp_path / "config.yaml")
    space.save(tmp_path / "labels.json")
    return open_run(tmp_path)


def trained(run: Run, seed: int) -> tuple[ReIDModel, torch.optim.Adam]:
    """A model after one step of Adam on made-up gradients."""
    torch.manual_seed(seed)
    model = model_for(run.config, run.label_space)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(model, run.config)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return model, optimizer


def load(run: Run, model: ReIDModel, optimizer: torch.optim.Optimizer, average: WeightAverage | None) -> dict[str, Any]:
    """Load the newest checkpoint that is whole, and return its progress."""
    saved = newest_checkpoint(run, print)
    assert saved
    load_checkpoint(run, saved, model, optimizer, average)
    return saved.state


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_everything_comes_back_bit_for_bit(run: Run) -> None:
    model, optimizer = trained(run, 0)
    average = WeightAverage(model, 0.9)
    average.tensors["bnneck.weight"].fill_(7.0)
    state = {"step": 3, "window": {"triplet": [0.1 + 0.2]}}
    save_checkpoint(run.path, "last", model, state, average=average, optimizer=optimizer)
    drawn = torch.rand(3)

    other, other_optimizer = trained(run, 1)
    other_average = WeightAverage(other, 0.9)
    assert load(run, other, other_optimizer, other_average) == run.state() | state
    assert torch.equal(torch.rand(3), drawn)
    assert same(other.state_dict(), model.state_dict())
    assert same(other_average.tensors, average.tensors)
    a, b = (found.state_dict() for found in (optimizer, other_optimizer))
    assert a["param_groups"] == b["param_groups"]
    assert all(same(a["state"][index], b["state"][index]) for index in a["state"])
    assert same(run.model().state_dict(), average.tensors)
    # A fused Adam reads weights, gradients and moments in the order of memory.
    weight = other.get_parameter("trunk.layer1.0.conv2.weight")
    assert not weight.is_contiguous()
    assert other_optimizer.state[weight]["exp_avg"].stride() == weight.stride()
    for parameters in (model.parameters(), other.parameters()):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    other_optimizer.step()
    assert same(other.state_dict(), model.state_dict())


def test_a_checkpoint_cut_off_between_its_two_renames_is_still_found(run: Run) -> None:
    model, optimizer = trained(run, 0)
    save_checkpoint(run.path, "last", model, {"step": 1}, optimizer=optimizer)
    (run.path / "last").rename(run.path / "last.old")
    assert run.state()["step"] == 1
    save_checkpoint(run.path, "last", model, {"step": 2}, optimizer=optimizer)
    assert run.state()["step"] == 2
    assert not (run.path / "last.old").exists()


def test_a_save_that_a_kill_left_beside_its_name_stays_until_the_next_is_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = trained(run, 0)
    save_checkpoint(run.path, "last", model, {"step": 1}, optimizer=optimizer)
    (run.path / "last").rename(run.path / "last.new")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stored, "write_new", fail)
    with pytest.raises(JointreidError, match="is unchanged"):
        save_checkpoint(run.path, "last", model, {"step": 2}, optimizer=optimizer)
    assert run.state()["step"] == 1
    assert not (run.path / "last.new").exists()


class Bomb:
    """Unpickling it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_pickle_in_the_place_of_weights_is_refused_and_not_executed(run: Run, tmp_path: Path) -> None:
    model, optimizer = trained(run, 0)
    save_checkpoint(run.path, "last", model, {"step": 1}, optimizer=optimizer)
    torch.save(Bomb(tmp_path / "trace"), run.path / "last" / "model.safetensors")
    with pytest.raises(JointreidError, match="not a readable safetensors file"):
        run.model()
    assert not (tmp_path / "trace").exists()


def test_weights_that_do_not_fit_are_listed(run: Run) -> None:
    model, _ = trained(run, 0)
    save_checkpoint(run.path, "last", model, {"step": 1})
    wider = run.config.replace(model={"trunk": "resnet50"})
    with pytest.raises(JointreidError, match=r"does not fit the model: .* expected .* and \d+ more"):
        Run(run.path, wider, run.label_space).model()


def test_missing_and_foreign_checkpoints_are_refused(run: Run) -> None:
    model, optimizer = trained(run, 0)
    with pytest.raises(JointreidError, match="has no checkpoint 'last'; the run has not saved yet"):
        run.model()
    with pytest.raises(JointreidError, match=r"train with --data\.val_ids"):
        run.model("best")
    with pytest.raises(JointreidError, match="expected one of last, best"):
        run.checkpoint("final")
    save_checkpoint(run.path, "last", model, {"step": 1}, optimizer=optimizer)
    manifest = run.path / "last" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 99}))
    with pytest.raises(JointreidError, match=r"format version is 99, .* a newer jointreid wrote it: update"):
        load(run, model, optimizer, None)
    with pytest.raises(JointreidError, match="not a run directory"):
        open_run(run.path / "last")
