"""Pre-training on three classes of coloured noise, and runs that start from it."""

import copy
import dataclasses
import json
import math
import os
import random
import shutil
import socket
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from jointreid.cli import main
from jointreid.config import DcsdConfig, RunConfig
from jointreid.messages.errors import JointreidError
from jointreid.models.dcsd import DCSD
from jointreid.models.families import build_trunk
from jointreid.training.lock import run_lock
from jointreid.training.log import TrainingLog
from jointreid.training.pretrain.checkpoint import PretrainCheckpoint
from jointreid.training.pretrain.config import PretrainConfig
from jointreid.training.pretrain.imagefolder import LabelledImages, read_image_folder
from jointreid.training.pretrain.loop import pretrain
from jointreid.training.pretrain.recipe import AugmentedImages, network_of, optimizer_of, schedule_of, transform_of
from jointreid.training.resume import find_resume_point
from jointreid.training.train import train
from tests.small import small_config

pytestmark = pytest.mark.slow

CLASSES = {"blue": (60, 60, 200), "green": (60, 200, 60), "red": (200, 60, 60)}
TINY = PretrainConfig(network="resnet50-w16-dcsd", epochs=2, warmup_epochs=1, batch_size=9, lr=4.0, size=32)
STEPS = 4  # an epoch


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 13), ("val", 4)):
        for name, colour in CLASSES.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                noise = np.clip(colour + generator.normal(0, 50, (40, 48, 3)), 0, 255)
                Image.fromarray(noise.astype(np.uint8)).save(root / split / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings that the command line makes of `TINY`."""
    out = tmp_path_factory.mktemp("trained") / "out"
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in dataclasses.asdict(TINY).items()]
    assert main(["pretrain", str(images), "--out", str(out), "--device", "cpu", "--workers", "0", *settings]) == 0
    return out / "model.safetensors"


def pretrain_here(images: Path, out: Path, config: PretrainConfig = TINY, **options: Any) -> Path:
    return pretrain(images, out, config, device="cpu", console=Console(quiet=True), **({"workers": 0} | options))


def metrics(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_the_loss_falls_and_the_json_tells_what_was_done(trained: Path) -> None:
    first, last = metrics(trained.parent, "train")
    assert (first["step"], last["step"]) == (STEPS, 2 * STEPS)
    assert last["total"] < first["total"] < math.log(3) + 0.5
    facts = json.loads(trained.with_suffix(".json").read_text())
    assert facts["epochs"] == 2
    assert (facts["classes"], facts["train_images"], facts["val_images"]) == (3, 39, 12)
    assert facts["class_names"] == ["blue", "green", "red"]
    assert facts["recipe"]["precision"] == "32-true"
    assert facts["recipe"] == {**dataclasses.asdict(TINY), "precision": "32-true"}
    assert facts["versions"].keys() == {"jointreid", "torch", "timm"}
    assert facts["top1"] == metrics(trained.parent, "evaluation")[-1]["top1"]
    assert facts["top1"] > 1 / 3


def test_the_weights_written_reach_the_top1_written(trained: Path, images: Path) -> None:
    tensors = load_file(trained)
    trunk = build_trunk("resnet50-w16", DcsdConfig(factors=("sample",))).eval()
    classifier = nn.Linear(512, 3)
    classifier.load_state_dict({name: tensors.pop(f"fc.{name}") for name in ("weight", "bias")})
    trunk.load_state_dict(tensors)
    right = []
    for label, name in enumerate(sorted(CLASSES)):
        for path in sorted((images / "val" / name).glob("*.png")):
            resized = Image.open(path).resize((43, 36), Image.Resampling.BICUBIC)  # 48 x 40, the shorter side to 36
            square = np.asarray(resized)[2:34, 6:38] / 255
            normal = (square - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
            pixels = torch.from_numpy(normal).permute(2, 0, 1)[None].float()
            right.append(classifier(trunk(pixels).feature_map.mean((2, 3))).argmax().item() == label)
    assert json.loads(trained.with_suffix(".json").read_text())["top1"] == sum(right) / len(right)


def test_a_training_killed_and_resumed_equals_an_unbroken_one(
    trained: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(log: TrainingLog, step: int) -> None:
        if step == STEPS + 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain_here(images, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    with pytest.raises(JointreidError, match="already holds a training; resume it with --resume"):
        pretrain_here(images, tmp_path)
    with pytest.raises(JointreidError, match="was started with other lr, size;"):
        pretrain_here(images, tmp_path, dataclasses.replace(TINY, lr=1.0, size=64), resume=True)
    resumed = pretrain_here(images, tmp_path, resume=True)
    assert resumed.read_bytes() == trained.read_bytes()
    assert metrics(tmp_path, "train") == metrics(trained.parent, "train")
    # Finished, it writes again what may be lost.
    shutil.rmtree(tmp_path / "tensorboard")
    resumed.unlink()
    assert pretrain_here(images, tmp_path, resume=True).read_bytes() == trained.read_bytes()
    (tmp_path / "training.safetensors").write_bytes(b"cut")
    with pytest.raises(JointreidError, match=r"training\.safetensors: cannot be resumed"):
        pretrain_here(images, tmp_path, resume=True)


def test_unreadable_images_are_listed_before_anything_is_trained(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "images")
    for number in range(11):
        (tmp_path / "images" / "train" / "red" / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(JointreidError, match=r"^11 images cannot be read: .*red/0\.png: not an image.* and 1 more"):
        pretrain_here(tmp_path / "images", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["unreadable.txt"]
    assert len((tmp_path / "out" / "unreadable.txt").read_text().splitlines()) == 11


def test_what_cannot_be_trained_is_refused_and_nothing_written(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(JointreidError, match="39 images, fewer than a batch of 64; lower batch_size"):
        pretrain_here(images, out, dataclasses.replace(TINY, batch_size=64))
    with pytest.raises(JointreidError, match="holds no finished epoch to resume after"):
        pretrain_here(images, out, resume=True)
    with pytest.raises(JointreidError, match="no such folder"):
        pretrain_here(tmp_path / "nothing", out)
    with run_lock(out, print), pytest.raises(JointreidError, match=r"is in use by process .*--out"):
        pretrain_here(images, out)
    with pytest.raises(JointreidError, match="--workers is -1; expected 0 or more"):
        pretrain_here(images, out, workers=-1)
    assert not out.exists()


def test_a_run_and_a_pretraining_do_not_share_a_folder(images: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("config.yaml", "metrics.jsonl"):
        (tmp_path / "run" / name).write_text("kept")
    with pytest.raises(JointreidError, match="holds a run of `jointreid train`; choose another --out"):
        pretrain_here(images, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == "kept"
    (tmp_path / "pre").mkdir()
    (tmp_path / "pre" / "training.safetensors").touch()
    with pytest.raises(JointreidError, match="holds a training of `jointreid pretrain`; choose another --out"):
        find_resume_point(tmp_path / "pre", RunConfig(), print)


def test_a_loss_that_is_not_finite_stops_before_the_step(images: Path, tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"step \d: the loss is not finite; stopped before the step"):
        pretrain_here(images, tmp_path, dataclasses.replace(TINY, lr=1e30))
    assert not (tmp_path / "training.safetensors").exists()


@pytest.mark.parametrize("steps", [0, 1])  # a scaler may have skipped all of them
def test_the_scale_of_the_losses_is_resumed(steps: int, tmp_path: Path) -> None:
    def saving(seed: int) -> tuple[PretrainCheckpoint, nn.Module, torch.optim.Optimizer, MixedPrecision]:
        torch.manual_seed(seed)
        model, precision = nn.Linear(2, 3), MixedPrecision("16-mixed", "cpu")
        optimizer = optimizer_of(model, TINY)
        return PretrainCheckpoint(tmp_path, {"recipe": {}}, model, optimizer, precision), model, optimizer, precision

    before, model, optimizer, precision = saving(0)
    assert precision.scaler is not None
    for value in [math.inf, *[1.0] * steps]:  # one step that overflows, which halves the scale
        loss = precision.scaler.scale(model(torch.ones(1, 2)).sum() * value)
        torch.autograd.backward(loss)
        precision.optimizer_step(optimizer)
        optimizer.zero_grad()
    before.epoch, before.accuracy = 1, {"top1": 0.5, "top5": 1.0}
    before.save()
    after, twin, other, again = saving(1)
    after.resume()
    assert again.scaler is not None
    assert again.scaler.get_scale() == 2.0**15
    assert again.state_dict() == precision.state_dict()
    assert (after.epoch, after.accuracy) == (before.epoch, before.accuracy)
    torch.testing.assert_close(twin.state_dict(), model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(other.state_dict(), optimizer.state_dict(), rtol=0, atol=0)
    assert len(other.state) == 2 * steps


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"epochs": 0}, "epochs is 0; expected 1 or more"),
        ({"warmup_epochs": 120}, "expected 0 or more and below the 120 epochs"),
        ({"batch_size": 1}, "2 or more images"),
        ({"lr": float("nan")}, "positive number"),
        ({"label_smoothing": 1.0}, r"a share in \[0, 1\)"),
        ({"size": 16}, "32 or more pixels"),
        ({"network": "resnet18"}, "network is 'resnet18'; expected one of resnet50-dcsd, resnet50"),
        ({"interpolation": "nearest"}, "interpolation is 'nearest'; expected one of random, bilinear"),
        ({"color_jitter": -1.0}, "color_jitter is -1.0; expected 0 or more"),
        ({"re_prob": 1.5}, r"a share in \[0, 1\]"),
        ({"re_count": 0}, "re_count is 0; expected 1 or more"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], expected: str) -> None:
    with pytest.raises(JointreidError, match=expected):
        PretrainConfig(**changed)


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    config = PretrainConfig(batch_size=1024)  # 120 epochs, 5 of them warm-up, at the batch of the recipe
    optimizer = optimizer_of(nn.Linear(2, 3), config)
    schedule = schedule_of(optimizer, config)
    expected = {
        0: 0.0001,
        1: 0.0001 + 0.3999 / 5,
        4: 0.0001 + 0.3999 * 4 / 5,
        5: 0.00001 + 0.39999 * (1 + math.cos(math.pi / 24)) / 2,
        40: 0.00001 + 0.39999 * 0.75,
        60: 0.200005,
        119: 0.00001 + 0.39999 * (1 - math.cos(math.pi / 120)) / 2,
    }
    for epoch in (*expected, 40, 0):  # in any order, as when resuming
        schedule.step(epoch)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([expected[epoch]] * 2, rel=1e-9)
    halved = optimizer_of(nn.Linear(2, 3), dataclasses.replace(config, batch_size=512, warmup_epochs=0))
    assert halved.param_groups[0]["lr"] == 0.2


def test_only_filters_and_matrices_decay() -> None:
    network = network_of("resnet50-w16-dcsd", 3)
    optimizer = optimizer_of(network, TINY)
    free, decayed = optimizer.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (1e-4, 0.0)
    assert {parameter.ndim for parameter in decayed["params"]} == {2, 4}
    assert sum(parameter.ndim == 2 for parameter in free["params"]) == 16  # the spreads of the channel kernels
    assert len(free["params"]) + len(decayed["params"]) == len(list(network.parameters()))
    # One step by hand from rest: with Nesterov the momentum counts once more.
    weight, lr = torch.nn.Parameter(torch.ones(1, 1)), TINY.lr * TINY.batch_size / 1024
    optimizer = optimizer_of(nn.ParameterList([weight]), TINY)
    weight.grad = torch.full((1, 1), 2.0)
    optimizer.step()
    assert weight.item() == pytest.approx(1 - lr * (2 + 1e-4) * 1.9)


# Random changes


def changes_of(config: PretrainConfig) -> list[Any]:
    composed: Any = transform_of(config, training=True)
    return list(composed.transforms)


def test_the_changes_are_those_of_ddfs_recipe() -> None:
    crop, mirror, policy, to_tensor, normal, erase = changes_of(PretrainConfig())
    assert (crop.size, crop.scale, crop.ratio) == ((224, 224), (0.08, 1.0), (3 / 4, 4 / 3))
    assert [kind.value for kind in crop.interpolation] == ["bilinear", "bicubic"]
    assert mirror.p == 0.5
    assert (policy.num_layers, {(op.magnitude, op.magnitude_std) for op in policy.ops}) == (2, {(7, 0.5)})
    assert "Increasing" in str(policy)
    assert type(to_tensor).__name__ == "MaybeToTensor"
    assert normal.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert normal.std.tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert (erase.probability, erase.per_pixel, erase.min_count, erase.max_count) == (0.4, True, 1, 3)


def test_other_changes_are_chosen_by_their_settings() -> None:
    config = PretrainConfig(
        size=64, interpolation="bicubic", auto_augment="", color_jitter=0.2, re_prob=0.1, re_mode="const", re_count=1
    )
    crop, _, jitter, _, _, erase = changes_of(config)
    assert (crop.size, crop.interpolation.value) == ((64, 64), "bicubic")
    assert (*jitter.brightness, *jitter.contrast, *jitter.saturation) == pytest.approx((0.8, 1.2) * 3)
    assert (erase.probability, erase.per_pixel, erase.max_count) == (0.1, False, 1)
    unerased = changes_of(dataclasses.replace(config, re_prob=0.0))
    assert len(unerased) == 5
    with pytest.raises(JointreidError, match="auto_augment is 'rand-q9'; expected a policy of timm, such as rand-m7"):
        changes_of(dataclasses.replace(config, auto_augment="rand-q9"))


def test_how_an_image_changes_follows_from_seed_epoch_and_image_alone(images: Path) -> None:
    folder = read_image_folder(images)
    config = dataclasses.replace(TINY, re_prob=0.9)
    epoch = AugmentedImages(folder.train, config, 1)
    before = [epoch[index][0] for index in range(6)]
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    again = AugmentedImages(folder.train, config, 1)
    for index in (5, 0, 3, 3):
        torch.testing.assert_close(again[index][0], before[index], rtol=0, atol=0)
    drawn = (random.random(), torch.rand(()).item(), np.random.random())  # noqa: NPY002
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert drawn == (random.random(), torch.rand(()).item(), np.random.random())  # noqa: NPY002 - as if untouched
    for changed in (
        AugmentedImages(folder.train, config, 2),
        AugmentedImages(folder.train, dataclasses.replace(config, seed=1), 1),
    ):
        assert not torch.equal(changed[0][0], before[0])
    twice = dataclasses.replace(folder.train, paths=(folder.train.paths[0],) * 39)
    same = AugmentedImages(twice, config, 1)
    assert len({same[index][0].numpy().tobytes() for index in range(39)}) == 39


@pytest.mark.parametrize(("height", "width"), [(2, 300), (300, 2), (1, 1), (40, 50)])
def test_images_of_every_shape_can_be_seen(height: int, width: int, tmp_path: Path) -> None:
    Image.new("RGB", (width, height), (200, 60, 60)).save(tmp_path / "image.png")
    for epoch in (None, 0):
        picture, label = AugmentedImages(LabelledImages((tmp_path / "image.png",), (7,)), TINY, epoch)[0]
        assert (picture.shape, picture.dtype, label) == ((3, 32, 32), torch.float32, 7)


# Several processes


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def as_rank(rank: int, port: int, images: Path, out: Path, config: PretrainConfig) -> None:
    """One of two processes, told of the other by nothing but torchrun's variables."""
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0",
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank),
    }  # fmt: skip
    torch.set_num_threads(1)  # a process forked after OpenMP started may not enter it
    pretrain_here(images, out, config)


