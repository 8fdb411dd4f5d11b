"""A tree of any kind: a camera, split, day or place is never taken for a person; two readings are asked about."""

import re
from pathlib import Path

import pytest

from jointreid.ingest import ingest
from jointreid.ingest.images import FolderContents, Omissions
from jointreid.ingest.layouts import read_layout
from jointreid.ingest.mot import BoxChoice
from jointreid.messages.errors import JointreidError
from tests.ingest.trees import DAYS, PEOPLE, build, grid, look


@pytest.mark.parametrize(
    ("names", "people", "cameras"),
    [
        # Cameras above people, by the names of the folders.
        (grid(("cam1", "cam2"), PEOPLE), PEOPLE, ["cam1", "cam2"]),
        (grid(("c001", "c002", "c020"), ("0001", "0002")), ("0001", "0002"), ["c001", "c002", "c020"]),
        (grid(("camera_a", "camera_b"), ("1", "2", "3")), ("1", "2", "3"), ["camera_a", "camera_b"]),
        (grid(("CAM 01", "CAM 02"), ("Zoë", "李雷"), name="1.JPG"), ("Zoë", "李雷"), ["CAM 01", "CAM 02"]),
        (grid(("RGB", "IR"), ("7", "8")), ("7", "8"), ["IR", "RGB"]),
        # One camera only, and one that saw nobody else.
        (grid(("cam1",), PEOPLE), PEOPLE, ["cam1"]),
        # Places, and folders whose inner names recur.
        (grid(("entrance", "exit"), ("alice", "bob", "carol")), ("alice", "bob", "carol"), ["entrance", "exit"]),
        (grid(("hq", "site"), PEOPLE), PEOPLE, ["hq", "site"]),
        # Cameras below people.
        (grid(PEOPLE, ("cam1", "cam2")), PEOPLE, ["cam1", "cam2"]),
        (grid(("p1", "p2"), ("entrance", "exit")), ("p1", "p2"), ["entrance", "exit"]),
        # A folder for each person and camera.
        (grid(("cam1_al", "cam2_al", "cam1_bo", "cam2_bo")), ("al", "bo"), ["cam1", "cam2"]),
        (grid(("al_c1", "al_c2", "bo_c1")), ("al", "bo"), ["c1", "c2"]),
        (grid(("al cam1", "al cam2", "bo cam1")), ("al", "bo"), ["cam1", "cam2"]),
        # Years and months.
        (grid(("2024", "2025"), ("01", "02"), PEOPLE), PEOPLE, []),
        # Days, clothes, sequences and batches are none of both.
        (grid(PEOPLE, DAYS), PEOPLE, []),
        (grid(DAYS, PEOPLE), PEOPLE, []),
        (grid(("cam1", "cam2"), DAYS, PEOPLE), PEOPLE, ["cam1", "cam2"]),
        (grid(PEOPLE, ("clothes1", "clothes2"), ("cam1", "cam2")), PEOPLE, ["cam1", "cam2"]),
        (grid(("batch_1", "batch_2"), ("0001", "0002")), ("0001", "0002"), []),
        (grid(("scene1", "scene2"), ("cam1", "cam2"), ("0001", "0002")), ("0001", "0002"), ["cam1", "cam2"]),
        (["0001/0001T1/1.jpg", "0002/0002T1/1.jpg", "0002/0002T2/1.jpg"], ("0001", "0002"), []),
        # Folders around everything.
        (grid(("archive",), ("people",), PEOPLE), PEOPLE, []),
        (grid(("archive",), ("cam1", "cam2"), PEOPLE), PEOPLE, ["cam1", "cam2"]),
        # Mixed depths below a person.
        (["alice/1.jpg", "alice/2024-05-01/1.jpg", "bob/1.jpg"], ("alice", "bob"), []),
        # People in the names of files.
        (["cam_x/001_5.bmp", "cam_y/001_7.bmp", "cam_x/002_5.bmp", "cam_y/002_7.bmp"], ("001", "002"),
         ["cam_x", "cam_y"]),
        (["cam1/person_07_a.png", "cam2/person_07_b.png", "cam2/person_08_a.png"], ("07", "08"), ["cam1", "cam2"]),
        (["lobby/alice-1.png", "door/alice-2.png", "door/bob-1.png"], ("alice", "bob"), ["door", "lobby"]),
        (["0_c0_1.jpg", "0_c1_1.jpg", "1_c0_1.jpg"], ("0", "1"), ["c0", "c1"]),
        (["p1_cam1_1.jpg", "p1_cam2_1.jpg", "p2_cam1_1.jpg"], ("p1", "p2"), ["cam1", "cam2"]),
        (["cam1_p1_1.jpg", "cam2_p1_1.jpg", "cam1_p2_1.jpg"], ("p1", "p2"), ["cam1", "cam2"]),
        (["cam1_0001_1.jpg", "cam2_0001_2.jpg", "cam1_0002_1.jpg"], ("0001", "0002"), ["cam1", "cam2"]),
        (["cam1/frame_09_id_3.jpg", "cam2/frame_12_id_3.jpg", "cam2/frame_09_id_4.jpg"], ("3", "4"), ["cam1", "cam2"]),
        (["1_c001_1.jpg", "1_c020_1.jpg", "2_c001_1.jpg"], ("1", "2"), ["c1", "c20"]),
    ],
)  # fmt: skip
def test_a_tree_with_one_meaning_is_read_so(
    tmp_path: Path, names: list[str], people: tuple[str, ...], cameras: list[str]
) -> None:
    found = look(build(tmp_path, *names))
    assert {image.record.pid for image in found.images} == set(people)
    assert sorted(found.cameras.values()) == cameras
    assert len(found.images) == len(names)
    for image in found.images:
        if cameras:
            folder = found.cameras[image.record.camid]
            parts = image.record.path.relative_to(tmp_path).as_posix()
            if folder not in image.record.path.parts:  # then it is a part of the name, with or without zeros before it
                assert folder in re.split("[_ /]", parts) or folder[1:] == str(int(parts.split("_")[1][1:]))


