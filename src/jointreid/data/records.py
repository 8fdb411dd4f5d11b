"""Records that every data set becomes; they are frozen and check themselves.

`ImageRecord` is one image, `Domain` one data set with its splits and its evaluation policy. Readers and manifests
make them, everything later consumes them; nothing here knows of labels, offsets or tensors.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

SPLITS = ("train", "query", "gallery")
# A camera's number has nine digits at most, here and in a table, so that it fits every array and file.
MAX_CAMID = 10**9 - 1
# Rows and columns of tables, beside those of the data sets: a data set of that name would take their place.
RESERVED_NAMES = frozenset({"mean", "mean of others"})


@dataclass(frozen=True)
class ImageRecord:
    """One image of one person.

    Attributes:
        path: where the image lies.
        pid: identity, unique inside its domain; a string as in the files, never a label.
        camid: camera, an int from 0 to `MAX_CAMID`, local to its domain; gaps are allowed.
        box: the part of the image that shows the person, `(x, y, width, height)` in pixels, or None for all of it.
        timestamp: when the image was taken, in seconds, or None.
        junk: ignored in every split (a bad detection, a body part).
        distractor: shows none of the identities: in a gallery it is always a wrong answer.

    Raises:
        JointreidError: a field is out of range; the message names the path and the field.
    """

    path: Path
    pid: str
    camid: int
    box: tuple[int, int, int, int] | None = None
    timestamp: float | None = None
    junk: bool = False
    distractor: bool = False

    def __post_init__(self) -> None:
        if not self.pid:
            raise JointreidError(f"{self.path}: pid is empty; every image needs an identity")
        if isinstance(self.camid, bool) or not isinstance(self.camid, int) or not 0 <= self.camid <= MAX_CAMID:
            raise JointreidError(f"{self.path}: camid is {self.camid!r}; expected an integer from 0 to {MAX_CAMID:,}")
        if self.box is not None and (min(self.box) < 0 or min(self.box[2:]) < 1):
            raise JointreidError(f"{self.path}: box is {self.box}; expected x, y >= 0 and width, height >= 1 in pixels")
        if self.timestamp is not None and not math.isfinite(self.timestamp):
            raise JointreidError(f"{self.path}: timestamp is {self.timestamp}; expected a finite number of seconds")
        if self.junk and self.distractor:
            raise JointreidError(f"{self.path}: marked both junk and distractor; choose one")

    @property
    def key(self) -> tuple[str, tuple[int, ...]]:
        """Path and box, which tell one image from another."""
        return str(self.path), self.box or ()


def name_fault(name: str) -> str:
    """Return why a domain cannot have a name, and what to do; empty if it can."""
    if not name:
        return "a domain needs a name"
    if name in RESERVED_NAMES:
        return f"{name!r} is what tables call the mean over data sets; give the data set another name"
    return ""


def trusted_record(
    path: Path,
    pid: str,
    camid: int,
    box: tuple[int, int, int, int] | None,
    timestamp: float | None,
    junk: bool,
    distractor: bool,
) -> ImageRecord:
    """Return the record of fields that were checked before, in a fifth of the time that it takes to check them."""
    record = object.__new__(ImageRecord)
    vars(record).update(path=path, pid=pid, camid=camid, box=box, timestamp=timestamp, junk=junk, distractor=distractor)
    return record


def seen_by(record: ImageRecord, camid: int) -> ImageRecord:
    """Return the record with another camera, an int from 0 to `MAX_CAMID` that was checked before."""
    if record.camid == camid:
        return record
    other = object.__new__(ImageRecord)
    vars(other).update(vars(record), camid=camid)
    return other


@dataclass(frozen=True)
class Omission:
    """Files, images or boxes left out for one reason: how many, and the first few that were met."""

    reason: str
    count: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        examples = f" ({first_few(self.examples, total=self.count)})" if self.examples else ""
        return f"{self.count:,} {self.reason}{examples}"


@dataclass(frozen=True)
class SplitOmission(Omission):
    """Files of one split that a reader leaves out.

    Attributes:
        split: train, query or gallery; "" for files outside the splits.
        by_rule: whether the published data set itself has it so, or the file is no image; otherwise it is a surprise.
    """

    split: str = ""
    by_rule: bool = True

    def __str__(self) -> str:
        return f"{super().__str__()}{f', in {self.split}' if self.split else ''}"


@dataclass(frozen=True)
class Domain:
    """One data set: its images by split, and how it is evaluated.

    The splits are sorted by path on construction, so that every process sees one order.

    Attributes:
        name: the domain's name, unique in a run.
        train: images to train on; identities disjoint from those of query and gallery (the pre-flight checks it).
        query: images to search for.
        gallery: images to search in.
        exclude_same_camera: whether a gallery image of the query's own identity and camera is ignored (Market-1501).
        leave_one_out: whether every test image asks all others, itself left out; query and gallery are then both of
            them, whichever of the two they were given in.
        cameras: the sorted camera ids the data set defines; left empty, those that occur in any split.
        terms: the owner's terms of use, shown when the data set is prepared.
        source: what the images were read from (a folder, a manifest), for messages and result files.
        variant: which edition of a published data set the reader found, in words ("V2, faces masked"), for the same.
        omissions: the files of the folder that its reader left out, by reason and split.
        place: where the cameras stand; equal cameras of domains with the same place are one camera. Empty for a place
            of its own.
        names_cameras: whether the table names its cameras, so that their ids are ranks of these names and equal ids of
            two data sets say nothing.

    Raises:
        JointreidError: no name or one of `RESERVED_NAMES`, a camera outside `cameras`, or a junk or distractor image in
            train.
    """

    name: str
    train: tuple[ImageRecord, ...] = ()
    query: tuple[ImageRecord, ...] = ()
    gallery: tuple[ImageRecord, ...] = ()
    exclude_same_camera: bool = True
    cameras: tuple[int, ...] = ()
    terms: str = ""
    source: str = field(default="", compare=False)
    variant: str = field(default="", compare=False)
    omissions: tuple[SplitOmission, ...] = field(default=(), compare=False)
    leave_one_out: bool = False
    place: str = ""
    names_cameras: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if fault := name_fault(self.name):
            raise JointreidError(fault)
        if self.leave_one_out:
            test = {(record.key, record.pid, record.camid): record for record in (*self.query, *self.gallery)}
            object.__setattr__(self, "query", tuple(test.values()))
            object.__setattr__(self, "gallery", tuple(test.values()))
        for split in SPLITS:
            records = sorted(getattr(self, split), key=lambda record: record.key)
            object.__setattr__(self, split, tuple(records))
        for record in self.train:
            if record.junk or record.distractor:
                raise JointreidError(f"{self.name}: {record.path} is junk or a distractor but is in train; remove it")
        seen = {record.camid for record in self}
        declared = tuple(sorted(set(self.cameras) or seen))
        if stray := sorted(seen - set(declared)):
            raise JointreidError(
                f"{self.name}: images have cameras {stray}, which are not among the declared {declared}"
            )
        object.__setattr__(self, "cameras", declared)

    def __iter__(self) -> Iterator[ImageRecord]:
        """Every image, split after split."""
        yield from self.train
        yield from self.query
        yield from self.gallery

    @property
    def train_pids(self) -> tuple[str, ...]:
        """The sorted identities of the train split."""
        return tuple(sorted({record.pid for record in self.train}))
