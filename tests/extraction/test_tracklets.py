"""Tracklets: their images become one row, by the quality of each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from jointreid.cli import main
from jointreid.data.records import ImageRecord
from jointreid.extraction import tracklets, work
from jointreid.extraction.embedder import unit_length
from jointreid.extraction.feature_file import FeatureFile
from jointreid.extraction.shards import Shard
from tests.extraction.small_runs import draw

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models_loaded_once")]

HEADER = "path,domain,pid,camid,tracklet,x,y,w,h,score"
# Tracklet 7 of camera 0 and of camera 1 are different ones; the sixth row is in none.
ROWS = (
    "00.png,d,a,0,7,0,0,20,30,0.5",
    "01.png,d,b,1,7,,,,,",
    "02.png,d,a,0,7,,,,,0.9",
    "00.png,d,c,0,8,10,10,12,25,",
    "03.png,d,b,1,7,,,,,0",
    "04.png,d,a,0,,,,,,",
    "01.png,d,c,0,8,3,3,9,9,",
)
EXPECTED = ([0, 2], [1, 4], [3, 6], [5])


@pytest.fixture
def records(tmp_path: Path) -> list[ImageRecord]:
    return draw(tmp_path, 5)


def extract(
    run: Path, folder: Path, name: str, *, pool: bool = True, normalise: bool = True, rows: tuple[str, ...] = ROWS
) -> FeatureFile:
    table = folder / "table.csv"
    table.write_text("\n".join((HEADER, *rows)) + "\n")
    out = folder / f"{name}.parquet"
    work.extract_features(run, table, out, pool_tracklets=pool, normalise=normalise, device="cpu")
    return FeatureFile.open(out)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_tracklet_is_the_mean_of_its_images_by_quality(
    run: Path, tmp_path: Path, records: list[ImageRecord], normalise: bool
) -> None:
    each = extract(run, tmp_path, "each", pool=False, normalise=normalise)
    assert each.num_rows == len(ROWS)
    pooled = extract(run, tmp_path, "pooled", normalise=normalise)
    images, rows = each.table(), pooled.table()
    qualities = np.array(images["quality"].to_pylist())
    features, posteriors = each.features(), np.array(images["camera_posterior"].to_pylist())
    assert (qualities == 0).tolist() == [False] * 4 + [True, False, False], "a score of 0"
    assert rows["images"].to_pylist() == [2, 2, 2, 1]
    best = [members[int(qualities[members].argmax())] for members in EXPECTED]
    assert rows["row"].to_pylist() == best
    for name in ("path", "x", "w", "pid", "camid", "tracklet", "quality"):
        assert rows[name].to_pylist() == [images[name][row].as_py() for row in best]
    for at, members in enumerate(EXPECTED):
        weights = qualities[members] / qualities[members].sum()
        mean = weights @ features[members]
        expected = mean / np.linalg.norm(mean) if normalise else mean
        np.testing.assert_allclose(pooled.features()[at], expected, rtol=1e-4, atol=1e-6)
        posterior = weights @ posteriors[members]
        assert rows["predicted_camera"][at].as_py() == pooled.info.cameras[int(posterior.argmax())]
        assert rows["predicted_camera_probability"][at].as_py() == pytest.approx(posterior.max(), rel=1e-5)
    assert pooled.info.tracklets
    assert not each.info.tracklets


def test_images_that_all_have_quality_0_count_alike(run: Path, tmp_path: Path, records: list[ImageRecord]) -> None:
    rows = ("00.png,d,a,0,1,,,,,0", "01.png,d,a,0,1,,,,,0")
    each = extract(run, tmp_path, "each", pool=False, rows=rows).features()
    pooled = extract(run, tmp_path, "pooled", rows=rows).features()
    np.testing.assert_allclose(pooled[0], unit_length(each.mean(0, keepdims=True))[0], atol=1e-6)


def test_a_blurred_image_and_one_with_another_person_in_it_hardly_count(
    run: Path, tmp_path: Path, records: list[ImageRecord]
) -> None:
    Image.open(records[0].path).filter(ImageFilter.GaussianBlur(4)).save(tmp_path / "blurred.png")
    rows = (
        "00.png,d,a,0,1,,,,,",
        "blurred.png,d,a,0,1,,,,,",
        "02.png,d,a,0,1,0,0,20,30,",
        "02.png,d,b,0,2,1,1,22,36,",
    )
    each = extract(run, tmp_path, "each", pool=False, rows=rows)
    pooled = extract(run, tmp_path, "pooled", rows=rows)
    features = each.features()
    plain = unit_length(features[:3].mean(0, keepdims=True))[0]
    weighted = pooled.features()[0]
    assert weighted @ features[0] > 0.98
    assert weighted @ features[0] > plain @ features[0] + 0.02


def test_shards_that_divide_a_tracklet_join_to_the_same_file(
    run: Path, tmp_path: Path, records: list[ImageRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = extract(run, tmp_path, "whole")
    for number in (1, 2, 3):
        out = tmp_path / "s" / "f.parquet"
        work.extract_features(run, tmp_path / "table.csv", out, shard=Shard(number, 3), device="cpu")
    monkeypatch.setattr(tracklets, "ROW_GROUP", 3)
    work.join([tmp_path / "s"], tmp_path / "f.parquet")
    joined: Any = FeatureFile.open(tmp_path / "f.parquet").table()
    assert joined.equals(whole.table())


def test_a_tracklet_of_two_people_is_refused(
    run: Path, tmp_path: Path, records: list[ImageRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"{HEADER}\n00.png,d,a,0,1,,,,,\n01.png,d,b,0,1,,,,,\n")
    words = ["--images", str(table), "--out", str(tmp_path / "f.parquet"), "--device", "cpu"]
    assert main(["extract", str(run), *words]) == 2
    assert "tracklet 1: images of pid a and of pid b" in capsys.readouterr().err
    assert main(["extract", str(run), *words, "--tracklets", "keep"]) == 0
