import doctest
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jointreid.data.protocols import ProtocolMatch
from jointreid.messages.errors import JointreidError
from jointreid.retrieval import results as results_module
from jointreid.retrieval.result_files import load_results, save_results
from jointreid.retrieval.results import DomainResult, MergedResult, QueryResult, Results, UnseenCamera, render

PAPERS = ProtocolMatch("market1501", True, "Market-1501, as it was published")
DETECTED = ProtocolMatch("cuhk03-x", False, "CUHK03, other boxes (the paper: labeled)", ("train: 1 (the paper: 2)",))
MARKET = DomainResult(
    domain="market1501",
    mAP=0.5,
    mINP=0.25,
    cmc={1: 0.75, 5: 0.875, 10: 1.0},
    num_query=3368,
    num_valid_queries=3360,
    num_gallery=15913,
    exclude_same_camera=True,
    trained_on=True,
    domain_accuracy=0.9876,
    camera_accuracy=0.5,
    protocol=PAPERS,
)
SOLO = DomainResult("[own] cats", 0.25, 0.125, {1: 0.25, 5: 0.5, 10: 0.5}, 10, 10, 90, False, False)
RESULTS = Results(
    run="bot-dcsd",
    checkpoint="last",
    config="0123abcd",
    domains=(MARKET, SOLO),
    feature="bn_embedding",
    metric="cosine",
    flip=False,
    height=256,
    width=128,
    pretraining="none",
    seconds=1.5,
    versions={"jointreid": "0.1.0", "torch": "2.13.0"},
)
QUERIES = (
    QueryResult("market1501", "query/ä 1.jpg", "0007", 3, True, 0.5, 0.25, 1),
    QueryResult("market1501", "query/2.jpg", "7", 0, False),
)


def test_examples_hold() -> None:
    assert doctest.testmod(results_module) == (0, 1)


def test_mean_is_over_domains() -> None:
    assert RESULTS.mean == {"rank1": 0.5, "rank5": 0.6875, "rank10": 0.75, "mAP": 0.375, "mINP": 0.1875}


def test_cameras_that_were_left_out_of_training_come_back_and_are_named() -> None:
    camera = UnseenCamera(3, 1234, 0.5, 0.25, 0.125)
    results = replace(RESULTS, domains=(replace(MARKET, unseen_cameras=(camera,)), SOLO))
    plain = json.loads(json.dumps(results.to_dict()))
    assert Results.from_dict(plain) == results
    expected = "market1501: not trained with camera 3, whose 1,234 queries have Rank-1 50.0, mAP 25.0, mINP 12.5"
    assert expected in render(results).splitlines()
    for entry in plain["domains"]:
        del entry["unseen_cameras"]  # as earlier versions wrote it
    assert Results.from_dict(plain) == RESULTS


def test_results_come_back_from_json() -> None:
    plain = RESULTS.to_dict()
    assert plain["mean"] == RESULTS.mean
    assert plain["domains"][0]["skipped_queries"] == 8
    assert Results.from_dict(json.loads(json.dumps(plain))) == RESULTS
    other = replace(RESULTS, domains=(replace(MARKET, protocol=DETECTED), SOLO))
    assert Results.from_dict(json.loads(json.dumps(other.to_dict()))) == other
    with pytest.raises(JointreidError, match=r"not the results of an evaluation by this version: they have no 'mAP'"):
        Results.from_dict({**plain, "domains": [{"domain": "a"}]})
    with pytest.raises(JointreidError, match="not the results"):
        Results.from_dict({**plain, "domains": 3})
    with pytest.raises(JointreidError, match="not the results"):
        Results.from_dict({**plain, "domains": [{**plain["domains"][0], "protocol": "market1501"}]})


MERGED = MergedResult(("market1501", "[own] cats"), 16003, 0.375, 0.25, {1: 0.5, 5: 0.875, 10: 1.0}, 0.25)


def test_a_merged_gallery_is_a_table_of_its_own_and_comes_back_from_json() -> None:
    results = replace(RESULTS, domains=(replace(MARKET, merged=MERGED), SOLO))
    plain = json.loads(json.dumps(results.to_dict()))
    assert Results.from_dict(plain) == results
    text = render(results)
    assert "each query searched in the merged gallery of market1501, [own] cats, in percent" in text
    row = next(line for line in text.splitlines() if "15,913 -> 16,003" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:8] == ["market1501", "75.0", "50.0", "25.0", "50.0", "37.5", "12.5", "25.0"]
    assert "merged" not in render(RESULTS)
    later = replace(SOLO, merged=replace(MERGED, domains=("market1501", "[own] cats", "shop")))
    both = render(replace(results, domains=(replace(MARKET, merged=MERGED), later)))
    assert both.count("each query searched in the merged gallery of market1501, [own] cats, ") == 2


