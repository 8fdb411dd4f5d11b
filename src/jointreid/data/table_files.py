"""A CSV or Parquet file -> the table's columns and cells, as text."""

import csv
import io
import math
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from jointreid.messages.errors import JointreidError

COLUMNS = ("domain", "split", "path", "pid", "camid")
BOX_COLUMNS = ("x", "y", "w", "h")
FLAG_COLUMNS = ("junk", "distractor")
ALL_COLUMNS = (*COLUMNS, *BOX_COLUMNS, "timestamp", *FLAG_COLUMNS)


class Table(NamedTuple):
    """The cells as text, with the number of each row."""

    columns: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]


# How files begin that are called .csv without being it, and what they are.
_PACKED = {
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"PK\x03\x04": "a spreadsheet or a zip archive; save the spreadsheet as CSV (UTF-8), or unpack it",
    b"PAR1": "Parquet; call it .parquet",
}


def read_table(path: Path) -> Table:
    """Read a table; raise JointreidError where it is none or lacks a column."""
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


def _read_csv(path: Path) -> Table:
    number, columns, rows = read_csv(path, path.read_bytes())
    _check_columns(f"{path}, row {number}", columns)
    return Table(columns, rows)


def read_csv(path: Path | str, data: bytes) -> tuple[int, Sequence[str], Sequence[tuple[int, Sequence[str]]]]:
    """Return the number of the header's row, its cells, and the rows below it, which may have other numbers of cells.

    Args:
        path: the file, for messages.
        data: what it holds.

    Raises:
        JointreidError: it is not CSV in UTF-8, or is empty.
    """
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
    return rows[0][0], rows[0][1], rows[1:]


def _read_parquet(path: Path) -> Table:
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
    return Table(known, list(enumerate(zip(*columns, strict=True), start=1)))


def _parquet_cells(where: str, column: str, values: Any) -> list[str]:
    try:
        plain = values.to_pylist()
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, times that Python has no type for
        raise JointreidError(f"{where}: cannot be read: {error}") from error
    return [_parquet_cell(where, column, value) for value in plain]


def _parquet_cell(where: str, column: str, value: object) -> str:
    if value is not None and (
        not isinstance(value, str | int | float) or (isinstance(value, bool) and column not in FLAG_COLUMNS)
    ):
        raise JointreidError(f"{where}: holds {type(value).__name__}; expected text or numbers")
    return plain_text(value)


def plain_text(value: object) -> str:
    """Return a cell of a typed table as text; "" where it is missing.

    A column of whole numbers with gaps is often one of fractions, whose gaps are NaN.

    >>> [plain_text(value) for value in (12.0, 0.5, float("nan"), None, "12.0")]
    ['12', '0.5', '', '', '12.0']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _check_columns(where: str, columns: Sequence[str]) -> None:
    if not set(columns) & set(ALL_COLUMNS) and {column.strip().lower() for column in columns} >= {"path", "pid"}:
        found, expected = ",".join(columns), ",".join(COLUMNS)
        raise JointreidError(f"{where}: the columns are {found}; write {expected}, in small letters")
    if not set(columns) & set(ALL_COLUMNS):
        marks = [mark for mark in ";\t|" if mark in "".join(columns)]
        separator = f"; it is separated by {marks[0]!r}: save it with commas" if marks else ""
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
