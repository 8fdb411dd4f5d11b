"""Tracking sequences as MOTChallenge lays them out (`mot`): the boxes of a track are the images of an identity.

`<sequence>/gt/gt.txt` has a row a box: frame, id, left, top, width, height, conf, class, visibility. Rows may end after
conf or class; with ten cells, those after conf are positions in the world (MOT15), not class and visibility. Frames are
`<sequence>/img1/000001.jpg`. `<sequence>/seqinfo.ini` may name another folder and the frame rate.
"""

import configparser
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jointreid.data.decode import read_image
from jointreid.data.records import ImageRecord
from jointreid.ingest.found import Found, Names, Shot, Tally, stays_below
from jointreid.machine.hashing import bytes_sha256
from jointreid.messages.errors import JointreidError

GROUND_TRUTH = ("gt", "gt.txt")
_PEDESTRIAN = 1
_UNSET = -1  # what class and visibility hold where nobody filled them in
_POLICY = (
    "every sequence is a camera, but nobody is followed from one to another: every match counts, and figures say how "
    "well people are told apart within a view, not across cameras"
)


class BoxChoice(NamedTuple):
    """Which boxes of a track are taken.

    Attributes:
        every: frames from one to the next, at least; nearer ones show nearly the same image.
        min_height: in pixels, inside the frame.
        min_visibility: the share of the person that shows, 0 to 1, where the sequence tells it.
    """

    every: int = 10
    min_height: int = 32
    min_visibility: float = 0.3


class _Sequence(NamedTuple):
    """One sequence: its name, its frames by number, their size in pixels, frames a second (0: unknown)."""

    name: str
    frames: Mapping[int, Path]
    width: int
    height: int
    rate: float


class _Box(NamedTuple):
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
    """Return the folders with a gt/gt.txt: `source` itself, or else those directly in it, sorted."""
    if source.joinpath(*GROUND_TRUTH).is_file():
        return [source]
    folders = [path for path in sorted(source.iterdir()) if not path.name.startswith(".") and not path.is_symlink()]
    return [path for path in folders if path.joinpath(*GROUND_TRUTH).is_file()]


def read_mot(source: Path, images: Sequence[Names], choice: BoxChoice, tally: Tally) -> Found:
    """Read sequences; boxes that are of no use are counted as left out.

    A sequence with the same gt.txt as an earlier one (MOT17 has each once a detector) is left out whole.

    Args:
        source: a sequence, or a folder of sequences.
        images: the names of all images below `source`.
        choice: which boxes to take.
        tally: counts what is left out.

    Raises:
        JointreidError: a file of a sequence is malformed, or it has no frames; names file, row and key.
    """
    shots: list[Shot] = []
    cameras: dict[int, str] = {}
    known: dict[str, str] = {}
    folders = find_sequences(source)
    if folders != [source]:
        _count_others(images, folders, tally)
    by_folder: dict[Names, list[Names]] = defaultdict(list)
    for names in images:
        by_folder[names[:-1]].append(names)
    for folder in folders:
        content = _read_inside(source, folder.joinpath(*GROUND_TRUTH))
        same = known.setdefault(bytes_sha256(content), folder.name)
        if same != folder.name:
            tally.add("sequences with the gt.txt of another", f"{folder.name}, as {same}")
            continue
        camid = len(cameras)
        cameras[camid] = folder.name
        sequence = _open_sequence(source, folder, by_folder)
        boxes = list(_read_boxes(folder.joinpath(*GROUND_TRUTH), content))
        shots += _take(source, sequence, camid, boxes, choice, tally)
    return Found("mot", tuple(shots), cameras, exclude_same_camera=False, policy=_POLICY, tracks=True)


# A sequence


def _count_others(images: Sequence[Names], folders: Sequence[Path], tally: Tally) -> None:
    sequences = {folder.name for folder in folders}
    for name in sorted({names[0] for names in images if len(names) > 1} - sequences):
        tally.add("folders without gt/gt.txt", name)
    for names in images:
        if len(names) == 1:
            tally.add("images outside the sequences", names[0])


