"""The thresholds of a calibration: for pairs of one kind, and for searches in one data set."""

from dataclasses import dataclass
from typing import Any, Literal

from jointreid.analysis.resampling import Estimate
from jointreid.verification.searches import SearchThreshold

PairKind = Literal["any", "across cameras", "across domains"]


@dataclass(frozen=True)
class HalfCounts:
    """The size of a half: people, images, pairs of two people and pairs of one person."""

    identities: int
    images: int
    negatives: int
    positives: int


@dataclass(frozen=True)
class VerdictShares:
    """How often each verdict is given to the pairs of one kind; unsure is the rest."""

    same: float
    different: float

    @property
    def unsure(self) -> float:
        """The rest."""
        return max(0.0, 1.0 - self.same - self.different)


@dataclass(frozen=True)
class PairThreshold:
    """The thresholds for one kind of pairs.

    Attributes:
        domain: the data set; empty for pairs of two data sets.
        pairs: which pairs: any two images, images of two cameras, or of two data sets.
        same: the lowest threshold that keeps the false-match rate.
        different: the highest that keeps the false non-match rate; None with too few pairs of one person.
        calibrated: the half that the thresholds were chosen on.
        checked: the other half.
        realised: the false-match rate of the other half at `same`.
        realised_non_match: its false non-match rate there; None without pairs of one person.
        of_two_people: the verdicts on the other half's pairs of two people; None for pairs of two data sets.
        of_one_person: those on its pairs of one person; None without any.
    """

    domain: str
    pairs: PairKind
    same: Estimate
    different: Estimate | None
    calibrated: HalfCounts
    checked: HalfCounts
    realised: float
    realised_non_match: float | None
    of_two_people: VerdictShares | None
    of_one_person: VerdictShares | None

    @property
    def bounds(self) -> tuple[float, float]:
        """The similarity from which on a pair is called the same, and that below which it is called different."""
        upper, lower = bounds_between(self.same, self.different)
        # Nobody is in two data sets, so only the thresholds of each say what is different.
        return upper, 1.0 if self.pairs == "across domains" else lower

    @property
    def name(self) -> str:
        """What it is for, in words."""
        if self.pairs == "across domains":
            return "two data sets"
        return self.domain if self.pairs == "any" else f"{self.domain} across cameras"


@dataclass(frozen=True)
class DomainSearches:
    """The thresholds for searches in one data set.

    Attributes:
        domain: the data set.
        calibrated: the half that the thresholds were chosen on; the galleries held all of its images of each person.
        searches: by ascending size of the gallery; none where the people are too few.
        note: why there are none; else empty.
    """

    domain: str
    calibrated: HalfCounts
    searches: tuple[SearchThreshold, ...]
    note: str = ""


def bounds_between(same: Estimate, different: Estimate | None) -> tuple[float, float]:
    """Return the similarity from which on a pair is called the same, and that below which it is called different."""
    return same.high, same.low if different is None else min(same.low, different.low)


def pair_threshold_of(plain: dict[str, Any]) -> PairThreshold:
    """Return the thresholds of pairs from the plain values of `dataclasses.asdict`.

    Raises:
        KeyError, TypeError: they are something else.
    """
    halves = {name: HalfCounts(**plain[name]) for name in ("calibrated", "checked")}
    different = None if plain["different"] is None else Estimate(**plain["different"])
    names = ("of_two_people", "of_one_person")
    shares = {name: None if plain[name] is None else VerdictShares(**plain[name]) for name in names}
    same = Estimate(**plain["same"])
    return PairThreshold(**(plain | halves | shares | {"same": same, "different": different}))


def domain_searches_of(plain: dict[str, Any]) -> DomainSearches:
    """Return the thresholds of searches from the plain values of `dataclasses.asdict`.

    Raises:
        KeyError, TypeError: they are something else.
    """
    searches = tuple(
        SearchThreshold(**(entry | {"threshold": Estimate(**entry["threshold"])})) for entry in plain["searches"]
    )
    return DomainSearches(plain["domain"], HalfCounts(**plain["calibrated"]), searches, plain["note"])
