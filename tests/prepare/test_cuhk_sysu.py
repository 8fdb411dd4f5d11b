"""CUHK-SYSU's conversion against drawn scenes: each box is filled with a colour of its own."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from jointreid.data.protocols import SplitCounts
from jointreid.data.readers import READERS
from jointreid.messages.errors import JointreidError
from jointreid.prepare import prepare
from tests.prepare.test_matlab import EMPTY, Cell, Structs, Writer, both_versions, write_v5

WIDTH, HEIGHT = 120, 80
Box = tuple[int, int, int, int]

# (scene, box, hard) of each person. Of p1 four boxes, of p2 three, of p30 five, one of them in a scene of p1.
TRAIN: dict[str, list[tuple[str, Box, int]]] = {
    "p30": [("s7.jpg", (8, 8, 16, 32), 0), *((f"s{n}.jpg", (8, 8, 24, 40), 1) for n in (11, 12, 13, 14))],
    "p2": [(f"s{n}.jpg", (40, 8, 16, 32), 0) for n in (11, 12, 13)],
    "p1": [(name, (64, 8, 16, 40), 0) for name in ("s7.jpg", "s12.jpg", "s13.jpg", "s00021.jpg")],
}
# Query, then gallery; None where the person is not in the scene.
TEST: dict[str, tuple[tuple[str, Box, int], list[tuple[str, Box | None, int]]]] = {
    "p5533": (
        ("s100.jpg", (8, 8, 24, 56), 0),
        [("s101.jpg", (40, 16, 16, 48), 1), ("s102.jpg", None, 0), ("s103.jpg", (72, 8, 16, 32), 0)],
    ),
    "p4": (("s103.jpg", (8, 8, 32, 48), 1), [("s102.jpg", None, 0), ("s101.jpg", (72, 8, 24, 40), 0)]),
}
EXPECTED = {
    # p2 is dropped: three boxes. Its boxes are counted in the number all the same.
    "train/00030_s7_0000000_0.jpg": "p30 s7.jpg",
    "train/00030_s11_0000001_1.jpg": "p30 s11.jpg",
    "train/00030_s12_0000002_1.jpg": "p30 s12.jpg",
    "train/00030_s13_0000003_1.jpg": "p30 s13.jpg",
    "train/00030_s14_0000004_1.jpg": "p30 s14.jpg",
    "train/00001_s7_0000008_0.jpg": "p1 s7.jpg",
    "train/00001_s12_0000009_0.jpg": "p1 s12.jpg",
    "train/00001_s13_0000010_0.jpg": "p1 s13.jpg",
    "train/00001_s00021_0000011_0.jpg": "p1 s00021.jpg",
    "query/05533_s100_0000000_0.jpg": "p5533 s100.jpg",
    "query/00004_s103_0000001_1.jpg": "p4 s103.jpg",
    "gallery/05533_s101_0000000_1.jpg": "p5533 s101.jpg",
    "gallery/05533_s103_0000001_0.jpg": "p5533 s103.jpg",
    "gallery/00004_s101_0000002_0.jpg": "p4 s101.jpg",
}


def boxes() -> dict[str, Box]:
    """Return each person's box in each scene, by `person scene`."""
    train = {f"{pid} {scene}": box for pid, of_person in TRAIN.items() for scene, box, _ in of_person}
    test = {f"{pid} {row[0]}": row[1] for pid, (query, gallery) in TEST.items() for row in (query, *gallery) if row[1]}
    return train | {key: box for key, box in test.items() if box}


def colour(key: str) -> tuple[int, ...]:
    return tuple(int(c) for c in np.random.default_rng(list(key.encode())).integers(40, 216, 3))


def draw_scenes(folder: Path) -> None:
    folder.mkdir(parents=True)
    names = {key.split()[1] for key in boxes()} | {"s102.jpg"}
    for name in names:
        scene = Image.new("RGB", (WIDTH, HEIGHT), "black")
        for key, (x, y, width, height) in boxes().items():
            if key.endswith(f" {name}"):
                ImageDraw.Draw(scene).rectangle((x, y, x + width - 1, y + height - 1), colour(key))
        scene.save(folder / name, quality=100, subsampling=0)


def scene(name: str, box: Sequence[float] | None, hard: int, kind: Any = np.uint8) -> dict[str, Any]:
    """Return a scene as the annotation has it; numbers of a narrow type, as MATLAB saves them where they fit."""
    return {
        "imname": name,
        "idlocate": EMPTY if box is None else np.array([box], kind),
        "ishard": np.array([[hard]], np.uint8),
    }


