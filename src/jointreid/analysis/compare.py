"""Comparison of two runs: settings that differ, and for each domain the difference in accuracy with its uncertainty.

Nothing here needs torch. Q counts the queries that both runs could answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.analysis.arms import start_in_words
from jointreid.analysis.heat_map import ROUNDED, signed
from jointreid.config import config_difference
from jointreid.messages.tables import text_table
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import QueryResult, Results, percent
from jointreid.run import open_run

RESAMPLES = 10_000
# Numbers drawn at a time: 32 MB of indices.
BLOCK = 2**22


@dataclass(frozen=True)
class Difference:
    """The difference in a metric between runs A and B, with its uncertainty.

    Attributes:
        a: the mean over the shared queries in run A.
        b: the mean over the shared queries in run B.
        difference: b - a.
        low: the 2.5th percentile of the difference over the resamples.
        high: the 97.5th percentile.
        opposite_share: twice the share of resamples in which the difference is 0 or of the other sign, at most 1;
            read like a two-sided p-value.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    opposite_share: float


@dataclass(frozen=True)
class DomainComparison:
    """One domain in both runs.

    Attributes:
        domain: its name.
        shared_queries: queries that are valid in both runs, by image; the figures are of these.
        only_in_a: queries that are valid in run A alone.
        only_in_b: queries that are valid in run B alone.
        mAP: the difference in mean average precision; None without shared queries.
        rank1: the difference in Rank-1; None without shared queries.
    """

    domain: str
    shared_queries: int
    only_in_a: int
    only_in_b: int
    mAP: Difference | None
    rank1: Difference | None


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        run_a: the first run directory.
        run_b: the second; differences are B minus A.
        start_a: the name of the weights that the training of A started from; none for random ones.
        start_b: the same of B.
        settings: `section.field` -> (value in A, value in B), of the runs' settings that differ.
        evaluation: what differs in how they were evaluated, in the same way.
        protocols: domain -> (protocol in A, protocol in B), in words, of the domains in both that differ in it.
        marks: domain -> (remarks on its figures in A, in B), where there are some; None where data were not checked.
        domains: the domains that both runs were evaluated on.
        only_in_a: the domains of run A alone.
        only_in_b: the domains of run B alone.
    """

    run_a: str
    run_b: str
    start_a: str
    start_b: str
    settings: Mapping[str, tuple[Any, Any]]
    evaluation: Mapping[str, tuple[Any, Any]]
    protocols: Mapping[str, tuple[str, str]]
    marks: Mapping[str, tuple[tuple[str, ...] | None, tuple[str, ...] | None]]
    domains: tuple[DomainComparison, ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain dicts, lists and numbers, for JSON."""
        return asdict(self)


def compare(run_a: str | Path, run_b: str | Path) -> Comparison:
    """Compare two runs by their results on their own data sets, the checkpoint being `last`.

    Raises:
        JointreidError: not a run, or a run without results; the message names the command to run.
    """
    a, b = open_run(run_a), open_run(run_b)
    (results_a, queries_a), (results_b, queries_b) = load_results(a.path), load_results(b.path)
    domains_a, domains_b = ([result.domain for result in results.domains] for results in (results_a, results_b))
    facts_a, facts_b = _facts(results_a), _facts(results_b)
    protocols_a, protocols_b = _protocols(results_a), _protocols(results_b)
    return Comparison(
        run_a=str(a.path),
        run_b=str(b.path),
        start_a=results_a.pretraining,
        start_b=results_b.pretraining,
        settings=config_difference(a.config, b.config),
        evaluation=_differing(facts_a, facts_b) | _differing_conditions(results_a, results_b),
        protocols=_differing(protocols_a, protocols_b),
        marks=_marks(results_a, results_b),
        domains=tuple(
            _compare_domain(domain, _valid(queries_a, domain), _valid(queries_b, domain))
            for domain in domains_a
            if domain in domains_b
        ),
        only_in_a=tuple(domain for domain in domains_a if domain not in domains_b),
        only_in_b=tuple(domain for domain in domains_b if domain not in domains_a),
    )