@pytest.mark.parametrize(
    ("names", "patterns"),
    [
        # Two by two, and no word that tells.
        (["a/1/1.jpg", "a/2/2.jpg", "b/1/1.jpg"], ["{camera}/{pid}/{frame}", "{pid}/{sequence}/{frame}"]),
        (grid(("alice", "bob"), ("walk", "run", "sit")), ["{camera}/{pid}/{frame}", "{pid}/{sequence}/{frame}"]),
        # Inner folders that never recur: groups of people, or people with tracks.
        (["x/ann/1.jpg", "x/ben/1.jpg", "y/cat/1.jpg"], ["{pid}/{sequence}/{frame}", "*/{pid}/{frame}"]),
        # Cameras with frames, or people who are called so.
        (grid(("cam1", "cam2"), name="1.jpg"), ["{camera}/{pid}", "{pid}/{frame}"]),
        (["cam1/1.jpg", "cam1/2.jpg", "cam2/3.jpg"], ["{camera}/{pid}", "{pid}/{frame}"]),
        # More names than folders, each in both of them.
        ([f"{place}/{who}_1.jpg" for place in ("hq", "site") for who in PEOPLE],
         ["{pid}/{frame}", "{camera}/{pid}_{frame}"]),
        # Pairs of cameras that are called like people, with the people in the names.
        ([f"P{pair}/cam{camera}/{pid:03}_{k}.png" for pair in (1, 2) for camera in (1, 2) for pid in range(9)
          for k in (1, 2)], ["{pid}/{camera}/{frame}", "*/{camera}/{pid}_{frame}"]),
        # Two folders of the same numbers: two people, or two cameras.
        ([f"{side}/{number:04}.jpg" for side in ("left", "right") for number in range(9)],
         ["{pid}/{frame}", "{camera}/{pid}"]),
        # Two parts of the names before the camera.
        (["1_5_c1_1.jpg", "1_6_c2_1.jpg", "2_5_c1_2.jpg"], ["{pid}_*_{camera}_{frame}", "*_{pid}_{camera}_{frame}"]),
    ],
)  # fmt: skip
def test_two_readings_are_asked_about(tmp_path: Path, names: list[str], patterns: list[str]) -> None:
    build(tmp_path, *names)
    with pytest.raises(JointreidError, match="readings fit; choose one with --pattern") as caught:
        look(tmp_path)
    for pattern in patterns:
        assert f"--pattern '{pattern}'" in str(caught.value)
        assert look(tmp_path, pattern).images


def test_a_folder_for_each_view_of_a_person_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"2 readings fit.*\n.*\n.*each of 2 names stands with"):
        look(build(tmp_path, *grid(("al_front", "al_back", "bo_front", "bo_back"))))


