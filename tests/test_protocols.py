"""Table I as data, against what the paper prints, and the comparison of a domain with it."""

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from jointreid.data.protocols import TABLE_I, SplitCounts, canonical_order, count_split, verify
from jointreid.data.records import Domain, ImageRecord


@cache
def split(counts: SplitCounts, cameras: int, name: str) -> tuple[ImageRecord, ...]:
    """Make records with these counts, the images dealt out to identities and cameras in turn."""
    path = Path(name)
    return tuple(ImageRecord(path, str(i % counts.ids), i % cameras) for i in range(counts.images))


def domain(name: str, **changed: SplitCounts) -> Domain:
    """Make a domain that holds what Table I says, except where changed."""
    protocol = TABLE_I[name]
    counts = {"train": protocol.train, "query": protocol.query, "gallery": protocol.gallery} | changed
    records = {key: split(value, protocol.cameras, key) for key, value in counts.items()}
    return Domain(
        name,
        train=records["train"],
        query=records["query"],
        gallery=records["gallery"],
        exclude_same_camera=protocol.exclude_same_camera,
        cameras=tuple(range(protocol.cameras)),
    )


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


@pytest.mark.parametrize("name", TABLE_I)
def test_a_domain_as_in_table_i_passes(name: str) -> None:
    assert verify(domain(name)) == []


def test_other_data_sets_are_not_compared() -> None:
    assert verify(Domain("own")) == []


def test_a_difference_names_data_set_split_expected_and_found() -> None:
    assert verify(domain("market1501", query=SplitCounts(3, 7))) == [
        "market1501, query: expected 750 identities and 3,368 images (Table I), found 3 identities and 7 images"
    ]
    assert [message.split(":")[0] for message in verify(Domain("cuhk03"))] == [
        "cuhk03, train",
        "cuhk03, query",
        "cuhk03, gallery",
        "cuhk03, all splits",
    ]


@pytest.mark.parametrize(
    ("name", "changed", "meaning"),
    [
        ("msmt17", {"train": SplitCounts(1_041, 32_621)}, "list_train and list_val together"),
        ("msmt17", {"query": SplitCounts(3_060, 11_657)}, "printed in Table I"),
        ("cuhk03", {"train": SplitCounts(767, 7_365)}, "detected boxes"),
        ("cuhk03", {"gallery": SplitCounts(700, 5_332)}, "detected boxes"),
        ("market1501", {"gallery": SplitCounts(752, 19_732)}, "junk"),
        ("market1501", {"gallery": SplitCounts(750, 13_115)}, "distractors"),
        ("cuhk_sysu", {"train": SplitCounts(5_532, 6_000)}, "fewer than 4 boxes"),
    ],
)
def test_known_variants_are_named(name: str, changed: dict[str, SplitCounts], meaning: str) -> None:
    (message,) = verify(domain(name, **changed))
    assert message.startswith(f"{name}, {next(iter(changed))}: expected ")
    assert meaning in message.partition("found")[2]


def test_cameras_and_camera_rule_are_compared() -> None:
    (message,) = verify(replace(domain("dukemtmc"), cameras=tuple(range(9))))
    assert message == "dukemtmc, all splits: expected 8 cameras (Table I), found 9"
    (message,) = verify(replace(domain("cuhk_sysu"), exclude_same_camera=True))
    assert message.startswith("cuhk_sysu, gallery: expected exclude_same_camera False")


def test_canonical_order_is_that_of_table_i_then_by_name() -> None:
    expected = ("market1501", "dukemtmc", "msmt17", "b", "shop")
    for order in itertools.permutations(expected):
        assert tuple(found.name for found in canonical_order(Domain(name) for name in order)) == expected
