import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jointreid.analysis.compare import compare, paired_bootstrap, render
from jointreid.config import RunConfig
from jointreid.data.joint import join
from jointreid.data.protocols import ProtocolMatch
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.result_files import load_results, save_results
from jointreid.retrieval.results import DomainResult, QueryResult, Results
from jointreid.run import write_config

# Paired bootstrap


def test_identical_runs_have_a_difference_and_an_interval_of_zero() -> None:
    measure = np.random.default_rng(0).random(37)
    found = paired_bootstrap(measure, measure.copy())
    assert (found.difference, found.low, found.high, found.opposite_share) == (0.0, 0.0, 0.0, 1.0)
    assert found.a == found.b == pytest.approx(measure.mean())


def test_a_constant_shift_is_found_among_noisy_queries() -> None:
    a = np.random.default_rng(0).random(37)
    found = paired_bootstrap(a, a + 0.125)
    assert [found.difference, found.low, found.high] == pytest.approx([0.125] * 3)
    assert found.opposite_share == 0.0
    back = paired_bootstrap(a + 0.125, a)
    assert [back.difference, back.low, back.high, back.opposite_share] == pytest.approx([-0.125, -0.125, -0.125, 0.0])


def test_two_queries_give_the_binomial_by_hand() -> None:
    # Differences 0 and 1: a resample's mean is 0, 1/2 or 1 with probability 1/4, 1/2 and 1/4, so it is not above 0
    # in a quarter of the resamples, and both percentiles stand at the ends.
    found = paired_bootstrap(np.zeros(2), np.array([0.0, 1.0]))
    assert (found.difference, found.low, found.high) == (0.5, 0.0, 1.0)
    assert found.opposite_share == pytest.approx(0.5, abs=0.03)


def test_interval_is_that_of_the_normal_approximation() -> None:
    generator = np.random.default_rng(1)
    a = generator.random(901)
    b = a + generator.normal(0.02, 0.2, 901)
    found = paired_bootstrap(a, b)
    error = 1.96 * (b - a).std() / 901**0.5
    assert found.low == pytest.approx((b - a).mean() - error, abs=0.03 * error)
    assert found.high == pytest.approx((b - a).mean() + error, abs=0.03 * error)


def test_interval_covers_the_truth_about_19_times_in_20() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        a = generator.random(60)
        b = a + generator.normal(0.1, 0.3, 60)
        found = paired_bootstrap(a, b, resamples=400)
        covered += found.low <= 0.1 <= found.high
    assert 0.90 < covered / 400 < 0.98  # 95% less what 60 queries and 400 resamples cost; +-2 standard errors are 2.2%


def test_resamples_follow_the_seed_and_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(3).random((2, 25))
    whole = paired_bootstrap(a, b, seed=4)
    assert paired_bootstrap(a, b, seed=4) == whole
    assert paired_bootstrap(a, b, seed=5) != whole
    monkeypatch.setattr("jointreid.analysis.compare.BLOCK", 60)
    pieces = paired_bootstrap(a, b, seed=4)
    assert [pieces.low, pieces.high] == pytest.approx([whole.low, whole.high], abs=0.01)


# Two run directories


def query(domain: str, path: str, precision: float | None, rank: int | None = None) -> QueryResult:
    return QueryResult(domain, path, "1", 0, precision is not None, precision, precision, rank)


def make_run(
    path: Path, queries: Sequence[QueryResult], *, evaluated: bool = True, flip: bool = False, **sections: Any
) -> Path:
    """Make a run directory with these queries; the figures in results.json are not looked at by a comparison."""
    domains = [
        DomainResult(name, 0.5, 0.5, {1: 0.5, 5: 0.5, 10: 0.5}, 9, 9, 9, True, True)
        for name in sorted({query.domain for query in queries})
    ]
    results = Results(path.name, "last", "0", tuple(domains), "bn_embedding", "cosine", flip, 256, 128, "none", 1.0, {})
    write_config(RunConfig().replace(**sections), path / "config.yaml")
    join([Domain("a", train=(ImageRecord(Path("1"), "1", 0),))]).label_space.save(path / "labels.json")
    if evaluated:
        save_results(results, queries, path)
    return path


