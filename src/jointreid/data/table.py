"""A CSV or Parquet table with one image a row -> rows that are right by themselves, or errors that name the row.

Columns: `domain, split, path, pid, camid`, and where known `x, y, w, h` (the person's box, in pixels), `timestamp`
(seconds), `junk` and `distractor` (0, 1, true or false). Other columns are ignored, unless their name looks like a
slip for one of these that is missing. Paths are relative to the table and stay below its folder, or, for a domain with
a root, are relative to that and stay below it.

A row's number in a message is its line in a CSV file, and its place counted from 1 in a Parquet file.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from jointreid.data.table_columns import parse_right_rows
from jointreid.data.table_files import Table, read_table
from jointreid.data.table_row import TEST, ImageRoot, TableRow, parse_row, stated_root, table_root
from jointreid.messages.errors import JointreidError

_SHOWN_ERRORS = 10


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
    table = read_table(path)
    own = table_root(path.parent)
    image_roots = {name: stated_root(root) for name, root in (roots or {}).items()}
    if not table.rows:
        raise JointreidError(f"{path}: holds no images; expected one row for each")
    rows = parse_right_rows(table, own, image_roots, leave_one_out)
    return _parse_rows(path, table, own, image_roots, leave_one_out) if rows is None else rows


def _parse_rows(
    path: Path, table: Table, own: ImageRoot, roots: Mapping[str, ImageRoot], leave_one_out: Collection[str]
) -> list[TableRow]:
    """Return the rows, each parsed by itself, so that a message names what is wrong."""
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
            row = parse_row(number, by_column, roots.get(by_column["domain"], own))
            same = first.setdefault((row.domain, row.split, *row.record.key), number)
            if same != number:
                raise JointreidError(f"column path: repeats row {same} (same split, path and box); remove one")
            rows.append(row)
        except JointreidError as error:
            errors.append(f"{path}, row {number}, {error}")
    if errors:
        count = [f"{len(errors)} rows are wrong; these are the first {_SHOWN_ERRORS}"]
        raise JointreidError("\n".join(errors[:_SHOWN_ERRORS] + count[: len(errors) > _SHOWN_ERRORS]))
    return rows
