"""Cameras with words about them, such as `cam1-entrance`, are cameras, and people beside them people."""

import re
from pathlib import Path

import pytest

from jointreid.ingest import ingest
from jointreid.messages.errors import JointreidError
from tests.ingest.trees import DAYS, PEOPLE, build, grid, look

DESCRIBED = [
    ("cam1-entrance", "cam2-till"),
    ("cam1_entrance", "cam2_ground floor"),
    ("Cam 1 entrance", "Cam 2 till"),
    ("cam1.entrance", "cam2.till"),
    ("camera 1 (entrance)", "camera 2 (till)"),
    ("camera[1] entrance", "camera[2] warehouse"),
    ("camera #1: entrance", "camera #2: warehouse"),
    ("CAM-01 \N{EN DASH} Entrance", "CAM-02 \N{EN DASH} Warehouse"),
    ("cam_1_entrance", "cam_2_warehouse"),
    ("camera_a_entrance", "camera_b_warehouse"),
    ("cam1", "cam2-warehouse"),
    ("cam1-warehouse", "cam2-warehouse"),
    ("kamera1-eingang", "kamera3-lager"),
    ("Kamera 1 (Eingang)", "Kamera 2 (Kasse)"),
    ("caméra 1 (entrée)", "caméra 2 (caisse)"),
    ("came\u0301ra1-entre\u0301e", "came\u0301ra2-caisse"),
    ("cámara_1_entrada", "camara_2_caja"),
    ("view1-front", "view2-side"),
    ("cctv1 entrance", "cctv2 warehouse"),
    # Before the camera, without a number, counted anew in each place, and beside other words.
    ("entrance-cam1", "warehouse-cam2"),
    ("lager (Kamera 1)", "kasse (Kamera 2)"),
    ("entrance camera", "till camera"),
    ("cam1-entrance", "cam1-till", "cam2-till"),
    ("c1-entrance", "c2-till"),
    ("cam1-entrance", "till"),
]


@pytest.mark.parametrize("cameras", DESCRIBED, ids=" | ".join)
@pytest.mark.parametrize("people", [("0001", "0002"), ("alice", "bob"), PEOPLE])
def test_cameras_with_words_about_them_are_cameras(
    tmp_path: Path, cameras: tuple[str, ...], people: tuple[str, ...]
) -> None:
    above = look(build(tmp_path / "above", *grid(cameras, people)))
    below = look(build(tmp_path / "below", *grid(people, cameras)))
    for found, shown in ((above, "CAMERA/PERSON/IMAGE"), (below, "PERSON/CAMERA/IMAGE")):
        assert found.reading == shown
        assert sorted(found.cameras.values()) == sorted(cameras)
        for image in found.images:
            assert {found.cameras[image.record.camid], image.record.pid} < set(image.record.path.parts)


@pytest.mark.parametrize("cameras", DESCRIBED, ids=" | ".join)
def test_people_in_file_names_below_cameras_with_words_about_them(tmp_path: Path, cameras: tuple[str, ...]) -> None:
    build(tmp_path, *(f"{camera}/{pid}_{k}.jpg" for camera in cameras for pid in PEOPLE for k in (1, 2)))
    if cameras == ("cam1-warehouse", "cam2-warehouse"):  # a person of two cameras is called so too
        with pytest.raises(JointreidError, match="2 readings fit"):
            look(tmp_path)
        return
    found = look(tmp_path)
    assert found.reading == "CAMERA/PERSON_IMAGE"
    assert sorted(found.cameras.values()) == sorted(cameras)
    assert {image.record.pid for image in found.images} == set(PEOPLE)


def test_numbers_of_cameras_with_words_about_them_are_kept_unless_two_are_alike(tmp_path: Path) -> None:
    found = look(build(tmp_path / "one", *grid(("cam01-entrance", "camera 3 (till)"), PEOPLE)))
    assert found.cameras == {1: "cam01-entrance", 3: "camera 3 (till)"}
    found = look(build(tmp_path / "two", *grid(("cam1-entrance", "cam1-till", "cam2-till"), PEOPLE)))
    assert found.cameras == {0: "cam1-entrance", 1: "cam1-till", 2: "cam2-till"}


def test_the_printed_reading_names_cameras_with_words_about_them(tmp_path: Path) -> None:
    source = build(tmp_path / "shop", *grid(("cam1-entrance", "kamera3-lager"), ("alice", "bob", "carol")))
    summary = ingest(source, tmp_path / "m.csv")
    assert summary.reading.splitlines() == [
        "read as CAMERA/PERSON/IMAGE: 2 cameras, 3 people; for example",
        "  cam1-entrance/alice/1.jpg is person alice, camera cam1-entrance (camid 1), split drawn",
        "  kamera3-lager/alice/1.jpg is person alice, camera kamera3-lager (camid 3), split drawn",
        "  kamera3-lager/carol/1.jpg is person carol, camera kamera3-lager (camid 3), split drawn",
    ]
    assert "camid 1 is cam1-entrance, 3 is kamera3-lager" in summary.render()


@pytest.mark.parametrize(
    ("folders", "people"),
    [
        (("cam1_anna", "cam2_anna"), {"anna"}),
        (("cam1_anna", "cam2_anna", "cam1_bo"), {"anna", "bo"}),
        (("kamera1-anna", "kamera2-anna", "kamera1-bo"), {"anna", "bo"}),
        (("cam1_0001", "cam2_0001", "cam2_0002"), {"0001", "0002"}),
        (("cam1_p1", "cam2_p1", "cam2_p2"), {"p1", "p2"}),
    ],
)
def test_a_person_after_a_camera_is_no_word_about_it(
    tmp_path: Path, folders: tuple[str, ...], people: set[str]
) -> None:
    for levels in ((folders,), (folders, DAYS)):
        found = look(build(tmp_path / str(len(levels)), *grid(*levels)))
        assert {image.record.pid for image in found.images} == people
        assert sorted(found.cameras.values()) == sorted({re.split("[-_]", folder)[0] for folder in folders})


@pytest.mark.parametrize("image", ["1.jpg", "frame_1.jpg"])
@pytest.mark.parametrize(
    ("folders", "pattern"),
    [(("cam1_anna", "cam2_bob"), "{camera}_{pid}/{frame}"), (("anna-cam1", "bob-cam2"), "{pid}-{camera}/{frame}")],
)
def test_one_folder_a_camera_with_words_that_may_be_a_person_is_asked_about(
    tmp_path: Path, folders: tuple[str, ...], pattern: str, image: str
) -> None:
    files = [image.replace("1", number) for number in "123"]
    build(tmp_path, *(f"{folder}/{file}" for folder in folders for file in files))
    with pytest.raises(JointreidError, match="readings fit; choose one with --pattern") as caught:
        look(tmp_path)
    assert f"--pattern '{pattern}'" in str(caught.value)
    assert {found.record.pid for found in look(tmp_path, pattern).images} == {"anna", "bob"}
