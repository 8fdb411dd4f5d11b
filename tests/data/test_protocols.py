"""Table I as data, against what the paper prints, and the protocol that a domain is found to hold."""

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from jointreid.data.protocols import (
    OTHERS,
    TABLE_I,
    Protocol,
    ProtocolMatch,
    SplitCounts,
    canonical_order,
    count_split,
    identify,
)
from jointreid.data.records import SPLITS, Domain, ImageRecord

NOTHING = SplitCounts(0, 0)
PROTOCOLS = [(name, protocol) for name, paper in TABLE_I.items() for protocol in (paper, *OTHERS[name])]


@cache
def split(counts: SplitCounts, cameras: int, name: str) -> tuple[ImageRecord, ...]:
    """Make records with these counts, the images dealt out to identities and cameras in turn."""
    path = Path(name)
    images = counts.images or 3 * counts.ids
    return tuple(ImageRecord(path, str(i % counts.ids), i % cameras) for i in range(images))


def domain(name: str, protocol: Protocol | None = None, variant: str = "", **changed: SplitCounts) -> Domain:
    """Make a domain that holds what a protocol says, by default Table I's, except where changed."""
    protocol = protocol or TABLE_I[name]
    counts: dict[str, SplitCounts] = {key: getattr(protocol, key) for key in SPLITS} | changed
    return Domain(
        name,
        train=split(counts["train"], protocol.cameras, "train"),
        query=split(counts["query"], protocol.cameras, "query"),
        gallery=split(counts["gallery"], protocol.cameras, "gallery"),
        exclude_same_camera=protocol.exclude_same_camera,
        cameras=tuple(range(protocol.cameras)),
        variant=variant,
    )


def found(domain: Domain) -> ProtocolMatch:
    match = identify(domain)
    assert match is not None
    return match


def by_name(name: str) -> tuple[str, Protocol]:
    return next(known for known in PROTOCOLS if known[1].name == name)


def test_totals_of_the_joint_training_set() -> None:
    assert list(TABLE_I) == ["market1501", "cuhk_sysu", "dukemtmc", "cuhk03", "msmt17"]
    assert sum(protocol.train.ids for protocol in TABLE_I.values()) == 4_203
    assert sum(protocol.train.images for protocol in TABLE_I.values()) == 71_448
    assert sum(protocol.cameras for protocol in TABLE_I.values()) == 32
    msmt17 = TABLE_I["msmt17"]
    # The total the paper gives for the whole set, with the 2,373 images of list_val.
    assert msmt17.train.images + 2_373 + msmt17.query.images + msmt17.gallery.images == 126_441
    assert [name for name, protocol in TABLE_I.items() if not protocol.exclude_same_camera] == ["cuhk_sysu"]


def test_counting_leaves_junk_out_and_takes_distractors_of_one_pid_as_one() -> None:
    path = Path("a.jpg")
    records = [
        ImageRecord(path, "1", 0),
        ImageRecord(path, "1", 1),
        ImageRecord(path, "-1", 0, junk=True),
        ImageRecord(path, "0", 0, distractor=True),
        ImageRecord(path, "0", 1, distractor=True),
    ]
    assert count_split(records) == SplitCounts(ids=2, images=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE_I)
def test_a_domain_as_in_table_i_is_comparable(name: str) -> None:
    match = found(domain(name))
    assert (match.name, match.comparable, match.differences) == (TABLE_I[name].name, True, ())
    assert match.words.startswith(f"{TABLE_I[name].title}, ")
    assert "(the paper's)" in match.words


@pytest.mark.slow
@pytest.mark.parametrize(("name", "protocol"), PROTOCOLS)
def test_every_known_protocol_is_told_from_the_others(name: str, protocol: Protocol) -> None:
    match = found(domain(name, protocol))
    assert match.name == protocol.name
    assert match.comparable is (protocol is TABLE_I[name])
    assert protocol.words in match.words
    assert bool(match.differences) is not match.comparable


