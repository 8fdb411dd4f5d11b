"""MSMT17: four lists beside folders of identities, V1 as first published, V2 with the faces masked.

`0000/0000_000_01_0303morning_0008_0.jpg 0`, a line of a list, is identity 0 seen by camera 1 (camid 0).
"""

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from jointreid.config import DataConfig
from jointreid.data.readers.left_out import PathParts, Reason, with_omissions
from jointreid.data.readers.market_style import SPLIT_FOLDERS, SplitRecords, find_layout, read_splits
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

KNOWN_FOLDERS = (
    "MSMT17_V1",
    "MSMT17_V2",
    "MSMT17",
    "msmt17",
    "msmt17/MSMT17_V1",
    "msmt17/MSMT17_V2",
    "msmt17/MSMT17",
    "msmt17v1/MSMT17_V1",
    "msmt17v2/MSMT17_V2",
)
TERMS = (
    "MSMT17 shows real people. Its authors at Peking University (Wei et al., Person Transfer GAN to Bridge Domain Gap "
    "for Person Re-identification, CVPR 2018) give it out on request to those who sign their licence, for "
    "non-commercial research, not to be passed on."
)

_PLAIN, _MASKED, _CONVERTED = ("train", "test"), ("mask_train_v2", "mask_test_v2"), tuple(SPLIT_FOLDERS.values())
_EDITIONS = {"1": "V1", "2": "V2 (faces masked)"}
_EXAMPLE = "0000/0000_000_01_0303morning_0008_0.jpg 0"
_LINE = re.compile(r"(\S.*?)\s+(\d{1,9})")
# The third field of a file's own name; a folder above may hold underscores too.
_LISTED_NAME = re.compile(r"[^_]+_[^_]+_(0?[1-9]|1[0-5])_")
_CONVERTED_NAME = re.compile(r"(\d+)_c(0?[1-9]|1[0-5])[_.]")


def msmt17(path: str | Path, data: DataConfig = DataConfig()) -> Domain:
    """Read MSMT17 in either edition, as its authors give it out or converted to the layout of Market-1501.

    Train is `list_train.txt` alone, as in the paper, and with `data.msmt17_trainval` `list_val.txt` too. A
    conversion no longer tells these apart and has usually merged them; `variant` says so. Where a folder holds both
    layouts, the lists count.

    The people of train and of test are different ones, though both are numbered from 0: the pids carry their side,
    "train-0000" and "test-0000".

    Args:
        path: the folder with the lists, or one above it under a name the data set is usually unpacked to.
        data: the settings, of which `msmt17_trainval` concerns this data set.

    Returns:
        The domain `msmt17`, with camids 0 to 14, and which edition it is in `variant`.

    Raises:
        JointreidError: no such folder (the message says where it was looked for), two of them, a missing list or
            missing images, or a line or a file name that cannot be read.
    """
    root, layouts = find_layout(Path(path), "MSMT17", KNOWN_FOLDERS, [_PLAIN, _MASKED, _CONVERTED])
    if _PLAIN in layouts and _MASKED in layouts:
        raise JointreidError(
            f"{root}: holds the images of two editions, {', '.join(_PLAIN)} and {', '.join(_MASKED)}; "
            "move those away that you do not want"
        )
    edition = _edition(root, layouts[0])
    if layouts[0] == _CONVERTED:
        splits = _read_converted(root, data.msmt17_trainval)
        variant = f"{edition}, converted to Market-1501's layout (train and val are usually merged there)"
    else:
        splits = _read_lists(root, layouts[0], data.msmt17_trainval)
        variant = f"{edition}, train is list_train{' + list_val' if data.msmt17_trainval else ''}"
    domain = Domain(
        "msmt17",
        train=_with_side("train", splits["train"]),
        query=_with_side("test", splits["query"]),
        gallery=_with_side("test", splits["gallery"]),
        cameras=tuple(range(15)),
        terms=TERMS,
        source=str(root),
        variant=variant,
    )
    if layouts[0] == _CONVERTED:
        return with_omissions(domain, root, SPLIT_FOLDERS)
    return with_omissions(domain, root, {}, _explain_lists(root, layouts[0]))


def _explain_lists(root: Path, folders: tuple[str, ...]) -> Callable[[PathParts, str], Reason | None]:
    """Return a function that says why an image beside the lists is left out."""
    lines: list[_Line] = []
    with suppress(OSError, JointreidError):  # a list that is not trained on need not be there or be whole
        lines = _read_list(root / "list_val.txt")
    validation = {Path(folders[0], line.folder, line.name).parts for line in lines}

    def explain(names: PathParts, split: str) -> Reason | None:
        if names in validation:
            return Reason("images of list_val.txt, which the paper does not train on")
        return Reason("images that no list names", by_rule=False) if names[0] in folders else None

    return explain


