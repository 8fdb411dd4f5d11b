"""The summary that `ingest` returns, as text for people and as plain values for JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jointreid.data.findings import SplitSummary
from jointreid.ingest.images import Omission
from jointreid.messages.commands import command
from jointreid.messages.listing import first_few

_SHOWN_CAMERAS = 12


@dataclass(frozen=True)
class IngestSummary:
    """A folder of images that was turned into a manifest.

    Attributes:
        manifest: path of the table.
        source: the folder of the images.
        root: `source` if the manifest's side file names it, because the images do not lie below the manifest; else "".
        name: of the domain.
        layout: market, imagefolder or mot.
        drawn: whether identities were split at random; otherwise the folder's splits were kept.
        splits: counts of train, query and gallery.
        cameras: camid -> what the folder calls the camera; empty where camera ids are not known.
        exclude_same_camera: whether matches from the query's own camera are ignored.
        policy: the camera rule in words.
        dropped: images and boxes left out, by reason.
        notes: further remarks for the user.
        next_command: the command to run next.
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "manifest": str(self.manifest), "source": str(self.source)}

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
        lines += [f"left out: {dropped}" for dropped in self.dropped]
        lines += [f"note: {note}" for note in self.notes]
        lines.append(f"wrote {self.manifest}; the images stay in {self.source}")
        if self.root:
            lines.append("  its side file names that folder: you may move the manifest, but not the images")
        return "\n".join([*lines, f"Next: {self.next_command}"])


def check_command(manifest: Path) -> str:
    """Return the shell command that checks the manifest."""
    return command("data", "check", "--manifest", manifest)