def paired_bootstrap(
    a: NDArray[np.float64], b: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Estimate how sure the mean of `b - a` is, from resamples of the queries with replacement.

    Both runs keep the same queries in every resample, so the difficulty of a query cancels. Queries of
    one identity resemble each other and training again with another seed would change the result; neither is counted
    here, so the true uncertainty is larger.

    Args:
        a: a metric of each query in run A, [Q], Q >= 1.
        b: the same metric of the same queries in run B, [Q].
        resamples: how many resamples.
        seed: of the resamples.
    """
    differences = b - a
    queries, generator = len(differences), np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = max(1, BLOCK // queries)
    for start in range(0, resamples, rows):
        block = means[start : start + rows]
        chosen = generator.integers(0, queries, size=(len(block), queries))  # rows Q
        block[:] = differences[chosen].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    opposite = 2 * min(float((means <= 0).mean()), float((means >= 0).mean()))
    return Difference(
        float(a.mean()), float(b.mean()), float(differences.mean()), float(low), float(high), min(1.0, opposite)
    )


def render(comparison: Comparison) -> str:
    """Return the comparison for people: a table in percent, then other differences."""
    rows = [["Domain", "Metric", "A", "B", "B - A", "95% interval", "Opposite", "Queries"]]
    for domain in comparison.domains:
        for name, metric in (("mAP", domain.mAP), ("Rank-1", domain.rank1)):
            if metric is not None:
                interval = f"{signed(metric.low)} to {signed(metric.high)}"
                values = percent(metric.a), percent(metric.b), signed(metric.difference)
                share = f"{metric.opposite_share:.4f}"
                marked = " *" if any(comparison.marks.get(domain.domain, ())) else ""
                rows.append([domain.domain + marked, name, *values, interval, share, f"{domain.shared_queries:,}"])
    sides = (("A", comparison.run_a, comparison.start_a), ("B", comparison.run_b, comparison.start_b))
    title = [f"{letter} {run}, started from {start_in_words(start)}" for letter, run, start in sides]
    title.append("in percent, over the queries that are valid in both runs")
    return "\n".join((*title, text_table(rows, "llrrrrrr"), *_notes(comparison)))


def _notes(comparison: Comparison) -> Iterator[str]:
    yield (
        f"interval: from {RESAMPLES:,} resamples of the queries, the same in both runs; without the effect of another "
        "training seed. Opposite: twice the share of resamples whose difference is 0 or of the other sign, like a "
        "two-sided p-value"
    )
    if comparison.domains:
        yield ROUNDED
    for domain in comparison.domains:
        alone = {"A": domain.only_in_a, "B": domain.only_in_b}
        if counts := [f"{count:,} only in {run}" for run, count in alone.items() if count]:
            yield f"{domain.domain}: left out queries that are valid {' and '.join(counts)}"
        if not domain.shared_queries:
            yield f"{domain.domain}: not compared, no query is valid in both; were the runs evaluated on the same data?"
    for name, (protocol_a, protocol_b) in comparison.protocols.items():
        yield f"{name}: the protocols differ, so the difference is not due to the runs alone:"
        yield from (f"  {run}: {words}" for run, words in (("A", protocol_a), ("B", protocol_b)))
    for name, marks in comparison.marks.items():
        for run, of_run in zip("AB", marks, strict=True):
            yield from (f"* {name} in {run}: {mark}" for mark in of_run or ())
    for run, place in (("A", 0), ("B", 1)):
        if unchecked := [name for name, marks in comparison.marks.items() if marks[place] is None]:
            yield (
                f"{run}: the data of {', '.join(unchecked)} were not checked before the evaluation; "
                "`jointreid evaluate` checks them"
            )
    for run, names in (("A", comparison.only_in_a), ("B", comparison.only_in_b)):
        if names:
            yield f"evaluated only in {run}: {', '.join(names)}"
    for what, changes in (("settings", comparison.settings), ("evaluation settings", comparison.evaluation)):
        yield f"{what} that differ, A -> B:" if changes else f"no {what} differ"
        yield from (f"  {key}: {a!r} -> {b!r}" for key, (a, b) in changes.items())


def _facts(results: Results) -> dict[str, Any]:
    """Return the facts that two evaluations must share to be comparable."""
    facts: dict[str, Any] = {
        name: getattr(results, name) for name in ("feature", "metric", "flip", "rerank", "pretraining")
    }
    rules = {f"{result.domain}.exclude_same_camera": result.exclude_same_camera for result in results.domains}
    return facts | rules


def _differing_conditions(a: Results, b: Results) -> dict[str, tuple[Any, Any]]:
    """Return how domains were evaluated, where that differs between two runs in another way than for all of them."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in ("flip", "rerank"):
        values_a, values_b = (
            {result.domain: getattr(result.conditions or results, name) for result in results.domains}
            for results in (a, b)
        )
        for_all = (getattr(a, name), getattr(b, name))
        found |= {f"{k}.{name}": pair for k, pair in _differing(values_a, values_b).items() if pair != for_all}
    return found


def _protocols(results: Results) -> dict[str, str]:
    """Return each domain's protocol in words."""
    return {result.domain: result.protocol.words if result.protocol else "none" for result in results.domains}


def _marks(a: Results, b: Results) -> dict[str, tuple[tuple[str, ...] | None, tuple[str, ...] | None]]:
    """Return the remarks on the domains of both results, as (a, b), where either has some or was not checked."""
    of_b = {result.domain: result.marks for result in b.domains}
    both = {result.domain: (result.marks, of_b[result.domain]) for result in a.domains if result.domain in of_b}
    return {name: marks for name, marks in both.items() if marks != ((), ())}


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values of shared keys that differ, as (a, b)."""
    return {key: (value, b[key]) for key, value in a.items() if key in b and b[key] != value}


def _valid(queries: Sequence[QueryResult], domain: str) -> dict[str, QueryResult]:
    """Return the valid queries of a domain by image."""
    return {query.path: query for query in queries if query.domain == domain and query.valid}


def _compare_domain(domain: str, a: Mapping[str, QueryResult], b: Mapping[str, QueryResult]) -> DomainComparison:
    shared = sorted(a.keys() & b.keys())
    precision_a, precision_b = (np.array([run[path].average_precision for path in shared], float) for run in (a, b))
    hit_a, hit_b = (np.array([run[path].first_match_rank == 1 for path in shared], float) for run in (a, b))
    return DomainComparison(
        domain=domain,
        shared_queries=len(shared),
        only_in_a=len(a) - len(shared),
        only_in_b=len(b) - len(shared),
        mAP=paired_bootstrap(precision_a, precision_b) if shared else None,
        rank1=paired_bootstrap(hit_a, hit_b) if shared else None,
    )
