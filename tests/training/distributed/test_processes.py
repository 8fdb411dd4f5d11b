"""Several processes with gloo, forked from this one: what each sees, that all end alike, and what if one dies."""

import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from jointreid.cli import main
from jointreid.config import RunConfig, TrainConfig, config_hash
from jointreid.data import augment as augmentation
from jointreid.data.batch_shares import step_config
from jointreid.data.images import Batch
from jointreid.losses import reid_loss
from jointreid.messages.errors import EXIT_RESUMABLE, JointreidError, ReportedElsewhere
from jointreid.models import build_model
from jointreid.retrieval.evaluate import evaluate_run
from jointreid.run import open_run
from jointreid.training import batches
from jointreid.training import train as room
from jointreid.training.data import TrainingData, load_training_data
from jointreid.training.distributed.fabric import make_fabric, restart_store
from jointreid.training.distributed.processes import Processes
from jointreid.training.distributed.world import (
    ProcessLayout,
    is_main_process,
    is_restarted_job,
    process_layout,
    record_job,
    report_once,
)
from jointreid.training.randomness import randomness_of
from tests.small import small_config

pytestmark = pytest.mark.slow

STEPS = 2


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code and what it wrote to standard error."""

    code: int
    error: str


def processes(size: int, work: Callable[[int], None], folder: Path, **environ: str) -> list[Ended]:
    """Run `work(rank)` in forked processes that find what torchrun would have told them, for a minute at most."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }

    def run(rank: int) -> None:
        sys.stderr = (folder / f"error{rank}.txt").open("w", buffering=1)
        sys.stdout = (folder / f"out{rank}.txt").open("w", buffering=1)
        os.environ.update(told, RANK=str(rank), LOCAL_RANK=str(rank), **environ)
        torch.set_num_threads(1)
        try:
            work(rank)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
            code = 99
        sys.stderr.flush()
        os._exit(code)  # neither pytest's own ends nor those of its fixtures

    forked = [multiprocessing.get_context("fork").Process(target=run, args=(rank,)) for rank in range(size)]
    for process in forked:
        process.start()
    for process in forked:
        process.join(60)
        if process.is_alive():
            process.kill()
            process.join()
    return [
        Ended(process.exitcode if process.exitcode is not None else 1, (folder / f"error{rank}.txt").read_text())
        for rank, process in enumerate(forked)
    ]


def alone(work: Callable[[], None], folder: Path) -> None:
    """Run something in one forked process, whose threads and patches end with it."""
    (ended,) = processes(1, lambda rank: work(), folder)
    assert ended.code == 0, ended.error


