"""Folders of classes, and the two crops, on images whose pixels tell where they come from."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from jointreid.data.imagefolder import centre_crop, random_crop, read_image_folder
from jointreid.errors import JointreidError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def coordinates(height: int, width: int) -> NDArray[np.uint8]:
    """An image whose red is its row and whose green is its column, in steps of 1 / 255 of the side."""
    rows = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    columns = np.linspace(0, 255, width)[None].repeat(height, 0)
    return np.stack((rows, columns, np.zeros_like(rows)), axis=2).astype(np.uint8)


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "train/n02/b.JPEG", "train/n02/deep/a.png", "train/n01/x.jpg", "val/n02/y.webp", "val/n01/z.tif")
    touch(tmp_path, "train/n01/Thumbs.db", "train/n01/.hidden.jpg", "train/.cache/x.jpg", "train/readme.txt")
    touch(tmp_path, "train/n01/.thumbs/x.png", "train/n01/folder.jpg/readme.txt")
    folder = read_image_folder(tmp_path)
    assert folder.classes == ("n01", "n02")
    assert [path.name for path in folder.train.paths] == ["x.jpg", "b.JPEG", "a.png"]
    assert folder.train.labels == (0, 1, 1)
    assert folder.val.labels == (0, 1)
    assert len(folder.val) == 2


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/a/1.jpg"], r"val: no such folder; expected train/CLASS/\* and val/CLASS/\* below"),
        (["train/a/1.jpg", "val/a/1.jpg"], "train holds 1 class; expected a folder each for two or more"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/c/1.jpg"],
            r"train and val have different classes: b \(only in train\), c \(only in val\)",
        ),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.txt", "val/b/1.jpg"],
            r"val: no images in a \(1 of 2 classes\); expected files that end in \.jpg",
        ),
    ],
)
def test_folders_that_cannot_be_learnt_from_are_refused(names: list[str], expected: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    with pytest.raises(JointreidError, match=expected):
        read_image_folder(tmp_path)


def test_random_crops_are_parts_of_the_drawn_sizes_and_half_of_them_mirrored() -> None:
    image = coordinates(120, 160)
    generator = np.random.default_rng(0)
    areas, ratios, mirrored = [], [], []
    for _ in range(300):
        crop = random_crop(image, 64, generator).astype(int)
        assert crop.shape == (64, 64, 3)
        rows, columns = crop[-1, 0, 0] - crop[0, 0, 0], crop[0, -1, 1] - crop[0, 0, 1]
        mirrored.append(columns < 0)
        height, width = rows / 255 * 120, abs(columns) / 255 * 160
        areas.append(height * width / (120 * 160))
        ratios.append(width / height)
    assert 0.04 < min(areas) < 0.12
    assert 0.85 < max(areas) <= 1
    assert 0.6 < min(ratios) < 0.85
    assert 1.2 < max(ratios) < 1.6
    assert 110 < sum(mirrored) < 190


@pytest.mark.parametrize(("height", "width"), [(2, 300), (300, 2), (1, 1), (40, 50)])
def test_images_of_every_shape_can_be_cropped(height: int, width: int) -> None:
    image = coordinates(height, width)
    assert random_crop(image, 32, np.random.default_rng(3)).shape == (32, 32, 3)
    assert centre_crop(image, 32).shape == (32, 32, 3)


def test_a_random_crop_follows_from_its_generator() -> None:
    image = coordinates(50, 70)
    crops = [random_crop(image, 32, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(crops[0], crops[1])
    assert not np.array_equal(crops[0], crops[2])


@pytest.mark.parametrize(("height", "width"), [(512, 768), (384, 256), (256, 256)])
def test_the_centre_crop_is_224_out_of_256(height: int, width: int) -> None:
    crop = centre_crop(coordinates(height, width), 224).astype(int)
    scale = 256 / min(height, width)
    for axis, side in ((0, height), (1, width)):
        line = crop[:, 112, 0] if axis == 0 else crop[112, :, 1]
        share = 224 / (side * scale)
        assert line[0] == pytest.approx(255 * (1 - share) / 2, abs=2)
        assert line[-1] == pytest.approx(255 * (1 + share) / 2, abs=2)
