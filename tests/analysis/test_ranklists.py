"""Ranked lists against an independent ranking, on noise and models with random weights."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jointreid.analysis.pictures import differences, render_domain, thumbnail
from jointreid.analysis.ranklists import (
    DISAGREE,
    EASY,
    HARD,
    DomainLists,
    choose_queries,
    nearest_images,
    rank_domains,
)
from jointreid.analysis.reported import ReportedRun, RunGroup, open_runs
from jointreid.config import Metric
from jointreid.data.records import ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.distances import Features
from tests.analysis.noise_runs import NASTY, distance, features_of, is_ignored, make_noise_runs

pytestmark = pytest.mark.slow

# The first of the nearest


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_nearest_images_are_those_of_a_full_sort_with_ties_by_index(metric: Metric, count: int) -> None:
    generator = np.random.default_rng(0)
    gallery = generator.integers(-2, 3, (30, 4)) + np.eye(4)[0] * 7  # small integers: many equal distances
    query = generator.integers(1, 4, (3, 4)).astype(float)
    ignored = np.array([0, 4, 29])
    features = Features(query, gallery, metric, 2**20)
    for index, own in enumerate(query):
        columns, distances = nearest_images(features.exact_distances(index), ignored, count)
        expected = sorted((distance(own, other, metric), i) for i, other in enumerate(gallery))
        expected = [(d, i) for d, i in expected if i not in ignored][:count]
        assert columns.tolist() == [i for _, i in expected]
        assert distances.tolist() == pytest.approx([d for d, _ in expected])


def test_near_ties_that_a_matrix_product_confuses_are_ranked_exactly() -> None:
    generator = np.random.default_rng(1)
    base = generator.normal(size=300)
    gallery = np.stack([base + step * 1e-13 * generator.normal(size=300) for step in range(40)])
    gallery[7] = gallery[3]
    features = Features(base[None], gallery, "euclidean", 2**20)
    columns, _ = nearest_images(features.exact_distances(0), np.empty(0, dtype=np.int64), 10)
    exact = [(((other - base) ** 2).sum(), i) for i, other in enumerate(gallery)]
    assert columns.tolist() == [i for _, i in sorted(exact)][:10]


def test_a_gallery_whose_images_are_all_ignored_gives_no_answer() -> None:
    columns, distances = nearest_images(np.zeros(2), np.array([0, 1]), 8)
    assert columns.size == distances.size == 0


# Which queries


@pytest.mark.parametrize(
    ("precision", "pids", "count", "expected"),
    [
        ([[0.5, 0.1, 0.9, 0.2], [0.5, 0.2, 1.0, 0.8]], "abcd", 3, [(DISAGREE, 3), (HARD, 1), (EASY, 2)]),
        ([[0.5, 0.1, 0.9, 0.2], [0.5, 0.2, 1.0, 0.8]], "abcd", 9, [(DISAGREE, 3), (HARD, 1), (EASY, 2)]),
        ([[0.5, 0.1, 0.9, 0.2]], "abcd", 3, [(HARD, 1), (EASY, 2), (HARD, 3)]),
        ([[0.5, 0.1, 0.2, 0.3]], "baab", 2, [(HARD, 1), (EASY, 0)]),
        ([[0.1, 0.2, 0.3]], "aab", 2, [(HARD, 0), (EASY, 2)]),
        ([[0.1, 0.2, 0.9, 0.3]], "aaab", 2, [(HARD, 0), (EASY, 3)]),  # not again of person a
        ([[1.0, 1.0], [1.0, 1.0]], "ab", 2, [(HARD, 0), (EASY, 1)]),  # nothing to disagree on
        ([[0.1, 0.2]], "ab", 0, []),
    ],
)
def test_queries_are_chosen_by_the_rule(
    precision: list[list[float]], pids: str, count: int, expected: list[tuple[str, int]]
) -> None:
    found = choose_queries(np.array(precision), list(pids), count)
    assert found[: len(expected)] == expected
    assert len(found) == min(count, len(pids))
    assert len({index for _, index in found}) == len(found)


# Real runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[ReportedRun]:
    """BoT and BoT-DCSD with random weights, evaluated on two domains of noise; names are no fit for HTML."""
    return open_runs([RunGroup("Noise", make_noise_runs(tmp_path_factory.mktemp("lists")))])


@pytest.fixture(scope="module")
def shown(runs: list[ReportedRun]) -> dict[str, DomainLists]:
    return {shown.domain.name: shown for shown in rank_domains(runs, 9, device="cpu")}


def test_lists_are_those_of_an_independent_ranking(runs: list[ReportedRun], shown: dict[str, DomainLists]) -> None:
    assert list(shown) == [NASTY, "one"]
    for domain in (shown.domain for shown in shown.values()):
        query, gallery = ([r for r in records if not r.junk] for records in (domain.query, domain.gallery))
        for place, run in enumerate(runs):
            features = dict(zip(query + gallery, features_of(run, query + gallery), strict=True))
            for asked in shown[domain.name].queries:
                distances = {
                    r: distance(features[asked.record], features[r], run.run.config.eval.metric)
                    for r in gallery
                    if not is_ignored(domain, asked.record, r)
                }
                ranked = asked.lists[place]
                assert ranked.run is run
                assert [answer.record for answer in ranked.images] == sorted(distances, key=distances.__getitem__)[:8]
                for answer in ranked.images:
                    same = answer.record.pid == asked.record.pid and not answer.record.distractor
                    assert answer.right == same
                    assert answer.distance == pytest.approx(distances[answer.record], rel=1e-4)


def test_only_queries_with_a_match_are_shown_with_what_evaluation_found(shown: dict[str, DomainLists]) -> None:
    queries = shown[NASTY].queries
    assert {query.record.pid for query in queries} == {"<i>1", "2&", '"3"', "4"}  # "5" is at its own camera only
    assert {query.num_matches for query in queries} == {2}
    assert [query.num_matches for query in sorted(shown["one"].queries, key=lambda q: q.record.pid)] == [2, 1]
    for domain in shown.values():
        assert not list(differences(domain))
        for query in domain.queries:
            for ranked in query.lists:
                assert ranked.result.pid == query.record.pid
                first = next((i for i, a in enumerate(ranked.images, start=1) if a.right), None)
                assert first in (ranked.result.first_match_rank, None)


def test_weights_other_than_those_evaluated_are_noticed(runs: list[ReportedRun]) -> None:
    def other(run: ReportedRun) -> ReportedRun:
        queries = [replace(q, first_match_rank=q.first_match_rank and q.first_match_rank % 3 + 1) for q in run.queries]
        return replace(run, queries=tuple(queries))

    found = [name for domain in rank_domains([runs[0], other(runs[1])], 9) for name in differences(domain)]
    assert set(found) == {"bot-dcsd · Noise"}


def test_progress_names_the_run_and_the_domain(runs: list[ReportedRun]) -> None:
    calls: list[tuple[str, int, int]] = []
    list(rank_domains(runs[:1], 1, on_batch=lambda *call: calls.append(call)))
    assert calls == [(f"bot · Noise, {NASTY}", 19, 19), ("bot · Noise, one", 7, 7)]


def test_data_that_changed_since_the_evaluation_are_refused(runs: list[ReportedRun]) -> None:
    fewer = replace(runs[0], queries=runs[0].queries[1:])
    with pytest.raises(JointreidError, match=r"4 queries of .*, and the data hold 5; run `jointreid evaluate .*bot`"):
        list(rank_domains([fewer], 1))
    first, second, *rest = runs[0].queries
    with pytest.raises(JointreidError, match="the data hold others"):
        list(rank_domains([replace(runs[0], queries=(second, first, *rest))], 1))
    renamed = tuple(replace(result, domain="gone") for result in runs[0].results.domains[:1])
    with pytest.raises(JointreidError, match="was evaluated on gone, which its data sets no longer hold"):
        list(rank_domains([replace(runs[0], results=replace(runs[0].results, domains=renamed))], 1))


def test_a_domain_without_a_shared_query_says_so(runs: list[ReportedRun]) -> None:
    invalid = replace(runs[1], queries=tuple(replace(query, valid=False) for query in runs[1].queries))
    (first, _) = rank_domains([runs[0], invalid], 3)
    assert first.queries == ()
    assert "No query has a match in the evaluation of every run" in render_domain(first)


# Pictures


def test_right_and_wrong_answers_differ_in_words_shape_and_mark(shown: dict[str, DomainLists]) -> None:
    page = render_domain(shown[NASTY])
    answers = [a for query in shown[NASTY].queries for ranked in query.lists for a in ranked.images]
    right = sum(answer.right for answer in answers)
    assert 0 < right < len(answers)
    for kind, count in (("right", right), ("wrong", len(answers) - right)):
        assert page.count(f'<li class="{kind}">') == page.count(f'href="#{kind}"') == count
        assert page.count(f", {kind}: ") == count
    assert page.count("<img ") == page.count("alt=") == len(answers) + len(shown[NASTY].queries)


def test_names_terms_and_rules_are_escaped(shown: dict[str, DomainLists]) -> None:
    page = render_domain(shown[NASTY])
    assert "<h3>a&lt;b&gt;&amp;&quot;c&quot;</h3>" in page
    assert "person &lt;i&gt;1, camera 0" in page
    assert "distractor" in page
    assert "<i>" not in page
    assert "of the same person from the same camera as the query are left out" in page.replace("&#x27;", "'")
    one = render_domain(shown["one"])
    assert "For &lt;research&gt; only" in one
    assert "Pictures from every camera count" in one
    assert "1 match in the gallery" in one


def test_a_thumbnail_is_a_small_jpeg_of_the_same_shape(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (400, 400), (10, 200, 30)).save(path)
    kind, _, content = thumbnail(ImageRecord(path, "1", 0, box=(0, 0, 100, 400))).partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert (image.format, image.size) == ("JPEG", (32, 128))
        assert image.getpixel((5, 5)) == pytest.approx((10, 200, 30), abs=6)