def _open_sequence(source: Path, folder: Path, by_folder: Mapping[Names, Sequence[Names]]) -> _Sequence:
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
            f"{source.joinpath(*inner)}{link}: holds no frames of {folder.name}; "
            f"expected images called by their number, as 000001{suffix or '.jpg'}"
        )
    height, width, _ = read_image(frames[min(frames)]).shape
    stated = [
        int(_positive(info, key, info_path, default)) for key, default in (("imwidth", width), ("imheight", height))
    ]
    if stated != [width, height]:
        raise JointreidError(
            f"{info_path}: imWidth and imHeight are {stated[0]} x {stated[1]}, but {frames[min(frames)]} is "
            f"{width} x {height} pixels; the boxes would not fit: restore the frames, or correct the file"
        )
    return _Sequence(folder.name, frames, width, height, _positive(info, "framerate", info_path, 0))


def _read_info(source: Path, path: Path) -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_read_inside(source, path).decode("utf-8-sig"), str(path))
        return dict(parser["Sequence"])
    except (configparser.Error, KeyError, UnicodeDecodeError) as error:
        raise JointreidError(f"{path}: not as in MOTChallenge: {error}; expected a section [Sequence]") from error


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


def _read_boxes(path: Path, content: bytes) -> Iterator[_Box]:
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
        yield _Box(int(values[0]), int(values[1]), left, top, width, height, conf, int(kind), visibility)


def _take(
    source: Path, sequence: _Sequence, camid: int, boxes: Sequence[_Box], choice: BoxChoice, tally: Tally
) -> Iterator[Shot]:
    """Yield the boxes that are of use, of each track those `every` frames apart."""
    tracks: dict[int, list[tuple[int, tuple[int, int, int, int]]]] = defaultdict(list)
    for box in boxes:
        clipped = _clip(box, sequence)
        if reason := _why_useless(box, clipped, sequence, choice):
            tally.add(reason)
        else:
            tracks[box.track].append((box.frame, clipped))
    taken: set[tuple[int, tuple[int, int, int, int]]] = set()
    for track, places in sorted(tracks.items()):
        last = -math.inf
        for frame, place in sorted(places):
            if frame - last < choice.every:
                tally.add(f"boxes less than {choice.every} frames after the one before in their track")
                continue
            if (frame, place) in taken:
                tally.add("boxes that another track has too")
                continue
            taken.add((frame, place))
            last = frame
            path = sequence.frames[frame]
            seconds = frame / sequence.rate if sequence.rate else None
            record = ImageRecord(path, f"{sequence.name}-{track}", camid, box=place, timestamp=seconds)
            yield Shot(record, f"{path.relative_to(source).as_posix()} {place}", frame=frame)


def _clip(box: _Box, sequence: _Sequence) -> tuple[int, int, int, int]:
    """Return (x, y, width, height) of the part inside the frame, in whole pixels; width or height < 1 if there is none.

    That MOTChallenge counts pixels from 1 and others of this format from 0 is not told anywhere, and left as it is.
    """
    left, top = max(0, round(box.left)), max(0, round(box.top))
    # Clipped before they are rounded: the sum of two finite numbers may be infinite.
    right = round(max(0, min(sequence.width, box.left + box.width)))
    bottom = round(max(0, min(sequence.height, box.top + box.height)))
    return left, top, right - left, bottom - top


def _why_useless(box: _Box, clipped: tuple[int, int, int, int], sequence: _Sequence, choice: BoxChoice) -> str:
    if box.conf == 0:
        return "boxes marked to be ignored (conf 0)"
    if box.track < 0:
        return "boxes without an id"
    if box.kind not in (_PEDESTRIAN, _UNSET):
        return f"boxes of a class other than pedestrian ({_PEDESTRIAN})"
    if box.visibility != _UNSET and box.visibility < choice.min_visibility:
        return f"boxes less visible than {choice.min_visibility:g}"
    if box.frame not in sequence.frames:
        return "boxes whose frame is not there"
    if min(clipped[2:]) < 1:
        return "boxes outside their frame"
    if clipped[3] < choice.min_height:
        return f"boxes lower than {choice.min_height} pixels"
    return ""
