"""A CSV or Parquet table with one image a row -> rows that are right by themselves, or errors that name the row.

Columns: `domain, split, path, pid, camid`, and where known `x, y, w, h` (the person's box, in pixels), `timestamp`
(seconds), `junk` and `distractor` (0, 1, true or false). Other columns are ignored, unless their name looks like a
slip for one of these that is missing. Paths are relative to the table and stay below its folder, or, for a domain with
a root, are relative to that and stay below it.

A row's number in a message is its line in a CSV file, and its place counted from 1 in a Parquet file.
"""

import csv
import io
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from jointreid.data.records import SPLITS, ImageRecord
from jointreid.messages.errors import JointreidError

COLUMNS = ("domain", "split", "path", "pid", "camid")
BOX_COLUMNS = ("x", "y", "w", "h")
# The split of test images that are query and gallery at once.
TEST = "test"
FLAG_COLUMNS = ("junk", "distractor")
ALL_COLUMNS = (*COLUMNS, *BOX_COLUMNS, "timestamp", *FLAG_COLUMNS)
# A camera id that is an integer; others are names.
CAMERA_NUMBER = re.compile(r"([0-9]{1,9})(\.0*)?")

_FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}
_NO_ID = re.compile(r"nan|-[0-9.]+", re.IGNORECASE)
_SHOWN_ERRORS = 10


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


class _Table(NamedTuple):
    """The cells as text, with the number of each row."""

    columns: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]


def read_rows(
    path: Path, roots: Mapping[str, Path] | None = None, leave_one_out: Collection[str] = ()
) -> list[TableRow]:
    """Read and check every row of a table, its paths joined to its domain's root, else to the table's folder.

    Args:
        path: a `.csv` (UTF-8) or `.parquet` file.
        roots: for each domain whose images lie elsewhere, the absolute folder that holds them.
        leave_one_out: the domains whose test images may be in a split `test`, which becomes the gallery.

    Raises:
        JointreidError: the table cannot be read, lacks a column, holds no rows, or rows that are wrong; names the
            file, the rows (ten at most, with their count) and the columns.
    """
    table = _read_table(path)
    own = table_root(path.parent)
    image_roots = {name: stated_root(root) for name, root in (roots or {}).items()}
    rows: list[TableRow] = []
    errors: list[str] = []
    first: dict[tuple[object, ...], int] = {}
    for number, cells in table.rows:
        try:
            if len(cells) != len(table.columns):
                raise JointreidError(f"{len(cells)} cells; the header names {len(table.columns)} columns")
            by_column = dict(zip(table.columns, cells, strict=True))
            if by_column["split"] == TEST and by_column["domain"] in leave_one_out:
                by_column["split"] = "gallery"
            row = parse_row(number, by_column, image_roots.get(by_column["domain"], own))
            same = first.setdefault((row.domain, row.split, *row.record.key), number)
            if same != number:
                raise JointreidError(f"column path: repeats row {same} (same split, path and box); remove one")
            rows.append(row)
        except JointreidError as error:
            errors.append(f"{path}, row {number}, {error}")
    if errors:
        count = [f"{len(errors)} rows are wrong; these are the first {_SHOWN_ERRORS}"]
        raise JointreidError("\n".join(errors[:_SHOWN_ERRORS] + count[: len(errors) > _SHOWN_ERRORS]))
    if not rows:
        raise JointreidError(f"{path}: holds no images; expected one row for each")
    return rows


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


# Reading the table

# How files begin that are called .csv without being it, and what they are.
_PACKED = {
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"PK\x03\x04": "a spreadsheet or a zip archive; save the spreadsheet as CSV (UTF-8), or unpack it",
    b"PAR1": "Parquet; call it .parquet",
}


def _read_table(path: Path) -> _Table:
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise JointreidError(f"{path}: a manifest is a .csv or .parquet file{_other_kind(path)}")
    try:
        return readers[path.suffix.lower()](path)
    except OSError as error:
        raise JointreidError(f"{path}: cannot be read: {error.strerror or error}") from error


def _other_kind(path: Path) -> str:
    """Return what to do with a file of another kind that tables come in; "" for all else."""
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xls", ".ods"):
        return "; save the spreadsheet as CSV (UTF-8)"
    if suffix in (".gz", ".zip", ".bz2", ".xz", ".zst"):
        return "; unpack it first"
    return "; write tabs as commas and call it .csv" if suffix in (".tsv", ".txt") else ""


