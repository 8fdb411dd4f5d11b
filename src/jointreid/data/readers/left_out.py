"""Files of a folder that a reader leaves out, each with its reason: files found = images kept + files left out."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from jointreid.data.records import Domain, SplitOmission

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
_EXAMPLES = 3
_HIDDEN = "files whose names begin with a dot"
_NO_IMAGES = "files that are no images"
_DEEPER = "images in folders inside that of a split"
OUTSIDE = "images outside the folders of the splits"

PathParts = tuple[str, ...]


class Reason(NamedTuple):
    """Reason for leaving an image out: a plural, and whether it is the data set's own rule."""

    text: str
    by_rule: bool = True


def with_omissions(
    domain: Domain,
    root: Path,
    folders: Mapping[str, str],
    explain: Callable[[PathParts, str], Reason | None] | None = None,
    *,
    outside_by_rule: bool = True,
) -> Domain:
    """Return a domain that says which files below `root` it leaves out.

    Links to folders are followed only if they are folders of a split; folders whose names begin with a dot are not
    looked into.

    Args:
        domain: the data set as read.
        root: its folder.
        folders: split -> its folder below `root`.
        explain: returns the reason for an image, by its path below `root` and its split ("" outside the splits), or
            None where there is none of the data set's own.
        outside_by_rule: whether images outside the splits are no surprise (further parts of a published data set).
    """
    kept = {os.fspath(record.path) for record in domain}
    splits = {folder: split for split, folder in folders.items()}
    counts: dict[tuple[str, str, bool], int] = {}
    examples: dict[tuple[str, str, bool], list[str]] = {}
    for names in _files(root, splits):
        if os.fspath(root.joinpath(*names)) in kept:
            continue
        split = splits.get(names[0], "") if len(names) > 1 else ""
        text, by_rule = _reason(names, split, explain, outside_by_rule)
        key = (text, split, by_rule)
        counts[key] = counts.get(key, 0) + 1
        if len(shown := examples.setdefault(key, [])) < _EXAMPLES:
            shown.append("/".join(names))
    left = (
        SplitOmission(text, count, tuple(examples[text, split, by_rule]), split, by_rule)
        for (text, split, by_rule), count in sorted(counts.items())
    )
    return replace(domain, omissions=tuple(left))


def _files(root: Path, splits: Mapping[str, str]) -> Iterator[PathParts]:
    """Yield the files below `root`, sorted by folder."""
    folders: list[PathParts] = [()]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root.joinpath(*folder)) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except PermissionError:
            if folder and folder[0] not in splits:  # such as lost+found: no image of the data set can be in it
                continue
            raise
        for entry in ordered:
            follow = not folder and entry.name in splits
            if not entry.is_dir(follow_symlinks=follow):
                yield (*folder, entry.name)
            elif not entry.name.startswith("."):
                folders.append((*folder, entry.name))


def _reason(
    names: PathParts,
    split: str,
    explain: Callable[[PathParts, str], Reason | None] | None,
    outside_by_rule: bool,
) -> Reason:
    name = names[-1]
    if name.startswith("."):
        return Reason(_HIDDEN)
    if not name.lower().endswith(_IMAGES):
        return Reason(_NO_IMAGES)
    if explain is not None and (reason := explain(names, split)) is not None:
        return reason
    if not split:
        return Reason(OUTSIDE, outside_by_rule)
    if len(names) > 2:
        return Reason(_DEEPER, by_rule=False)
    return Reason(f"images that end in {Path(name).suffix}, which is not read here", by_rule=False)