def test_names_are_unique_and_others_state_their_own_counts() -> None:
    assert len({protocol.name for _, protocol in PROTOCOLS}) == len(PROTOCOLS)
    of_whole = {
        "cuhk03-new-detected": 14_097,  # as the data set's owner counts its boxes; 14,096 of them labeled
        "cuhk03-new-labeled": 14_096,
        "msmt17-train+val": 126_441,  # as the paper prints
        "market1501-junk": 12_936 + 3_368 + 19_732,  # the files of its three folders
    }
    for name, images in of_whole.items():
        _, protocol = by_name(name)
        assert sum(getattr(protocol, key).images for key in SPLITS) == images
    gallery = {name: by_name(f"market1501{name}")[1].gallery.images for name in ("", "-no-distractors", "-junk")}
    assert gallery[""] - gallery["-no-distractors"] == 2_798
    assert gallery["-junk"] - gallery[""] == 3_819


@pytest.mark.parametrize(
    ("name", "variant", "words"),
    [
        (
            "msmt17-train",
            "V2 (faces masked)",
            "MSMT17, list_train only (the paper's); V2 (faces masked); "
            "the paper does not say which edition it used, V1 or V2",
        ),
        (
            "msmt17-train",
            "",
            "MSMT17, list_train only (the paper's); the paper does not say which edition it used, V1 or V2",
        ),
        (
            "msmt17-train+val",
            "V1",
            "MSMT17, list_train + list_val (as TransReID and others train; the paper trains on list_train alone); V1",
        ),
        ("cuhk03-new-labeled", "labeled boxes", "CUHK03, new protocol, labeled boxes (the paper's)"),
        ("cuhk03-new-detected", "detected boxes", "CUHK03, new protocol, detected boxes (the paper: labeled)"),
        # What the reader could not tell, the counts do.
        (
            "cuhk03-new-detected",
            "labeled or detected boxes",
            "CUHK03, new protocol, detected boxes (the paper: labeled)",
        ),
        (
            "cuhk03-classic",
            "detected boxes",
            "CUHK03, classic protocol, 1,367/100 identities (the paper: the new one, 767/700, with labeled boxes); "
            "detected boxes",
        ),
        (
            "cuhk_sysu-all-train",
            "",
            "CUHK-SYSU, all 5,532 train identities (the paper: 942 with 4 boxes or more)",
        ),
        ("market1501", "", "Market-1501, distractors in the gallery and no junk (the paper's)"),
    ],
)
def test_the_words_name_protocol_and_edition(name: str, variant: str, words: str) -> None:
    key, protocol = by_name(name)
    assert found(domain(key, protocol, variant)).words == words


def test_other_data_sets_and_empty_ones_have_no_protocol() -> None:
    assert identify(Domain("own", train=split(TABLE_I["market1501"].train, 6, "train"))) is None
    assert identify(Domain("cuhk03")) is None


def test_differences_name_split_found_and_expected() -> None:
    match = found(domain("market1501", query=SplitCounts(800, 7), gallery=SplitCounts(3, 16_000)))
    assert match == ProtocolMatch(
        "unknown",
        False,
        "Market-1501, in no protocol known here",
        (
            "query: 7 identities and 7 images (the paper: 750 identities and 3,368 images)",
            "gallery: 3 identities and 16,000 images (the paper: 751 identities and 15,913 images)",
        ),
    )


@pytest.mark.parametrize(
    ("name", "kept", "comparable", "words"),
    [
        ("msmt17-train", ("train",), True, "MSMT17, list_train only (the paper's); no query and gallery; the paper "),
        ("msmt17-train+val", ("train",), False, "MSMT17, list_train + list_val (as"),
        ("msmt17-train+val", ("query", "gallery"), True, "MSMT17, query and gallery as in the paper; no train; the"),
        ("market1501", ("train",), True, "Market-1501, train as in the paper; no query and gallery"),
        ("market1501-no-distractors", ("query", "gallery"), False, "Market-1501, no distractors in the gallery (the"),
        ("cuhk03-new-detected", ("query",), True, "CUHK03, query as in the paper; no train and gallery"),
        ("cuhk_sysu-cropped_images", ("train",), False, "CUHK-SYSU, all 11,934 identities of cropped_images"),
    ],
)
def test_a_split_that_is_missing_is_said_and_makes_no_difference(
    name: str, kept: tuple[str, ...], comparable: bool, words: str
) -> None:
    key, protocol = by_name(name)
    missing = [split for split in SPLITS if split not in kept]
    match = found(domain(key, protocol, "", **dict.fromkeys(missing, NOTHING)))
    assert match.words.startswith(words)
    assert match.comparable is comparable
    assert {difference.split(":")[0] for difference in match.differences} <= set(kept)
    assert f"; no {' and '.join(missing)}" in match.words


