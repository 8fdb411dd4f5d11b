"""CUHK03's conversion against releases of three camera pairs, whose every image can be told from the others."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from jointreid.config import DataConfig
from jointreid.data.protocols import SplitCounts
from jointreid.data.readers import READERS
from jointreid.messages.errors import JointreidError
from jointreid.prepare import Prepared, prepare, render
from tests.prepare.test_matlab import EMPTY, Cell, Writer, both_versions, write_v5, write_v73

# Identities of each camera pair.
PAIRS = (2, 1, 1)
MISSING = {"1_001_1_05.png", "2_001_2_10.png"}
CONFIG = "cuhk03_new_protocol_config_{}.mat"


def picture(boxes: str, pair: int, identity: int, image: int) -> NDArray[np.uint8]:
    """Return an image [H, W, 3] that says which it is, and whose rows, columns and colours are not alike."""
    height, width = 12 + image, 5 + identity
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = 10 * np.arange(height)[:, None]
    pixels[..., 1] = 20 * np.arange(width)
    pixels[..., 2] = 100 * (boxes == "labeled") + 20 * pair + 10 * identity + image
    return pixels


def pictures(boxes: str) -> dict[str, NDArray[np.uint8]]:
    """Return the images by their expected names, worked out apart from the conversion."""
    found = {}
    for pair, identities in enumerate(PAIRS, 1):
        for identity in range(1, identities + 1):
            for image in range(1, 11):
                view = 1 if image <= 5 else 2
                found[f"{pair}_{identity:03d}_{view}_{image:02d}.png"] = picture(boxes, pair, identity, image)
    return {name: pixels for name, pixels in found.items() if name not in MISSING}


def cells(boxes: str) -> Cell:
    """Return `detected` or `labeled` as it stands in `cuhk-03.mat`."""
    whole = pictures(boxes)
    pairs = Cell()
    for pair, identities in enumerate(PAIRS, 1):
        grid = np.empty((identities, 10), object)
        for identity, image in np.ndindex(grid.shape):
            name = f"{pair}_{identity + 1:03d}_{image // 5 + 1}_{image + 1:02d}.png"
            grid[identity, image] = whole.get(name, EMPTY)
        pairs.append(grid)
    return pairs


def config(**changes: Any) -> dict[str, Any]:
    """Return an index file: four identities, of which 41 and 7 are for training; counted from 1."""
    names = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_02.png", "2_001_1_01.png", "2_001_2_07.png", "3_001_1_03.png"]
    names += ["3_001_2_10.png"]
    return {
        "filelist": Cell(names),
        "labels": np.array([[41, 41, 7, 980, 980, 3, 3]], np.uint16).T,
        "camId": np.array([[1, 2, 1, 1, 2, 1, 2]], np.uint8).T,
        "train_idx": np.array([[1, 2, 3]], np.uint16).T,
        "query_idx": np.array([[5, 6]], np.uint16).T,
        "gallery_idx": np.array([[4, 7]], np.uint16).T,
        **changes,
    }


def release(root: Path, boxes: tuple[str, ...] = ("labeled", "detected"), folder: str = "cuhk03_release") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    images = {"testsets": Cell([np.ones((2, 2))]), "labeled": cells("labeled"), "detected": cells("detected")}
    write_v73(root / folder / "cuhk-03.mat", images)
    for kind in boxes:
        write_v5(root / CONFIG.format(kind), config())
    return root


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Both kinds of boxes, prepared."""
    root = tmp_path_factory.mktemp("cuhk03")
    return prepare("cuhk03", release(root / "raw"), root / "my out")


def test_images_lie_as_they_were_taken_under_the_names_in_use(both: Prepared) -> None:
    for boxes in ("labeled", "detected"):
        expected = pictures(boxes)
        folder = both.target / f"images_{boxes}"
        assert files(folder) == sorted(expected)
        assert len(expected) == 38
        for name, pixels in expected.items():
            with Image.open(folder / name) as image:
                assert image.mode == "RGB"
                np.testing.assert_array_equal(np.asarray(image), pixels)


