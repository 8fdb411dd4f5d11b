"""The MSMT17 reader against small trees of both editions, flattened and converted, with the traps of the lists."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from jointreid.config import DataConfig
from jointreid.data.preflight import check
from jointreid.data.readers import READERS
from jointreid.data.readers.msmt17 import KNOWN_FOLDERS, msmt17
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError

TRAINVAL = DataConfig(msmt17_trainval=True)
LISTS = {
    "list_train.txt": "0000/0000_000_01_0303morning_0008_0.jpg 0\n0000/0000_011_15_0303morning_0032_0_ex.jpg 0\n",
    "list_val.txt": "0001/0001_000_02_0303noon_0100_1.jpg 1\n",
    "list_query.txt": "0000/0000_001_11_0113afternoon_0055_2.jpg 0\n",
    "list_gallery.txt": (
        "0000/0000_002_01_0113afternoon_0060_0_ex.jpg 0\r\n\r\n0002/0002_000_14_0113morning_0001_0.jpg 2\r\n"
    ),
}


def build(
    root: Path, folders: tuple[str, str] = ("train", "test"), changed: Mapping[str, str | None] = MappingProxyType({})
) -> Path:
    """Make the lists, some changed by their short names (None leaves one out), and the images the originals name."""
    train, test = folders
    (root / train / "9999").mkdir(parents=True)
    (root / train / "9999" / "in_no_list.jpg").touch()
    (root / test).mkdir()
    for name, text in LISTS.items():
        for line in text.split():
            if line.endswith(".jpg"):
                image = root / (test if name in ("list_query.txt", "list_gallery.txt") else train) / line
                image.parent.mkdir(exist_ok=True)
                image.touch()
        content = changed.get(name.removeprefix("list_").removesuffix(".txt"), text)
        if content is not None:
            (root / name).write_bytes(content.encode())
    return root


def test_labels_come_from_the_lists_and_the_names(tmp_path: Path) -> None:
    root = build(tmp_path / "MSMT17_V1")
    found = READERS["msmt17"](tmp_path)
    assert found == Domain(
        "msmt17",
        train=(
            ImageRecord(root / "train/0000/0000_000_01_0303morning_0008_0.jpg", "train-0000", 0),
            ImageRecord(root / "train/0000/0000_011_15_0303morning_0032_0_ex.jpg", "train-0000", 14),
        ),
        query=(ImageRecord(root / "test/0000/0000_001_11_0113afternoon_0055_2.jpg", "test-0000", 10),),
        gallery=(
            ImageRecord(root / "test/0000/0000_002_01_0113afternoon_0060_0_ex.jpg", "test-0000", 0),
            ImageRecord(root / "test/0002/0002_000_14_0113morning_0001_0.jpg", "test-0002", 13),
        ),
        cameras=tuple(range(15)),
        terms=found.terms,
    )
    assert (found.source, found.variant) == (str(root), "V1, train is list_train")
    assert "on request" in found.terms
    assert "http" not in found.terms


def test_val_is_added_only_when_asked_for(tmp_path: Path) -> None:
    build(tmp_path)
    found = msmt17(tmp_path, TRAINVAL)
    assert found.train_pids == ("train-0000", "train-0001")
    assert len(found.train) == 3
    assert found.variant == "edition unknown (flattened), train is list_train + list_val"


@pytest.mark.parametrize(
    ("folder", "names", "edition"),
    [
        ("", ("train", "test"), "edition unknown (flattened)"),
        ("MSMT17_V1", ("train", "test"), "V1"),
        ("MSMT17_V2", ("mask_train_v2", "mask_test_v2"), "V2 (faces masked)"),
        ("MSMT17", ("train", "test"), "edition unknown (flattened)"),
        ("msmt17", ("mask_train_v2", "mask_test_v2"), "V2 (faces masked)"),
        ("msmt17/MSMT17_V1", ("train", "test"), "V1"),
        ("msmt17/MSMT17_V2", ("train", "test"), "V2 (faces masked)"),
    ],
)
def test_every_usual_folder_and_both_editions_are_found(
    tmp_path: Path, folder: str, names: tuple[str, str], edition: str
) -> None:
    build(tmp_path / folder, names)
    found = msmt17(str(tmp_path))
    assert found.source == str(tmp_path / folder)
    assert found.variant == f"{edition}, train is list_train"
    assert found.train[0].path.parent == tmp_path / folder / names[0] / "0000"
    assert replace(msmt17(tmp_path / folder), source="") == found


def test_the_name_of_a_folder_above_is_not_parsed(tmp_path: Path) -> None:
    build(tmp_path / "my_data_07_set")
    assert [record.camid for record in msmt17(tmp_path / "my_data_07_set").query] == [10]


def test_a_link_to_an_edition_tells_which(tmp_path: Path) -> None:
    build(tmp_path / "store" / "MSMT17_V1")
    (tmp_path / "data").symlink_to(tmp_path / "store" / "MSMT17_V1")
    assert msmt17(tmp_path / "data").variant.startswith("V1, ")


def test_people_of_train_and_test_are_not_taken_for_one_another(tmp_path: Path) -> None:
    report, _ = check([msmt17(build(tmp_path), TRAINVAL)], cache_dir=None)
    assert not [problem for problem in report.problems if "are in train" in problem.message]


@pytest.mark.parametrize(
    ("lists", "data", "words"),
    [
        ({"train": None, "query": None}, DataConfig(), "lacks list_train.txt, list_query.txt; the lists come with"),
        ({"gallery": None}, DataConfig(), "beside train and test"),
        ({"val": None}, TRAINVAL, "lacks list_val.txt; "),
        ({"val": None}, TRAINVAL, "(or leave out data.msmt17_trainval)"),
        ({"train": "0000/0000_000_01_a_b.jpg\n"}, DataConfig(), "list_train.txt, row 1: '0000/0000_000_01_a_b.jpg'"),
        ({"query": "\n0000/0000_000_16_a_b.jpg 0\n"}, DataConfig(), "list_query.txt, row 2: '0000_000_16_a_b.jpg'"),
        ({"query": "0000/0000_000_00_a_b.jpg 0"}, DataConfig(), "no camera from 1 to 15"),
        ({"query": "0000/cat.jpg 0"}, DataConfig(), "no camera from 1 to 15"),
        ({"query": "../0000_000_01_a_b.jpg 0"}, DataConfig(), "leads out of the data set's folder"),
        ({"query": "/etc/0000_000_01_a_b.jpg 0"}, DataConfig(), "leads out of the data set's folder"),
        ({"query": "a/../../0000_000_01_a_b.jpg 0"}, DataConfig(), "leads out of the data set's folder"),
        ({"query": "a\0b/0000_000_01_a_b.jpg 0"}, DataConfig(), "leads out of the data set's folder"),
        ({"query": "0000/0000_000_01_a_b.jpg zero"}, DataConfig(), "expected a path and an identity"),
    ],
)
def test_lists_that_cannot_be_read_say_where_and_why(
    tmp_path: Path, lists: dict[str, str | None], data: DataConfig, words: str
) -> None:
    build(tmp_path, changed=lists)
    with pytest.raises(JointreidError) as caught:
        msmt17(tmp_path, data)
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_list_that_is_not_text(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "list_train.txt").write_bytes(b"\xff\xfe0\x000\x00")
    with pytest.raises(JointreidError, match=r"list_train\.txt: is not text in UTF-8"):
        msmt17(tmp_path)


def test_a_missing_val_list_matters_only_to_who_asks_for_it(tmp_path: Path) -> None:
    assert len(msmt17(build(tmp_path, changed={"val": None})).train) == 2


def test_images_that_a_list_names_but_are_absent(tmp_path: Path) -> None:
    lost = "".join(f"0007/0007_00{number}_03_0303noon_0100_1.jpg 7\n" for number in range(6))
    build(tmp_path, changed={"query": LISTS["list_query.txt"] + lost})
    (tmp_path / "train/0000/0000_000_01_0303morning_0008_0.jpg").unlink()
    with pytest.raises(JointreidError) as caught:
        msmt17(tmp_path)
    names, more = str(caught.value).partition("(")[2].partition(")")[0].split(" and ")
    assert more == "2 more"
    assert names.split(", ") == [
        "train/0000/0000_000_01_0303morning_0008_0.jpg",
        *(f"test/0007/0007_00{number}_03_0303noon_0100_1.jpg" for number in range(4)),
    ]
    assert "7 images that the lists name are not there" in str(caught.value)


def test_two_editions_are_refused(tmp_path: Path) -> None:
    build(tmp_path / "MSMT17_V1")
    build(tmp_path / "MSMT17_V2", ("mask_train_v2", "mask_test_v2"))
    with pytest.raises(JointreidError, match=r"holds MSMT17 more than once: .*V1, .*V2; give one"):
        msmt17(tmp_path)
    for name in ("mask_train_v2", "mask_test_v2"):
        (tmp_path / "MSMT17_V1" / name).mkdir()
    with pytest.raises(JointreidError, match=r"images of two editions, train, test and mask_train_v2, mask_test_v2"):
        msmt17(tmp_path / "MSMT17_V1")


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "MSMT17" / "train").mkdir(parents=True)
    with pytest.raises(JointreidError) as caught:
        msmt17(tmp_path)
    for words in ("no MSMT17 here", "MSMT17 lacks test; ", "mask_train_v2, mask_test_v2", *KNOWN_FOLDERS):
        assert words in str(caught.value)


# Converted to the layout of Market-1501


def build_converted(root: Path, query: str = "0000_c11_0001.jpg") -> Path:
    files = {
        "bounding_box_train": "0000_c1_0000.jpg 0781_c11_0015.jpg",
        "query": query,
        "bounding_box_test": "0000_c2_0.jpg",
    }
    for folder, names in files.items():
        (root / folder).mkdir(parents=True)
        for name in names.split():
            (root / folder / name).touch()
    return root


def test_a_conversion_has_cameras_of_two_digits_and_people_numbered_from_zero(tmp_path: Path) -> None:
    root = build_converted(tmp_path / "MSMT17_V1")
    found = msmt17(tmp_path)
    assert [(record.pid, record.camid) for record in found.train] == [("train-0000", 0), ("train-0781", 10)]
    assert [(record.pid, record.camid, record.distractor) for record in (*found.query, *found.gallery)] == [
        ("test-0000", 10, False),
        ("test-0000", 1, False),
    ]
    assert (found.source, found.cameras) == (str(root), tuple(range(15)))
    assert found.variant == "V1, converted to Market-1501's layout (train and val are usually merged there)"
    assert msmt17(build_converted(tmp_path / "own")).variant.startswith("edition unknown, converted")


@pytest.mark.parametrize("name", ["0000_c16_0001.jpg", "0000_c0_0001.jpg", "0000_c111_0001.jpg", "0000_c1s1_1.jpg"])
def test_a_camera_that_the_data_set_has_not_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(JointreidError, match=r"cameras 1 to 15"):
        msmt17(build_converted(tmp_path, name))


def test_a_conversion_cannot_add_val(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"data\.msmt17_trainval needs list_val\.txt"):
        msmt17(build_converted(tmp_path), TRAINVAL)


def test_beside_a_conversion_the_lists_count(tmp_path: Path) -> None:
    build_converted(tmp_path)
    assert msmt17(build(tmp_path)).variant.endswith("train is list_train")