def train_mat(people: dict[str, list[Any]]) -> dict[str, Any]:
    return {
        "Train": Cell(
            Structs(
                [{"idname": pid, "nAppear": np.array([[len(rows)]]), "scene": Structs(scene(*row) for row in rows)}]
            )
            for pid, rows in people.items()
        )
    }


def g50_mat(people: dict[str, Any]) -> dict[str, Any]:
    return {
        "TestG50": Structs(
            {
                "Query": Structs([{**scene(*query), "idname": pid}]),
                "Gallery": Structs(scene(*row) for row in gallery),
            }
            for pid, (query, gallery) in people.items()
        )
    }


def annotate(root: Path, train: Any = TRAIN, test: Any = TEST, write: Writer = write_v5) -> Path:
    folder = root / "annotation" / "test" / "train_test"
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "Train.mat", train_mat(train))
    write(folder / "TestG50.mat", g50_mat(test))
    return root


def release(root: Path) -> Path:
    draw_scenes(root / "Image" / "SSM")
    return annotate(root)


def crops(target: Path) -> dict[str, Path]:
    folder = target / "cuhksysu4reid"
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.jpg")}


@both_versions
def test_the_boxes_of_the_rule_are_cut_out_under_their_names(tmp_path: Path, write: Writer) -> None:
    raw = annotate(release(tmp_path / "raw"), write=write)
    prepare("cuhk_sysu", raw, tmp_path / "out")
    found = crops(tmp_path / "out")
    assert found.keys() == EXPECTED.keys()
    for name, key in EXPECTED.items():
        with Image.open(found[name]) as crop:
            pixels = np.asarray(crop).astype(int)
        assert pixels.shape == (boxes()[key][3], boxes()[key][2], 3)
        # Every pixel, so that a box that is off by one shows its black surroundings.
        assert abs(pixels - colour(key)).max() <= 4, name


def test_the_summary_compares_with_the_whole_release(tmp_path: Path) -> None:
    prepared = prepare("cuhk_sysu", release(tmp_path / "raw"), tmp_path / "out")
    (part,) = prepared.parts
    assert part.found == {"train": SplitCounts(2, 9), "query": SplitCounts(2, 2), "gallery": SplitCounts(2, 3)}
    assert (
        "cuhk_sysu, train: expected 942 identities and 4,374 images, found 2 identities and 9 images" in prepared.notes
    )
    assert (
        "cuhk_sysu, query: expected 2,900 identities and 2,900 images, found 2 identities and 2 images"
        in prepared.notes
    )
    assert prepared.arguments == ("--data", f"cuhk_sysu={tmp_path / 'out'}")
    index = json.loads((tmp_path / "out" / "cuhksysu4reid" / "prepared.json").read_text())
    assert index["parts"][0]["found"]["gallery"] == {"ids": 2, "images": 3}
    assert index["parts"][0]["expected"]["gallery"] == {"ids": 2900, "images": 5447}
    assert "with 4 boxes or more" in index["rule"]


def test_the_reader_takes_it(tmp_path: Path) -> None:
    prepare("cuhk_sysu", release(tmp_path / "raw"), tmp_path / "out")
    domain = READERS["cuhk_sysu"](tmp_path / "out")
    assert domain.train_pids == ("00001", "00030")
    assert [record.pid for record in domain.gallery] == ["00004", "05533", "05533"]
    assert (len(domain.train), len(domain.query), domain.cameras) == (9, 2, (0,))


@pytest.mark.parametrize("folder", ["CUHK-SYSU", "dataset", "CUHK-SYSU/dataset", "cuhk-sysu/CUHK-SYSU"])
def test_the_release_may_lie_below_the_folder_given(tmp_path: Path, folder: str) -> None:
    release(tmp_path / "raw" / folder)
    prepare("cuhk_sysu", tmp_path / "raw", tmp_path / "out")
    assert crops(tmp_path / "out").keys() == EXPECTED.keys()


def test_a_release_without_an_identity_to_train_on_is_converted(tmp_path: Path) -> None:
    raw = annotate(release(tmp_path / "raw"), train={"p2": TRAIN["p2"]}, test={"p4": TEST["p4"]})
    prepared = prepare("cuhk_sysu", raw, tmp_path / "out")
    assert prepared.parts[0].found["train"] == SplitCounts(0, 0)
    assert sorted(path.name for path in (tmp_path / "out" / "cuhksysu4reid").iterdir()) == [
        "gallery",
        "prepared.json",
        "query",
        "train",
    ]


