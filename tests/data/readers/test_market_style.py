"""Code that readers of folders laid out like Market-1501 share: finding the folder, and reading names."""

import re
from pathlib import Path

import pytest

from jointreid.data.readers.market_style import (
    distinct_folders,
    find_layout,
    find_root,
    is_market_style,
    market_style,
    read_splits,
)
from jointreid.data.records import ImageRecord
from jointreid.messages.errors import JointreidError

NAME = re.compile(r"(-1|\d+)_c(\d+)_")
MARKET = ("bounding_box_train", "query", "bounding_box_test")


def build(root: Path, train: str = "", query: str = "", gallery: str = "", folders: tuple[str, ...] = MARKET) -> Path:
    for folder, names in zip(folders, (train, query, gallery), strict=True):
        (root / folder).mkdir(parents=True)
        for name in names.split():
            (root / folder / name).touch()
    return root


def test_a_folder_of_ones_own_is_read_under_its_own_name(tmp_path: Path) -> None:
    root = build(
        tmp_path, "7_c2_a.png 0008_c11s1_b.JPEG notes.txt", "9_c1.jpg", "0000_c3_x.jpg -1_c1_y.jpg 9_c12s3_.jpg"
    )
    found = market_style(str(root), "shop")
    assert (found.name, found.source, found.variant, found.cameras) == ("shop", str(root), "", (0, 1, 2, 10, 11))
    assert found.train == (
        ImageRecord(root / "bounding_box_train" / "0008_c11s1_b.JPEG", "0008", 10),
        ImageRecord(root / "bounding_box_train" / "7_c2_a.png", "7", 1),
    )
    assert [(record.pid, record.distractor) for record in found.gallery] == [("0000", True), ("9", False)]


@pytest.mark.parametrize("name", ["7_cx_a.jpg", "7-c1_a.jpg", "face.png", "7_c1x.jpg"])
def test_a_name_without_labels_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(JointreidError, match=re.escape(f"1 files have no labels in their names ({name})")):
        market_style(build(tmp_path, query=f"7_c1_a.jpg {name}"), "shop")


@pytest.mark.parametrize(
    ("zero_is_distractor", "train", "gallery"), [(True, ["1"], ["0", "1"]), (False, ["0", "1"], ["0", "1"])]
)
def test_identity_zero_is_a_distractor_or_a_person(
    tmp_path: Path, zero_is_distractor: bool, train: list[str], gallery: list[str]
) -> None:
    names = "0_c1_a.jpg 1_c1_a.jpg -1_c1_a.jpg"
    root = build(tmp_path, names, names, names)
    splits = read_splits(root, NAME, "0_c1_a.jpg", zero_is_distractor=zero_is_distractor)
    assert [record.pid for record in splits["train"]] == train
    assert [record.pid for record in splits["query"]] == train
    assert [(record.pid, record.distractor) for record in splits["gallery"]] == [
        (pid, zero_is_distractor and pid == "0") for pid in gallery
    ]


def test_other_folders_and_names_without_a_camera(tmp_path: Path) -> None:
    root = build(tmp_path, "12-a.jpg", "13-a.jpg", "13-b.jpg 13-c.gif", folders=("train", "query", "gallery"))
    folders = {"train": "train", "query": "query", "gallery": "gallery"}
    splits = read_splits(root, re.compile(r"(\d+)-"), "12-a.jpg", folders=folders)
    assert splits["train"] == (ImageRecord(root / "train" / "12-a.jpg", "12", 0),)
    assert splits["gallery"] == (ImageRecord(root / "gallery" / "13-b.jpg", "13", 0),)


def test_only_a_folder_with_all_three_splits_is_market_style(tmp_path: Path) -> None:
    assert not is_market_style(tmp_path / "absent")
    assert not is_market_style(tmp_path)
    assert is_market_style(build(tmp_path))
    (tmp_path / "query").rmdir()
    (tmp_path / "query").touch()
    assert not is_market_style(tmp_path)


def test_the_layouts_a_folder_holds_keep_the_order_asked_for(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / "Data" / folder).mkdir(parents=True)
    held = find_layout(tmp_path, "Data", ["Data"], [("c", "d"), ("b", "c"), ("a",)])
    assert held == (tmp_path / "Data", [("b", "c"), ("a",)])


def test_what_is_not_found_is_told_with_what_was_begun(tmp_path: Path) -> None:
    (tmp_path / "Data" / "b").mkdir(parents=True)
    with pytest.raises(JointreidError) as caught:
        find_layout(tmp_path, "Things", ["Other", "Data"], [("a",), ("b", "c", "d")])
    assert str(caught.value) == (
        f"{tmp_path}: no Things here: {tmp_path}/Data lacks c, d; expected the folders a or b, c, d in it or in its "
        "Other, Data"
    )
    with pytest.raises(JointreidError, match=r"no X here: expected the folders .*bounding_box_test in it$"):
        find_root(tmp_path, "X", ())


def test_a_folder_counts_once_whatever_its_names(tmp_path: Path) -> None:
    build(tmp_path / "Data")
    (tmp_path / "link").symlink_to("Data")
    (tmp_path / "file").touch()
    assert distinct_folders(tmp_path, ["Data", "link", "file", "absent", "."]) == [tmp_path, tmp_path / "Data"]
    assert find_root(tmp_path, "Data", ["link", "Data"]) == tmp_path / "link"
    build(tmp_path / "copy")
    with pytest.raises(JointreidError, match=r"holds Data more than once: .*/Data, .*/copy; give one of them"):
        find_root(tmp_path, "Data", ["Data", "link", "copy"])


def test_files_that_are_not_read_say_nothing_about_the_first_camera(tmp_path: Path) -> None:
    root = build(
        tmp_path,
        "0002_c1s1_000451_c0_03.jpg",
        "0003_c1s1_000001_00.jpg",
        "notes_c0_.txt .0002_c0s1_000001_00.jpg 0000_c2s1_000001_00.jpg 0003_c2s1_000002_00.jpg",
    )
    found = market_style(str(root), "shop")
    assert [record.camid for record in found.train] == [0]
    assert [record.distractor for record in found.gallery] == [True, False]
