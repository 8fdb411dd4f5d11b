"""Small images of the people: their sizes, also those of boxes of extreme shapes, which must not need much memory."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jointreid.gallery.gallery import Gallery
from jointreid.gallery.rows import FeatureModel, FeatureRows
from jointreid.gallery.store import Store
from jointreid.gallery.thumbnails import thumbnail, with_thumbnails
from tests.gallery.feature_files import FINGERPRINT, person_features


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (60, 120, (32, 64)),
        (120, 60, (128, 64)),
        (1000, 250, (256, 64)),
        (1001, 250, (256, 64)),
        (2000, 250, (256, 32)),  # lower instead of wider
        (100_000, 10, (256, 1)),
        (1, 400_000, (1, 64)),
        (400_000, 1, (256, 1)),
        (1, 1, (64, 64)),
    ],
)
def test_both_sides_are_bounded(width: int, height: int, expected: tuple[int, int]) -> None:
    pixels = np.full((height, width, 3), (200, 60, 20), dtype=np.uint8)
    small = Image.open(io.BytesIO(thumbnail(pixels, 64)))
    assert (small.format, small.size) == ("JPEG", expected)
    assert np.allclose(np.asarray(small), (200, 60, 20), atol=4)


def test_they_are_read_again_where_the_table_is_written_anew_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (20, 40)).save(tmp_path / "a.png")
    gallery = Gallery.open(tmp_path / "g")
    rows = FeatureRows.of(person_features(1, 1), [str(tmp_path / "a.png")], FeatureModel(FINGERPRINT))
    gallery.add(with_thumbnails(rows, 32))
    (key,) = gallery.select()["key"].to_pylist()
    table, failures = Store.table, [RuntimeError("LanceDB: not found"), OSError("no such file")]

    def gone_at_first(self: Store) -> object:
        if failures:
            raise failures.pop()
        return table(self)

    monkeypatch.setattr(Store, "table", gone_at_first)
    assert Image.open(io.BytesIO(gallery.thumbnails([key])[key])).size == (16, 32)
    assert not failures


def test_a_wide_file_of_a_few_kilobytes_gives_a_small_image(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("RGB", (100_000, 10)).save(path)
    assert path.stat().st_size < 5000
    rows = FeatureRows.of(person_features(1, 1), [str(path)], FeatureModel(FINGERPRINT))
    (content,) = with_thumbnails(rows, 1024).metadata["thumbnail"].to_pylist()
    assert Image.open(io.BytesIO(content)).size == (4096, 1)
