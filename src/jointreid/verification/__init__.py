"""Whether two images show the same person: thresholds calibrated on held-out identities, and verdicts by them.

from jointreid.verification import Calibration

calibration = Calibration.load("runs/mine")
calibration.decide(0.61, domains=["plaza"]).verdict              # same, different or unsure
calibration.decide(0.61, domains=["plaza"], gallery_people=5000)   # as the answer of a search
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jointreid.verification.calibration import Calibration, Uncalibrated
    from jointreid.verification.verdicts import Bounds, Decision

__all__ = ["Bounds", "Calibration", "Decision", "Uncalibrated"]

_HOMES = {
    "Bounds": "verdicts",
    "Calibration": "calibration",
    "Decision": "verdicts",
    "Uncalibrated": "calibration",
}


def __getattr__(name: str) -> object:
    """Load a name of `__all__` on first use (PEP 562)."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'jointreid.verification' has no attribute {name!r}")
    value: object = getattr(import_module(f"jointreid.verification.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
