"""Runs that are short of memory or disk, that lose an image on the way, or whose clock jumps."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from jointreid.config import RunConfig
from jointreid.machine.shortage import short_of_disk, short_of_memory
from jointreid.messages.errors import JointreidError
from jointreid.models.resnet import ResNet
from jointreid.retrieval import domain_ranking, evaluate
from jointreid.run import open_run
from jointreid.training import train as train_module
from jointreid.training.advice import disk_advice
from jointreid.training.checkpoint import save_checkpoint
from jointreid.training.log import TrainingLog
from jointreid.training.train import train
from tests.full_disk import largest_file
from tests.small import small_config

pytestmark = pytest.mark.slow


class End(NamedTuple):
    """The weights and the log of a run."""

    weights: dict[str, torch.Tensor]
    log: str

    def equals(self, other: "End") -> bool:
        return self.log == other.log and all(
            torch.equal(tensor, other.weights[name]) for name, tensor in self.weights.items()
        )


@pytest.fixture(scope="module")
def base(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """BoT for three steps, each of them saved, in a second or two."""
    return small_config(
        "bot",
        manifest=tiny_manifest,
        cache=tmp_path_factory.getbasetemp() / "cache",
        sampler={"images_per_id": 2},
        train={"save_every": 1, "max_steps": 3, "precision": "32-true"},
    )


@pytest.fixture(scope="module")
def whole(base: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> End:
    """The end of a run that nothing interrupts."""
    return start(base.replace(train={"out": str(tmp_path_factory.mktemp("whole") / "run")}))


@pytest.fixture
def config(base: RunConfig, tmp_path: Path) -> RunConfig:
    return base.replace(train={"out": str(tmp_path / "run")})


def start(config: RunConfig, *, resume: bool = False) -> End:
    """Train to the end."""
    run = train(config.replace(train={"resume": resume}), Console(quiet=True))
    return End(load_file(run.path / "last" / "model.safetensors"), (run.path / "metrics.jsonl").read_text())


def assert_resumes(config: RunConfig, whole: End) -> None:
    """Go on with a run that was stopped, and compare its end with one that never was."""
    assert start(config, resume=True).equals(whole)
    left = [path.name for path in Path(config.train.out).rglob("*") if path.name.startswith(".") or ".new" in path.name]
    assert not left


# Memory

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_lack_of_memory_is_reported(error: Exception) -> None:
    message = r"^out of memory: buy some\. What failed: \S"
    with pytest.raises(JointreidError, match=message) as caught, short_of_memory(lambda: "buy some"):
        raise error
    assert caught.value.__cause__ is error
    assert "more" not in str(caught.value)


def test_other_errors_pass() -> None:
    for error in (RuntimeError("shape"), ValueError("x"), OSError(errno.ENOENT, "gone")):
        with pytest.raises(type(error)), short_of_memory(lambda: ""), short_of_disk(lambda: ""):
            raise error


def failing(after: int, error: Exception, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that raises an error instead of its call of that number."""
    calls = []

    def wrapped(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == after:
            raise error
        return function(*arguments, **named)

    return wrapped


def test_memory_that_runs_out_in_a_step_names_what_to_lower(
    config: RunConfig, whole: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, advance, steps = ResNet.forward, TrainingLog.advance, list[int]()

    def count_steps(self: TrainingLog, step: int) -> None:
        steps.append(step)
        advance(self, step)

    def forward_without_room(self: ResNet, images: torch.Tensor) -> Any:
        if steps == [1, 2]:  # in the third step
            raise ERRORS[0]
        return forward(self, images)

    monkeypatch.setattr(TrainingLog, "advance", count_steps)
    monkeypatch.setattr(ResNet, "forward", forward_without_room)
    with pytest.raises(JointreidError, match="out of memory") as caught:
        start(config)
    said = str(caught.value)
    for words in (
        *("GiB were in use at the peak", "--sampler.ids_per_batch 3 (it is 6) with --train.accumulate 2"),
        *("--train.precision bf16-mixed", "--image.height 24 --image.width 12 (it is 32 x 16)", "Tried to allocate"),
        f"--init {config.train.out}",
    ):
        assert words in said
    monkeypatch.setattr(ResNet, "forward", forward)
    assert_resumes(config, whole)


def test_memory_that_runs_out_before_the_first_checkpoint_says_so(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ResNet, "forward", failing(1, MemoryError(), ResNet.forward))
    with pytest.raises(JointreidError, match=rf"it has no checkpoint yet: delete {config.train.out}"):
        start(config)


def test_memory_that_runs_out_in_an_evaluation_names_its_settings_and_a_resume_may_change_them(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config.replace(train={"max_steps": 1})
    rank = domain_ranking.rank_domain
    monkeypatch.setattr(evaluate, "rank_domain", failing(2, ERRORS[0], rank))
    with pytest.raises(JointreidError, match=r"evaluation needs more.* --eval\.batch_size to 16 \(it is 64.*268435456"):
        start(config)
    assert (open_run(config.train.out).state()["step"], open_run(config.train.out).state()["evaluated"]) == (1, -1)
    monkeypatch.setattr(evaluate, "rank_domain", rank)
    start(config.replace(eval={"batch_size": 16, "max_memory": 2**28}), resume=True)
    assert (Path(config.train.out) / "results.json").is_file()


def test_memory_that_runs_out_for_embeddings_names_the_settings_of_an_evaluation(
    base: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "extract", failing(1, MemoryError(), lambda: None))
    with pytest.raises(JointreidError, match=r"evaluation needs more.* --eval\.batch_size"):
        evaluate.embed(torch.nn.Identity(), (), base, torch.device("cpu"), "a", None)  # type: ignore[arg-type]


# Disk


def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(
    config: RunConfig, whole: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = count(1)

    def save_in_little_room(*arguments: Any, **named: Any) -> None:
        with largest_file(200_000) if next(saves) == 2 else nullcontext():
            save_checkpoint(*arguments, **named)

    monkeypatch.setattr(train_module, "save_checkpoint", save_in_little_room)
    with pytest.raises(JointreidError, match=r"cannot save a checkpoint: File too large.*--resume"):
        start(config)
    monkeypatch.setattr(train_module, "save_checkpoint", save_checkpoint)
    assert_resumes(config, whole)


def test_a_log_on_a_full_disk_loses_nothing(config: RunConfig, whole: End, monkeypatch: pytest.MonkeyPatch) -> None:
    write = TrainingLog.write
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run/metrics.jsonl")
    monkeypatch.setattr(TrainingLog, "write", failing(2, full, write))
    message = r"metrics\.jsonl cannot be written: No space left on device; make room; the last checkpoint.*--resume"
    with pytest.raises(JointreidError, match=message):
        start(config)
    monkeypatch.setattr(TrainingLog, "write", write)
    assert_resumes(config, whole)


def test_a_disk_that_is_full_before_the_run_started_needs_no_resume(tmp_path: Path) -> None:
    assert disk_advice(tmp_path) == "make room, and run the same command again"
    (tmp_path / "config.yaml").touch()
    assert disk_advice(tmp_path).endswith(
        f"no checkpoint yet: `jointreid train --resume {tmp_path}` starts from the first step"
    )


def test_a_cache_on_a_full_disk_stops_before_the_first_step(config: RunConfig, tmp_path: Path) -> None:
    config = config.replace(data={"cache": str(tmp_path / "cache")})
    with largest_file(50_000), pytest.raises(JointreidError, match=r"cannot (be written|write).*--data\.cache"):
        start(config)
    assert not (Path(config.train.out) / "metrics.jsonl").exists()


def test_a_folder_that_cannot_be_written_is_reported_before_the_first_step(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JointreidError, match=r"cannot be written: .*--out"):
        start(config.replace(train={"out": str(tmp_path / "file" / "run")}))
    with pytest.raises(JointreidError, match=r"cannot be written: .*--data\.cache"):
        start(config.replace(data={"cache": str(tmp_path / "file" / "cache")}))
    assert not Path(config.train.out).exists()


# Images and clocks


def test_an_image_that_vanishes_stops_the_run_which_resumes_when_it_is_back(
    config: RunConfig, whole: End, tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding takes place in threads, ahead of the steps."""
    data = tmp_path / "data"
    shutil.copytree(tiny_manifest.parent, data)
    config = config.replace(data={"sources": (str(data / tiny_manifest.name),), "cache_mode": "off"})

    def save_and_lose(*arguments: Any, **named: Any) -> None:
        save_checkpoint(*arguments, **named)
        if (data / "plaza").is_dir():
            (data / "plaza").rename(data / "away")

    monkeypatch.setattr(train_module, "save_checkpoint", save_and_lose)
    with pytest.raises(JointreidError, match=r"data/plaza/\S+\.jpg: no such file"):
        start(config)
    monkeypatch.setattr(train_module, "save_checkpoint", save_checkpoint)
    (data / "away").rename(data / "plaza")
    assert_resumes(config, whole)


def test_jumps_of_the_clock_change_nothing(
    config: RunConfig, whole: End, tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_manifest.parent, data)
    for path in data.rglob("*.jpg"):
        os.utime(path, (4e9, 4e9))  # the year 2096
    jumps, now = count(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e9 * (-1) ** next(jumps))
    sources = {"sources": (str(data / tiny_manifest.name),), "cache": str(tmp_path / "cache")}
    assert start(config.replace(data=sources, train={"minutes": 60.0})).equals(whole)
