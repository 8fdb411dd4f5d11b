"""Galleries of several domains searched at once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from jointreid.config import EvalConfig, Metric
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.domain_ranking import images_of, rank_domain, rank_merged
from jointreid.retrieval.embeddings import Embeddings

CPU = torch.device("cpu")
EUCLIDEAN = EvalConfig(metric="euclidean")


def images(pids: str, camids: Sequence[int], kind: Literal["", "junk", "distractor"] = "") -> tuple[ImageRecord, ...]:
    """Images of the people named by letters."""
    junk, distractor = kind == "junk", kind == "distractor"
    return tuple(
        ImageRecord(Path(f"{pid}{i}"), pid, camid, junk=junk, distractor=distractor)
        for i, (pid, camid) in enumerate(zip(pids, camids, strict=True))
    )


def embeddings(domain: Domain, features: Sequence[Sequence[float]]) -> Embeddings:
    return Embeddings.of(images_of(domain), np.array(features, np.float32), None, None)


def test_an_image_of_another_domain_before_the_match_costs_what_it_costs_by_hand() -> None:
    # On a line, the query of a stands at 0 and its match at 2; b's people of the same names stand at 1 and 5.
    a = Domain("a", query=images("p", [0]), gallery=images("pq", [1, 1]))
    b = Domain("b", query=images("p", [0]), gallery=images("pq", [1, 1]))
    found = [embeddings(a, [[0], [2], [7]]), embeddings(b, [[1.2], [1], [5]])]
    assert [rank_domain(d, e, EUCLIDEAN, CPU).mAP for d, e in zip((a, b), found, strict=True)] == [1.0, 1.0]
    of_a, of_b = rank_merged((a, b), found, EUCLIDEAN, CPU)
    assert (of_a.mAP, of_a.first_match_rank.tolist()) == (0.5, [2])
    assert (of_b.mAP, of_b.first_match_rank.tolist()) == (1.0, [1])


def three_domains() -> tuple[list[Domain], list[Embeddings]]:
    """Domains with every rule: cameras ignored or not, junk, distractors, leave-one-out with and without cameras."""
    generator = np.random.default_rng(3)

    def some(count: int) -> tuple[str, list[int]]:
        return "".join(generator.choice(list("pqrs"), count)), generator.integers(0, 3, count).tolist()

    first = Domain("a", query=images(*some(9)), gallery=images(*some(20)) + images("pq", [0, 1], "distractor"))
    second = Domain("b", query=images(*some(6)) + images("p", [0], "junk"), gallery=images(*some(15)))
    second = replace(second, exclude_same_camera=False)
    third, fourth = images(*some(14)), images(*some(12))
    domains = [
        first,
        second,
        Domain("c", query=third, gallery=third, exclude_same_camera=False, leave_one_out=True),
        Domain("d", query=fourth, gallery=fourth, leave_one_out=True),
    ]
    return domains, [embeddings(d, generator.normal(size=(len(images_of(d)), 3)).tolist()) for d in domains]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_merged_metrics_are_those_of_a_slow_search(metric: Metric) -> None:
    domains, found = three_domains()
    merged = rank_merged(domains, found, EvalConfig(metric=metric), CPU)
    checked = 0
    for domain, of_domain, metrics in zip(domains, found, merged, strict=True):
        separate = rank_domain(domain, of_domain, EvalConfig(metric=metric), CPU)
        assert metrics.valid_queries.tolist() == separate.valid_queries.tolist()
        expected = [slow_precision(domains, found, domain, q, metric) for q in separate.valid_queries]
        assert metrics.average_precision == pytest.approx(expected)
        assert (metrics.first_match_rank >= separate.first_match_rank).all()
        checked += len(expected)
    assert checked > 20


def slow_precision(
    domains: Sequence[Domain], found: Sequence[Embeddings], domain: Domain, index: int, metric: Metric
) -> float:
    """The average precision of one query, by sorting everything it may find."""
    queries = [record for record in domain.query if not record.junk]
    query = queries[index]
    (own,) = (e.features.astype(float) for d, e in zip(domains, found, strict=True) if d is domain)
    asked, ranked = own[index], []
    for other, of_other in zip(domains, found, strict=True):
        gallery = [record for record in other.gallery if not record.junk]
        for place, record in enumerate(gallery):
            feature = of_other.features.astype(float)[place if other.leave_one_out else place + _num_query(other)]
            is_own = other is domain
            match = is_own and record.pid == query.pid and not record.distractor
            if match and domain.exclude_same_camera and record.camid == query.camid:
                continue
            if is_own and domain.leave_one_out and place == index:
                continue
            cosine = -asked @ feature / np.linalg.norm(asked) / np.linalg.norm(feature)
            ranked.append((cosine if metric == "cosine" else ((asked - feature) ** 2).sum(), match))
    places = [rank for rank, (_, match) in enumerate(sorted(ranked), 1) if match]
    return sum((k + 1) / rank for k, rank in enumerate(places)) / len(places)


def _num_query(domain: Domain) -> int:
    return sum(not record.junk for record in domain.query)


def test_galleries_far_away_change_nothing() -> None:
    domains, found = three_domains()
    apart = [replace(e, features=e.features + 1000 * np.eye(4, 3, dtype=np.float32)[i]) for i, e in enumerate(found)]
    merged = rank_merged(domains, apart, EUCLIDEAN, CPU)
    separate = [rank_domain(d, e, EUCLIDEAN, CPU) for d, e in zip(domains, apart, strict=True)]
    assert [m.mAP for m in merged] == [s.mAP for s in separate]


def test_re_ranking_a_merged_gallery_needs_queries_of_its_own() -> None:
    domains, found = three_domains()
    how = EvalConfig(rerank=True)
    with pytest.raises(JointreidError, match=r"c: a merged gallery cannot be re-ranked .*leave-one-out"):
        rank_merged(domains, found, how, CPU)
    assert len(rank_merged(domains[:2], found[:2], how, CPU)) == 2
