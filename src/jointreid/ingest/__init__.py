"""From a folder of your own images to a manifest: recognise the layout, split identities, give each query a match."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from jointreid.config import CameraChoice, EvaluationProtocol, Layout, SplitChoice
from jointreid.data.findings import summarise_splits
from jointreid.data.manifest import side_file, write_manifest
from jointreid.data.records import Domain
from jointreid.data.table_row import is_no_id, path_below
from jointreid.ingest.images import Omissions
from jointreid.ingest.layouts import naming, read_layout
from jointreid.ingest.mot import BoxChoice
from jointreid.ingest.nobody import read_choices, set_nobody_apart
from jointreid.ingest.split import MatchRule, draw_splits, keep_splits
from jointreid.ingest.summary import IngestSummary, check_command, describe_reading, example_rows
from jointreid.machine.paths import require_writable, user_path
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.listing import first_few

_CHOICES = {
    "layout": get_args(Layout),
    "camera": get_args(CameraChoice),
    "split": get_args(SplitChoice),
    "protocol": get_args(EvaluationProtocol),
}


def ingest(
    source: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    layout: Layout = "auto",
    camera: CameraChoice = "auto",
    split: SplitChoice = "auto",
    test_share: float = 0.5,
    seed: int = 0,
    every: int = 10,
    min_height: int = 32,
    min_visibility: float = 0.3,
    overwrite: bool = False,
    pattern: str = "",
    nobody: Sequence[str] = (),
    class_: str = "",
    dry_run: bool = False,
    protocol: EvaluationProtocol = "query_gallery",
    on_reading: Callable[[str], None] | None = None,
) -> IngestSummary:
    """Describe the images below a folder in a manifest, without moving, changing or decoding them.

    Args:
        source: the folder.
        out: the `.csv` file to write. If the images do not lie below its folder, its side file names `source`.
        name: the domain's name; the name of the folder if None.
        layout: `market`, `imagefolder`, `mot`, the name of a published layout (see `KNOWN`), or `auto` to recognise it.
        camera: source of the camera ids: the file `name`, a `folder` inside or above each person's, or `none`; `auto`
            uses the first of these that every image has.
        split: `auto` keeps the folder's splits if it has any and otherwise draws new ones; `draw` always draws.
        test_share: share of the identities to test on when splits are drawn, 0 to 1.
        seed: of the drawn split.
        every: distance in frames between the boxes taken from a track.
        min_height: least height in pixels of a box taken from a track.
        min_visibility: least visible share, 0 to 1, of a box taken from a track, where the sequence gives it.
        overwrite: replace an existing table.
        pattern: the meaning of folders and file names, such as `{camera}/{pid}/{frame}.jpg` (see `Pattern`).
        nobody: texts NAME=KIND, for names that may mean nobody: KIND is junk, distractor or person.
        class_: of the boxes of tracks, the class by number or name; pedestrians by default.
        dry_run: write nothing.
        protocol: query_gallery, or leave_one_out, where every test image asks all others.
        on_reading: called with how the folder is read, in words, before anything is written.

    Returns:
        The splits, cameras and omissions, and the next command to run.

    Raises:
        JointreidError: an argument is out of range, `out` exists or cannot be written, the layout is not clear, no
            query would have a match, or a file of the layout is malformed. Nothing is written then.
    """
    chosen = {"layout": layout, "camera": camera, "split": split, "protocol": protocol}
    _check_settings(chosen, test_share, every, min_height, min_visibility)
    source, out = _real_folder(source), user_path(out)
    _check_target(out, overwrite or dry_run)
    choices = read_choices(nobody)
    name = source.name or "data" if name is None else name
    if is_no_id(name):
        raise JointreidError(f"{name!r} cannot be a domain's name; pass another with --name")
    omissions = Omissions()
    boxes = BoxChoice(every, min_height, min_visibility, class_)
    found = read_layout(source, layout, camera, boxes, omissions, pattern)
    people, told = set_nobody_apart(found.images, choices, omissions)
    found = replace(found, images=tuple(people), notes=(*found.notes, *told))
    drawn = split == "draw" or all(not image.split for image in found.images)
    reading = describe_reading(source, found, drawn)
    if on_reading is not None:
        on_reading(reading)
    alone = protocol == "leave_one_out"
    if alone:
        found = replace(found, exclude_same_camera=False, policy="every test image asks all others; every match counts")
    rule = MatchRule(found.exclude_same_camera, found.tracks)
    with naming(source):
        if not found.images:
            raise JointreidError(f"no image is left: {'; '.join(map(str, omissions.listed()))}")
        _check_pids({image.record.pid for image in found.images})
        if drawn:
            splits = draw_splits(found.images, rule, test_share, seed, omissions)
        else:
            splits = keep_splits(found.images, rule, seed, omissions)
    domain = Domain(
        name,
        train=tuple(splits.train),
        query=tuple(splits.query),
        gallery=tuple(splits.gallery),
        exclude_same_camera=found.exclude_same_camera,
        leave_one_out=alone,
    )
    folder = os.path.abspath(out.parent)
    root = None if str(source) == folder or path_below(folder, source) else source
    if not dry_run:
        write_manifest([domain], out, root=root)
    return IngestSummary(
        manifest=out,
        source=source,
        root=str(root or ""),
        name=name,
        layout=found.layout,
        drawn=drawn,
        splits=summarise_splits(domain),
        cameras=found.cameras,
        exclude_same_camera=found.exclude_same_camera,
        policy=found.policy,
        dropped=omissions.listed(),
        notes=(*found.notes, *splits.notes),
        next_command=check_command(out),
        reading=reading,
        examples=example_rows(source, domain),
        pattern=found.pattern,
        written=not dry_run,
        leave_one_out=alone,
    )


def _check_settings(
    chosen: Mapping[str, str], test_share: float, every: int, min_height: int, min_visibility: float
) -> None:
    for key, value in chosen.items():
        if value not in _CHOICES[key]:
            raise JointreidError(no_such(key, value, _CHOICES[key]))
    for key, share in (("test-share", test_share), ("min-visibility", min_visibility)):
        if not 0 <= share <= 1:
            raise JointreidError(f"--{key} is {share}; expected a number from 0 to 1")
    for key, least in (("every", every), ("min-height", min_height)):
        if least < 1:
            raise JointreidError(f"--{key} is {least}; expected 1 or more")


def _real_folder(source: str | Path) -> Path:
    """Return the absolute path of the folder; a link is kept, because its target may move."""
    path = user_path(source)
    # After a link, `..` is the parent of the link's target.
    path = Path(os.path.realpath(path)) if ".." in path.parts else path.absolute()
    if not os.path.isdir(path):
        raise JointreidError(f"{path}: there is no such folder; give the folder that contains the images")
    return path


def _check_target(out: Path, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before looking for images."""
    if out.suffix.lower() != ".csv":
        raise JointreidError(f"{out}: a manifest is a .csv file; give --out a name that ends in .csv")
    existing = [str(path) for path in (out, side_file(out)) if os.path.exists(path)]
    if existing and not overwrite:
        raise JointreidError(f"{' and '.join(existing)}: already there; choose another --out, or pass --overwrite")
    require_writable(out, "--out")


def _check_pids(pids: set[str]) -> None:
    if wrong := sorted(pid for pid in pids if is_no_id(pid)):
        raise JointreidError(
            f"{len(wrong)} folders have names that cannot be identities in a table ({first_few([*map(repr, wrong)])}): "
            "negative numbers, nan, or names with spaces around them; rename the folders"
        )
