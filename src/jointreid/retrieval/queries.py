"""The result of each query of a domain, and the means over those of cameras that training did not see."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jointreid.data.label_space import DomainLabels
from jointreid.data.records import Domain, ImageRecord
from jointreid.retrieval.ranking import RankingMetrics
from jointreid.retrieval.results import QueryResult, UnseenCamera


def query_results(domain: Domain, query: Sequence[ImageRecord], ranking: RankingMetrics) -> list[QueryResult]:
    """Return one entry for each query image of a domain, in their order.

    Args:
        domain: where they come from.
        query: its query images, without junk.
        ranking: of these.
    """
    measures = zip(
        ranking.average_precision.tolist(),
        ranking.inverse_negative_penalty.tolist(),
        ranking.first_match_rank.tolist(),
        strict=True,
    )
    by_index = dict(zip(ranking.valid_queries.tolist(), measures, strict=True))
    return [
        QueryResult(
            domain.name,
            image_name(record, domain.source),
            record.pid,
            record.camid,
            index in by_index,
            *by_index.get(index, (None, None, None)),
        )
        for index, record in enumerate(query)
    ]


def unseen_cameras(queries: Sequence[QueryResult], trained: DomainLabels) -> tuple[UnseenCamera, ...]:
    """Return the accuracy on each camera of a domain that the model has no class for.

    Args:
        queries: of the domain.
        trained: the domain, as the model was trained on it.
    """
    unseen = {query.camid for query in queries if query.valid} - set(trained.cameras)
    return tuple(
        _unseen_camera(camid, [query for query in queries if query.valid and query.camid == camid])
        for camid in sorted(unseen)
    )


def _unseen_camera(camid: int, queries: Sequence[QueryResult]) -> UnseenCamera:
    """Return the means over the valid queries of a camera."""
    rank1 = [query.first_match_rank == 1 for query in queries]
    ap = [query.average_precision or 0.0 for query in queries]
    inp = [query.inverse_negative_penalty or 0.0 for query in queries]
    return UnseenCamera(camid, len(queries), *(float(np.mean(values)) for values in (rank1, ap, inp)))


def image_name(record: ImageRecord, source: str) -> str:
    """Return what an image is called wherever its data set lies: its path below the source, and its box."""
    folders = (Path(source), Path(source).parent)  # a folder that a reader knows, or the one that a manifest is in
    path = next((record.path.relative_to(f) for f in folders if record.path.is_relative_to(f)), record.path)
    return path.as_posix() if record.box is None else f"{path.as_posix()} {record.box}"