def _read_csv(path: Path) -> _Table:
    data = path.read_bytes()
    if packed := next((kind for start, kind in _PACKED.items() if data.startswith(start)), ""):
        raise JointreidError(f"{path}: is no text but {packed}")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise JointreidError(f"{path}, row {row}: byte 0x{byte:02x} is not UTF-8; save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, number = [], 1
    try:
        for cells in reader:
            if any(cells):
                rows.append((number, cells))
            # A quoted cell may hold line ends, so a row starts where the one before stopped.
            number = reader.line_num + 1
    except csv.Error as error:
        raise JointreidError(f"{path}, row {number}: not CSV: {error}; check the quotes from this row on") from error
    if not rows:
        raise JointreidError(f"{path}: is empty; the first line names the columns {','.join(COLUMNS)}")
    _check_columns(f"{path}, row {rows[0][0]}", rows[0][1])
    return _Table(rows[0][1], rows[1:])


def _read_parquet(path: Path) -> _Table:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_columns(f"{path}, schema", file.schema_arrow.names)
            known = [name for name in file.schema_arrow.names if name in ALL_COLUMNS]
            # Not read_table, which would take a folder called `domain=x` on the way for a column.
            table = file.read(columns=known)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:  # the latter from names of columns
        raise JointreidError(f"{path}: cannot be read as Parquet: {error}") from error
    columns = [_parquet_cells(f"{path}, column {name}", name, table.column(name)) for name in known]
    return _Table(known, list(enumerate(zip(*columns, strict=True), start=1)))


def _parquet_cells(where: str, column: str, values: Any) -> list[str]:
    try:
        plain = values.to_pylist()
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, times that Python has no type for
        raise JointreidError(f"{where}: cannot be read: {error}") from error
    return [_parquet_cell(where, column, value) for value in plain]


def _parquet_cell(where: str, column: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | int | float) or (isinstance(value, bool) and column not in FLAG_COLUMNS):
        raise JointreidError(f"{where}: holds {type(value).__name__}; expected text or numbers")
    return str(value)


def _check_columns(where: str, columns: Sequence[str]) -> None:
    if not set(columns) & set(ALL_COLUMNS) and {column.strip().lower() for column in columns} >= {"path", "pid"}:
        found, expected = ",".join(columns), ",".join(COLUMNS)
        raise JointreidError(f"{where}: the columns are {found}; write {expected}, in small letters")
    if not set(columns) & set(ALL_COLUMNS):
        separator = next((f"; it is separated by {mark!r}" for mark in ";\t" if mark in "".join(columns)), "")
        raise JointreidError(f"{where}: no header; expected the columns {','.join(COLUMNS)}{separator}")
    if twice := sorted({column for column in columns if list(columns).count(column) > 1}):
        raise JointreidError(f"{where}, column {twice[0]!r}: named twice; remove one")
    absent = [column for column in ALL_COLUMNS if column not in columns]
    for column in columns:
        near = get_close_matches(column.strip().lower(), absent, n=1, cutoff=0.75)
        if column not in ALL_COLUMNS and near:
            raise JointreidError(f"{where}, column {column!r}: unknown; did you mean {near[0]}? Rename it")
    if missing := [column for column in COLUMNS if column in absent and column != "camid"]:
        raise JointreidError(f"{where}: no column {', '.join(missing)}; found {', '.join(columns)}")
    if 0 < len(set(BOX_COLUMNS) & set(absent)) < len(BOX_COLUMNS):
        raise JointreidError(f"{where}: only some of the box columns {','.join(BOX_COLUMNS)}; expected all or none")


# Reading a row


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
        if column not in ALL_COLUMNS:
            continue
        if "\0" in cell:
            raise JointreidError(f"column {column}: {cell!r} holds a zero byte; the file is damaged: restore it")
        if cell != cell.strip():
            raise JointreidError(f"column {column}: {cell!r} has spaces around it; remove them")
        if not cell and column in COLUMNS and column != "camid":
            raise JointreidError(f"column {column}: empty")
        if column in ("pid", "camid") and _NO_ID.fullmatch(cell):
            raise JointreidError(f"column {column}: {cell!r} is no id; for an image to be ignored, set a column junk")
    if (split := cells["split"]) not in SPLITS:
        hint = '; test is for domains whose side file says "protocol": "leave_one_out"' if split == TEST else ""
        raise JointreidError(f"column split: {split!r}; expected {', '.join(SPLITS)}{hint}")
    junk, distractor = _flag(cells, "junk"), _flag(cells, "distractor")
    if split == "train" and (junk or distractor):
        raise JointreidError(f"column {'junk' if junk else 'distractor'}: set in train; remove the row")
    path = path_below(root.absolute, cells["path"])
    if path is None:
        raise JointreidError(f"column path: {cells['path']!r} {root.fault}")
    record = ImageRecord(
        path=root.given / path,
        pid=cells["pid"],
        camid=0,
        box=_box(cells),
        timestamp=_number(cells, "timestamp") if cells.get("timestamp") else None,
        junk=junk,
        distractor=distractor,
    )
    return TableRow(number, cells["domain"], split, camera_name(cells.get("camid", "")), record)


def _box(cells: Mapping[str, str]) -> tuple[int, int, int, int] | None:
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
