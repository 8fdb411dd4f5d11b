"""Parts of an extraction computed by Ray Data: on all cores of this machine, or on the machines of a cluster.

Each part is a task for an actor that holds the model. The process that was started writes the parts as they come back,
into files named by their rows: a worker that dies costs its part, which another one computes again, and no row can be
there twice. A part whose worker dies each time is given up. The images have to be in a folder that all machines share,
or in an object store; nothing else does.
"""

import logging
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from jointreid import custom
from jointreid.extraction.parts import FeatureJob, compute_part, finished, part_file
from jointreid.machine.device import pick_device
from jointreid.machine.extras import library
from jointreid.machine.files import write_atomically
from jointreid.messages.errors import JointreidError
from jointreid.messages.progress import OnProgress

Engine = Literal["local", "ray"]

# Seconds that a worker has to start in: it imports PyTorch, and a worker that is given up is started again, until
# the machine is full of them.
_SECONDS_TO_START = "600"
# Workers that start at a time, for the same reason.
_STARTING = "2"
# Of an actor, so that tasks that read have CPUs left.
_CPUS = 0.5
# Times that a part is begun at most. Ray Data (2.60) by itself starts workers that die again, and tries their tasks
# again, any number of times.
ATTEMPTS = 6
# Times that a worker is started again, and that Ray tries a task again; it also counts tasks that only waited for a
# worker that died, and does not say which they were, so `ATTEMPTS` ends the work before.
_RESTARTS = 20


class Attempts:
    """Counts, in one process of the cluster, how often each part was begun."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, start: int) -> int:
        """Return how often the part of a first row was begun, this time included."""
        self._begun[start] = self._begun.get(start, 0) + 1
        return self._begun[start]


class PartActor:
    """Holds the model on one worker and computes parts there.

    Args:
        job: reference in Ray's object store, where it lies once for all workers, to a `FeatureJob` whose model is on
            the CPU.
        attempts: handle of an `Attempts`.
        device: where to compute.
        trusted: modules of custom functions that the run may use.
    """

    def __init__(self, job: Any, attempts: Any, device: str, trusted: Sequence[str]) -> None:
        for module in trusted:
            custom.trust(module)
        where = pick_device(device)
        self.ray, self.attempts = _ray("ray"), attempts
        held: FeatureJob = self.ray.get(job)
        self.job = replace(held, embed=replace(held.embed, model=held.embed.model.to(where), device=where))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Compute the parts of a batch of `start`, `stop`; return each file as `content`, or a mistake as `error`."""
        contents, errors = [], []
        for start, stop in zip(batch["start"].tolist(), batch["stop"].tolist(), strict=True):
            content, error = self._compute(start, stop)
            contents.append(content)
            errors.append(error)
        return {"start": batch["start"], "stop": batch["stop"], "content": contents, "error": errors}

    def _compute(self, start: int, stop: int) -> tuple[bytes, str]:
        if self.ray.get(self.attempts.begin.remote(start)) > ATTEMPTS:
            return b"", (
                f"{_rows(self.job, start, stop)}: the worker died each of the {ATTEMPTS} times that it computed these; "
                "is there too little memory for so many workers, or does an image end the process? The same command "
                "resumes, with --engine local in one process alone"
            )
        with TemporaryDirectory(prefix="jointreid-") as folder:
            try:
                compute_part(self.job, Path(folder), start, stop, lambda _: None)
                return part_file(Path(folder), start, stop).read_bytes(), ""
            except JointreidError as error:  # not raised: Ray would wrap it in its own
                return b"", str(error)


