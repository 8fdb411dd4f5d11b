"""A folder or a table of images -> `ImageTable`: one row for each image or box to embed, in order.

A table (`.csv`, `.parquet`) needs one column, `path`. Known columns: `x, y, w, h`, a box in pixels; `tracklet`, the
images of one person that a tracker followed; `score`, how sure a detector was, in [0, 1]; those of a manifest, such as
`domain`, `pid`, `camid` and `timestamp`. Every other column is carried over too, unless it has the name of one that
extraction writes.

Paths are relative to the table's folder and stay below it, as in a manifest; `root` names another folder.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointreid.data.decode import SUFFIXES, Box
from jointreid.data.manifest import read_side_file, side_file
from jointreid.data.table_files import BOX_COLUMNS, FLAG_COLUMNS, plain_text, read_csv
from jointreid.data.table_row import parse_box, path_below
from jointreid.extraction.feature_columns import WRITTEN_COLUMNS
from jointreid.extraction.storage import list_images, object_below, parent_of, read_bytes, suffix_of
from jointreid.machine.hashing import text_sha256
from jointreid.machine.paths import is_unicode, is_uri, user_path
from jointreid.messages.errors import JointreidError

TRACKLET, SCORE = "tracklet", "score"
_INTEGERS, _FLOATS = ("camid",), ("timestamp", SCORE)
_SHOWN_ERRORS = 10


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Images or boxes to embed, N rows in order.

    Attributes:
        source: the folder, table or URI that they were read from.
        roots: domain -> the folder that its paths are relative to; "" for all that are not named.
        columns: pyarrow table, N rows: `path` as it was given, boxes, and the columns that are carried over.
        files: for each row, the absolute path or the URI of its image.
        boxes: for each row, its box, or None for the whole image.
    """

    source: str
    roots: Mapping[str, str]
    columns: Any
    files: Sequence[str]
    boxes: Sequence[Box | None]

    def __len__(self) -> int:
        return len(self.files)

    def values(self, column: str) -> list[Any] | None:
        """Return the values of a column that is carried over; None if there is no such column."""
        return self.columns[column].to_pylist() if column in self.columns.column_names else None

    def name(self, row: int) -> str:
        """Return what messages call a row's image."""
        box = self.boxes[row]
        return self.files[row] if box is None else f"{self.files[row]}, box {','.join(map(str, box))}"

    @property
    def digest(self) -> str:
        """The SHA-256 of all columns: equal exactly when two tables list the same images in the same order."""
        names = self.columns.column_names
        cells = zip(*(self.columns[name].to_pylist() for name in names), strict=True)
        return text_sha256(repr(names), *(repr(row) for row in cells))


def read_images(source: str | Path, root: str = "") -> ImageTable:
    """Read what images to embed.

    Args:
        source: a folder, of which every image is taken, sorted by path; a `.csv` (UTF-8) or `.parquet` table; or
            one of these in an object store, as a URI.
        root: for a table, the folder or URI that its paths are relative to and stay below; empty for the table's own.

    Raises:
        JointreidError: it is not there, holds no images, rows that are wrong, or a name that is not valid Unicode;
            names the file and the rows.
    """
    text = str(source)
    where = text if is_uri(text) else str(user_path(text))
    suffix = suffix_of(where)
    if suffix in (".csv", ".parquet"):
        return _of_table(where, suffix, root)
    if suffix in SUFFIXES:
        raise JointreidError(f"{where}: is an image; give its folder, or a table with the column path")
    if root:
        raise JointreidError(f"--root is for tables; {where} is a folder, of which all images are taken")
    if not is_uri(where) and not Path(where).is_dir():
        what = "is not a folder, a .csv or a .parquet file" if Path(where).exists() else "does not exist"
        raise JointreidError(f"{where} {what}; expected a folder of images, or a table with the column path")
    import pyarrow as pa

    paths = list_images(where)
    if not paths:
        raise JointreidError(f"{where}: contains no images ({', '.join(SUFFIXES)})")
    _require_unicode(where, paths)
    folder = where if is_uri(where) else os.path.abspath(where)
    files = [object_below(where, path) if is_uri(where) else os.path.join(folder, path) for path in paths]
    return ImageTable(where, {"": folder}, pa.table({"path": pa.array(paths)}), files, [None] * len(paths))


def _require_unicode(where: str, paths: Sequence[str]) -> None:
    """Refuse names of files that are not valid Unicode, which no table of features holds."""
    wrong = [path for path in paths if not is_unicode(path)]
    if wrong:
        more = f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
        raise JointreidError(f"{where}: {wrong[0]!r}{more}: not valid Unicode; rename the file or folder")


