"""Findings of the pre-flight check, as data, as text for people and as plain values for JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jointreid.data.composition import PassComposition, render_composition
from jointreid.data.protocols import LEAVE_ONE_OUT, ProtocolMatch, count_split
from jointreid.data.records import SPLITS, Domain, ImageRecord, SplitOmission
from jointreid.messages.listing import first_few
from jointreid.messages.tables import text_table

Purpose = Literal["train", "evaluate", "both", "show"]
_TASKS: Mapping[Purpose, str] = {
    "train": "training",
    "evaluate": "evaluation",
    "both": "training and evaluation",
    "show": "showing",
}
Level = Literal["error", "warning"]
Finding = tuple[Level, str] | tuple[Level, str, str]


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        level: an "error" stops a run, a "warning" does not.
        domain: the domain it is about; empty if it is about all.
        message: what is wrong, where, and what to do.
        mark: the same in short, to stand beside results that mean less for it; empty if they do not.
    """

    level: Level
    domain: str
    message: str
    mark: str = ""


def list_images(records: Sequence[ImageRecord]) -> str:
    """List the first few images with their labels, and say how many more there are."""
    images = [f"pid {record.pid} camid {record.camid} {record.path}" for record in records]
    return first_few(images, sep="; ")


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be used, and why."""

    domain: str
    path: str
    cause: str


@dataclass(frozen=True)
class SplitSummary:
    """Counts of a split; `ids`, `images` and `cameras` are without junk."""

    ids: int
    images: int
    cameras: int
    distractors: int
    junk: int


def summarise_splits(domain: Domain) -> dict[str, SplitSummary]:
    """Count the images, identities and cameras of each split of a domain."""
    splits = {}
    for split in SPLITS:
        records: tuple[ImageRecord, ...] = getattr(domain, split)
        counts = count_split(records)
        splits[split] = SplitSummary(
            ids=counts.ids,
            images=counts.images,
            cameras=len({record.camid for record in records if not record.junk}),
            distractors=sum(record.distractor for record in records),
            junk=sum(record.junk for record in records),
        )
    return splits


@dataclass(frozen=True)
class DomainSummary:
    """Contents of a domain, and how it is evaluated.

    Attributes:
        source: file or folder that it was read from.
        variant: edition of a published data set, in its reader's words, if known.
        cameras: number of cameras that the domain defines.
        exclude_same_camera: whether a gallery image of the query's own identity and camera is ignored.
        protocol: the protocol as read, unreadable images included; None for a data set that is not the paper's.
        splits: train, query and gallery.
        images: images of all splits, junk included.
        left_out: files of the folder that the reader left out, by reason and split; with `images`, all files found.
    """

    source: str
    variant: str
    cameras: int
    exclude_same_camera: bool
    protocol: ProtocolMatch | None
    splits: Mapping[str, SplitSummary]
    images: int = 0
    left_out: tuple[SplitOmission, ...] = ()


@dataclass(frozen=True)
class CheckResult:
    """The outcome of a check.

    Attributes:
        purpose: use that the data were checked for.
        domains: name -> contents of the domain, without skipped images.
        problems: the findings, errors first.
        unreadable: every image that cannot be used.
        decoded: images decoded by this check.
        from_cache: images known to decode from an earlier check.
        composition: images of each domain by fifth of a pass, where the check is for a training.
    """

    purpose: Purpose
    domains: Mapping[str, DomainSummary]
    problems: tuple[Problem, ...]
    unreadable: tuple[Unreadable, ...]
    decoded: int
    from_cache: int
    composition: PassComposition | None = None

    @property
    def ok(self) -> bool:
        """True if there are no errors."""
        return not any(problem.level == "error" for problem in self.problems)

    @property
    def marks(self) -> dict[str, tuple[str, ...]]:
        """Domain -> the remarks that its results carry."""
        return {
            name: tuple(problem.mark for problem in self.problems if problem.domain == name and problem.mark)
            for name in self.domains
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, for JSON."""
        return {"ok": self.ok, **asdict(self)}


def render(result: CheckResult) -> str:
    """Return the result for people: a table of the domains, the findings, and one line of outcome."""
    rows = [["domain", "split", "ids", "images", "cameras", "distractors", "junk"]]
    lines = []
    for name, domain in result.domains.items():
        for split, counted in domain.splits.items():
            counts = (counted.ids, counted.images, counted.cameras, counted.distractors, counted.junk)
            rows.append([name, split, *(f"{count:,}" for count in counts)])
        rule = "a match from the query's own camera is ignored" if domain.exclude_same_camera else "every match counts"
        if domain.protocol and domain.protocol.name == LEAVE_ONE_OUT:
            rule = f"every test image asks all others; {rule}"
        lines.append(
            f"{name}: {domain.cameras} camera{'s' * (domain.cameras != 1)}; {rule}; from {domain.source or 'memory'}"
        )
        if domain.protocol:
            lines.append(f"  protocol: {domain.protocol.words}")
            lines += [f"  not as in the paper: {difference}" for difference in domain.protocol.differences]
        if domain.left_out:
            out = sum(omission.count for omission in domain.left_out)
            lines.append(f"  {domain.images + out:,} files found = {domain.images:,} images kept + {out:,} left out:")
            lines += [f"  left out: {omission}" for omission in domain.left_out]
    if result.composition:
        lines.append(render_composition(result.composition))
    lines += [f"{problem.level}: {problem.message}" for problem in result.problems]
    lines.append(
        f"images: {result.decoded:,} decoded, {result.from_cache:,} known from an earlier check, "
        f"{len(result.unreadable):,} unreadable"
    )
    levels = Counter(problem.level for problem in result.problems)
    task = {"train": "training", "evaluate": "evaluation", "both": "training and evaluation", "show": "showing"}[
        result.purpose
    ]
    ready = "ready" if result.ok else "not ready"
    lines.append(f"{ready} for {task}: {levels['error']} errors, {levels['warning']} warnings")
    # Bytes in a file's name that are no text could not be printed.
    return "\n".join([text_table(rows, "llrrrrr", bars=False), *lines]).encode(errors="backslashreplace").decode()
