"""Folders of one's own -> a manifest: the layout is recognised, identities are split, every query has a match."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from jointreid.data.findings import summarise_splits
from jointreid.data.manifest import side_file, write_manifest
from jointreid.data.records import Domain
from jointreid.data.table import is_no_id, path_below
from jointreid.ingest.folders import CameraChoice
from jointreid.ingest.found import Tally
from jointreid.ingest.layouts import Layout, naming, read_layout
from jointreid.ingest.mot import BoxChoice
from jointreid.ingest.split import Rule, draw_splits, keep_splits
from jointreid.ingest.summary import IngestSummary, check_command
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.listing import first_few

SplitChoice = Literal["auto", "draw"]

_CHOICES = {"layout": get_args(Layout), "camera": get_args(CameraChoice), "split": get_args(SplitChoice)}


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
) -> IngestSummary:
    """Describe the images below a folder in a manifest; they are neither moved nor changed, nor decoded.

    Args:
        source: the folder.
        out: the `.csv` to write, anywhere. If the images do not lie below its folder, its side file names `source`.
        name: the domain's name; the folder's if not given.
        layout: `market`, `imagefolder`, `mot`, or `auto` to recognise it.
        camera: where camera ids come from: the files' `name`, a `folder` in each person's, or `none`; `auto` takes them
            from where every image has one.
        split: `auto` keeps the folder's splits if it has some and else draws, `draw` draws anyway.
        test_share: when drawing, the share of the identities to test on, 0 to 1.
        seed: another one draws another split.
        every: of a track, take boxes this many frames apart.
        min_height: of a track, take boxes of this many pixels or more.
        min_visibility: of a track, take boxes of which this share shows or more, 0 to 1, where the sequence tells.
        overwrite: replace a table that is there.

    Returns:
        What was found, what was left out and why, and what to do next.

    Raises:
        JointreidError: a setting is wrong, `out` exists or cannot be written, the layout is not clear, no query would
            have a match, or a file of the layout is malformed. Nothing is written then.
    """
    chosen = {"layout": layout, "camera": camera, "split": split}
    _check_settings(chosen, test_share, every, min_height, min_visibility)
    source, out = _real_folder(source), Path(os.path.expanduser(out))
    _check_target(out, overwrite)
    name = source.name or "data" if name is None else name
    if is_no_id(name):
        raise JointreidError(f"{name!r} cannot be a domain's name; pass another with --name")
    tally = Tally()
    found = read_layout(source, layout, camera, BoxChoice(every, min_height, min_visibility), tally)
    drawn = split == "draw" or all(not shot.split for shot in found.shots)
    rule = Rule(found.exclude_same_camera, found.tracks)
    with naming(source):
        if not found.shots:
            raise JointreidError(f"no image is left: {'; '.join(map(str, tally.dropped()))}")
        _check_pids({shot.record.pid for shot in found.shots})
        if drawn:
            splits = draw_splits(found.shots, rule, test_share, seed, tally)
        else:
            splits = keep_splits(found.shots, rule, seed, tally)
    domain = Domain(
        name,
        train=tuple(splits.train),
        query=tuple(splits.query),
        gallery=tuple(splits.gallery),
        exclude_same_camera=found.exclude_same_camera,
    )
    folder = os.path.abspath(out.parent)
    root = None if str(source) == folder or path_below(folder, source) else source
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
        dropped=tally.dropped(),
        notes=(*found.notes, *splits.notes),
        next_command=check_command(out),
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
    """Return the folder made absolute; a link stays one, as what it leads to may move."""
    path = Path(os.path.expanduser(source))
    # Behind a link, `..` is not the folder that its name tells.
    path = Path(os.path.realpath(path)) if ".." in path.parts else path.absolute()
    if not os.path.isdir(path):
        raise JointreidError(f"{path}: there is no such folder; give the one that holds the images")
    return path


def _check_target(out: Path, overwrite: bool) -> None:
    """Refuse early what cannot be written, before the images are looked for."""
    if out.suffix.lower() != ".csv":
        raise JointreidError(f"{out}: a manifest is written as .csv; give --out a name that ends so")
    standing = [str(path) for path in (out, side_file(out)) if os.path.exists(path)]
    if standing and not overwrite:
        raise JointreidError(f"{' and '.join(standing)}: there already; choose another --out, or pass --overwrite")


def _check_pids(pids: set[str]) -> None:
    if wrong := sorted(pid for pid in pids if is_no_id(pid)):
        raise JointreidError(
            f"{len(wrong)} folders have names that cannot be identities in a table ({first_few([*map(repr, wrong)])}): "
            "negative numbers, nan, or with spaces around them; rename them"
        )