def _of_table(where: str, suffix: str, root: str) -> ImageTable:
    content = read_bytes(where)
    columns, numbers = _csv_columns(where, content) if suffix == ".csv" else _parquet_columns(where, content)
    if "path" not in columns:
        raise JointreidError(f"{where}: no column path; found {', '.join(columns)}")
    if not numbers:
        raise JointreidError(f"{where}: holds no images; expected one row for each")
    some = [name for name in BOX_COLUMNS if name in columns]
    if some and len(some) < len(BOX_COLUMNS):
        raise JointreidError(f"{where}: only some of the box columns {','.join(BOX_COLUMNS)}; expected all or none")
    roots = _roots(where, root)
    files: list[str] = []
    boxes: list[Box | None] = []
    errors: list[str] = []
    domains = columns.get("domain", [None] * len(numbers))
    for index, number in enumerate(numbers):
        try:
            files.append(_located(columns["path"][index], roots.get(domains[index] or "", roots[""])))
            boxes.append(parse_box({name: _text(columns[name][index]) for name in some}) if some else None)
        except JointreidError as error:
            errors.append(f"{where}, row {number}, {error}")
    if errors:
        count = [f"{len(errors)} rows are wrong; these are the first {_SHOWN_ERRORS}"]
        raise JointreidError("\n".join(errors[:_SHOWN_ERRORS] + count[: len(errors) > _SHOWN_ERRORS]))
    return ImageTable(where, roots, _typed(where, columns, boxes if some else None), files, boxes)


def _roots(where: str, root: str) -> dict[str, str]:
    """Return domain -> the folder that its paths are relative to."""
    if root:
        return {"": root if is_uri(root) else os.path.abspath(user_path(root))}
    if is_uri(where):
        return {"": parent_of(where)}
    own = os.path.dirname(os.path.abspath(where))
    stated = {
        name: str(policy["root"]) for name, policy in read_side_file(side_file(where)).items() if "root" in policy
    }
    return {"": own, **stated}


def _located(path: Any, root: str) -> str:
    """Return the absolute path or the URI of an image."""
    if not isinstance(path, str) or not path:
        raise JointreidError("column path: empty" if not path else f"column path: {path!r} is no text")
    if is_uri(root):
        if path.startswith("/") or is_uri(path) or ".." in path.split("/"):
            raise JointreidError(f"column path: {path!r}; expected a path below {root}, as objects are named there")
        return object_below(root, path)
    below = path_below(root, path)
    if below is None:
        raise JointreidError(f"column path: {path!r} does not stay below {root}; name a folder above with --root")
    return os.path.join(root, below)


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _csv_columns(where: str, content: bytes) -> tuple[dict[str, list[Any]], list[int]]:
    """Return the cells by column, None where empty, and the number of each row."""
    header, names, rows = read_csv(where, content)
    if len(set(names)) < len(names):
        raise JointreidError(f"{where}, row {header}: a column is named twice in {','.join(names)}")
    for number, cells in rows:
        if len(cells) != len(names):
            raise JointreidError(f"{where}, row {number}: {len(cells)} cells; the header names {len(names)} columns")
    columns = {name: [cells[i] or None for _, cells in rows] for i, name in enumerate(names)}
    return columns, [number for number, _ in rows]


def _parquet_columns(where: str, content: bytes) -> tuple[dict[str, Any], list[int]]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(pa.BufferReader(content)).read()
    except (OSError, pa.ArrowException) as error:
        raise JointreidError(f"{where}: cannot be read as Parquet: {error}") from error
    needed = ("path", "domain", *BOX_COLUMNS)
    columns = {name: table[name].to_pylist() if name in needed else table[name] for name in table.column_names}
    return columns, list(range(1, table.num_rows + 1))


def _typed(where: str, columns: Mapping[str, Any], boxes: Sequence[Box | None] | None) -> Any:
    """Return the columns as a pyarrow table: text, unless the name means a number or the table has a type for it."""
    import pyarrow as pa

    typed: dict[str, Any] = {"path": pa.array(columns["path"], pa.string())}
    if boxes is not None:
        for i, name in enumerate(BOX_COLUMNS):
            typed[name] = pa.array([None if box is None else box[i] for box in boxes], pa.int32())
    for name, values in columns.items():
        if name in typed or name in WRITTEN_COLUMNS:
            continue
        if name in ("pid", TRACKLET, "domain"):
            cells = values if isinstance(values, list) else values.to_pylist()
            typed[name] = pa.array([plain_text(cell) or None for cell in cells], pa.string())
        elif not isinstance(values, list):
            typed[name] = values.combine_chunks()
        elif name in _FLOATS or name in FLAG_COLUMNS:
            typed[name] = pa.array(_numbers(where, name, values), pa.float64())
        else:
            whole = name in _INTEGERS and all(cell is None or (cell.isascii() and cell.isdigit()) for cell in values)
            typed[name] = pa.array(
                [cell and int(cell) for cell in values] if whole else values, None if whole else pa.string()
            )
    return pa.table(typed)


def _numbers(where: str, name: str, cells: Sequence[str | None]) -> list[float | None]:
    words = {"true": 1.0, "false": 0.0}
    try:
        return [
            None if cell is None else words.get(cell.lower()) if cell.lower() in words else float(cell)
            for cell in cells
        ]
    except ValueError as error:
        raise JointreidError(f"{where}, column {name}: {error}; expected numbers") from error
