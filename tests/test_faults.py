"""Every fault of the table is refused before the first step with a message for people, or handled and reported.

Of those that are handled the suite trains on some; `tests/soak/faults.py` trains on all.
"""

from pathlib import Path

import pytest

from tests.fault_table import FAULTS
from tests.fault_table.judge import judge
from tests.fault_table.kit import Fault, Handled, Refused


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_is_refused_or_handled(fault: Fault, tmp_path: Path) -> None:
    verdict = judge(fault, tmp_path / "place")
    if verdict.outcome == "skipped":
        pytest.skip(verdict.detail)
    assert verdict.outcome != "lost", verdict.detail


def test_names_are_different() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def _nothing(place: object) -> None:
    """Leave the data sound."""


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Refused("damaged"), "exit code 0"),
        (Refused("damaged", by="train"), "exit code 0"),
        (Handled("a finding"), "nothing like 'a finding'"),
        (Handled(train=(8, 4, 5)), r"(8, 4, 4) images, identities and cameras, not (8, 4, 5)"),
    ],
)
def test_what_turns_out_otherwise_is_lost(outcome: Refused | Handled, reason: str, tmp_path: Path) -> None:
    verdict = judge(Fault("none", _nothing, outcome), tmp_path / "place")
    assert verdict.outcome == "lost"
    assert reason in verdict.detail
