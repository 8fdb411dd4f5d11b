"""The CUHK03 reader against both converted layouts, with stale paths, renumbered identities and either kind of box."""

import json
from pathlib import Path
from typing import Any

import pytest

from jointreid.config import Cuhk03Boxes, DataConfig
from jointreid.data.preflight import check
from jointreid.data.readers import READERS
from jointreid.data.readers.cuhk03 import KNOWN_FOLDERS, cuhk03
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError

DETECTED = DataConfig(cuhk03="detected")
SPLIT: dict[str, Any] = {
    "train": [["images_labeled/1_001_1_01.png", 3, 0], ["/home/me/data/cuhk03/images_labeled/1_001_2_06.png", 3, 1]],
    "query": [["C:\\data\\cuhk03\\images_labeled\\5_001_1_01.png", 1461, 0]],
    "gallery": [["1_001_2_07.png", 12, 1], ["./x/5_001_2_09.png", 1461, 1]],
    "num_train_pids": 1,
}


def build_json(root: Path, split: Any = SPLIT, boxes: Cuhk03Boxes = "labeled", whole: Any = None) -> Path:
    images = root / f"images_{boxes}"
    images.mkdir(parents=True)
    for name in ("1_001_1_01", "1_001_2_06", "5_001_1_01", "1_001_2_07", "5_001_2_09", "2_009_1_01"):
        (images / f"{name}.png").touch()
    (root / f"splits_new_{boxes}.json").write_text(json.dumps([split] if whole is None else whole))
    return root


def build_market(root: Path, suffix: str = "png", query: str = "0002_c1_3") -> Path:
    files = {"bounding_box_train": "0001_c1_1 0001_c2_6", "query": query, "bounding_box_test": "0002_c2_7"}
    for folder, names in files.items():
        (root / folder).mkdir(parents=True)
        (root / folder / "Thumbs.db").touch()
        for name in names.split():
            (root / folder / f"{name}.{suffix}").touch()
    return root


def test_a_json_file_is_read_by_the_last_part_of_its_paths(tmp_path: Path) -> None:
    found = READERS["cuhk03"](build_json(tmp_path))
    images = tmp_path / "images_labeled"
    assert found == Domain(
        "cuhk03",
        train=(
            ImageRecord(images / "1_001_1_01.png", "0003", 0),
            ImageRecord(images / "1_001_2_06.png", "0003", 1),
        ),
        query=(ImageRecord(images / "5_001_1_01.png", "1461", 0),),
        gallery=(
            ImageRecord(images / "1_001_2_07.png", "0012", 1),
            ImageRecord(images / "5_001_2_09.png", "1461", 1),
        ),
        cameras=(0, 1),
        terms=found.terms,
    )
    assert (found.source, found.variant) == (str(tmp_path), "labeled boxes")
    assert "on request" in found.terms
    assert "http" not in found.terms


def test_train_identities_numbered_anew_are_not_those_of_the_test(tmp_path: Path) -> None:
    train = [["1_001_1_01.png", 0, 0], ["1_001_2_06.png", 0, 1], ["2_009_1_01.png", 1, 0]]
    test = {"query": [["5_001_1_01.png", 1, 0]], "gallery": [["5_001_2_09.png", 1, 1]]}
    found = cuhk03(build_json(tmp_path, {"train": train, **test}))
    assert found.train_pids == ("train-0000", "train-0001")
    assert {record.pid for record in (*found.query, *found.gallery)} == {"0001"}
    report, _ = check([found], cache_dir=None)
    assert not [problem for problem in report.problems if "are in train" in problem.message]


def test_an_identity_that_leaks_into_the_test_is_still_found(tmp_path: Path) -> None:
    leaking = SPLIT | {"gallery": [["1_001_2_07.png", 3, 1]]}
    report, _ = check([cuhk03(build_json(tmp_path, leaking))], cache_dir=None)
    assert [problem for problem in report.problems if "are in train" in problem.message]


@pytest.mark.parametrize("suffix", ["png", "jpg", "PNG"])
def test_the_layout_of_market_1501(tmp_path: Path, suffix: str) -> None:
    root = build_market(tmp_path / "cuhk03-np" / "labeled", suffix)
    found = cuhk03(tmp_path)
    assert found.train == (
        ImageRecord(root / "bounding_box_train" / f"0001_c1_1.{suffix}", "0001", 0),
        ImageRecord(root / "bounding_box_train" / f"0001_c2_6.{suffix}", "0001", 1),
    )
    assert (found.source, found.variant, found.cameras) == (str(root), "labeled boxes", (0, 1))


@pytest.mark.parametrize("folder", ["", *KNOWN_FOLDERS])
@pytest.mark.parametrize(
    ("inside", "boxes"),
    [("labeled", "labeled"), ("detected", "detected"), ("cuhk-label", "labeled"), ("cuhk-detect", "detected")],
)
def test_every_usual_folder_is_found(tmp_path: Path, folder: str, inside: str, boxes: Cuhk03Boxes) -> None:
    root = build_market(tmp_path / folder / inside)
    for path in (tmp_path, tmp_path / folder, root):
        found = cuhk03(str(path), DataConfig(cuhk03=boxes))
        assert (found.source, found.variant) == (str(root), f"{boxes} boxes")


