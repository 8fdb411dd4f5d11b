"""Tracking sequences in the layout of MOTChallenge (`mot`): the boxes of a track are the images of an identity.

`<sequence>/gt/gt.txt` has one row per box: frame, id, left, top, width, height, conf, class, visibility. Rows may end
after conf or class; in rows of ten cells, those after conf are world coordinates (MOT15), not class and visibility.
Frames are `<sequence>/img1/000001.jpg`. `<sequence>/seqinfo.ini` may name another folder and the frame rate.
"""

import configparser
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jointreid.data.decode import read_image
from jointreid.data.records import ImageRecord
from jointreid.ingest.images import FolderContents, Omissions, PathParts, PersonImage, stays_below
from jointreid.ingest.mot_classes import ClassChoice, choose_classes, fits
from jointreid.machine.hashing import bytes_sha256
from jointreid.messages.errors import JointreidError

GROUND_TRUTH = ("gt", "gt.txt")
_UNSET = -1  # value of visibility where it was not annotated
_POLICY = (
    "every sequence is one camera, and nobody is followed from one to another: every match counts, and results show "
    "how well people are told apart within a view, not across cameras"
)


class BoxChoice(NamedTuple):
    """The boxes to take from a track.

    Attributes:
        every: least distance in frames from one to the next; closer boxes show nearly the same image.
        min_height: least height in pixels of the part inside the frame.
        min_visibility: least visible share of the person, 0 to 1, where the sequence gives it.
        classes: the classes by number or name, separated by commas; "" for pedestrians and boxes without a class.
    """

    every: int = 10
    min_height: int = 32
    min_visibility: float = 0.3
    classes: str = ""


class _Sequence(NamedTuple):
    """One sequence: its name, its frames by number, their size in pixels, frames per second (0 if unknown)."""

    name: str
    frames: Mapping[int, Path]
    width: int
    height: int
    rate: float


class _TrackBox(NamedTuple):
    """A row of gt.txt; `kind` and `visibility` are -1 where the row has none."""

    frame: int
    track: int
    left: float
    top: float
    width: float
    height: float
    conf: float
    kind: int
    visibility: float


def find_sequences(source: Path) -> list[Path]:
    """Return the folders with a gt/gt.txt, sorted: `source` itself, or otherwise those directly inside it."""
    if source.joinpath(*GROUND_TRUTH).is_file():
        return [source]
    folders = [path for path in sorted(source.iterdir()) if not path.name.startswith(".") and not path.is_symlink()]
    return [path for path in folders if path.joinpath(*GROUND_TRUTH).is_file()]


def read_mot(source: Path, images: Sequence[PathParts], choice: BoxChoice, omissions: Omissions) -> FolderContents:
    """Read sequences; count unusable boxes as left out.

    A sequence with the same gt.txt as an earlier one is left out (MOT17 has each sequence once per detector).

    Args:
        source: a sequence, or a folder of sequences.
        images: paths of all images below `source`.
        choice: which boxes to take.
        omissions: counts what is left out.

    Raises:
        JointreidError: a file of a sequence is malformed (the message names file, row and key), or it has no frames.
    """
    labelled: list[PersonImage] = []
    cameras: dict[int, str] = {}
    known: dict[str, str] = {}
    copies: list[str] = []
    sequences: list[tuple[_Sequence, Sequence[_TrackBox]]] = []
    folders = find_sequences(source)
    if folders != [source]:
        _count_others(images, folders, omissions)
    by_folder: dict[PathParts, list[PathParts]] = defaultdict(list)
    for names in images:
        by_folder[names[:-1]].append(names)
    for folder in folders:
        content = _read_inside(source, folder.joinpath(*GROUND_TRUTH))
        same = known.setdefault(bytes_sha256(content), folder.name)
        if same != folder.name:
            copies.append(f"{folder.name}, as {same}")
            continue
        camid = len(cameras)
        cameras[camid] = folder.name
        sequence = _open_sequence(source, folder, by_folder)
        sequences.append((sequence, list(_read_boxes(folder.joinpath(*GROUND_TRUTH), content))))
    counts = Counter(box.kind for _, boxes in sequences for box in boxes if box.conf != 0)
    classes = choose_classes(choice.classes, counts)
    for camid, (sequence, boxes) in enumerate(sequences):
        labelled += _take(source, sequence, camid, boxes, choice, classes, omissions)
    for copy in copies:
        omissions.add("sequences with the gt.txt of another", copy)
    return FolderContents(
        "mot",
        tuple(labelled),
        cameras,
        exclude_same_camera=False,
        policy=_POLICY,
        tracks=True,
        notes=classes.notes,
        reading=f"SEQUENCE/gt/gt.txt, boxes of {classes.words}",
    )


