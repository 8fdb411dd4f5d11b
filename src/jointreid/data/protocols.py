"""The facts of Table I as data, the other protocols its data sets are seen in, and which of them a domain holds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jointreid.data.records import SPLITS, Domain, ImageRecord


@dataclass(frozen=True)
class SplitCounts:
    """Counts of a split, without junk.

    Attributes:
        ids: identities; all distractors of one pid count as one, as in Table I.
        images: images; in a `Protocol`, 0 where their number is not fixed.
    """

    ids: int
    images: int

    def __str__(self) -> str:
        return f"{self.ids:,} identities and {self.images:,} images"


@dataclass(frozen=True)
class Protocol:
    """Contents of one of the paper's data sets under one agreed way to train and evaluate on it.

    Attributes:
        name: for programs, unique among all protocols.
        title: the data set as people call it.
        words: what tells the protocol from the data set's others, to follow the title and a comma.
        train: the split to train on.
        query: the split to search for.
        gallery: the split to search in.
        cameras: cameras of all splits.
        exclude_same_camera: whether a query's own camera is ignored for its identity.
        boxes: the word for its boxes in `Domain.variant`, where the data set comes with several kinds.
        unsaid: what the paper leaves open about it.
    """

    name: str
    title: str
    words: str
    train: SplitCounts
    query: SplitCounts
    gallery: SplitCounts
    cameras: int
    exclude_same_camera: bool = True
    boxes: str = ""
    unsaid: str = ""


@dataclass(frozen=True)
class ProtocolMatch:
    """Protocol that a domain is in.

    Attributes:
        name: that of a `Protocol`, `PART` and that name for less than it holds, or "unknown".
        comparable: whether its results can be compared with the paper's: all that the domain holds is as in Table I.
        words: the same for people.
        differences: what is not as in Table I, split by split, with both counts. A split without images is none.
    """

    name: str
    comparable: bool
    words: str
    differences: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | None) -> "ProtocolMatch | None":
        """Return what `asdict` made of one, None for None; damaged input raises KeyError or TypeError."""
        return None if plain is None else cls(**{**plain, "differences": tuple(plain["differences"])})


PART = "part of "
LEAVE_ONE_OUT = "leave_one_out"

# In the order of the table.
TABLE_I: dict[str, Protocol] = {
    "market1501": Protocol(
        "market1501",
        "Market-1501",
        "distractors in the gallery and no junk (the paper's)",
        SplitCounts(751, 12_936),
        SplitCounts(750, 3_368),
        SplitCounts(751, 15_913),  # the 751st identity is pid 0: 2,798 distractors
        cameras=6,
    ),
    "cuhk_sysu": Protocol(
        "cuhk_sysu-942",
        "CUHK-SYSU",
        "the 942 train identities with 4 boxes or more (the paper's)",
        SplitCounts(942, 4_374),
        SplitCounts(2_900, 2_900),
        SplitCounts(2_900, 5_447),
        cameras=1,
        exclude_same_camera=False,
    ),
    "dukemtmc": Protocol(
        "dukemtmc",
        "DukeMTMC-reID",
        "distractors in the gallery (the paper's)",
        SplitCounts(702, 16_522),
        SplitCounts(702, 2_228),
        SplitCounts(1_110, 17_661),  # 408 of these identities are distractors
        cameras=8,
    ),
    "cuhk03": Protocol(
        "cuhk03-new-labeled",
        "CUHK03",
        "new protocol, labeled boxes (the paper's)",
        SplitCounts(767, 7_368),
        SplitCounts(700, 1_400),
        SplitCounts(700, 5_328),
        cameras=2,  # the two views of each of its five pairs
        boxes="labeled",
    ),
    "msmt17": Protocol(
        "msmt17-train",
        "MSMT17",
        "list_train only (the paper's)",
        SplitCounts(1_041, 30_248),
        SplitCounts(3_060, 11_659),  # Table I prints 11,657, a slip: the total it gives has 11,659
        SplitCounts(3_060, 82_161),
        cameras=15,
        unsaid="the paper does not say which edition it used, V1 or V2",
    ),
}
_MARKET, _SYSU, _DUKE, _CUHK03, _MSMT17 = TABLE_I.values()

# Data sets that their owner no longer gives out and asks not to use.
WITHDRAWN = frozenset({"dukemtmc"})

# What else the same data sets are seen as in practice.
OTHERS: dict[str, tuple[Protocol, ...]] = {
    "market1501": (
        replace(
            _MARKET,
            name="market1501-no-distractors",
            words="no distractors in the gallery (the paper: with its 2,798)",
            gallery=SplitCounts(750, 13_115),
        ),
        replace(
            _MARKET,
            name="market1501-junk",
            words="3,819 junk images counted in the gallery (the paper: dropped)",
            gallery=SplitCounts(752, 19_732),
        ),
        replace(
            _MARKET,
            name="market1501-junk-no-distractors",
            words="3,819 junk images counted in the gallery and no distractors (the paper: the other way round)",
            gallery=SplitCounts(751, 16_934),
        ),
    ),
    "cuhk_sysu": (
        replace(
            _SYSU,
            name="cuhk_sysu-all-train",
            words="all 5,532 train identities (the paper: 942 with 4 boxes or more)",
            train=SplitCounts(5_532, 0),
        ),
        replace(
            _SYSU,
            name="cuhk_sysu-cropped_images",
            words="all 11,934 identities of cropped_images, those of the test among them, in train (the paper: 942)",
            train=SplitCounts(11_934, 34_574),
        ),
    ),
    "dukemtmc": (
        replace(
            _DUKE,
            name="dukemtmc-no-distractors",
            words="no distractors in the gallery (the paper: with 408 distractor identities)",
            gallery=SplitCounts(702, 0),
        ),
    ),
    "cuhk03": (
        replace(
            _CUHK03,
            name="cuhk03-new-detected",
            words="new protocol, detected boxes (the paper: labeled)",
            train=SplitCounts(767, 7_365),
            gallery=SplitCounts(700, 5_332),
            boxes="detected",
        ),
        replace(  # the images differ among its 20 splits
            _CUHK03,
            name="cuhk03-classic",
            words="classic protocol, 1,367/100 identities (the paper: the new one, 767/700, with labeled boxes)",
            train=SplitCounts(1_367, 0),
            query=SplitCounts(100, 0),
            gallery=SplitCounts(100, 0),
            boxes="",
        ),
    ),
    "msmt17": (
        replace(
            _MSMT17,
            name="msmt17-train+val",
            words="list_train + list_val (as TransReID and others train; the paper trains on list_train alone)",
            train=SplitCounts(1_041, 32_621),
        ),
    ),
}


def count_split(records: Iterable[ImageRecord]) -> SplitCounts:
    """Count the identities and images of a split as Table I does."""
    pids = [record.pid for record in records if not record.junk]
    return SplitCounts(len(set(pids)), len(pids))


def identify(domain: Domain) -> ProtocolMatch | None:
    """Return the protocol in which a domain holds one of the paper's data sets, by its counts and variant.

    Splits without images are not compared: a train split alone is in the paper's protocol if it has the paper's
    counts. Give the domain as it was read, before images are skipped or identities held out.

    Returns:
        What it holds, or None for a data set that is not in Table I, or has no images.
    """
    if domain.leave_one_out and domain.gallery:
        return ProtocolMatch(
            LEAVE_ONE_OUT,
            False,
            "leave-one-out: every test image asks all others"
            + (", without those of its identity and camera" if domain.exclude_same_camera else ""),
        )
    paper = TABLE_I.get(domain.name)
    counts = {split: count_split(getattr(domain, split)) for split in SPLITS}
    found = {split: counted for split, counted in counts.items() if counted.images}
    if paper is None or not found:
        return None
    cameras = tuple(_compare_cameras(domain, paper))
    name, words = _describe(domain, paper, found)
    comparable = name == paper.name and not cameras
    if absent := [split for split in SPLITS if split not in found]:
        words += f"; no {_join(absent)}"
    if cameras and not name.startswith(PART):  # a part may have been seen by fewer
        words += f"; {_join(cameras)}"
    if comparable and paper.unsaid:
        words += f"; {paper.unsaid}"
    differing = (f"{split}: {found[split]} (the paper: {getattr(paper, split)})" for split in _differing(found, paper))
    return ProtocolMatch(name, comparable, words, (*differing, *cameras))


def canonical_order(domains: Iterable[Domain]) -> tuple[Domain, ...]:
    """Sort domains, the paper's in Table I's order first, then the others by name.

    Domain ids and global camera ids count in this order, so they do not depend on the order of a command line.
    """
    place = {name: rank for rank, name in enumerate(TABLE_I)}
    return tuple(sorted(domains, key=lambda domain: (place.get(domain.name, len(place)), domain.name)))


def _describe(domain: Domain, paper: Protocol, found: Mapping[str, SplitCounts]) -> tuple[str, str]:
    """Return the name of the protocol that these counts are, or are a part of, and what people call it."""
    # The sort is stable: the paper's comes first, or where the reader tells of other boxes, theirs.
    known = sorted((paper, *OTHERS[domain.name]), key=lambda protocol: _at_odds(protocol, domain))
    variant = f"; {domain.variant}" if domain.variant else ""
    if matches := [protocol for protocol in known if not _differing(found, protocol)]:
        first = matches[0]
        if first is paper and len(matches) > 1:  # the split that would tell them apart is not there
            return first.name, f"{first.title}, {_join(list(found))} as in the paper{variant}"
        return first.name, f"{first.title}, {first.words}{'' if first.boxes else variant}"
    # A larger protocol contains these counts too: another than the first needs a split that is exactly as in it.
    off = set(_differing(found, known[0]))
    candidates = [protocol for protocol in known if protocol is known[0] or off - set(_differing(found, protocol))]
    if wholes := [protocol for protocol in candidates if _within(found, protocol)]:
        whole = min(wholes, key=lambda protocol: len(_differing(found, protocol)))
        which = "" if whole is paper else f", {whole.words}"
        variant = "" if domain.variant in which else variant
        return PART + whole.name, f"{PART}{whole.title}{which}: {_join(list(_shortfalls(found, whole)))}{variant}"
    return "unknown", f"{paper.title}, in no protocol known here{variant}"


def _at_odds(protocol: Protocol, domain: Domain) -> bool:
    """Return whether the reader names boxes other than the protocol's."""
    return bool(protocol.boxes and domain.variant) and protocol.boxes not in domain.variant


