"""Readers of image folders: labels in the file names (`market`) or one folder per person (`imagefolder`)."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jointreid.config import CameraChoice
from jointreid.data.readers.market_style import ANY_NAME, DISTRACTOR, JUNK, first_camera
from jointreid.data.records import ImageRecord
from jointreid.ingest.cameras import IN_NAMES, UNKNOWN, UNUSED, camera_policy
from jointreid.ingest.images import FolderContents, Omissions, PathParts, PersonImage
from jointreid.ingest.meaning import number_cameras, role_of
from jointreid.ingest.split_folders import ImagesBySplit
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

_NAME_CAMERA = re.compile(r"_c(\d{1,9})(?:s\d+)?(?:_|\.)")
# A part of a name that is called after a camera, `cam3`; or as in MARS, `0001C1T0002F003`.
_OTHER_NAME_CAMERA = re.compile(
    r"(?:(?<![^_\-. ])(?:c|cam|camera)|(?<=\d)C(?=\d+T\d+F))(\d{1,9})(?![^_\-. T])", re.IGNORECASE
)
_MARKET_1501 = re.compile(r"(-1|\d{4})_c\d+(?:s\d+)?_")


# Labels in the file names


def name_faults(images: Iterable[PathParts], depth: int) -> list[str]:
    """Return the images that are not Market-style files directly in their folder."""
    return ["/".join(names) for names in images if len(names) != depth + 1 or not ANY_NAME.match(names[-1])]


def read_market(source: Path, by_split: ImagesBySplit, camera: CameraChoice, omissions: Omissions) -> FolderContents:
    """Read images named `<pid>_c<camera>...` that lie directly in their folder; count others as left out.

    As in Market-1501, pid -1 is junk and left out; pid 0 is a distractor, which only a gallery can use. Where cameras
    are counted from 0, identities are too, and pid 0 is a person.

    Raises:
        JointreidError: `camera` is "folder", which this layout does not have.
    """
    if camera == "folder":
        raise JointreidError("layout market has no folders per camera; pass --camera auto, name or none")
    labelled = []
    less = first_camera(names[-1] for images in by_split.images.values() for names in images)
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
            elif less and int(match[1]) == DISTRACTOR and split in ("train", "query"):
                omissions.add("distractors (pid 0) outside the gallery", name)
            else:
                camid = 0 if camera == "none" else int(match[2]) - less
                distractor = bool(less) and int(match[1]) == DISTRACTOR
                record = ImageRecord(source.joinpath(*names), match[1], camid, distractor=distractor)
                labelled.append(PersonImage(record, name, split))
    notes = by_split.notes
    if zeros := sum(image.record.distractor for image in labelled):
        notes += (f"{zeros:,} images with pid 0 are taken for distractors, as in Market-1501",)
    if camera == "none":
        return _contents("market", labelled, {}, UNUSED, notes, "PERSON_IMAGE")
    cameras = {image.record.camid: f"c{image.record.camid + less}" for image in labelled}
    origin = IN_NAMES if less else "from the file names, which count them from 0"
    return _contents("market", labelled, cameras, origin, notes, "PERSON_cCAMERA_IMAGE")


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
            if not pid:
                omissions.add("images in no person's folder", "/".join(names))
            else:
                sources.append(names[by_split.depth + 1 :])
                labelled.append(PersonImage(ImageRecord(source.joinpath(*names), pid, 0), "/".join(names), split))
    camids, cameras, origin, notes, shown = _tell_cameras(sources, camera)
    placed = [
        image._replace(record=ImageRecord(image.record.path, image.record.pid, camid))
        for image, camid in zip(labelled, camids, strict=True)
    ]
    return _contents("imagefolder", placed, cameras, origin, (*by_split.notes, *notes), shown)


class _Cameras(NamedTuple):
    camids: Sequence[int]
    names: Mapping[int, str]
    origin: str = UNKNOWN
    notes: tuple[str, ...] = ()
    shown: str = "PERSON/IMAGE"


def _tell_cameras(images: Sequence[PathParts], choice: CameraChoice) -> _Cameras:
    """Return the camera of each image; `images` are paths below the person's folder."""
    unknown = _Cameras([0] * len(images), {})
    if choice == "none":
        return unknown._replace(origin=UNUSED)
    matches = [_NAME_CAMERA.search(names[-1]) for names in images]
    if not all(matches):
        others = [_OTHER_NAME_CAMERA.findall(names[-1].rpartition(".")[0]) for names in images]
        if all(len(found) == 1 for found in others):
            matches = [_OTHER_NAME_CAMERA.search(names[-1].rpartition(".")[0]) for names in images]
    nameless = ["/".join(names) for names, match in zip(images, matches, strict=True) if not match]
    if choice == "name" and nameless:
        raise JointreidError(
            f"{len(nameless)} of {len(images)} file names have no camera id ({first_few(nameless)}); expected _c and a "
            "number, as in 0002_c3_17.jpg; rename them, or pass --camera none"
        )
    if choice != "folder" and not nameless:
        numbers = [int(match[1]) for match in matches if match]
        less = min(1, *numbers) if numbers else 1
        camids = [number - less for number in numbers]
        origin = IN_NAMES if less else "from the file names, which count them from 0"
        return _Cameras(camids, {camid: f"c{camid + less}" for camid in camids}, origin, shown="PERSON/cCAMERA_IMAGE")
    direct = ["/".join(names) for names in images if len(names) < 2]
    if choice == "folder" and direct:
        raise JointreidError(
            f"{len(direct)} of {len(images)} images lie directly in their person's folder ({first_few(direct)}); "
            "expected one folder per camera in each, or pass --camera none"
        )
    folders = sorted({names[0] for names in images if len(names) > 1})
    if choice == "folder" or (not direct and role_of(folders) in ("camera", "place")):
        index = number_cameras(folders)
        camids = [index[names[0]] for names in images]
        cameras = {index[folder]: folder for folder in reversed(folders)}
        return _Cameras(camids, cameras, "from folders inside those of people", shown="PERSON/CAMERA/IMAGE")
    if folders:
        hint = "they are not used as cameras; if each is a camera, pass --camera folder"
        return unknown._replace(notes=(f"the folders of people contain folders ({first_few(folders)}); {hint}",))
    if len(nameless) < len(images):
        hint = f"{len(nameless)} of {len(images)} file names have no camera id ({first_few(nameless)}); none is used"
        return unknown._replace(notes=(hint,))
    return unknown


def _contents(
    layout: str,
    labelled: Sequence[PersonImage],
    cameras: Mapping[int, str],
    origin: str,
    notes: tuple[str, ...],
    shown: str,
) -> FolderContents:
    policy, rule = camera_policy(cameras, origin)
    split = "SPLIT/" if any(image.split for image in labelled) else ""
    return FolderContents(
        layout, tuple(labelled), dict(sorted(cameras.items())), rule, policy, notes=notes, reading=split + shown
    )
