"""CUHK-SYSU cropped for re-identification: the subset of 942 train identities, 2,900 queries and their matches.

`00123_s456_0000789_0.jpg` is identity 123 in scene 456, the crop of running number 789, not a hard one.
"""

import re
from collections import Counter
from pathlib import Path

from jointreid.config import DataConfig
from jointreid.data.readers.left_out import PathParts, Reason, with_omissions
from jointreid.data.readers.market_style import distinct_folders, find_layout, look_for_layouts, read_splits
from jointreid.data.records import SPLITS, Domain
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError

MIN_IMAGES = 4
KNOWN_PARENTS = ("CUHK-SYSU", "cuhk-sysu", "cuhk-sysu/CUHK-SYSU", "cuhk_sysu", "cuhk_sysu/CUHK-SYSU", "cuhksysu")
TERMS = (
    "CUHK-SYSU shows real people. Its authors at the Chinese University of Hong Kong and Sun Yat-sen University (Xiao "
    "et al., Joint Detection and Identification Feature Learning for Person Search, CVPR 2017) give it out on request "
    "by e-mail, for non-commercial research."
)

_NAME = re.compile(r"(\d+)_s\d+_\d+(?:_\d+)?\.")
# Crops that others made: by them alone it cannot be known who is searched for, and where.
_OTHER_CROPS = {
    "cropped_images": "crops without a split, as torchreid and fast-reid use them (p11422_s16929_1.jpg)",
    "cropped_image": "crops without a split, as MetaBIN uses them (p00001_n01_s00001_hard0.png)",
    "bounding_box_train": "crops of another split, converted to Market-1501's layout (as BAU uses them)",
}


def cuhk_sysu(path: str | Path, data: DataConfig = DataConfig()) -> Domain:
    """Read crops of CUHK-SYSU as `jointreid data prepare cuhk_sysu` writes them, and LifelongReID before it.

    Train keeps the identities with 4 images or more, a batch's share of one: the paper's 942 of 5,532. `variant` says
    what was left out. `combine`, which some folders hold, is not read.

    The data set has no cameras: every image has camid 0, and a match from the query's own camera counts, for otherwise
    no match would be left.

    Args:
        path: the folder `cuhksysu4reid` or one above it.
        data: ignored; no setting concerns this data set.

    Returns:
        The domain `cuhk_sysu`, with pids as in the file names ("00123").

    Raises:
        JointreidError: no such folder, two of them, images that are not cropped yet, crops of another kind, or a file
            whose name has no labels.
    """
    path = Path(path)
    places = ("cuhksysu4reid", *(f"{parent}/cuhksysu4reid" for parent in KNOWN_PARENTS))
    if not look_for_layouts(distinct_folders(path, places), [SPLITS]):
        _refuse_what_is_not_converted(path)
    root = find_layout(path, "CUHK-SYSU cropped for re-identification", places, [SPLITS]).root
    splits = read_splits(
        root,
        _NAME,
        "00123_s456_0000789_0.jpg",
        (".jpg", ".png"),
        folders={split: split for split in SPLITS},
        zero_is_distractor=False,
    )
    images = Counter(record.pid for record in splits["train"])
    kept = {pid for pid, count in images.items() if count >= MIN_IMAGES}
    domain = Domain(
        "cuhk_sysu",
        train=tuple(record for record in splits["train"] if record.pid in kept),
        query=splits["query"],
        gallery=splits["gallery"],
        exclude_same_camera=False,
        cameras=(0,),
        terms=TERMS,
        source=str(root),
        variant=f"of {len(images):,} identities in train the {len(kept):,} with {MIN_IMAGES} images or more",
    )

    def explain(names: PathParts, split: str) -> Reason | None:
        match = _NAME.match(names[-1]) if split == "train" and len(names) == 2 else None
        few = match is not None and match[1] in images and match[1] not in kept
        return Reason(f"images of identities with fewer than {MIN_IMAGES}, as in the paper") if few else None

    return with_omissions(domain, root, {split: split for split in SPLITS}, explain)


def _refuse_what_is_not_converted(path: Path) -> None:
    folders = distinct_folders(path, KNOWN_PARENTS)
    for folder in folders:
        if (folder / "annotation").is_dir() or (folder / "Image" / "SSM").is_dir():
            raise JointreidError(
                f"{folder}: CUHK-SYSU as it is published; crop the people with "
                f"`{command('data', 'prepare', 'cuhk_sysu', folder, 'DST')}`, and give DST"
            )
    for folder in folders:
        for name, what in _OTHER_CROPS.items():
            if (folder / name).is_dir() or folder.absolute().name == name:
                raise JointreidError(
                    f"{folder}: {what}. The paper's query and gallery are in TestG50.mat of the original annotation, "
                    "not in these names: get the published data set, crop it with "
                    "`jointreid data prepare cuhk_sysu SRC DST`, and give DST"
                )