def fail_as_rank(rank: int, port: int, images: Path, out: Path, config: PretrainConfig) -> None:
    """The same, but the loss of the second process alone is not a number; write what each one says of it."""
    if rank == 1:
        spoilt = SimpleNamespace(cross_entropy=lambda logits, *_, **__: logits.sum() * math.nan)
        pytest.MonkeyPatch().setattr("jointreid.training.pretrain.loop.functional", spoilt)
    try:
        as_rank(rank, port, images, out, config)
    except JointreidError as error:
        (out / f"{rank}.txt").write_text(f"{type(error).__name__}: {error}")


def run_both(work: Callable[..., None], images: Path, out: Path, config: PretrainConfig) -> None:
    context, port = get_context("fork"), free_port()
    ranks = [context.Process(target=work, args=(rank, port, images, out, config)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0, 0]


def taught_by_hand(images: Path, config: PretrainConfig) -> nn.Module:
    """The network that comes out when each step takes the mean of two halves' gradients, normalised half by half."""
    folder = read_image_folder(images)
    torch.manual_seed(config.seed)
    one = network_of(config.network, len(folder.classes))
    two = copy.deepcopy(one)
    optimizer, pictures = optimizer_of(one, config), AugmentedImages(folder.train, config, 0)
    schedule_of(optimizer, config).step(0)
    order = np.random.default_rng([config.seed, 0, 0]).permutation(len(folder.train)).tolist()
    steps, half = len(order) // config.batch_size, config.batch_size // 2
    for step in range(steps):
        two.load_state_dict(dict(one.named_parameters()), strict=False)
        for rank, network in enumerate((one, two)):
            chosen = order[: steps * config.batch_size][rank::2][step * half : (step + 1) * half]
            batch = torch.stack([pictures[index][0] for index in chosen])
            labels = torch.tensor([pictures[index][1] for index in chosen])
            network.zero_grad()
            loss = nn.functional.cross_entropy(network(batch), labels, label_smoothing=config.label_smoothing)
            torch.autograd.backward(loss)
        for parameter, twin in zip(one.parameters(), two.parameters(), strict=True):
            assert parameter.grad is not None
            assert twin.grad is not None
            parameter.grad = (parameter.grad + twin.grad) / 2
        optimizer.step()
    for mine, other in zip(one.buffers(), two.buffers(), strict=True):
        if mine.is_floating_point():
            mine.copy_((mine + other) / 2)
    return one


def test_two_processes_take_the_step_of_both_halves_of_a_batch(images: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, epochs=1, warmup_epochs=0, batch_size=12, lr=1.0)
    run_both(as_rank, images, tmp_path, config)
    written = load_file(tmp_path / "model.safetensors")
    expected = {name.removeprefix("trunk."): x for name, x in taught_by_hand(images, config).state_dict().items()}
    assert written.keys() == expected.keys()
    torch.testing.assert_close(written, expected, rtol=1e-3, atol=1e-5)
    assert [line["step"] for line in metrics(tmp_path, "train")] == [3]  # of 39 images, 3 batches of 12; told once
    (evaluation,) = metrics(tmp_path, "evaluation")
    assert evaluation["top1"] * 12 == pytest.approx(round(evaluation["top1"] * 12))  # each of the 12, once


def test_a_loss_that_is_not_finite_in_one_process_stops_both_and_is_reported_once(images: Path, tmp_path: Path) -> None:
    run_both(fail_as_rank, images, tmp_path, dataclasses.replace(TINY, epochs=1, warmup_epochs=0, batch_size=12))
    first, second = ((tmp_path / f"{rank}.txt").read_text() for rank in (0, 1))
    assert first.startswith("SharedError: step 1: the loss is not finite; stopped before the step.")
    assert second.startswith("ReportedElsewhere: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.txt", "1.txt", "tensorboard"]


# Runs that start from it


@pytest.fixture
def start(tiny_manifest: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunConfig]:
    def settings(system: str, source: str, file: Path) -> RunConfig:
        return small_config(
            system,
            manifest=tiny_manifest,
            cache=tmp_path_factory.getbasetemp() / "cache",
            model={"pretrain": source, "pretrain_file": str(file)},
            optim={"lr": 1e-9},
            train={"out": str(tmp_path / "run"), "max_steps": 1},
        )

    return settings


def test_a_run_starts_from_it_and_says_so_wherever_it_is_measured(
    start: Callable[..., RunConfig], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(trained.parent, tmp_path / "weights"))
    config = start("bot-dcsd", "dcsd_imagenet", folder)
    run = train(config)
    facts = json.loads((folder / "model.json").read_text())
    label = (
        f"own pre-training on 39 images of 3 classes, top-1 = {facts['top1']:.1%} — NOT comparable, "
        f"sha256 {facts['sha256']}"
    )
    printed = capsys.readouterr().out
    assert f"Start: {label}" in printed
    assert f"parameters from {folder / 'model.safetensors'}." in printed
    assert json.loads((run.path / "results.json").read_text())["pretraining"] == label
    assert run.state()["pretraining"] == label
    tensors = load_file(trained)
    model = run.model()
    for name, tensor in model.trunk.state_dict().items():
        if name in tensors and tensor.is_floating_point() and "running" not in name:
            torch.testing.assert_close(tensor, tensors[name], rtol=0, atol=1e-7)
    block = model.trunk.get_submodule("layer1.0.conv2")
    assert isinstance(block, DCSD)
    assert block.domain is not None
    assert block.domain.fc2.weight.abs().max() < 1e-7
    shutil.rmtree(folder)  # a run knows what it started from without the file
    resumed = train(config.replace(train={"resume": True, "max_steps": 2}), Console(quiet=True))
    assert resumed.state()["pretraining"] == label
    assert json.loads((run.path / "results.json").read_text())["pretraining"] == label


def test_a_plain_trunk_is_trained_and_started_from_likewise(
    start: Callable[..., RunConfig], images: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(TINY, network="resnet50-w16", epochs=1, warmup_epochs=0)
    file = pretrain_here(images, tmp_path / "plain", config)
    with pytest.raises(JointreidError, match=r"r50_imagenet is for static convolutions .* dcsd_imagenet"):
        train(start("bot-dcsd", "r50_imagenet", file).replace(data={"sources": ("nowhere",)}))
    run = train(start("bot", "r50_imagenet", file), Console(quiet=True))
    assert run.state()["pretraining"].startswith("own pre-training on 39 images of 3 classes")


def test_a_run_starts_from_one_thing_only(start: Callable[..., RunConfig], trained: Path) -> None:
    config = start("bot-dcsd", "dcsd_imagenet", trained).replace(train={"init": "other"})
    with pytest.raises(JointreidError, match=r"train\.init and model\.pretrain both name weights"):
        train(config)
    assert not Path(config.train.out).exists()
