"""Ranked lists: for a few queries of each domain, what every run finds first.

The lists are those that evaluation measures: by the same features and distances, equal ones by gallery index, without
junk, and without the query's own camera for its own identity where the domain says so.
Letters: R runs, V queries that all of them could answer, G gallery images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from jointreid.analysis.reported import ReportedRun, domain_names
from jointreid.config import EvalConfig
from jointreid.data.records import Domain, ImageRecord
from jointreid.machine.device import pick_device
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.distances import Doubles, Features, Floats, Indices
from jointreid.retrieval.evaluate import OnBatch, embed, evaluation_domains
from jointreid.retrieval.rerank import reranked_blocks
from jointreid.retrieval.results import QueryResult

LENGTH = 8
DISAGREE, HARD, EASY = "The models disagree", "Hard", "Easy"


class Answer(NamedTuple):
    """One gallery image in a ranked list.

    Attributes:
        record: the image.
        distance: to the query, as the run's metric has it.
        right: whether it shows the query's identity.
    """

    record: ImageRecord
    distance: float
    right: bool


@dataclass(frozen=True)
class RankedList:
    """What one run answers to one query.

    Attributes:
        run: the run.
        measured: what its evaluation found for the query.
        answers: the first of the gallery, at most `LENGTH`.
    """

    run: ReportedRun
    measured: QueryResult
    answers: tuple[Answer, ...]

    @property
    def as_measured(self) -> bool:
        """Whether the first right answer stands where the evaluation found it."""
        first = next((rank for rank, answer in enumerate(self.answers, start=1) if answer.right), None)
        measured = self.measured.first_match_rank
        return first == (measured if measured is not None and measured <= len(self.answers) else None)


@dataclass(frozen=True)
class ShownQuery:
    """A query and the answers of every run.

    Attributes:
        why: it was chosen.
        record: its image.
        num_matches: right answers in the gallery.
        lists: the answers, a list a run.
    """

    why: str
    record: ImageRecord
    num_matches: int
    lists: tuple[RankedList, ...]


@dataclass(frozen=True)
class ShownDomain:
    """A domain and the queries chosen of it; none where no query is valid in all runs."""

    domain: Domain
    queries: tuple[ShownQuery, ...]


def rank_domains(
    runs: Sequence[ReportedRun], count: int, *, device: str = "auto", on_batch: OnBatch | None = None
) -> Iterator[ShownDomain]:
    """Yield every domain that a run was evaluated on, with `count` queries and what the runs answer.

    Each run's features of each domain are computed once, and held for as long as its lists take.

    Args:
        runs: the runs.
        count: queries of a domain.
        device: where to compute: auto, cpu, cuda or mps.
        on_batch: called with (run and domain, images done, images in all) after each batch.

    Raises:
        JointreidError: the data cannot be read or are others than the runs were evaluated on, a run has no weights,
            or there is no such device.
    """
    where = pick_device(device)
    domains = _load_domains(runs)
    models = {run.key: run.run.model().to(where) for run in runs}
    for name, domain in domains.items():
        evaluated = [run for run in runs if name in run.domains]
        query, gallery = (tuple(r for r in split if not r.junk) for split in (domain.query, domain.gallery))
        measured = [_measured(run, name, query) for run in evaluated]
        chosen = _choose_shared(measured, count)
        indices = [index for _, index in chosen]
        relevance = {index: _split(query[index], gallery, domain.exclude_same_camera) for index in indices}
        lists = []
        for run, queries in zip(evaluated, measured, strict=True) if chosen else ():
            rows = _distances(run, models[run.key], where, name, query, gallery, indices, on_batch)
            answers = [_answers(row, gallery, *relevance[index]) for row, index in zip(rows, indices, strict=True)]
            lists.append([RankedList(run, queries[i], found) for i, found in zip(indices, answers, strict=True)])
        shown = [
            ShownQuery(why, query[index], relevance[index][0].size, of_runs)
            for (why, index), of_runs in zip(chosen, zip(*lists, strict=True), strict=True)
        ]
        yield ShownDomain(domain, tuple(shown))


def first_answers(distances: Doubles, ignored: Indices, count: int) -> tuple[Indices, Doubles]:
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
    """Return queries that show most, with the reason for each: in turn one the runs disagree on, a hard, an easy one.

    The runs disagree most where the greatest and the least average precision lie farthest apart; hard and easy go by
    the mean. An identity is taken a second time only when there is no other; what is equal goes by index.

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


