"""Folders of images: labels in the files' names (`market`) or a folder a person (`imagefolder`), split or not."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from jointreid.data.readers.market_style import ANY_NAME, DISTRACTOR, JUNK
from jointreid.data.records import ImageRecord
from jointreid.ingest.found import Found, Names, Shot, Tally
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

CameraChoice = Literal["auto", "name", "folder", "none"]

# What a folder of a split is called, in lower case. Of `test`, queries are still to be taken.
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
_IN_NAMES = "from the files' names, which count them from 1"
_UNKNOWN = "camera ids are not known"
_LEFT_ASIDE = "camera ids are left aside, as chosen"
_EVERY_MATCH = "every match counts"
_OTHER_CAMERAS = "a match from the query's own camera is ignored"


class Parts(NamedTuple):
    """The images of a folder by the split that their place in it tells, "" where it tells none.

    Attributes:
        images: split -> the names of its images below the folder.
        depth: how many of an image's folders are the split's.
        notes: what was made of the folders' names.
    """

    images: Mapping[str, Sequence[Names]]
    depth: int
    notes: tuple[str, ...] = ()


def part_by_splits(images: Sequence[Names], tally: Tally) -> Parts:
    """Recognise folders of splits.

    Known are train, query and gallery, also as in Market-1501; `test` for both of the latter or, beside query, for
    gallery; `val`, which joins train, or is the test where there is no other; and `train_all`, which train and val are
    parts of.

    Raises:
        JointreidError: folders of splits stand beside other folders of images without being complete, or one that
            evaluation needs is not there.
    """
    tops = sorted({names[0] for names in images if len(names) > 1})
    roles = {top: _SPLIT_FOLDERS[top.lower()] for top in tops if top.lower() in _SPLIT_FOLDERS}
    held = set(roles.values())
    if not held:
        return Parts({"": images}, 0)
    whole = bool(held & {"train", "train_all"}) and "query" in held and bool(held & {"gallery", "test"})
    others = [top for top in tops if top not in roles]
    if not whole and (others or any(len(names) == 1 for names in images)):
        raise JointreidError(
            f"folders of splits ({', '.join(roles)}) stand beside other images ({first_few(others) or 'files'}); "
            "move the others away, or give a folder that holds no such splits"
        )
    plays, notes = _cast(held, roles)
    parts: dict[str, list[Names]] = defaultdict(list)
    for names in images:
        role = roles.get(names[0]) if len(names) > 1 else None
        if role in plays:
            parts[plays[role]].append(names)
        else:
            tally.add("images outside the folders of the splits", "/".join(names))
    return Parts(parts, 1, notes)


def _cast(held: set[str], roles: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return which split each kind of folder is, and notes."""
    plays: dict[str, str] = {kind: kind for kind in ("train", "query", "gallery", "test") if kind in held}
    notes = []
    if "train_all" in held:
        plays.pop("train", None)
        plays["train_all"] = "train"
        notes.append("train is the folder train_all, which train and val are taken to be parts of")
    if {"query", "gallery"} <= held and "test" in held:
        raise JointreidError(f"there are query, gallery and a test besides ({', '.join(roles)}); move one away")
    if "query" in held and "test" in held:
        plays["test"] = "gallery"
    elif "val" in held and not held & {"train_all", "query", "gallery", "test"}:
        plays["val"] = "test"
    elif "val" in held and "train_all" not in held:
        plays["val"] = "train"
        notes.append("val joins train; data.val_ids holds identities out of it again")
    found = set(plays.values())
    if found == {"train"} or found == {"test"}:
        raise JointreidError(f"there is only {', '.join(roles)}; to have it split, give that folder")
    if ("query" in found) != ("gallery" in found):
        lacking = "gallery" if "query" in found else "query"
        raise JointreidError(f"there are {', '.join(roles)}, but no {lacking}; add it, or call the folder of both test")
    return plays, tuple(notes)


# Labels in the files' names


def name_faults(images: Iterable[Names], depth: int) -> list[str]:
    """Return the images that are not Market-style files directly in their folder."""
    return ["/".join(names) for names in images if len(names) != depth + 1 or not ANY_NAME.match(names[-1])]


def read_market(source: Path, parts: Parts, camera: CameraChoice, tally: Tally) -> Found:
    """Read images named `<pid>_c<camera>...` that lie directly in their folder; others are counted as left out.

    As in Market-1501, pid -1 is junk and left out, and 0 is a distractor, of use only in a gallery.

    Raises:
        JointreidError: `camera` is "folder", which this layout cannot tell.
    """
    if camera == "folder":
        raise JointreidError("in the layout market no folder tells the camera; pass --camera auto, name or none")
    shots = []
    for split, images in parts.images.items():
        for names in images:
            match = ANY_NAME.match(names[-1])
            name = "/".join(names)
            if len(names) > parts.depth + 1:
                tally.add("images in folders below", name)
            elif match is None:
                tally.add("images without labels in their names", name)
            elif int(match[1]) == JUNK:
                tally.add("junk images (pid -1)", name)
            elif int(match[1]) == DISTRACTOR and split in ("train", "query"):
                tally.add("distractors (pid 0) outside the gallery", name)
            else:
                camid = 0 if camera == "none" else int(match[2]) - 1
                distractor = int(match[1]) == DISTRACTOR
                record = ImageRecord(source.joinpath(*names), match[1], camid, distractor=distractor)
                shots.append(Shot(record, name, split))
    notes = parts.notes
    if zeros := sum(shot.record.distractor for shot in shots):
        notes += (f"pid 0 shows nobody in particular, as in Market-1501: {zeros:,} images are distractors",)
    if camera == "none":
        return _found("market", shots, {}, _LEFT_ASIDE, notes)
    cameras = {shot.record.camid: f"c{shot.record.camid + 1}" for shot in shots}
    return _found("market", shots, cameras, _IN_NAMES, notes)


