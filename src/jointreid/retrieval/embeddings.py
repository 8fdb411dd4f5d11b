"""`Embeddings`: features of images with their labels and paths, in memory and as a Parquet table on disk.

Letters: N images, D dimensions of a feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.data.records import ImageRecord
from jointreid.machine.files import replacing
from jointreid.messages.errors import JointreidError

Floats = NDArray[np.float32]

_POSTERIORS = ("domain_posterior", "camera_posterior")


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The features of N images, with their labels and paths.

    Attributes:
        features: float32 [N, D], `bn_embedding`, not normalised to length 1.
        pids: str [N].
        camids: int64 [N], local to the images' domain.
        paths: str [N].
        domain_posterior: float32 [N, num_domains], probability of each training domain; None without such heads.
        camera_posterior: float32 [N, num_cameras], probability of each training camera; None without such heads.

    Raises:
        JointreidError: the fields have different lengths.
    """

    features: Floats
    pids: NDArray[np.str_]
    camids: NDArray[np.int64]
    paths: NDArray[np.str_]
    domain_posterior: Floats | None = None
    camera_posterior: Floats | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(value) for name, value in vars(self).items() if value is not None}
        if len(set(lengths.values())) > 1:
            raise JointreidError(f"embeddings: the fields are of different lengths: {lengths}")

    @classmethod
    def of(
        cls, records: Sequence[ImageRecord], features: Floats, domain: Floats | None, camera: Floats | None
    ) -> "Embeddings":
        """Combine features and posteriors, [N, ...], with the labels and paths of N records."""
        return cls(
            features=features,
            pids=np.array([record.pid for record in records], dtype=np.str_),
            camids=np.array([record.camid for record in records], dtype=np.int64),
            paths=np.array([str(record.path) for record in records], dtype=np.str_),
            domain_posterior=domain,
            camera_posterior=camera,
        )

    def save(self, path: Path) -> None:
        """Write a Parquet table, one row an image, features and posteriors as lists of fixed length."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {"path": pa.array(self.paths), "pid": pa.array(self.pids), "camid": pa.array(self.camids)}
        columns["feature"] = _list_column(self.features)
        for name in _POSTERIORS:
            if (values := getattr(self, name)) is not None:
                columns[name] = _list_column(values)
        with replacing(path) as temporary:
            pq.write_table(pa.table(columns), temporary)

    @classmethod
    def load(cls, path: Path) -> "Embeddings":
        """Read what `save` wrote.

        Raises:
            JointreidError: the file is missing, damaged or another kind of table.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(path).read()
        except (OSError, pa.ArrowException) as error:
            raise JointreidError(f"{path}: cannot be read as Parquet: {error}") from error
        missing = {"path", "pid", "camid", "feature"} - set(table.column_names)
        lists = [name for name in ("feature", *_POSTERIORS) if name in table.column_names]
        if missing or not all(pa.types.is_fixed_size_list(table.schema.field(name).type) for name in lists):
            found = ", ".join(f"{field.name} {field.type}" for field in table.schema)
            raise JointreidError(
                f"{path}: expected the columns path, pid, camid, and feature of fixed length; found {found}"
            )
        values = {name: _list_values(table, name) for name in lists}
        return cls(
            features=values["feature"],
            pids=np.array(table["pid"].to_pylist(), dtype=np.str_),
            camids=table["camid"].to_numpy().astype(np.int64),
            paths=np.array(table["path"].to_pylist(), dtype=np.str_),
            domain_posterior=values.get("domain_posterior"),
            camera_posterior=values.get("camera_posterior"),
        )


def _list_column(values: Floats) -> Any:
    """Return [N, D] as a column of N lists of D numbers."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).ravel()), values.shape[1])


def _list_values(table: Any, name: str) -> Floats:
    """Return a column of N lists of D numbers as [N, D]."""
    column = table[name].combine_chunks()
    values: Floats = column.flatten().to_numpy().astype(np.float32, copy=False)
    return values.reshape(len(column), column.type.list_size)