def test_splits_name_path_pid_and_view(both: Prepared) -> None:
    for boxes in ("labeled", "detected"):
        assert json.loads((both.target / f"splits_new_{boxes}.json").read_text()) == [
            {
                "train": [
                    [f"images_{boxes}/1_001_1_01.png", 41, 0],
                    [f"images_{boxes}/1_001_2_06.png", 41, 1],
                    [f"images_{boxes}/1_002_1_02.png", 7, 0],
                ],
                "query": [[f"images_{boxes}/2_001_2_07.png", 980, 1], [f"images_{boxes}/3_001_1_03.png", 3, 0]],
                "gallery": [[f"images_{boxes}/2_001_1_01.png", 980, 0], [f"images_{boxes}/3_001_2_10.png", 3, 1]],
            }
        ]
    assert {path.name for path in both.target.iterdir()} == {
        "images_labeled",
        "images_detected",
        "splits_new_labeled.json",
        "splits_new_detected.json",
        "prepared.json",
    }


def test_the_summary_says_what_was_found_and_how_to_use_it(both: Prepared) -> None:
    found = {"train": SplitCounts(2, 3), "query": SplitCounts(2, 2), "gallery": SplitCounts(2, 2)}
    assert [(part.name, part.found) for part in both.parts] == [("labeled", found), ("detected", found)]
    assert not both.already
    assert "The Chinese University of Hong Kong" in both.terms
    assert both.arguments == ("--data", f"cuhk03={both.target}")
    notes = "\n".join(both.notes)
    assert notes.startswith("both kinds of boxes; the labeled ones are read unless you pass --cuhk03 detected")
    assert "labeled, train: expected 767 identities and 7,368 images, found 2 identities and 3 images" in notes
    assert "detected, gallery: expected 700 identities and 5,332 images, found 2 identities and 2 images" in notes
    assert render(both).endswith(f"use it with --data 'cuhk03={both.target}'")
    json.dumps(both.to_dict())


@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_the_reader_takes_it(both: Prepared, boxes: Any) -> None:
    domain = READERS["cuhk03"](both.target, DataConfig(cuhk03=boxes))
    assert [(record.path.name, record.pid, record.camid) for record in domain.query] == [
        ("2_001_2_07.png", "0980", 1),
        ("3_001_1_03.png", "0003", 0),
    ]
    assert domain.train_pids == ("0007", "0041")
    assert all(record.path.parent == both.target / f"images_{boxes}" for record in domain)


@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_one_kind_of_boxes_is_prepared_from_one_index_file(tmp_path: Path, boxes: str) -> None:
    prepared = prepare("cuhk03", release(tmp_path / "raw", (boxes,)), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"images_{boxes}",
        "prepared.json",
        f"splits_new_{boxes}.json",
    ]
    other = {"labeled": "detected", "detected": "labeled"}[boxes]
    assert prepared.notes[0] == f"only the {boxes} boxes, because {CONFIG.format(other)} is missing"
    assert prepared.arguments[2:] == (("--cuhk03", "detected") if boxes == "detected" else ())


def test_all_files_may_lie_in_one_folder(tmp_path: Path) -> None:
    prepared = prepare("cuhk03", release(tmp_path / "raw", ("labeled",), folder="."), tmp_path / "out")
    assert prepared.parts[0].found["train"] == SplitCounts(2, 3)


