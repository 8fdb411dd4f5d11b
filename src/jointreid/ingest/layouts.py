"""Which layout a folder has, by looking; where that is not clear, an error that says what was seen."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from jointreid.data.decode import SUFFIXES
from jointreid.data.readers.market_style import ANY_NAME
from jointreid.ingest.folders import (
    CameraChoice,
    Parts,
    folders_of_many,
    name_faults,
    part_by_splits,
    person_faults,
    read_imagefolder,
    read_market,
)
from jointreid.ingest.found import Found, Names, Tally, list_images
from jointreid.ingest.mot import BoxChoice, find_sequences, read_mot
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

Layout = Literal["auto", "market", "imagefolder", "mot"]

LAYOUTS = {
    "market": "images named <pid>_c<camera>... directly in the folder, or in bounding_box_train, query and "
    "bounding_box_test",
    "imagefolder": "a folder of images a person, directly in the folder, or in train, query and gallery, or in train "
    "and test",
    "mot": "a folder a sequence with gt/gt.txt and img1/000001.jpg, or such a sequence itself",
}


def read_layout(source: Path, layout: Layout, camera: CameraChoice, boxes: BoxChoice, tally: Tally) -> Found:
    """Recognise a folder's layout and read it.

    What does not fit the layout is an error where that was found by looking; where it was told, it is left out.

    Args:
        source: the folder.
        layout: the layout, or "auto" to look.
        camera: where camera ids come from; a sequence is always its own camera.
        boxes: which boxes of tracks to take.
        tally: counts what is left out.

    Raises:
        JointreidError: no images, no layout or several that fit, or whatever is wrong with the one that does.
    """
    images = list_images(source, tally)
    if not images:
        seen = "; ".join(map(str, tally.dropped()))
        raise JointreidError(f"{source}: holds no images ({', '.join(SUFFIXES)})" + (f"; found {seen}" if seen else ""))
    if layout == "mot" or layout == "auto":
        sequences = find_sequences(source)
        if sequences or layout == "mot" or _has_frames(images):
            return _read_sequences(source, images, sequences, layout, camera, boxes, tally)
    with naming(source):
        parts = part_by_splits(images, tally)
        if layout == "market" or (layout == "auto" and not _market_faults(parts)):
            return read_market(source, parts, camera, tally)
        if layout == "imagefolder" or not _imagefolder_faults(parts):
            return read_imagefolder(source, parts, camera, tally)
        raise JointreidError(_unclear(parts))


@contextmanager
def naming(source: Path) -> Iterator[None]:
    """Put the folder before the message of an error that does not know it."""
    try:
        yield
    except JointreidError as error:
        raise JointreidError(f"{source}: {error}") from error


def _read_sequences(
    source: Path,
    images: Sequence[Names],
    sequences: Sequence[Path],
    layout: Layout,
    camera: CameraChoice,
    boxes: BoxChoice,
    tally: Tally,
) -> Found:
    if not sequences:
        deeper = sorted({"/".join(names[:-3]) for names in images if names[-2:-1] == ("img1",) and len(names) > 3})
        hint = f"; if {first_few(deeper)} holds sequences, give that folder" if deeper else ""
        raise JointreidError(f"{source}: no sequence here has a gt/gt.txt{hint}. Expected {LAYOUTS['mot']}")
    if layout == "auto" and (loose := ["/".join(names) for names in images if len(names) == 1]):
        raise JointreidError(
            f"{source}: {len(loose)} images ({first_few(loose)}) stand beside sequences ({sequences[0].name}); move "
            "them away, or pass --layout mot to leave them out"
        )
    if camera != "auto":
        raise JointreidError(f"{source}: --camera {camera} is for folders of images; here every sequence is a camera")
    return read_mot(source, images, boxes, tally)


def _has_frames(images: Sequence[Names]) -> bool:
    """Say whether a folder is called as that of a sequence's frames: the folder above it is then no person's."""
    return any(names[-2:-1] == ("img1",) for names in images)


def _all_images(parts: Parts) -> list[Names]:
    return [names for images in parts.images.values() for names in images]


def _market_faults(parts: Parts) -> list[str]:
    return name_faults(_all_images(parts), parts.depth)


def _imagefolder_faults(parts: Parts) -> list[str]:
    images = _all_images(parts)
    return person_faults(images, parts.depth) or folders_of_many(images, parts.depth)


def _unclear(parts: Parts) -> str:
    images = _all_images(parts)
    loose = person_faults(images, parts.depth)
    named = sum(ANY_NAME.match(name.rsplit("/")[-1]) is not None for name in loose)
    folders = sorted({names[parts.depth] for names in images if len(names) > parts.depth + 1})
    seen = []
    if loose:
        seen.append(
            f"{len(loose)} images in no folder of a person ({first_few(loose)}), {named} with labels in the name"
        )
    if folders:
        seen.append(f"{len(folders)} folders with images ({first_few(folders)})")
    if not loose:
        mixed = folders_of_many(images, parts.depth)
        seen.append(
            f"{len(mixed)} of them hold several people by the files' names ({first_few(mixed)}); if each is one person "
            "all the same, pass --layout imagefolder"
        )
    known = "; ".join(f"{layout}: {words}" for layout, words in LAYOUTS.items())
    return (
        f"the layout is not clear: {'; '.join(seen)}. Layouts are {known}. Move away what does not belong, or choose "
        "with --layout: what does not fit is then left out and counted"
    )