# A folder a person


def person_faults(images: Iterable[Names], depth: int) -> list[str]:
    """Return the images that lie in no person's folder."""
    return ["/".join(names) for names in images if len(names) < depth + 2]


def folders_of_many(images: Iterable[Names], depth: int) -> list[str]:
    """Return the folders, hardly a person's then, whose files are all named as in Market-1501 and of several people.

    In shorter names, such as `3_c1.jpg`, the number may count a person's images.
    """
    people: dict[str, set[str]] = defaultdict(set)
    for names in images:
        match = _MARKET_1501.match(names[-1])
        people[names[depth]].add(match[1] if match else "")
    return [folder for folder, pids in sorted(people.items()) if len(pids) > 1 and "" not in pids]


def read_imagefolder(source: Path, parts: Parts, camera: CameraChoice, tally: Tally) -> Found:
    """Read images that lie in their person's folder or below; others are counted as left out.

    Cameras come, with "auto", from the files' names if every one has a Market-style `_c3`; else from the first folder
    in the person's if every image lies in one and every one is called `cam3` or so (c, cam or camera and a number);
    else they are not known. "folder" takes folders of any names for cameras.

    Raises:
        JointreidError: an image does not tell its camera, where `camera` says that all do.
    """
    shots, sources = [], []
    for split, images in parts.images.items():
        for names in images:
            pid = names[parts.depth] if len(names) > parts.depth + 1 else ""
            if pid in ("", str(JUNK)):
                tally.add("junk images (pid -1)" if pid else "images in no person's folder", "/".join(names))
            else:
                sources.append(names[parts.depth + 1 :])
                shots.append(Shot(ImageRecord(source.joinpath(*names), pid, 0), "/".join(names), split))
    camids, cameras, origin, notes = _tell_cameras(sources, camera)
    placed = [
        shot._replace(record=ImageRecord(shot.record.path, shot.record.pid, camid))
        for shot, camid in zip(shots, camids, strict=True)
    ]
    return _found("imagefolder", placed, cameras, origin, (*parts.notes, *notes))


class _Cameras(NamedTuple):
    camids: Sequence[int]
    names: Mapping[int, str]
    origin: str = _UNKNOWN
    notes: tuple[str, ...] = ()


def _tell_cameras(images: Sequence[Names], choice: CameraChoice) -> _Cameras:
    """Return each image's camera; `images` are names below the person's folder."""
    unknown = _Cameras([0] * len(images), {})
    if choice == "none":
        return unknown._replace(origin=_LEFT_ASIDE)
    matches = [_NAME_CAMERA.search(names[-1]) for names in images]
    nameless = ["/".join(names) for names, match in zip(images, matches, strict=True) if not match]
    if choice == "name" and nameless:
        raise JointreidError(
            f"{len(nameless)} of {len(images)} names tell no camera ({first_few(nameless)}); expected _c and a number, "
            "as in 0002_c3_17.jpg; rename them, or pass --camera none"
        )
    if choice != "folder" and not nameless:
        camids = [int(match[1]) - 1 for match in matches if match]
        return _Cameras(camids, {camid: f"c{camid + 1}" for camid in camids}, _IN_NAMES)
    direct = ["/".join(names) for names in images if len(names) < 2]
    if choice == "folder" and direct:
        raise JointreidError(
            f"{len(direct)} of {len(images)} images lie directly in their person's folder ({first_few(direct)}); "
            "expected a folder a camera in each, or pass --camera none"
        )
    folders = sorted({names[0] for names in images if len(names) > 1})
    called_so = [folder for folder in folders if _FOLDER_CAMERA.fullmatch(folder)]
    if choice == "folder" or (not direct and called_so == folders):
        index = _number_folders(folders)
        camids = [index[names[0]] for names in images]
        return _Cameras(camids, {index[folder]: folder for folder in reversed(folders)}, "from the people's folders")
    if folders:
        hint = "they are not taken for cameras; if they are, pass --camera folder"
        return unknown._replace(notes=(f"people's folders hold folders ({first_few(folders)}); {hint}",))
    if len(nameless) < len(images):
        hint = f"{len(nameless)} of {len(images)} names tell no camera ({first_few(nameless)}), so none is known"
        return unknown._replace(notes=(hint,))
    return unknown


def _number_folders(folders: Sequence[str]) -> dict[str, int]:
    """Return a camid for each folder: its number where all have one, else its rank."""
    matches = [_FOLDER_CAMERA.fullmatch(folder) or re.fullmatch(r"(\d{1,9})", folder) for folder in folders]
    if all(matches):
        return {folder: int(match[1]) for folder, match in zip(folders, matches, strict=True) if match}
    return {folder: rank for rank, folder in enumerate(folders)}


def _found(
    layout: str, shots: Sequence[Shot], cameras: Mapping[int, str], origin: str, notes: tuple[str, ...]
) -> Found:
    """Settle the camera rule: with one camera or none known it would leave no query a match."""
    if not cameras:
        rule = f"{origin}: the domain is one camera, and {_EVERY_MATCH}"
    elif len(cameras) == 1:
        rule = f"one camera, {origin}: {_EVERY_MATCH}"
    else:
        rule = f"{len(cameras)} cameras, {origin}: {_OTHER_CAMERAS}"
    return Found(layout, tuple(shots), dict(sorted(cameras.items())), len(cameras) > 1, rule, notes=notes)
