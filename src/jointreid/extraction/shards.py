"""Shards: the same extraction divided among the jobs of a job array, each of which writes a file of its own.

Shard k of n (from 1) takes the k-th of n equal parts of the list of images, in whole batches. The files join to the one
that a single process writes.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jointreid.extraction.feature_file import FeatureFile
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

_NAME = re.compile(r"\.(\d+)-of-(\d+)\.parquet$")


class Shard(NamedTuple):
    """Part `number`, from 1, of `parts` equal ones."""

    number: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard that `3/16` means.

        Raises:
            JointreidError: it is something else.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if found and 1 <= int(found[1]) <= int(found[2]):
            return cls(int(found[1]), int(found[2]))
        raise JointreidError(f"--shard is {text!r}; expected K/N with K from 1 to N, such as 3/16")

    def rows(self, total: int, batch_size: int) -> tuple[int, int]:
        """Return the first of its rows, and the row after the last, of so many in all."""
        batches = -(-total // batch_size)
        start, stop = (batches * number // self.parts * batch_size for number in (self.number - 1, self.number))
        return min(start, total), min(stop, total)

    def file(self, out: Path) -> Path:
        """Return the file of this shard, beside the joined one."""
        digits = len(str(self.parts))
        return out.with_name(f"{out.stem}.{self.number:0{digits}}-of-{self.parts}.parquet")


def shard_files(paths: Iterable[str | Path]) -> list[FeatureFile]:
    """Open shards, and return them in the order of their rows.

    Args:
        paths: the files, or folders of them.

    Raises:
        JointreidError: one is no shard, is of another job than the others, or is missing.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if _NAME.search(file.name))
            if not inside:
                raise JointreidError(f"{path}: contains no shards; expected files such as features.03-of-16.parquet")
            found += inside
        else:
            found.append(path)
    files = sorted((FeatureFile.open(path) for path in found), key=lambda file: (file.info.start, file.info.stop))
    require_all(files)
    return files


def require_all(files: Sequence[FeatureFile]) -> None:
    """Refuse files that do not make up one job, each of its rows once.

    Args:
        files: in the order of their rows.

    Raises:
        JointreidError: the message names the files, and the rows that are missing or there twice.
    """
    first = files[0]
    for file in files[1:]:
        if (file.info.job, file.info.tracklets) != (first.info.job, first.info.tracklets):
            raise JointreidError(
                f"{file.path} and {first.path} are of other models, settings or lists of images; join what one "
                "command with --shard 1/N to N/N wrote"
            )
    at, missing = 0, []
    for file in files:
        if file.info.start < at:
            raise JointreidError(
                f"{file.path}: rows {file.info.start:,} to {at - 1:,} are in another file too; remove one"
            )
        if file.info.start > at:
            missing.append(f"{at:,} to {file.info.start - 1:,}")
        at = file.info.stop
    if at < first.info.rows:
        missing.append(f"{at:,} to {first.info.rows - 1:,}")
    if missing:
        raise JointreidError(
            f"rows {first_few(missing)} of {first.info.rows:,} are in none of the {len(files)} files; run the missing "
            "shards, then join again"
        )