@pytest.mark.parametrize("kind", ["masks", "Pose", "crops"])
def test_masks_and_poses_are_not_taken_for_a_camera(tmp_path: Path, kind: str) -> None:
    with pytest.raises(JointreidError, match=r"2 readings fit.*\n.*\n.*named after kinds of images"):
        look(build(tmp_path, *grid(("photos", kind), PEOPLE)))


def test_folders_are_cameras_wherever_they_stand_if_camera_folder_says_so(tmp_path: Path) -> None:
    def read(root: Path) -> FolderContents:
        return read_layout(root, "auto", "folder", BoxChoice(), Omissions())

    found = read(build(tmp_path / "above", *grid(("hq", "site"), PEOPLE)))
    assert ({image.record.pid for image in found.images}, found.cameras) == (set(PEOPLE), {0: "hq", 1: "site"})
    found = read(build(tmp_path / "below", *grid(PEOPLE, ("hq", "site"))))
    assert ({image.record.pid for image in found.images}, found.cameras) == (set(PEOPLE), {0: "hq", 1: "site"})
    with pytest.raises(JointreidError, match="2 readings fit; choose one with --pattern"):
        read(build(tmp_path / "either", *grid(("hq", "site"), ("x", "y"))))


@pytest.mark.parametrize("names", [["2024-05-01/1.jpg", "2024-05-02/1.jpg"], ["1.jpg", "2.jpg"]])
def test_a_tree_that_names_nobody_is_answered_with_the_table_to_write(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(JointreidError) as caught:
        look(build(tmp_path, *names))
    assert "domain,split,path,pid,camid\n" in str(caught.value)
    assert f"shop,train,{names[0]},WHO,WHICH_CAMERA" in str(caught.value)


def test_splits_stand_above_or_below_cameras(tmp_path: Path) -> None:
    names = grid(("train", "test"), ("cam1", "cam2"), ("0001", "0002", "0003"))
    found = look(build(tmp_path / "above", *names))
    assert {(image.split, image.record.pid) for image in found.images} == {
        (split, pid) for split in ("train", "test") for pid in ("0001", "0002", "0003")
    }
    assert found.reading == "SPLIT/CAMERA/PERSON/IMAGE"
    found = look(build(tmp_path / "below", *grid(("cam1", "cam2"), ("train", "test"), ("0001", "0002", "0003"))))
    assert {image.split for image in found.images} == {"train", "test"}
    assert found.cameras == {1: "cam1", 2: "cam2"}


def test_the_reading_is_shown_before_anything_is_written(tmp_path: Path) -> None:
    source = build(tmp_path / "shop", *grid(("cam1", "cam2"), PEOPLE))
    shown: list[str] = []

    def show(text: str) -> None:
        assert not (tmp_path / "m.csv").exists()
        shown.append(text)

    summary = ingest(source, tmp_path / "m.csv", on_reading=show)
    assert shown[0].splitlines() == [
        "read as CAMERA/PERSON/IMAGE: 2 cameras, 6 people; for example",
        "  cam1/alice/1.jpg is person alice, camera cam1 (camid 1), split drawn",
        "  cam2/alice/1.jpg is person alice, camera cam2 (camid 2), split drawn",
        "  cam2/frank/1.jpg is person frank, camera cam2 (camid 2), split drawn",
    ]
    assert (tmp_path / "m.csv").exists()
    plain = summary.to_dict()
    assert plain["reading"] == shown[0]
    assert plain["pattern"] == "{camera}/{pid}/{frame}"
    assert len(plain["examples"]) == 3


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    source = build(tmp_path / "shop", *grid(("cam1", "cam2"), PEOPLE))
    summary = ingest(source, tmp_path / "m.csv", dry_run=True)
    assert summary.render().splitlines()[-1] == f"dry run: nothing was written; {tmp_path}/m.csv would be"
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize(
    "name", ["x_c{}_1.jpg", "c{}_1.jpg", "cam{}-7.jpg", "frame7_cam{}.jpg", "0001C{}T0001F001.jpg"]
)
def test_cameras_in_file_names_inside_the_folders_of_people_are_used(tmp_path: Path, name: str) -> None:
    found = look(build(tmp_path, *(f"{pid}/{name.format(camera)}" for pid in PEOPLE for camera in (1, 2))))
    assert {image.record.pid for image in found.images} == set(PEOPLE)
    assert found.cameras == {0: "c1", 1: "c2"}


def test_cameras_that_are_counted_anew_in_each_place_are_different(tmp_path: Path) -> None:
    found = look(build(tmp_path, *grid(("store_1", "store_2"), ("cam1", "cam2"), PEOPLE)))
    assert found.pattern == "{camera}/{camera}/{pid}/{frame}"
    assert sorted(found.cameras.values()) == ["store_1/cam1", "store_1/cam2", "store_2/cam1", "store_2/cam2"]
    assert {image.record.pid for image in found.images} == set(PEOPLE)


# Nobody


def test_names_that_may_mean_nobody_are_told_in_one_paragraph(tmp_path: Path) -> None:
    people = [f"{pid}/{number}_c{camera}_.jpg" for pid in PEOPLE for camera in (1, 2) for number in (1, 2)]
    odd = ["Nan", "none", "unknown", "unidentified", "-1", "00-1", "background"]
    source = build(tmp_path / "shop", *people, *(f"{pid}/1_c1_.jpg" for pid in odd))
    summary = ingest(source, tmp_path / "m.csv")
    (note,) = [note for note in summary.notes if "nobody" in note]
    assert "unknown (1 images) as junk" in note or "and 2 more" in note
    assert "pass --nobody NAME=KIND" in note
    assert {dropped.reason: dropped.count for dropped in summary.dropped} == {
        "junk images (pid -1)": 1,
        **{f"images named {name}, taken for junk": 1 for name in ("00-1", "Nan", "none", "unknown", "unidentified")},
    }
    assert summary.splits["gallery"].distractors == 1
    chosen = ingest(source, tmp_path / "n.csv", nobody=["Nan=person", "unknown=distractor"])
    assert chosen.splits["gallery"].distractors == 2
    assert "person Nan" in (tmp_path / "n.csv").read_text()


def test_a_folder_of_nobody_beside_cameras_does_not_hide_them(tmp_path: Path) -> None:
    build(tmp_path, *grid(("cam1", "cam2"), PEOPLE), "unknown/1.jpg", "unknown/2.jpg")
    omissions = Omissions()
    found = read_layout(tmp_path, "auto", "auto", BoxChoice(), omissions)
    assert found.cameras == {1: "cam1", 2: "cam2"}
    assert {image.record.pid for image in found.images} == set(PEOPLE)
    assert [str(dropped) for dropped in omissions.listed()] == [
        "2 images in folders named unknown, taken for nobody (unknown/1.jpg, unknown/2.jpg)"
    ]


@pytest.mark.parametrize(
    ("nobody", "words"),
    [
        ("unknown", "expected NAME=KIND, KIND one of junk, distractor, person"),
        ("unknown=junks", "there is no kind junks; did you mean junk"),
    ],
)
def test_choices_about_nobody_are_checked(tmp_path: Path, nobody: str, words: str) -> None:
    with pytest.raises(JointreidError, match=words):
        ingest(build(tmp_path / "shop", "a/1.jpg"), tmp_path / "m.csv", nobody=[nobody])


@pytest.mark.parametrize(
    "names",
    [
        [*grid(("train",), ("000001", "000002")), *grid(("val", "test"), ("query", "gallery"), ("000020_1_0",))],
        [*grid(("train",), ("0001", "0002")), *grid(("test",), ("cam1", "cam2"), ("0020", "0021"))],
    ],
)
def test_splits_of_other_depths_make_no_people_of_cameras_and_splits(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(JointreidError, match="the layout is not clear"):
        look(build(tmp_path, *names))


def test_two_levels_of_cameras_make_up_one_camera(tmp_path: Path) -> None:
    names = [f"store{store}/cam{camera}/{pid:04}_0.jpg" for store in (1, 2) for camera in (1, 2, 3) for pid in range(5)]
    found = look(build(tmp_path / "named", *names))
    assert {image.record.pid for image in found.images} == {f"{pid:04}" for pid in range(5)}
    assert len(found.cameras) == 6
    found = look(build(tmp_path / "folders", *grid(("cam1", "cam2"), ("rgb", "ir"), PEOPLE)))
    assert {image.record.pid for image in found.images} == set(PEOPLE)
    assert sorted(found.cameras.values()) == ["cam1/ir", "cam1/rgb", "cam2/ir", "cam2/rgb"]


def test_images_that_ask_all_others_are_counted_once(tmp_path: Path) -> None:
    source = build(tmp_path / "shop", *grid(("cam1", "cam2"), PEOPLE))
    (source / "notes.pdf").touch()
    summary = ingest(source, tmp_path / "m.csv", protocol="leave_one_out", dry_run=True)
    assert (summary.found, summary.kept) == (13, 12)
