"""Ranked lists: for a few queries of each domain, the first gallery images of every run.

The lists are those of the evaluation: by the same features and distances, equal distances by gallery index, without
junk, and without images of the query's identity from the query's camera where the domain excludes them.
Letters: R runs, V queries that all of them could answer, G gallery images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from jointreid.analysis.evaluation_rule import EvaluationRule
from jointreid.analysis.reported import ReportedRun, domain_names
from jointreid.config import EvalConfig, RunConfig
from jointreid.data.records import Domain, ImageRecord
from jointreid.machine.device import pick_device
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.distances import Doubles, Features, Floats, Indices
from jointreid.retrieval.domain_ranking import images_of, split_rows, without_junk
from jointreid.retrieval.embeddings import Embeddings
from jointreid.retrieval.evaluate import OnBatch, embed, origins_of
from jointreid.retrieval.rerank import reranked_blocks
from jointreid.retrieval.results import QueryResult
from jointreid.retrieval.run_data import load_evaluated_data

LENGTH = 8
DISAGREE, HARD, EASY = "The models disagree", "Hard", "Easy"


class RankedImage(NamedTuple):
    """One gallery image in a ranked list.

    Attributes:
        record: the image.
        distance: to the query, by the run's metric.
        right: whether it shows the query's identity.
    """

    record: ImageRecord
    distance: float
    right: bool


@dataclass(frozen=True)
class RankedList:
    """The ranked list of one run for one query.

    Attributes:
        run: the run.
        result: of the query in the run's evaluation.
        images: the first of the gallery, at most `LENGTH`.
    """

    run: ReportedRun
    result: QueryResult
    images: tuple[RankedImage, ...]

    @property
    def as_evaluated(self) -> bool:
        """True if the first match has the rank that the evaluation found."""
        first = next((rank for rank, image in enumerate(self.images, start=1) if image.right), None)
        evaluated = self.result.first_match_rank
        return first == (evaluated if evaluated is not None and evaluated <= len(self.images) else None)


@dataclass(frozen=True)
class QueryLists:
    """A query and the ranked list of every run.

    Attributes:
        why: the reason for choosing it.
        record: its image.
        num_matches: matches in the gallery.
        lists: one for each run.
    """

    why: str
    record: ImageRecord
    num_matches: int
    lists: tuple[RankedList, ...]


@dataclass(frozen=True)
class DomainLists:
    """A domain and its chosen queries; none where no query is valid in all runs."""

    domain: Domain
    queries: tuple[QueryLists, ...]


def rank_domains(
    runs: Sequence[ReportedRun],
    count: int,
    *,
    domains: Mapping[str, Domain] | None = None,
    device: str = "auto",
    on_batch: OnBatch | None = None,
) -> Iterator[DomainLists]:
    """Yield every domain that a run was evaluated on, with `count` queries and the ranked lists of the runs.

    Each run's features of each domain are computed once, and kept until its lists are made.

    Args:
        runs: the runs.
        count: queries of a domain.
        domains: name -> domain, as `load_reported_domains` returns them; by default they are loaded here.
        device: where to compute: auto, cpu, cuda or mps.
        on_batch: called with (run and domain, images done, images in all) after each batch.

    Raises:
        JointreidError: the data cannot be read or have changed since the evaluation, a run has no weights, or there is
            no such device.
    """
    where = pick_device(device)
    domains = load_reported_domains(runs)[0] if domains is None else domains
    models = {run.key: run.run.model().to(where) for run in runs}
    for name, domain in domains.items():
        evaluated = [run for run in runs if name in run.domains]
        query, gallery = without_junk(domain, "query"), without_junk(domain, "gallery")
        results = [require_results_of(run, name, query) for run in evaluated]
        chosen = _choose_shared(results, count)
        indices = [index for _, index in chosen]
        rule = EvaluationRule(domain, gallery)
        relevance = {index: _relevance(rule, query[index], index) for index in indices}
        lists = []
        for run, queries in zip(evaluated, results, strict=True) if chosen else ():
            rows = _distances(run, models[run.key], where, domain, indices, on_batch)
            images = [_ranked_images(row, gallery, *relevance[index]) for row, index in zip(rows, indices, strict=True)]
            lists.append([RankedList(run, queries[i], found) for i, found in zip(indices, images, strict=True)])
        shown = [
            QueryLists(why, query[index], relevance[index][0].size, of_runs)
            for (why, index), of_runs in zip(chosen, zip(*lists, strict=True), strict=True)
        ]
        yield DomainLists(domain, tuple(shown))


def nearest_images(distances: Doubles, ignored: Indices, count: int) -> tuple[Indices, Doubles]:
    """Return the gallery indices of the nearest images and their distances; equal ones by gallery index.

    Args:
        distances: [G] of a query.
        ignored: gallery indices that count nowhere.
        count: how many, if there are that many.
    """
    columns = np.delete(np.arange(distances.size), ignored)
    order = np.argsort(distances[columns], kind="stable")[:count]
    return columns[order], distances[columns[order]]


def choose_queries(precision: NDArray[np.float64], pids: Sequence[str], count: int) -> list[tuple[str, int]]:
    """Return instructive queries with the reason for each: in turn one on which the runs disagree, a hard, an easy one.

    The runs disagree most where the highest and the lowest average precision differ most; hard and easy go by the mean.
    An identity is chosen a second time only when there is no other; ties are broken by index.

    Args:
        precision: average precision, [R, V].
        pids: identities of the queries, [V].
        count: how many, if there are that many.
    """
    mean, apart = precision.mean(axis=0), np.ptp(precision, axis=0)
    scores = {DISAGREE: -apart, HARD: mean, EASY: -mean}
    left, chosen, seen = set(range(len(pids))), list[tuple[str, int]](), set[str]()
    while left and len(chosen) < count:
        for why, score in scores.items():
            pool = [index for index in left if why != DISAGREE or apart[index] > 0]
            if pool and len(chosen) < count:
                best = min(pool, key=lambda index: (pids[index] in seen, score[index], index))
                chosen.append((why, best))
                seen.add(pids[best])
                left.remove(best)
    return chosen


def load_reported_domains(
    runs: Sequence[ReportedRun], sources: Sequence[str] = (), *, skip_unreadable: bool = False
) -> tuple[dict[str, Domain], list[str]]:
    """Read and check every domain of the results, from where the first run that has it finds it.

    Args:
        runs: the runs; each is checked against its own train images.
        sources: where data lie that were moved, as `--data` names them.
        skip_unreadable: leave out unreadable images, even if the runs' settings do not.

    Returns:
        Name -> domain, and the remarks of the check that its results do not carry yet.

    Raises:
        JointreidError: the data cannot be read, the check found errors, or a domain of the results is no longer there.
    """
    domains: dict[str, Domain] = {}
    remarks: list[str] = []
    for run in runs:
        places = {name: result.conditions.source if result.conditions else "" for name, result in run.domains.items()}
        found = load_evaluated_data(run.run, places, sources, skip_unreadable=skip_unreadable)
        loaded = {domain.name: domain for domain in found.domains}
        if missing := run.domains.keys() - loaded.keys() - domains.keys():
            raise JointreidError(
                f"{run.run.path} was evaluated on {', '.join(sorted(missing))}, which its data sets no longer hold; "
                f"say where it is with --data NAME=PATH, or run `{command('evaluate', run.run.path)}`"
            )
        for name, result in run.domains.items():
            told = result.marks or ()
            remarks += [f"{run.name}, {name}: {mark}" for mark in found.marks.get(name, ()) if mark not in told]
        domains = {name: loaded[name] for name in run.domains if name in loaded} | domains
    return {name: domains[name] for name in domain_names(runs)}, remarks


def require_results_of(run: ReportedRun, name: str, query: Sequence[ImageRecord]) -> list[QueryResult]:
    """Return a run's results for the queries of a domain, in order.

    Raises:
        JointreidError: they are of other queries.
    """
    found = [result for result in run.queries if result.domain == name]
    if [(result.pid, result.camid) for result in found] != [(record.pid, record.camid) for record in query]:
        raise JointreidError(
            f"{run.run.path}: its results are of {len(found):,} queries of {name}, and the data hold "
            f"{'others' if len(found) == len(query) else f'{len(query):,}'}; run `{command('evaluate', run.run.path)}`"
        )
    return found


def config_as_evaluated(run: ReportedRun, domain: Domain) -> RunConfig:
    """Return the run's settings with mirrored images and re-ranking as in its evaluation of a domain."""
    how = run.domains[domain.name].conditions or run.results
    return run.run.config.replace(eval={"flip": how.flip, "rerank": how.rerank})


