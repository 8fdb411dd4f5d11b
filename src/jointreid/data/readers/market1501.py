"""Market-1501: `bounding_box_train`, `query` and `bounding_box_test`, the labels in the file names.

`0002_c1s1_000451_03.jpg` is identity 0002 seen by camera 1 (camid 0), sequence 1, frame 451, box 3.
"""

import re
from pathlib import Path

from jointreid.config import DataConfig
from jointreid.data.readers.left_out import with_omissions
from jointreid.data.readers.market_style import SPLIT_FOLDERS, explain_pid, find_root, read_splits
from jointreid.data.records import Domain

KNOWN_FOLDERS = (
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


def market1501(path: str | Path, data: DataConfig = DataConfig()) -> Domain:
    """Read Market-1501, or a data set of the same layout and file names.

    Junk (pid -1) is dropped everywhere. Distractors (pid 0000) are kept in the gallery, where they are always wrong
    answers, and dropped elsewhere. Only `.jpg` files count (`Thumbs.db` and `gt_bbox` are ignored).

    Args:
        path: the folder with the three splits, or one above it under a name the data set is usually unpacked to.
        data: ignored; no setting concerns this data set.

    Returns:
        The domain `market1501`, with pids as in the file names ("0002") and camids from 0: the six of the data set,
        or, if other cameras occur, those found.

    Raises:
        JointreidError: no such folder (the message says where it was looked for), two of them, or a file whose name
            has no labels.
    """
    root = find_root(Path(path), "Market-1501", KNOWN_FOLDERS)
    splits = read_splits(root, _NAME, "0002_c1s1_000451_03.jpg")
    found = {record.camid for record in (*splits["train"], *splits["query"], *splits["gallery"])}
    domain = Domain(
        "market1501",
        **splits,
        cameras=tuple(range(6)) if found <= set(range(6)) else tuple(sorted(found)),
        terms=TERMS,
        source=str(root),
    )
    return with_omissions(domain, root, SPLIT_FOLDERS, explain_pid(_NAME))