def _differing(found: Mapping[str, SplitCounts], protocol: Protocol) -> list[str]:
    """Return the splits whose counts differ from the protocol's."""
    return [split for split, counted in found.items() if counted != _fixed(protocol, split, counted)]


def _within(found: Mapping[str, SplitCounts], protocol: Protocol) -> bool:
    """Return whether each split may be a part of the protocol's."""
    wholes = {split: _fixed(protocol, split, counted) for split, counted in found.items()}
    return all(found[split].ids <= whole.ids and found[split].images <= whole.images for split, whole in wholes.items())


def _fixed(protocol: Protocol, split: str, counted: SplitCounts) -> SplitCounts:
    """Return the protocol's counts of a split, with as many images as found where their number is not fixed."""
    counts: SplitCounts = getattr(protocol, split)
    return counts if counts.images else replace(counts, images=counted.images)


def _shortfalls(found: Mapping[str, SplitCounts], protocol: Protocol) -> Iterator[str]:
    for split in _differing(found, protocol):
        counted, whole = found[split], _fixed(protocol, split, found[split])
        if counted.images < whole.images:
            yield f"{counted.images:,} of {whole.images:,} {split} images"
        else:
            yield f"{counted.ids:,} of {whole.ids:,} {split} identities"


def _compare_cameras(domain: Domain, paper: Protocol) -> Iterator[str]:
    if len(domain.cameras) != paper.cameras:
        yield f"{len(domain.cameras)} cameras (the paper: {paper.cameras})"
    if domain.query and domain.gallery and domain.exclude_same_camera != paper.exclude_same_camera:
        says = {True: "a match from the query's own camera is ignored", False: "every match counts"}
        yield f"{says[domain.exclude_same_camera]} (the paper: {says[paper.exclude_same_camera]})"


def _join(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
