"""Run the grid: the missing trainings and evaluations, one after the other, in one process.

A run is done when it has taken its steps and is evaluated on every test set that its tables need. What is half done
is resumed; what is done is left alone. Each data set is read and checked once, each set of images decoded once.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from jointreid.data.moved import resolve_paths
from jointreid.data.run_images import load_images, require_same_images
from jointreid.machine.paths import cache_folder, require_writable
from jointreid.messages.console import say
from jointreid.messages.errors import JointreidError, RunStopped
from jointreid.paper.evaluation import evaluate_task
from jointreid.paper.grid_data import GridData, load_grid_data
from jointreid.paper.plan import GridPlan, GridTask, plan_for
from jointreid.paper.request import Request
from jointreid.run import open_run, read_config
from jointreid.training.data import images_by_content
from jointreid.training.forecast import duration
from jointreid.training.train import train


def run_grid(request: Request, console: Console | None = None) -> GridPlan:
    """Run the missing trainings and evaluations of a request.

    A training that fails does not stop the others; its error is reported at the end.

    Args:
        request: what to run.
        console: where to print; standard output by default.

    Returns:
        The plan afterwards, all of it done.

    Raises:
        JointreidError: the data cannot be read or are not those of the paper's Table I (before anything is run), or
            trainings failed or were stopped early (after the others are done).
        RunStopped: a signal stopped a training, which has saved a checkpoint.
    """
    console = console or Console()
    require_writable(request.out, "--out")
    data = load_grid_data(request, console)
    plan = plan_for(request, data.datasets)
    for task in plan.tasks:
        _require_same_images(task, data)
    todo = [task for task in plan.tasks if not task.done]
    failures = []
    for number, task in enumerate(todo, start=1):
        say(console, f"{number} of {len(todo)}: {task.name}, {task.steps - task.steps_done:,} iterations")
        try:
            say(console, f"  {train_and_evaluate(task, data, console)}")
        except RunStopped as stopped:
            raise RunStopped(f"{task.name}: {stopped.where}", "give the same command again to resume") from stopped
        except (JointreidError, OSError, RuntimeError) as error:  # PyTorch's own are RuntimeErrors: memory, CUDA
            failures.append(f"{task.name}: {error}")
            say(console, f"  failed: {error}")
    return finish(request, data, failures)


def train_and_evaluate(task: GridTask, grid_data: GridData, console: Console) -> str:
    """Train a run to its end and evaluate it on the test sets that are missing.

    Returns:
        Its mean accuracy and the time taken, for people.

    Raises:
        JointreidError: it cannot be run, fails, or stopped before its last step.
    """
    if task.config is None:
        raise JointreidError(task.problem)
    since = time.monotonic()
    path = Path(task.config.train.out)
    data = grid_data.training_data(task.run.train_slots)
    if task.steps_done < task.steps:
        config = task.config.replace(train={"resume": (path / "config.yaml").is_file()})
        # A progress bar on a terminal; elsewhere a line for each step would bury the rest, and metrics.jsonl has them.
        quiet = console if console.is_terminal else Console(quiet=True)
        run = train(config, quiet, data=data)
    else:
        run = replace(open_run(path), config=task.config)
        if run.label_space.hash != data.train_set.label_space.hash:
            raise JointreidError(
                f"{path}/labels.json: the data has other identities or cameras than when the run was trained; give it "
                "the same data, or choose another --out"
            )
    step = int(run.state()["step"])
    if step < task.steps:
        raise JointreidError(f"stopped at step {step:,} of {task.steps:,}; give the same command again to resume it")
    record = evaluate_task(task, run, step, grid_data)
    mean = record.results.mean
    return f"mAP {mean['mAP']:.1%}, Rank-1 {mean['rank1']:.1%} on average, {duration(time.monotonic() - since)}"


def _require_same_images(task: GridTask, grid_data: GridData) -> None:
    """Refuse a run that was begun with other train images, where its data sets lay elsewhere."""
    if task.config is None or not task.steps_done:
        return
    path = Path(task.config.train.out)
    if read_config(path / "config.yaml").data.sources == resolve_paths(task.config).data.sources:
        return
    known = [image for image in load_images(path) if image.split == "train"]
    cache, threads = cache_folder(task.config.data.cache), task.config.train.workers
    now = images_by_content(grid_data.training_data(task.run.train_slots), cache, threads)
    require_same_images(known, now, path, "Give it the same data, or choose another --out")


def finish(request: Request, data: GridData, failures: Sequence[str]) -> GridPlan:
    """Return the plan after all trainings were tried.

    Raises:
        JointreidError: some trainings failed.
    """
    if failures:
        raise JointreidError(
            f"{len(failures)} trainings failed: {' | '.join(failures)}. The others are done; "
            "give the same command again to resume"
        )
    return plan_for(request, data.datasets)
