"""Every fault of the table is refused with a clear message before the first step, or handled and reported.

This trains on some of those that are handled; `tests/soak/faults.py` trains on all.
"""

from pathlib import Path

import pytest

from tests.fault_table import FAULTS
from tests.fault_table.judge import judge
from tests.fault_table.kit import Fault, Handled, Refused

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_is_refused_or_handled(fault: Fault, tmp_path: Path) -> None:
    verdict = judge(fault, tmp_path / "sandbox")
    if verdict.outcome == "skipped":
        pytest.skip(verdict.detail)
    assert verdict.outcome != "lost", verdict.detail


def test_names_are_unique() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def _no_damage(sandbox: object) -> None:
    """Change nothing."""


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Refused("damaged"), "exit code 0"),
        (Refused("damaged", by="train"), "exit code 0"),
        (Handled("a finding"), "nothing like 'a finding'"),
        (Handled(train=(8, 4, 5)), r"(8, 4, 4) images, identities and cameras, not (8, 4, 5)"),
    ],
)
def test_another_outcome_is_lost(outcome: Refused | Handled, reason: str, tmp_path: Path) -> None:
    verdict = judge(Fault("none", _no_damage, outcome), tmp_path / "sandbox")
    assert verdict.outcome == "lost"
    assert reason in verdict.detail
