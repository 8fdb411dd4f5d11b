"""Folders laid out like Market-1501, which many data sets were converted to: three splits, the labels in file names."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from jointreid.data.readers.left_out import PathParts, Reason, with_omissions
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

SPLIT_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
# `0002_c1s1_000451_03.jpg`, `0005_c2_f0046985.jpg`, `0781_c11_0015.jpg`, `0001_c001_1.png`: identity, then camera.
# Cameras may have several digits, and count from 1, or from 0 if there is a camera 0; pid -1 is junk.
ANY_NAME = re.compile(r"(-1|\d+)_c(\d{1,9})(?:s\d+)?(?:_|\.)")
JUNK, DISTRACTOR = -1, 0


class SplitRecords(TypedDict):
    """The images of the three splits, under the names that `Domain` gives them."""

    train: tuple[ImageRecord, ...]
    query: tuple[ImageRecord, ...]
    gallery: tuple[ImageRecord, ...]


class FoundRoot(NamedTuple):
    """A folder, and those of the layouts looked for that it holds, each as the names of its sub-folders."""

    root: Path
    layouts: list[tuple[str, ...]]


def first_camera(names: Iterable[str], pattern: re.Pattern[str] = ANY_NAME) -> int:
    """Return the number of the first camera, 0 if any image has a camera 0, otherwise 1.

    Args:
        names: of the images; those that the pattern does not match say nothing.
        pattern: whose second group is the camera, if it has one.
    """
    found = (pattern.match(name) for name in names) if pattern.groups > 1 else ()
    return 0 if any(match and int(match[2]) == 0 for match in found) else 1


def is_market_style(root: Path) -> bool:
    """Say whether a folder holds the three splits."""
    return not _missing(root, tuple(SPLIT_FOLDERS.values()))


def find_root(path: Path, title: str, known_folders: Sequence[str]) -> Path:
    """Return the folder with the three splits: `path`, or one of `known_folders` in it.

    Raises:
        JointreidError: none holds them (the message says where they were looked for), or more than one does.
    """
    return find_layout(path, title, known_folders, [tuple(SPLIT_FOLDERS.values())]).root


def find_layout(path: Path, title: str, known_folders: Sequence[str], layouts: Sequence[tuple[str, ...]]) -> FoundRoot:
    """Return the folder that holds one of some layouts or several: `path`, or one of `known_folders` in it.

    Args:
        path: the folder given.
        title: the data set's name, for messages.
        known_folders: names it is usually unpacked to.
        layouts: each the sub-folders it consists of.

    Raises:
        JointreidError: no folder holds one (the message says where they were looked for), or more than one does.
    """
    candidates = distinct_folders(path, known_folders)
    found = look_for_layouts(candidates, layouts)
    if len(found) > 1:
        raise JointreidError(
            f"{path}: holds {title} more than once: {', '.join(str(each.root) for each in found)}; give one of them"
        )
    if not found:
        pairs = [(root, layout, _missing(root, layout)) for root in candidates for layout in layouts]
        begun = [f"{root} lacks {', '.join(lacking)}; " for root, layout, lacking in pairs if lacking != layout]
        expected = " or ".join(", ".join(layout) for layout in layouts)
        inside = f" or in its {', '.join(known_folders)}" if known_folders else ""
        raise JointreidError(
            f"{path}: no {title} here: {''.join(begun[:1])}expected the folders {expected} in it{inside}"
        )
    return found[0]


def distinct_folders(path: Path, known_folders: Iterable[str]) -> list[Path]:
    """Return `path` and those of `known_folders` in it that exist, each folder once, whatever its names."""
    folders: dict[tuple[int, int], Path] = {}
    for folder in (path, *(path / name for name in known_folders)):
        if folder.is_dir():
            # Market and market are one folder on a disk that ignores case, and a link is the folder it leads to.
            status = folder.stat()
            folders.setdefault((status.st_dev, status.st_ino), folder)
    return list(folders.values())


def look_for_layouts(folders: Iterable[Path], layouts: Sequence[tuple[str, ...]]) -> list[FoundRoot]:
    """Return those of the folders that hold one or more of the layouts."""
    found = [FoundRoot(root, [layout for layout in layouts if not _missing(root, layout)]) for root in folders]
    return [each for each in found if each.layouts]


def read_splits(
    root: Path,
    pattern: re.Pattern[str],
    example: str,
    suffixes: Iterable[str] = (".jpg",),
    *,
    folders: Mapping[str, str] = SPLIT_FOLDERS,
    zero_is_distractor: bool = True,
) -> SplitRecords:
    """Read the three splits below `root`.

    Junk (pid -1) is dropped everywhere. Files of other suffixes (`Thumbs.db`) and names with a leading dot are not
    read; `with_omissions` says which.

    Args:
        root: a folder with the three splits.
        pattern: matches the beginning of a file name; group 1 is the pid, group 2 the camera, counted from 1
            unless there is a 0. Without a group 2 all images have camid 0.
        example: a name as expected, for messages.
        suffixes: of images, in lower case.
        folders: split -> its folder.
        zero_is_distractor: keep pid 0 in the gallery, where it is always a wrong answer, and drop it elsewhere; else,
            or where cameras are counted from 0, it is an identity like any other.

    Raises:
        JointreidError: files whose names have no labels.
    """

    names = (name for folder in folders.values() for name in os.listdir(root / folder))
    read_names = (n for n in names if n.lower().endswith(tuple(suffixes)) and not n.startswith("."))
    less = first_camera(read_names, pattern)

    def read(split: str) -> tuple[ImageRecord, ...]:
        records = _read_split(
            root / folders[split], pattern, example, tuple(suffixes), zero_is_distractor and bool(less), less
        )
        return tuple(record for record in records if split == "gallery" or not record.distractor)

    return SplitRecords(train=read("train"), query=read("query"), gallery=read("gallery"))


def market_style(path: str | Path, name: str) -> Domain:
    """Read a folder in this layout under any name, such as your own data.

    Images are `.jpg`, `.jpeg` or `.png`, named `<pid>_c<camera>...`; cameras are counted from 1, or from 0 if there is
    a camera 0.

    Raises:
        JointreidError: `path` does not hold the three splits, or a file whose name has no labels.
    """
    root = find_root(Path(path), "folder in the layout of Market-1501", ())
    splits = read_splits(root, ANY_NAME, "0002_c1s1_000451_03.jpg or 0002_c1_7.png", (".jpg", ".jpeg", ".png"))
    domain = Domain(name, **splits, source=str(root))
    return with_omissions(domain, root, SPLIT_FOLDERS, explain_pid(ANY_NAME), outside_by_rule=False)


def explain_pid(pattern: re.Pattern[str]) -> Callable[[PathParts, str], Reason | None]:
    """Return a function that says why an image is left out by its pid: junk, or a distractor outside the gallery."""

    def explain(names: PathParts, split: str) -> Reason | None:
        match = pattern.match(names[-1]) if split and len(names) == 2 else None
        if match and int(match[1]) == JUNK:
            return Reason("junk images (pid -1)")
        if match and int(match[1]) == DISTRACTOR and split != "gallery":
            return Reason("images of pid 0, which means distractor in this layout and is for the gallery only", False)
        return None

    return explain


def _missing(root: Path, layout: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(folder for folder in layout if not (root / folder).is_dir())


def _read_split(
    folder: Path, pattern: re.Pattern[str], example: str, suffixes: tuple[str, ...], zero_is_distractor: bool, less: int
) -> list[ImageRecord]:
    records, unknown = [], []
    for name in sorted(os.listdir(folder)):
        # A leading dot marks what file managers leave behind, such as ._0002_c1s1_000451_03.jpg.
        if not name.lower().endswith(suffixes) or name.startswith("."):
            continue
        match = pattern.match(name)
        if match is None:
            unknown.append(name)
        elif int(match[1]) != JUNK:
            camid = int(match[2]) - less if pattern.groups > 1 else 0
            distractor = zero_is_distractor and int(match[1]) == DISTRACTOR
            records.append(ImageRecord(folder / name, match[1], camid, distractor=distractor))
    if unknown:
        raise JointreidError(
            f"{folder}: {len(unknown)} files have no labels in their names ({first_few(unknown)}); expected names like "
            f"{example}; move them away, or describe the images in a manifest"
        )
    return records
