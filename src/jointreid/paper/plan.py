"""The plan of a grid: what is left to do, what is done, and how long the rest will take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jointreid.config import RunConfig, config_difference
from jointreid.data.label_space import DomainLabels, LabelSpace
from jointreid.data.moved import resolve_paths
from jointreid.data.run_images import IMAGES
from jointreid.messages.errors import JointreidError
from jointreid.paper.datasets import GridDataset, datasets_of_paper, is_withdrawn, load_datasets
from jointreid.paper.grid import PlannedRun, iterations
from jointreid.paper.request import Request, config_for, run_name
from jointreid.paper.store import load_record
from jointreid.run import hold_out_identities, model_for, open_run, read_config

# Called with a training; returns the seconds that one of its steps takes.
SecondsPerStep = Callable[["GridTask"], float]
# Identities in the batch that a step is timed on where time grows in proportion to the images: on a CPU.
IDS_MEASURED = 2


@dataclass(frozen=True)
class GridTask:
    """One training of the plan and its progress.

    Attributes:
        name: of its folder.
        run: which training it is.
        config: its settings, or None if it cannot be run.
        problem: why it cannot be run, or empty.
        steps: iterations in all.
        steps_done: iterations already taken.
        missing: test sets that its tables need and that it has not been evaluated on.
    """

    name: str
    run: PlannedRun
    config: RunConfig | None
    problem: str
    steps: int
    steps_done: int
    missing: tuple[str, ...]

    @property
    def done(self) -> bool:
        """True if nothing is left to do."""
        return self.steps_done >= self.steps and not self.missing


@dataclass(frozen=True)
class GridPlan:
    """All trainings of a request.

    Attributes:
        datasets: the data sets, in Table I's order.
        tasks: the trainings, in the order in which they are run.
        assumed: whether no data sets were given and the paper's counts are used instead.
    """

    datasets: tuple[GridDataset, ...]
    tasks: tuple[GridTask, ...]
    assumed: bool = False

    @property
    def steps(self) -> int:
        """Iterations of all trainings."""
        return sum(task.steps for task in self.tasks)

    @property
    def steps_left(self) -> int:
        """Iterations that are not yet taken."""
        return sum(task.steps - task.steps_done for task in self.tasks)

    @property
    def evaluations(self) -> int:
        """Pairs of a model and a test set."""
        return sum(len(task.run.tests) for task in self.tasks)

    @property
    def evaluations_left(self) -> int:
        """Pairs that are not yet evaluated."""
        return sum(len(task.missing) for task in self.tasks)

    def seconds_left(self, seconds_per_step: SecondsPerStep) -> float:
        """Return the time that the remaining iterations take, one training after the other, without evaluation."""
        todo = [task for task in self.tasks if task.config and task.steps > task.steps_done]
        return sum((task.steps - task.steps_done) * seconds_per_step(task) for task in todo)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain dicts, lists and numbers, for JSON."""
        return {
            "trainings": len(self.tasks),
            "trainings_left": sum(not task.done for task in self.tasks),
            "steps": self.steps,
            "steps_left": self.steps_left,
            "evaluations": self.evaluations,
            "evaluations_left": self.evaluations_left,
            "assumed_counts": self.assumed,
            "data": [dataset.to_dict() for dataset in self.datasets],
            "runs": [
                {"name": task.name, **task.run.to_dict(), "steps": task.steps, "steps_done": task.steps_done}
                | {"missing": task.missing, "done": task.done, "problem": task.problem}
                for task in self.tasks
            ],
        }


def make_plan(request: Request) -> GridPlan:
    """Return the plan of a request; reads the lists of images without opening any image.

    Without data sets in `request.base`, the plan is the paper's own, over its five data sets.

    Raises:
        JointreidError: data sets cannot be read.
    """
    if not request.base.data.sources:
        return plan_for(request, datasets_of_paper(request.datasets), assumed=True)
    datasets, _ = load_datasets(request.base.data, request.datasets)
    return plan_for(request, datasets)


def plan_for(request: Request, datasets: Sequence[GridDataset], *, assumed: bool = False) -> GridPlan:
    """Return the plan for data sets that are already read."""
    tasks = tuple(_task(request, run, datasets) for run in request.runs(datasets))
    return GridPlan(tuple(datasets), tasks, assumed)


def render(plan: GridPlan) -> str:
    """Return the plan for people."""
    width = max((len(task.name) for task in plan.tasks), default=0)
    lines = [f"{task.name:<{width}}  {_state(task)}; for Table {', '.join(task.run.tables)}" for task in plan.tasks]
    if plan.assumed:
        lines.append("No data sets given: these numbers use the counts of the paper's Table I.")
    lines += [
        f"{dataset.name}: {dataset.counts['train']['images']:,} train images"
        + (", withdrawn by its owner" * is_withdrawn(dataset.name))
        for dataset in plan.datasets
    ]
    lines.append(
        f"{len(plan.tasks)} trainings of {plan.steps:,} iterations and {plan.evaluations} evaluations; left: "
        f"{plan.steps_left:,} iterations and {plan.evaluations_left} evaluations"
    )
    return "\n".join(lines)


def render_time(plan: GridPlan, seconds_per_step: SecondsPerStep) -> str:
    """Return the remaining time for people: for each model, and in all."""
    from jointreid.training.forecast import duration

    left: dict[str, list[GridTask]] = {}
    for task in plan.tasks:
        if task.config and task.steps > task.steps_done:
            left.setdefault(task.run.model, []).append(task)
    width = max((len(model) for model in left), default=0)
    lines = []
    for model, tasks in left.items():
        steps, seconds = sum(task.steps - task.steps_done for task in tasks), seconds_per_step(tasks[0])
        lines.append(f"{model:<{width}}  {seconds:.3g} s a step, {duration(steps * seconds)} for {steps:,} iterations")
    total = duration(plan.seconds_left(seconds_per_step))
    return "\n".join([*lines, f"About {total} of training here, one after the other, evaluation not included."])


