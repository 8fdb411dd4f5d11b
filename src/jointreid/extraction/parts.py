"""Features of a range of rows, in parts: files that appear whole, so that work that was killed resumes after them.

Letters: B images in a batch, D dimensions of a feature.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from jointreid.extraction.decode_ahead import DecodedBatch, decoded_batches
from jointreid.extraction.embedder import Embedder, unit_length
from jointreid.extraction.feature_columns import (
    CAMERA_POSTERIOR,
    DOMAIN_POSTERIOR,
    FEATURE,
    OVERLAP,
    QUALITY,
    ROW,
    SHARPNESS,
    Floats,
    list_column,
    prediction_columns,
)
from jointreid.extraction.feature_file import FeatureFile, FeatureInfo, SkippedImage, write_features
from jointreid.extraction.image_table import SCORE, ImageTable
from jointreid.extraction.quality import overlaps, quality, sharpness
from jointreid.machine.memory import kept_memory
from jointreid.messages.errors import JointreidError
from jointreid.messages.progress import OnProgress
from jointreid.retrieval.extract import BatchFeatures

# Rows of a part: seconds of work on a GPU, a minute on a CPU, which a kill loses at most.
PART_ROWS = 1024


@dataclass(frozen=True, eq=False)
class FeatureJob:
    """What is to be computed.

    Attributes:
        embed: the model.
        table: the images.
        info: what the files say of themselves.
        skip_unreadable: whether unreadable images are left out; otherwise they are errors.
        threads: threads that decode.
        scores: float32 [N], how sure a detector was of each image.
        overlap: float32 [N], see `jointreid.extraction.quality.overlaps`.
    """

    embed: Embedder
    table: ImageTable
    info: FeatureInfo
    skip_unreadable: bool
    threads: int
    scores: Floats
    overlap: Floats

    @classmethod
    def of(
        cls, embed: Embedder, table: ImageTable, info: FeatureInfo, *, skip_unreadable: bool = False, threads: int = 1
    ) -> "FeatureJob":
        """Return the job, after computing what depends on the table alone.

        Raises:
            JointreidError: a score outside [0, 1].
        """
        given = table.values(SCORE)
        scores = np.array([1.0 if score is None else score for score in given or [None] * len(table)], np.float32)
        if not ((scores >= 0) & (scores <= 1)).all():
            row = int((~((scores >= 0) & (scores <= 1))).argmax())
            raise JointreidError(f"{table.name(row)}: column score is {scores[row]}; expected numbers in [0, 1]")
        return cls(embed, table, info, skip_unreadable, threads, scores, overlaps(table.files, table.boxes))

    def batches(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return (first row, row after the last) of each batch from one row to another.

        Batches end at multiples of the batch size, so that a batch, and with it each rounding, does not depend on
        where the work was divided.
        """
        size = self.embed.evaluation.batch_size
        edges = [start, *range((start // size + 1) * size, stop, size), stop]
        return [(first, last) for first, last in pairwise(edges) if first < last]


def part_ranges(start: int, stop: int, batch_size: int) -> list[tuple[int, int]]:
    """Return (first row, row after the last) of each part from one row to another; one empty part where there are none.

    Parts hold whole batches and about `PART_ROWS` rows.
    """
    size = max(1, PART_ROWS // batch_size) * batch_size
    return [(first, min(first + size, stop)) for first in range(start, stop, size)] or [(start, stop)]


def part_file(folder: Path, start: int, stop: int) -> Path:
    """Return the file of a part."""
    return folder / f"rows-{start:09}-{stop:09}.parquet"


def finished(folder: Path, ranges: Sequence[tuple[int, int]], job: FeatureJob) -> list[tuple[int, int]]:
    """Return those parts that are there, whole, and of this job: one that lacks images only if they may be lacking."""
    found = []
    for start, stop in ranges:
        path = part_file(folder, start, stop)
        if path.is_file():
            info = FeatureFile.open(path).info
            lacks = bool(info.skipped) and not job.skip_unreadable
            if info.job == job.info.job and (info.start, info.stop) == (start, stop) and not lacks:
                found.append((start, stop))
    return found


def compute_part(job: FeatureJob, folder: Path, start: int, stop: int, on_rows: Callable[[int], None]) -> None:
    """Compute the features of the rows from one to another and write them as a part.

    Args:
        job: what to compute.
        folder: where parts lie.
        start: the first row.
        stop: the row after the last.
        on_rows: called with the number of rows done, after each batch.

    Raises:
        JointreidError: an unreadable image, unless these are skipped, or a feature that is not finite.
    """
    tables: list[Any] = []
    skipped: list[SkippedImage] = []
    with kept_memory(job.embed.device.type):
        for batch in decoded_batches(job.table, job.batches(start, stop), job.embed.resize, job.threads):
            for row, cause in batch.failures.items():
                if not job.skip_unreadable:
                    raise JointreidError(
                        f"{job.table.name(row)}: {cause}. Correct it, or leave unreadable images out with "
                        "--skip-unreadable; the same command then resumes"
                    )
                skipped.append(SkippedImage(row, job.table.columns["path"][row].as_py(), cause))
            if len(batch.rows):
                tables.append(_rows_of(job, batch))
            on_rows(len(batch.rows) + len(batch.failures))
    info = replace(job.info, start=start, stop=stop, skipped=tuple(skipped))
    write_features(part_file(folder, start, stop), info, iter(tables or [no_rows(job)]))


def compute_parts(job: FeatureJob, folder: Path, ranges: Sequence[tuple[int, int]], on_progress: OnProgress) -> None:
    """Compute those parts of a job that are not there yet.

    Args:
        job: what to compute.
        folder: where parts lie.
        ranges: of `part_ranges`.
        on_progress: called with (rows done, rows in all).
    """
    there = set(finished(folder, ranges, job))
    total = sum(stop - start for start, stop in ranges)
    done = sum(stop - start for start, stop in there)
    on_progress(done, total)
    for start, stop in ranges:
        if (start, stop) in there:
            continue

        def count(rows: int) -> None:
            nonlocal done
            done += rows
            on_progress(done, total)

        compute_part(job, folder, start, stop, count)


def no_rows(job: FeatureJob) -> Any:
    """Return a table of no rows, with all columns."""
    image = job.embed.image
    blank = np.zeros((1, image.height, image.width, 3), np.uint8)
    described = job.embed.forward(blank, ["a blank image"])
    features, domain, camera = described
    none = BatchFeatures(features[:0], None if domain is None else domain[:0], None if camera is None else camera[:0])
    nothing = np.empty(0, np.int64)
    return _table_of(job, DecodedBatch(nothing, blank[:0], nothing, {}), none)


def _rows_of(job: FeatureJob, batch: DecodedBatch) -> Any:
    names = [job.table.name(row) for row in batch.rows.tolist()]
    return _table_of(job, batch, job.embed.forward(batch.pixels, names))


def _table_of(job: FeatureJob, batch: DecodedBatch, described: BatchFeatures) -> Any:
    """Return the rows of a batch as a pyarrow table."""
    import pyarrow as pa

    columns: dict[str, Any] = {ROW: pa.array(batch.rows)}
    carried = job.table.columns.take(pa.array(batch.rows))
    columns |= {name: carried[name].combine_chunks() for name in carried.column_names}
    features = unit_length(described.features) if job.info.normalised else described.features
    columns[FEATURE] = list_column(features)
    columns |= prediction_columns(job.embed.predict(described))
    for name, values in ((DOMAIN_POSTERIOR, described.domain), (CAMERA_POSTERIOR, described.camera)):
        if values is not None:
            columns[name] = list_column(values)
    sharp = sharpness(batch.pixels)
    columns[SHARPNESS] = pa.array(sharp, pa.float32())
    columns[OVERLAP] = pa.array(job.overlap[batch.rows], pa.float32())
    area = job.embed.image.height * job.embed.image.width
    weights = quality(sharp, job.overlap[batch.rows], batch.areas, job.scores[batch.rows], area)
    columns[QUALITY] = pa.array(weights, pa.float32())
    return pa.table(columns)


def rows_of_parts(files: Sequence[FeatureFile]) -> Iterator[Any]:
    """Yield the rows of parts, as pyarrow tables, one part after another."""
    for file in files:
        yield from file.batches()