def embed_images(
    run: ReportedRun,
    model: ReIDModel,
    device: torch.device,
    domain: Domain,
    records: Sequence[ImageRecord],
    on_batch: OnBatch | None = None,
) -> Embeddings:
    """Compute the features of images of a domain as the run's evaluation did; see `embed`."""
    origins = origins_of(model, records, domain.name, run.run.label_space)
    what = f"{run.name}, {domain.name}"
    return embed(model, records, config_as_evaluated(run, domain), device, what, on_batch, origins)


def _choose_shared(results: Sequence[Sequence[QueryResult]], count: int) -> list[tuple[str, int]]:
    """Return what `choose_queries` does of the queries that are valid in every run, as positions among all."""
    columns = list(zip(*results, strict=True))
    shared = [index for index, column in enumerate(columns) if all(query.valid for query in column)]
    precision = np.array([[query.average_precision for query in columns[index]] for index in shared], dtype=float)
    pids = [columns[index][0].pid for index in shared]
    if not shared:
        return []
    return [(why, shared[place]) for why, place in choose_queries(precision.T, pids, count)]


def _distances(
    run: ReportedRun,
    model: ReIDModel,
    device: torch.device,
    domain: Domain,
    indices: Sequence[int],
    on_batch: OnBatch | None,
) -> Iterator[Doubles]:
    """Yield the distances [G] of some queries to the gallery, as in the run's evaluation."""
    config = config_as_evaluated(run, domain)
    # All queries, though few are shown: the evaluation cached the decoded images in this order.
    embeddings = embed_images(run, model, device, domain, images_of(domain), on_batch)
    own, others = split_rows(domain, embeddings.features)
    if config.eval.rerank:
        yield from _reranked(own, others, config.eval, domain.leave_one_out, indices)
    else:
        yield from map(Features(own, others, config.eval.metric, config.eval.max_memory).exact_distances, indices)


def _reranked(
    own: Floats, others: Floats, how: EvalConfig, leave_one_out: bool, indices: Sequence[int]
) -> Iterator[Doubles]:
    rows: dict[int, Doubles] = {}
    first = 0
    for block in reranked_blocks(own, others, how.metric, max_memory=how.max_memory, leave_one_out=leave_one_out):
        rows |= {i: block[i - first].astype(np.float64) for i in indices if first <= i < first + len(block)}
        first += len(block)
    yield from (rows[index] for index in indices)


def _relevance(rule: EvaluationRule, query: ImageRecord, index: int) -> tuple[Indices, Indices]:
    """Return the gallery indices of a query's matches and of its ignored images; `index` is the query's."""
    matches, junk, own = rule.split(query, index)
    return matches, junk if own is None else np.append(junk, own)


def _ranked_images(
    row: Doubles, gallery: Sequence[ImageRecord], matches: Indices, ignored: Indices
) -> tuple[RankedImage, ...]:
    columns, distances = nearest_images(row, ignored, LENGTH)
    found = zip(columns.tolist(), distances.tolist(), np.isin(columns, matches).tolist(), strict=True)
    return tuple(RankedImage(gallery[column], distance, right) for column, distance, right in found)
