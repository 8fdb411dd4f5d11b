"""A run directory with the results of its evaluation, for comparisons of many runs. Nothing here needs torch."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jointreid.config import RunConfig
from jointreid.data.run_images import load_images
from jointreid.machine.hashing import text_sha256
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import DomainResult, QueryResult, Results
from jointreid.run import open_run


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


def open_evaluated(path: Path) -> EvaluatedRun:
    """Open a run with its results.

    Raises:
        JointreidError: it is no run, is damaged, or was not evaluated; the message names the command.
    """
    run = open_run(path)
    results, queries = load_results(run.path)
    trained_on = tuple(domain.name for domain in run.label_space.domains)
    return EvaluatedRun(run.path, run.config, trained_on, results, queries)
