"""DukeMTMC-reID: withdrawn by its owner, and read only if the user acknowledges that.

`0005_c2_f0046985.jpg` is identity 0005 seen by camera 2 (camid 1), frame 46985.
"""

import re
from pathlib import Path

from jointreid.config import DataConfig
from jointreid.data.readers.left_out import with_omissions
from jointreid.data.readers.market_style import SPLIT_FOLDERS, find_root, read_splits
from jointreid.data.records import Domain
from jointreid.messages.errors import JointreidError

KNOWN_FOLDERS = (
    "DukeMTMC-reID",
    "dukemtmc-reid",
    "dukemtmc-reid/DukeMTMC-reID",
    "dukemtmcreid",
    "dukemtmcreid/DukeMTMC-reID",
    "dukemtmc",
    "dukemtmc/DukeMTMC-reID",
    "duke",
)
TERMS = (
    "DukeMTMC-reID was withdrawn by its owner, Duke University, in 2019: the way it was made and published deviated "
    "significantly from the protocol that had been approved, at the cost of the privacy of the people it shows. It is "
    "no longer distributed, its authors have apologised, and using a copy that is still in circulation goes against "
    "the withdrawal. The recommended configuration is the paper's other four data sets without it."
)

# The frame marks the end of the camera, so that `c11` is never read as camera 1.
_NAME = re.compile(r"(\d+)_c([1-8])_f\d+")


def dukemtmc(path: str | Path, data: DataConfig = DataConfig()) -> Domain:
    """Read DukeMTMC-reID, if `data.acknowledge_withdrawn` is set.

    The gallery holds identities that no query shows; by their pid they are wrong answers to every query. Only `.jpg`
    files count.

    Args:
        path: the folder with the three splits, or one above it under a name the data set is usually unpacked to.
        data: the settings, of which `acknowledge_withdrawn` concerns this data set.

    Returns:
        The domain `dukemtmc`, with pids as in the file names ("0005") and camids 0 to 7.

    Raises:
        JointreidError: the withdrawal is not acknowledged, no such folder (the message says where it was looked for),
            two of them, or a file whose name has no labels.
    """
    if not data.acknowledge_withdrawn:
        raise JointreidError(
            f"dukemtmc={path}: not read. {TERMS} Leave it out; or, if you have weighed this and still must read a copy "
            "you hold, say so with --acknowledge-withdrawn (setting data.acknowledge_withdrawn: true)"
        )
    root = find_root(Path(path), "DukeMTMC-reID", KNOWN_FOLDERS)
    example = "0005_c2_f0046985.jpg (cameras 1 to 8)"
    domain = Domain(
        "dukemtmc",
        **read_splits(root, _NAME, example, zero_is_distractor=False),
        cameras=tuple(range(8)),
        terms=TERMS,
        source=str(root),
        variant="withdrawn by its owner",
    )
    return with_omissions(domain, root, SPLIT_FOLDERS)
