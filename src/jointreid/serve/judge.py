"""The verdict on each answer of a search: same, different, unsure, or none where no threshold is known."""

from dataclasses import dataclass

from jointreid.serve.thresholds import CurrentCalibration
from jointreid.verification.verdicts import Verdict

UNCALIBRATED = "no threshold is known for this model, so the nearest are listed however far they are"
AS_GIVEN = "the threshold is as given, not calibrated: the share of false matches at it is unknown"


@dataclass(frozen=True)
class Judgement:
    """Similarities at which the verdict on an answer changes.

    Attributes:
        same: from here on it is the same person; None if nothing is called the same.
        different: below it is another person; None if nobody is called different.
        note: what the reader has to know.
    """

    same: float | None
    different: float | None
    note: str

    def verdict(self, similarity: float) -> Verdict | None:
        """Return same, different or unsure; None where nothing is known."""
        if self.same is None and self.different is None:
            return None
        if self.same is not None and similarity >= self.same:
            return "same"
        return "different" if self.different is not None and similarity < self.different else "unsure"


@dataclass(frozen=True)
class Judge:
    """Decides on answers: by a threshold that was given, else by the run's calibration for searches.

    Attributes:
        threshold: similarity from which on it is the same person; None for none.
        current: the calibration of the model; None for none.
    """

    threshold: float | None = None
    current: CurrentCalibration | None = None

    def judge(self, domain: str | None, people: int) -> Judgement:
        """Return the judgement on the answers of one search.

        Args:
            domain: that the model sees in the query.
            people: different people that were compared.
        """
        if self.threshold is not None:
            return Judgement(self.threshold, self.threshold, AS_GIVEN)
        calibration = None if self.current is None else self.current.get()
        if calibration is None:
            return Judgement(None, None, UNCALIBRATED)
        bounds = calibration.search_bounds(max(people, 1), [domain])
        return Judgement(bounds.same, bounds.different, bounds.render())
