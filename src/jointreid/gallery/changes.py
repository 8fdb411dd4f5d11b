"""What an addition and a removal did."""

from dataclasses import dataclass
from typing import Any

from jointreid.messages.listing import first_few


@dataclass(frozen=True)
class Added:
    """What an addition did: rows that are new, that were there already, and that name an image of an earlier row."""

    new: int
    present: int
    repeated: int


@dataclass(frozen=True)
class Removed:
    """What a removal did.

    Attributes:
        images: how many rows it removed.
        people: `pid` of those who were in them.
        files: the files of features that they had been added from, which are as they were.
        purged: nothing of them is left in the gallery's files, nor of those who were removed before.
        dry_run: nothing was removed.
    """

    images: int
    people: tuple[str, ...]
    files: tuple[str, ...]
    purged: bool
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {**vars(self), "people": list(self.people), "files": list(self.files)}

    def render(self) -> str:
        """Return it for a terminal, with what a removal does not reach."""
        count = f"{self.images:,} images of {len(self.people):,} people"
        if self.dry_run:
            return f"{count} would be removed"
        lines = [f"removed {count}"]
        if self.purged:
            whom = "them" if self.images else "those removed before"
            lines.append(f"nothing of {whom} is left in the gallery's files")
        elif self.images:
            lines.append("their bytes stay in the gallery's files until `gallery compact` or a removal with --purge")
        if self.images:
            files = f", and the features in {first_few(self.files)}" if self.files else ""
            lines.append(f"not touched: the images themselves{files}, backups and copies")
        return "\n".join(lines)
