"""The ranked list of every query of a domain for one run; what the evaluation ignores is in its place, as junk.

Junk of a query are the images that its evaluation does not count: junk of the data set, and images of the query's
identity from the query's camera where the domain excludes them. Answers are in the exact order of the evaluation.
Letters: Q queries, G gallery images and the junk behind them, D dimensions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

from jointreid.analysis.evaluation_rule import EvaluationRule
from jointreid.analysis.ranklists import config_as_evaluated, embed_images, require_results_of
from jointreid.analysis.reported import ReportedRun
from jointreid.config import EvalConfig, Metric
from jointreid.data.records import Domain, ImageRecord
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.distances import Doubles, Features, Floats, Indices, relative_margins
from jointreid.retrieval.domain_ranking import images_of, split_rows, without_junk
from jointreid.retrieval.evaluate import OnBatch
from jointreid.retrieval.rerank import reranked_blocks
from jointreid.retrieval.results import QueryResult

AnswerKind = Literal["right", "wrong", "junk"]


class ListedAnswer(NamedTuple):
    """One image of a ranked list.

    Attributes:
        record: the image.
        distance: to the query, by the run's metric.
        kind: right, wrong, or junk, which is not counted.
    """

    record: ImageRecord
    distance: float
    kind: AnswerKind


@dataclass(frozen=True)
class ListedQuery:
    """A query and its ranked list.

    Attributes:
        record: its image.
        result: its result in the run's evaluation.
        num_matches: images in the gallery that are right answers.
        answers: the first of the gallery, with the junk before the last of them.
    """

    record: ImageRecord
    result: QueryResult
    num_matches: int
    answers: tuple[ListedAnswer, ...]

    @property
    def counted(self) -> tuple[ListedAnswer, ...]:
        """The answers without junk."""
        return tuple(answer for answer in self.answers if answer.kind != "junk")

    @property
    def first_wrong(self) -> ListedAnswer | None:
        """The first answer, where the query has a match and that answer is wrong: the failure."""
        first = next(iter(self.counted), None)
        return first if self.result.valid and first is not None and first.kind == "wrong" else None

    @property
    def as_evaluated(self) -> bool:
        """True if the first match in the list has the rank that the evaluation found."""
        kinds = [answer.kind for answer in self.counted]
        evaluated = self.result.first_match_rank
        found = kinds.index("right") + 1 if "right" in kinds else None
        return found == (evaluated if evaluated is not None and evaluated <= len(kinds) else None)


def list_queries(
    run: ReportedRun,
    model: ReIDModel,
    domain: Domain,
    length: int,
    *,
    device: torch.device,
    on_batch: OnBatch | None = None,
) -> Iterator[ListedQuery]:
    """Yield every query of a domain with its ranked list, in the order of the evaluation.

    With re-ranking, junk of the data set is left out: re-ranked distances depend on all images that take part.

    Args:
        run: the run, evaluated on the domain.
        model: its model, on `device`.
        domain: the domain.
        length: answers of each list, junk not counted; of junk, at most as many.
        device: where to compute.
        on_batch: called with (run and domain, images done, images in all) after each batch.

    Raises:
        JointreidError: the data have changed since the evaluation, or cannot be read.
    """
    query, gallery = without_junk(domain, "query"), without_junk(domain, "gallery")
    results, how = require_results_of(run, domain.name, query), config_as_evaluated(run, domain).eval
    own, others = split_rows(domain, embed_images(run, model, device, domain, images_of(domain), on_batch).features)
    junk = () if how.rerank else tuple(record for record in domain.gallery if record.junk)
    if junk:
        others = np.concatenate([others, embed_images(run, model, device, domain, junk).features])
    gallery = (*gallery, *junk)
    rule = EvaluationRule(domain, gallery)
    rows = _reranked(own, others, how, domain) if how.rerank else _Nearest(own, others, how, rule, query, length).rows()
    for index, ((columns, distances), record, result) in enumerate(zip(rows, query, results, strict=True)):
        matches, ignored, itself = rule.split(record, index)
        order = np.lexsort((columns, distances))
        columns, distances = columns[order], distances[order]
        kinds = np.select([np.isin(columns, ignored), np.isin(columns, matches)], [_JUNK, _RIGHT], _WRONG)
        shown = _first(kinds, columns == (-1 if itself is None else itself), length)
        answers = (
            ListedAnswer(gallery[column], distance, _KINDS[kind])
            for column, distance, kind in zip(
                columns[shown].tolist(), distances[shown].tolist(), kinds[shown].tolist(), strict=True
            )
        )
        yield ListedQuery(record, result, matches.size, tuple(answers))


_WRONG, _RIGHT, _JUNK = range(3)
_KINDS: tuple[AnswerKind, ...] = ("wrong", "right", "junk")


def _first(kinds: Indices, left_out: Indices, length: int) -> Indices:
    """Return the positions of the first `length` counted answers, and of the first `length` junk before the last."""
    junk, left_out = kinds == _JUNK, np.asarray(left_out, dtype=bool)
    counted = np.flatnonzero(~junk & ~left_out)[:length]
    before = np.flatnonzero(junk & ~left_out)[:length]
    return np.union1d(counted, before[before < counted[-1]] if counted.size else before)


class _Nearest:
    """The images near each query with their exact distances: all that can be among the first in its list.

    A product in float32 finds them. It errs by less than a margin, so images within twice that of the last one are
    candidates too, and only of these the exact distances are computed.
    """

    def __init__(
        self,
        own: Floats,
        others: Floats,
        how: EvalConfig,
        rule: EvaluationRule,
        query: Sequence[ImageRecord],
        length: int,
    ) -> None:
        self._features = Features(own, others, how.metric, how.max_memory)
        self._metric: Metric = how.metric
        self._how, self._rule, self._query, self._length = how, rule, query, length

    def rows(self) -> Iterator[tuple[Indices, Doubles]]:
        """Yield gallery indices and distances for each query."""
        longest = float(self._features.lengths.max())
        _, bound = relative_margins(self._features.query.shape[1], np.dtype(np.float32))
        for start, block in self._features.blocks(np.arange(len(self._query))):
            for index, row in enumerate(block, start=start):
                _, junk, itself = self._rule.split(self._query[index], index)
                counted = np.delete(row, np.append(junk, itself) if itself is not None else junk)
                own = self._features.query[index : index + 1]
                reach = 1.0 if self._metric == "cosine" else (float(np.linalg.norm(own)) + longest) ** 2
                place = min(self._length, counted.size) - 1
                last = np.partition(counted, place)[place] if counted.size else np.inf
                columns = np.flatnonzero(row <= last + 4 * bound * reach)
                near = Features(own, self._features.gallery[columns], self._metric, self._how.max_memory)
                yield columns, near.exact_distances(0)


def _reranked(own: Floats, others: Floats, how: EvalConfig, domain: Domain) -> Iterator[tuple[Indices, Doubles]]:
    columns = np.arange(len(others))
    for block in reranked_blocks(
        own, others, how.metric, max_memory=how.max_memory, leave_one_out=domain.leave_one_out
    ):
        yield from ((columns, row.astype(np.float64)) for row in block)
