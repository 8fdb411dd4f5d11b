"""Evaluated runs below folders, and the check that they were evaluated on the same test data in the same way."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jointreid.config import RunConfig
from jointreid.data.run_images import load_images
from jointreid.machine.hashing import text_sha256
from jointreid.machine.paths import user_path
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import DomainResult, QueryResult, Results
from jointreid.run import open_run

# Of the differences in how two domains were evaluated, in words.
_CONDITIONS = ("flip", "rerank")


@dataclass(frozen=True)
class EvaluatedRun:
    """A run directory with results.

    Attributes:
        path: the directory.
        config: its settings.
        trained_on: the data sets it was trained on.
        results: of its checkpoint `last`.
        queries: the result of each query.
    """

    path: Path
    config: RunConfig
    trained_on: tuple[str, ...]
    results: Results
    queries: tuple[QueryResult, ...]

    @property
    def seed(self) -> int:
        """The seed of its weights, batches and augmentation."""
        return self.config.train.seed

    @property
    def step(self) -> int | None:
        """The steps that its weights were trained for, if known."""
        return next((r.conditions.step for r in self.results.domains if r.conditions and r.trained_on), None)

    @cached_property
    def domains(self) -> dict[str, DomainResult]:
        """Its results by domain."""
        return {result.domain: result for result in self.results.domains}

    @cached_property
    def valid_queries(self) -> dict[str, dict[str, QueryResult]]:
        """Domain -> image -> result, of the queries that have a match."""
        found: dict[str, dict[str, QueryResult]] = {name: {} for name in self.domains}
        for query in self.queries:
            if query.valid and query.domain in found:
                found[query.domain][query.path] = query
        return found

    def test_images(self) -> dict[tuple[str, str], Counter[str]]:
        """Return (domain, split) -> its test images by content, identity and camera; earlier versions kept none."""
        found: dict[tuple[str, str], Counter[str]] = {}
        for image in load_images(self.path, ("query", "gallery")):
            found.setdefault((image.domain, image.split), Counter())[repr(image.identity)] += 1
        return found

    @cached_property
    def test_hashes(self) -> dict[tuple[str, str], str]:
        """(domain, split) -> a hash of its test images; the images of many runs would fill the memory."""
        return {key: text_sha256("\n".join(sorted(found.elements()))) for key, found in self.test_images().items()}


def find_runs(paths: Sequence[str | Path]) -> tuple[tuple[EvaluatedRun, ...], tuple[str, ...]]:
    """Open the evaluated runs among run directories and below folders.

    Args:
        paths: run directories, and folders that hold some at any depth.

    Returns:
        The runs, sorted by directory within each folder; and a remark for each directory in a folder that was left
        out because it is no run, is damaged or holds no results.

    Raises:
        JointreidError: a path does not exist, a run that was named is damaged or was not evaluated (the message names
            the command), or there are no evaluated runs at all.
    """
    runs: dict[Path, EvaluatedRun] = {}
    remarks = []
    for given in paths:
        path = user_path(given)
        if path.is_dir() and not (path / "config.yaml").is_file():
            for folder in _run_folders(path):
                try:
                    runs.setdefault(folder.resolve(), _open(folder))
                except JointreidError as error:
                    remarks.append(f"left out {folder}: {error}")
        else:
            runs.setdefault(path.resolve(), _open(path))
    if not runs:
        where = ", ".join(map(str, paths)) or "nothing"
        why = f" ({'; '.join(remarks)})" if remarks else f"; train one with `{command('train', '--out', Path('RUN'))}`"
        raise JointreidError(f"no evaluated run was found in {where}{why}")
    return tuple(runs.values()), tuple(remarks)


def _run_folders(folder: Path) -> Iterable[Path]:
    """Yield the folders with settings below a folder, sorted; what a run holds is not searched."""
    for where, names, files in os.walk(folder):
        if "config.yaml" in files:
            names.clear()
            yield Path(where)
        names.sort()


def _open(path: Path) -> EvaluatedRun:
    run = open_run(path)
    results, queries = load_results(run.path)
    trained_on = tuple(domain.name for domain in run.label_space.domains)
    return EvaluatedRun(run.path, run.config, trained_on, results, queries)


def require_same_tests(runs: Sequence[EvaluatedRun]) -> None:
    """Refuse runs whose results on a data set are of different test data, or were found in another way.

    Test images are compared by content, identity and camera where both runs remember them, and else by the names of
    the queries and the number of gallery images.

    Raises:
        JointreidError: two runs differ; the message names the data set, the runs and what differs.
    """
    first: dict[str, EvaluatedRun] = {}
    for run in runs:
        for name in run.domains:
            other = first.setdefault(name, run)
            if other is not run and (difference := _difference(name, other, run)):
                raise JointreidError(
                    f"{name}: {other.path} and {run.path} cannot be compared: {difference}. Name only runs that were "
                    f"evaluated alike, or evaluate one again: `{command('evaluate', run.path)}`"
                )


def _difference(name: str, a: EvaluatedRun, b: EvaluatedRun) -> str:
    """Return what differs between the evaluations of two runs on a domain; empty if nothing does."""
    of_a, of_b = a.domains[name], b.domains[name]
    for split in ("query", "gallery"):
        hashes = {run.test_hashes.get((name, split)) for run in (a, b)} - {None}
        if len(hashes) > 1:
            images_a, images_b = (run.test_images()[name, split] for run in (a, b))
            only_a, only_b = (images_a - images_b).total(), (images_b - images_a).total()
            return (
                f"their test data differ, {only_a:,} {split} images are only in the first and {only_b:,} only in the "
                "second"
            )
    for words, counts in (
        ("queries", (of_a.num_query, of_b.num_query)),
        ("gallery images", (of_a.num_gallery, of_b.num_gallery)),
    ):
        if counts[0] != counts[1]:
            return f"their test data differ, {counts[0]:,} {words} in the first and {counts[1]:,} in the second"
    if of_a.exclude_same_camera != of_b.exclude_same_camera:
        return "one ignores images of the query's own camera, the other does not"
    names_a, names_b = a.valid_queries[name].keys(), b.valid_queries[name].keys()
    if names_a != names_b:
        return (
            f"their test data differ, {len(names_a - names_b):,} queries are only in the first and "
            f"{len(names_b - names_a):,} only in the second"
        )
    ways_a, ways_b = _way(a, of_a), _way(b, of_b)
    different = [f"{key} {value} and {ways_b[key]}" for key, value in ways_a.items() if value != ways_b[key]]
    return f"they were evaluated in different ways, {', '.join(different)}" if different else ""


def _way(run: EvaluatedRun, result: DomainResult) -> Mapping[str, object]:
    """Return how a domain was evaluated, as far as results depend on it."""
    told = result.conditions or run.results
    return {name: getattr(told, name) for name in _CONDITIONS} | {
        "metric": run.results.metric,
        "feature": run.results.feature,
    }
