"""Market-1501: `bounding_box_train`, `query` and `bounding_box_test`, the labels in the file names.

`0002_c1s1_000451_03.jpg` is identity 0002 seen by camera 1 (camid 0), sequence 1, frame 451, box 3.
"""

import os
import re
from pathlib import Path

from jointreid.data.records import Domain, ImageRecord
from jointreid.errors import JointreidError

SPLIT_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
KNOWN_FOLDERS = (
    ".",
    "Market-1501-v15.09.15",
    "market1501",
    "market1501/Market-1501-v15.09.15",
    "Market",
    "market",
)
TERMS = (
    "Market-1501 shows real people and was published for research. Its owners ask that the paper (Zheng et al., "
    "Scalable Person Re-identification: A Benchmark, ICCV 2015) be cited; it carries no licence file, and what their "
    "page says governs."
)

# Cameras may have two digits in other data sets laid out like this one.
_NAME = re.compile(r"(-1|\d+)_c([1-9]\d*)s\d+_\d+_\d+")
_JUNK, _DISTRACTOR = -1, 0
_SHOWN_NAMES = 5


def market1501(path: str | Path) -> Domain:
    """Read Market-1501, or a data set of the same layout and file names.

    Junk (pid -1) is dropped everywhere. Distractors (pid 0000) are kept in the gallery, where they are always wrong
    answers, and dropped elsewhere. Only `.jpg` files count (`Thumbs.db` and `gt_bbox` are ignored).

    Args:
        path: the folder with the three splits, or one above it under a name the data set is usually unpacked to.

    Returns:
        The domain `market1501`, with pids as in the file names ("0002") and camids from 0: the six of the data set,
        or, if other cameras occur, those found.

    Raises:
        JointreidError: no such folder (the message says where it was looked for), two of them, or a file whose name
            has no labels.
    """
    root = _find_root(Path(path))
    splits = {split: _read_split(root / folder, split) for split, folder in SPLIT_FOLDERS.items()}
    found = {record.camid for records in splits.values() for record in records}
    return Domain(
        "market1501",
        train=splits["train"],
        query=splits["query"],
        gallery=splits["gallery"],
        exclude_same_camera=True,
        cameras=tuple(range(6)) if found <= set(range(6)) else tuple(sorted(found)),
        terms=TERMS,
        source=str(root),
    )


def _find_root(path: Path) -> Path:
    roots = [path / folder for folder in KNOWN_FOLDERS if not _missing(path / folder)]
    # Market and market are one folder on a disk that ignores case.
    if len({root.resolve() for root in roots}) > 1:
        raise JointreidError(
            f"{path}: holds Market-1501 more than once: {', '.join(map(str, roots))}; give one of them"
        )
    if not roots:
        partial = [root for root in (path / folder for folder in KNOWN_FOLDERS) if len(_missing(root)) < 3]
        detail = f"{partial[0]} lacks {', '.join(_missing(partial[0]))}; " if partial else ""
        raise JointreidError(
            f"{path}: no Market-1501 here: {detail}expected the folders {', '.join(SPLIT_FOLDERS.values())} in it or "
            f"in its {', '.join(KNOWN_FOLDERS[1:])}"
        )
    return roots[0]


def _missing(root: Path) -> list[str]:
    return [folder for folder in SPLIT_FOLDERS.values() if not (root / folder).is_dir()]


def _read_split(folder: Path, split: str) -> tuple[ImageRecord, ...]:
    records, unknown = [], []
    for name in sorted(os.listdir(folder)):
        # A leading dot marks what file managers leave behind, such as ._0002_c1s1_000451_03.jpg.
        if not name.lower().endswith(".jpg") or name.startswith("."):
            continue
        match = _NAME.match(name)
        if match is None:
            unknown.append(name)
            continue
        pid, camid = match[1], int(match[2]) - 1
        distractor = int(pid) == _DISTRACTOR
        if int(pid) != _JUNK and (split == "gallery" or not distractor):
            records.append(ImageRecord(folder / name, pid, camid, distractor=distractor))
    if unknown:
        raise JointreidError(
            f"{folder}: {len(unknown)} files have no labels in their names ({', '.join(unknown[:_SHOWN_NAMES])}); "
            "expected names like 0002_c1s1_000451_03.jpg; move them away, or describe the images in a manifest"
        )
    return tuple(records)
