"""`jointreid extract`: a folder or a table of images -> one file of features, in parts that survive a kill."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jointreid.extraction.embedder import Embedder
from jointreid.extraction.feature_file import FeatureFile, FeatureInfo, write_features
from jointreid.extraction.image_table import TRACKLET, ImageTable, read_images
from jointreid.extraction.parts import FeatureJob, compute_parts, part_file, part_ranges, rows_of_parts
from jointreid.extraction.ray_engine import Engine, compute_parts_on_ray
from jointreid.extraction.shards import Shard, require_all, shard_files
from jointreid.extraction.tracklets import pooled
from jointreid.machine.files import remove
from jointreid.machine.locks import LockHeld, ProcessLock
from jointreid.machine.paths import require_writable, user_path
from jointreid.machine.shortage import short_of_memory
from jointreid.messages.errors import JointreidError
from jointreid.messages.progress import OnProgress
from jointreid.run import open_run


@dataclass(frozen=True)
class Extracted:
    """The outcome of an extraction.

    Attributes:
        path: the file.
        info: what it says of itself.
        num_rows: its rows.
        was_there: whether it was complete before.
    """

    path: Path
    info: FeatureInfo
    num_rows: int
    was_there: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return {"path": str(self.path), "rows": self.num_rows, **json.loads(self.info.to_json())}


def extract_features(
    run: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    root: str = "",
    checkpoint: str = "last",
    flip: bool = False,
    normalise: bool = True,
    pool_tracklets: bool = True,
    shard: Shard | None = None,
    skip_unreadable: bool = False,
    batch_size: int | None = None,
    threads: int = 0,
    device: str = "auto",
    engine: Engine = "local",
    address: str = "",
    on_progress: OnProgress = lambda done, total: None,
) -> Extracted:
    """Compute features of images and write them as one file; killed, the same call resumes.

    Args:
        run: a run directory.
        images: a folder, or a table (see `jointreid.extraction.image_table`), also in an object store.
        out: the file, `.parquet`. Finished parts lie in `<out>.parts` beside it until it is complete.
        root: for a table, the folder that its paths are relative to.
        checkpoint: last or best.
        flip: average each feature with that of the mirrored image.
        normalise: scale features to length 1.
        pool_tracklets: whether images with the same `tracklet` become one row.
        shard: compute only this part, into a file of its own; see `Shard.file`.
        skip_unreadable: leave unreadable images out, even if the run's settings do not.
        batch_size: images at a time; None for the run's setting.
        threads: threads that decode; 0 for one a core.
        device: auto, cpu, cuda or mps.
        engine: compute in this process, or on Ray, see `jointreid.extraction.ray_engine`.
        address: of a Ray cluster; empty starts Ray on this machine.
        on_progress: called with (images done, images in all).

    Raises:
        JointreidError: the run, the images or the place of the file are not usable, an image is unreadable, or the
            file is there and holds something else.
    """
    out = _out_file(out)
    opened = open_run(run)
    embed = Embedder.load(opened, checkpoint, device, flip=flip, batch_size=batch_size)
    table = read_images(images, root)
    info = feature_info(embed, table, run, checkpoint, normalise=normalise, pool_tracklets=pool_tracklets)
    start, stop = shard.rows(len(table), embed.evaluation.batch_size) if shard else (0, len(table))
    target = shard.file(out) if shard else out
    skip = skip_unreadable or opened.config.data.skip_unreadable
    if (there := _complete(target, info, start, stop, skip=skip)) is not None:
        return there
    job = FeatureJob.of(embed, table, info, skip_unreadable=skip, threads=threads or os.cpu_count() or 1)
    ranges = part_ranges(start, stop, embed.evaluation.batch_size)
    with parts_folder(target, info) as folder:
        with short_of_memory(lambda: _memory_advice(embed)):
            if engine == "ray":
                compute_parts_on_ray(job, folder, ranges, on_progress, address=address, device=device)
            else:
                compute_parts(job, folder, ranges, on_progress)
        files = [FeatureFile.open(part_file(folder, *part)) for part in ranges]
        return write_joined(target, files, pool=info.tracklets and shard is None)


def join(paths: Sequence[str | Path], out: str | Path) -> Extracted:
    """Join shards to the file that a single extraction writes.

    Args:
        paths: the files of all shards, or folders that hold them.
        out: the file, `.parquet`.

    Raises:
        JointreidError: a shard is missing, there twice, or of another job.
    """
    out = _out_file(out)
    files = shard_files([user_path(path) for path in paths])
    return write_joined(out, files, pool=files[0].info.tracklets)


def feature_info(
    embed: Embedder,
    table: ImageTable,
    run: str | Path,
    checkpoint: str,
    *,
    normalise: bool = True,
    pool_tracklets: bool = True,
) -> FeatureInfo:
    """Return what files of these features say of themselves."""
    return FeatureInfo(
        fingerprint=embed.fingerprint,
        dims=embed.dims,
        normalised=normalise,
        flip=embed.evaluation.flip,
        run=os.path.abspath(user_path(run)),
        checkpoint=checkpoint,
        domains=embed.domains,
        cameras=embed.cameras,
        source=table.source,
        roots=dict(table.roots),
        images=table.digest,
        rows=len(table),
        tracklets=pool_tracklets and TRACKLET in table.columns.column_names,
    )


def write_joined(out: Path, files: Sequence[FeatureFile], *, pool: bool) -> Extracted:
    """Write the rows of parts, in the order of the input, as one file.

    Args:
        out: the file.
        files: the parts, in the order of their rows.
        pool: whether images of a tracklet become one row.
    """
    first = files[0].info
    skipped = tuple(image for file in files for image in file.info.skipped)
    info = replace(first, stop=files[-1].info.stop, skipped=skipped)
    if (first.start, info.stop) == (0, info.rows):
        require_all(files)
    tables = pooled(lambda: rows_of_parts(files), info) if pool else rows_of_parts(files)
    write_features(out, info, tables)
    return Extracted(out, info, FeatureFile.open(out).num_rows)


@contextmanager
def parts_folder(out: Path, info: FeatureInfo) -> Iterator[Path]:
    """Give the folder for the parts of a file, which is removed once the file is complete.

    Raises:
        JointreidError: another process is at work in it, or it holds parts of another job.
    """
    folder = out.with_name(f"{out.name}.parts")
    require_writable(folder, "--out")
    folder.mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(folder / "lock")
    try:
        lock.acquire()
    except LockHeld as error:
        raise JointreidError(f"{folder}: another process writes {out}; wait for it, or choose another --out") from error
    try:
        for path in sorted(folder.glob("*.parquet")):
            if not path.name.startswith(".") and FeatureFile.open(path).info.job != info.job:
                raise JointreidError(
                    f"{folder}: holds parts of another model, other settings or other images; give what they were "
                    "begun with, choose another --out, or remove the folder"
                )
        yield folder
    except BaseException:
        lock.release()
        raise
    lock.release(remove=True)
    remove(folder)


def _complete(out: Path, info: FeatureInfo, start: int, stop: int, *, skip: bool) -> Extracted | None:
    """Return a file that is there and complete; None if it is not there.

    Raises:
        JointreidError: it is there and holds something else, or lacks images though none is to be skipped.
    """
    if not out.exists():
        return None
    there = FeatureFile.open(out)
    same = (there.info.job, there.info.start, there.info.stop, there.info.tracklets)
    if same != (info.job, start, stop, info.tracklets):
        raise JointreidError(
            f"{out} is there, with features of another model, other settings or other images; choose another --out, "
            "or remove it"
        )
    if there.info.skipped and not skip:
        first = there.info.skipped[0]
        raise JointreidError(
            f"{out} is there, without {len(there.info.skipped)} unreadable images, such as {first.path} "
            f"({first.cause}); remove it to compute all of them, or keep it so with --skip-unreadable"
        )
    remove(out.with_name(f"{out.name}.parts"))
    return Extracted(out, there.info, there.num_rows, was_there=True)


def _out_file(out: str | Path) -> Path:
    path = user_path(out)
    if path.suffix != ".parquet":
        raise JointreidError(f"--out is {path}; expected a file that ends in .parquet")
    require_writable(path, "--out")
    return path


def _memory_advice(embed: Embedder) -> str:
    return f"{embed.evaluation.batch_size} images at a time are too many for {embed.device}; lower --batch-size"


def print_skipped(info: FeatureInfo) -> None:
    """Print the images that were left out, on stderr."""
    for image in info.skipped:
        print(f"skipped {image.path}: {image.cause}", file=sys.stderr)
