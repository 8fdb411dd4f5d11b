"""The grid on several GPUs: one process for each, which takes the next training when it has finished one."""

import os
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from queue import Empty
from typing import Any

from rich.console import Console

from jointreid.messages.console import say
from jointreid.messages.errors import JointreidError, RunStopped
from jointreid.paper.grid_data import load_grid_data
from jointreid.paper.plan import GridPlan, plan_for
from jointreid.paper.request import Request
from jointreid.paper.run import finish, train_and_evaluate

_SECONDS_BETWEEN_LOOKS = 5.0


def run_on_gpus(request: Request, gpus: Sequence[str], console: Console | None = None) -> GridPlan:
    """Run the missing trainings and evaluations of a request, as `run_grid` does, spread over GPUs.

    Args:
        request: what to run.
        gpus: the value of `CUDA_VISIBLE_DEVICES` for each process: "0", "1", or the empty text for none.
        console: where to print; standard output by default.

    Returns:
        The plan afterwards, all of it done.

    Raises:
        JointreidError: as in `run_grid`, or a process ended without finishing its training.
    """
    console = console or Console()
    data = load_grid_data(request, console)
    todo = [task for task in plan_for(request, data.datasets).tasks if not task.done]
    todo.sort(key=lambda task: task.steps_done - task.steps)  # long ones first, so that all end at about the same time
    context = get_context("spawn")
    tasks, outcomes = context.Queue(), context.Queue()
    for name in [*(task.name for task in todo), *([None] * len(gpus))]:
        tasks.put(name)
    processes = [
        context.Process(target=_work, args=(request, gpu, tasks, outcomes), daemon=True) for gpu in gpus[: len(todo)]
    ]
    for process in processes:
        process.start()
    failures = []
    try:
        for number, (name, text, failed) in enumerate(_outcomes(outcomes, len(todo), processes), start=1):
            say(console, f"{number} of {len(todo)}: {name}: {'failed: ' * failed}{text}")
            if failed:
                failures.append(f"{name}: {text}")
    except JointreidError as error:  # reported together with the trainings that failed before it
        failures.append(str(error))
    return finish(request, data, failures)


def _work(request: Request, gpu: str, tasks: Any, outcomes: Any) -> None:
    """Run trainings until there are none left; put the outcome of each into `outcomes`."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before CUDA is asked for the first time in this process
    quiet = Console(quiet=True)
    data = load_grid_data(request, quiet)
    for name in iter(tasks.get, None):
        task = next(task for task in plan_for(request, data.datasets).tasks if task.name == name)
        try:
            outcomes.put((name, train_and_evaluate(task, data, quiet), False))
        except RunStopped as stopped:  # by a signal to this process: it takes no other training
            outcomes.put((name, stopped.where, True))
            return
        except (JointreidError, OSError, RuntimeError) as error:
            outcomes.put((name, str(error), True))


def _outcomes(outcomes: Any, count: int, processes: Sequence[Any]) -> Iterator[tuple[str, str, bool]]:
    """Yield the outcome of each training; stop waiting when no process is left to report one."""
    for left in range(count, 0, -1):
        while True:
            try:
                yield outcomes.get(timeout=_SECONDS_BETWEEN_LOOKS)
                break
            except Empty:
                if not any(process.is_alive() for process in processes):
                    codes = ", ".join(str(process.exitcode) for process in processes)
                    raise JointreidError(
                        f"all processes ended (exit codes {codes}) with {left} trainings unfinished; "
                        "give the same command again to resume"
                    ) from None
