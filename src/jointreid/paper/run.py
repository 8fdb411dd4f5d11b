"""Run the grid: the missing trainings and evaluations, one after the other, in one process.

A run is done when it has taken its steps and is evaluated on every test set that its tables need. What is half done
is resumed; what is done is left alone. Each data set is read and checked once, each set of images decoded once.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from jointreid.data.joint import join
from jointreid.data.preflight import check
from jointreid.data.records import Domain
from jointreid.machine.device import pick_device
from jointreid.messages.console import say
from jointreid.messages.errors import JointreidError, RunStopped
from jointreid.models.reid import ModelOutput, ReIDModel
from jointreid.paper.datasets import GridDataset, is_withdrawn, load_datasets, require_paper_counts
from jointreid.paper.plan import GridPlan, GridTask, plan_for
from jointreid.paper.request import Request, changed_settings
from jointreid.paper.store import GridSetup, RunRecord, load_record, merge, package_commit, save_record, save_setup
from jointreid.retrieval.evaluate import evaluate_domains, pretraining_of
from jointreid.retrieval.results import QueryResult, Results, save_results
from jointreid.run import Run, open_run
from jointreid.training.data import TrainingData
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
    data = load_grid_data(request, console)
    plan = plan_for(request, data.datasets)
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


@dataclass
class GridData:
    """The data sets that the runs of a request share, read and checked.

    Attributes:
        request: what to run.
        datasets: the data sets, in Table I's order.
        domains: slot -> domain.
        device: where to compute.
    """

    request: Request
    datasets: tuple[GridDataset, ...]
    domains: dict[str, Domain]
    device: torch.device
    _joined: dict[tuple[str, ...], TrainingData] = field(default_factory=dict)

    def training_data(self, slots: tuple[str, ...]) -> TrainingData:
        """Return the union of data sets to train on, without a test split: runs are evaluated after training."""
        if slots not in self._joined:
            joined = join((self.domains[slot] for slot in slots), self.request.base.data.camera_ids)
            self._joined[slots] = TrainingData(joined, test=(), val=(), protocols={}, summary="")
        return self._joined[slots]


def load_grid_data(request: Request, console: Console) -> GridData:
    """Read and check the data sets, and write `grid.json`.

    Raises:
        JointreidError: they cannot be read, cannot be trained and evaluated on, or are not those of Table I.
    """
    device = pick_device(request.base.train.device)
    datasets, domains = load_datasets(request.base.data, request.datasets)
    if not request.allow_counts:
        require_paper_counts(datasets)
    for dataset in datasets:
        if is_withdrawn(dataset.name):
            say(console, f"{dataset.name}: {domains[dataset.slot].terms}")
    say(console, "Checking the data; the first time every image is decoded.")
    report, checked = check(
        tuple(domains.values()),
        cache_dir=Path(request.base.data.cache),
        threads=request.base.train.workers,
        purpose="both",
    )
    if not report.ok:
        errors = "; ".join(problem.message for problem in report.problems if problem.level == "error")
        raise JointreidError(f"the data are not ready: {errors}. `jointreid data check` lists every problem")
    save_setup(GridSetup(request.scale.name, request.preset, datasets, request.scale.warning), request.out)
    return GridData(request, datasets, dict(zip(domains, checked, strict=True)), device)


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
    record = _evaluate(task, run, step, grid_data)
    mean = record.results.mean
    return f"mAP {mean['mAP']:.1%}, Rank-1 {mean['rank1']:.1%} on average, {duration(time.monotonic() - since)}"


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


def _evaluate(task: GridTask, run: Run, step: int, data: GridData) -> RunRecord:
    """AccuracyMetric a run on the test sets that are missing, and add them to what is there.

    Raises:
        JointreidError: see `evaluate_domains`.
    """
    model = run.model().to(data.device)
    found: list[Results] = []
    queries: dict[str, tuple[QueryResult, ...]] = {}
    hashes: dict[str, str] = {}
    for slot in _tests_left(task, step, run.path):
        domain = replace(data.domains[slot], train=())
        protocol = next(dataset.protocol for dataset in data.datasets if dataset.slot == slot)
        with _hashing(model) as digest:
            results, answers = evaluate_domains(
                model,
                [domain],
                run.config,
                run.label_space,
                device=data.device,
                protocols={domain.name: protocol},
                pretraining=pretraining_of(run),
            )
        found.append(results)
        queries[domain.name] = answers
        hashes[domain.name] = digest.hexdigest()
    before = _record_before(run.path, step)
    record = RunRecord(
        model=task.run.model,
        trained_on=task.run.trained_on,
        domains=tuple(domain.name for domain in run.label_space.domains),
        seed=task.run.seed,
        preset=data.request.preset,
        changed=changed_settings(run.config, task.run.recipe, data.request.preset),
        commit=package_commit(),
        step=step,
        results=merge([*([before.results] if before else []), *found]),
        feature_hashes={**(before.feature_hashes if before else {}), **hashes},
    )
    _save_by_origin(record, found, queries, run.path)
    save_record(record, run.path)
    return record


def _tests_left(task: GridTask, step: int, path: Path) -> tuple[str, ...]:
    """Return the test sets to evaluate on: all of them after training, else those that are missing.

    The data sets that the run was trained on share one `results.json`, so they are evaluated together.
    """
    if not _record_before(path, step):
        return task.run.tests
    own = task.run.train_slots if set(task.run.train_slots) & set(task.missing) else ()
    return tuple(slot for slot in task.run.tests if slot in task.missing or slot in own)


def _record_before(path: Path, step: int) -> RunRecord | None:
    try:
        record = load_record(path)
    except JointreidError:
        return None
    return record if record.step == step else None


def _save_by_origin(
    record: RunRecord, found: Sequence[Results], queries: dict[str, tuple[QueryResult, ...]], path: Path
) -> None:
    """Write `results.json` for the run's own data sets, as every run has it, and `results-NAMES.json` for others."""
    for own in (True, False):
        of_kind = [results for results in found if (results.domains[0].domain in record.domains) == own]
        if of_kind:
            results = merge(of_kind)
            answers = tuple(answer for result in results.domains for answer in queries[result.domain])
            save_results(results, answers, path, own=own)


@contextmanager
def _hashing(model: ReIDModel) -> "Iterator[hashlib._Hash]":
    """Yield the SHA-256 of all features that the model returns in this context, in order, as float32."""
    digest = hashlib.sha256()

    def take(module: torch.nn.Module, images: object, output: ModelOutput) -> None:
        digest.update(output.bn_embedding.float().cpu().contiguous().numpy().tobytes())

    handle = model.register_forward_hook(take)
    try:
        yield digest
    finally:
        handle.remove()
