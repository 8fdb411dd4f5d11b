"""Recognition of a folder's layout; where it is not clear, an error says what the folder contains."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jointreid.config import CameraChoice, Layout
from jointreid.data.decode import SUFFIXES
from jointreid.data.readers.market_style import ANY_NAME
from jointreid.ingest.by_pattern import read_by_pattern
from jointreid.ingest.folders import folders_of_many, name_faults, person_faults, read_imagefolder, read_market
from jointreid.ingest.images import FolderContents, Omissions, PathParts, list_images
from jointreid.ingest.known import KNOWN
from jointreid.ingest.meaning import NOBODY, role_of
from jointreid.ingest.mot import BoxChoice, find_sequences, read_mot
from jointreid.ingest.pattern import Pattern
from jointreid.ingest.read_known import find_base, read_known, recognise
from jointreid.ingest.readings import infer
from jointreid.ingest.refusal import refusal
from jointreid.ingest.split_folders import ImagesBySplit, group_by_split
from jointreid.ingest.tree import Reading
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

LAYOUTS = {
    "market": "images named <pid>_c<camera>... directly in the folder, or in bounding_box_train, query and "
    "bounding_box_test",
    "imagefolder": "one folder of images per person, directly in the folder, or in train, query and gallery, or in "
    "train and test",
    "mot": "one folder per sequence with gt/gt.txt and img1/000001.jpg, or one such sequence",
}


def read_layout(
    source: Path,
    layout: Layout,
    camera: CameraChoice,
    boxes: BoxChoice,
    omissions: Omissions,
    pattern: str = "",
) -> FolderContents:
    """Recognise a folder's layout and read it.

    Images that do not fit the layout are an error if the layout was recognised, and left out if it was given.

    Args:
        source: the folder.
        layout: the layout, or "auto" to recognise it: a published one by its folders and names, one of the three
            general ones, or any tree whose levels have one meaning.
        camera: source of the camera ids; a tracking sequence is always one camera.
        boxes: which boxes of tracks to take.
        omissions: counts what is left out.
        pattern: the meaning of the paths (see `Pattern`), with layout "auto"; "" to infer it.

    Raises:
        JointreidError: there are no images, no layout or more than one fits, or a file of the layout is wrong.
    """
    images = list_images(source, omissions)
    if not images:
        seen = "; ".join(map(str, omissions.listed()))
        raise JointreidError(
            f"{source}: contains no images ({', '.join(SUFFIXES)})" + (f"; found {seen}" if seen else "")
        )
    if pattern:
        if layout != "auto":
            raise JointreidError(f"--layout {layout} and --pattern {pattern}: give one of the two")
        with naming(source):
            return read_by_pattern(source, images, Pattern(pattern), camera, omissions)
    if layout in KNOWN:
        with naming(source):
            return read_known(source, images, find_base(layout, images), camera, omissions)
    if layout == "mot" or layout == "auto":
        sequences = find_sequences(source)
        if sequences or layout == "mot" or _has_frames(images):
            return _read_sequences(source, images, sequences, layout, camera, boxes, omissions)
    with naming(source):
        if layout == "auto" and camera != "folder":
            return _recognise(source, images, camera, omissions)
        if layout == "auto" and (folders := _folders_as_cameras(images)):
            if len(folders) > 1:
                raise JointreidError(_unclear(source, ImagesBySplit({"": images}, 0), folders))
            return read_by_pattern(source, images, Pattern(folders[0].pattern), camera, omissions, (folders[0].why,))
        by_split = group_by_split(images, omissions)
        market = layout == "market" or (layout == "auto" and not _market_faults(by_split))
        read = read_market if market else read_imagefolder
        return read(source, by_split, camera, omissions)


def _recognise(source: Path, images: Sequence[PathParts], camera: CameraChoice, omissions: Omissions) -> FolderContents:
    """Read a folder whose layout is not given: by a published layout, or by the one reading that fits."""
    if known := recognise(source, images):
        return read_known(source, images, known, camera, omissions)
    wrapper = _wrapper(images)
    inner = [names[len(wrapper) :] for names in images]
    source = source.joinpath(*wrapper)
    by_split = group_by_split(inner, omissions)
    if not _market_faults(by_split):
        return read_market(source, by_split, camera, omissions)
    below = [names[by_split.depth :] for names in _all_images(by_split)]
    if any(len(names) == 1 for names in below) and any(len(names) > 1 for names in below):
        raise JointreidError(_unclear(source, by_split))
    readings = infer(below)
    if len(readings) != 1 and (told := _without_nobody(source, by_split, camera, omissions)):
        return told
    if mixed := folders_of_many(_all_images(by_split), by_split.depth) if readings else []:
        named = "in these the file names show several people"
        one = Reading(
            "/".join(["*"] * (len(below[0]) - 1) + ["{pid}_{camera}_{frame}"]), f"{named}: {first_few(mixed)}"
        )
        if role_of({names[0] for names in below}) not in ("camera", "place", "sequence"):
            raise JointreidError(_unclear(source, by_split, [*readings, one]))
    if len(readings) != 1:
        raise JointreidError(_unclear(source, by_split, readings))
    pattern = Pattern(readings[0].pattern)
    levels = pattern.text.split("/")
    if _is_partly_other(below, levels):
        raise JointreidError(_unclear(source, by_split, readings))
    if (
        levels[0] == "{pid}"
        and levels.count("{camera}") < 2
        and ("{camera}" not in levels or levels.index("{camera}") == 1)
    ):
        return read_imagefolder(source, by_split, camera, omissions)
    text = f"{{split}}/{pattern.text}" if by_split.depth else pattern.text
    return read_by_pattern(source, sorted(_all_images(by_split)), Pattern(text), camera, omissions, (readings[0].why,))


def _is_partly_other(images: Sequence[PathParts], levels: Sequence[str]) -> bool:
    """Return whether some folders taken for people are called after splits or cameras: then splits differ in depth."""
    if "{pid}" not in levels[:-1]:
        return False
    level = levels.index("{pid}")
    roles = {role_of({names[level]}) for names in images}
    return bool(roles & {"split", "camera"}) and len(roles) > 1


def _folders_as_cameras(images: Sequence[PathParts]) -> list[Reading]:
    """Return the readings in which folders above people are cameras, and where these fit, all with cameras."""
    readings = [reading for reading in infer(images) if "{camera}" in reading.pattern.split("/")[:-1]]
    above = any(reading.pattern.find("{camera}") < reading.pattern.find("{pid}") for reading in readings)
    return readings if above else []


def _without_nobody(
    source: Path, by_split: ImagesBySplit, camera: CameraChoice, omissions: Omissions
) -> FolderContents | None:
    """Read a folder that has one meaning but for folders such as `unknown`, whose images are left out; else None."""
    named = {names: name for names in _all_images(by_split) for name in names[:-1] if name.lower() in NOBODY}
    known = {split: [names for names in images if names not in named] for split, images in by_split.images.items()}
    rest = by_split._replace(images=known)
    readings = infer([names[by_split.depth :] for names in _all_images(rest)]) if named and any(known.values()) else []
    if len(readings) != 1:
        return None
    for names, name in named.items():
        omissions.add(f"images in folders named {name}, taken for nobody", "/".join(names))
    text = f"{{split}}/{readings[0].pattern}" if by_split.depth else readings[0].pattern
    return read_by_pattern(source, _all_images(rest), Pattern(text), camera, omissions, (readings[0].why,))


def _wrapper(images: Sequence[PathParts]) -> PathParts:
    """Return the folders that hold everything and mean nothing, such as what an archive was unpacked to."""
    folders = min(len(names) for names in images) - 1
    held = [{names[level] for names in images} for level in range(folders)]
    depth = next((level for level, values in enumerate(held) if len(values) > 1 or role_of(values)), folders)
    # A person may lie in one folder above those of cameras or days; a wrapper has people or splits somewhere below it.
    below = any(len(values) > 1 and role_of(values) in ("", "person", "split") for values in held[depth:])
    return images[0][:depth] if below else ()


@contextmanager
def naming(source: Path) -> Iterator[None]:
    """Put the folder in front of the message of an error raised inside."""
    try:
        yield
    except JointreidError as error:
        raise JointreidError(f"{source}: {error}") from error


def _read_sequences(
    source: Path,
    images: Sequence[PathParts],
    sequences: Sequence[Path],
    layout: Layout,
    camera: CameraChoice,
    boxes: BoxChoice,
    omissions: Omissions,
) -> FolderContents:
    if not sequences:
        deeper = sorted({"/".join(names[:-3]) for names in images if names[-2:-1] == ("img1",) and len(names) > 3})
        hint = f"; if {first_few(deeper)} contains sequences, give that folder" if deeper else ""
        raise JointreidError(f"{source}: no folder here has a gt/gt.txt{hint}. Expected {LAYOUTS['mot']}")
    if layout == "auto" and (loose := ["/".join(names) for names in images if len(names) == 1]):
        raise JointreidError(
            f"{source}: {len(loose)} images ({first_few(loose)}) lie beside sequences ({sequences[0].name}); move "
            "them away, or pass --layout mot to leave them out"
        )
    if camera != "auto":
        raise JointreidError(f"{source}: --camera {camera} is for folders of images; here every sequence is one camera")
    return read_mot(source, images, boxes, omissions)


def _has_frames(images: Sequence[PathParts]) -> bool:
    """Return whether a folder is named like the frames of a sequence: the folder above it is then not a person's."""
    return any(names[-2:-1] == ("img1",) for names in images)


