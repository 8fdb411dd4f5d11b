"""Verdicts of a calibration with thresholds that are made by hand, and its file in a run directory."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.analysis.resampling import Estimate
from jointreid.gallery.answers import Person, SearchResult
from jointreid.messages.errors import JointreidError
from jointreid.verification import Calibration, Uncalibrated
from jointreid.verification.calibrated_thresholds import (
    DomainSearches,
    HalfCounts,
    PairKind,
    PairThreshold,
    VerdictShares,
)
from jointreid.verification.calibration import read_calibration
from jointreid.verification.searches import Method, SearchThreshold
from jointreid.verification.table import render

COUNTS = HalfCounts(20, 120, 6840, 300)


def around(value: float) -> Estimate:
    return Estimate(value, value - 0.05, value + 0.05)


def of_pairs(domain: str, kind: PairKind, same: float, different: float | None) -> PairThreshold:
    apart = None if different is None else around(different)
    two = VerdictShares(0.002, 0.95) if domain else None
    one = VerdictShares(0.8, 0.05) if domain else None
    return PairThreshold(domain, kind, around(same), apart, COUNTS, COUNTS, 0.011, 0.09 if domain else None, two, one)


def of_search(size: int, value: float, method: Method = "counted") -> SearchThreshold:
    return SearchThreshold(size, method, around(value), 0.1, method)


CALIBRATION = Calibration(
    checkpoint="last",
    step=270,
    flip=False,
    fingerprint="ab" * 32,
    fmr=0.01,
    fnmr=0.1,
    fpir=0.1,
    seed=0,
    pairs=(
        of_pairs("plaza", "any", 0.5, 0.6),
        of_pairs("plaza", "across cameras", 0.45, 0.4),
        of_pairs("shop", "any", 0.6, None),
        of_pairs("", "across domains", 0.3, None),
    ),
    searches=(
        DomainSearches("plaza", COUNTS, (of_search(10, 0.5), of_search(100, 0.7, "extrapolated"))),
        DomainSearches("shop", COUNTS, (), "no threshold for searches"),
    ),
)


@pytest.mark.parametrize(
    ("similarity", "verdict"), [(0.56, "same"), (0.54, "unsure"), (0.46, "unsure"), (0.44, "different")]
)
def test_the_interval_divides_same_from_different(similarity: float, verdict: str) -> None:
    decision = CALIBRATION.decide(similarity, ["plaza", "plaza"])
    assert decision.verdict == verdict
    assert decision.bounds.threshold == 0.5
    assert decision.bounds.interval == pytest.approx((0.45, 0.55))
    assert (decision.bounds.rate, decision.bounds.of, decision.bounds.used) == (0.01, "pair", ("plaza",))


def test_different_also_waits_until_few_pairs_of_one_person_are_below() -> None:
    bounds = CALIBRATION.pair_bounds(["plaza"], across_cameras=True)
    assert (bounds.same, bounds.different) == pytest.approx((0.5, 0.35))  # 0.4 to 0.5, and 0.35 to 0.45
    assert bounds.used == ("plaza across cameras",)


def test_the_stricter_threshold_of_two_data_sets_counts() -> None:
    bounds = CALIBRATION.pair_bounds(["plaza", "shop"])
    assert (bounds.same, bounds.threshold) == pytest.approx((0.65, 0.6))
    assert bounds.different == pytest.approx(0.45)  # what both call different
    assert bounds.used == ("plaza", "shop", "two data sets")


@pytest.mark.parametrize("domains", [[], [None, None], ["plaza", None], ["elsewhere"]])
def test_an_unknown_data_set_gets_the_strictest_threshold(domains: list[str | None]) -> None:
    bounds = CALIBRATION.pair_bounds(domains)
    assert bounds.same == pytest.approx(0.65)
    assert "so the strictest of all counts" in bounds.note


def test_data_sets_without_a_threshold_across_cameras_use_that_of_all_pairs() -> None:
    assert CALIBRATION.pair_bounds(["shop"], across_cameras=True) == CALIBRATION.pair_bounds(["shop"])


def test_a_search_uses_the_next_larger_number_of_people() -> None:
    assert CALIBRATION.search_bounds(7, ["plaza"]).gallery_people == 10
    bounds = CALIBRATION.search_bounds(11, ["plaza"])
    assert (bounds.gallery_people, bounds.threshold, bounds.rate, bounds.of) == (100, 0.7, 0.1, "search")
    assert "extrapolated from galleries of fewer people of plaza" in bounds.render()
    assert not CALIBRATION.search_bounds(7, ["plaza"]).note
    assert CALIBRATION.decide(0.7, ["plaza"]).verdict == "same"
    assert CALIBRATION.decide(0.7, ["plaza"], gallery_people=50).verdict == "unsure"
    assert CALIBRATION.decide(0.76, ["plaza"], gallery_people=50).verdict == "same"


@pytest.mark.parametrize(
    ("size", "domains", "reason"),
    [
        (101, ["plaza"], "the held-out people of plaza are enough for galleries of up to 100, not of 101"),
        (5, ["shop"], "the held-out people of shop are too few for thresholds of searches"),
        (5, [], "the held-out people of"),
    ],
)
def test_nobody_is_the_same_where_the_data_do_not_reach(size: int, domains: list[str], reason: str) -> None:
    bounds = CALIBRATION.search_bounds(size, domains)
    assert bounds.same is None
    assert bounds.verdict(1.0) == "unsure"
    assert bounds.verdict(0.3) == "different"
    assert reason in bounds.render()


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = CALIBRATION.save(tmp_path)
    assert path == tmp_path / "calibration.json"
    assert Calibration.load(tmp_path, fingerprint="ab" * 32) == CALIBRATION
    best = replace(CALIBRATION, checkpoint="best")
    assert best.save(tmp_path).name == "calibration.best.json"
    assert read_calibration(tmp_path, "best") == best


def test_thresholds_of_other_weights_are_refused(tmp_path: Path) -> None:
    CALIBRATION.save(tmp_path)
    with pytest.raises(Uncalibrated, match=r"of other weights, of step 270, .*jointreid calibrate"):
        Calibration.load(tmp_path, fingerprint="cd" * 32)


def test_without_a_calibration_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(Uncalibrated, match=rf"no calibrated threshold .* run `jointreid calibrate {tmp_path}`"):
        Calibration.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": []}, r"is damaged \(ValueError: no thresholds"),
        ({"pairs": [{"same": 1}]}, "is damaged"),
        ({"searches": [{"domain": "x"}]}, "is damaged"),
        ({"surprise": 1}, "is damaged"),
        ({"format_version": 99}, "format version is 99"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = CALIBRATION.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(JointreidError, match=message) as caught:
        read_calibration(tmp_path)
    assert not isinstance(caught.value, Uncalibrated)


@pytest.mark.parametrize("version", [1, 2])
def test_thresholds_for_galleries_counted_in_images_are_refused(tmp_path: Path, version: int) -> None:
    path = CALIBRATION.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
    with pytest.raises(
        Uncalibrated, match=rf"depend on its people; calibrate again: run `jointreid calibrate {tmp_path}"
    ):
        read_calibration(tmp_path)


def test_the_table_says_what_was_extrapolated() -> None:
    text = render(CALIBRATION)
    assert "| plaza across cameras |     20 |      6,840 |        300 |     0.450 | 0.400 to 0.500 |    0.011 |" in text
    assert (
        "| plaza                |              0.2 |    4.8 |        95 |               80 |     15 |         5 |"
        in text
    )
    assert "| plaza       |    100 |     0.700 | 0.650 to 0.750 |   0.100* |" in text
    assert "images of each person in these galleries, on average: 6.0 of plaza;" in text
    assert "*: extrapolated from galleries of fewer people, as 1 - (1 - rate)^(people / fewer people)" in text


def test_answers_of_a_search_are_judged() -> None:
    people = tuple(Person(name, None, "plaza", at, ()) for name, at in (("a", 0.8), ("b", 0.6), ("c", 0.2)))
    found = SearchResult(people, None, 150, 50, 150, True)
    assert [found.verdict(person) for person in people] == [None] * 3
    judged = found.judged(CALIBRATION.search_bounds(found.searched_people, ["plaza"]))
    assert [judged.verdict(person) for person in people] == ["same", "unsure", "different"]
    assert [person["verdict"] for person in judged.to_dict()["people"]] == ["same", "unsure", "different"]
    assert judged.close == people[:2]
    assert not judged.nobody
    assert "  1  0.800  same  a (plaza)" in judged.render()
    assert "false matches in 10 % of searches in a gallery of up to 100 people" in judged.render()
    nobody = replace(judged, people=people[2:])
    assert nobody.nobody
    assert "nobody: the nearest has similarity 0.200, different below 0.550" in nobody.render()
