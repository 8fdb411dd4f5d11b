"""How many processes train one model, who starts them, and what that makes of a run's settings."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jointreid.config import RunConfig, TrainConfig
from jointreid.machine.files import write_atomically
from jointreid.messages.errors import JointreidError, ToldElsewhere

_LAUNCH = "launch.txt"


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Attributes:
        devices: processes on each machine.
        nodes: machines.
        launcher: what starts them: torchrun (or what sets the same variables), SLURM's srun, or this program itself.
        launch: what torchrun calls this job, the same for its restarts; empty without torchrun.
        restarts: how often torchrun has started the processes again.
    """

    devices: int
    nodes: int
    launcher: Literal["torchrun", "slurm", "self"]
    launch: str = ""
    restarts: int = 0

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes


def world_of(config: TrainConfig, environ: Mapping[str, str] = os.environ) -> World:
    """Return the processes that the environment tells of, else those that the settings ask for.

    Raises:
        JointreidError: the settings ask for others than have been started, the machines have unequal numbers, or
            nothing says where the others are.
    """
    if environ.keys() >= {"RANK", "LOCAL_RANK", "WORLD_SIZE"}:
        size = int(environ["WORLD_SIZE"])
        devices = int(environ.get("LOCAL_WORLD_SIZE", max(1, size // config.nodes)))
        restarts = int(environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        world = World(devices, size // devices, "torchrun", _launch(environ), restarts)
    elif int(environ.get("SLURM_NTASKS", 1)) > 1 and environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        size, nodes = int(environ["SLURM_NTASKS"]), int(environ.get("SLURM_NNODES", 1))
        if "SLURM_NTASKS_PER_NODE" not in environ:
            raise JointreidError("SLURM: start the processes with --ntasks-per-node N, one for each GPU of a node")
        world = World(int(environ["SLURM_NTASKS_PER_NODE"]), nodes, "slurm")
    else:
        if config.nodes > 1 and not environ.keys() >= {"MASTER_ADDR", "MASTER_PORT"}:
            raise JointreidError(
                f"train.nodes is {config.nodes}, but nothing says where the other machines are: start with torchrun or "
                "srun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each"
            )
        return World(config.devices, config.nodes, "self")
    if world.size != size:
        raise JointreidError(
            f"{world.launcher} started {size} processes, {world.devices} of them on this machine; start equally many "
            "on each"
        )
    asked = config.devices * config.nodes
    if asked not in (1, size):
        raise JointreidError(
            f"{world.launcher} started {size} processes, but train.devices x train.nodes are {config.devices} x "
            f"{config.nodes}; leave both out, or start {asked} processes"
        )
    return world


@contextmanager
def report_once(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Let only the first process tell of mistakes that all make alike, such as in their options."""
    try:
        yield
    except JointreidError as error:
        numbers = (environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in environ)
        if int(next(numbers, 0)) > 0:
            raise ToldElsewhere(str(error)) from error
        raise


def settings_of_all(config: RunConfig) -> RunConfig:
    """Return the settings of a step over all processes.

    With `train.batch` per_process each process has `sampler.ids_per_batch` identities, and the learning rate is
    multiplied by the number of processes, as the batch is: the linear rule, of Goyal et al. 2017, found for SGD.

    Raises:
        JointreidError: the identities of a batch cannot be shared evenly.
    """
    size, identities = config.train.devices * config.train.nodes, config.sampler.ids_per_batch
    if config.train.batch == "per_process":
        return config.replace(sampler={"ids_per_batch": identities * size}, optim={"lr": config.optim.lr * size})
    if identities % size:
        raise JointreidError(
            f"{identities} identities a batch cannot be shared evenly by {size} processes; choose a multiple of them "
            "with --sampler.ids_per_batch, or --train.batch per_process"
        )
    if identities == size > 1 and not config.train.gather:
        raise JointreidError(
            f"{identities} identities a batch leave one for each of {size} processes, and a triplet needs a negative; "
            "choose more with --sampler.ids_per_batch, or --train.gather"
        )
    return config


def render_world(config: RunConfig, world: World) -> str:
    """Say for people what a run's processes share."""
    whole = settings_of_all(config)
    identities, images = whole.sampler.ids_per_batch, whole.sampler.images_per_id
    losses = "of all together" if config.train.gather else "of each one's part"
    return (
        f"{world.size} processes on {world.nodes} machine{'s' if world.nodes > 1 else ''} share each batch of "
        f"{identities} identities x {images} images; triplets are {losses}."
    )


def record_launch(run: Path, world: World) -> None:
    """Note in a run's directory which job of torchrun began it, or goes on with it."""
    if world.launch:
        write_atomically(run / _LAUNCH, world.launch + "\n")


def goes_on(run: Path, world: World) -> bool:
    """Say whether a job that torchrun has started again is to go on with a run: one that the same job worked on.

    A run of another job that stands in the way is as much in the way of a restart as it was at first. What failed
    before it was a run begins anew.
    """
    noted = run / _LAUNCH
    if world.restarts == 0 or not noted.is_file() or not (run / "config.yaml").is_file():
        return False
    return noted.read_text(encoding="utf-8").strip() == world.launch


def _launch(environ: Mapping[str, str]) -> str:
    """Return what a job is called in all of its restarts: its id, or the process that watches over it."""
    given = environ.get("TORCHELASTIC_RUN_ID", "none")
    return given if given != "none" else f"process {os.getppid()} on {socket.gethostname()}"
