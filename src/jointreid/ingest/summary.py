"""The summary that `ingest` returns, as text for people and as plain values for JSON."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jointreid.data.findings import SplitSummary
from jointreid.data.records import SPLITS, Domain, ImageRecord, Omission
from jointreid.ingest.images import FolderContents
from jointreid.messages.commands import command
from jointreid.messages.listing import first_few

_SHOWN_CAMERAS = 12


@dataclass(frozen=True)
class ExampleRow:
    """One image of the table: its path below the folder, its identity, camera and split."""

    path: str
    pid: str
    camid: int
    split: str


@dataclass(frozen=True)
class IngestSummary:
    """A folder of images that was turned into a manifest.

    Attributes:
        manifest: path of the table.
        source: the folder of the images.
        root: `source` if the manifest's side file names it, because the images do not lie below the manifest; else "".
        name: of the domain.
        layout: market, imagefolder, mot, pattern, or the name of a published layout.
        drawn: whether identities were split at random; otherwise the folder's splits were kept.
        splits: counts of train, query and gallery.
        cameras: camid -> what the folder calls the camera; empty where camera ids are not known.
        exclude_same_camera: whether matches from the query's own camera are ignored.
        policy: the camera rule in words.
        dropped: images and boxes left out, by reason.
        notes: further remarks for the user.
        next_command: the command to run next.
        reading: what folders and file names were taken for, with counts and examples, in words.
        examples: the first images, with their identity, camera and split.
        pattern: the pattern that reads the folder so, if one does.
        written: whether the table was written.
        leave_one_out: whether each test image asks all others, so that query and gallery are the same images.
    """

    manifest: Path
    source: Path
    root: str
    name: str
    layout: str
    drawn: bool
    splits: Mapping[str, SplitSummary]
    cameras: Mapping[int, str]
    exclude_same_camera: bool
    policy: str
    dropped: tuple[Omission, ...]
    notes: tuple[str, ...]
    next_command: str
    reading: str = ""
    examples: tuple[ExampleRow, ...] = ()
    pattern: str = ""
    written: bool = True
    leave_one_out: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        counts = {"found": self.found, "kept": self.kept}
        return {**asdict(self), **counts, "manifest": str(self.manifest), "source": str(self.source)}

    @property
    def kept(self) -> int:
        """Images of all splits; where each test image asks all others, query and gallery are the same ones."""
        counted = [split for split in self.splits if not (self.leave_one_out and split == "query")]
        return sum(self.splits[split].images for split in counted)

    @property
    def found(self) -> int:
        """Files found, or boxes of tracks: those kept and those left out."""
        return self.kept + sum(dropped.count for dropped in self.dropped)

    def render(self) -> str:
        """Return the summary for people."""
        origin = "identities split at random" if self.drawn else "splits taken from the folder"
        lines = [f"{self.name}: layout {self.layout}, {origin}"]
        for split, held in self.splits.items():
            distractors = f", {held.distractors:,} distractors" if held.distractors else ""
            lines.append(
                f"  {split}: {held.ids:,} identities, {held.images:,} images, {held.cameras:,} cameras{distractors}"
            )
        lines.append(f"cameras: {self.policy}")
        if self.cameras:
            shown = [f"{camid} is {name}" for camid, name in self.cameras.items()]
            lines.append(f"  camid {first_few(shown, _SHOWN_CAMERAS)}")
        if self.dropped:
            lines.append(f"{self.found:,} found = {self.kept:,} kept + {self.found - self.kept:,} left out:")
        lines += [f"left out: {dropped}" for dropped in self.dropped]
        lines += [f"note: {note}" for note in self.notes]
        if not self.written:
            return "\n".join([*lines, f"dry run: nothing was written; {self.manifest} would be"])
        lines.append(f"wrote {self.manifest}; the images stay in {self.source}")
        if self.root:
            lines.append("  its side file names that folder: you may move the manifest, but not the images")
        return "\n".join([*lines, f"Next: {self.next_command}"])


def describe_reading(source: Path, found: FolderContents, drawn: bool) -> str:
    """Return what folders and file names are taken for, with counts and three examples."""
    people = {image.record.pid for image in found.images if not image.record.distractor}
    cameras = f"{len(found.cameras):,} cameras" if found.cameras else "no cameras"
    head = f"read as {found.reading or found.layout}: {cameras}, {len(people):,} people; for example"
    images = list(found.images)
    spread = [images[place] for place in sorted({0, len(images) // 2, len(images) - 1})] if images else []
    lines = []
    for image in spread:
        record = image.record
        camera = found.cameras.get(record.camid, "")
        where = f", camera {camera} (camid {record.camid})" if camera else ""
        split = "split drawn" if drawn else f"split {image.split}"
        shown = "a distractor" if record.distractor else f"person {record.pid}"
        lines.append(f"  {os.path.relpath(record.path, source)} is {shown}{where}, {split}")
    return "\n".join([head, *lines])


def example_rows(source: Path, domain: Domain) -> tuple[ExampleRow, ...]:
    """Return the first image of each split."""
    rows = []
    for split in SPLITS:
        first: tuple[ImageRecord, ...] = getattr(domain, split)[:1]
        rows += [ExampleRow(os.path.relpath(record.path, source), record.pid, record.camid, split) for record in first]
    return tuple(rows)


def check_command(manifest: Path) -> str:
    """Return the shell command that checks the manifest."""
    return command("data", "check", "--manifest", manifest)