# A sequence


def _count_others(images: Sequence[PathParts], folders: Sequence[Path], omissions: Omissions) -> None:
    sequences = {folder.name for folder in folders}
    for name in sorted({names[0] for names in images if len(names) > 1} - sequences):
        omissions.add("folders without gt/gt.txt", name)
    for names in images:
        if len(names) == 1:
            omissions.add("images outside the sequences", names[0])


def _open_sequence(source: Path, folder: Path, by_folder: Mapping[PathParts, Sequence[PathParts]]) -> _Sequence:
    info_path = folder / "seqinfo.ini"
    info = _read_info(source, info_path) if info_path.is_file() else {}
    inner = (*folder.relative_to(source).parts, *Path(info.get("imdir", "img1")).parts)
    suffix = info.get("imext", "")
    frames: dict[int, Path] = {}
    for names in by_folder.get(inner, ()):
        stem = Path(names[-1]).stem
        if names[-1].endswith(suffix) and stem.isdecimal():
            frames.setdefault(int(stem), source.joinpath(*names))
    if not frames:
        link = " (a link, which is not followed)" if os.path.islink(source.joinpath(*inner)) else ""
        raise JointreidError(
            f"{source.joinpath(*inner)}{link}: contains no frames of {folder.name}; "
            f"expected images named by their number, such as 000001{suffix or '.jpg'}"
        )
    height, width, _ = read_image(frames[min(frames)]).shape
    stated = [
        int(_positive(info, key, info_path, default)) for key, default in (("imwidth", width), ("imheight", height))
    ]
    if stated != [width, height]:
        raise JointreidError(
            f"{info_path}: imWidth and imHeight are {stated[0]} x {stated[1]}, but {frames[min(frames)]} is "
            f"{width} x {height} pixels, so the boxes would not fit; restore the frames, or correct the file"
        )
    return _Sequence(folder.name, frames, width, height, _positive(info, "framerate", info_path, 0))


def _read_info(source: Path, path: Path) -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_read_inside(source, path).decode("utf-8-sig"), str(path))
        return dict(parser["Sequence"])
    except (configparser.Error, KeyError, UnicodeDecodeError) as error:
        raise JointreidError(f"{path}: is not as in MOTChallenge: {error}; expected a section [Sequence]") from error


def _positive(info: Mapping[str, str], key: str, path: Path, default: float) -> float:
    try:
        value = float(info.get(key, default))
    except ValueError:
        value = math.nan
    if key in info and not 0 < value < math.inf:
        raise JointreidError(f"{path}, {key}: {info[key]!r}; expected a number above 0")
    return value


def _read_inside(source: Path, path: Path) -> bytes:
    if not stays_below(source, path):
        raise JointreidError(f"{path}: is a link that leads out of {source}, which is not followed; put the file there")
    try:
        return path.read_bytes()
    except OSError as error:
        raise JointreidError(f"{path}: cannot be read: {error.strerror}") from error


# Boxes


