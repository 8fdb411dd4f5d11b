"""The calibration of a run that is being served, when its file is written, replaced, damaged or deleted."""

from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.messages.errors import JointreidError
from jointreid.serve.judge import Judge
from jointreid.serve.thresholds import CurrentCalibration
from jointreid.verification.calibration import path_of
from tests.verification.test_calibration import CALIBRATION


def test_the_file_is_read_again_only_when_it_has_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    CALIBRATION.save(tmp_path)
    current = CurrentCalibration(tmp_path, "last", CALIBRATION.fingerprint)
    found = current.get()
    assert found == CALIBRATION
    assert current.get() is found
    replace(CALIBRATION, seed=7).save(tmp_path)
    assert current.get() == replace(CALIBRATION, seed=7)
    replace(CALIBRATION, fingerprint="cd" * 32).save(tmp_path)
    for _ in range(2):  # the log says it once
        assert current.get() is None
    assert "answers have no verdict" in caplog.text
    assert len(caplog.records) == 1


def test_thresholds_that_come_later_are_used_and_damaged_ones_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    judge = Judge(None, CurrentCalibration(tmp_path, "last", CALIBRATION.fingerprint))
    assert judge.judge("plaza", 10).verdict(0.99) is None
    CALIBRATION.save(tmp_path)
    assert judge.judge("plaza", 10).verdict(0.99) == "same"
    path_of(tmp_path, "last").write_text("{")
    assert judge.judge("plaza", 10).verdict(0.99) is None
    assert "calibration.json" in caplog.text
    with pytest.raises(JointreidError, match=r"calibration\.json"):
        CurrentCalibration(tmp_path, "last", CALIBRATION.fingerprint)
    path_of(tmp_path, "last").unlink()
    assert judge.judge("plaza", 10).verdict(0.99) is None
    CALIBRATION.save(tmp_path)
    assert judge.judge("plaza", 10).verdict(0.99) == "same"