def test_results_of_earlier_versions_have_no_merged_gallery_and_these_read_what_is_new() -> None:
    plain = RESULTS.to_dict()
    for entry in plain["domains"]:
        del entry["merged"]
    assert Results.from_dict(plain) == RESULTS
    plain["domains"][0]["of_a_later_version"] = 1  # a reader takes the keys it knows
    assert Results.from_dict(plain) == RESULTS


def test_each_domain_carries_its_protocol_and_counts() -> None:
    market, own = RESULTS.to_dict()["domains"]
    assert market["protocol"] == {
        "name": "market1501", "comparable": True, "words": "Market-1501, as it was published", "differences": [],
    }  # fmt: skip
    assert (market["num_query"], market["num_gallery"]) == (3368, 15913)
    assert own["protocol"] is None


def test_re_ranked_figures_are_marked_and_told_apart() -> None:
    plain = {key: value for key, value in RESULTS.to_dict().items() if key != "rerank"}
    assert Results.from_dict(plain) == RESULTS
    again = replace(RESULTS, rerank=True)
    assert Results.from_dict(again.to_dict()) == again
    assert "re-ranked" not in render(RESULTS)
    assert "bot-dcsd, checkpoint last, re-ranked, in percent" in render(again)
    assert "re-ranked by k-reciprocal neighbours: not comparable with figures without, such as the paper's" in render(
        again
    )


def test_results_of_an_earlier_version_name_what_is_missing_and_the_command(tmp_path: Path) -> None:
    save_results(RESULTS, QUERIES, tmp_path)
    plain = json.loads((tmp_path / "results.json").read_text())
    for entry in plain["domains"]:
        del entry["protocol"]
    (tmp_path / "results.json").write_text(json.dumps(plain))
    with pytest.raises(JointreidError, match=r"by this version: they have no 'protocol'.*run `jointreid evaluate"):
        load_results(tmp_path)


def test_results_and_queries_come_back_from_the_run_directory(tmp_path: Path) -> None:
    save_results(RESULTS, QUERIES, tmp_path)
    assert load_results(tmp_path) == (RESULTS, QUERIES)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["queries.parquet", "results.json"]


def test_queries_come_back_if_none_was_valid_in_the_first_place(tmp_path: Path) -> None:
    save_results(RESULTS, QUERIES[1:], tmp_path)
    assert load_results(tmp_path)[1] == QUERIES[1:]


