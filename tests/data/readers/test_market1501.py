"""The Market-1501 reader against small folders with every trap of the real one."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from jointreid.data.readers import READERS
from jointreid.data.readers.market1501 import market1501
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError

FILES = {
    "bounding_box_train": [
        "0002_c1s1_000451_03.jpg",
        "0002_c6s4_000451_10.jpg",
        "0007_c2s3_071052_01.JPG",
        "-1_c1s1_000401_03.jpg",
        "0000_c4s6_038766_08.jpg",
        "Thumbs.db",
    ],
    "query": ["1501_c3s3_065678_00.jpg", "-1_c3s3_000001_00.jpg", "Thumbs.db"],
    "bounding_box_test": [
        "1501_c4s6_034019_02.jpg",
        "0000_c1s1_000151_01.jpg",
        "-1_c1s1_000401_03.jpg",
        "._1501_c4s6_034019_02.jpg",
        "Thumbs.db",
    ],
    "gt_bbox": ["0001_c1s1_001051_00.jpg", "readme.txt"],
    "gt_query": ["0001_c1s1_001051_00_good.mat"],
}


def build(root: Path, files: dict[str, list[str]] = FILES, leave_out: Iterable[str] = ()) -> Path:
    """Make the folders with empty files: the reader reads names, not pixels."""
    for folder in files.keys() - set(leave_out):
        (root / folder).mkdir(parents=True)
        for name in files[folder]:
            (root / folder / name).touch()
    return root


def test_labels_come_from_the_names(tmp_path: Path) -> None:
    found = READERS["market1501"](build(tmp_path))
    train, query, gallery = (tmp_path / folder for folder in ("bounding_box_train", "query", "bounding_box_test"))
    assert found == Domain(
        "market1501",
        train=(
            ImageRecord(train / "0002_c1s1_000451_03.jpg", "0002", 0),
            ImageRecord(train / "0002_c6s4_000451_10.jpg", "0002", 5),
            ImageRecord(train / "0007_c2s3_071052_01.JPG", "0007", 1),
        ),
        query=(ImageRecord(query / "1501_c3s3_065678_00.jpg", "1501", 2),),
        gallery=(
            ImageRecord(gallery / "0000_c1s1_000151_01.jpg", "0000", 0, distractor=True),
            ImageRecord(gallery / "1501_c4s6_034019_02.jpg", "1501", 3),
        ),
        exclude_same_camera=True,
        cameras=(0, 1, 2, 3, 4, 5),
        terms=found.terms,
    )
    assert found.source == str(tmp_path)
    assert "ICCV 2015" in found.terms


@pytest.mark.parametrize(
    "folder",
    ["", "Market-1501-v15.09.15", "market1501", "market1501/Market-1501-v15.09.15", "Market", "market"],
)
def test_every_usual_folder_is_found(tmp_path: Path, folder: str) -> None:
    build(tmp_path / folder)
    assert market1501(str(tmp_path)).source == str(tmp_path / folder)


def test_cameras_of_two_digits(tmp_path: Path) -> None:
    files = FILES | {"query": ["0005_c11s1_000001_00.jpg", "0005_c1s1_000001_00.jpg"]}
    found = market1501(build(tmp_path, files))
    assert [record.camid for record in found.query] == [10, 0]
    assert found.cameras == (0, 1, 3, 5, 10)


@pytest.mark.parametrize(
    "name",
    [
        "readme.jpg",
        "0002_c0s1_000451_03.jpg",
        "0002_cs1_000451_03.jpg",
        "-2_c1s1_000451_03.jpg",
        "x0002_c1s1_000451_03.jpg",
        "0002_c1_000451.jpg",
    ],
)
def test_a_file_without_labels_is_refused(tmp_path: Path, name: str) -> None:
    build(tmp_path, FILES | {"query": ["0002_c1s1_000451_03.jpg", name]})
    with pytest.raises(JointreidError, match="1 files have no labels") as caught:
        market1501(tmp_path)
    assert name in str(caught.value)
    assert str(tmp_path / "query") in str(caught.value)


def test_only_a_few_files_without_labels_are_named(tmp_path: Path) -> None:
    build(tmp_path, FILES | {"query": [f"photo{number}.jpg" for number in range(9)]})
    with pytest.raises(JointreidError, match=r"9 files .*photo0\.jpg.*photo4\.jpg and 4 more\)"):
        market1501(tmp_path)


def test_a_missing_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(JointreidError) as caught:
        market1501(tmp_path)
    for word in (str(tmp_path), "bounding_box_train, query, bounding_box_test", "market1501/Market-1501-v15.09.15"):
        assert word in str(caught.value)
    build(tmp_path / "Market", leave_out=["query"])
    with pytest.raises(JointreidError, match=r"Market lacks query;"):
        market1501(tmp_path)


def test_two_copies_are_refused_but_a_link_to_one_is_not(tmp_path: Path) -> None:
    build(tmp_path / "Market-1501-v15.09.15")
    (tmp_path / "market1501").symlink_to("Market-1501-v15.09.15")
    assert len(market1501(tmp_path).train) == 3
    build(tmp_path / "Market")
    with pytest.raises(JointreidError, match=r"more than once: .*v15\.09\.15, .*Market; give one"):
        market1501(tmp_path)