@pytest.mark.parametrize(
    ("box", "kind", "cut"),
    [
        ((-5, -3, 20, 30), np.int16, (-5, -3, 15, 27)),
        ((100, 60, 60, 60), np.uint8, (100, 60, 160, 120)),
        ((10, 10, 250, 8), np.uint8, (10, 10, 260, 18)),  # x + w is more than a byte holds
        ((-20, -10, 200, 120), np.int16, (-20, -10, 180, 110)),  # all around the scene
        ((7.9, 5.2, 10.9, 20.9), np.float64, (7, 5, 17, 25)),  # each is cut before they are added
        ((-0.9, 5, 10, 20), np.float64, (0, 5, 10, 25)),
    ],
)
def test_a_box_is_cut_to_whole_numbers_and_padded_with_black(tmp_path: Path, box: Any, kind: Any, cut: Box) -> None:
    raw = release(tmp_path / "raw")
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    pixels[..., 0], pixels[..., 1] = 2 * np.arange(WIDTH), 3 * np.arange(HEIGHT)[:, None]
    Image.fromarray(pixels).save(raw / "Image" / "SSM" / "s200.jpg", quality=100, subsampling=0)
    annotate(raw, train={}, test={"p9": (("s200.jpg", box, 0, kind), [])})
    prepare("cuhk_sysu", raw, tmp_path / "out")
    with Image.open(tmp_path / "out" / "cuhksysu4reid" / "query" / "00009_s200_0000000_0.jpg") as crop:
        found = np.asarray(crop).astype(int)
    left, top, right, bottom = cut
    canvas = np.zeros((HEIGHT + 600, WIDTH + 600, 3), int)  # the scene in the middle of black
    canvas[300 : 300 + HEIGHT, 300 : 300 + WIDTH] = pixels
    expected = canvas[300 + top : 300 + bottom, 300 + left : 300 + right]
    assert found.shape == expected.shape == (bottom - top, right - left, 3)
    assert abs(found - expected).mean() < 3
    black = ~expected.any(axis=2)
    assert found[black].mean() < 12 if black.any() else found.mean() > 20


def test_crops_of_clipped_boxes_are_neither_kept_nor_completed(tmp_path: Path) -> None:
    raw, target = release(tmp_path / "raw"), tmp_path / "out"
    prepare("cuhk_sysu", raw, target)
    index = target / "cuhksysu4reid" / "prepared.json"
    written = json.loads(index.read_text())
    assert written["format"] == 2
    index.write_text(json.dumps(written | {"format": 1}))
    with pytest.raises(JointreidError, match=r"prepared\.json: was not written by this version"):
        prepare("cuhk_sysu", raw, target)


@pytest.mark.parametrize("box", [(-8, 5, 8, 8), (5, -8, 8, 8), (120, 5, 8, 8), (5, 80, 8, 8)])
def test_a_box_that_only_touches_its_scene_is_outside_it(tmp_path: Path, box: Box) -> None:
    raw = annotate(release(tmp_path / "raw"), {}, only_query("s100.jpg", box, 0, np.int16))
    with pytest.raises(JointreidError, match=r"outside .*s100\.jpg of 120 x 80 pixels"):
        prepare("cuhk_sysu", raw, tmp_path / "out")


def test_a_box_too_large_for_memory_is_named(tmp_path: Path) -> None:
    raw = annotate(release(tmp_path / "raw"), {}, only_query("s100.jpg", (5, 5, 10**5, 10**5), 0, np.int32))
    with pytest.raises(JointreidError, match=r"is \(5, 5, 100000, 100000\) \(p9\), more than 67108864 pixels"):
        prepare("cuhk_sysu", raw, tmp_path / "out")


def test_a_scene_is_cut_as_it_lies_in_the_file(tmp_path: Path) -> None:
    raw = release(tmp_path / "raw")
    path = raw / "Image" / "SSM" / "s100.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    with Image.open(path) as image:
        image.load()
        image.save(path, quality=100, subsampling=0, exif=exif)
    prepare("cuhk_sysu", raw, tmp_path / "out")
    with Image.open(crops(tmp_path / "out")["query/05533_s100_0000000_0.jpg"]) as crop:
        assert abs(np.asarray(crop).astype(int) - colour("p5533 s100.jpg")).max() <= 4


