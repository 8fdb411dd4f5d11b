"""CUHK03 under the new protocol (767 identities to train on, 700 to test on), from folders converted from `.mat`.

Both layouts in use are read: `images_labeled` with `splits_new_labeled.json`, whose `1_001_1_01.png` is pair 1, person
001, view 1, image 01; and the splits of Market-1501, whose `0001_c1_1.png` is identity 0001 seen by view 1 (camid 0).
"""

import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jointreid.config import Cuhk03Boxes, DataConfig
from jointreid.data.readers.left_out import PathParts, Reason, with_omissions
from jointreid.data.readers.market_style import (
    SPLIT_FOLDERS,
    SplitRecords,
    distinct_folders,
    is_market_style,
    read_splits,
)
from jointreid.data.records import SPLITS, Domain, ImageRecord
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

KNOWN_FOLDERS = ("cuhk03", "CUHK03", "cuhk03-np", "cuhk03np", "cuhknp", "CUHK03-NP", "cuhk03/cuhk03-np")
TERMS = (
    "CUHK03 shows real people. The Chinese University of Hong Kong (Li et al., DeepReID, CVPR 2014) gives it out on "
    "request, for academic research; the split into 767 and 700 identities is that of Zhong et al., Re-ranking Person "
    "Re-identification with k-reciprocal Encoding, CVPR 2017."
)

_MARKET_FOLDERS = {"labeled": ("labeled", "cuhk-label"), "detected": ("detected", "cuhk-detect")}
_RAW_FILES = ("cuhk-03.mat", "cuhk03_release/cuhk-03.mat")
_NAME = re.compile(r"(\d+)_c([12])[_.]")
_VIEWS = (0, 1)


class _Copy(NamedTuple):
    """A converted data set; `boxes` is empty where the folder does not tell."""

    root: Path
    boxes: str
    market_style: bool


def cuhk03(path: str | Path, data: DataConfig = DataConfig()) -> Domain:
    """Read CUHK03, with the boxes that `data.cuhk03` names.

    A camera is one of the two views, as in the paper, though five pairs of cameras took the images. Paths in a JSON
    file are of the machine that wrote it: only their last part counts. Some of these files number the train identities
    anew from 0, with the numbers of other people in query and gallery: these pids become "train-0000" and so on.

    Args:
        path: the folder with the converted images, or one above it under a name the data set is usually unpacked to.
        data: the settings, of which `cuhk03` concerns this data set.

    Returns:
        The domain `cuhk03`, with pids of four digits, camids 0 and 1, and which boxes they are in `variant`.

    Raises:
        JointreidError: no such folder, only the other boxes, two copies, images that are not converted yet, a JSON
            file of another shape, or missing images.
    """
    copy = _find_copy(Path(path), data.cuhk03)
    if copy.market_style:
        example = "0001_c1_1.png (cameras 1 and 2)"
        splits = read_splits(copy.root, _NAME, example, (".png", ".jpg"), zero_is_distractor=False)
    else:
        splits = _read_json_splits(copy.root / f"splits_new_{copy.boxes}.json", copy.root / f"images_{copy.boxes}")
    domain = Domain(
        "cuhk03",
        **splits,
        cameras=_VIEWS,
        terms=TERMS,
        source=str(copy.root),
        variant=f"{copy.boxes} boxes" if copy.boxes else "labeled or detected boxes, the folder does not say which",
    )
    if copy.market_style:
        return with_omissions(domain, copy.root, SPLIT_FOLDERS)
    return with_omissions(domain, copy.root, {}, partial(_explain, copy.boxes))


def _explain(boxes: str, names: PathParts, split: str) -> Reason | None:
    """Return why an image beside a JSON file is left out; `boxes` are those that are read."""
    if names[0] == f"images_{boxes}":
        return Reason(f"images that splits_new_{boxes}.json does not name", by_rule=False)
    return Reason(f"images of other boxes than the {boxes} ones") if names[0].startswith("images_") else None


# Where it lies


