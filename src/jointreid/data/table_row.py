"""A row of a table, as text -> labels and image, or an error that names the column."""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jointreid.data.records import SPLITS, ImageRecord, name_fault
from jointreid.data.table_files import ALL_COLUMNS, BOX_COLUMNS, COLUMNS
from jointreid.messages.errors import JointreidError

# The split of test images that are query and gallery at once.
TEST = "test"
# A camera id that is an integer; others are names.
CAMERA_NUMBER = re.compile(r"([0-9]{1,9})(\.0*)?")

_FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}
_NO_ID = re.compile(r"nan|-[0-9.]+", re.IGNORECASE)


class TableRow(NamedTuple):
    """One image as the table has it.

    Attributes:
        number: the row's number, for messages.
        domain: the image's domain.
        split: train, query or gallery.
        camera: the camera's name as of `camera_name`; "" where the table has none.
        record: the image; its `camid` is 0 until all cameras of its domain are known.
    """

    number: int
    domain: str
    split: str
    camera: str
    record: ImageRecord


class ImageRoot(NamedTuple):
    """Folder that paths are relative to, as given and absolute, and the message for a path that is not below it."""

    given: Path
    absolute: str
    fault: str


def table_root(folder: Path) -> ImageRoot:
    """Return the folder of a table as the root of its images."""
    absolute = os.path.abspath(folder)
    remedy = 'move the table to a folder above all images, or let the side file name such a folder as "root"'
    return ImageRoot(folder, absolute, f"does not stay below the table's folder {absolute}; {remedy}")


def stated_root(folder: Path) -> ImageRoot:
    """Return the root that a side file states for a domain."""
    absolute = os.path.abspath(folder)
    return ImageRoot(
        folder, absolute, f"does not stay below {absolute}, the root of its domain; correct one of the two"
    )


def is_no_id(cell: str) -> bool:
    """Say whether a text cannot be an identity: empty, a number below 0, NaN, or with spaces around it."""
    return not cell or cell != cell.strip() or _NO_ID.fullmatch(cell) is not None


def path_below(folder: str, path: str | Path) -> str | None:
    """Return the path relative to `folder`, or None if it does not stay below.

    That a link in the path may lead elsewhere is its owner's choice.

    Args:
        folder: an absolute folder.
        path: absolute, or relative to `folder`.
    """
    target = os.path.normpath(os.path.join(folder, path))
    root = folder.rstrip(os.sep) + os.sep
    return target[len(root) :] if target.startswith(root) and "\0" not in target else None


def camera_name(cell: str) -> str:
    """Return a camera's name, `3` for `03` or for the `3.0` that a column with gaps leaves a spreadsheet as."""
    number = CAMERA_NUMBER.fullmatch(cell)
    return str(int(number[1])) if number else cell


def parse_row(number: int, cells: Mapping[str, str], root: ImageRoot) -> TableRow:
    """Return the labels and the image of a row.

    Args:
        number: the row's number.
        cells: the text in each column, of at least `domain, split, path, pid`.
        root: folder that the path is relative to.

    Raises:
        JointreidError: a cell is wrong; the message names the column, neither file nor row.
    """
    for column, cell in cells.items():
        if column in ALL_COLUMNS:
            check_cell(column, cell)
    junk, distractor = parse_kind(cells)
    path = path_below(root.absolute, cells["path"])
    if path is None:
        raise JointreidError(f"column path: {cells['path']!r} {root.fault}")
    record = ImageRecord(
        path=root.given / path,
        pid=cells["pid"],
        camid=0,
        box=parse_box(cells),
        timestamp=parse_timestamp(cells),
        junk=junk,
        distractor=distractor,
    )
    return TableRow(number, cells["domain"], cells["split"], parse_camera(cells), record)


def check_cell(column: str, cell: str) -> None:
    """Raise JointreidError if a cell of a known column cannot be right, whatever the rest of its row says."""
    if "\0" in cell:
        raise JointreidError(f"column {column}: {cell!r} holds a zero byte; the file is damaged: restore it")
    if cell != cell.strip():
        raise JointreidError(f"column {column}: {cell!r} has spaces around it; remove them")
    if not cell and column in COLUMNS and column != "camid":
        raise JointreidError(f"column {column}: empty")
    if column == "domain" and (fault := name_fault(cell)):
        raise JointreidError(f"column {column}: {fault}")
    if column in ("pid", "camid") and _NO_ID.fullmatch(cell):
        raise JointreidError(f"column {column}: {cell!r} is no id; for an image to be ignored, set a column junk")


def parse_kind(cells: Mapping[str, str]) -> tuple[bool, bool]:
    """Return whether a row is junk, and whether it is a distractor; raise JointreidError for a wrong split or flag."""
    if (split := cells["split"]) not in SPLITS:
        hint = '; test is for domains whose side file says "protocol": "leave_one_out"' if split == TEST else ""
        raise JointreidError(f"column split: {split!r}; expected {', '.join(SPLITS)}{hint}")
    junk, distractor = _flag(cells, "junk"), _flag(cells, "distractor")
    if split == "train" and (junk or distractor):
        raise JointreidError(f"column {'junk' if junk else 'distractor'}: set in train; remove the row")
    return junk, distractor


def parse_camera(cells: Mapping[str, str]) -> str:
    """Return the name of a row's camera; "" for none."""
    return camera_name(cells.get("camid", ""))


def parse_timestamp(cells: Mapping[str, str]) -> float | None:
    """Return a row's seconds, or None; raise JointreidError for what is no number."""
    return _number(cells, "timestamp") if cells.get("timestamp") else None


def parse_box(cells: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    """Return a row's box, or None for the whole image; raise JointreidError for what is no box."""
    if not any(cells.get(column) for column in BOX_COLUMNS):
        return None
    x, y, width, height = (_pixels(cells, column) for column in BOX_COLUMNS)
    return x, y, width, height


def _pixels(cells: Mapping[str, str], column: str) -> int:
    value = _number(cells, column)
    least = 1 if column in ("w", "h") else 0
    if value < least or not value.is_integer():
        raise JointreidError(f"column {column}: {cells[column]!r}; expected whole pixels >= {least}")
    return int(value)


def _number(cells: Mapping[str, str], column: str) -> float:
    try:
        value = float(cells[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise JointreidError(f"column {column}: {cells[column]!r}; expected a finite number")
    return value


def _flag(cells: Mapping[str, str], column: str) -> bool:
    cell = cells.get(column, "")
    if cell.lower() not in _FLAGS:
        raise JointreidError(f"column {column}: {cell!r}; expected 0, 1, true or false")
    return _FLAGS[cell.lower()]
