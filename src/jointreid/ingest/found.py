"""What a look into a folder brings: its images by name, what was left out and why, and what a layout makes of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from jointreid.data.decode import SUFFIXES
from jointreid.data.records import ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

# Files of the formats that `decode` opens.
_CLUTTER = ("thumbs.db", "__macosx", "@eadir")
_SHOWN = 3

# Names of an image's folders and of its file, below the folder that was looked into.
Names = tuple[str, ...]


@dataclass(frozen=True)
class Dropped:
    """What was left out for one reason: how many, and the first few in the order they were met."""

    reason: str
    count: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        examples = f" ({first_few(self.examples, total=self.count)})" if self.examples else ""
        return f"{self.count:,} {self.reason}{examples}"


@dataclass
class Tally:
    """Counts what is left out, by reason."""

    _examples: dict[str, list[str]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, example: str = "", count: int = 1) -> None:
        """Count something under a reason, which reads on from a number: "links to nothing"."""
        if count:
            self._counts[reason] = self._counts.get(reason, 0) + count
            examples = self._examples.setdefault(reason, [])
            if example and len(examples) < _SHOWN:
                examples.append(example)

    def dropped(self) -> tuple[Dropped, ...]:
        """Return the reasons in the order they first came up."""
        return tuple(Dropped(reason, count, tuple(self._examples[reason])) for reason, count in self._counts.items())


class Shot(NamedTuple):
    """One image of one person, before its split is settled.

    Attributes:
        record: the image.
        key: its path below the source (and its box), on which draws depend: they do not change if the folder moves.
        split: train, query or gallery; "test" to be parted into query and gallery; "" to be drawn.
        frame: its place in its track, where it has one.
    """

    record: ImageRecord
    key: str
    split: str = ""
    frame: int = 0


@dataclass(frozen=True)
class Found:
    """What a layout made of a folder.

    Attributes:
        layout: market, imagefolder or mot.
        shots: the images.
        cameras: camid -> what the folder calls the camera; empty where camera ids are not known.
        exclude_same_camera: whether a match from the query's own camera is to be ignored.
        policy: the camera rule in words, with where the cameras come from.
        tracks: whether the images of an identity are frames of one track, so that neighbours are nearly the same image.
        notes: what a person should know.
    """

    layout: str
    shots: tuple[Shot, ...]
    cameras: Mapping[int, str]
    exclude_same_camera: bool
    policy: str
    tracks: bool = False
    notes: tuple[str, ...] = ()


def list_images(root: Path, tally: Tally) -> list[Names]:
    """Return the images below `root` as sorted names, and count what is no image.

    A link to a file is taken for the file if that lies below `root` and is not met anyway; no other link is followed.
    Names with a leading dot, texts (`.txt`, `.ini`) and what file managers leave behind are passed over.

    Raises:
        JointreidError: a folder cannot be read.
    """
    real = os.path.realpath(root)
    found: list[Names] = []
    links: list[Names] = []
    folders: list[Names] = [()]
    while folders:
        folder = folders.pop()
        for entry in _entries(root.joinpath(*folder)):
            names = (*folder, entry.name)
            if entry.is_symlink():
                links.append(names)
            elif entry.is_dir():
                folders.append(names)
            elif _is_image(names, tally):
                found.append(names)
    taken = {os.path.join(real, *names) for names in found}
    for names in sorted(links):
        target = os.path.realpath(root.joinpath(*names))
        if _may_follow(target, real, names, tally) and _is_image(names, tally):
            if target in taken:
                tally.add("links to images that are there already", "/".join(names))
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


def _is_image(names: Names, tally: Tally) -> bool:
    name = "/".join(names)
    if not name.lower().endswith(SUFFIXES):
        tally.add("files that are no images", ascii(name)[1:-1] if _is_mangled(name) else name)
        return False
    if _is_mangled(name):
        tally.add("images whose names are not valid Unicode; rename them", ascii(name)[1:-1])
        return False
    return True


def _is_mangled(name: str) -> bool:
    """Say whether a name holds bytes that are no text, which no table can hold."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


def _may_follow(target: str, root: str, names: Names, tally: Tally) -> bool:
    if not stays_below(root, target):
        tally.add("links that lead out of the folder, not followed", "/".join(names))
    elif not os.path.exists(target):
        tally.add("links to nothing", "/".join(names))
    elif os.path.isdir(target):
        tally.add("links to folders, not followed", "/".join(names))
    else:
        return True
    return False


def stays_below(root: str | Path, path: str | Path) -> bool:
    """Say whether a path lies below `root` once links are followed."""
    return os.path.realpath(path).startswith(os.path.realpath(root).rstrip(os.sep) + os.sep)
