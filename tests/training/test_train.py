"""The loop on small drawn images: the files it writes, how it resumes, and what it refuses."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from jointreid.config import RunConfig
from jointreid.custom import trust
from jointreid.data.augment import augment
from jointreid.messages.errors import JointreidError, OutputError
from jointreid.models.reid import ReIDModel
from jointreid.recipes import apply_recipe
from jointreid.retrieval.evaluate import evaluate_run
from jointreid.run import Run, model_for, open_run
from jointreid.training import batches as room
from jointreid.training import setup
from jointreid.training import train as train_module
from jointreid.training.checkpoint import save_checkpoint
from jointreid.training.data import load_training_data
from jointreid.training.lock import run_lock
from jointreid.training.log import TrainingLog
from jointreid.training.optim import VANISHED, clear_vanished, lr_factor
from jointreid.training.resume import precision_of
from jointreid.training.train import train
from jointreid.training.watch import Watch
from tests.small import small_config

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tiny_manifest: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """BoT-DCSD for two epochs of two steps or more, in a second or two."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    return small_config("bot-dcsd", manifest=tiny_manifest, cache=cache, train={"out": str(tmp_path / "run")})


def quiet() -> Console:
    return Console(quiet=True)


def metrics(run: Run, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.path / "last" / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_leaves_its_settings_labels_metrics_weights_and_results(
    config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(config)
    opened = open_run(run.path)
    assert opened.config == config
    assert opened.label_space.num_domains == len(opened.label_space.domains) > 1
    steps = metrics(run, "train")
    total = steps[-1]["step"]
    assert [line["step"] for line in steps] == list(range(1, total + 1))
    assert all({"triplet", "identity", "domain", "camera", "total"} <= line.keys() for line in steps)
    assert all({"domain_accuracy", "camera_accuracy", "lr"} <= line.keys() for line in steps)
    names = {domain.name for domain in opened.label_space.domains}
    assert {name for line in steps for name in line["identity_by_domain"]} == names
    assert steps[0]["lr"] == pytest.approx(3.5e-5)
    assert steps[-1]["lr"] == pytest.approx(3.5e-5)
    lrs = [config.optim.lr * lr_factor(config.schedule, step, total // 2) for step in range(total)]
    assert [line["lr"] for line in steps] == lrs
    assert max(lrs) > 1.5e-4
    epochs = metrics(run, "epoch")
    assert sum(epochs[0]["domains"].values()) == 24 * total / 2
    results = json.loads((run.path / "results.json").read_text())
    assert len(results["domains"]) == opened.label_space.num_domains
    assert run.state()["step"] == total
    assert not run.model().training
    printed = capsys.readouterr().out
    assert "Learning rate of what generates kernels: 1 times that (optim.generator_lr)" in " ".join(printed.split())
    assert "Forecast:" in printed
    assert "mAP" in printed
    assert f"step {total}/{total}" in printed
    assert "of the time waiting for data" in printed
    assert "Arithmetic: 32-true on cpu." in printed


# SNR draws its pairs at random, so it shows whether that resumes exactly too.
@pytest.mark.parametrize("system", ["bot-dcsd", "bot-snr"])
def test_a_run_stopped_and_resumed_equals_an_unbroken_one(config: RunConfig, tmp_path: Path, system: str) -> None:
    config = config.replace(model={"name": system}, train={"log_every": 3, "ema": 0.5, "accumulate": 1})
    whole = train(config.replace(train={"out": str(tmp_path / "whole")}), quiet())
    cut = config.replace(train={"out": str(tmp_path / "cut")})
    train(cut.replace(train={"max_steps": 2}), quiet())
    resumed = train(cut.replace(train={"resume": True}), quiet())
    assert resumed.state() | {"lines": 0} == whole.state() | {"lines": 0}
    assert same(weights(resumed), weights(whole))
    training = [load_file(run.path / "last" / "training.safetensors") for run in (whole, resumed)]
    assert same(*training)
    # An interrupted run also evaluates where it stops; the training lines are the same.
    for kind in ("train", "epoch"):
        assert [line["step"] for line in metrics(resumed, kind)][-1] == metrics(whole, kind)[-1]["step"]
    assert metrics(resumed, "train")[-1] == metrics(whole, "train")[-1]


@pytest.mark.parametrize("context", ["network", "labels"])
def test_a_run_of_joint_resumes_exactly_though_contexts_are_dropped_at_random(
    config: RunConfig, tmp_path: Path, context: str
) -> None:
    trunk = "tests.models.test_context:Small"
    trust("tests.models.test_context")
    joint = apply_recipe("joint", base=config).replace(
        model={"trunk": trunk},
        dcsd={"context": context, "context_dropout": 0.5, "context_held_out": 0.25 * (context == "network")},
    )
    whole = train(joint.replace(train={"out": str(tmp_path / "whole")}), quiet())
    cut = joint.replace(train={"out": str(tmp_path / "cut")})
    train(cut.replace(train={"max_steps": 3}), quiet())
    resumed = train(cut.replace(train={"resume": True}), quiet())
    assert same(weights(resumed), weights(whole))
    assert metrics(resumed, "train")[-1] == metrics(whole, "train")[-1]
    assert all((name in metrics(whole, "train")[-1]) == (context == "network") for name in ("camera", "camera_trust"))
    # Evaluation tells a model of `labels` the true ones.
    found = [json.loads((run.path / "results.json").read_text())["domains"] for run in (whole, resumed)]
    assert [domain["mAP"] for domain in found[0]] == [domain["mAP"] for domain in found[1]]


def test_a_run_directory_that_no_table_could_name_stops_before_the_data_are_read(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(train_module, "load_training_data", None)
    with pytest.raises(JointreidError, match=r"its name is not valid Unicode.* choose another place with --out"):
        train(config.replace(train={"out": f"{tmp_path}/run\udcff"}))
    assert not list(tmp_path.iterdir())


def test_best_is_chosen_on_held_out_identities(config: RunConfig) -> None:
    every = sum(len(domain.pids) for domain in load_training_data(config).train_set.label_space.domains)
    run = train(config.replace(data={"val_ids": 2}, train={"eval_every": 1}), quiet())
    chosen = metrics(run, "validation")
    assert len(chosen) == 2
    assert run.state("best")["best"] == max(line["mAP"] for line in chosen)
    assert run.label_space.num_ids == every - 2 * run.label_space.num_domains
    run.model("best")


def test_weights_that_decay_has_shrunk_to_nothing_are_cleared_now_and_then(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def look(tensors: list[torch.Tensor]) -> None:
        looks.append(len(tensors))
        clear_vanished(tensors)

    monkeypatch.setattr("jointreid.training.step.CLEAR_EVERY", 2)
    monkeypatch.setattr("jointreid.training.step.clear_vanished", look)
    run = train(config.replace(train={"max_steps": 5, "ema": 0.5}, schedule={"epochs": 3}), quiet())
    model = open_run(run.path).model()
    # The forecast takes steps of its own, whose state is thrown away. Weights, their average, and Adam's two moments.
    assert len(looks) >= 2
    assert looks[-1] > 3 * len(list(model.parameters()))
    assert not any(bool(((p != 0) & (p.abs() < VANISHED)).any()) for p in model.parameters())


class GoneReader(io.StringIO):
    """A stream whose reader goes away at the second step, as `tee` does with Ctrl-C."""

    def write(self, text: str) -> int:
        if "step 2/" in text:
            raise BrokenPipeError(32, "Broken pipe")
        return len(text)


def test_what_was_trained_is_saved_when_nobody_reads_the_output_any_more(config: RunConfig) -> None:
    settings = config.replace(train={"log_every": 1, "save_every": 0, "max_steps": 3})
    whole = train(settings.replace(train={"out": f"{config.train.out}-whole"}), quiet())
    with pytest.raises(OutputError, match="the output cannot be written"):
        train(settings, Console(file=GoneReader()))
    assert open_run(config.train.out).state()["step"] == 2
    resumed = train(settings.replace(train={"resume": True}), quiet())
    assert same(weights(whole), weights(resumed))
    assert [line["step"] for line in metrics(resumed, "train")] == [1, 2, 3]


def test_best_is_chosen_where_a_run_ends_between_two_epochs(config: RunConfig) -> None:
    limited = config.replace(data={"val_ids": 2}, train={"eval_every": 1, "max_steps": 1})
    run = train(limited, quiet())
    assert run.state()["epoch"] < 1
    assert [line["step"] for line in metrics(run, "validation")] == [1]
    assert run.state("best")["step"] == 1
    train(limited.replace(train={"resume": True}), quiet())
    assert len(metrics(run, "validation")) == 1


def test_init_takes_everything_but_the_heads(config: RunConfig, tmp_path: Path) -> None:
    first = train(config.replace(train={"max_steps": 1}), quiet())
    second = config.replace(
        train={"out": str(tmp_path / "second"), "init": str(first.path), "max_steps": 1, "seed": 5},
        data={"val_ids": 1},
        optim={"lr": 1e-12},
    )
    run = train(second, quiet())
    before, after = weights(first), weights(run)
    key = "trunk.layer1.0.conv2.channel_branch.fc1.weight"
    assert torch.allclose(before[key], after[key], atol=1e-9)
    assert before["classifier.weight"].shape != after["classifier.weight"].shape


def test_generated_kernels_beside_static_ones_start_from_a_plain_network(config: RunConfig, tmp_path: Path) -> None:
    first = train(config.replace(model={"name": "bot"}, train={"max_steps": 1}), quiet())
    second = config.replace(
        train={"out": str(tmp_path / "second"), "init": str(first.path), "max_steps": 1},
        dcsd={"base": "static", "context": "network"},
        optim={"lr": 1e-12},
    )
    run = train(second, quiet())
    before, after = weights(first), weights(run)
    key = "trunk.layer1.0.conv2.weight"
    assert torch.allclose(before[key], after[key], atol=1e-9)
    assert "trunk.layer1.0.conv2.gain" in after
    with pytest.raises(JointreidError, match=r"does not fit the model: .*channel_branch"):
        train(second.replace(dcsd={"base": "none", "context": "block"}, train={"out": str(tmp_path / "no")}), quiet())


def test_mixed_precision_is_kept_when_resuming(config: RunConfig) -> None:
    run = train(config.replace(train={"precision": "bf16-mixed", "max_steps": 1}), quiet())
    assert run.state()["precision"] == "bf16-mixed"
    cpu = torch.device("cpu")
    assert precision_of(run.path, config, cpu) == "32-true"
    assert precision_of(run.path, config.replace(train={"resume": True}), cpu) == "bf16-mixed"


@pytest.mark.gpu
@pytest.mark.parametrize("system", ["bot-dcsd", "bot-snr"])
def test_a_step_never_waits_for_the_gpu(config: RunConfig, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    note = Watch.note

    def watched(self: Watch, step: int, *rest: Any) -> None:
        torch.cuda.set_sync_debug_mode("error" if 3 <= step < 6 else "default")
        note(self, step, *rest)

    monkeypatch.setattr(Watch, "note", watched)
    train_config = {"device": "cuda", "compile": "never", "log_every": 100, "max_steps": 8}
    try:
        train(config.replace(train=train_config, model={"name": system}), quiet())
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_accumulated_batches_are_averaged_into_one_step(config: RunConfig, tmp_path: Path) -> None:
    run = train(config.replace(train={"accumulate": 2, "max_steps": 1}, optim={"clip_norm": 1.0}), quiet())
    assert run.state()["sampler"]["batch_index"] == 2
    assert run.state()["step"] == 1


def test_a_loss_that_is_not_finite_stops_before_the_step(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config.replace(train={"save_every": 1})
    calls = []

    def poisoned(images: torch.Tensor, *rest: Any) -> torch.Tensor:
        calls.append(1)
        changed = augment(images, *rest)
        return changed * float("nan") if len(calls) == 3 else changed  # the first batch is the forecast's

    monkeypatch.setattr(room, "augment", poisoned)
    with pytest.raises(JointreidError, match=r"step 2: the loss term triplet and identity.* is not finite") as caught:
        train(config, quiet())
    assert ".jpg" in str(caught.value)
    assert_step_1_is_kept(config)


def test_a_gradient_that_is_not_finite_stops_before_the_step(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, steps = TrainingLog.advance, []

    def count_steps(self: TrainingLog, step: int) -> None:
        steps.append(step)
        advance(self, step)

    def spoilt(*arguments: Any) -> ReIDModel:
        model = model_for(*arguments)

        def spoil(gradient: torch.Tensor) -> torch.Tensor:
            return gradient * torch.nan if steps == [1] else gradient  # in the second step

        model.classifier.weight.register_hook(spoil)  # type: ignore[no-untyped-call]
        return model

    monkeypatch.setattr(TrainingLog, "advance", count_steps)
    monkeypatch.setattr(setup, "model_for", spoilt)
    with pytest.raises(
        JointreidError, match=r"step 2: the loss is finite, but the gradients of classifier\.weight are"
    ):
        train(config.replace(train={"save_every": 1}, optim={"clip_norm": 5.0}), quiet())
    assert_step_1_is_kept(config)


def test_a_weight_that_is_not_finite_stops_before_the_step(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_and_spoil(run: Path, name: str, model: ReIDModel, *rest: Any, **named: Any) -> None:
        save_checkpoint(run, name, model, *rest, **named)
        model.classifier.weight.data[0, 0] = torch.nan

    monkeypatch.setattr(train_module, "save_checkpoint", save_and_spoil)
    with pytest.raises(JointreidError, match=r"step 2: the loss term identity is not finite"):
        train(config.replace(train={"save_every": 1}), quiet())
    assert_step_1_is_kept(config)


def assert_step_1_is_kept(config: RunConfig) -> None:
    run = open_run(config.train.out)
    assert run.state()["step"] == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(run).values())


def test_a_directory_that_holds_a_run_is_never_overwritten(config: RunConfig) -> None:
    run = train(config.replace(train={"max_steps": 1}), quiet())
    before = weights(run)
    with pytest.raises(JointreidError, match="already holds a run; resume it with `jointreid train --resume "):
        train(config, quiet())
    with pytest.raises(JointreidError, match=r"optim\.lr was 0\.00035, now 0\.1"):
        train(config.replace(train={"resume": True}, optim={"lr": 0.1}), quiet())
    assert same(before, weights(run))


def test_resuming_nothing_and_an_unsupported_device_are_refused(config: RunConfig) -> None:
    with pytest.raises(JointreidError, match="holds no run to resume"):
        train(config.replace(train={"resume": True}), quiet())
    if not torch.cuda.is_available():
        with pytest.raises(JointreidError, match="cuda"):
            train(config.replace(train={"device": "cuda"}), quiet())
    assert not Path(config.train.out).exists()


def test_too_few_identities_are_refused_before_anything_is_written(config: RunConfig) -> None:
    with pytest.raises(JointreidError, match=r"data are not ready.*data\.val_ids is 1000.*choose at most"):
        train(config.replace(data={"val_ids": 1000}), quiet())
    assert not Path(config.train.out).exists()


def test_minutes_end_a_run_early_and_whole(config: RunConfig) -> None:
    run = train(config.replace(train={"minutes": 1e-9}), quiet())
    assert run.state()["step"] == 0
    assert (run.path / "results.json").exists()


def test_two_runs_in_one_directory_are_refused_and_evaluating_is_not(config: RunConfig) -> None:
    run = train(config.replace(train={"max_steps": 1}), quiet())
    with run_lock(run.path, print):
        for resume in (False, True):
            with pytest.raises(JointreidError, match=r"run is in use by process \d+ on .*--out"):
                train(config.replace(train={"resume": resume}), quiet())
        assert evaluate_run(run.path, device="cpu").domains
    train(config.replace(train={"resume": True, "max_steps": 2}), quiet())
    assert not list(run.path.glob("lock*"))