def test_the_option_chooses_where_both_boxes_are(tmp_path: Path) -> None:
    build_json(tmp_path)
    build_json(tmp_path, SPLIT | {"train": [["2_009_1_01.png", 9, 0]]}, "detected")
    assert cuhk03(tmp_path).variant == "labeled boxes"
    found = cuhk03(tmp_path, DETECTED)
    assert (found.variant, found.train_pids) == ("detected boxes", ("0009",))
    assert found.train[0].path.parent.name == "images_detected"


@pytest.mark.parametrize("converted", [True, False])
def test_only_the_other_boxes_says_what_to_set(tmp_path: Path, converted: bool) -> None:
    if converted:
        build_json(tmp_path)
    else:
        build_market(tmp_path / "labeled")
    with pytest.raises(
        JointreidError, match=r"holds the labeled boxes .* not the detected ones; .*\(--cuhk03 labeled\)"
    ):
        cuhk03(tmp_path, DETECTED)


def test_a_folder_that_does_not_tell_the_boxes_is_read_and_says_so(tmp_path: Path) -> None:
    build_market(tmp_path / "cuhk03-np")
    assert cuhk03(tmp_path).variant == "labeled or detected boxes, the folder does not say which"
    assert cuhk03(tmp_path, DETECTED).source == str(tmp_path / "cuhk03-np")


def test_two_copies_are_refused(tmp_path: Path) -> None:
    build_json(tmp_path)
    build_market(tmp_path / "cuhk03-np" / "labeled")
    with pytest.raises(JointreidError, match=r"more than once: .*, .*cuhk03-np/labeled; give one"):
        cuhk03(tmp_path)


@pytest.mark.parametrize("name", ["0002_c3_1", "0002_c11_1", "0002_c0_1", "-1_c1_1", "1_002_1_03"])
def test_a_name_of_another_kind_is_refused_not_misread(tmp_path: Path, name: str) -> None:
    build_market(tmp_path / "labeled", query=name)
    with pytest.raises(JointreidError, match=r"cameras 1 and 2") as caught:
        cuhk03(tmp_path)
    assert name in str(caught.value)


@pytest.mark.parametrize("place", ["", "cuhk03_release", "cuhk03/cuhk03_release", "CUHK03/cuhk03_release"])
def test_a_raw_tree_names_the_command(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "my data" / place
    folder.mkdir(parents=True)
    (folder / "cuhk-03.mat").touch()
    source = folder.parent if folder.name == "cuhk03_release" else folder
    with pytest.raises(JointreidError) as caught:
        cuhk03(tmp_path / "my data")
    assert f"`jointreid data prepare cuhk03 '{source}' DST`" in str(caught.value)


def test_a_raw_tree_beside_converted_images_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "cuhk03_release").mkdir()
    (tmp_path / "cuhk03_release" / "cuhk-03.mat").touch()
    assert cuhk03(build_json(tmp_path)).variant == "labeled boxes"


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(JointreidError) as caught:
        cuhk03(tmp_path, DETECTED)
    for words in ("images_detected and splits_new_detected.json", "bounding_box_train", "cuhk-detect", "cuhk03-np"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        ({"train": []}, "dict; expected a list with the one split"),
        ([SPLIT] * 20, "a list of 20; expected a list with the one split"),
        ([], "a list of 0"),
        ([[]], "a list of 1"),
        ([{"train": [], "query": []}], "gallery: missing"),
        ([SPLIT | {"query": {}}], "query: no list"),
        ([SPLIT | {"query": [["a.png", 1]]}], "query[0]: ['a.png', 1]; expected [path, pid, camid]"),
        ([SPLIT | {"train": [*SPLIT["train"], [1, 2, 0]]}], "train[2]: [1, 2, 0]"),
        ([SPLIT | {"query": [["1_001_1_01.png", "3", 0]]}], "query[0]"),
        ([SPLIT | {"query": [["1_001_1_01.png", 3.0, 0]]}], "query[0]"),
        ([SPLIT | {"query": [["1_001_1_01.png", True, 0]]}], "query[0]"),
        ([SPLIT | {"query": [["1_001_1_01.png", 3, False]]}], "query[0]"),
        ([SPLIT | {"query": [["1_001_1_01.png", -1, 0]]}], "pid >= 0"),
        ([SPLIT | {"query": [["1_001_1_01.png", 3, 2]]}], "camid 0 or 1"),
        ([SPLIT | {"query": [["../..", 3, 0]]}], "1 images that splits_new_labeled.json names are not there (..)"),
        ([SPLIT | {"query": [["a/none.png", 3, 0]]}], "not there (none.png)"),
    ],
)
def test_a_json_file_of_another_shape_is_refused(tmp_path: Path, whole: Any, words: str) -> None:
    build_json(tmp_path, whole=whole)
    with pytest.raises(JointreidError) as caught:
        cuhk03(tmp_path)
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[{", b"\xff\xfe[", b"[" * 100_000, b"[" + b"9" * 5_000 + b"]"])
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    build_json(tmp_path)
    (tmp_path / "splits_new_labeled.json").write_bytes(content)
    with pytest.raises(JointreidError, match=r"splits_new_labeled\.json: not JSON"):
        cuhk03(tmp_path)


def test_images_without_their_json_file(tmp_path: Path) -> None:
    build_json(tmp_path)
    (tmp_path / "splits_new_labeled.json").unlink()
    with pytest.raises(JointreidError, match=r"splits_new_labeled\.json: is not there, but images_labeled is"):
        cuhk03(tmp_path)