def only_query(*row: Any) -> dict[str, Any]:
    return {"p9": (row, [])}


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            {},
            only_query("s100.jpg", (5, 5, 0, 8), 0),
            r"TestG50\(1\)\.Query\.idlocate: is \[5, 5, 0, 8\] \(p9 in s100\.jpg\)",
        ),
        ({}, only_query("s100.jpg", (5, 5, 8), 0), r"is \[5, 5, 8\] \(p9 in s100\.jpg\); expected x, y, width, height"),
        ({}, only_query("s100.jpg", None, 0), r"TestG50\(1\)\.Query\.idlocate: is \[\] \(p9 in s100\.jpg\)"),
        ({}, only_query("s100.jpg", (5, 5, 8, 8), 2), r"TestG50\(1\)\.Query\.ishard: is \[2\]; expected 0 or 1"),
        (
            {},
            only_query("../s100.jpg", (5, 5, 8, 8), 0),
            r"imname: is '\.\./s100\.jpg'; expected a name like s15535\.jpg",
        ),
        ({}, only_query("s100.png", (5, 5, 8, 8), 0), r"imname: is 's100\.png'; expected"),
        ({}, only_query("s999.jpg", (5, 5, 8, 8), 0), r"SSM: lacks 1 of the 1 scenes needed \(s999\.jpg\)"),
        (
            {"p1": [("s7.jpg", (1, 2, 3, 4), 0), ("s7.jpg", (1, np.nan, 3, 4), 0, float)]},
            {},
            r"Train\(1\)\.scene\(2\)\.idlocate: expected finite numbers",
        ),
        ({"person1": TRAIN["p1"]}, {}, r"Train\(1\)\.idname: is 'person1'; expected a name like p123"),
        ({"p4": TRAIN["p2"]}, TEST, r"TestG50\(2\)\.Query: p4 is also a person of Train\.mat"),
        ({}, {"p4": TEST["p4"], "p04": TEST["p4"]}, r"TestG50\(2\)\.Query: p4 is in Query twice"),
    ],
)
def test_a_wrong_annotation_is_an_error_before_anything_is_written(
    tmp_path: Path, train: Any, test: Any, message: str
) -> None:
    raw = annotate(release(tmp_path / "raw"), train, test)
    with pytest.raises(JointreidError, match=message):
        prepare("cuhk_sysu", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_box_outside_its_scene_is_named(tmp_path: Path) -> None:
    raw = annotate(release(tmp_path / "raw"), {}, only_query("s100.jpg", (130, 5, 8, 8), 0))
    message = r"TestG50\(1\)\.Query\.idlocate: is \(130, 5, 8, 8\) \(p9\), outside .*s100\.jpg of 120 x 80 pixels"
    with pytest.raises(JointreidError, match=message):
        prepare("cuhk_sysu", raw, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_a_damaged_scene_is_named(tmp_path: Path, content: bytes | None) -> None:
    raw = release(tmp_path / "raw")
    path = raw / "Image" / "SSM" / "s100.jpg"
    path.write_bytes(path.read_bytes()[:700] if content is None else content)
    with pytest.raises(JointreidError, match=r"s100\.jpg: .*; unpack the release again"):
        prepare("cuhk_sysu", raw, tmp_path / "out")


def test_a_variable_that_is_not_there_is_named(tmp_path: Path) -> None:
    raw = release(tmp_path / "raw")
    write_v5(raw / "annotation" / "test" / "train_test" / "TestG50.mat", {"TestG100": Structs([{"Query": 1}])})
    with pytest.raises(JointreidError, match=r"TestG50\.mat: there is no variable TestG50; did you mean TestG100"):
        prepare("cuhk_sysu", raw, tmp_path / "out")


def test_what_the_release_lacks_is_said(tmp_path: Path) -> None:
    (tmp_path / "CUHK-SYSU" / "Image" / "SSM").mkdir(parents=True)
    with pytest.raises(JointreidError, match=r"CUHK-SYSU lacks annotation/test/train_test/Train\.mat and annotation/"):
        prepare("cuhk_sysu", tmp_path, tmp_path / "out")
    with pytest.raises(JointreidError, match=r"no CUHK-SYSU here: expected Image/SSM"):
        prepare("cuhk_sysu", tmp_path / "CUHK-SYSU" / "Image", tmp_path / "out")


def test_two_releases_are_refused(tmp_path: Path) -> None:
    release(tmp_path / "raw")
    shutil.copytree(tmp_path / "raw", tmp_path / "raw" / "dataset")
    with pytest.raises(JointreidError, match="contains CUHK-SYSU more than once"):
        prepare("cuhk_sysu", tmp_path / "raw", tmp_path / "out")