def _find_copy(path: Path, boxes: Cuhk03Boxes) -> _Copy:
    folders = distinct_folders(path, KNOWN_FOLDERS)
    copies = [copy for folder in folders for copy in _copies_in(folder)]
    fitting = [copy for copy in copies if copy.boxes in (boxes, "")]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        places = ", ".join(str(copy.root) for copy in fitting)
        raise JointreidError(f"{path}: holds CUHK03 more than once: {places}; give one, or move the others away")
    if copies:
        raise JointreidError(
            f"{copies[0].root}: holds the {copies[0].boxes} boxes of CUHK03, not the {boxes} ones; to use them set "
            f"data.cuhk03 to {copies[0].boxes} (--cuhk03 {copies[0].boxes})"
        )
    if raw := [folder for folder in folders for name in _RAW_FILES if (folder / name).is_file()]:
        raise JointreidError(
            f"{raw[0]}: CUHK03 as it is published, with its images inside cuhk-03.mat; extract them with "
            f"`{command('data', 'prepare', 'cuhk03', raw[0], 'DST')}`, and give DST"
        )
    raise JointreidError(
        f"{path}: no CUHK03 here: expected images_{boxes} and splits_new_{boxes}.json, or bounding_box_train, query, "
        f"bounding_box_test in {' or '.join(_MARKET_FOLDERS[boxes])}, in it or in its {', '.join(KNOWN_FOLDERS)}"
    )


def _copies_in(folder: Path) -> Iterator[_Copy]:
    for boxes, names in _MARKET_FOLDERS.items():
        if (folder / f"images_{boxes}").is_dir():
            yield _Copy(folder, boxes, market_style=False)
        for name in names:
            if is_market_style(folder / name):
                yield _Copy(folder / name, boxes, market_style=True)
    if is_market_style(folder):
        named = [boxes for boxes, names in _MARKET_FOLDERS.items() if folder.absolute().name in names]
        yield _Copy(folder, "".join(named), market_style=True)


# Splits in a JSON file


def _read_json_splits(file: Path, images: Path) -> SplitRecords:
    if not file.is_file():
        raise JointreidError(
            f"{file}: is not there, but {images.name} is; it says which image is in which split: "
            "put it back, or convert the data set again"
        )
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise JointreidError(f"{file}: not JSON: {error}") from error
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        found = f"a list of {len(content)}" if isinstance(content, list) else type(content).__name__
        raise JointreidError(f"{file}: {found}; expected a list with the one split of the new protocol")
    entries = {split: _parse_entries(f"{file}, {split}", content[0].get(split)) for split in SPLITS}
    present = set(os.listdir(images))
    if absent := [name for split in SPLITS for name, _, _ in entries[split] if name not in present]:
        raise JointreidError(
            f"{images}: {len(absent)} images that {file.name} names are not there ({first_few(absent)})"
        )
    train_pids = sorted({pid for _, pid, _ in entries["train"]})
    numbered_anew = train_pids == list(range(len(train_pids)))

    def records(split: str, prefix: str = "") -> tuple[ImageRecord, ...]:
        return tuple(ImageRecord(images / name, f"{prefix}{pid:04d}", camid) for name, pid, camid in entries[split])

    return SplitRecords(
        train=records("train", "train-" if numbered_anew else ""), query=records("query"), gallery=records("gallery")
    )


def _parse_entries(where: str, entries: Any) -> list[tuple[str, int, int]]:
    """Return name, pid and camid of each entry."""
    if not isinstance(entries, list):
        raise JointreidError(
            f"{where}: {'missing' if entries is None else 'no list'}; expected [[path, pid, camid], ...]"
        )
    parsed = []
    for number, entry in enumerate(entries):
        match entry:
            case [str(path), int(pid), int(camid)] if pid >= 0 and camid in _VIEWS and bool not in map(type, entry):
                parsed.append((re.split(r"[/\\]", path)[-1], pid, camid))
            case _:
                raise JointreidError(
                    f"{where}[{number}]: {entry!r}; expected [path, pid, camid] with pid >= 0 and camid 0 or 1"
                )
    return parsed
