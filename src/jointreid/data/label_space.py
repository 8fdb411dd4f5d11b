"""The joint label space of domains: pid -> label, camid -> global_camid, domain -> domain_id (Fig. 3).

Offsets live here and nowhere else. Every number is a rank in a sorted tuple plus an offset, so the same domains in the
same order give the same numbers in every process; the order of the domains is the caller's.
"""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from jointreid.config import CameraIds
from jointreid.data.records import Domain
from jointreid.machine.files import write_atomically
from jointreid.machine.hashing import text_sha256
from jointreid.machine.reading import read_json
from jointreid.machine.run_files import FORMAT_VERSION, require_version
from jointreid.messages.errors import JointreidError, no_such

Value = TypeVar("Value", str, int)

# The one identity of each domain of a published model, whose people are named nowhere.
NOT_PUBLISHED = "not-published"


@dataclass(frozen=True)
class DomainLabels:
    """The numbers of one domain: an identity or a camera is its offset plus its rank.

    Attributes:
        name: the domain's name.
        pids: the sorted identities of the train split.
        cameras: the sorted cameras that the domain defines, in whichever split they occur, or all domains in its place.
        label_offset: the label of the first identity.
        camera_offset: the global_camid of the first camera.
        place: domains with the same place share their cameras; empty for a place of its own.

    Raises:
        JointreidError: `pids` or `cameras` is empty, unsorted or has duplicates.
    """

    name: str
    pids: tuple[str, ...]
    cameras: tuple[int, ...]
    label_offset: int
    camera_offset: int
    place: str = ""

    def __post_init__(self) -> None:
        _require_sorted(self.pids, f"{self.name}: pids")
        _require_sorted(self.cameras, f"{self.name}: cameras")

    def label(self, pid: str) -> int:
        """Return the label of a train identity.

        Raises:
            JointreidError: the domain has no such identity in train.
        """
        return self.label_offset + _rank(self.pids, pid, f"{self.name}: pid")

    def global_camid(self, camid: int) -> int:
        """Return the global camera id of a camera of this domain.

        Raises:
            JointreidError: the domain defines no such camera.
        """
        return self.camera_offset + _rank(self.cameras, camid, f"{self.name}: camid")