def test_the_reader_tells_of_boxes_that_a_query_alone_does_not() -> None:
    match = found(domain("cuhk03", variant="detected boxes", train=NOTHING, gallery=NOTHING))
    assert (match.name, match.comparable) == ("cuhk03-new-detected", False)
    match = found(domain("cuhk03", variant="detected boxes", train=SplitCounts(3, 9), gallery=NOTHING))
    assert match.name == "part of cuhk03-new-detected"
    assert match.words.count("detected boxes") == 1


@pytest.mark.parametrize(
    ("name", "changed", "part", "words"),
    [
        (
            "market1501",
            {"train": SplitCounts(3, 10), "query": SplitCounts(750, 3_366)},
            "part of market1501",
            "part of Market-1501: 10 of 12,936 train images and 3,366 of 3,368 query images",
        ),
        # The figure that Table I prints, a slip.
        ("msmt17-train", {"query": SplitCounts(3_060, 11_657)}, "part of msmt17-train",
         "part of MSMT17: 11,657 of 11,659 query images; V1"),
        ("msmt17-train+val", {"query": SplitCounts(3_060, 11_657)}, "part of msmt17-train+val",
         "part of MSMT17, list_train + list_val (as TransReID and others train; the paper trains on list_train alone): "
         "11,657 of 11,659 query images; V1"),
        ("cuhk_sysu-all-train", {"query": SplitCounts(2_900, 2_899)}, "part of cuhk_sysu-all-train",
         "part of CUHK-SYSU, all 5,532 train identities (the paper: 942 with 4 boxes or more): "
         "2,899 of 2,900 query images"),
        ("cuhk03-classic", {"query": SplitCounts(99, 200)}, "part of cuhk03-classic",
         "part of CUHK03, classic protocol, 1,367/100 identities (the paper: the new one, 767/700, with labeled boxes):"
         " 99 of 100 query identities"),
        # Of all 5,532, or of all 11,934? Nothing tells.
        ("cuhk_sysu-all-train", {"train": SplitCounts(5_000, 14_000)}, "unknown",
         "CUHK-SYSU, in no protocol known here"),
        ("dukemtmc", {"gallery": SplitCounts(1_000, 17_661)}, "part of dukemtmc",
         "part of DukeMTMC-reID: 1,000 of 1,110 gallery identities"),
    ],
)  # fmt: skip
def test_less_than_a_protocol_is_a_part_of_it(
    name: str, changed: dict[str, SplitCounts], part: str, words: str
) -> None:
    key, protocol = by_name(name)
    match = found(domain(key, protocol, "V1" if key == "msmt17" else "", **changed))
    assert (match.name, match.words, match.comparable) == (part, words, False)


def test_cameras_and_camera_rule_are_compared() -> None:
    match = found(replace(domain("dukemtmc"), cameras=tuple(range(9))))
    assert (match.name, match.comparable, match.differences) == ("dukemtmc", False, ("9 cameras (the paper: 8)",))
    assert match.words == "DukeMTMC-reID, distractors in the gallery (the paper's); 9 cameras (the paper: 8)"
    ignored = replace(domain("cuhk_sysu"), exclude_same_camera=True)
    rule = "a match from the query's own camera is ignored (the paper: every match counts)"
    assert found(ignored).differences == (rule,)
    assert found(replace(ignored, query=())).comparable  # nothing is evaluated
    # A part may have been seen by fewer cameras: told, but not what it is called by.
    few = found(Domain("market1501", train=domain("market1501").train[:2]))
    assert few.words == "part of Market-1501: 2 of 12,936 train images; no query and gallery"
    assert few.differences[-1] == "2 cameras (the paper: 6)"


def test_canonical_order_is_that_of_table_i_then_by_name() -> None:
    expected = ("market1501", "dukemtmc", "msmt17", "b", "shop")
    for order in itertools.permutations(expected):
        assert tuple(found.name for found in canonical_order(Domain(name) for name in order)) == expected