def test_best_has_a_file_of_its_own(tmp_path: Path) -> None:
    save_results(replace(RESULTS, checkpoint="best"), QUERIES, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["queries.best.parquet", "results.best.json"]
    with pytest.raises(JointreidError, match=r"holds no results\.json and no queries\.parquet"):
        load_results(tmp_path)


def other(name: str, **changes: Any) -> tuple[Results, tuple[QueryResult, ...]]:
    """Results on one more domain, with one query."""
    results = replace(RESULTS, domains=(replace(SOLO, domain=name),), **changes)
    return results, (replace(QUERIES[0], domain=name),)


def test_domains_that_are_evaluated_one_by_one_share_one_file(tmp_path: Path) -> None:
    save_results(RESULTS.dated(8), QUERIES, tmp_path)
    new, rows = other("shop", flip=True)
    save_results(new.dated(8, {"shop": "shop=/data/shop.csv"}), rows, tmp_path)
    found, queries = load_results(tmp_path)
    assert [result.domain for result in found.domains] == [*(d.domain for d in RESULTS.domains), "shop"]
    assert queries == (*QUERIES, *rows)
    assert found.flip is RESULTS.flip
    conditions = found.domains[-1].conditions
    assert conditions is not None
    assert (conditions.flip, conditions.checkpoint, conditions.step) == (True, "last", 8)
    assert conditions.source == "shop=/data/shop.csv"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", conditions.date)
    again = replace(new, domains=(replace(new.domains[0], mAP=0.75),)).dated(8)
    save_results(again, rows, tmp_path)
    assert load_results(tmp_path)[0].domains[-1].mAP == 0.75
    assert load_results(tmp_path)[1] == queries
    assert sorted(file.name for file in tmp_path.iterdir()) == ["queries.parquet", "results.json"]


def test_results_of_weights_of_another_step_are_dropped_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_results(other("shop")[0].dated(8), other("shop")[1], tmp_path)
    save_results(RESULTS.dated(9), QUERIES, tmp_path)
    assert load_results(tmp_path)[1] == QUERIES
    assert [result.domain for result in load_results(tmp_path)[0].domains] == [d.domain for d in RESULTS.domains]
    assert "dropped the earlier results on shop (step 8): the weights are those of another step now" in (
        capsys.readouterr().err
    )


def test_files_of_earlier_versions_are_part_of_the_results(tmp_path: Path) -> None:
    save_results(RESULTS, QUERIES, tmp_path)
    new, rows = other("shop")
    (apart := tmp_path / "apart").mkdir()
    save_results(new, rows, apart)
    (apart / "results.json").rename(tmp_path / "results-shop.json")
    (apart / "queries.parquet").rename(tmp_path / "queries-shop.parquet")
    found, queries = load_results(tmp_path)
    assert [result.domain for result in found.domains] == [*(d.domain for d in RESULTS.domains), "shop"]
    assert queries == (*QUERIES, *rows)
    save_results(RESULTS.dated(8), QUERIES, tmp_path)
    whole = json.loads((tmp_path / "results.json").read_text())
    assert [domain["domain"] for domain in whole["domains"]] == [result.domain for result in found.domains]


def test_missing_or_damaged_results_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=f"run `jointreid evaluate {tmp_path}`"):
        load_results(tmp_path)
    save_results(RESULTS, QUERIES, tmp_path)
    queries = (tmp_path / "queries.parquet").read_bytes()
    (tmp_path / "queries.parquet").write_bytes(queries[: len(queries) // 2])
    with pytest.raises(JointreidError, match=r"damaged .*; run `jointreid evaluate"):
        load_results(tmp_path)
    (tmp_path / "queries.parquet").write_bytes(queries)
    (tmp_path / "results.json").write_text('{"run": 1}')
    with pytest.raises(JointreidError, match=r"damaged .*; run `jointreid evaluate"):
        load_results(tmp_path)


def test_the_table_is_in_percent_with_the_skipped_queries_below() -> None:
    lines = render(RESULTS).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:6]]
    assert lines[0] == "bot-dcsd, checkpoint last, in percent"
    assert cells[0] == [
        "Domain", "Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "Queries valid/all", "Camera rule",
    ]  # fmt: skip
    assert cells[2] == [
        "market1501", "75.0", "87.5", "100.0", "50.0", "25.0", "3,360/3,368", "same camera ignored",
    ]  # fmt: skip
    assert cells[3] == ["[own] cats", "25.0", "50.0", "50.0", "25.0", "12.5", "10/10", "every match counts"]
    assert cells[4] == ["mean", "50.0", "68.8", "75.0", "37.5", "18.8", "", ""]
    assert "market1501: 8 queries have no match in the gallery and were skipped" in lines
    assert "market1501: the model's heads predict the domain of 98.8% and the camera of 50.0% of the images" in lines
    assert "not trained on: [own] cats" in lines
    assert lines[-1].startswith("trained from scratch")
    assert not any("\x1b" in line for line in lines)
    assert not any("paper" in line for line in lines)


def test_a_domain_in_another_protocol_than_the_papers_has_a_footnote() -> None:
    other = replace(MARKET, domain="cuhk03", protocol=DETECTED)
    lines = render(replace(RESULTS, domains=(MARKET, other, SOLO))).splitlines()
    assert [line.strip("|").split("|")[0].strip() for line in lines[3:6]] == ["market1501", "cuhk03 *", "[own] cats"]
    assert [line for line in lines if line.startswith("*")] == [
        "* cuhk03: CUHK03, other boxes (the paper: labeled); not comparable with the paper's figures"
    ]


def test_the_drop_in_a_merged_gallery_has_no_sign_before_zero() -> None:
    merged = MergedResult(("market1501", "[own] cats"), 16003, 0.50001, 0.25, {1: 0.65, 5: 0.875, 10: 1.0}, 0.125)
    lines = render(replace(RESULTS, domains=(replace(MARKET, merged=merged), SOLO))).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert ["market1501", "75.0", "65.0", "10.0", "50.0", "50.0", "0.0", "12.5", "15,913 -> 16,003"] in cells
