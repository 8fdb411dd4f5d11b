"""Descriptions of a conversion: the release found, the files to write, and the splits they make."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jointreid.data.protocols import SplitCounts


@dataclass(frozen=True)
class PreparedSplits:
    """Counts of one set of splits that a conversion makes.

    Attributes:
        name: of the set; CUHK03 has two, `labeled` and `detected`.
        found: counts of each split.
        expected: its counts in the complete release.
    """

    name: str
    found: Mapping[str, SplitCounts]
    expected: Mapping[str, SplitCounts]

    @property
    def differences(self) -> tuple[str, ...]:
        """A message for each split whose counts are not as expected."""
        return tuple(
            f"{self.name}, {split}: expected {self.expected[split]}, found {found}"
            for split, found in self.found.items()
            if found != self.expected[split]
        )


def count(pids: Iterable[object]) -> SplitCounts:
    """Count a split from the identity of each of its images."""
    pids = list(pids)
    return SplitCounts(len(set(pids)), len(pids))


@dataclass(frozen=True)
class ConversionOutput:
    """The files that a conversion will write, known before the first image is made.

    Attributes:
        folders: of the images, relative to the target.
        images: paths of the images, relative to the target.
        texts: other files: path relative to the target -> content.
        parts: counts of the splits.
        encode: yields (path, content) once for each of the requested images, in any order.
    """

    folders: tuple[str, ...]
    images: tuple[str, ...]
    texts: Mapping[str, str]
    parts: tuple[PreparedSplits, ...]
    encode: Callable[[Sequence[str]], Iterator[tuple[str, bytes]]]


@dataclass(frozen=True)
class Conversion:
    """A release that was found, and how to convert it.

    Attributes:
        name: the data set.
        sources: the files that determine the result, by a name that does not depend on their folder.
        entries: files and folders of the target, in the order in which they are moved there; the index, or the folder
            that contains it, is last.
        index: path, relative to the target, of the file that records the sources.
        rule: how images are chosen and named, for the index.
        list_output: reads and checks the annotations.
        note: a remark for the user about the release, or "".
        options: options of the command line that reading the result needs besides `--data`.
        format: raised when the same sources are converted to other images or names, so that a folder never mixes both.
    """

    name: str
    sources: Mapping[str, Path]
    entries: tuple[str, ...]
    index: str
    rule: str
    list_output: Callable[[], ConversionOutput]
    note: str = ""
    options: tuple[str, ...] = ()
    format: int = 1
