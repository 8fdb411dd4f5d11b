"""Readers of image folders: labels in the file names (`market`) or one folder per person (`imagefolder`)."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jointreid.config import CameraChoice
from jointreid.data.readers.market_style import ANY_NAME, DISTRACTOR, JUNK
from jointreid.data.records import ImageRecord
from jointreid.ingest.images import FolderContents, Omissions, PathParts, PersonImage
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

# Names of split folders in lower case -> the split. Queries are still to be taken from `test`.
_SPLIT_FOLDERS = {
    "bounding_box_train": "train",
    "train": "train",
    "train_all": "train_all",
    "val": "val",
    "query": "query",
    "gallery": "gallery",
    "bounding_box_test": "test",
    "test": "test",
}
_NAME_CAMERA = re.compile(r"_c([1-9]\d{0,8})(?:s\d+)?(?:_|\.)")
_MARKET_1501 = re.compile(r"(-1|\d{4})_c\d+(?:s\d+)?_")
_FOLDER_CAMERA = re.compile(r"(?:c|cam|camera)[ _-]?(\d{1,9})", re.IGNORECASE)
_IN_NAMES = "from the file names, which count them from 1"
_UNKNOWN = "camera ids are unknown"
_UNUSED = "camera ids are not used, as chosen"
_EVERY_MATCH = "every match counts"
_OTHER_CAMERAS = "matches from the query's own camera are ignored"


class ImagesBySplit(NamedTuple):
    """The images of a folder, grouped by the split whose folder they lie in.

    Attributes:
        images: split -> paths of its images below the folder; the split is "" where the folder has no split folders.
        depth: number of leading folders of each path that name the split: 0 or 1.
        notes: remarks on how the folders were assigned to splits.
    """

    images: Mapping[str, Sequence[PathParts]]
    depth: int
    notes: tuple[str, ...] = ()


def group_by_split(images: Sequence[PathParts], omissions: Omissions) -> ImagesBySplit:
    """Recognise folders of splits and group the images by split.

    Known names are train, query and gallery, and those of Market-1501. `test` stands for query and gallery together,
    or for gallery beside a query folder; `val` joins train, or is the test set where there is no other; `train_all`
    contains train and val.

    Raises:
        JointreidError: an incomplete set of split folders lies beside other images, or a split that evaluation needs
            is missing.
    """
    tops = sorted({names[0] for names in images if len(names) > 1})
    roles = {top: _SPLIT_FOLDERS[top.lower()] for top in tops if top.lower() in _SPLIT_FOLDERS}
    held = set(roles.values())
    if not held:
        return ImagesBySplit({"": images}, 0)
    whole = bool(held & {"train", "train_all"}) and "query" in held and bool(held & {"gallery", "test"})
    others = [top for top in tops if top not in roles]
    if not whole and (others or any(len(names) == 1 for names in images)):
        raise JointreidError(
            f"folders of splits ({', '.join(roles)}) lie beside other images ({first_few(others) or 'files'}); "
            "move the others away, or give a folder without split folders"
        )
    plays, notes = _assign_splits(held, roles)
    by_split: dict[str, list[PathParts]] = defaultdict(list)
    for names in images:
        role = roles.get(names[0]) if len(names) > 1 else None
        if role in plays:
            by_split[plays[role]].append(names)
        else:
            omissions.add("images outside the folders of the splits", "/".join(names))
    return ImagesBySplit(by_split, 1, notes)


def _assign_splits(held: set[str], roles: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the split that each kind of folder becomes, and remarks."""
    plays: dict[str, str] = {kind: kind for kind in ("train", "query", "gallery", "test") if kind in held}
    notes = []
    if "train_all" in held:
        plays.pop("train", None)
        plays["train_all"] = "train"
        notes.append("train is the folder train_all; train and val are assumed to be parts of it")
    if {"query", "gallery"} <= held and "test" in held:
        raise JointreidError(f"there are query, gallery and also test ({', '.join(roles)}); move one away")
    if "query" in held and "test" in held:
        plays["test"] = "gallery"
    elif "val" in held and not held & {"train_all", "query", "gallery", "test"}:
        plays["val"] = "test"
    elif "val" in held and "train_all" not in held:
        plays["val"] = "train"
        notes.append("val joins train; data.val_ids can hold out identities again")
    found = set(plays.values())
    if found == {"train"} or found == {"test"}:
        raise JointreidError(f"there is only {', '.join(roles)}; to split it, give that folder")
    if ("query" in found) != ("gallery" in found):
        lacking = "gallery" if "query" in found else "query"
        raise JointreidError(
            f"there are {', '.join(roles)}, but no {lacking}; add it, or put both into one folder, test"
        )
    return plays, tuple(notes)


