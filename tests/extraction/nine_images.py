"""Nine images, the table of them that the tests of `jointreid extract` describe, and the command."""

from collections.abc import Sequence
from pathlib import Path

from jointreid.cli import main

HEADER = "domain,split,path,pid,camid,timestamp,colour"
# The images as the table has them, not in the order of their names.
ORDER = [4, 0, 8, 2, 6, 1, 7, 3, 5]


def table(folder: Path, lines: Sequence[str], header: str = HEADER) -> Path:
    """Write a table of images into a folder."""
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def nine(folder: Path) -> Path:
    """Write a table of nine images, in the order of `ORDER`."""
    rows = [f"shop,gallery,images/{i:02}.png,00{i // 2},{i % 3},{i}.5,red {i}" for i in ORDER]
    return table(folder, rows)


def extract(run: Path, images: Path | str, out: Path, *options: str) -> int:
    """Run `jointreid extract` on the CPU and return its exit code."""
    return main(["extract", str(run), "--images", str(images), "--out", str(out), "--device", "cpu", *options])