@both_versions
def test_index_files_of_both_versions_are_read(tmp_path: Path, write: Writer) -> None:
    raw = release(tmp_path / "raw", ())
    write(raw / CONFIG.format("labeled"), config())
    prepared = prepare("cuhk03", raw, tmp_path / "out")
    assert prepared.parts[0].found["train"] == SplitCounts(2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": np.array([[41]])},
            r"_labeled\.mat: labels: has 1 elements, but filelist has 7; expected",
        ),
        (
            {"query_idx": np.array([[0, 5]])},
            r"_labeled\.mat: query_idx: contains 0; expected positions in filelist",
        ),
        (
            {"gallery_idx": np.array([[8]])},
            r"_labeled\.mat: gallery_idx: contains 8; expected positions in .* 1 to 7",
        ),
        ({"train_idx": np.array([[1.5]])}, r"_labeled\.mat: train_idx: contains 1\.5; expected whole numbers"),
        ({"filelist": Cell(["1_001_1_01.jpg"] * 7)}, r"filelist: contains '1_001_1_01\.jpg'; expected names like"),
        (
            {"filelist": Cell(["../1_001_1_01.png"] * 7)},
            r"filelist: contains '\.\./1_001_1_01\.png'; expected names",
        ),
        (
            {"filelist": Cell(["1_001_1_05.png"] * 7)},
            r"filelist: 3 images of train are not among the labeled boxes of .*cuhk-03\.mat: 1_001_1_05\.png",
        ),
        ({"filelist": np.ones((7, 1))}, r"_labeled\.mat: filelist: expected a cell or struct array"),
    ],
)
def test_a_wrong_index_file_is_an_error_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    raw = release(tmp_path / "raw", ("detected",))
    write_v5(raw / CONFIG.format("labeled"), config(**changes))
    with pytest.raises(JointreidError, match=message):
        prepare("cuhk03", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_field_that_is_not_there_is_named(tmp_path: Path) -> None:
    raw = release(tmp_path / "raw", ())
    write_v5(raw / CONFIG.format("labeled"), {k: v for k, v in config().items() if k != "query_idx"})
    with pytest.raises(JointreidError, match="there is no variable query_idx"):
        prepare("cuhk03", raw, tmp_path / "out")


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    raw = release(tmp_path / "raw", ())
    with pytest.raises(JointreidError, match=r"no cuhk03_new_protocol_config_labeled\.mat and cuhk03_new_protocol_"):
        prepare("cuhk03", raw, tmp_path / "out")
    with pytest.raises(JointreidError, match=r"no cuhk-03\.mat here or in its cuhk03_release"):
        prepare("cuhk03", tmp_path, tmp_path / "out")


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    raw = release(tmp_path / "raw", ("labeled",))
    (raw / "cuhk-03.mat").write_bytes(b"")
    with pytest.raises(JointreidError, match=r"cuhk-03\.mat is there twice"):
        prepare("cuhk03", raw, tmp_path / "out")


@pytest.mark.parametrize("saved_anew", [True, False])
def test_images_in_another_version_are_refused(tmp_path: Path, saved_anew: bool) -> None:
    raw = release(tmp_path / "raw", ("labeled",))
    path = raw / "cuhk03_release" / "cuhk-03.mat"
    if saved_anew:
        write_v5(path, {"labeled": np.ones((2, 2))})
    else:
        path.write_bytes(b"")
    with pytest.raises(JointreidError, match=r"cuhk-03\.mat: is not a \.mat file of version 7\.3"):
        prepare("cuhk03", raw, tmp_path / "out")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, r"cuhk-03\.mat: labeled cannot be read: there is no such variable; there are #refs#"),
        (
            {"labeled": Cell([Cell(["x"] * 9)])},
            r"labeled\{1\} cannot be read: its size is \(9, 1\); expected identities x 10",
        ),
        ({"labeled": np.ones((5, 1))}, r"labeled cannot be read: it is not a cell array"),
        ({"labeled": Cell(["x"])}, r"labeled\{1\} cannot be read: it is not a cell array"),
    ],
)
def test_images_of_another_shape_are_refused(tmp_path: Path, variables: dict[str, Any], message: str) -> None:
    raw = release(tmp_path / "raw", ("labeled",))
    write_v73(raw / "cuhk03_release" / "cuhk-03.mat", variables)
    with pytest.raises(JointreidError, match=message):
        prepare("cuhk03", raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_not_of_bytes_is_refused(tmp_path: Path) -> None:
    raw = release(tmp_path / "raw", ("labeled",))
    grid = np.empty((1, 10), object)
    for image in range(10):
        grid[0, image] = picture("labeled", 1, 1, image).astype(np.float64 if image == 3 else np.uint8)
    write_v73(raw / "cuhk03_release" / "cuhk-03.mat", {"labeled": Cell([grid])})
    message = (
        r"1_001_1_04\.png cannot be read: its size is \(15, 6, 3\) of float64; expected height x width x 3 of uint8"
    )
    with pytest.raises(JointreidError, match=message):
        prepare("cuhk03", raw, tmp_path / "out")


def test_damaged_images_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    raw = release(tmp_path / "raw", ("labeled",))
    path = raw / "cuhk03_release" / "cuhk-03.mat"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(JointreidError, match=r"cuhk-03\.mat: .* cannot be read: .*; download the file again"):
        prepare("cuhk03", raw, tmp_path / "out")
