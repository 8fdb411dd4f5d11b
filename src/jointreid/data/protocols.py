"""The facts of Table I as data, the order it gives the domains, and the comparison of a domain with it."""

from collections.abc import Iterable
from dataclasses import dataclass

from jointreid.data.records import SPLITS, Domain, ImageRecord


@dataclass(frozen=True)
class SplitCounts:
    """How much a split holds, junk left out.

    Attributes:
        ids: identities; all distractors of one pid count as one, as in Table I.
        images: images.
    """

    ids: int
    images: int

    def __str__(self) -> str:
        return f"{self.ids:,} identities and {self.images:,} images"


@dataclass(frozen=True)
class Protocol:
    """What a data set must hold for its numbers to be comparable with the paper's.

    Attributes:
        train: the split to train on.
        query: the split to search for.
        gallery: the split to search in.
        cameras: cameras of all splits.
        exclude_same_camera: whether a query's own camera is ignored for its identity.
        note: what to know about these counts.
    """

    train: SplitCounts
    query: SplitCounts
    gallery: SplitCounts
    cameras: int
    exclude_same_camera: bool = True
    note: str = ""


# In the order of the table.
TABLE_I: dict[str, Protocol] = {
    "market1501": Protocol(
        SplitCounts(751, 12_936),
        SplitCounts(750, 3_368),
        SplitCounts(751, 15_913),
        cameras=6,
        note="the gallery's 751st identity is pid 0: 2,798 distractors; junk (pid -1) is not counted",
    ),
    "cuhk_sysu": Protocol(
        SplitCounts(942, 4_374),
        SplitCounts(2_900, 2_900),
        SplitCounts(2_900, 5_447),
        cameras=1,
        exclude_same_camera=False,
        note="cropped by the annotated boxes; train keeps the identities with 4 boxes or more",
    ),
    "dukemtmc": Protocol(
        SplitCounts(702, 16_522),
        SplitCounts(702, 2_228),
        SplitCounts(1_110, 17_661),
        cameras=8,
        note="408 of the gallery's identities are distractors; withdrawn by its owner",
    ),
    "cuhk03": Protocol(
        SplitCounts(767, 7_368),
        SplitCounts(700, 1_400),
        SplitCounts(700, 5_328),
        cameras=2,
        note="the new protocol (767/700) with labelled boxes; its cameras are the two views",
    ),
    "msmt17": Protocol(
        SplitCounts(1_041, 30_248),
        SplitCounts(3_060, 11_659),
        SplitCounts(3_060, 82_161),
        cameras=15,
        note="train is list_train alone; Table I prints 11,657 query images, a slip: its total has 11,659",
    ),
}
# What other counts seen in practice mean: (data set, split, identities or images) -> explanation.
_VARIANTS = {
    ("market1501", "gallery", 19_732): "junk (pid -1) is among them",
    ("market1501", "gallery", 13_115): "the distractors (pid 0) are left out",
    ("cuhk_sysu", "train", 5_532): "all train identities, also those with fewer than 4 boxes",
    ("cuhk03", "train", 7_365): "the detected boxes, not the labelled ones",
    ("cuhk03", "gallery", 5_332): "the detected boxes, not the labelled ones",
    ("msmt17", "train", 32_621): "list_train and list_val together",
    ("msmt17", "query", 11_657): "the figure printed in Table I, two images short of the official list",
}


def count_split(records: Iterable[ImageRecord]) -> SplitCounts:
    """Count the identities and images of a split as Table I does."""
    pids = [record.pid for record in records if not record.junk]
    return SplitCounts(len(set(pids)), len(pids))


def verify(domain: Domain) -> list[str]:
    """Compare one of the paper's data sets with Table I.

    Returns:
        One message for each difference, naming the data set, the split, the expected and the found counts, and the
        variant of the data set that has them, if known. Empty if all is equal, or the data set is not in Table I.
    """
    protocol = TABLE_I.get(domain.name)
    if protocol is None:
        return []
    messages = []
    for split in SPLITS:
        expected, found = getattr(protocol, split), count_split(getattr(domain, split))
        if found != expected:
            known = {_VARIANTS.get((domain.name, split, number)) for number in (found.ids, found.images)} - {None}
            meaning = f": {known.pop()}" if known else ""
            messages.append(f"{domain.name}, {split}: expected {expected} (Table I), found {found}{meaning}")
    if len(domain.cameras) != protocol.cameras:
        messages.append(
            f"{domain.name}, all splits: expected {protocol.cameras} cameras (Table I), found {len(domain.cameras)}"
        )
    if domain.exclude_same_camera != protocol.exclude_same_camera:
        messages.append(
            f"{domain.name}, gallery: expected exclude_same_camera {protocol.exclude_same_camera} (the paper's "
            f"evaluation), found {domain.exclude_same_camera}"
        )
    return messages


def canonical_order(domains: Iterable[Domain]) -> tuple[Domain, ...]:
    """Sort domains, the paper's in Table I's order first, then the others by name.

    Domain ids and global camera ids count in this order, so they do not depend on that of a command line.
    """
    place = {name: rank for rank, name in enumerate(TABLE_I)}
    return tuple(sorted(domains, key=lambda domain: (place.get(domain.name, len(place)), domain.name)))
