"""Evaluation of a grid's trained runs on the test sets that are missing."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ModelOutput, ReIDModel
from jointreid.paper.grid_data import GridData
from jointreid.paper.plan import GridTask
from jointreid.paper.request import changed_settings
from jointreid.paper.store import RunRecord, load_record, merge, metrics_digest, package_commit, save_record
from jointreid.retrieval.evaluate import evaluate_domains, pretraining_of
from jointreid.retrieval.results import QueryResult, Results, save_results
from jointreid.run import Run


def evaluate_task(task: GridTask, run: Run, step: int, data: GridData) -> RunRecord:
    """Evaluate a trained run on the test sets that are missing, and add the results to its record.

    Args:
        task: the training in the plan.
        run: its run directory.
        step: the steps it was trained for.
        data: the data sets of the grid.

    Raises:
        JointreidError: see `evaluate_domains`.
    """
    model = run.model().to(data.device)
    before = _record_before(run.path, step)
    found: list[Results] = []
    queries: dict[str, tuple[QueryResult, ...]] = {}
    protocols = {dataset.slot: dataset.protocol for dataset in data.datasets}
    hashes = dict(before.feature_hashes) if before else {}
    for slot in _tests_left(task, before):
        domain = replace(data.domains[slot], train=())
        with _hashing(model) as digest:
            results, queries[domain.name] = evaluate_domains(
                model,
                [domain],
                run.config,
                run.label_space,
                device=data.device,
                protocols={domain.name: protocols[slot]},
                marks=data.marks,
                pretraining=pretraining_of(run),
            )
        found.append(results)
        hashes[domain.name] = digest.hexdigest()
    trained_on = tuple(domain.name for domain in run.label_space.domains)
    record = RunRecord(
        model=task.run.model,
        trained_on=task.run.trained_on,
        domains=trained_on,
        seed=task.run.seed,
        preset=data.request.preset,
        changed=changed_settings(run.config, task.run.recipe, data.request.preset),
        commit=package_commit(),
        step=step,
        feature_hashes=hashes,
        files=(dict(before.files) if before else {}) | _save_by_origin(found, queries, trained_on, run.path),
        results=merge([*([before.results] if before else []), *found]),
        embedded=before.embedded if before else None,
    )
    save_record(record, run.path)
    return record


def _tests_left(task: GridTask, before: RunRecord | None) -> tuple[str, ...]:
    """Return the test sets to evaluate on: all of them after training, else those that are missing.

    The data sets that the run was trained on share one `results.json`, so they are evaluated together.
    """
    if before is None:
        return task.run.tests
    trained_on = task.run.train_slots if set(task.run.train_slots) & set(task.missing) else ()
    return tuple(slot for slot in task.run.tests if slot in task.missing or slot in trained_on)


def _record_before(path: Path, step: int) -> RunRecord | None:
    """Return the record of an earlier evaluation after the same step, if there is one."""
    try:
        record = load_record(path)
    except JointreidError:
        return None
    return record if record.step == step else None


def _save_by_origin(
    found: Sequence[Results], queries: Mapping[str, tuple[QueryResult, ...]], trained_on: Sequence[str], path: Path
) -> dict[str, str]:
    """Write `results.json` for the data sets that a run was trained on, and `results-NAMES.json` for the others.

    Returns:
        file name -> digest of its metrics, as `RunRecord.files` has it.
    """
    files = {}
    for own in (True, False):
        of_kind = [results for results in found if (results.domains[0].domain in trained_on) == own]
        if of_kind:
            results = merge(of_kind)
            of_domains = tuple(query for result in results.domains for query in queries[result.domain])
            file = save_results(results, of_domains, path, own=own)
            files[file.name] = metrics_digest(results)
    return files


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
