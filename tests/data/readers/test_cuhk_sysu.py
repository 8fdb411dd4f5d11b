"""The CUHK-SYSU reader: the rule of four images, no cameras, and crops of other makers told apart."""

from pathlib import Path

import pytest

from jointreid.data.preflight import check
from jointreid.data.readers import READERS
from jointreid.data.readers.cuhk_sysu import KNOWN_PARENTS, cuhk_sysu
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError

FILES = {
    "train": [
        *(f"00012_s{number}_{number:07d}_0.jpg" for number in range(4)),  # four images: kept
        *(f"00007_s{number}_{number:07d}_1.jpg" for number in range(4, 7)),  # three: not
        "00000_s9_0000009_0.jpg",
        "Thumbs.db",
    ],
    "query": ["05533_s100_0000000_0.jpg", "05534_s100_0000001.jpg"],
    "gallery": ["05533_s101_0000000_1.jpg", "05534_s102_0000001_0.jpg", "._05533_s101_0000000_1.jpg"],
    "combine": ["anything.jpg"],
}


def build(root: Path, **changed: list[str]) -> Path:
    for folder, names in (FILES | changed).items():
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).touch()
    return root


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_train_keeps_identities_with_four_images_and_nothing_has_a_camera(tmp_path: Path) -> None:
    root = build(tmp_path / "cuhksysu4reid")
    found = READERS["cuhk_sysu"](tmp_path)
    assert found == Domain(
        "cuhk_sysu",
        train=tuple(ImageRecord(root / "train" / f"00012_s{n}_{n:07d}_0.jpg", "00012", 0) for n in range(4)),
        query=(
            ImageRecord(root / "query" / "05533_s100_0000000_0.jpg", "05533", 0),
            ImageRecord(root / "query" / "05534_s100_0000001.jpg", "05534", 0),
        ),
        gallery=(
            ImageRecord(root / "gallery" / "05533_s101_0000000_1.jpg", "05533", 0),
            ImageRecord(root / "gallery" / "05534_s102_0000001_0.jpg", "05534", 0),
        ),
        exclude_same_camera=False,
        cameras=(0,),
        terms=found.terms,
    )
    assert (found.source, found.variant) == (str(root), "of 3 identities in train the 1 with 4 images or more")
    assert "by e-mail, for non-commercial research" in found.terms
    assert "http" not in found.terms


def test_every_query_has_a_match_though_there_are_no_cameras(tmp_path: Path) -> None:
    report, _ = check([cuhk_sysu(build(tmp_path))], cache_dir=None)
    assert not [problem for problem in report.problems if "queries" in problem.message]


def test_identity_zero_is_a_person(tmp_path: Path) -> None:
    zero = [f"00000_s{number}_{number:07d}_0.png" for number in range(4)]
    assert cuhk_sysu(build(tmp_path, train=zero)).train_pids == ("00000",)


@pytest.mark.parametrize("parent", ["", *KNOWN_PARENTS])
def test_every_usual_folder_is_found(tmp_path: Path, parent: str) -> None:
    root = build(tmp_path / parent / "cuhksysu4reid")
    for path in (tmp_path, root):
        assert cuhk_sysu(str(path)).source == str(root)


@pytest.mark.parametrize(
    "name", ["p05533_s100_1.jpg", "p05533_n01_s00001_hard0.png", "05533_c1_0000000.jpg", "-1_s100_0000000_0.jpg"]
)
def test_a_file_without_labels_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(JointreidError, match=r"query: 1 files have no labels .*00123_s456_0000789_0\.jpg") as caught:
        cuhk_sysu(build(tmp_path, query=[name]))
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("cropped_images/p11422_s16929_1.jpg", "torchreid and fast-reid"),
        ("cuhksysu/cropped_images/p11422_s16929_1.jpg", "torchreid and fast-reid"),
        ("cuhk_sysu/cropped_image/p00001_n01_s00001_hard0.png", "MetaBIN"),
        ("CUHK-SYSU/bounding_box_train/0001_c1_0001.jpg", "BAU"),
    ],
)
def test_crops_of_other_makers_are_named_and_refused(tmp_path: Path, file: str, words: str) -> None:
    touch(tmp_path / file)
    for path in (tmp_path, (tmp_path / file).parent):
        with pytest.raises(JointreidError) as caught:
            cuhk_sysu(path)
        for word in (words, "TestG50.mat", "`jointreid data prepare cuhk_sysu SRC DST`"):
            assert word in str(caught.value)


@pytest.mark.parametrize("file", ["annotation/test/train_test/Train.mat", "Image/SSM/s1.jpg"])
@pytest.mark.parametrize("parent", ["", "CUHK-SYSU", "cuhk-sysu/CUHK-SYSU"])
def test_a_raw_tree_names_the_command(tmp_path: Path, parent: str, file: str) -> None:
    touch(tmp_path / parent / file)
    touch(tmp_path / parent / "cropped_images/p11422_s16929_1.jpg")
    with pytest.raises(JointreidError) as caught:
        cuhk_sysu(tmp_path)
    assert f"`jointreid data prepare cuhk_sysu {tmp_path / parent} DST`" in str(caught.value)


def test_a_converted_folder_inside_a_raw_tree_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "CUHK-SYSU/Image/SSM/s1.jpg")
    touch(tmp_path / "CUHK-SYSU/cropped_images/p11422_s16929_1.jpg")
    build(tmp_path / "CUHK-SYSU/cuhksysu4reid")
    assert len(cuhk_sysu(tmp_path).train) == 4


def test_a_missing_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "cuhksysu4reid" / "train").mkdir(parents=True)
    with pytest.raises(JointreidError, match=r"cuhksysu4reid lacks query, gallery; expected the folders train, query"):
        cuhk_sysu(tmp_path)


def test_two_copies_are_refused(tmp_path: Path) -> None:
    build(tmp_path / "cuhksysu4reid")
    build(tmp_path / "cuhk_sysu" / "cuhksysu4reid")
    with pytest.raises(JointreidError, match="more than once"):
        cuhk_sysu(tmp_path)
