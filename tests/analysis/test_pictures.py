"""Ranked lists as HTML, from lists made by hand."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jointreid.analysis import pictures
from jointreid.analysis.pictures import DISTANCE, RERANKED, SIMILARITY, numbers_shown, render_domain
from jointreid.analysis.ranklists import DomainLists, QueryLists, RankedImage, RankedList
from jointreid.analysis.reported import ReportedRun, RunGroup, open_runs
from jointreid.config import Metric
from jointreid.data.decode import read_image
from jointreid.data.records import Domain, ImageRecord
from jointreid.retrieval.results import Conditions
from tests.analysis.report_pages import make_run


def evaluated(folder: Path, *, metric: Metric = "cosine", rerank: bool = False) -> ReportedRun:
    """A run whose results are without re-ranking, but for its data set `m` where `rerank` says so."""
    facts = {"conditions": Conditions("2026-01-31T12:00:00Z", "last", 40, False, rerank)}
    (run,) = open_runs(
        [
            RunGroup(
                "", [make_run(folder / f"{metric}-{rerank}", {"m": (0.5, 0.6)}, facts=facts, eval={"metric": metric})]
            )
        ]
    )
    return run


def lists_of(folder: Path, runs: list[ReportedRun], distance: float) -> DomainLists:
    """One query with the same single answer of every run."""
    path = folder / "image.png"
    Image.new("RGB", (16, 32)).save(path)
    record = ImageRecord(path, "1", 0)
    lists = tuple(RankedList(run, run.queries[0], (RankedImage(record, distance, True),)) for run in runs)
    return DomainLists(Domain("m", query=(record,), gallery=(record,)), (QueryLists("Hard", record, 1, lists),))


@pytest.mark.parametrize(
    ("metric", "rerank", "kind", "printed"),
    [
        ("cosine", False, SIMILARITY, "-0.250"),
        ("cosine", True, RERANKED, "0.25"),
        ("euclidean", False, DISTANCE, "0.25"),
    ],
)
def test_only_distances_that_are_cosines_are_shown_as_similarities(
    metric: Metric, rerank: bool, kind: str, printed: str, tmp_path: Path
) -> None:
    shown = lists_of(tmp_path, [evaluated(tmp_path, metric=metric, rerank=rerank)], 0.25)
    assert list(numbers_shown(shown)) == [kind]
    page = render_domain(shown)
    assert f"cam 0<br>{printed}</small>" in page
    assert ("%, re-ranked</span>" in page) == rerank


def test_every_kind_of_number_on_the_page_is_named(tmp_path: Path) -> None:
    shown = lists_of(tmp_path, [evaluated(tmp_path), evaluated(tmp_path, rerank=True)], 0.25)
    assert list(numbers_shown(shown)) == [SIMILARITY, RERANKED]


def test_an_image_in_the_lists_of_several_runs_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lists_of(tmp_path, [evaluated(tmp_path), evaluated(tmp_path, rerank=True)], 0.25)
    read: list[ImageRecord] = []

    def noting(record: ImageRecord) -> Any:
        read.append(record)
        return read_image(record)

    monkeypatch.setattr(pictures, "read_image", noting)
    assert render_domain(shown).count("data:image/jpeg") == 3  # the query and an answer of each run
    assert len(read) == 1