def _all_images(by_split: ImagesBySplit) -> list[PathParts]:
    return [names for images in by_split.images.values() for names in images]


def _market_faults(by_split: ImagesBySplit) -> list[str]:
    return name_faults(_all_images(by_split), by_split.depth)


def _unclear(source: Path, by_split: ImagesBySplit, readings: Sequence[Reading] = ()) -> str:
    """Return the message that no reading fits, or several: what is there, and how to say what it means."""
    images = _all_images(by_split)
    loose = person_faults(images, by_split.depth)
    named = sum(ANY_NAME.match(name.rsplit("/")[-1]) is not None for name in loose)
    folders = sorted({names[by_split.depth] for names in images if len(names) > by_split.depth + 1})
    seen = []
    if loose:
        seen.append(
            f"{len(loose)} images outside the folder of a person ({first_few(loose)}), {named} with labels in the name"
        )
    if folders:
        seen.append(f"{len(folders)} folders with images ({first_few(folders)})")
    if not loose and (mixed := folders_of_many(images, by_split.depth)):
        seen.append(
            f"{len(mixed)} of them hold several people, by their file names ({first_few(mixed)}); if each is "
            "one person after all, pass --layout imagefolder"
        )
    return f"the layout is not clear: {'; '.join(seen)}. " + refusal(images, by_split.depth, readings, LAYOUTS)
