"""`Calibration`: the thresholds of a run, kept in its directory, and the verdicts that follow from them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jointreid.machine.files import write_atomically
from jointreid.machine.paths import user_path
from jointreid.machine.reading import read_json, require_inside
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.verification.calibrated_thresholds import (
    DomainSearches,
    PairThreshold,
    domain_searches_of,
    pair_threshold_of,
)
from jointreid.verification.verdicts import Bounds, Decision, strictest

FILE = "calibration{}.json"
# Up to version 2, the sizes of galleries were in images.
VERSION = 3


class Uncalibrated(JointreidError):
    """A run has no thresholds, or they are of other weights; the message says how to get them."""


@dataclass(frozen=True)
class Calibration:
    """The thresholds of a run, and what they were made from.

        calibration = Calibration.load("runs/mine")
        decision = calibration.decide(0.61, domains=["plaza"])
        decision.verdict        # same, different or unsure

    Attributes:
        checkpoint: last or best.
        step: of the weights, if known.
        flip: whether features are averaged with those of the mirrored images.
        fingerprint: of the model, see `jointreid.extraction.fingerprint`.
        fmr: the false-match rate of pairs.
        fnmr: the false non-match rate below which somebody is called different.
        fpir: the false-alarm rate per query.
        seed: of the split into halves, of the choice of images, and of the resamples.
        pairs: the thresholds of pairs.
        searches: those of searches.
        notes: what could not be calibrated, and why.
    """

    checkpoint: str
    step: int | None
    flip: bool
    fingerprint: str
    fmr: float
    fnmr: float
    fpir: float
    seed: int
    pairs: tuple[PairThreshold, ...]
    searches: tuple[DomainSearches, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, run: str | Path, checkpoint: str = "last", fingerprint: str = "") -> "Calibration":
        """Return the calibration of a run, of the weights that it has now.

        Args:
            run: the run directory.
            checkpoint: last or best.
            fingerprint: of the model in use; empty to load the run's model and ask it.

        Raises:
            Uncalibrated: there is none, or it is of other weights.
            JointreidError: it is damaged.
        """
        found = read_calibration(run, checkpoint)
        if not fingerprint:
            from jointreid.extraction.embedder import Embedder

            fingerprint = Embedder.load(run, checkpoint, "cpu", flip=found.flip).fingerprint
        found.require_current(fingerprint, run)
        return found

    def save(self, run: Path) -> Path:
        """Write it into a run directory, whole or not at all, and return the file."""
        path = path_of(run, self.checkpoint)
        write_atomically(path, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")
        return path

    def require_current(self, fingerprint: str, run: str | Path) -> None:
        """Refuse to be used for another model.

        Raises:
            Uncalibrated: the fingerprints differ.
        """
        if fingerprint != self.fingerprint:
            at = f", of step {self.step:,}," if self.step is not None else ""
            flip = f" {'with' if self.flip else 'without'} mirrored images"
            raise Uncalibrated(
                f"{path_of(user_path(run), self.checkpoint)}: the thresholds are of other weights{at} or features"
                f"{flip} (fingerprint {self.fingerprint[:12]}, the model has {fingerprint[:12]}); "
                f"{_remedy(run, self.checkpoint)}"
            )

    @property
    def domains(self) -> tuple[str, ...]:
        """The data sets that have thresholds."""
        return tuple(entry.domain for entry in self.searches)

    def decide(
        self,
        similarity: float,
        domains: Sequence[str | None] = (),
        gallery_people: int | None = None,
        *,
        across_cameras: bool = False,
    ) -> Decision:
        """Return the verdict on a similarity.

        Args:
            similarity: cosine of two features, -1 to 1.
            domains: the data sets that the two images, or the query, belong to, as known or predicted. None, none, or
                one without thresholds: unknown. Of several thresholds the strictest counts.
            gallery_people: of a search, how many different people were compared; None for a pair.
            across_cameras: the two images are known to be of two cameras.
        """
        if gallery_people is not None:
            bounds = self.search_bounds(gallery_people, domains)
        else:
            bounds = self.pair_bounds(domains, across_cameras=across_cameras)
        return Decision(similarity, bounds.verdict(similarity), bounds)

    def pair_bounds(self, domains: Sequence[str | None] = (), *, across_cameras: bool = False) -> Bounds:
        """Return the bounds for two images, see `decide`."""
        names, note = self._known(domains)
        wanted = [self._pair(name, across_cameras) for name in names]
        if len(names) > 1:
            wanted += [entry for entry in self.pairs if entry.pairs == "across domains"]
        return strictest([self._bounds(entry) for entry in wanted], note)

    def search_bounds(self, gallery_people: int, domains: Sequence[str | None] = ()) -> Bounds:
        """Return the bounds for the answers of a search among so many different people, see `decide`."""
        names, note = self._known(domains)
        return strictest([self._of_search(name, gallery_people) for name in names], note)

    def _known(self, domains: Sequence[str | None]) -> tuple[list[str], str]:
        """Return the data sets whose thresholds count, and a note where these are all."""
        named = list(dict.fromkeys(domains))
        known = [name for name in named if name is not None and name in self.domains]
        if named and len(known) == len(named):
            return known, ""
        strange = [name for name in named if name is not None and name not in self.domains]
        why = f"{', '.join(strange)} has no thresholds" if strange else "the data set is unknown"
        return list(self.domains), f"{why}, so the strictest of all counts" if len(self.domains) > 1 else ""

    def _pair(self, domain: str, across_cameras: bool) -> PairThreshold:
        own = {entry.pairs: entry for entry in self.pairs if entry.domain == domain}
        return own.get("across cameras", own["any"]) if across_cameras else own["any"]

    def _bounds(self, entry: PairThreshold) -> Bounds:
        same, different = entry.bounds
        interval = (entry.same.low, entry.same.high)
        return Bounds(same, different, entry.same.value, interval, self.fmr, "pair", (entry.name,))

    def _of_search(self, domain: str, gallery_people: int) -> Bounds:
        entry = next(entry for entry in self.searches if entry.domain == domain)
        pair = self._pair(domain, False)

        def below(low: float) -> float:
            return low if pair.different is None else min(low, pair.different.low)

        for search in entry.searches:
            if search.gallery_people >= gallery_people:
                found, size = search.threshold, search.gallery_people
                interval = (found.low, found.high)
                note = "" if search.method == "counted" else f"extrapolated from galleries of fewer people of {domain}"
                return Bounds(
                    found.high, below(found.low), found.value, interval, self.fpir, "search", (domain,), size, note
                )
        # The threshold of a smaller gallery is lower: what it calls different, that of a larger one would too.
        if entry.searches:
            low, most = entry.searches[-1].threshold.low, entry.searches[-1].gallery_people
            enough = f"are enough for galleries of up to {most:,}, not of {gallery_people:,}"
        else:
            low, enough = pair.same.low, "are too few for thresholds of searches"
        note = f"the held-out people of {domain} {enough}"
        return Bounds(None, below(low), None, None, self.fpir, "search", (domain,), gallery_people, note)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {"format_version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Calibration":
        """Return what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is something else.
        """
        values = {name: value for name, value in plain.items() if name != "format_version"}
        pairs = tuple(map(pair_threshold_of, values.pop("pairs")))
        searches = tuple(map(domain_searches_of, values.pop("searches")))
        if not pairs or not searches:
            raise ValueError("no thresholds are in it")
        return cls(**(values | {"pairs": pairs, "searches": searches, "notes": tuple(values["notes"])}))


def path_of(run: Path, checkpoint: str) -> Path:
    """Return the file that holds the calibration of a checkpoint."""
    return run / FILE.format("" if checkpoint == "last" else f".{checkpoint}")


def read_calibration(run: str | Path, checkpoint: str = "last") -> Calibration:
    """Return the calibration in a run directory, whatever its weights are now.

    Raises:
        Uncalibrated: there is none, or one of an older version, whose galleries were counted in images.
        JointreidError: it is damaged, of a newer version, or a link out of the run directory.
    """
    folder = user_path(run)
    path = path_of(folder, checkpoint)
    if not path.is_file():
        raise Uncalibrated(
            f"{folder} has no calibrated threshold for its checkpoint {checkpoint}, so nobody knows which similarity "
            f"means the same person; {_remedy(run, checkpoint)}"
        )
    require_inside(path, folder)
    plain = read_json(path)
    _require_version(plain.get("format_version", 1), run, checkpoint, path)
    try:
        return Calibration.from_dict(plain)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JointreidError(
            f"{path}: is damaged ({type(error).__name__}: {error}); {_remedy(run, checkpoint)}"
        ) from error


def _require_version(version: object, run: str | Path, checkpoint: str, path: Path) -> None:
    """Refuse another version than `VERSION`."""
    if type(version) is int and 1 <= version < VERSION:
        raise Uncalibrated(
            f"{path}: an older jointreid made these thresholds (format version {version}); those of searches count the "
            f"images of a gallery, and false alarms depend on its people; calibrate again: {_remedy(run, checkpoint)}"
        )
    if version != VERSION:
        raise JointreidError(
            f"{path}: its format version is {version!r:.20}, this jointreid reads {VERSION}; update jointreid, or "
            f"{_remedy(run, checkpoint)}"
        )


def _remedy(run: str | Path, checkpoint: str) -> str:
    more = () if checkpoint == "last" else ("--checkpoint", checkpoint)
    return f"run `{command('calibrate', user_path(run), *more)}`"