# Labels in the file names


def name_faults(images: Iterable[PathParts], depth: int) -> list[str]:
    """Return the images that are not Market-style files directly in their folder."""
    return ["/".join(names) for names in images if len(names) != depth + 1 or not ANY_NAME.match(names[-1])]


def read_market(source: Path, by_split: ImagesBySplit, camera: CameraChoice, omissions: Omissions) -> FolderContents:
    """Read images named `<pid>_c<camera>...` that lie directly in their folder; count others as left out.

    As in Market-1501, pid -1 is junk and left out; pid 0 is a distractor, which only a gallery can use.

    Raises:
        JointreidError: `camera` is "folder", which this layout does not have.
    """
    if camera == "folder":
        raise JointreidError("layout market has no folders per camera; pass --camera auto, name or none")
    labelled = []
    for split, images in by_split.images.items():
        for names in images:
            match = ANY_NAME.match(names[-1])
            name = "/".join(names)
            if len(names) > by_split.depth + 1:
                omissions.add("images in folders below", name)
            elif match is None:
                omissions.add("images without labels in their names", name)
            elif int(match[1]) == JUNK:
                omissions.add("junk images (pid -1)", name)
            elif int(match[1]) == DISTRACTOR and split in ("train", "query"):
                omissions.add("distractors (pid 0) outside the gallery", name)
            else:
                camid = 0 if camera == "none" else int(match[2]) - 1
                distractor = int(match[1]) == DISTRACTOR
                record = ImageRecord(source.joinpath(*names), match[1], camid, distractor=distractor)
                labelled.append(PersonImage(record, name, split))
    notes = by_split.notes
    if zeros := sum(image.record.distractor for image in labelled):
        notes += (f"{zeros:,} images with pid 0 are taken for distractors, as in Market-1501",)
    if camera == "none":
        return _contents("market", labelled, {}, _UNUSED, notes)
    cameras = {image.record.camid: f"c{image.record.camid + 1}" for image in labelled}
    return _contents("market", labelled, cameras, _IN_NAMES, notes)


# One folder per person


def person_faults(images: Iterable[PathParts], depth: int) -> list[str]:
    """Return the images that do not lie in a person's folder."""
    return ["/".join(names) for names in images if len(names) < depth + 2]


def folders_of_many(images: Iterable[PathParts], depth: int) -> list[str]:
    """Return folders whose files are all named as in Market-1501 and show several people: not folders of one person.

    In shorter names, such as `3_c1.jpg`, the number may count the images of a person.
    """
    people: dict[str, set[str]] = defaultdict(set)
    for names in images:
        match = _MARKET_1501.match(names[-1])
        people[names[depth]].add(match[1] if match else "")
    return [folder for folder, pids in sorted(people.items()) if len(pids) > 1 and "" not in pids]


def read_imagefolder(
    source: Path, by_split: ImagesBySplit, camera: CameraChoice, omissions: Omissions
) -> FolderContents:
    """Read images that lie in a person's folder or below it; count others as left out.

    With "auto", camera ids come from the file names if each contains a Market-style `_c3`; otherwise from the folders
    inside the person's folder if every image lies in one and all are called like `cam3` (c, cam or camera and a
    number); otherwise they are unknown. "folder" takes folders of any name for cameras.

    Raises:
        JointreidError: an image has no camera id, although `camera` says where to find one.
    """
    labelled, sources = [], []
    for split, images in by_split.images.items():
        for names in images:
            pid = names[by_split.depth] if len(names) > by_split.depth + 1 else ""
            if pid in ("", str(JUNK)):
                omissions.add("junk images (pid -1)" if pid else "images in no person's folder", "/".join(names))
            else:
                sources.append(names[by_split.depth + 1 :])
                labelled.append(PersonImage(ImageRecord(source.joinpath(*names), pid, 0), "/".join(names), split))
    camids, cameras, origin, notes = _tell_cameras(sources, camera)
    placed = [
        image._replace(record=ImageRecord(image.record.path, image.record.pid, camid))
        for image, camid in zip(labelled, camids, strict=True)
    ]
    return _contents("imagefolder", placed, cameras, origin, (*by_split.notes, *notes))


