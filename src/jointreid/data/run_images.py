"""The images of a run, by content: a run remembers what it was trained and evaluated on, wherever the files lie later.

They are in `images.parquet` in the run directory, one row an image of each split. Runs of earlier versions have none.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from jointreid.data.records import ImageRecord
from jointreid.machine.files import replacing
from jointreid.machine.reading import require_inside
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

IMAGES = "images.parquet"

# `held_out` are the train identities that `data.val_ids` keeps for choosing a checkpoint.
RunSplit = Literal["train", "held_out", "query", "gallery"]


@dataclass(frozen=True)
class RunImage:
    """One image of one split of a run.

    Attributes:
        domain: the domain's name in the run.
        split: the split it is in.
        path: where it was; only messages say so.
        box: the part of it that shows the person, as text; empty for all of it.
        pid: its identity.
        camid: its camera.
        ignored: whether it is junk.
        distractor: whether it shows none of the identities.
        content: 32 hexadecimal digits, as `jointreid.data.remembered.content_hashes` gives them.
        look: what a train image looks like, see `jointreid.data.looks`; empty for others, and for a part of a file.
    """

    domain: str
    split: RunSplit
    path: str
    box: str
    pid: str
    camid: int
    ignored: bool
    distractor: bool
    content: str
    look: str = ""

    @property
    def identity(self) -> tuple[str, str, int, bool, bool, str]:
        """Its identity as an image of a person: everything but its domain, split, path and look."""
        return self.box, self.pid, self.camid, self.ignored, self.distractor, self.content


def run_images(
    domain: str,
    split: RunSplit,
    records: Iterable[ImageRecord],
    contents: Mapping[Path, str],
    looks: Mapping[Path, str] | None = None,
) -> tuple[RunImage, ...]:
    """Return the images of one split of a domain.

    Args:
        domain: its name.
        split: the split.
        records: its images.
        contents: path -> content of the file, of each of them.
        looks: path -> look of the file, where it is to be remembered.
    """
    return tuple(
        RunImage(
            domain,
            split,
            str(record.path),
            " ".join(map(str, record.box or ())),
            record.pid,
            record.camid,
            record.junk,
            record.distractor,
            contents[record.path],
            "" if record.box else (looks or {}).get(record.path, ""),
        )
        for record in records
    )


def save_images(images: Sequence[RunImage], run: Path) -> None:
    """Add images to those that a run remembers; those of the same domains and splits are replaced.

    Raises:
        JointreidError: the file that is there is damaged.
        OSError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    replaced = {(image.domain, image.split) for image in images}
    kept = [image for image in load_images(run) if (image.domain, image.split) not in replaced]
    columns = {field.name: [getattr(image, field.name) for image in (*kept, *images)] for field in fields(RunImage)}
    columns["content"] = [bytes.fromhex(content) for content in columns["content"]]
    columns["look"] = [base64.b64decode(look) for look in columns["look"]]
    kinds = {"camid": pa.int64(), "ignored": pa.bool_(), "distractor": pa.bool_()}
    kinds |= {"content": pa.binary(16), "look": pa.binary()}
    table = pa.table({name: pa.array(values, kinds.get(name, pa.string())) for name, values in columns.items()})
    with replacing(run / IMAGES) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def load_images(run: Path, splits: Sequence[RunSplit] = ()) -> tuple[RunImage, ...]:
    """Return the images that a run remembers; none if an earlier version wrote it.

    Args:
        run: the run directory.
        splits: only images of these; all if empty.

    Raises:
        JointreidError: the file is damaged, or a link out of the run directory.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = run / IMAGES
    if not path.is_file():
        return ()
    require_inside(path, run)
    try:
        table = pq.ParquetFile(path).read()
        if splits:
            table = table.filter(pc.is_in(table["split"], pa.array(splits)))
        rows = table.to_pylist()
        return tuple(
            RunImage(
                **(row | {"content": row["content"].hex(), "look": base64.b64encode(row.get("look", b"")).decode()})
            )
            for row in rows
        )
    except (OSError, TypeError, KeyError, AttributeError, pa.ArrowException) as error:
        raise JointreidError(f"{path} is damaged ({error}); restore it from a copy of the run, or delete it") from error


def require_same_images(known: Iterable[RunImage], now: Iterable[RunImage], run: Path, advice: str) -> None:
    """Refuse other images than those that a run remembers; names and folders may differ.

    Args:
        known: what the run remembers of some domains and splits.
        now: the images of the same domains and splits now.
        run: the run directory, for the message.
        advice: what to do, for the message.

    Raises:
        JointreidError: an image was added, is missing, or differs in content, box, identity or camera; the message
            names the first few of each domain and split.
    """
    before, after = _by_split(known), _by_split(now)
    wrong = []
    for domain, split in sorted(before.keys() | after.keys()):
        old, new = before.get((domain, split), []), after.get((domain, split), [])
        gone, added = _surplus(old, new), _surplus(new, old)
        counts = [
            f"{len(paths):,} {what} ({first_few(paths, 3)})"
            for paths, what in ((gone, "of the run are not among them"), (added, "are not of the run"))
            if paths
        ]
        if counts:
            wrong.append(f"{domain}, {split.replace('_', ' ')}: {' and '.join(counts)}")
    if wrong:
        raise JointreidError(
            f"{run}: the images are not those of the run, by content, identity and camera. {'; '.join(wrong)}. {advice}"
        )


def _by_split(images: Iterable[RunImage]) -> dict[tuple[str, str], list[RunImage]]:
    found: dict[tuple[str, str], list[RunImage]] = {}
    for image in images:
        found.setdefault((image.domain, image.split), []).append(image)
    return found


def _surplus(images: Sequence[RunImage], others: Sequence[RunImage]) -> list[str]:
    """Return the paths of images that `others` does not hold, or holds less often."""
    left = Counter(image.identity for image in others)
    paths = []
    for image in images:
        if left[image.identity]:
            left[image.identity] -= 1
        else:
            paths.append(image.path)
    return sorted(paths)
