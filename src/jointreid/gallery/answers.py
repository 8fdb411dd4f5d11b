"""Answers of a search: images, grouped by person, and whether anybody is close enough."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from jointreid.verification.verdicts import Bounds, Verdict


@dataclass(frozen=True)
class Hit:
    """An image of the gallery.

    Attributes:
        similarity: cosine of the angle between its feature and the query's, -1 to 1.
        path: where it lay when it was added.
        box: the part of it that shows the person, (x, y, width, height) in pixels; None for all of it.
        pid: who it shows, unique inside the domain; None if unknown.
        name: of the person.
        camera: that took it.
        time: when it was taken.
        domain: that it belongs to.
        source: where it comes from.
        key: what tells it from all other images, see `Gallery.thumbnails`.
    """

    similarity: float
    path: str
    box: tuple[int, int, int, int] | None
    pid: str | None
    name: str | None
    camera: str | None
    time: datetime | None
    domain: str | None
    source: str | None
    key: str


@dataclass(frozen=True)
class Person:
    """A person, or an image of nobody known.

    Attributes:
        pid: unique inside the domain; None for an image without one, which stands alone.
        name: of the nearest image that has one.
        domain: of the pid.
        similarity: of the nearest image.
        hits: the nearest images, the best first.
    """

    pid: str | None
    name: str | None
    domain: str | None
    similarity: float
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class SearchResult:
    """The answer to one query.

    Attributes:
        people: the nearest, the best first, whether they are close or not.
        threshold: similarity from which on somebody is taken for the person of the query; None if none was given.
        searched: images that the filter left.
        searched_people: different people on them; an image without pid counts as a person.
        total: images in the gallery.
        exact: every image was compared; otherwise the index chose which.
        bounds: the calibrated similarities between which verdicts change, see `judged`; None without.
    """

    people: tuple[Person, ...]
    threshold: float | None
    searched: int
    searched_people: int
    total: int
    exact: bool
    bounds: Bounds | None = None

    def judged(self, bounds: Bounds) -> "SearchResult":
        """Return it with calibrated verdicts.

        Args:
            bounds: those of `jointreid.verification.Calibration.search_bounds`, for `searched_people` and the domain of
                the query.
        """
        return replace(self, bounds=bounds)

    def verdict(self, person: Person) -> Verdict | None:
        """Return whether somebody is the person of the query: by the threshold that was given, else as calibrated."""
        if self.threshold is not None:
            return "same" if person.similarity >= self.threshold else "different"
        return None if self.bounds is None else self.bounds.verdict(person.similarity)

    @property
    def close(self) -> tuple[Person, ...]:
        """The people who are not called different; all of them where nothing is known."""
        return tuple(person for person in self.people if self.verdict(person) != "different")

    @property
    def nobody(self) -> bool:
        """Whether everybody is called different."""
        return (self.threshold is not None or self.bounds is not None) and not self.close

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON; times in ISO 8601."""
        plain = asdict(self) | {"nobody": self.nobody}
        for answer, person in zip(self.people, plain["people"], strict=True):
            person["verdict"] = self.verdict(answer)
            person["hits"] = list(person["hits"])
            for hit in person["hits"]:
                hit["time"] = hit["time"] and hit["time"].isoformat()
        plain["people"] = list(plain["people"])
        return plain

    def render(self) -> str:
        """Return it for a terminal."""
        of = f"{self.searched:,} of {self.total:,} images" if self.searched < self.total else f"{self.total:,} images"
        people = f"{self.searched_people:,} {'person' if self.searched_people == 1 else 'people'}"
        lines = [f"searched {of}, {people}, {'all compared' if self.exact else 'by the index'}"]
        if not self.people:
            return "\n".join([*lines, "nobody: no image is left to compare with"])
        if self.nobody:
            nearest = f"the nearest has similarity {self.people[0].similarity:.3f}"
            if self.threshold is not None:
                lines.append(f"nobody: {nearest}, below the threshold {self.threshold:g}")
            elif self.bounds is not None:
                lines.append(f"nobody: {nearest}, different below {self.bounds.different:.3f}")
        for rank, person in enumerate(self.people, 1):
            verdict = self.verdict(person)
            lines.append(f"{rank:>3}  {person.similarity:.3f}{f'  {verdict}' if verdict else ''}  {_who(person)}")
            lines += [f"       {hit.similarity:.3f}  {_where(hit)}" for hit in person.hits]
        if self.threshold is not None:
            lines.append("the threshold is as given, not calibrated: the share of false matches at it is unknown")
        elif self.bounds is not None:
            lines.append(self.bounds.render())
        else:
            lines.append("no threshold was given, so the nearest are listed however far they are (--threshold)")
        return "\n".join(lines)


def _who(person: Person) -> str:
    if person.pid is None:
        return f"{person.name} (no pid)" if person.name else "unknown person"
    words = [person.pid, f'"{person.name}"' if person.name else "", f"({person.domain})" if person.domain else ""]
    return " ".join(word for word in words if word)


def _where(hit: Hit) -> str:
    box = f" box {','.join(map(str, hit.box))}" if hit.box else ""
    camera = f"  camera {hit.camera}" if hit.camera else ""
    time = f"  {hit.time:%Y-%m-%d %H:%M:%S}" if hit.time else ""
    return f"{hit.path}{box}{camera}{time}"


def group(rows: Sequence[Mapping[str, Any]], similarities: Sequence[float]) -> list[Person]:
    """Return the people of rows that are sorted by similarity, the best first.

    Args:
        rows: columns of the gallery.
        similarities: of the rows.
    """
    groups: dict[tuple[object, ...], list[Hit]] = {}
    for row, similarity in zip(rows, similarities, strict=True):
        who = (row["domain"], row["pid"]) if row["pid"] is not None else (row["key"],)
        groups.setdefault(who, []).append(_hit(row, similarity))
    return [
        Person(hits[0].pid, next((hit.name for hit in hits if hit.name), None), hits[0].domain, best, tuple(hits))
        for hits in groups.values()
        for best in (hits[0].similarity,)
    ]


def _hit(row: Mapping[str, Any], similarity: float) -> Hit:
    box = None if row["x"] is None else (row["x"], row["y"], row["w"], row["h"])
    plain = {name: row[name] for name in ("path", "pid", "name", "camera", "time", "domain", "source", "key")}
    return Hit(similarity=similarity, box=box, **plain)
