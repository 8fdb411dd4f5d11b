"""The images below a folder: their paths, what was left out and why, and the identities and cameras they show."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from jointreid.data.decode import SUFFIXES
from jointreid.data.records import ImageRecord, Omission
from jointreid.machine.paths import is_unicode
from jointreid.messages.errors import JointreidError

# Files of the formats that `decode` opens.
_CLUTTER = ("thumbs.db", "__macosx", "@eadir")
_SHOWN = 3

# Path of an image below the source folder: the names of its folders, then of its file.
PathParts = tuple[str, ...]


@dataclass
class Omissions:
    """Counts of what is left out, by reason."""

    _examples: dict[str, list[str]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, example: str = "", count: int = 1) -> None:
        """Count something under a reason: a plural that can follow a number, such as "links to nothing"."""
        if count:
            self._counts[reason] = self._counts.get(reason, 0) + count
            examples = self._examples.setdefault(reason, [])
            if example and len(examples) < _SHOWN:
                examples.append(example)

    def listed(self) -> tuple[Omission, ...]:
        """Return the reasons in the order in which they first came up."""
        return tuple(Omission(reason, count, tuple(self._examples[reason])) for reason, count in self._counts.items())


class PersonImage(NamedTuple):
    """An image of one person, before its split is decided.

    Attributes:
        record: the image.
        key: its path below the source, and its box if it has one. Random choices depend on it, so that they stay the
            same when the folder moves.
        split: train, query or gallery; "test" for images to divide into query and gallery; "" if none is given.
        frame: number of its frame, for images of a track.
        side: query or gallery, which the image is if its identity is drawn for the test; "" for either.
    """

    record: ImageRecord
    key: str
    split: str = ""
    frame: int = 0
    side: str = ""


@dataclass(frozen=True)
class FolderContents:
    """A folder as read in one layout.

    Attributes:
        layout: market, imagefolder, mot, pattern, or the name of a published layout.
        images: the images with their identities and cameras.
        cameras: camid -> what the folder calls the camera; empty where camera ids are not known.
        exclude_same_camera: whether matches from the query's own camera are ignored.
        policy: the camera rule in words, with where the cameras come from.
        tracks: whether the images of an identity are frames of one track, where neighbours are nearly identical.
        notes: remarks for the user.
        reading: the meaning of the paths in words, `CAMERA/PERSON/IMAGE`.
        pattern: the pattern that reads the folder so, if one does.
    """

    layout: str
    images: tuple[PersonImage, ...]
    cameras: Mapping[int, str]
    exclude_same_camera: bool
    policy: str
    tracks: bool = False
    notes: tuple[str, ...] = ()
    reading: str = ""
    pattern: str = ""


def list_images(root: Path, omissions: Omissions) -> list[PathParts]:
    """Return the sorted paths of the images below `root`, and count everything else.

    A link to a file counts as that file if it lies below `root` and is not found otherwise; no other link is followed.
    Names with a leading dot, texts (`.txt`, `.ini`) and files of file managers are ignored.

    Raises:
        JointreidError: a folder cannot be read.
    """
    real = os.path.realpath(root)
    found: list[PathParts] = []
    links: list[PathParts] = []
    folders: list[PathParts] = [()]
    while folders:
        folder = folders.pop()
        for entry in _entries(root.joinpath(*folder)):
            names = (*folder, entry.name)
            if entry.is_symlink():
                links.append(names)
            elif entry.is_dir():
                folders.append(names)
            elif _is_image(names, omissions):
                found.append(names)
    taken = {os.path.join(real, *names) for names in found}
    for names in sorted(links):
        target = os.path.realpath(root.joinpath(*names))
        if _may_follow(target, real, names, omissions) and _is_image(names, omissions):
            if target in taken:
                omissions.add("links to images that are there already", "/".join(names))
            else:
                taken.add(target)
                found.append(names)
    return sorted(found)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not _is_clutter(entry.name)]
    except OSError as error:
        raise JointreidError(f"{folder}: cannot be read: {error.strerror}") from error
    return sorted(kept, key=lambda entry: entry.name)


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER or name.lower().endswith((".txt", ".ini"))


def _is_image(names: PathParts, omissions: Omissions) -> bool:
    name = "/".join(names)
    if not name.lower().endswith(SUFFIXES):
        omissions.add("files that are no images", name if is_unicode(name) else ascii(name)[1:-1])
        return False
    if not is_unicode(name):
        omissions.add("images whose names are not valid Unicode; rename them", ascii(name)[1:-1])
        return False
    return True


def _may_follow(target: str, root: str, names: PathParts, omissions: Omissions) -> bool:
    if not stays_below(root, target):
        omissions.add("links that lead out of the folder, not followed", "/".join(names))
    elif not os.path.exists(target):
        omissions.add("links to nothing", "/".join(names))
    elif os.path.isdir(target):
        omissions.add("links to folders, not followed", "/".join(names))
    else:
        return True
    return False


def stays_below(root: str | Path, path: str | Path) -> bool:
    """Return whether a path lies below `root` once links are followed."""
    return os.path.realpath(path).startswith(os.path.realpath(root).rstrip(os.sep) + os.sep)
