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
from jointreid.paper.store import (
    RunRecord,
    load_record,
    merge,
    metrics_digest,
    only,
    package_commit,
    save_record,
)
from jointreid.retrieval.evaluate import evaluate_domains
from jointreid.retrieval.result_files import read_results, save_results
from jointreid.retrieval.results import QueryResult, Results
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
    model, state = run.loaded()
    model = model.to(data.device)
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
                pretraining=str(state.get("pretraining", "")),
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
        files=_save(found, queries, step, run.path, before),
        results=merge([*([before.results] if before else []), *found]),
        embedded=before.embedded if before else None,
    )
    save_record(record, run.path)
    return record


def _tests_left(task: GridTask, before: RunRecord | None) -> tuple[str, ...]:
    """Return the test sets to evaluate on: all of them after training, else those that are missing.

    Those that the run was trained on are evaluated together.
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


def _save(
    found: Sequence[Results],
    queries: Mapping[str, tuple[QueryResult, ...]],
    step: int,
    path: Path,
    before: RunRecord | None,
) -> dict[str, str]:
    """Add results to the run's `results.json`.

    Returns:
        file name -> digest of its metrics on all domains of the record, as `RunRecord.files` has it.
    """
    if not found:
        return dict(before.files) if before else {}
    results = merge(found).dated(step)
    rows = tuple(query for result in results.domains for query in queries[result.domain])
    file = save_results(results, rows, path)
    of_record = {result.domain for result in (*(before.results.domains if before else ()), *results.domains)}
    return {file.name: metrics_digest(only(read_results(file, path), of_record))}


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