def _read_boxes(path: Path, content: bytes) -> Iterator[_TrackBox]:
    for number, line in enumerate(content.decode("utf-8-sig", errors="replace").splitlines(), start=1):
        cells = [cell.strip() for cell in line.split(",")]
        if cells == [""]:
            continue
        if not 7 <= len(cells) <= 10:
            raise JointreidError(
                f"{path}, row {number}: {len(cells)} cells; expected 7 to 10: "
                "frame,id,left,top,width,height,conf,class,visibility"
            )
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            values = [math.nan]
        if not all(map(math.isfinite, values)) or not (values[0].is_integer() and values[1].is_integer()):
            raise JointreidError(
                f"{path}, row {number}: {line.strip()[:80]!r}; expected numbers, whole for frame and id"
            )
        kind, visibility = (*values[7:9], _UNSET, _UNSET)[:2] if len(values) < 10 else (_UNSET, _UNSET)
        left, top, width, height, conf = values[2:7]
        yield _TrackBox(int(values[0]), int(values[1]), left, top, width, height, conf, int(kind), visibility)


def _take(
    source: Path,
    sequence: _Sequence,
    camid: int,
    boxes: Sequence[_TrackBox],
    choice: BoxChoice,
    classes: ClassChoice,
    omissions: Omissions,
) -> Iterator[PersonImage]:
    """Yield the usable boxes of each track, at least `every` frames apart."""
    tracks: dict[int, list[tuple[int, tuple[int, int, int, int]]]] = defaultdict(list)
    for box in boxes:
        clipped = _clip(box, sequence)
        if reason := _reason_unusable(box, clipped, sequence, choice, classes):
            omissions.add(reason)
        else:
            tracks[box.track].append((box.frame, clipped))
    taken: set[tuple[int, tuple[int, int, int, int]]] = set()
    for track, places in sorted(tracks.items()):
        last = -math.inf
        for frame, place in sorted(places):
            if frame - last < choice.every:
                omissions.add(f"boxes less than {choice.every} frames after the previous one of their track")
                continue
            if (frame, place) in taken:
                omissions.add("boxes that another track also has")
                continue
            taken.add((frame, place))
            last = frame
            path = sequence.frames[frame]
            seconds = frame / sequence.rate if sequence.rate else None
            record = ImageRecord(path, f"{sequence.name}-{track}", camid, box=place, timestamp=seconds)
            yield PersonImage(record, f"{path.relative_to(source).as_posix()} {place}", frame=frame)


def _clip(box: _TrackBox, sequence: _Sequence) -> tuple[int, int, int, int]:
    """Return (x, y, width, height) of the part inside the frame, in whole pixels; width or height < 1 if there is none.

    MOTChallenge counts pixels from 1, other data sets in this format from 0; no file says which, so nothing is shifted.
    """
    left, top = max(0, round(box.left)), max(0, round(box.top))
    # Clip before rounding: the sum of two finite numbers may be infinite.
    right = round(max(0, min(sequence.width, box.left + box.width)))
    bottom = round(max(0, min(sequence.height, box.top + box.height)))
    return left, top, right - left, bottom - top


def _reason_unusable(
    box: _TrackBox,
    clipped: tuple[int, int, int, int],
    sequence: _Sequence,
    choice: BoxChoice,
    classes: ClassChoice,
) -> str:
    if box.conf == 0:
        return "boxes marked as ignored (conf 0)"
    if box.track < 0:
        return "boxes without an id"
    if not fits(box.kind, classes):
        return f"boxes of a class other than {classes.words}"
    if box.visibility != _UNSET and box.visibility < choice.min_visibility:
        return f"boxes less visible than {choice.min_visibility:g}"
    if box.frame not in sequence.frames:
        return "boxes whose frame is missing"
    if min(clipped[2:]) < 1:
        return "boxes outside their frame"
    if clipped[3] < choice.min_height:
        return f"boxes lower than {choice.min_height} pixels"
    return ""
