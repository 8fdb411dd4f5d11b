"""What `ingest` reports, for people and for programs."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jointreid.data.findings import SplitSummary
from jointreid.ingest.found import Dropped
from jointreid.messages.listing import first_few

_SHOWN_CAMERAS = 12


@dataclass(frozen=True)
class IngestSummary:
    """A folder that became a manifest.

    Attributes:
        manifest: the table.
        source: the folder of the images, which stay there.
        root: `source` where the manifest's side file names it, for the images do not lie below the manifest; else "".
        name: the domain.
        layout: market, imagefolder or mot.
        drawn: whether the identities were split at random; else the folder's own splits were kept.
        splits: what train, query and gallery hold.
        cameras: camid -> what the folder calls the camera; empty where camera ids are not known.
        exclude_same_camera: whether a match from the query's own camera is ignored.
        policy: the camera rule in words.
        dropped: what was left out, and why.
        notes: what a person should know besides.
        next_command: what to run next.
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
    dropped: tuple[Dropped, ...]
    notes: tuple[str, ...]
    next_command: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "manifest": str(self.manifest), "source": str(self.source)}

    def render(self) -> str:
        """Return the summary for people."""
        origin = "identities split at random" if self.drawn else "splits as in the folder"
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
            lines.append("  its side file names that folder: the manifest may be moved, the images may not")
        return "\n".join([*lines, f"Next: {self.next_command}"])


def check_command(manifest: Path) -> str:
    """Return the command that checks the manifest, with the path fit for a shell."""
    return f"jointreid data check --manifest {shlex.quote(str(manifest))}"
