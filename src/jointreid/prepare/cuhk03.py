"""CUHK03 with the new protocol (767/700): images from `cuhk-03.mat`, splits from the protocol's index files.

`cuhk-03.mat` (version 7.3) holds two cell arrays of 5 camera pairs, `detected` and `labeled`; a pair is a cell array
of identities x 10 images, the first five from view 1, the others from view 2, some of them empty.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from PIL import Image

from jointreid.config import Cuhk03Boxes
from jointreid.data.protocols import TABLE_I, SplitCounts
from jointreid.data.records import SPLITS
from jointreid.machine.extras import library
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few
from jointreid.prepare.conversion import Conversion, ConversionOutput, PreparedSplits, count
from jointreid.prepare.matlab import (
    READING,
    MatValue,
    content,
    holds_references,
    is_empty,
    is_hdf5,
    member,
    read_mat,
)

BOXES = get_args(Cuhk03Boxes)
IMAGES_FILE = "cuhk-03.mat"
_FOLDERS = (".", "cuhk03_release")
_IMAGES_OF_ID, _IMAGES_OF_VIEW = 10, 5
_RULE = (
    "each image that is not empty as images_<boxes>/<camera pair>_<identity in it>_<view>_<image>.png, numbers from 1; "
    "splits by train_idx, query_idx and gallery_idx; pid from labels, camid the view counted from 0"
)
# 1_001_2_06.png: camera pair, identity in it, view, image.
_NAME = re.compile(r"\d_\d{3,}_([12])_\d{2}\.png")
_EXPECTED = {
    "labeled": {split: getattr(TABLE_I["cuhk03"], split) for split in SPLITS},
    "detected": {
        "train": SplitCounts(767, 7_365),
        "query": SplitCounts(700, 1_400),
        "gallery": SplitCounts(700, 5_332),
    },
}


class _SplitImage(NamedTuple):
    """An image of a split."""

    name: str
    pid: int
    camid: int


def find_release(source: Path) -> Conversion:
    """Find the release: `cuhk-03.mat` and one or both index files, in `source` or its `cuhk03_release`.

    Raises:
        JointreidError: one of them is missing or found twice, or `cuhk-03.mat` is not of version 7.3.
    """
    images = _find(source, IMAGES_FILE)
    configs = {boxes: _find(source, _config_name(boxes)) for boxes in BOXES}
    given = {boxes: path for boxes, path in configs.items() if path is not None}
    if images is None or not given:
        lost = IMAGES_FILE if images is None else " and ".join(map(_config_name, BOXES))
        raise JointreidError(
            f"{source}: no {lost} here or in its cuhk03_release; expected {IMAGES_FILE} of the release and, from the "
            f"authors of the new protocol, {' or '.join(map(_config_name, BOXES))} or both"
        )
    if not is_hdf5(images):
        raise JointreidError(
            f"{images}: is not a .mat file of version 7.3 (HDF5) as CUHK publishes it; it is damaged or was saved "
            "again: download it anew"
        )
    return Conversion(
        name="cuhk03",
        sources={IMAGES_FILE: images, **{path.name: path for path in given.values()}},
        entries=(*map(_folder, given), *map(_splits_file, given), "prepared.json"),
        index="prepared.json",
        rule=_RULE,
        list_output=partial(_list_output, images, given),
        note=_note(list(given)),
        options=("--cuhk03", "detected") if "labeled" not in given else (),
    )


def _note(given: Sequence[str]) -> str:
    if len(given) == 2:
        return "both kinds of boxes; the labeled ones are read unless you pass --cuhk03 detected"
    lacking = next(boxes for boxes in BOXES if boxes not in given)
    return f"only the {given[0]} boxes, because {_config_name(lacking)} is missing"


def _list_output(images: Path, configs: Mapping[str, Path]) -> ConversionOutput:
    paths: list[str] = []
    texts, parts = {}, []
    for boxes, config in configs.items():
        with _Images(images) as file:
            present = [name for name, reference in file.cells(boxes) if file.is_present(name, reference)]
        splits = _read_splits(read_mat(config), set(present), f"the {boxes} boxes of {images}")
        paths += [f"{_folder(boxes)}/{name}" for name in present]
        rows = {
            split: [[f"{_folder(boxes)}/{row.name}", row.pid, row.camid] for row in listed]
            for split, listed in splits.items()
        }
        texts[_splits_file(boxes)] = json.dumps([rows]) + "\n"
        found = {split: count(row.pid for row in listed) for split, listed in splits.items()}
        parts.append(PreparedSplits(boxes, found, _EXPECTED[boxes]))
    return ConversionOutput(tuple(map(_folder, configs)), tuple(paths), texts, tuple(parts), partial(_encode, images))


def _encode(images: Path, wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    left = set(wanted)
    with _Images(images) as file:
        for boxes in BOXES:
            if not any(path.startswith(_folder(boxes)) for path in left):
                continue
            for name, reference in file.cells(boxes):
                path = f"{_folder(boxes)}/{name}"
                if path in left:
                    yield path, file.png(name, reference)


# The images


class _Images:
    """The open file `cuhk-03.mat`; every error names the file and the position in it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "_Images":
        with self._reading("HDF5"):
            self._file = library("h5py", READING).File(self._path, "r", locking=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def cells(self, boxes: str) -> list[tuple[str, Any]]:
        """Return the name of each image and the reference to it, including empty ones."""
        cells = []
        with self._reading(boxes):
            if boxes not in self._file:
                raise ValueError(f"there is no such variable; there are {', '.join(self._file)}")
            pairs = self._references(member(self._file, boxes))
        for pair, reference in enumerate(pairs.ravel(), 1):
            with self._reading(f"{boxes}{{{pair}}}"):
                images = self._references(self._file[reference]).T  # dimensions are in reverse in the file
                if images.ndim != 2 or images.shape[1] != _IMAGES_OF_ID:
                    raise ValueError(f"its size is {images.shape}; expected identities x {_IMAGES_OF_ID} images")
            for (identity, image), cell in np.ndenumerate(images):
                view = 1 + image // _IMAGES_OF_VIEW
                cells.append((f"{pair}_{identity + 1:03d}_{view}_{image + 1:02d}.png", cell))
        return cells

    def is_present(self, name: str, reference: Any) -> bool:
        """Return whether a cell contains an image, or is empty; raise if it contains anything else."""
        with self._reading(name):
            dataset = self._file[reference] if reference else None
            if dataset is None or is_empty(dataset) or dataset.ndim < 3:
                return False
            if dataset.ndim != 3 or dataset.shape[0] != 3 or dataset.dtype != np.uint8:
                raise ValueError(
                    f"its size is {dataset.shape[::-1]} of {dataset.dtype}; expected height x width x 3 of uint8"
                )
            return True

    def png(self, name: str, reference: Any) -> bytes:
        """Return an image encoded as PNG."""
        with self._reading(name):
            pixels = np.ascontiguousarray(content(self._file[reference]).T)  # 3WH -> HW3
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    @staticmethod
    def _references(item: Any) -> Any:
        if not holds_references(item):
            raise ValueError("it is not a cell array")
        return content(item)

    @contextmanager
    def _reading(self, place: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # For damaged bytes h5py raises nearly anything: OSError, RuntimeError, KeyError.
            raise JointreidError(f"{self._path}: {place} cannot be read: {error}; download the file again") from error


# The splits


def _read_splits(config: MatValue, present: set[str], images: str) -> dict[str, list[_SplitImage]]:
    names = [name.text() for name in config["filelist"].each()]
    pids = config["labels"].integers()
    if len(names) != len(pids):
        raise config["labels"].error(
            f"has {len(pids)} elements, but filelist has {len(names)}; expected the same number"
        )
    splits = {}
    for split in SPLITS:
        numbers = config[f"{split}_idx"]
        if outside := [number for number in numbers.integers() if not 1 <= number <= len(names)]:
            raise numbers.error(f"contains {outside[0]}; expected positions in filelist, 1 to {len(names)}")
        rows = [number - 1 for number in numbers.integers()]
        splits[split] = [_SplitImage(names[row], pids[row], _camid(config["filelist"], names[row])) for row in rows]
        if lost := [row.name for row in splits[split] if row.name not in present]:
            raise config["filelist"].error(
                f"{len(lost)} images of {split} are not among {images}: {first_few(lost)}; do the two files "
                "belong together?"
            )
    return splits


def _camid(filelist: MatValue, name: str) -> int:
    match = _NAME.fullmatch(name)
    if match is None:
        raise filelist.error(f"contains {name!r}; expected names like 1_001_1_01.png")
    return int(match[1]) - 1


# Names


def _find(source: Path, name: str) -> Path | None:
    found = [source / folder / name for folder in _FOLDERS if (source / folder / name).is_file()]
    if len(found) > 1:
        raise JointreidError(f"{source}: {name} is there twice: {', '.join(map(str, found))}; keep only one of them")
    return found[0] if found else None


def _config_name(boxes: str) -> str:
    return f"cuhk03_new_protocol_config_{boxes}.mat"


def _folder(boxes: str) -> str:
    return f"images_{boxes}"


def _splits_file(boxes: str) -> str:
    return f"splits_new_{boxes}.json"
