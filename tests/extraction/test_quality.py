"""The quality of images: what makes an image count more or less in its tracklet."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from jointreid.extraction.quality import overlaps, quality, sharpness


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    for image, found in zip(grey, sharpness(pixels), strict=True):
        values = [
            image[y - 1, x] + image[y + 1, x] + image[y, x - 1] + image[y, x + 1] - 4 * image[y, x]
            for y in range(1, 5)
            for x in range(1, 4)
        ]
        assert found == pytest.approx(np.var(values), rel=1e-5)


def test_blurred_and_enlarged_images_are_less_sharp_and_flat_ones_not_at_all() -> None:
    sharp = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8))
    blurred = sharp.filter(ImageFilter.GaussianBlur(1))
    enlarged = sharp.resize((8, 16)).resize((32, 64))
    flat = Image.new("RGB", (32, 64), "red")
    found = sharpness(np.stack([np.asarray(image) for image in (sharp, blurred, enlarged, flat)]))
    assert found[0] > 10 * found[1]
    assert found[0] > 10 * found[2]
    assert found[3] == 0


def test_overlap_is_the_share_that_another_box_of_the_frame_covers() -> None:
    files = ["a", "a", "b", "a", "a", "b"]
    boxes = [(0, 0, 10, 10), (5, 0, 10, 10), (0, 0, 10, 10), (100, 0, 4, 4), (101, 1, 2, 2), None]
    assert overlaps(files, boxes).tolist() == [0.5, 0.5, 0, 0.25, 1, 0]


def test_the_same_box_twice_and_boxes_that_touch_do_not_overlap() -> None:
    assert overlaps(["a"] * 3, [(0, 0, 4, 4), (0, 0, 4, 4), (4, 0, 4, 4)]).tolist() == [0, 0, 0]
    assert overlaps([], []).shape == (0,)


def test_quality_falls_with_each_of_its_parts() -> None:
    def of(sharp: float = 100, overlap: float = 0, area: int = 512, score: float = 1) -> float:
        arrays = [np.array([value], np.float32) for value in (sharp, overlap, score)]
        return float(quality(arrays[0], arrays[1], np.array([area]), arrays[2], 512)[0])

    assert of() == pytest.approx(10)
    assert of(sharp=25) == pytest.approx(5)
    assert of(overlap=0.5) == pytest.approx(2.5)
    assert of(area=128) == pytest.approx(5)
    assert of(area=4096) == of()
    assert of(score=0.3) == pytest.approx(3)
    assert of(overlap=1) == of(score=0) == of(sharp=0) == 0
