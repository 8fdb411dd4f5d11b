"""Recognise a published layout, and read it by its own rules."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jointreid.config import CameraChoice
from jointreid.data.records import ImageRecord
from jointreid.ingest.cameras import UNUSED, camera_policy
from jointreid.ingest.images import FolderContents, Omissions, PathParts, PersonImage
from jointreid.ingest.known import KNOWN, KnownLayout, Label
from jointreid.ingest.known_lists import SplitLists
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

# Folders that an archive may put around a data set.
_DEEPEST_BASE = 3
_MOST_BASES = 64
# Copies of the same images for single-shot evaluation, beside the whole sequences.
_COPIES = {"prid2011": ("single_shot", "multi_shot"), "ilids-vid": ("images", "sequences")}


class FoundLayout(NamedTuple):
    """A layout by its name, and the folders between the given folder and the data set's own."""

    name: str
    base: PathParts


def recognise(source: Path, images: Sequence[PathParts]) -> FoundLayout | None:
    """Return the published layout whose folders are all there and that every image in them fits; None for none."""
    folders = {names[:-1] for names in images}
    for base in _bases(folders):
        inside = {"/".join(folder[len(base) : len(base) + depth]) for folder in folders for depth in (1, 2)
                  if folder[: len(base)] == base}  # fmt: skip
        root = source.joinpath(*base)
        inside |= {entry.name for entry in root.iterdir() if entry.is_dir()} if root.is_dir() else set()
        for name, layout in KNOWN.items():
            if layout.hint and not _is_hinted(source, base, layout):
                continue
            if _has_folders(inside, layout) and _fits(layout, images, base):
                return FoundLayout(name, base)
    return None


def find_base(name: str, images: Sequence[PathParts]) -> FoundLayout:
    """Return where the images of a layout that the user names begin.

    Raises:
        JointreidError: no image fits.
    """
    layout = KNOWN[name]
    regex = _regex(layout)
    for base in _bases({names[:-1] for names in images}):
        if any(names[: len(base)] == base and regex.fullmatch("/".join(names[len(base) :])) for names in images):
            return FoundLayout(name, base)
    examples = first_few(["/".join(names) for names in images], 3)
    raise JointreidError(f"no image fits {layout.title}: expected {layout.shape}; the first are {examples}")


def read_known(
    source: Path, images: Sequence[PathParts], found: FoundLayout, camera: CameraChoice, omissions: Omissions
) -> FolderContents:
    """Read a published layout.

    Raises:
        JointreidError: a camera choice that the layout has not, or a list that is missing or malformed.
    """
    layout = KNOWN[found.name]
    if camera in ("name", "folder"):
        raise JointreidError(f"--camera {camera}: the layout {layout.title} says where cameras are; pass auto or none")
    root = source.joinpath(*found.base)
    lists = layout.lists(root) if layout.lists else SplitLists()
    labels = list(_labels(layout, lists, images, found, omissions))
    if not labels:
        raise JointreidError(f"no image of {layout.title} is left: {'; '.join(map(str, omissions.listed()))}")
    camids = _camids(layout, [label.camera for _, label in labels if label.camera])
    if camera == "none":
        camids = {}
    people = []
    for names, label in labels:
        record = ImageRecord(
            source.joinpath(*names), label.pid, camids.get(label.camera, 0), distractor=label.distractor
        )
        people.append(PersonImage(record, "/".join(names), label.split, side=label.side))
    cameras = {camid: name for name, camid in sorted(camids.items(), key=lambda item: item[1])}
    origin = UNUSED if camera == "none" else "as the layout names them" if cameras else "the layout has no cameras"
    policy, rule = camera_policy(cameras, origin)
    return FolderContents(
        found.name,
        tuple(people),
        cameras,
        rule and layout.exclude_same_camera,
        policy,
        notes=(*layout.notes, *lists.notes),
        reading=f"{layout.title} ({layout.shape})",
    )


def _labels(
    layout: KnownLayout, lists: SplitLists, images: Sequence[PathParts], found: FoundLayout, omissions: Omissions
) -> Iterator[tuple[PathParts, Label]]:
    regex, depth = _regex(layout), len(found.base)
    single, whole = _COPIES.get(found.name, ("", ""))
    has_whole = any(names[depth : depth + 1] == (whole,) for names in images)
    for names in images:
        inside = names[:depth] == found.base
        match = regex.fullmatch("/".join(names[depth:])) if inside else None
        if match is None:
            omissions.add(f"images that are not named as in {layout.title}", "/".join(names))
        elif has_whole and names[depth] == single:
            omissions.add(f"images of {single}/, which {whole}/ has too", "/".join(names))
        elif isinstance(label := layout.label(match.groupdict(), lists), str):
            omissions.add(label, "/".join(names))
        elif label.distractor and label.split in ("train", "query"):
            omissions.add("distractors outside the gallery", "/".join(names))
        else:
            yield names, label


def _regex(layout: KnownLayout) -> re.Pattern[str]:
    ends_open = layout.path.endswith((r"\.jpg)", "[^/]+)"))
    return re.compile(layout.path if ends_open else layout.path + r"\.[^./]+", re.IGNORECASE)


def _is_hinted(source: Path, base: PathParts, layout: KnownLayout) -> bool:
    """Return whether a folder is named after the layout, or its lists are there."""
    folders = "/".join((*source.parts[-2:], *base)).lower().replace("-", "")
    return layout.hint in folders or source.joinpath(*base, "exp", "test_id.txt").is_file()


def _bases(folders: Collection[PathParts]) -> list[PathParts]:
    """Return the folders that an archive may have put around the data set, none at all first."""
    roots = {folder[:depth] for folder in folders for depth in range(min(len(folder), _DEEPEST_BASE) + 1)}
    if len(roots) > _MOST_BASES:  # other folders may lie beside the data set's own, but not hundreds
        roots = {root for root in roots if all(folder[: len(root)] == root for folder in folders)}
    return sorted(roots, key=lambda base: (len(base), base))


def _has_folders(inside: Collection[str], layout: KnownLayout) -> bool:
    return all(any(re.fullmatch(need, folder, re.IGNORECASE) for folder in inside) for need in layout.needs)


def _fits(layout: KnownLayout, images: Sequence[PathParts], base: PathParts) -> bool:
    """Return whether images fit the layout, and all do that lie in a folder of it; without folders, all of them."""
    regex = _regex(layout)
    inside = ("/".join(names[len(base) :]) for names in images if names[: len(base)] == base)
    if not layout.needs:
        return all(names[: len(base)] == base for names in images) and all(map(regex.fullmatch, inside))
    paths = list(inside)
    tops = {path.split("/")[0] for path in paths if regex.fullmatch(path)}
    return bool(tops) and all(regex.fullmatch(path) for path in paths if path.split("/")[0] in tops)


def _camids(layout: KnownLayout, names: Sequence[str]) -> dict[str, int]:
    """Return the camid of each camera: as the layout counts them, or its rank where they have several numbers."""
    if layout.cameras:
        return {name: layout.cameras[name] for name in names}
    if all(name.isdecimal() for name in names):
        return {name: int(name) - min(layout.first, *map(int, names)) for name in names}
    return {name: rank for rank, name in enumerate(sorted(set(names)))}