def test_domains_are_compared_over_the_queries_valid_in_both_runs(tmp_path: Path) -> None:
    a = make_run(
        tmp_path / "a",
        [
            query("market", "1", 0.25, 3),
            query("market", "2", 1.0, 1),
            query("market", "3", 0.5, 2),
            query("market", "4", None),
            query("cuhk", "1", 0.75, 1),
            query("solo", "1", 0.5, 1),
        ],
    )
    b = make_run(
        tmp_path / "b",
        [
            query("market", "2", 0.5, 1),
            query("market", "1", 1.0, 1),
            query("market", "3", None),
            query("market", "4", 1.0, 1),
            query("market", "5", 1.0, 1),
            query("cuhk", "1", 0.75, 1),
            query("joint", "1", 0.5, 1),
        ],
    )
    found = compare(a, str(b))
    assert (found.only_in_a, found.only_in_b) == (("solo",), ("joint",))
    cuhk, market = found.domains
    assert (market.domain, market.shared_queries, market.only_in_a, market.only_in_b) == ("market", 2, 1, 2)
    assert market.mAP is not None
    assert market.rank1 is not None
    assert (market.mAP.a, market.mAP.b, market.mAP.difference) == (0.625, 0.75, 0.125)
    assert (market.mAP.low, market.mAP.high) == (-0.5, 0.75)
    assert (market.rank1.a, market.rank1.b, market.rank1.difference) == (0.5, 1.0, 0.5)
    assert cuhk.mAP is not None
    assert (cuhk.mAP.difference, cuhk.mAP.low, cuhk.mAP.high, cuhk.mAP.opposite_share) == (0.0, 0.0, 0.0, 1.0)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["domains"][1]["mAP"]["difference"] == 0.125
    text = render(found)
    row = next(line for line in text.splitlines() if line.startswith("| market") and "mAP" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:6] == ["market", "mAP", "62.5", "75.0", "+12.5", "-50.0 to +75.0"]
    assert cells[7] == "2"
    assert "market: left out queries that are valid 1 only in A and 2 only in B" in text
    assert "evaluated only in A: solo" in text
    assert "evaluated only in B: joint" in text


def test_differences_are_of_numbers_before_rounding_and_a_zero_has_no_sign(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", [query("market", "1", 0.50051, 1)])
    b = make_run(tmp_path / "b", [query("market", "1", 0.50049, 1)])
    text = render(compare(a, b))
    (row,) = [line for line in text.splitlines() if line.startswith("| market | mAP")]
    assert [cell.strip() for cell in row.split("|")][3:7] == ["50.1", "50.0", "0.0", "0.0 to 0.0"]
    assert "differences were computed before rounding, so they may be 0.1 away" in text


def test_settings_and_evaluations_that_differ_are_listed(tmp_path: Path) -> None:
    queries = [query("market", "1", 0.5, 2)]
    a = make_run(tmp_path / "a", queries, optim={"lr": 1e-3}, dcsd={"factors": ("sample",)})
    b = make_run(tmp_path / "b", queries, flip=True, optim={"lr": 2e-3})
    found = compare(a, b)
    assert found.settings == {
        "dcsd.factors": (["sample"], ["sample", "domain", "camera"]),
        "optim.lr": (0.001, 0.002),
    }
    assert found.evaluation == {"flip": (False, True)}
    text = render(found)
    assert text.splitlines()[:2] == [
        f"{letter} {run}, started from random weights" for letter, run in (("A", a), ("B", b))
    ]
    assert "  optim.lr: 0.001 -> 0.002" in text.splitlines()
    assert "  flip: False -> True" in text.splitlines()
    same = render(compare(a, a))
    assert "no settings differ" in same
    assert "no evaluation settings differ" in same


def test_runs_without_a_shared_query_say_so(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", [query("market", "x/1", 0.5, 1)])
    b = make_run(tmp_path / "b", [query("market", "y/1", 0.5, 1)])
    (domain,) = compare(a, b).domains
    assert (domain.shared_queries, domain.mAP, domain.rank1) == (0, None, None)
    assert "market: not compared, no query is valid in both" in render(compare(a, b))


def test_a_run_without_results_names_the_command(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", [query("market", "1", 0.5, 1)])
    b = make_run(tmp_path / "b", [], evaluated=False)
    with pytest.raises(JointreidError, match=f"{b} holds no results.json .*run `jointreid evaluate {b}`"):
        compare(a, b)
    with pytest.raises(JointreidError, match="does not exist"):
        compare(a, tmp_path / "c")


def test_another_camera_rule_is_a_difference(tmp_path: Path) -> None:
    queries = [query("market", "1", 0.5, 1)]
    a, b = make_run(tmp_path / "a", queries), make_run(tmp_path / "b", queries)
    plain = json.loads((b / "results.json").read_text())
    plain["domains"][0]["exclude_same_camera"] = False
    results = Results.from_dict(plain)
    save_results(replace(results, run="b"), queries, b)
    assert compare(a, b).evaluation == {"market.exclude_same_camera": (True, False)}


def test_another_protocol_is_printed_beside_the_domain(tmp_path: Path) -> None:
    queries = [query("market", "1", 0.5, 1), query("msmt17", "1", 0.5, 1), query("own", "1", 0.5, 1)]
    same = ProtocolMatch("m", True, "Market, the paper's")
    for run, words in (("a", "MSMT17, list_train"), ("b", "MSMT17, list_train + list_val")):
        path = make_run(tmp_path / run, queries)
        results, _ = load_results(path)
        market, msmt17, own = results.domains
        msmt17 = replace(msmt17, protocol=ProtocolMatch(run, False, words))
        save_results(replace(results, domains=(replace(market, protocol=same), msmt17, own)), queries, path)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert found.protocols == {"msmt17": ("MSMT17, list_train", "MSMT17, list_train + list_val")}
    lines = render(found).splitlines()
    start = lines.index("msmt17: the protocols differ, so the difference is not due to the runs alone:")
    assert lines[start + 1 : start + 3] == ["  A: MSMT17, list_train", "  B: MSMT17, list_train + list_val"]
    assert compare(tmp_path / "a", tmp_path / "a").protocols == {}