@pytest.fixture(scope="module")
def config(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """BoT-DCSD with 8 identities a batch, for a few steps of milliseconds."""
    return small_config(
        "bot-dcsd",
        manifest=tiny_manifest,
        cache=tmp_path_factory.mktemp("cache"),
        sampler={"ids_per_batch": 8},
        train={"max_steps": STEPS, "save_every": 1, "ema": 0.5},
        eval={"batch_size": 24},
    )


@pytest.fixture(scope="module")
def data(config: RunConfig) -> TrainingData:
    import lightning_fabric.strategies  # noqa: F401, loaded once, not in each process

    whole = load_training_data(config)
    return TrainingData(whole.train_set, whole.test[:1], (), whole.protocols, "")


@dataclass(frozen=True)
class Trained:
    """A run, and for each step of each process the images it saw and the weights it ended with."""

    path: Path
    images: list[list[torch.Tensor]]
    weights: list[list[dict[str, torch.Tensor]]]


def train_in(size: int, config: RunConfig, data: TrainingData, folder: Path) -> Trained:
    def work(rank: int) -> None:
        seen: list[torch.Tensor] = []
        after: list[dict[str, torch.Tensor]] = []
        augment, average = augmentation.augment, Processes.average_running

        def augmented(*args: Any) -> torch.Tensor:
            seen.append(augment(*args))
            return seen[-1]

        def averaged(self: Processes, model: torch.nn.Module) -> None:
            average(self, model)
            after.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

        patch = pytest.MonkeyPatch()  # ends with the process
        patch.setattr(batches, "augment", augmented)
        patch.setattr(Processes, "average_running", averaged)
        room.train(config.replace(train={"out": str(folder / "run")}), Console(quiet=True), data=data)
        seen = seen[1:]  # the first is the forecast's
        save_file({str(step): images.contiguous() for step, images in enumerate(seen)}, folder / f"images{rank}")
        flat = {f"{step}/{name}": tensor for step, weights in enumerate(after) for name, tensor in weights.items()}
        save_file({name: tensor.contiguous() for name, tensor in flat.items()}, folder / f"weights{rank}")

    ended = processes(size, work, folder)
    assert [process.code for process in ended] == [0] * size, ended
    images = [
        [file[str(step)] for step in range(STEPS)] for file in (load_file(folder / f"images{r}") for r in range(size))
    ]
    flat = [load_file(folder / f"weights{rank}") for rank in range(size)]
    weights = [
        [{k.partition("/")[2]: v for k, v in file.items() if k.startswith(f"{step}/")} for step in range(STEPS)]
        for file in flat
    ]
    return Trained(folder / "run", images, weights)


@pytest.fixture(scope="module")
def trained(config: RunConfig, data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Trained]:
    """The same settings in one, two and four processes."""
    return {size: train_in(size, config, data, tmp_path_factory.mktemp(f"of{size}")) for size in (1, 2, 4)}


@pytest.mark.parametrize("size", [2, 4])
def test_processes_share_the_same_batch_as_one(trained: dict[int, Trained], size: int) -> None:
    for step in range(STEPS):
        parts = [images[step] for images in trained[size].images]
        assert [len(part) for part in parts] == [32 // size] * size
        assert torch.equal(torch.cat(parts), trained[1].images[0][step])


@pytest.mark.parametrize("size", [2, 4])
def test_all_processes_have_the_same_weights_after_each_step(trained: dict[int, Trained], size: int) -> None:
    first, *others = trained[size].weights
    assert not torch.equal(first[0]["classifier.weight"], first[1]["classifier.weight"])
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_shared_evaluation_equals_that_of_one_process(trained: dict[int, Trained], tmp_path: Path) -> None:
    run = trained[4].path
    shared = json.loads((run / "results.json").read_text())
    assert (run / "queries.parquet").is_file()

    def work() -> None:
        evaluate_run(run)

    alone(work, tmp_path)
    again = json.loads((run / "results.json").read_text())
    for results in (shared, again):
        for domain in results["domains"]:
            domain["conditions"].pop("date")
    (domain,) = shared["domains"]
    assert domain == next(other for other in again["domains"] if other["domain"] == domain["domain"])


def test_only_the_main_process_writes_and_settings_record_the_number_of_processes(trained: dict[int, Trained]) -> None:
    run = trained[4].path
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2]
    assert open_run(run).config.train.devices == 4


# Gradients


def gradients(processes: Processes, config: RunConfig, *, gather: bool) -> dict[str, torch.Tensor]:
    """Return the gradients of this process's part of a batch of 8 x 4 random images, batch normalisation frozen."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(32, 3, 32, 16, generator=generator)
    labels = torch.arange(8).repeat_interleave(4)
    cameras = torch.randint(6, (32,), generator=generator)
    torch.manual_seed(1)
    model = build_model("bot-dcsd", 8, 3, 6, trunk="resnet50-w16")
    wrapped = processes.fabric.setup(model)
    wrapped.eval()  # running statistics, which are those of no batch
    size = len(labels) // processes.world_size
    mine = slice(processes.rank * size, (processes.rank + 1) * size)
    labelled = slice(None) if gather else mine
    batch = Batch(images[mine], labels[labelled], cameras[labelled], cameras[labelled] // 2)
    output = processes.outputs_for_loss(wrapped(batch.images), gather=gather)
    processes.fabric.backward(reid_loss(output, batch, config.loss).total)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def gradients_in(size: int, config: RunConfig, folder: Path, *, gather: bool) -> dict[str, torch.Tensor]:
    def work(rank: int) -> None:
        fabric = make_fabric(config.train, process_layout(config.train), torch.device("cpu"))
        fabric.launch()
        save_file(gradients(Processes(fabric), config, gather=gather), folder / f"gradients{rank}")

    ended = processes(size, work, folder)
    assert [process.code for process in ended] == [0] * size, ended
    first, *others = (load_file(folder / f"gradients{rank}") for rank in range(size))
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    return first


@pytest.mark.parametrize(("gather", "size"), [(True, 2), (True, 4), (False, 2)])
def test_gradients_are_those_of_one_process_on_the_whole_batch(
    config: RunConfig, tmp_path: Path, gather: bool, size: int
) -> None:
    if not gather:  # all terms but the triplets' are means over images
        config = config.replace(loss={"w_triplet": 0.0})
    whole = gradients_in(1, config, tmp_path / "whole", gather=gather)
    shared = gradients_in(size, config, tmp_path / "shared", gather=gather)
    assert whole.keys() == shared.keys()
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    for name, gradient in whole.items():
        assert torch.allclose(shared[name], gradient, rtol=1e-4, atol=1e-6 * max(1.0, largest)), name


# Resuming, and a process that dies


def in_child(
    config: RunConfig, folder: Path, data: TrainingData, rank: int, *, die: int = 0, by: int = signal.SIGKILL
) -> None:
    """Train as the command line does, in a process whose number 1 is killed, or asked to stop, in step `die`."""
    patch = pytest.MonkeyPatch()  # ends with the process
    patch.setattr(room, "load_training_data", lambda config: data)
    count: list[int] = []

    def augmented(*args: Any) -> torch.Tensor:
        count.append(1)
        if rank == 1 and die and len(count) == die + 1:  # the first is the forecast's
            os.kill(os.getpid(), by)
        return augmentation.augment(*args)

    patch.setattr(batches, "augment", augmented)
    patch.setattr("jointreid.cli.train.run_config", lambda options: config.replace(train={"out": str(folder / "run")}))
    sys.exit(main(["train"]))


def test_a_killed_process_ends_the_job_with_one_message_and_a_restart_resumes(
    config: RunConfig, data: TrainingData, trained: dict[int, Trained], tmp_path: Path
) -> None:
    job = {"TORCHELASTIC_RUN_ID": "seven"}
    killed, survivor = reversed(
        processes(2, lambda rank: in_child(config, tmp_path, data, rank, die=2), tmp_path / "a", **job)
    )
    assert killed.code == -signal.SIGKILL
    assert survivor.code == 2
    assert survivor.error.count("jointreid: ") == 1
    assert "process 1 (id " in survivor.error
    assert "of 2, on " in survivor.error
    assert f"resume with `jointreid train --resume {tmp_path / 'run'}`" in survivor.error
    assert "Traceback" not in survivor.error
    assert open_run(tmp_path / "run").state()["step"] == 1
    again = {"TORCHELASTIC_RESTART_COUNT": "1"}
    other = processes(
        2, lambda rank: in_child(config, tmp_path, data, rank), tmp_path / "b", TORCHELASTIC_RUN_ID="eight", **again
    )
    assert [process.code for process in other] == [2, 2]
    assert "already holds a run" in other[0].error
    assert other[1].error == ""
    ended = processes(2, lambda rank: in_child(config, tmp_path, data, rank), tmp_path / "c", **job, **again)
    assert [process.code for process in ended] == [0, 0], ended
    unbroken, resumed = (load_file(run / "last" / "model.safetensors") for run in (trained[2].path, tmp_path / "run"))
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    unbroken_lines, lines = (
        [line for line in (run / "metrics.jsonl").read_text().splitlines() if '"train"' in line]
        for run in (trained[2].path, tmp_path / "run")
    )
    assert lines == unbroken_lines


def test_a_signal_to_one_process_stops_all_after_the_same_step_and_rank_0_says_so(
    config: RunConfig, data: TrainingData, trained: dict[int, Trained], tmp_path: Path
) -> None:
    job = {"TORCHELASTIC_RUN_ID": "nine"}
    asked = processes(
        2, lambda rank: in_child(config, tmp_path, data, rank, die=2, by=signal.SIGTERM), tmp_path / "a", **job
    )
    assert [process.code for process in asked] == [EXIT_RESUMABLE, EXIT_RESUMABLE], asked
    assert "stopped by a signal to another process, saved at step 2 of" in asked[0].error
    assert "`, started as before" in asked[0].error
    assert "stopped" not in asked[1].error
    again = {"TORCHELASTIC_RESTART_COUNT": "1"}
    ended = processes(2, lambda rank: in_child(config, tmp_path, data, rank), tmp_path / "b", **job, **again)
    assert [process.code for process in ended] == [0, 0], ended
    unbroken, resumed = (load_file(run / "last" / "model.safetensors") for run in (trained[2].path, tmp_path / "run"))
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)


def test_an_error_of_one_process_stops_all_and_is_reported_once(
    config: RunConfig, data: TrainingData, tmp_path: Path
) -> None:
    def work(rank: int) -> None:
        patch = pytest.MonkeyPatch()

        def failing(config: RunConfig) -> TrainingData:
            if rank == 1:
                raise JointreidError("no images here")
            return data

        patch.setattr(room, "load_training_data", failing)
        patch.setattr(
            "jointreid.cli.train.run_config", lambda options: config.replace(train={"out": str(tmp_path / "r")})
        )
        sys.exit(main(["train"]))

    ended = processes(2, work, tmp_path)
    assert [process.code for process in ended] == [2, 2]
    assert [process.error for process in ended] == ["", "jointreid: process 1 of 2: no images here\n"]


@pytest.mark.parametrize("differs", ["settings", "images"])
def test_processes_that_differ_are_refused_before_the_first_step(
    config: RunConfig, data: TrainingData, tmp_path: Path, differs: str
) -> None:
    def work(rank: int) -> None:
        if rank == 1 and differs == "images":
            in_child(config, tmp_path, replace(data, test=()), rank)
        in_child(config.replace(train={"seed": rank if differs == "settings" else 0}), tmp_path, data, rank)

    ended = processes(2, work, tmp_path)
    assert [process.code for process in ended] == [2, 2], ended
    assert ended[0].error.startswith(f"jointreid: the {differs} or ")
    assert "differ between process 0 and process 1: start all with the same options" in ended[0].error
    assert ended[1].error == ""


def test_random_numbers_of_custom_code_follow_from_the_step_and_the_rank() -> None:
    def drawn(rank: int, step: int) -> tuple[float, float, float]:
        Processes.seed_step(cast(Processes, SimpleNamespace(rank=rank, world_size=2)), 0, step)
        return float(torch.rand(1)), float(np.random.rand()), random.random()  # noqa: NPY002

    with randomness_of(0):
        first = drawn(0, 1)
        assert all(a != b for other in (drawn(1, 1), drawn(0, 2)) for a, b in zip(first, other, strict=True))
        assert drawn(0, 1) == first


def test_another_number_of_processes_may_not_resume(
    config: RunConfig, data: TrainingData, trained: dict[int, Trained]
) -> None:
    again = config.replace(train={"out": str(trained[2].path), "resume": True})
    with pytest.raises(JointreidError, match="was started with 2 processes, now there are 1"):
        room.train(again, Console(quiet=True), data=data)


# What the settings and the environment ask for

TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SLURM = {"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "5"}


def test_torchrun_and_slurm_are_recognised() -> None:
    assert process_layout(TrainConfig(), {}) == ProcessLayout(1, 1, "self")
    assert process_layout(TrainConfig(devices=8, nodes=4), {"MASTER_ADDR": "first", "MASTER_PORT": "1"}).size == 32
    launched = process_layout(
        TrainConfig(), {**TORCHRUN, "TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": "2"}
    )
    assert launched == ProcessLayout(4, 2, "torchrun", "a", 2)
    assert process_layout(TrainConfig(devices=4, nodes=2), SLURM) == ProcessLayout(4, 2, "slurm")
    assert process_layout(TrainConfig(), {**SLURM, **TORCHRUN}).launcher == "torchrun"
    # One task that starts the others itself, and a shell within a job.
    assert process_layout(TrainConfig(devices=8), {"SLURM_NTASKS": "1"}) == ProcessLayout(8, 1, "self")
    assert process_layout(TrainConfig(), {**SLURM, "SLURM_JOB_NAME": "bash"}) == ProcessLayout(1, 1, "self")
    # A platform that sets RANK for programs of its own starts one process of ours, which reports its mistakes.
    assert process_layout(TrainConfig(), {"RANK": "3"}) == ProcessLayout(1, 1, "self")
    assert [is_main_process(e) for e in ({"RANK": "3"}, {**TORCHRUN, "RANK": "3"}, {"LOCAL_RANK": "1"})] == [
        True,
        False,
        False,
    ]


def test_a_restart_by_torchrun_does_not_see_the_addresses_of_the_processes_before() -> None:
    """The store of torchrun outlives a restart, and with it the addresses of processes that are gone."""
    stores: Any = torch.distributed
    server = stores.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(server.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    server.set("rank 0", "an address that is gone")
    layout = ProcessLayout(2, 1, "torchrun", "a", 1)
    store, same = restart_store(layout, address), restart_store(layout, address)
    assert store is not None
    assert same is not None
    assert not store.check(["rank 0"])
    store.set("rank 0", "a new address")
    assert same.get("rank 0") == b"a new address"
    second = restart_store(replace(layout, restarts=2), address)
    assert second is not None
    assert not second.check(["rank 0"])
    for usual in ({"restarts": 0}, {"nodes": 2}, {"devices": 1}, {"launcher": "slurm"}):
        assert restart_store(replace(layout, **usual), address) is None
    assert restart_store(layout, address | {"TORCHELASTIC_USE_AGENT_STORE": "False"}) is None


@pytest.mark.parametrize(
    ("train", "environ", "message"),
    [
        ({"devices": 2}, TORCHRUN, "torchrun started 8 processes, but train.devices x train.nodes are 2 x 1"),
        ({"nodes": 3}, SLURM, "slurm started 8 processes, but"),
        ({}, {**TORCHRUN, "LOCAL_WORLD_SIZE": "5"}, "started 8 processes, 5 of them on this machine"),
        ({}, {"SLURM_NTASKS": "8"}, "--ntasks-per-node"),
        (
            {"nodes": 2},
            {"MASTER_ADDR": "first"},
            "train.nodes is 2, but the address of the other machines is unknown.*MASTER_PORT and NODE_RANK",
        ),
    ],
)
def test_other_processes_than_the_settings_ask_for_are_refused(
    train: dict[str, Any], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(JointreidError, match=message):
        process_layout(TrainConfig(**train), environ)


def test_a_batch_is_shared_or_grows_with_the_processes() -> None:
    two = RunConfig(train=TrainConfig(devices=2, nodes=1))
    assert step_config(two) == two
    grown = step_config(two.replace(train={"batch": "per_process"}))
    assert (grown.sampler.ids_per_batch, grown.sampler.batch_size) == (32, 128)
    assert grown.optim.lr == 2 * two.optim.lr
    with pytest.raises(JointreidError, match="16 identities a batch cannot be shared evenly by 3 processes"):
        step_config(two.replace(train={"devices": 3}))
    with pytest.raises(JointreidError, match="leave one for each of 16 processes"):
        step_config(two.replace(train={"devices": 8, "nodes": 2}))
    step_config(two.replace(train={"devices": 8, "nodes": 2, "gather": True}))


def test_the_hash_of_settings_tells_processes_but_not_machines_apart() -> None:
    one, two, split = (RunConfig(train=TrainConfig(devices=d, nodes=n)) for d, n in ((1, 1), (2, 1), (1, 2)))
    assert config_hash(one) != config_hash(two) == config_hash(split)
    assert config_hash(one) == config_hash(one.replace(train={"gather": True}))
    assert config_hash(two) != config_hash(two.replace(train={"gather": True}))


def test_only_restarts_of_the_same_job_resume(tmp_path: Path) -> None:
    first, again = (ProcessLayout(2, 1, "torchrun", "a", restarts) for restarts in (0, 1))
    assert not is_restarted_job(tmp_path, again)
    record_job(tmp_path, first)
    assert not is_restarted_job(tmp_path, again)  # it failed before it was a run
    (tmp_path / "config.yaml").touch()
    assert is_restarted_job(tmp_path, again)
    assert not is_restarted_job(tmp_path, first)
    assert not is_restarted_job(tmp_path, ProcessLayout(2, 1, "torchrun", "b", 1))


def test_errors_that_all_processes_make_are_reported_by_rank_0() -> None:
    with pytest.raises(ReportedElsewhere), report_once({**TORCHRUN, "RANK": "1"}):
        raise JointreidError("no such setting")
    for environ in ({}, {**TORCHRUN, **SLURM, "RANK": "0", "SLURM_PROCID": "3"}):
        with pytest.raises(JointreidError) as caught, report_once(environ):
            raise JointreidError("no such setting")
        assert not isinstance(caught.value, ReportedElsewhere)


def test_statistics_of_the_whole_batch_are_refused_on_a_cpu() -> None:
    two = TrainConfig(devices=2, sync_bn=True)
    with pytest.raises(JointreidError, match=r"train\.sync_bn needs GPUs"):
        make_fabric(two, process_layout(two, {}), torch.device("cpu"))
