"""Columns of a gallery, and how those of a file of features become them.

Letters: N rows, D dimensions of a feature.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from jointreid.gallery.filters import parse_date, parse_time
from jointreid.messages.errors import JointreidError, no_such

if TYPE_CHECKING:
    import pyarrow as pa

# The name of a gallery's table.
TABLE = "people"

# The metadata of a Parquet file and of a gallery's table: JSON with `fingerprint`, `run` and more.
METADATA = b"jointreid"

TEXT_COLUMNS = ("pid", "name", "camera", "domain", "source", "consent")
BOX = ("x", "y", "w", "h")

# Columns that a file of features may have, the preferred name first.
FILE_COLUMNS: dict[str, tuple[str, ...]] = {
    "pid": ("pid",),
    "name": ("name",),
    "camera": ("camera", "camid"),
    "time": ("time", "timestamp"),
    "domain": ("domain",),
    "source": ("source",),
    "consent": ("consent",),
    "retention": ("retention", "retention_date"),
}


def schema(dims: int, metadata: Mapping[str, Any]) -> "pa.Schema":
    """Return the columns of a gallery's table.

    Args:
        dims: D.
        metadata: facts about the gallery as a whole.
    """
    import pyarrow as pa

    fields = [("key", pa.string()), ("path", pa.string()), *((name, pa.int32()) for name in BOX)]
    fields += [(name, pa.string()) for name in TEXT_COLUMNS]
    fields += [("time", pa.timestamp("us", "UTC")), ("retention", pa.date32())]
    fields += [("file", pa.string()), ("added", pa.timestamp("us", "UTC")), ("thumbnail", pa.binary())]
    fields += [("feature", pa.list_(pa.float32(), dims))]
    return pa.schema(fields, metadata={METADATA: json.dumps(dict(metadata)).encode()})


def image_key(path: str, box: Sequence[int | None]) -> str:
    """Return what tells one image, or one box of it, from another, as 32 hex digits."""
    text = json.dumps([path, None if box[0] is None else list(box)])
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def metadata_columns(
    table: "pa.Table", origin: str, columns: Mapping[str, str], values: Mapping[str, str]
) -> "pa.Table":
    """Return a file's columns as those of a gallery.

    Args:
        table: the file's columns.
        origin: the file, for messages and for the column `file`.
        columns: column of a gallery -> the file's column that holds it.
        values: column of a gallery -> a value for all rows.
    """
    import pyarrow as pa

    for name in (*columns, *values):
        if name not in FILE_COLUMNS:
            raise JointreidError(no_such("column of a gallery", name, FILE_COLUMNS))
    for name, column in columns.items():
        if column not in table.column_names:
            raise JointreidError(
                f"{origin}: has no column {column} for {name}; there are {', '.join(table.column_names)}"
            )
    count, target = table.num_rows, schema(1, {})
    arrays: dict[str, Any] = {"path": table["path"].combine_chunks().cast(pa.string())}
    for name in BOX:
        column = table[name] if name in table.column_names else pa.nulls(count)
        arrays[name] = _cast(column, pa.int32(), f"{origin}, column {name}")
    for name, candidates in FILE_COLUMNS.items():
        kind = target.field(name).type
        chosen = columns.get(name) or next((found for found in candidates if found in table.column_names), "")
        if name in values:
            arrays[name] = _parse(pa.array([values[name]]), kind, name).take(pa.array(np.zeros(count, dtype=np.int64)))
        else:
            column = table[chosen] if chosen else pa.nulls(count)
            arrays[name] = _parse(column, kind, f"{origin}, column {chosen}")
    boxes = zip(*(arrays[name].to_pylist() for name in BOX), strict=True)
    keys = [image_key(path, box) for path, box in zip(arrays["path"].to_pylist(), boxes, strict=True)]
    now = datetime.now(UTC)
    arrays |= {"key": pa.array(keys, pa.string()), "file": pa.array([origin] * count, pa.string())}
    arrays |= {"added": pa.array([now] * count, pa.timestamp("us", "UTC")), "thumbnail": pa.nulls(count, pa.binary())}
    names = [name for name in target.names if name != "feature"]
    return pa.table({name: arrays[name] for name in names}, schema=pa.schema([target.field(name) for name in names]))


def _parse(column: Any, kind: "pa.DataType", where: str) -> Any:
    """Return a column as text, times or dates; an empty text is a missing value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == pa.string() or pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts = _cast(column, pa.string(), where)
        texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
        if kind == pa.string():
            return texts
        parse = parse_date if pa.types.is_date(kind) else parse_time
        return pa.array([_parsed(parse, text, where, row) for row, text in enumerate(texts.to_pylist())], kind)
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if is_number and pa.types.is_date(kind):
        raise JointreidError(f"{where}: is {column.type}; expected dates, or text such as 2026-03-01")
    if is_number:  # seconds
        column = pc.multiply(column.cast(pa.float64()), 1e6).cast(pa.int64(), safe=False)
        column = column.cast(pa.timestamp("us", "UTC"))
    return _cast(column, kind, where)


def _parsed(parse: Callable[[str], Any], text: str | None, where: str, row: int) -> Any:
    try:
        return None if text is None else parse(text)
    except JointreidError as error:
        raise JointreidError(f"{where}, row {row}: {error}") from error


def _cast(column: Any, kind: "pa.DataType", where: str) -> Any:
    import pyarrow as pa

    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        raise JointreidError(f"{where}: is {column.type}; expected {kind}: {error}") from error
