"""Trees of empty files, and what is read from them."""

from pathlib import Path

from jointreid.ingest.images import FolderContents, Omissions
from jointreid.ingest.layouts import read_layout
from jointreid.ingest.mot import BoxChoice

PEOPLE = ("alice", "bob", "carol", "dave", "eve", "frank")
DAYS = ("2024-05-01", "2024-05-02")


def build(root: Path, *names: str) -> Path:
    """Make empty files below a folder, and return it."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def look(root: Path, pattern: str = "") -> FolderContents:
    """Read a folder as `data ingest` does without options."""
    return read_layout(root, "auto", "auto", BoxChoice(), Omissions(), pattern)


def grid(*levels: tuple[str, ...], name: str = "1.jpg") -> list[str]:
    """Return every combination of the folders of some levels, each with an image."""
    paths = [""]
    for level in levels:
        paths = [f"{path}{folder}/" for path in paths for folder in level]
    return [f"{path}{name}" for path in paths]
