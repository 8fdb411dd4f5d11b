"""Features with metadata, as a Parquet file or arrays give them, to be added to a gallery.

Letters: N rows, D dimensions of a feature.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jointreid.extraction.feature_file import FeatureFile
from jointreid.extraction.predictions import Prediction
from jointreid.gallery.columns import BOX, FILE_COLUMNS, metadata_columns
from jointreid.machine.paths import absolute, user_path
from jointreid.messages.errors import JointreidError, no_such

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float32]

# Rows whose features are in memory at once.
BATCH = 8192


@dataclass(frozen=True)
class FeatureModel:
    """The model that made features.

    Attributes:
        fingerprint: equal where features may be compared, see `jointreid.extraction.fingerprint`.
        run: path of its run directory; empty if unknown.
        checkpoint: of the run, last or best.
        flip: whether each feature is the mean of those of an image and its mirror image.
    """

    fingerprint: str
    run: str = ""
    checkpoint: str = "last"
    flip: bool = False


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Features and what is known of their images, to be added to a gallery.

    Attributes:
        metadata: N rows with all columns of `schema` but `feature`.
        dims: D.
        model: that made the features.
        origin: the file they come from, for messages.
        batches: gives the features in order, each time it is called, in parts float32 [n, D].
    """

    metadata: "pa.Table"
    dims: int
    model: FeatureModel
    origin: str
    batches: Callable[[], Iterator[Floats]]

    @classmethod
    def read(
        cls, path: str | Path, *, columns: Mapping[str, str] | None = None, values: Mapping[str, str] | None = None
    ) -> "FeatureRows":
        """Read what `jointreid extract` wrote; features are read when they are needed.

        Args:
            path: the Parquet file.
            columns: column of a gallery -> the file's column that holds it.
            values: column of a gallery -> a value for all rows.

        Raises:
            JointreidError: the file is damaged or of another kind, lacks a column, or has a value of another kind.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = FeatureFile.open(user_path(path))
        wanted = {"path", *BOX, *(name for names in FILE_COLUMNS.values() for name in names), *(columns or {}).values()}
        with pq.ParquetFile(file.path) as opened:
            table = opened.read(columns=[name for name in file.schema.names if name in wanted])
        folders = table["domain"].to_pylist() if "domain" in table.column_names else [None] * table.num_rows
        files = [file.info.image_file(*pair) for pair in zip(table["path"].to_pylist(), folders, strict=True)]
        table = table.set_column(table.column_names.index("path"), "path", pa.array(files, pa.string()))

        def batches() -> Iterator[Floats]:
            with pq.ParquetFile(file.path) as opened:
                for batch in opened.iter_batches(BATCH, columns=["feature"]):
                    column = batch.column(0)
                    if column.null_count:
                        raise JointreidError(f"{file.path}: a row has no feature; extract the features again")
                    yield column.flatten().to_numpy().astype(np.float32, copy=False).reshape(len(column), -1)

        origin = absolute(file.path)
        model = FeatureModel(file.info.fingerprint, file.info.run, file.info.checkpoint, file.info.flip)
        metadata = metadata_columns(table, origin, columns or {}, values or {})
        return cls(metadata, file.info.dims, model, origin, batches)

    @classmethod
    def of(
        cls,
        features: Floats,
        paths: Sequence[str],
        model: FeatureModel,
        *,
        origin: str = "",
        columns: Mapping[str, Sequence[Any]] | None = None,
        values: Mapping[str, str] | None = None,
    ) -> "FeatureRows":
        """Return features that are in memory as rows.

        Args:
            features: float32 [N, D], of any length but 0.
            paths: where each image lies, or another name that tells it from all others.
            model: that made them.
            origin: what `info` lists as the file they come from.
            columns: `pid`, `name`, `camera`, `time`, `domain`, `source`, `consent`, `retention`, and `x`, `y`, `w`,
                `h` of the box -> its values [N], None where unknown.
            values: column of a gallery -> a value for all rows.

        Raises:
            JointreidError: a column is unknown, of another length or of another kind.
        """
        import pyarrow as pa

        if features.ndim != 2 or len(features) != len(paths):
            raise JointreidError(f"features are {list(features.shape)}; expected [{len(paths)}, D], one row for a path")
        for name, column in (columns or {}).items():
            if name not in (*FILE_COLUMNS, *BOX):
                raise JointreidError(no_such("column of a gallery", name, (*FILE_COLUMNS, *BOX)))
            if len(column) != len(paths):
                raise JointreidError(
                    f"column {name} has {len(column)} values; expected {len(paths)}, one for each path"
                )
        table = pa.table({"path": list(paths), **{name: list(column) for name, column in (columns or {}).items()}})
        metadata = metadata_columns(table, origin, {}, values or {})

        def batches() -> Iterator[Floats]:
            for start in range(0, len(features), BATCH):
                yield np.asarray(features[start : start + BATCH], dtype=np.float32)

        return cls(metadata, features.shape[1], model, origin, batches)

    def with_thumbnails(self, thumbnails: Sequence[bytes | None]) -> "FeatureRows":
        """Return the rows with a small JPEG for each, or None."""
        import pyarrow as pa

        at = self.metadata.column_names.index("thumbnail")
        return replace(self, metadata=self.metadata.set_column(at, "thumbnail", pa.array(thumbnails, pa.binary())))

    def boxes(self) -> list[tuple[int, int, int, int] | None]:
        """Return each row's box (x, y, width, height) in pixels; None for the whole image."""
        columns = zip(*(self.metadata[name].to_pylist() for name in BOX), strict=True)
        return [box if box[0] is not None else None for box in columns]

    def normalised(self) -> Iterator[Floats]:
        """Yield the features in order, in parts [n, D], each of length 1.

        Raises:
            JointreidError: a feature is 0 or not finite; names its image.
        """
        start = 0
        for part in self.batches():
            lengths = np.linalg.norm(part, axis=1, keepdims=True)
            wrong = ~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0))
            if wrong.any():
                row = start + int(wrong.argmax())
                raise JointreidError(
                    f"{self.origin}, row {row} ({self.metadata['path'][row]}): the feature is 0 or not finite; "
                    "extract the features again"
                )
            yield part / lengths
            start += len(part)


def read_domain(path: str | Path, row: int) -> str | None:
    """Return the domain that the model sees in the image of one row of a Parquet file; None if it is unsure."""
    import pyarrow.parquet as pq

    names = ["predicted_domain", "predicted_domain_probability"]
    with pq.ParquetFile(user_path(path)) as opened:
        if not set(names) <= set(opened.schema_arrow.names):
            return None
        domain, probability = (opened.read(columns=names)[name][row].as_py() for name in names)
    return Prediction(domain, probability).likely_domain


def read_feature(path: str | Path, row: int) -> tuple[Floats, str]:
    """Return the feature [D] of one row of a Parquet file, and the fingerprint of its model.

    Raises:
        JointreidError: no such row, or see `FeatureRows.read`.
    """
    rows = FeatureRows.read(path)
    if not 0 <= row < rows.metadata.num_rows:
        raise JointreidError(f"{path}: there is no row {row}; expected one from 0 to {rows.metadata.num_rows - 1}")
    start = 0
    for part in rows.normalised():
        if row < start + len(part):
            return part[row - start], rows.model.fingerprint
        start += len(part)
    raise AssertionError(row)