class _Cameras(NamedTuple):
    camids: Sequence[int]
    names: Mapping[int, str]
    origin: str = _UNKNOWN
    notes: tuple[str, ...] = ()


def _tell_cameras(images: Sequence[PathParts], choice: CameraChoice) -> _Cameras:
    """Return the camera of each image; `images` are paths below the person's folder."""
    unknown = _Cameras([0] * len(images), {})
    if choice == "none":
        return unknown._replace(origin=_UNUSED)
    matches = [_NAME_CAMERA.search(names[-1]) for names in images]
    nameless = ["/".join(names) for names, match in zip(images, matches, strict=True) if not match]
    if choice == "name" and nameless:
        raise JointreidError(
            f"{len(nameless)} of {len(images)} file names have no camera id ({first_few(nameless)}); expected _c and a "
            "number, as in 0002_c3_17.jpg; rename them, or pass --camera none"
        )
    if choice != "folder" and not nameless:
        camids = [int(match[1]) - 1 for match in matches if match]
        return _Cameras(camids, {camid: f"c{camid + 1}" for camid in camids}, _IN_NAMES)
    direct = ["/".join(names) for names in images if len(names) < 2]
    if choice == "folder" and direct:
        raise JointreidError(
            f"{len(direct)} of {len(images)} images lie directly in their person's folder ({first_few(direct)}); "
            "expected one folder per camera in each, or pass --camera none"
        )
    folders = sorted({names[0] for names in images if len(names) > 1})
    called_so = [folder for folder in folders if _FOLDER_CAMERA.fullmatch(folder)]
    if choice == "folder" or (not direct and called_so == folders):
        index = _number_folders(folders)
        camids = [index[names[0]] for names in images]
        return _Cameras(
            camids, {index[folder]: folder for folder in reversed(folders)}, "from folders inside those of people"
        )
    if folders:
        hint = "they are not used as cameras; if each is a camera, pass --camera folder"
        return unknown._replace(notes=(f"the folders of people contain folders ({first_few(folders)}); {hint}",))
    if len(nameless) < len(images):
        hint = f"{len(nameless)} of {len(images)} file names have no camera id ({first_few(nameless)}); none is used"
        return unknown._replace(notes=(hint,))
    return unknown


def _number_folders(folders: Sequence[str]) -> dict[str, int]:
    """Return a camid for each folder: the number in its name if all have one, otherwise its position."""
    matches = [_FOLDER_CAMERA.fullmatch(folder) or re.fullmatch(r"(\d{1,9})", folder) for folder in folders]
    if all(matches):
        return {folder: int(match[1]) for folder, match in zip(folders, matches, strict=True) if match}
    return {folder: rank for rank, folder in enumerate(folders)}


def _contents(
    layout: str, labelled: Sequence[PersonImage], cameras: Mapping[int, str], origin: str, notes: tuple[str, ...]
) -> FolderContents:
    """Set the camera rule: with one camera, or unknown ones, excluding the query's own camera would leave no match."""
    if not cameras:
        rule = f"{origin}: the domain counts as one camera, and {_EVERY_MATCH}"
    elif len(cameras) == 1:
        rule = f"one camera, {origin}: {_EVERY_MATCH}"
    else:
        rule = f"{len(cameras)} cameras, {origin}: {_OTHER_CAMERAS}"
    return FolderContents(layout, tuple(labelled), dict(sorted(cameras.items())), len(cameras) > 1, rule, notes=notes)