def _load_domains(runs: Sequence[ReportedRun]) -> dict[str, Domain]:
    """Return every domain of the results, read from the sources of the first run that has it."""
    domains: dict[str, Domain] = {}
    for run in runs:
        if run.domains.keys() <= domains.keys():
            continue
        _, loaded = evaluation_domains(run.run.config)
        found = {domain.name: domain for domain in loaded}
        if missing := run.domains.keys() - found.keys() - domains.keys():
            raise JointreidError(
                f"{run.run.path} was evaluated on {', '.join(sorted(missing))}, which its data sets no longer hold; "
                f"run `jointreid evaluate {run.run.path}`"
            )
        domains = {name: found[name] for name in run.domains if name in found} | domains
    return {name: domains[name] for name in domain_names(runs)}


def _measured(run: ReportedRun, name: str, query: Sequence[ImageRecord]) -> list[QueryResult]:
    """Return what a run's evaluation found for the queries of a domain, in their order."""
    found = [measured for measured in run.queries if measured.domain == name]
    if [(measured.pid, measured.camid) for measured in found] != [(record.pid, record.camid) for record in query]:
        raise JointreidError(
            f"{run.run.path}: its results are of {len(found):,} queries of {name}, and the data hold "
            f"{'others' if len(found) == len(query) else f'{len(query):,}'}; run `jointreid evaluate {run.run.path}`"
        )
    return found


def _choose_shared(measured: Sequence[Sequence[QueryResult]], count: int) -> list[tuple[str, int]]:
    """Return what `choose_queries` does of the queries that are valid in every run, as positions among all."""
    columns = list(zip(*measured, strict=True))
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
    name: str,
    query: tuple[ImageRecord, ...],
    gallery: tuple[ImageRecord, ...],
    indices: Sequence[int],
    on_batch: OnBatch | None,
) -> Iterator[Doubles]:
    """Yield the distances [G] of some queries to the gallery, as the run's evaluation measured them."""
    config = run.run.config.replace(eval={"flip": run.results.flip, "rerank": run.results.rerank})
    # All queries, though few are looked at: these images in this order are what evaluation left decoded.
    embeddings = embed(model, query + gallery, config, device, f"{run.name}, {name}", on_batch)
    own, others = np.split(embeddings.features, [len(query)])
    if config.eval.rerank:
        yield from _reranked(own, others, config.eval, indices)
    else:
        yield from map(Features(own, others, config.eval.metric, config.eval.max_memory).exact_distances, indices)


def _reranked(own: Floats, others: Floats, how: EvalConfig, indices: Sequence[int]) -> Iterator[Doubles]:
    rows: dict[int, Doubles] = {}
    first = 0
    for block in reranked_blocks(own, others, how.metric, max_memory=how.max_memory):
        rows |= {i: block[i - first].astype(np.float64) for i in indices if first <= i < first + len(block)}
        first += len(block)
    yield from (rows[index] for index in indices)


def _split(query: ImageRecord, gallery: Sequence[ImageRecord], exclude_same_camera: bool) -> tuple[Indices, Indices]:
    """Return the gallery indices of a query's matches and of its ignored images."""
    same = np.array([r.pid == query.pid and not r.distractor and not query.distractor for r in gallery])
    own_camera = np.array([exclude_same_camera and r.camid == query.camid for r in gallery])
    return np.flatnonzero(same & ~own_camera), np.flatnonzero(same & own_camera)


def _answers(row: Doubles, gallery: Sequence[ImageRecord], matches: Indices, ignored: Indices) -> tuple[Answer, ...]:
    columns, distances = first_answers(row, ignored, LENGTH)
    found = zip(columns.tolist(), distances.tolist(), np.isin(columns, matches).tolist(), strict=True)
    return tuple(Answer(gallery[column], distance, right) for column, distance, right in found)