def compute_parts_on_ray(
    job: FeatureJob,
    folder: Path,
    ranges: Sequence[tuple[int, int]],
    on_progress: OnProgress,
    *,
    address: str = "",
    device: str = "auto",
) -> None:
    """Compute those parts of a job that are not there yet, on Ray.

    Args:
        job: what to compute.
        folder: where parts lie on this machine.
        ranges: of `jointreid.extraction.parts.part_ranges`.
        on_progress: called with (rows done, rows in all) after each part.
        address: of a Ray cluster, `host:port`, or `auto` for the one that this machine is in; empty starts Ray here.
        device: where each computes.

    Raises:
        JointreidError: Ray is not installed, does not start or gives up, an image is unreadable, or the worker that
            computes a part dies each time.
    """
    there = set(finished(folder, ranges, job))
    todo = [part for part in ranges if part not in there]
    total, done = sum(stop - start for start, stop in ranges), sum(stop - start for start, stop in there)
    on_progress(done, total)
    if not todo:
        return
    ray = _start(address)
    left = set(todo)
    try:
        outcomes = _results(ray, job, todo, device)
        while left and (found := _next(outcomes, job, left)):
            if found["error"]:
                raise JointreidError(found["error"])
            write_atomically(part_file(folder, found["start"], found["stop"]), found["content"])
            left.discard((found["start"], found["stop"]))
            done += found["stop"] - found["start"]
            on_progress(done, total)
    finally:
        ray.shutdown()


def _next(
    outcomes: Iterator[dict[str, Any]], job: FeatureJob, left: Collection[tuple[int, int]]
) -> dict[str, Any] | None:
    """Return the next outcome, None after the last; `left` are the parts that have none yet."""
    try:
        return next(outcomes, None)
    except Exception as error:  # Ray raises its own, such as once workers have died `_RESTARTS` times
        raise JointreidError(
            f"Ray gives up: {str(error).strip().partition(chr(10))[0]}; {len(left)} parts are not computed, the first "
            f"is {_rows(job, *min(left))}. The same command resumes, with --engine local in one process alone"
        ) from error


def _rows(job: FeatureJob, start: int, stop: int) -> str:
    """Return what messages call a part: its rows, and its first and last image."""
    if start == stop:
        return "no rows"
    return f"rows {start} to {stop - 1} ({job.table.name(start)} to {job.table.name(stop - 1)})"


def _start(address: str) -> Any:
    """Connect to Ray, or start it here; return its module."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_register_timeout_seconds", _SECONDS_TO_START)
    os.environ.setdefault("RAY_maximum_startup_concurrency", _STARTING)
    ray = _ray("ray")
    _ray("ray.data")
    try:
        ray.init(
            address=address or "local", include_dashboard=None if address else False, log_to_driver=False,
            logging_level="error",
        )  # fmt: skip
    except Exception as error:  # Ray raises its own, and those of sockets and of processes
        here = "it has 30 seconds to start in, so start it when little else runs"
        there = (
            "is the address right, and does the cluster run? One that asks for a token needs RAY_AUTH_MODE=token here "
            "too, and the token of its head in ~/.ray/auth_token"
        )
        hint = there if address else here
        raise JointreidError(f"Ray does not start: {error}; {hint}") from error
    return ray


def _ray(module: str) -> Any:
    return library(module, "--engine ray computes", "scale")


def _results(ray: Any, job: FeatureJob, todo: Sequence[tuple[int, int]], device: str) -> Iterator[dict[str, Any]]:
    """Start the work, and return its outcomes: `start`, `stop`, and `content` or `error` of each part."""
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0)) if device in ("auto", "cuda") else 0
    count = min(len(todo), gpus or max(1, int(resources.get("CPU", 1))))
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    on_cpu = replace(job.embed, model=job.embed.model.cpu(), device=torch.device("cpu"))
    shipped = ray.put(replace(job, embed=on_cpu))
    attempts = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Attempts).remote()
    parts = ray.data.from_items([{"start": start, "stop": stop} for start, stop in todo], override_num_blocks=len(todo))
    outcomes: Iterator[dict[str, Any]] = parts.map_batches(
        PartActor,
        fn_constructor_args=(shipped, attempts, device, custom.trusted_modules()),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=count),
        num_cpus=_CPUS,
        num_gpus=1 if gpus else None,
        max_restarts=_RESTARTS,
        max_task_retries=_RESTARTS,
    ).iter_rows()
    return iter(outcomes)
