"""A folder of images sorted into classes, `train/CLASS/*` and `val/CLASS/*`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jointreid.data.decode import SUFFIXES
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

SPLITS = ("train", "val")


@dataclass(frozen=True)
class LabelledImages:
    """Images, and the class of each as an index into `ImageFolder.classes`."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images sorted into classes, with the same classes in train and val.

    Attributes:
        classes: names, sorted; the same in both splits.
        train: sorted by class and path.
        val: likewise.
    """

    classes: tuple[str, ...]
    train: LabelledImages
    val: LabelledImages


def read_image_folder(root: str | Path) -> ImageFolder:
    """List the images below `root`/train/CLASS and `root`/val/CLASS, at any depth; none is opened.

    Hidden files and those that no image format ends in are passed over.

    Raises:
        JointreidError: a folder is missing, there are fewer than two classes, the splits have different ones, or one
            holds no image.
    """
    root = user_path(root)
    found = {split: dict(_classes(root / split)) for split in SPLITS}
    train, val = found["train"], found["val"]
    if different := sorted(train.keys() ^ val.keys()):
        where = [f"{name} (only in {'train' if name in train else 'val'})" for name in different]
        raise JointreidError(f"{root}: train and val have different classes: {first_few(where, 10)}")
    if len(train) < 2:
        raise JointreidError(f"{root}/train holds {len(train)} class; expected a folder each for two or more")
    for split, classes in found.items():
        if empty := [name for name, paths in classes.items() if not paths]:
            raise JointreidError(
                f"{root}/{split}: no images in {first_few(empty, 10)} ({len(empty)} of {len(classes)} classes); "
                f"expected files that end in {', '.join(SUFFIXES)}"
            )
    return ImageFolder(tuple(train), _labelled(train), _labelled(val))


def _classes(folder: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Yield each class below a split's folder with its images, both sorted."""
    if not folder.is_dir():
        raise JointreidError(f"{folder}: no such folder; expected train/CLASS/* and val/CLASS/* below {folder.parent}")
    for directory in sorted(folder.iterdir()):
        if directory.is_dir() and not directory.name.startswith("."):
            yield directory.name, tuple(sorted(path for path in directory.rglob("*") if _is_image(path, directory)))


def _is_image(path: Path, directory: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _labelled(classes: dict[str, tuple[Path, ...]]) -> LabelledImages:
    pairs = [(path, label) for label, paths in enumerate(classes.values()) for path in paths]
    return LabelledImages(tuple(path for path, _ in pairs), tuple(label for _, label in pairs))
