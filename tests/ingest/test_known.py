"""Published layouts are recognised by name, and every image gets its label by the layout's own rule."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from jointreid.config import Layout
from jointreid.data.manifest import read_manifest
from jointreid.ingest import ingest
from jointreid.ingest.images import Omissions
from jointreid.ingest.known import KNOWN
from jointreid.ingest.layouts import read_layout
from jointreid.ingest.mot import BoxChoice
from jointreid.messages.errors import JointreidError

Row = tuple[str, int, str, str]  # pid, camid, split, side

# layout -> the images of a small tree with (pid, camid, split, side), or the reason for which they are left out.
TREES: Mapping[str, Mapping[str, Row | str]] = {
    "viper": {
        "VIPeR/cam_a/000_45.bmp": ("000", 0, "", "query"),
        "VIPeR/cam_b/000_90.bmp": ("000", 1, "", "gallery"),
        "VIPeR/cam_a/001_0.bmp": ("001", 0, "", "query"),
        "VIPeR/cam_b/001_0.bmp": ("001", 1, "", "gallery"),
    },
    "sysu-mm01": {
        "SYSU-MM01/cam1/0001/0001.jpg": ("0001", 0, "", "gallery"),
        "SYSU-MM01/cam2/0001/0001.jpg": ("0001", 1, "", "gallery"),
        "SYSU-MM01/cam3/0001/0001.jpg": ("0001", 2, "", "query"),
        "SYSU-MM01/cam6/0533/0020.jpg": ("0533", 5, "", "query"),
    },
    "regdb": {
        "RegDB/Visible/1/male_back_v_02930_1.bmp": ("1", 0, "", "query"),
        "RegDB/Thermal/1/male_back_t_02930_1.bmp": ("1", 1, "", "gallery"),
        "RegDB/Visible/412/female_front_v_00001_412.bmp": ("412", 0, "", "query"),
    },
    "veri-776": {
        "image_train/0001_c001_00016450_0.jpg": ("0001", 0, "train", ""),
        "image_train/0001_c020_00016451_0.jpg": ("0001", 19, "train", ""),
        "image_query/0002_c002_00030600_0.jpg": ("0002", 1, "query", ""),
        "image_test/0002_c003_00084280_0.jpg": ("0002", 2, "gallery", ""),
    },
    "prid2011": {
        "prid_2011/multi_shot/cam_a/person_0001/0001.png": ("0001", 0, "", "query"),
        "prid_2011/multi_shot/cam_b/person_0001/0001.png": ("0001", 1, "", "gallery"),
        "prid_2011/multi_shot/cam_a/person_0201/0001.png": "images of people that camera a alone has",
        "prid_2011/multi_shot/cam_b/person_0201/0001.png": ("b-0201", 1, "distractor", "gallery"),
        "prid_2011/single_shot/cam_a/person_0001.png": "images of single_shot/, which multi_shot/ has too",
        "prid_2011/single_shot/cam_b/person_0001.png": "images of single_shot/, which multi_shot/ has too",
    },
    "ilids-vid": {
        "i-LIDS-VID/sequences/cam1/person001/cam1_person001_00317.png": ("person001", 0, "", "query"),
        "i-LIDS-VID/sequences/cam2/person001/cam2_person001_07202.png": ("person001", 1, "", "gallery"),
        "i-LIDS-VID/images/cam1/person001/cam1_person001.png": "images of images/, which sequences/ has too",
    },
    "mars": {
        "bbox_train/0001/0001C1T0001F001.jpg": ("0001", 0, "train", ""),
        "bbox_train/0001/0001C6T0001F002.jpg": ("0001", 5, "train", ""),
        "bbox_test/0002/0002C2T0001F001.jpg": ("0002", 1, "test", ""),
        "bbox_test/0000/0000C3T0001F001.jpg": ("0000", 2, "distractor", ""),
        "bbox_test/00-1/00-1C1T0001F001.jpg": "junk images (00-1)",
    },
    "cuhk01": {
        "campus/0001001.png": ("0001", 0, "", "query"),
        "campus/0001002.png": ("0001", 0, "", "query"),
        "campus/0001003.png": ("0001", 1, "", "gallery"),
        "campus/0971004.png": ("0971", 1, "", "gallery"),
    },
    "grid": {
        "underground_reid/probe/0001_1_25004_107_32_106_221.jpeg": ("0001", 0, "", "query"),
        "underground_reid/gallery/0001_2_25023_116_134_128_330.jpeg": ("0001", 1, "", "gallery"),
        "underground_reid/gallery/0000_8_25008_103_25_105_209.jpeg": ("0000", 7, "distractor", "gallery"),
    },
    "3dpes": {
        "RGB/1_12_FRAME_25_RGB.bmp": ("1", 11, "", ""),
        "RGB/1_13_FRAME_30_RGB.bmp": ("1", 12, "", ""),
        "RGB/20_12_FRAME_25_RGB.bmp": ("20", 11, "", ""),
    },
    "ltcc": {
        "LTCC_ReID/train/000_1_c9_005987.png": ("000", 8, "train", ""),
        "LTCC_ReID/query/094_2_c12_016325.png": ("094", 11, "query", ""),
        "LTCC_ReID/test/094_1_c1_015786.png": ("094", 0, "gallery", ""),
    },
    "prcc": {
        "rgb/train/001/A_cropped_rgb001.jpg": ("001", 0, "train", ""),
        "rgb/train/001/C_cropped_rgb001.jpg": ("001", 2, "train", ""),
        "rgb/val/001/B_cropped_rgb009.jpg": "images of rgb/val, further images of the people in train",
        "rgb/test/A/200/cropped_rgb001.jpg": ("200", 0, "gallery", ""),
        "rgb/test/B/200/cropped_rgb001.jpg": ("200", 1, "query", ""),
        "rgb/test/C/200/cropped_rgb001.jpg": ("200", 2, "query", ""),
    },
    "celeb-reid": {
        "train/1_1_0.jpg": ("1", 0, "train", ""),
        "train/1_2_0.jpg": ("1", 0, "train", ""),
        "query/700_1_0.jpg": ("700", 0, "query", ""),
        "gallery/700_12_0.jpg": ("700", 0, "gallery", ""),
    },
    "personx": {
        "PersonX_456/bounding_box_train/0001_c4s1_11.jpg": ("0001", 3, "train", ""),
        "PersonX_456/query/0002_c5s1_1.jpg": ("0002", 4, "query", ""),
        "PersonX_456/bounding_box_test/0002_c6s1_2.jpg": ("0002", 5, "gallery", ""),
    },
    "randperson": {
        "randperson_subset/000000_s00_c00_f000264.jpg": ("000000", 0, "", ""),
        "randperson_subset/000000_s00_c01_f001032.jpg": ("000000", 1, "", ""),
        "randperson_subset/000007_s10_c01_f000001.jpg": ("000007", 2, "", ""),
    },
}


def build(root: Path, names: Mapping[str, Row | str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def rows(root: Path, layout: Layout = "auto") -> tuple[str, dict[str, Row | str], tuple[str, ...]]:
    """Return the layout, what became of each image by its path, and the notes."""
    omissions = Omissions()
    found = read_layout(root, layout, "auto", BoxChoice(), omissions)
    table: dict[str, Row | str] = {}
    for image in found.images:
        record = image.record
        split = "distractor" if record.distractor else image.split
        table[record.path.relative_to(root).as_posix()] = (record.pid, record.camid, split, image.side)
    for omission in omissions.listed():
        table |= dict.fromkeys(omission.examples, omission.reason)
    return found.layout, table, found.notes


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("given", [False, True])
def test_every_image_is_labelled_by_the_layouts_rule(tmp_path: Path, name: Layout, given: bool) -> None:
    build(tmp_path, TREES[name])
    layout, table, _ = rows(tmp_path, name if given else "auto")
    assert layout == name
    assert table.keys() == TREES[name].keys()
    for path, expected in TREES[name].items():
        found = table[path]
        assert found == expected or (isinstance(found, str) and isinstance(expected, str) and expected in found), path


def test_every_known_layout_has_a_tree() -> None:
    assert sorted({*TREES, "vehicleid"}) == sorted(KNOWN)


def test_lists_of_sysu_mm01_divide_its_people(tmp_path: Path) -> None:
    names = [f"cam{camera}/{pid:04}/0001.jpg" for camera in (1, 2, 3, 6) for pid in (1, 2, 3, 4)]
    build(tmp_path, dict.fromkeys(names, ""))
    (tmp_path / "exp").mkdir()
    for part, text in (("train", "1"), ("val", "2"), ("test", "3,4\n")):
        (tmp_path / f"exp/{part}_id.txt").write_text(text)
    layout, table, _ = rows(tmp_path)
    assert layout == "sysu-mm01"
    assert {path: row[2] for path, row in table.items()} == {
        name: "train" if name[5:9] in ("0001", "0002") else "query" if name[3] in "36" else "gallery" for name in names
    }


def test_lists_of_regdb_divide_its_images_and_its_folders_name_the_people(tmp_path: Path) -> None:
    names = [f"{kind}/{pid}/x_{pid}.bmp" for kind in ("Visible", "Thermal") for pid in (11, 12)]
    build(tmp_path, dict.fromkeys(names, ""))
    (tmp_path / "idx").mkdir()
    for kind in ("Visible", "Thermal"):
        # Labels count from 0 in train and in test.
        (tmp_path / f"idx/train_{kind.lower()}_1.txt").write_text(f"{kind}/11/x_11.bmp 0\n")
        (tmp_path / f"idx/test_{kind.lower()}_1.txt").write_text(f"{kind}/12/x_12.bmp 0\n")
    _, table, _ = rows(tmp_path)
    assert table == {
        "Visible/11/x_11.bmp": ("11", 0, "train", "query"),
        "Thermal/11/x_11.bmp": ("11", 1, "train", "gallery"),
        "Visible/12/x_12.bmp": ("12", 0, "query", "query"),
        "Thermal/12/x_12.bmp": ("12", 1, "gallery", "gallery"),
    }


def test_lists_of_vehicleid_name_the_vehicles(tmp_path: Path) -> None:
    build(tmp_path, {f"image/{number:07}.jpg": "" for number in range(1, 8)})
    with pytest.raises(JointreidError, match="only these lists say which vehicle"):
        rows(tmp_path, "vehicleid")
    (tmp_path / "train_test_split").mkdir()
    (tmp_path / "train_test_split/train_list.txt").write_text("0000001 5\n0000002 5\n")
    (tmp_path / "train_test_split/test_list_800.txt").write_text("0000003 7\n0000004 7\n0000005 7\n0000006 8\n")
    layout, table, notes = rows(tmp_path)
    assert layout == "vehicleid"
    assert [table[f"image/000000{n}.jpg"][0] for n in range(1, 7)] == ["5", "5", "7", "7", "7", "8"]
    assert [table[f"image/000000{n}.jpg"][2] for n in (1, 2)] == ["train", "train"]
    assert sorted(table[f"image/000000{n}.jpg"][2] for n in (3, 4, 5)) == ["gallery", "query", "query"]
    assert table["image/0000007.jpg"] == "images in none of the lists that are read"
    assert any("test is test_list_800.txt" in note for note in notes)


def test_tracks_of_mars_name_the_queries(tmp_path: Path) -> None:
    tests = [f"000{pid}/000{pid}C{camera}T0001F00{frame}.jpg" for pid in (2,) for camera in (1, 2) for frame in (1, 2)]
    build(
        tmp_path, dict.fromkeys(["bbox_train/0001/0001C1T0001F001.jpg", *(f"bbox_test/{name}" for name in tests)], "")
    )
    (tmp_path / "info").mkdir()
    (tmp_path / "info/test_name.txt").write_text("\n".join(name.split("/")[1] for name in tests))
    savemat(tmp_path / "info/tracks_test_info.mat", {"track_test_info": np.array([[1, 2, 2, 1], [3, 4, 2, 2]])})
    savemat(tmp_path / "info/query_IDX.mat", {"query_IDX": np.array([[2]])})
    _, table, _ = rows(tmp_path)
    assert [table[f"bbox_test/{name}"][2] for name in tests] == ["gallery", "gallery", "query", "query"]


def test_drawn_queries_are_of_the_layouts_own_side(tmp_path: Path) -> None:
    viper = build(tmp_path / "VIPeR", {f"cam_{camera}/{pid:03}_0.bmp": "" for camera in "ab" for pid in range(8)})
    grid = {
        f"{side}/{pid:04}_{camera}_1_1.jpeg": ""
        for side, camera in (("probe", 1), ("gallery", 2))
        for pid in (1, 2, 3, 4)
    }
    build(tmp_path / "grid", grid | {f"gallery/0000_{camera}_1_1.jpeg": "" for camera in (1, 3)})
    for source, distractors in ((viper, 0), (tmp_path / "grid", 2)):
        ingest(source, tmp_path / f"{source.name}.csv")
        domain = read_manifest(tmp_path / f"{source.name}.csv")[source.name]
        assert {record.camid for record in domain.query} == {0}
        assert {record.camid for record in domain.gallery if not record.distractor} == {1}
        assert {record.pid for record in domain.query} == {
            record.pid for record in domain.gallery if not record.distractor
        }
        assert sum(record.distractor for record in domain.gallery) == distractors


def test_an_image_that_the_layout_does_not_have_makes_it_another(tmp_path: Path) -> None:
    build(tmp_path, TREES["viper"])
    (tmp_path / "VIPeR/cam_a/holiday.bmp").touch()
    _, table, _ = rows(tmp_path, "viper")
    assert table["VIPeR/cam_a/holiday.bmp"] == "images that are not named as in VIPeR"


def test_a_layout_that_no_image_fits_is_refused(tmp_path: Path) -> None:
    build(tmp_path, {"alice/1.jpg": ""})
    with pytest.raises(
        JointreidError, match=r"no image fits VIPeR: expected cam_CAMERA/PERSON_\*; the first are alice"
    ):
        rows(tmp_path, "viper")


def test_the_folder_rgb_of_prcc_may_be_given_itself(tmp_path: Path) -> None:
    build(tmp_path, {name.removeprefix("rgb/"): row for name, row in TREES["prcc"].items()})
    layout, table, _ = rows(tmp_path)
    assert layout == "prcc"
    assert table["test/B/200/cropped_rgb001.jpg"] == ("200", 1, "query", "")


@pytest.mark.parametrize(
    ("tracks", "message"),
    [([[1], [2]], r"track_test_info is \(2, 1\); expected a row"), ([[1, 9, 2, 1]], "a track ends at image 9, and")],
)
def test_tracks_of_mars_that_cannot_be_are_refused(tmp_path: Path, tracks: list[list[int]], message: str) -> None:
    names = ["bbox_train/0001/0001C1T0001F001.jpg", "bbox_test/0002/0002C1T0001F001.jpg"]
    build(tmp_path, dict.fromkeys(names, ""))
    (tmp_path / "info").mkdir()
    (tmp_path / "info/test_name.txt").write_text("0002C1T0001F001.jpg")
    savemat(tmp_path / "info/tracks_test_info.mat", {"track_test_info": np.array(tracks)})
    savemat(tmp_path / "info/query_IDX.mat", {"query_IDX": np.array([[1]])})
    with pytest.raises(JointreidError, match=message):
        rows(tmp_path)
