"""Number of processes that train one model, their launcher, and the settings that follow."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jointreid.config import RunConfig, TrainConfig
from jointreid.data.batch_shares import step_config
from jointreid.machine.files import write_atomically
from jointreid.messages.errors import JointreidError, ReportedElsewhere

_JOB_FILE = "launch.txt"
# What torchrun sets for each process.
_TORCHRUN = {"RANK", "LOCAL_RANK", "WORLD_SIZE"}


@dataclass(frozen=True)
class ProcessLayout:
    """The processes of a run.

    Attributes:
        devices: processes on each machine.
        nodes: machines.
        launcher: starts them: torchrun (or a program that sets the same variables), SLURM's srun, or this program.
        job: torchrun's name of this job, the same for its restarts; empty without torchrun.
        restarts: how often torchrun has started the processes again.
    """

    devices: int
    nodes: int
    launcher: Literal["torchrun", "slurm", "self"]
    job: str = ""
    restarts: int = 0

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.devices * self.nodes


def process_layout(config: TrainConfig, environ: Mapping[str, str] = os.environ) -> ProcessLayout:
    """Return the processes that the environment describes, else those that the settings ask for.

    Raises:
        JointreidError: other processes were started than the settings ask for, machines have unequal numbers of
            them, or the address of the other machines is unknown.
    """
    if environ.keys() >= _TORCHRUN:
        size = int(environ["WORLD_SIZE"])
        devices = int(environ.get("LOCAL_WORLD_SIZE", max(1, size // config.nodes)))
        restarts = int(environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        layout = ProcessLayout(devices, size // devices, "torchrun", _job_name(environ), restarts)
    elif _is_slurm(environ):
        size, nodes = int(environ["SLURM_NTASKS"]), int(environ.get("SLURM_NNODES", 1))
        if "SLURM_NTASKS_PER_NODE" not in environ:
            raise JointreidError("SLURM: start the processes with --ntasks-per-node N, one for each GPU of a node")
        layout = ProcessLayout(int(environ["SLURM_NTASKS_PER_NODE"]), nodes, "slurm")
    else:
        if config.nodes > 1 and not environ.keys() >= {"MASTER_ADDR", "MASTER_PORT"}:
            raise JointreidError(
                f"train.nodes is {config.nodes}, but the address of the other machines is unknown: start with "
                "torchrun or srun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each"
            )
        return ProcessLayout(config.devices, config.nodes, "self")
    if layout.size != size:
        raise JointreidError(
            f"{layout.launcher} started {size} processes, {layout.devices} of them on this machine; start equally many "
            "on each"
        )
    asked = config.devices * config.nodes
    if asked not in (1, size):
        raise JointreidError(
            f"{layout.launcher} started {size} processes, but train.devices x train.nodes are {config.devices} x "
            f"{config.nodes}; leave both out, or start {asked} processes"
        )
    return layout


@contextmanager
def report_once(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Let only the main process report an error that all processes make alike, such as in their options."""
    try:
        yield
    except JointreidError as error:
        if not is_main_process(environ):
            raise ReportedElsewhere(str(error)) from error
        raise


def is_main_process(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether this is the process of rank 0, or the only one, by what the launcher has set."""
    if environ.keys() >= _TORCHRUN:
        return int(environ["RANK"]) == 0
    # Some platforms set RANK alone, for programs of their own.
    return int(environ.get("SLURM_PROCID" if _is_slurm(environ) else "LOCAL_RANK", 0)) == 0


def _is_slurm(environ: Mapping[str, str]) -> bool:
    """Say whether srun started several processes."""
    return int(environ.get("SLURM_NTASKS", 1)) > 1 and environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def render_layout(config: RunConfig, layout: ProcessLayout) -> str:
    """Return a line for people about how the processes share a batch."""
    whole = step_config(config)
    identities, images = whole.sampler.ids_per_batch, whole.sampler.images_per_id
    losses = "in the whole batch" if config.train.gather else "in the part of each process"
    return (
        f"{layout.size} processes on {layout.nodes} machine{'s' if layout.nodes > 1 else ''} share each batch of "
        f"{identities} identities x {images} images; triplets are formed {losses}."
    )


def record_job(run: Path, layout: ProcessLayout) -> None:
    """Record in a run's directory which torchrun job trains it."""
    if layout.job:
        write_atomically(run / _JOB_FILE, layout.job + "\n")


def is_restarted_job(run: Path, layout: ProcessLayout) -> bool:
    """Say whether torchrun has restarted the job that trains a run, which is then resumed without `--resume`.

    A run of another job is not resumed: it is refused, as without a restart. A job that failed before it had made its
    directory a run starts from the beginning.
    """
    recorded = run / _JOB_FILE
    if layout.restarts == 0 or not recorded.is_file() or not (run / "config.yaml").is_file():
        return False
    return recorded.read_text(encoding="utf-8").strip() == layout.job


def _job_name(environ: Mapping[str, str]) -> str:
    """Return a name of a torchrun job that its restarts share: its id, or the torchrun process."""
    given = environ.get("TORCHELASTIC_RUN_ID", "none")
    return given if given != "none" else f"process {os.getppid()} on {socket.gethostname()}"