def _edition(root: Path, layout: tuple[str, ...]) -> str:
    if layout == _MASKED:
        return _EDITIONS["2"]
    # A link may be named after the edition, or lead to a folder that is.
    names = f"{root.absolute().name}/{root.resolve().name}"
    named = re.search(r"msmt17[-_]?v([12])(?!\d)", names, re.IGNORECASE)
    return _EDITIONS[named[1]] if named else "edition unknown" + (" (flattened)" if layout == _PLAIN else "")


def _with_side(side: str, records: Iterable[ImageRecord]) -> tuple[ImageRecord, ...]:
    return tuple(replace(record, pid=f"{side}-{int(record.pid):04d}") for record in records)


def _read_converted(root: Path, trainval: bool) -> SplitRecords:
    if trainval:
        raise JointreidError(
            f"{root}: data.msmt17_trainval needs list_val.txt, which a conversion to Market-1501's layout does not "
            "have: its train holds the validation images already, or lacks them; leave the setting out, or give the "
            "data set as its authors do"
        )
    # Identity 0 is a person like any other here.
    example = "0781_c11_0015.jpg (cameras 1 to 15)"
    return read_splits(root, _CONVERTED_NAME, example, zero_is_distractor=False)


# The lists


class _Line(NamedTuple):
    """A line of a list; `folder` is below the one that the list is about."""

    folder: str
    name: str
    pid: str
    camid: int


def _read_lists(root: Path, folders: tuple[str, ...], trainval: bool) -> SplitRecords:
    train, test = folders
    lists = {
        "train": (train, ["list_train.txt", "list_val.txt"] if trainval else ["list_train.txt"]),
        "query": (test, ["list_query.txt"]),
        "gallery": (test, ["list_gallery.txt"]),
    }
    if lacking := [name for _, names in lists.values() for name in names if not (root / name).is_file()]:
        without = " (or leave out data.msmt17_trainval)" if "list_val.txt" in lacking else ""
        raise JointreidError(
            f"{root}: lacks {', '.join(lacking)}; the lists come with the images and say who is in which split: put "
            f"them beside {train} and {test}{without}"
        )
    lines = {split: [line for name in names for line in _read_list(root / name)] for split, (_, names) in lists.items()}
    if absent := [path for split, (images, _) in lists.items() for path in _absent(root / images, lines[split])]:
        raise JointreidError(
            f"{root}: {len(absent):,} images that the lists name are not there ({first_few(absent)}); "
            "unpack the data set again"
        )

    def records(split: str) -> tuple[ImageRecord, ...]:
        images = root / lists[split][0]
        return tuple(ImageRecord(Path(images, line.folder, line.name), line.pid, line.camid) for line in lines[split])

    return SplitRecords(train=records("train"), query=records("query"), gallery=records("gallery"))


def _read_list(file: Path) -> list[_Line]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise JointreidError(f"{file}: is not text in UTF-8; expected lines like {_EXAMPLE}") from error
    rows = enumerate(text.split("\n"), start=1)
    return [_parse_line(f"{file}, row {number}", row.strip()) for number, row in rows if row.strip()]


def _parse_line(where: str, row: str) -> _Line:
    match = _LINE.fullmatch(row)
    if match is None:
        raise JointreidError(f"{where}: {row!r}; expected a path and an identity, as in {_EXAMPLE}")
    path = Path(match[1])
    if path.anchor or ".." in path.parts or "\0" in match[1]:
        raise JointreidError(f"{where}: {match[1]!r} leads out of the data set's folder; use the published lists")
    name = _LISTED_NAME.match(path.name)
    if name is None:
        raise JointreidError(
            f"{where}: {path.name!r} has no camera from 1 to 15 in its third field; expected names as in {_EXAMPLE}"
        )
    return _Line(str(path.parent), path.name, match[2], int(name[1]) - 1)


def _absent(images: Path, lines: Iterable[_Line]) -> list[str]:
    """Return the paths of the images that do not exist, looking into each folder once."""
    present: dict[str, set[str]] = {}
    for line in lines:
        if line.folder not in present:
            folder = images / line.folder
            present[line.folder] = set(os.listdir(folder)) if folder.is_dir() else set()
    return [
        (Path(images.name) / line.folder / line.name).as_posix()
        for line in lines
        if line.name not in present[line.folder]
    ]
