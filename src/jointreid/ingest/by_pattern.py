"""Read a tree by a pattern that says what its levels and the parts of its file names mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jointreid.config import CameraChoice
from jointreid.data.records import ImageRecord
from jointreid.ingest.cameras import UNKNOWN, UNUSED, camera_policy
from jointreid.ingest.images import FolderContents, Omissions, PathParts, PersonImage
from jointreid.ingest.meaning import SPLIT_FOLDERS, number_cameras
from jointreid.ingest.pattern import Pattern
from jointreid.ingest.split_folders import assign_splits
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.listing import first_few


def read_by_pattern(
    source: Path,
    images: Sequence[PathParts],
    pattern: Pattern,
    camera: CameraChoice,
    omissions: Omissions,
    notes: tuple[str, ...] = (),
) -> FolderContents:
    """Read the images that fit a pattern; count others as left out.

    Args:
        source: the folder.
        images: their paths below it.
        pattern: what the paths mean.
        camera: "none" ignores `{camera}`.
        omissions: counts what is left out.
        notes: remarks to pass on.

    Raises:
        JointreidError: no image fits, `{camera}` is missing though `camera` asks for it, or `{split}` is of no known
            name.
    """
    if camera in ("name", "folder") and "camera" not in pattern.fields:
        raise JointreidError(f"--camera {camera}: --pattern {pattern.text} has no {{camera}}; add it where it stands")
    found = {names: match for names in images if (match := pattern.match("/".join(names))) is not None}
    for names in images:
        if names not in found:
            omissions.add(f"images that do not fit {pattern.text}", "/".join(names))
    if not found:
        raise JointreidError(
            f"none of {len(images):,} images fits --pattern {pattern.text}; the first are "
            f"{first_few(['/'.join(names) for names in images], 3)}"
        )
    splits, split_notes = _splits({match["split"] for match in found.values()} if "split" in pattern.fields else set())
    used = "camera" in pattern.fields and camera != "none"
    in_name = "{camera" in pattern.text.rsplit("/", 1)[-1]
    camids = number_cameras({match["camera"] for match in found.values()}, count_from_zero=in_name) if used else {}
    labelled = []
    for names, match in found.items():
        split = splits[match["split"].lower()] if splits else ""
        if split is None:
            omissions.add("images outside the folders of the splits", "/".join(names))
            continue
        camid = camids[match["camera"]] if used else 0
        labelled.append(_image(source, names, match, camid, split))
    cameras = {camid: name for name, camid in reversed(camids.items())}
    origin = "from the file names" if in_name else "from the folders"
    policy, rule = camera_policy(cameras, origin if used else UNUSED if camera == "none" else UNKNOWN)
    return FolderContents(
        "pattern",
        tuple(labelled),
        dict(sorted(cameras.items())),
        rule,
        policy,
        notes=(*notes, *split_notes),
        reading=pattern.shown,
        pattern=pattern.text,
    )


def _image(source: Path, names: PathParts, match: Mapping[str, str], camid: int, split: str) -> PersonImage:
    return PersonImage(ImageRecord(source.joinpath(*names), match["pid"], camid), "/".join(names), split)


def _splits(texts: set[str]) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Return the split of each text in lower case, None where its images are not used, and remarks."""
    if not texts:
        return {}, ()
    for text in sorted(texts):
        if text.lower() not in SPLIT_FOLDERS:
            raise JointreidError(f"{{split}} is {text!r}: {no_such('split', text, SPLIT_FOLDERS)}")
    roles = {text: SPLIT_FOLDERS[text.lower()] for text in sorted(texts)}
    plays, notes = assign_splits(set(roles.values()), roles)
    return {text.lower(): plays.get(kind) for text, kind in roles.items()}, notes
