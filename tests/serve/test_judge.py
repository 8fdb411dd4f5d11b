"""Verdicts: by the threshold that was given, by the calibration of the run, or none."""

from collections.abc import Sequence
from typing import cast

import pytest

from jointreid.serve.judge import Judge
from jointreid.serve.thresholds import CurrentCalibration
from jointreid.verification.verdicts import Bounds


class OfPlaza:
    """A calibration of searches in galleries of up to 100 people."""

    def search_bounds(self, gallery_people: int, domains: Sequence[str | None]) -> Bounds:
        assert list(domains) == ["plaza"]
        if gallery_people > 100:
            return Bounds(None, 0.4, None, None, 0.01, "search", ("plaza",), note="too many")
        return Bounds(0.6, 0.4, 0.5, (0.4, 0.6), 0.01, "search", ("plaza",), 100)

    def get(self) -> "OfPlaza":
        return self


CALIBRATION = cast(CurrentCalibration, OfPlaza())


def test_a_threshold_that_was_given_knows_no_doubt() -> None:
    judgement = Judge(0.5, CALIBRATION).judge("plaza", 100)
    assert [judgement.verdict(value) for value in (0.5, 0.49)] == ["same", "different"]
    assert "not calibrated" in judgement.note


def test_without_any_there_is_no_verdict() -> None:
    assert Judge().judge("plaza", 100).verdict(0.99) is None


def test_a_calibration_decides_by_what_the_network_sees_and_how_many_people_were_compared() -> None:
    judge = Judge(None, CALIBRATION)
    few = judge.judge("plaza", 90)
    assert (few.same, few.different) == pytest.approx((0.6, 0.4))
    assert [few.verdict(value) for value in (0.61, 0.5, 0.39)] == ["same", "unsure", "different"]
    assert "same from 0.600, different below 0.400" in few.note
    assert judge.judge("plaza", 5000).verdict(0.99) == "unsure"
