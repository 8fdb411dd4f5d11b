"""Recognition of a folder's layout; where it is not clear, an error says what the folder contains."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jointreid.config import CameraChoice, Layout
from jointreid.data.decode import SUFFIXES
from jointreid.data.readers.market_style import ANY_NAME
from jointreid.ingest.folders import (
    ImagesBySplit,
    folders_of_many,
    group_by_split,
    name_faults,
    person_faults,
    read_imagefolder,
    read_market,
)
from jointreid.ingest.images import FolderContents, Omissions, PathParts, list_images
from jointreid.ingest.mot import BoxChoice, find_sequences, read_mot
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
    source: Path, layout: Layout, camera: CameraChoice, boxes: BoxChoice, omissions: Omissions
) -> FolderContents:
    """Recognise a folder's layout and read it.

    Images that do not fit the layout are an error if the layout was recognised, and left out if it was given.

    Args:
        source: the folder.
        layout: the layout, or "auto" to recognise it.
        camera: source of the camera ids; a tracking sequence is always one camera.
        boxes: which boxes of tracks to take.
        omissions: counts what is left out.

    Raises:
        JointreidError: there are no images, no layout fits, or a file of the layout is wrong.
    """
    images = list_images(source, omissions)
    if not images:
        seen = "; ".join(map(str, omissions.listed()))
        raise JointreidError(
            f"{source}: contains no images ({', '.join(SUFFIXES)})" + (f"; found {seen}" if seen else "")
        )
    if layout == "mot" or layout == "auto":
        sequences = find_sequences(source)
        if sequences or layout == "mot" or _has_frames(images):
            return _read_sequences(source, images, sequences, layout, camera, boxes, omissions)
    with naming(source):
        by_split = group_by_split(images, omissions)
        if layout == "market" or (layout == "auto" and not _market_faults(by_split)):
            return read_market(source, by_split, camera, omissions)
        if layout == "imagefolder" or not _imagefolder_faults(by_split):
            return read_imagefolder(source, by_split, camera, omissions)
        raise JointreidError(_unclear(by_split))


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


def _imagefolder_faults(by_split: ImagesBySplit) -> list[str]:
    images = _all_images(by_split)
    return person_faults(images, by_split.depth) or folders_of_many(images, by_split.depth)


def _unclear(by_split: ImagesBySplit) -> str:
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
    if not loose:
        mixed = folders_of_many(images, by_split.depth)
        seen.append(
            f"{len(mixed)} of them hold several people, by their file names ({first_few(mixed)}); if each is "
            "one person after all, pass --layout imagefolder"
        )
    known = "; ".join(f"{layout}: {words}" for layout, words in LAYOUTS.items())
    return (
        f"the layout is not clear: {'; '.join(seen)}. Layouts are {known}. Move away what does not belong, or choose "
        "with --layout: images that do not fit are then left out and counted"
    )
