"""Folders of images become labelled: who, by which camera, in which split, and what was left out."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.config import CameraChoice, Layout
from jointreid.data.readers.market_style import market_style
from jointreid.ingest.images import FolderContents, Omissions, list_images
from jointreid.ingest.layouts import read_layout
from jointreid.ingest.mot import BoxChoice
from jointreid.ingest.nobody import set_nobody_apart
from jointreid.messages.errors import JointreidError
from tests.ingest.trees import build


def look(root: Path, layout: Layout = "auto", camera: CameraChoice = "auto") -> tuple[FolderContents, list[str]]:
    """Read a folder, and say what was left out."""
    omissions = Omissions()
    found = read_layout(root, layout, camera, BoxChoice(), omissions)
    images, notes = set_nobody_apart(found.images, {}, omissions)
    found = replace(found, images=tuple(images), notes=(*found.notes, *notes))
    return found, [str(dropped) for dropped in omissions.listed()]


def shown(found: FolderContents) -> list[tuple[str, str, str, int]]:
    """(key, split, pid, camid) of each image."""
    return sorted((image.key, image.split, image.record.pid, image.record.camid) for image in found.images)


# Which files are images


def test_clutter_is_ignored_and_other_files_are_counted(tmp_path: Path) -> None:
    names = ["a/1.JPG", "a/b c/ü,.png", "Thumbs.db", "a/.DS_Store", "a/._1.jpg", ".git/x.png", "notes.txt", "a/f.docx"]
    root = build(tmp_path, *names, "__MACOSX/a/1.jpg", "b.csv")
    omissions = Omissions()
    assert list_images(root, omissions) == [("a", "1.JPG"), ("a", "b c", "ü,.png")]
    (dropped,) = omissions.listed()
    assert (dropped.count, dropped.reason) == (2, "files that are no images")
    assert sorted(dropped.examples) == ["a/f.docx", "b.csv"]


def test_links_stay_in_the_folder(tmp_path: Path) -> None:
    build(tmp_path, "elsewhere/x.jpg", "elsewhere/more/y.jpg")
    root = build(tmp_path / "src", "a/1.jpg", ".store/2.jpg")
    links = {
        "a/out.jpg": tmp_path / "elsewhere/x.jpg",
        "outer": tmp_path / "elsewhere",
        "a/twin.jpg": root / "a/1.jpg",
        "a/stored.jpg": root / ".store/2.jpg",
        "a/stored twice.jpg": root / ".store/2.jpg",
        "loop": root,
        "a/inner": root / "a",
        "a/lost.jpg": root / "a/0.jpg",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    omissions = Omissions()
    assert list_images(root, omissions) == [("a", "1.jpg"), ("a", "stored twice.jpg")]
    assert {dropped.reason: sorted(dropped.examples) for dropped in omissions.listed()} == {
        "links that lead out of the folder, not followed": ["a/out.jpg", "loop", "outer"],
        "links to folders, not followed": ["a/inner"],
        "links to images that are there already": ["a/stored.jpg", "a/twin.jpg"],
        "links to nothing": ["a/lost.jpg"],
    }


def test_a_name_that_is_not_valid_unicode_is_counted(tmp_path: Path) -> None:
    root = build(tmp_path, "a/1.jpg")
    with open(os.fsencode(root / "a") + b"/caf\xe9.jpg", "wb"):
        pass
    omissions = Omissions()
    assert list_images(root, omissions) == [("a", "1.jpg")]
    assert [str(dropped) for dropped in omissions.listed()] == [
        "1 images whose names are not valid Unicode; rename them (a/caf\\udce9.jpg)"
    ]


def test_only_the_first_few_examples_are_shown() -> None:
    omissions = Omissions()
    for number in range(1200):
        omissions.add("odd things", str(number))
    omissions.add("others", count=0)
    assert [str(dropped) for dropped in omissions.listed()] == ["1,200 odd things (0, 1, 2 and 1,197 more)"]


# market


def test_market_folders_are_read_as_by_the_reader(tmp_path: Path) -> None:
    root = build(
        tmp_path,
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0002_c12_7.png",
        "bounding_box_train/0000_c1s1_0.jpg",
        "bounding_box_train/Thumbs.db",
        "query/0003_c1s1_000451_00.jpg",
        "bounding_box_test/0003_c2s1_000451_00.jpeg",
        "bounding_box_test/0000_c2s1_1.jpg",
        "bounding_box_test/-1_c2s1_1.jpg",
        "gt_bbox/0002_c1s1_000451_00.jpg",
    )
    found, dropped = look(root)
    reader = market_style(root, "x")
    for split, records in (("train", reader.train), ("query", reader.query), ("gallery", reader.gallery)):
        # Of a test folder beside a query, all is gallery.
        assert [image.record for image in found.images if image.split == split] == list(records)
    assert (found.layout, found.cameras, found.exclude_same_camera) == ("market", {0: "c1", 1: "c2", 11: "c12"}, True)
    assert found.policy == (
        "3 cameras, from the file names, which count them from 1: matches from the query's own camera are ignored"
    )
    assert found.notes == ("1 images with pid 0 are taken for distractors, as in Market-1501",)
    assert sorted(dropped) == [
        "1 distractors (pid 0) outside the gallery (bounding_box_train/0000_c1s1_0.jpg)",
        "1 images outside the folders of the splits (gt_bbox/0002_c1s1_000451_00.jpg)",
        "1 junk images (pid -1) (bounding_box_test/-1_c2s1_1.jpg)",
    ]


def test_flat_files_with_market_names_have_no_split(tmp_path: Path) -> None:
    found, dropped = look(build(tmp_path, "1_c1_a.jpg", "2_c3_b.png", "readme.txt"))
    assert shown(found) == [("1_c1_a.jpg", "", "1", 0), ("2_c3_b.png", "", "2", 2)]
    assert (found.layout, dropped) == ("market", [])


def test_images_that_do_not_fit_a_given_layout_are_left_out(tmp_path: Path) -> None:
    root = build(tmp_path, "1_c1_a.jpg", "cover.jpg", "alice/1.jpg")
    found, dropped = look(root, "market")
    assert shown(found) == [("1_c1_a.jpg", "", "1", 0)]
    assert sorted(dropped) == [
        "1 images in folders below (alice/1.jpg)",
        "1 images without labels in their names (cover.jpg)",
    ]
    found, dropped = look(root, "imagefolder")
    assert shown(found) == [("alice/1.jpg", "", "alice", 0)]
    assert dropped == ["2 images in no person's folder (1_c1_a.jpg, cover.jpg)"]


def test_one_camera_or_unknown_ones_have_no_camera_rule(tmp_path: Path) -> None:
    root = build(tmp_path, "1_c1_a.jpg", "2_c1_b.png")
    found, _ = look(root)
    assert (found.cameras, found.exclude_same_camera) == ({0: "c1"}, False)
    assert "one camera, from the file names" in found.policy
    found, _ = look(build(root, "2_c2_b.png"), camera="none")
    assert (found.cameras, found.exclude_same_camera) == ({}, False)
    assert found.policy == "camera ids are not used, as chosen: the domain counts as one camera, and every match counts"
    with pytest.raises(JointreidError, match="layout market has no folders per camera; pass --camera auto, name"):
        look(root, camera="folder")


# imagefolder


@pytest.mark.parametrize(
    ("names", "camids", "cameras", "words"),
    [
        # Every name tells.
        (["a/1_c3.jpg", "a/x/2_c1s4_9.jpg", "b/k_c2_.jpg"], [2, 0, 1], {0: "c1", 1: "c2", 2: "c3"}, "file names"),
        # Not every name does.
        (["a/1_c3.jpg", "a/2.jpg", "b/3_c1.jpg"], [0, 0, 0], {}, "camera ids are unknown"),
        # Folders called after cameras.
        (["a/cam3/1.jpg", "a/Camera 04/2.jpg", "b/cam3/x/1.jpg"], [3, 4, 3], {3: "cam3", 4: "Camera 04"}, "folders"),
        # Folders called so, but not for every image.
        (["a/cam3/1.jpg", "a/2.jpg", "b/cam3/1.jpg"], [0, 0, 0], {}, "camera ids are unknown"),
        # Folders called after days, and after places.
        (["a/monday/1.jpg", "a/friday/2.jpg", "b/monday/1.jpg"], [0, 0, 0], {}, "camera ids are unknown"),
        (["a/lobby/1.jpg", "a/door/2.jpg", "b/lobby/1.jpg"], [1, 0, 1], {0: "door", 1: "lobby"}, "folders"),
    ],
)
def test_cameras_come_from_the_first_source_that_every_image_has(
    tmp_path: Path, names: list[str], camids: list[int], cameras: dict[int, str], words: str
) -> None:
    found, dropped = look(build(tmp_path, *names))
    assert (found.layout, dropped) == ("imagefolder", [])
    assert shown(found) == sorted((name, "", name[0], camid) for name, camid in zip(names, camids, strict=True))
    assert (found.cameras, found.exclude_same_camera) == (cameras, len(cameras) > 1)
    assert words in found.policy


@pytest.mark.parametrize("other", ["C_3", "cctv3", "cam03"])
def test_two_names_of_one_number_are_not_taken_for_one_camera(tmp_path: Path, other: str) -> None:
    with pytest.raises(JointreidError, match=rf"cameras {other} and cam3|cameras cam3 and {other}"):
        look(build(tmp_path, "a/cam3/1.jpg", "a/cam4/2.jpg", f"b/{other}/1.jpg"))


def test_folders_and_names_that_might_be_cameras_are_reported(tmp_path: Path) -> None:
    names = (f"{pid}/{folder}/1.jpg" for pid in "abcd" for folder in ("red", "blue"))
    found, _ = look(build(tmp_path / "1", *names))
    assert found.notes[0].startswith("the folders of people contain folders (blue, red); they are not used as cameras")
    found, _ = look(build(tmp_path / "2", "a/1_c1.jpg", "b/2.jpg"))
    assert found.notes == ("1 of 2 file names have no camera id (2.jpg); none is used",)
    found, _ = look(build(tmp_path / "3", "a/1.jpg", "b/2.jpg"))
    assert found.notes == ()


@pytest.mark.parametrize(
    ("folders", "camids"), [(("door", "lobby"), (0, 1)), (("7", "cam2"), (7, 2)), (("7", "lobby"), (0, 1))]
)
def test_folders_of_any_name_are_cameras_if_requested(
    tmp_path: Path, folders: tuple[str, str], camids: tuple[int, int]
) -> None:
    one, other = folders
    root = build(tmp_path, f"a/{one}/1.jpg", f"a/{other}/x/2.jpg")
    found, _ = look(root, camera="folder")
    assert [image.record.camid for image in found.images] == list(camids)
    assert found.cameras == dict(zip(camids, folders, strict=True))
    assert list(found.cameras) == sorted(camids)
    with pytest.raises(JointreidError, match=r"1 of 3 images lie directly in their person's folder \(3.jpg\)"):
        look(build(root, "a/3.jpg"), camera="folder")


def test_camera_name_requires_an_id_in_every_name(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"1 of 2 file names have no camera id \(cam1/2.jpg\)"):
        look(build(tmp_path, "a/cam1/1_c1.jpg", "a/cam1/2.jpg"), camera="name")


@pytest.mark.parametrize(
    ("folders", "splits", "note"),
    [
        (["train", "query", "gallery"], ["train", "query", "gallery"], ""),
        (["Train", "Test"], ["train", "test"], ""),
        (["train", "val"], ["train", "test"], ""),
        (["train", "val", "test"], ["train", "train", "test"], "val joins train"),
        (["train", "query", "test"], ["train", "query", "gallery"], ""),
        (["bounding_box_train", "bounding_box_test"], ["train", "test"], ""),
        (["query", "gallery"], ["query", "gallery"], ""),
        (["train_all", "train", "val", "query", "gallery", "multi-query"],
         ["train", "", "", "query", "gallery", ""], "train is the folder train_all"),
    ],
)  # fmt: skip
def test_folders_of_splits(tmp_path: Path, folders: list[str], splits: list[str], note: str) -> None:
    found, dropped = look(build(tmp_path, *(f"{folder}/bob/x/1.jpg" for folder in folders)))
    expected = [
        (f"{folder}/bob/x/1.jpg", split, "bob", 0) for folder, split in zip(folders, splits, strict=True) if split
    ]
    assert shown(found) == sorted(expected)
    assert bool(dropped) == ("" in splits)
    assert bool(found.notes[:-1]) == bool(note)
    assert note in found.notes[0]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train/a/1.jpg"], "there is only train; to split it, give that folder"),
        (["test/a/1.jpg"], "there is only test; to split it"),
        (["train_all/a/1.jpg", "val/a/2.jpg"], "there is only train_all, val"),
        (["train/a/1.jpg", "gallery/a/1.jpg"], "there are gallery, train, but no query"),
        (["train/a/1.jpg", "query/a/1.jpg"], "there are query, train, but no gallery"),
        (["query/a/1.jpg", "gallery/a/1.jpg", "test/a/1.jpg"], "query, gallery and also test"),
        (
            ["train/a/1.jpg", "test/a/1.jpg", "alice/1.jpg"],
            r"splits \(test, train\) lie beside other images \(alice\)",
        ),
        (["train/a/1.jpg", "test/a/1.jpg", "1.jpg"], r"lie beside other images \(files\)"),
    ],
)
def test_incomplete_splits_are_refused(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(JointreidError, match=words) as caught:
        look(build(tmp_path, *names))
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_junk_and_odd_names_of_people(tmp_path: Path) -> None:
    found, dropped = look(build(tmp_path, "-1/1.jpg", "0000/1.jpg", "Zoë, A/1.jpg"))
    assert [image.record.pid for image in found.images] == ["0000", "Zoë, A"]
    assert not any(image.record.distractor for image in found.images)
    assert dropped == ["1 junk images (pid -1) (-1/1.jpg)"]


# No layout


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ["contains no images (.jpg, "]),
        (["a.docx"], ["contains no images", "found 1 files that are no images (a.docx)"]),
        (["1.jpg", "2_c1_1.jpg"], ["2 images outside the folder of a person (1.jpg, 2_c1_1.jpg), 1 with labels"]),
        (["1.jpg", "alice/2.jpg", "bob/3.jpg"], ["1 images outside the folder", "2 folders with images (alice, bob)"]),
        (["bbox/0001_c1_1.jpg", "bbox/0002_c1_1.jpg", "probe/0001_c1_1.jpg"],
         ["2 folders with images (bbox, probe)", "1 of them hold several people, by their file names (bbox); if each"]),
    ],
)  # fmt: skip
def test_an_unclear_folder_is_refused_with_a_description(tmp_path: Path, names: list[str], words: list[str]) -> None:
    with pytest.raises(JointreidError) as caught:
        look(build(tmp_path, *names))
    message = str(caught.value)
    assert [word for word in words if word not in message] == []
    assert str(tmp_path) in message
    if names and names != ["a.docx"]:
        assert [layout for layout in ("market: ", "imagefolder: ", "mot: ", "--layout") if layout not in message] == []


def test_a_folder_with_several_people_by_name_is_one_person_if_requested(tmp_path: Path) -> None:
    found, _ = look(build(tmp_path, "x/0001_c1_1.jpg", "x/0002_c1_1.jpg", "y/0001_c1_1.jpg"), "imagefolder")
    assert [image.record.pid for image in found.images] == ["x", "x", "y"]