def calibrate(plan: GridPlan) -> SecondsPerStep:
    """Return a function that times a step of a training on this machine, once for each model, when first called.

    The time of a step depends on the model far more than on the data, so each model is timed on random images. On a
    CPU, where time grows with the number of images, a part of a batch is timed and scaled up.

    Args:
        plan: the plan whose trainings will be timed; one training of each model is timed for all of them.
    """

    @cache
    def seconds(model: str) -> float:
        task = next(task for task in plan.tasks if task.run.model == model and task.config)
        datasets = [dataset for dataset in plan.datasets if dataset.slot in task.run.train_slots]
        assert task.config is not None
        return _seconds_per_step(task.config, _label_space(datasets))

    return lambda task: seconds(task.run.model)


def _task(request: Request, run: PlannedRun, datasets: Sequence[GridDataset]) -> GridTask:
    trained = [dataset for dataset in datasets if dataset.slot in run.train_slots]
    images = [count for dataset in trained for count in dataset.train_images]
    domains = [number for number, dataset in enumerate(trained) for _ in dataset.train_images]
    name = run_name(run, datasets)
    try:
        config = config_for(request, run, datasets)
    except JointreidError as error:
        return GridTask(name, run, None, str(error), 0, 0, run.tests)
    path, steps = Path(config.train.out), iterations(images, config, domains)
    names = {dataset.slot: dataset.name for dataset in datasets}
    done, evaluated = run_progress(path, config)
    missing = tuple(slot for slot in run.tests if done < steps or names[slot] not in evaluated)
    return GridTask(name, run, config, "", steps, min(done, steps), missing)


def run_progress(path: Path, config: RunConfig) -> tuple[int, frozenset[str]]:
    """Return the steps that a run has taken, and the data sets it was evaluated on after the last of them.

    A run that was started with other settings counts as not started: `train` refuses to resume it.
    """
    if not (path / "config.yaml").is_file():
        return 0, frozenset()
    from jointreid.training.resume import FREE_ON_RESUME

    try:
        before, now = resolve_paths(read_config(path / "config.yaml")), resolve_paths(config)
        # Runs that remember their images may find them elsewhere: `run_grid` compares them.
        free = FREE_ON_RESUME if (path / IMAGES).is_file() else FREE_ON_RESUME - {"data.sources"}
        if config_difference(before, now).keys() - free:
            return 0, frozenset()
        step = int(open_run(path).state()["step"])
    except (JointreidError, KeyError):
        return 0, frozenset()
    try:
        record = load_record(path)
    except JointreidError:
        return step, frozenset()
    evaluated = frozenset(result.domain for result in record.results.domains)
    return step, evaluated if record.step == step else frozenset()


def _state(task: GridTask) -> str:
    if task.problem:
        return f"cannot run: {task.problem}"
    if task.done:
        return f"done, {task.steps:,} iterations"
    if task.steps_done >= task.steps:
        return f"trained; {len(task.missing)} evaluations left"
    started = f"{task.steps_done:,} of " if task.steps_done else ""
    return f"{started}{task.steps:,} iterations, {len(task.run.tests)} evaluation{'s' * (len(task.run.tests) != 1)}"


def _label_space(datasets: Sequence[GridDataset]) -> LabelSpace:
    """Return a label space of the right size; which identities it holds does not affect the time of a step."""
    domains, labels, cameras = [], 0, 0
    for dataset in datasets:
        counts: Mapping[str, int] = dataset.counts["train"]
        pids = tuple(sorted(str(number) for number in range(counts["ids"])))
        domains.append(DomainLabels(dataset.name, pids, tuple(range(counts["cameras"])), labels, cameras))
        labels, cameras = labels + counts["ids"], cameras + counts["cameras"]
    return LabelSpace(tuple(domains), "global")


def _seconds_per_step(config: RunConfig, space: LabelSpace) -> float:
    """Time the training step of a run on a batch of random images, on one device."""
    import torch

    from jointreid.data.images import Batch
    from jointreid.losses import loss_function
    from jointreid.machine.device import pick_device, pick_precision
    from jointreid.training.arithmetic import Arithmetic
    from jointreid.training.distributed.processes import single_process
    from jointreid.training.forecast import forecast
    from jointreid.training.step import TrainingStep

    device = pick_device(config.train.device)
    precision = pick_precision(config.train.precision, device)
    people, images = config.sampler.ids_per_batch, config.sampler.images_per_id
    if device.type == "cpu":
        people = min(people, IDS_MEASURED)
    labels = torch.arange(people).repeat_interleave(images) % space.num_ids
    zeros = torch.zeros_like(labels)
    pixels = torch.randn(len(labels), 3, config.image.height, config.image.width)
    batch = Batch(pixels.contiguous(memory_format=torch.channels_last), labels, zeros, zeros).to(device)
    model = model_for(config, space)
    hold_out_identities(model, config, space)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Not compiled, even where training is: compiling takes a minute for each model.
    arithmetic = Arithmetic(device, precision, "never")
    step = TrainingStep(model, loss_function(config.loss.kind), config, single_process(device, precision), arithmetic)
    return forecast(step, batch).step_seconds * config.sampler.ids_per_batch / people
