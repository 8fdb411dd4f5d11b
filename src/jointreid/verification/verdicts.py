"""Verdicts: same, different or unsure, and the similarities between which they change."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["same", "different", "unsure"]


@dataclass(frozen=True)
class Bounds:
    """The similarities at which the verdict changes.

    Attributes:
        same: from here on it is the same person: the upper end of the interval of the strictest threshold. None where
            the calibration holds no threshold for the case; then nothing is called the same.
        different: below it is another person.
        threshold: the strictest threshold itself.
        interval: of it, 95 %.
        rate: the false-match rate of pairs, or the false-alarm rate of a search, that the threshold is for.
        of: pair or search.
        used: which thresholds were considered, in words.
        gallery_people: of a search, the number of people that the threshold was made for.
        note: what a reader has to know; may be empty.
    """

    same: float | None
    different: float
    threshold: float | None
    interval: tuple[float, float] | None
    rate: float
    of: Literal["pair", "search"]
    used: tuple[str, ...]
    gallery_people: int | None = None
    note: str = ""

    def verdict(self, similarity: float) -> Verdict:
        """Return the verdict on a similarity."""
        if self.same is not None and similarity >= self.same:
            return "same"
        return "different" if similarity < self.different else "unsure"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self)

    def render(self) -> str:
        """Return it as a sentence or two."""
        share = f"{in_percent(self.rate)} of {'pairs of two people' if self.of == 'pair' else 'searches'}"
        of = f"thresholds of {', '.join(self.used)}"
        if self.same is None or self.threshold is None or self.interval is None:
            return f"different below {self.different:.3f}, otherwise unsure ({of}); {self.note}"
        size = f" in a gallery of up to {self.gallery_people:,} people" if self.gallery_people else ""
        text = (
            f"same from {self.same:.3f}, different below {self.different:.3f}, unsure between; threshold "
            f"{self.threshold:.3f} ({self.interval[0]:.3f} to {self.interval[1]:.3f}) for false matches in {share}"
            f"{size} ({of})"
        )
        return f"{text}; {self.note}" if self.note else text


@dataclass(frozen=True)
class Decision:
    """A similarity with the verdict on it, and the bounds that it follows from."""

    similarity: float
    verdict: Verdict
    bounds: Bounds

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {"similarity": self.similarity, "verdict": self.verdict, **self.bounds.to_dict()}


def in_percent(share: float) -> str:
    """Return a share in words, such as 10 % for 0.1."""
    return f"{100 * share:.4g} %"


# Nothing is called the same.
NOTHING = Bounds(None, -1.0, None, None, 0.0, "pair", ())


def strictest(found: Iterable[Bounds], note: str = "") -> Bounds:
    """Return bounds that hold for all of several cases: the highest for the same, the lowest for different."""
    cases = list(found)
    known = [case for case in cases if case.same is not None]
    used = tuple(dict.fromkeys(name for case in cases for name in case.used))
    sizes = [case.gallery_people for case in cases if case.gallery_people is not None]
    notes = "; ".join(dict.fromkeys(text for text in (*(case.note for case in cases), note) if text))
    top = max(known, key=lambda case: case.same or 0.0) if len(known) == len(cases) else NOTHING
    return Bounds(
        same=top.same,
        different=min(case.different for case in cases),
        threshold=top.threshold,
        interval=top.interval,
        rate=cases[0].rate,
        of=cases[0].of,
        used=used,
        gallery_people=min(sizes, default=None),
        note=notes,
    )