@dataclass(frozen=True)
class LabelSpace:
    """Classes of the classifiers of a model: the identities, domains and cameras of the data sets it was trained on.

    Attributes:
        domains: one entry a domain; the position is the domain_id.
        camera_ids: "global" gives every camera of every domain a class of its own (Fig. 3); "local" lets the domains
            share classes by rank, so that there are as many as the domain with the most cameras has.

    Raises:
        JointreidError: no domain, two of one name, or offsets that do not follow from the counts.
    """

    domains: tuple[DomainLabels, ...]
    camera_ids: CameraIds = "global"

    def __post_init__(self) -> None:
        if not self.domains:
            raise JointreidError("a label space needs at least one domain")
        if self.camera_ids not in get_args(CameraIds):
            raise JointreidError(f"camera_ids is {self.camera_ids!r}; expected one of {', '.join(get_args(CameraIds))}")
        names = [domain.name for domain in self.domains]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise JointreidError(f"two domains are called {', '.join(twice)}; give each data set its own NAME=PATH")
        expected = _offsets([(len(d.pids), len(d.cameras), d.place) for d in self.domains], self.camera_ids)
        of_place = {domain.place: domain.cameras for domain in self.domains if domain.place}
        if other := [d.name for d in self.domains if d.place and d.cameras != of_place[d.place]]:
            raise JointreidError(f"{other[0]}: its cameras are not those of the other domains in its place")
        for domain, (labels, cameras) in zip(self.domains, expected, strict=True):
            if (domain.label_offset, domain.camera_offset) != (labels, cameras):
                raise JointreidError(
                    f"{domain.name}: label_offset and camera_offset are {domain.label_offset} and "
                    f"{domain.camera_offset}; expected {labels} and {cameras} from the domains before it"
                )

    @property
    def num_ids(self) -> int:
        """Identities of all domains: the classes of the identity classifier."""
        return sum(len(domain.pids) for domain in self.domains)

    @property
    def num_domains(self) -> int:
        """Domains: the classes of the domain classifiers."""
        return len(self.domains)

    @property
    def num_cameras(self) -> int:
        """Classes of the camera classifiers: all cameras, or with "local" those of the domain with the most."""
        counts = [(domain.place or number, len(domain.cameras)) for number, domain in enumerate(self.domains)]
        return sum(dict(counts).values()) if self.camera_ids == "global" else max(count for _, count in counts)

    @property
    def is_published(self) -> bool:
        """Whether it came with a published model (`jointreid hub fetch`), without people and trained classifiers."""
        return all(domain.pids == (NOT_PUBLISHED,) for domain in self.domains)

    @cached_property
    def id_domains(self) -> NDArray[np.int64]:
        """The domain of every identity, int64 [num_ids]."""
        return read_only([number for number, domain in enumerate(self.domains) for _ in domain.pids])

    def domain_id(self, name: str) -> int:
        """Return the position of a domain.

        Raises:
            JointreidError: there is no such domain.
        """
        names = [domain.name for domain in self.domains]
        if name not in names:
            raise JointreidError(no_such("domain", name, names))
        return names.index(name)

    def label(self, domain: str, pid: str) -> int:
        """Return the label, in [0, num_ids), of a train identity.

        Raises:
            JointreidError: there is no such domain, or no such identity in its train split.
        """
        return self.domains[self.domain_id(domain)].label(pid)

    def global_camid(self, domain: str, camid: int) -> int:
        """Return the global camera id, in [0, num_cameras), of a domain's camera.

        Raises:
            JointreidError: there is no such domain, or it defines no such camera.
        """
        return self.domains[self.domain_id(domain)].global_camid(camid)

    @property
    def hash(self) -> str:
        """The SHA-256 of the canonical JSON, 64 hex digits: equal exactly when all numbers mean the same."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return text_sha256(canonical)

    def to_dict(self) -> dict[str, Any]:
        """Return the label space as plain dicts, lists, strings and ints."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for domain in plain["domains"]:
            if not domain["place"]:  # which label spaces of earlier versions do not have
                del domain["place"]
        return plain

    @classmethod
    def from_dict(cls, plain: object) -> "LabelSpace":
        """Return the label space that `to_dict` wrote.

        Raises:
            JointreidError: a key is missing, unknown or of the wrong type, or the values contradict each other.
        """
        fields = _object(plain, "label space", camera_ids=str, domains=list)
        domains = tuple(_domain_labels(entry, f"domains[{i}]") for i, entry in enumerate(fields["domains"]))
        return cls(domains, fields["camera_ids"])

    def save(self, path: Path) -> None:
        """Write the label space and its hash as JSON; the file appears whole or not at all.

        Raises:
            JointreidError: the file cannot be written.
        """
        text = json.dumps({"format_version": FORMAT_VERSION, "hash": self.hash, **self.to_dict()}, indent=1) + "\n"
        try:
            write_atomically(path, text)
        except OSError as error:
            raise JointreidError(f"{path}: cannot write the label space: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> "LabelSpace":
        """Read what `save` wrote.

        Raises:
            JointreidError: the file cannot be read, is no label space, or was changed after it was saved.
        """
        try:
            plain = read_json(path)
        except JointreidError as error:
            raise JointreidError(f"{error}; expected a label space") from error
        require_version(plain.pop("format_version", 1), path)
        try:
            fields = _object(plain, "label space", hash=str, camera_ids=str, domains=list)
            saved = fields.pop("hash")
            space = cls.from_dict(fields)
        except JointreidError as error:
            raise JointreidError(f"{path}: {error}") from error
        if space.hash != saved:
            raise JointreidError(
                f"{path}: the hash is {saved}, the content's is {space.hash}; the file was changed after it was "
                "saved, so labels would no longer fit the weights: restore it from a copy of the run"
            )
        return space


def label_space_of(domains: Sequence[Domain], camera_ids: CameraIds) -> LabelSpace:
    """Return the label space of domains, see `jointreid.data.joint.join`.

    Raises:
        JointreidError: no domain, two of one name, or one without train images.
    """
    for domain in domains:
        if not domain.train:
            raise JointreidError(f"{domain.name}: has no train images; leave it out of training or add some")
    pids = [domain.train_pids for domain in domains]
    of_place: dict[str, set[int]] = {}
    for domain in domains:
        of_place.setdefault(domain.place, set()).update(domain.cameras)
    cameras = [tuple(sorted(of_place[domain.place])) if domain.place else domain.cameras for domain in domains]
    sizes = [(len(own), len(seen), d.place) for d, own, seen in zip(domains, pids, cameras, strict=True)]
    entries = zip(domains, pids, cameras, _offsets(sizes, camera_ids), strict=True)
    labels = (DomainLabels(d.name, own, seen, *offset, d.place) for d, own, seen, offset in entries)
    return LabelSpace(tuple(labels), camera_ids)


def read_only(values: list[int]) -> NDArray[np.int64]:
    """Return an array that cannot be changed, int64 [len(values)]."""
    array = np.array(values, dtype=np.int64)
    array.flags.writeable = False
    return array


def _offsets(sizes: list[tuple[int, int, str]], camera_ids: CameraIds) -> list[tuple[int, int]]:
    """Return label_offset and camera_offset of domains with so many identities and cameras, each with its place."""
    labels = accumulate((ids for ids, _, _ in sizes), initial=0)
    cameras, of_place, used = [], {}, 0
    for number, (_, count, place) in enumerate(sizes):
        if (place or number) not in of_place:
            of_place[place or number] = used
            used += count if camera_ids == "global" else 0
        cameras.append(of_place[place or number])
    return list(zip(labels, cameras, strict=False))


def _rank(values: tuple[Value, ...], value: Value, what: str) -> int:
    rank = bisect_left(values, value)
    if rank == len(values) or values[rank] != value:
        raise JointreidError(f"{what} {value!r} is not in the label space, which has {len(values)} of them")
    return rank


def _require_sorted(values: tuple[Any, ...], what: str) -> None:
    if not values or list(values) != sorted(set(values)):
        raise JointreidError(f"{what} are empty, unsorted or not distinct; expected a sorted list without duplicates")


def _domain_labels(plain: object, where: str) -> DomainLabels:
    place = {"place": str} if isinstance(plain, dict) and "place" in plain else {}
    fields = _object(plain, where, name=str, pids=list, cameras=list, label_offset=int, camera_offset=int, **place)
    for key, kind in (("pids", str), ("cameras", int)):
        for i, value in enumerate(fields[key]):
            _require_type(value, kind, f"{where}.{key}[{i}]")
        fields[key] = tuple(fields[key])
    return DomainLabels(**fields)


def _object(plain: object, where: str, **kinds: type) -> dict[str, Any]:
    """Return a copy of a dict that has exactly the keys of `kinds`, each of its type."""
    if not isinstance(plain, dict) or set(plain) != set(kinds):
        found = ", ".join(map(str, plain)) if isinstance(plain, dict) else type(plain).__name__
        raise JointreidError(f"{where}: expected an object with the keys {', '.join(kinds)}; found {found}")
    for key, kind in kinds.items():
        _require_type(plain[key], kind, f"{where}.{key}")
    return dict(plain)


def _require_type(value: object, kind: type, where: str) -> None:
    # Not isinstance: True would pass for an int.
    if type(value) is not kind:
        raise JointreidError(f"{where} is {value!r:.60}; expected {kind.__name__}")
