"""A file of features: a Parquet table, one row an image, a box or a tracklet, which says in its metadata what made it.

Columns: `row`, the place in the input, from 0; `path`, the box `x, y, w, h` and all other columns of the input;
`feature`, a list of D float32; what the model's heads see (`predicted_domain`, `predicted_camera`, their probabilities,
and the probabilities of all classes, `domain_posterior` and `camera_posterior`), null or left out where the model has
no heads; `sharpness`, `overlap` and `quality`; of tracklets also `images`, how many were pooled.

The metadata key `jointreid` holds a `FeatureInfo` as JSON.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from jointreid.extraction.feature_columns import FEATURE, Floats, list_values
from jointreid.extraction.storage import object_below
from jointreid.machine.files import replacing
from jointreid.machine.hashing import text_sha256
from jointreid.machine.paths import is_uri
from jointreid.messages.errors import JointreidError

METADATA_KEY = b"jointreid"
FORMAT = 1
# Rows that are compressed and read together.
ROW_GROUP = 4096


class SkippedImage(NamedTuple):
    """An image of the input that could not be read and was left out: its row, its path and why."""

    row: int
    path: str
    cause: str


@dataclass(frozen=True)
class FeatureInfo:
    """What made a file of features.

    Attributes:
        fingerprint: of the model, see `jointreid.extraction.fingerprint`; features of two files may be compared if
            these are equal.
        dims: D, numbers of a feature.
        normalised: whether features have length 1.
        flip: whether each is the mean of those of an image and its mirror image.
        run: the run directory, absolute.
        checkpoint: last or best.
        domains: names of the domain classes, in the order of `domain_posterior`.
        cameras: names of the camera classes, in the order of `camera_posterior`.
        source: the folder or the table that lists the images.
        roots: domain -> folder that `path` is relative to; "" for all domains that are not named.
        images: SHA-256 of the list of images.
        rows: how many rows that list has.
        tracklets: whether images of a tracklet were pooled into one row.
        start: the first row of the list that this file covers.
        stop: the row after the last.
        skipped: unreadable images that were left out.
    """

    fingerprint: str
    dims: int
    normalised: bool
    flip: bool
    run: str
    checkpoint: str
    domains: tuple[str, ...]
    cameras: tuple[str, ...]
    source: str
    roots: Mapping[str, str]
    images: str
    rows: int
    tracklets: bool
    start: int = 0
    stop: int = 0
    skipped: tuple[SkippedImage, ...] = field(default=())

    @property
    def job(self) -> str:
        """A name for the work that files are parts of: the same model, settings and list of images in one place."""
        what = (self.fingerprint, self.normalised, self.images, self.rows, sorted(self.roots.items()))
        return text_sha256(json.dumps(what))[:16]

    def image_file(self, path: str, domain: str | None = None) -> str:
        """Return the absolute path or URI of an image.

        Args:
            path: the column `path` of its row.
            domain: the column `domain` of its row, if there is one.
        """
        root = self.roots.get(domain or "", self.roots.get("", ""))
        return object_below(root, path) if is_uri(root) else os.path.join(root, path)

    def to_json(self) -> str:
        """Return the fields as JSON, with the version of this format."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "FeatureInfo":
        """Return what `to_json` wrote.

        Raises:
            ValueError: it is something else, or of a newer version.
        """
        plain = json.loads(text)
        if not isinstance(plain, dict) or plain.pop("format", None) != FORMAT:
            raise ValueError(f"expected version {FORMAT} of the format")
        if set(plain) != {one.name for one in fields(cls)}:
            raise ValueError(f"expected the keys {', '.join(one.name for one in fields(cls))}")
        for name, kind in (("fingerprint", str), ("dims", int), ("rows", int), ("start", int), ("stop", int)):
            if type(plain[name]) is not kind:
                raise ValueError(f"{name} is {plain[name]!r}; expected {kind.__name__}")
        skipped = tuple(SkippedImage(int(row), str(path), str(cause)) for row, path, cause in plain.pop("skipped"))
        plain["domains"], plain["cameras"] = tuple(plain["domains"]), tuple(plain["cameras"])
        return cls(**plain, skipped=skipped)


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """A file of features, opened.

    Attributes:
        path: the file.
        info: what made it.
        schema: its columns, of pyarrow.
        num_rows: how many rows it has.
    """

    path: Path
    info: FeatureInfo
    schema: Any
    num_rows: int

    @classmethod
    def open(cls, path: str | Path) -> "FeatureFile":
        """Open a file without reading its rows.

        Raises:
            JointreidError: it is missing, damaged, or not what `jointreid extract` writes.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        try:
            with pq.ParquetFile(path) as file:
                schema, num_rows = file.schema_arrow, file.metadata.num_rows
        except FileNotFoundError as error:
            raise JointreidError(f"{path} does not exist; expected what `jointreid extract` writes") from error
        except (OSError, pa.ArrowException) as error:
            raise JointreidError(f"{path}: cannot be read as Parquet: {error}") from error
        written = (schema.metadata or {}).get(METADATA_KEY)
        if written is None or FEATURE not in schema.names:
            raise JointreidError(f"{path}: has no features with metadata; expected what `jointreid extract` writes")
        try:
            info = FeatureInfo.from_json(written)
        except (ValueError, TypeError, KeyError) as error:
            raise JointreidError(f"{path}: its metadata cannot be read: {error}; extract again") from error
        kind = schema.field(FEATURE).type
        if (
            not pa.types.is_fixed_size_list(kind)
            or kind.list_size != info.dims
            or not pa.types.is_float32(kind.value_type)
        ):
            raise JointreidError(f"{path}: feature is {kind}; expected a list of {info.dims} float32")
        return cls(path, info, schema, num_rows)

    def batches(self, rows: int = ROW_GROUP) -> Iterator[Any]:
        """Yield the rows, at most so many at a time, as pyarrow tables; one table of no rows where there are none.

        Little of the file is in memory.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=rows):
                yield pa.Table.from_batches([batch], schema=self.schema)
        if not self.num_rows:
            yield self.schema.empty_table()

    def table(self) -> Any:
        """Return all rows as a pyarrow table."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            return file.read()

    def features(self) -> Floats:
        """Return all features, float32 [N, D]."""
        return list_values(self.table(), FEATURE)


def write_features(path: Path, info: FeatureInfo, tables: Iterator[Any]) -> None:
    """Write pyarrow tables of equal columns as one file, which appears whole or not at all.

    The file is the same however the rows are divided into tables.

    Raises:
        JointreidError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = next(tables)
    schema = first.schema.with_metadata({METADATA_KEY: info.to_json().encode()})
    plain = [one.name for one in schema if pa.types.is_fixed_size_list(one.type)]
    encoded = [one.name for one in schema if one.name not in plain]
    try:
        with (
            replacing(path) as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=encoded) as writer,
        ):
            waiting = first.cast(schema)
            for table in tables:
                waiting = pa.concat_tables([waiting, table.cast(schema)])
                while waiting.num_rows >= ROW_GROUP:
                    writer.write_table(waiting.slice(0, ROW_GROUP).combine_chunks())
                    waiting = waiting.slice(ROW_GROUP)
            for begin in range(0, waiting.num_rows, ROW_GROUP):
                writer.write_table(waiting.slice(begin, ROW_GROUP).combine_chunks())
    except OSError as error:
        cause = error.strerror or error
        raise JointreidError(
            f"{path}: cannot be written: {cause}. Finished parts are kept: correct this, and the same command resumes"
        ) from error
