"""Train images told by content: by their bytes, and by their look."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jointreid.data.decode import Box
from jointreid.data.records import ImageRecord
from jointreid.data.run_images import RunImage

# The content of a file and the part of it that is shown: equal exactly for images that are the same.
ContentKey = tuple[str, Box | None]


class Contents(NamedTuple):
    """Contents of files; files that cannot be read are in neither.

    Attributes:
        hashes: path -> 32 hexadecimal digits, see `content_hashes`.
        looks: path -> look.
    """

    hashes: Mapping[Path, str]
    looks: Mapping[Path, str]

    def key(self, record: ImageRecord) -> ContentKey | None:
        """Return what tells an image's content from others'; None for an unreadable file."""
        content = self.hashes.get(record.path)
        return None if content is None else (content, record.box)

    def look(self, record: ImageRecord) -> str:
        """Return an image's look; empty for an unreadable file or a part of a file."""
        return "" if record.box else self.looks.get(record.path, "")


class TrainedImage(NamedTuple):
    """One train image.

    Attributes:
        domain: its domain.
        pid: its identity there.
        key: its content and its box.
        look: its look, or empty.
        path: where it lies; empty where only a run directory tells of it.
    """

    domain: str
    pid: str
    key: ContentKey
    look: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.path or 'the train image'} of pid {self.pid}{'' if self.path else f' of {self.domain}'}"


@dataclass(frozen=True)
class TrainedImages:
    """The images that a model was or will be trained on; of equal ones the first."""

    images: tuple[TrainedImage, ...]

    @classmethod
    def of(cls, records: Iterable[tuple[str, ImageRecord]], contents: Contents) -> "TrainedImages":
        """Return the readable ones of train records, each given with its domain."""
        images = [
            TrainedImage(domain, record.pid, key, contents.look(record), str(record.path))
            for domain, record in records
            if (key := contents.key(record)) is not None
        ]
        return cls(tuple(images))

    @classmethod
    def of_run(cls, images: Iterable[RunImage]) -> "TrainedImages | None":
        """Return the train images among those that a run remembers; None if it remembers none."""
        train = [
            TrainedImage(image.domain, image.pid, (image.content, _box(image.box)), image.look)
            for image in images
            if image.split == "train"
        ]
        return cls(tuple(train)) if train else None


def _box(text: str) -> Box | None:
    if not text:
        return None
    x, y, width, height = map(int, text.split())
    return x, y, width, height
