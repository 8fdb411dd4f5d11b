"""Verdicts: by the threshold that was given, by the calibration of the run, or none."""

import pytest

from jointreid.analysis.resampling import Estimate
from jointreid.serve.judge import Judge
from jointreid.verification.calibration import Calibration, DomainSearches, HalfCounts, PairThreshold
from jointreid.verification.searches import SearchThreshold

HALF = HalfCounts(10, 40, 1000, 60)


def calibration() -> Calibration:
    """Of two data sets, in `strict` with higher thresholds."""
    pairs, searches = [], []
    for name, low in (("plaza", 0.4), ("strict", 0.6)):
        same = Estimate(low + 0.05, low, low + 0.1)
        pairs.append(PairThreshold(name, "any", same, None, HALF, HALF, 0.01, None))
        search = SearchThreshold(100, "counted", Estimate(low + 0.15, low + 0.1, low + 0.2), 0.01, "counted")
        searches.append(DomainSearches(name, (search,)))
    return Calibration("last", 1, False, "f", 0.01, 0.01, 0.01, 0, tuple(pairs), tuple(searches))


def test_a_threshold_that_was_given_knows_no_doubt() -> None:
    judgement = Judge(0.5, calibration()).judge("plaza", 100)
    assert [judgement.verdict(value) for value in (0.5, 0.49)] == ["same", "different"]
    assert "not calibrated" in judgement.note


def test_without_any_there_is_no_verdict() -> None:
    assert Judge().judge("plaza", 100).verdict(0.99) is None


def test_a_calibration_decides_by_what_the_network_sees_and_how_many_were_compared() -> None:
    judge = Judge(None, calibration())
    plaza = judge.judge("plaza", 90)
    assert (plaza.same, plaza.different) == pytest.approx((0.6, 0.5))
    assert [plaza.verdict(value) for value in (0.61, 0.55, 0.45)] == ["same", "unsure", "different"]
    assert "false matches in 0.01 of searches in a gallery of up to 100 images" in plaza.note
    unknown = judge.judge(None, 90)  # the strictest of all
    assert (unknown.same, unknown.different) == pytest.approx((0.8, 0.5))
    assert judge.judge("plaza", 5000).verdict(0.99) == "unsure"  # too large for the people that were held out
