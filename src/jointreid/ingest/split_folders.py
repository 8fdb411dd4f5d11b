"""Folders of splits: which there are, and which split each becomes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jointreid.ingest.images import Omissions, PathParts
from jointreid.ingest.meaning import SPLIT_FOLDERS
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few


class ImagesBySplit(NamedTuple):
    """The images of a folder, grouped by the split whose folder they lie in.

    Attributes:
        images: split -> paths of its images below the folder; the split is "" where the folder has no split folders.
        depth: number of leading folders of each path that name the split: 0 or 1.
        notes: remarks on how the folders were assigned to splits.
    """

    images: Mapping[str, Sequence[PathParts]]
    depth: int
    notes: tuple[str, ...] = ()


def group_by_split(images: Sequence[PathParts], omissions: Omissions) -> ImagesBySplit:
    """Recognise folders of splits and group the images by split.

    Known names are train, query and gallery, and those of Market-1501. `test` stands for query and gallery together,
    or for gallery beside a query folder; `val` joins train, or is the test set where there is no other; `train_all`
    contains train and val.

    Raises:
        JointreidError: an incomplete set of split folders lies beside other images, or a split that evaluation needs
            is missing.
    """
    tops = sorted({names[0] for names in images if len(names) > 1})
    roles = {top: SPLIT_FOLDERS[top.lower()] for top in tops if top.lower() in SPLIT_FOLDERS}
    if "probe" in map(str.lower, roles) and "gallery" not in roles.values():  # else a folder of any kind
        roles = {top: role for top, role in roles.items() if not top.lower().startswith("probe")}
    held = set(roles.values())
    if not held:
        return ImagesBySplit({"": images}, 0)
    whole = bool(held & {"train", "train_all"}) and "query" in held and bool(held & {"gallery", "test"})
    others = [top for top in tops if top not in roles]
    if not whole and (others or any(len(names) == 1 for names in images)):
        raise JointreidError(
            f"folders of splits ({', '.join(roles)}) lie beside other images ({first_few(others) or 'files'}); "
            "move the others away, or give a folder without split folders"
        )
    plays, notes = assign_splits(held, roles)
    by_split: dict[str, list[PathParts]] = defaultdict(list)
    for names in images:
        role = roles.get(names[0]) if len(names) > 1 else None
        if role in plays:
            by_split[plays[role]].append(names)
        else:
            omissions.add("images outside the folders of the splits", "/".join(names))
    return ImagesBySplit(by_split, 1, notes)


def assign_splits(held: set[str], roles: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the split that each kind of split folder becomes, and remarks.

    Args:
        held: the kinds that there are, values of `SPLIT_FOLDERS`.
        roles: name of a folder -> its kind, for messages.

    Raises:
        JointreidError: a split that evaluation needs is missing, or two folders are one split.
    """
    plays: dict[str, str] = {kind: kind for kind in ("train", "query", "gallery", "test") if kind in held}
    notes = []
    if "train_all" in held:
        plays.pop("train", None)
        plays["train_all"] = "train"
        notes.append("train is the folder train_all; train and val are assumed to be parts of it")
    if {"query", "gallery"} <= held and "test" in held:
        raise JointreidError(f"there are query, gallery and also test ({', '.join(roles)}); move one away")
    if "query" in held and "test" in held:
        plays["test"] = "gallery"
    elif "val" in held and not held & {"train_all", "query", "gallery", "test"}:
        plays["val"] = "test"
    elif "val" in held and "train_all" not in held:
        plays["val"] = "train"
        notes.append("val joins train; data.val_ids can hold out identities again")
    found = set(plays.values())
    if found == {"train"} or found == {"test"}:
        raise JointreidError(f"there is only {', '.join(roles)}; to split it, give that folder")
    if ("query" in found) != ("gallery" in found):
        lacking = "gallery" if "query" in found else "query"
        raise JointreidError(
            f"there are {', '.join(roles)}, but no {lacking}; add it, or put both into one folder, test"
        )
    return plays, tuple(notes)
