"""`jointreid extract`: a folder or a table of images -> one file of features, or a message that says what is wrong."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointreid.cli import main
from jointreid.data.records import ImageRecord
from jointreid.extraction.embedder import Embedder, unit_length
from jointreid.extraction.feature_file import FeatureFile
from jointreid.messages.errors import JointreidError
from tests.extraction.nine_images import ORDER, extract, table
from tests.extraction.small_runs import draw

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models_loaded_once")]


@pytest.fixture(scope="module")
def embed(run: Path) -> Embedder:
    return Embedder.load(run, device="cpu")


def test_rows_are_the_images_in_order_with_their_columns_and_features(
    run: Path, embed: Embedder, shop: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "feature=3" / "features.parquet"  # `feature=3` must not be read as a partition
    assert extract(run, shop, out) == 0
    assert out.read_bytes() == whole.read_bytes()
    opened = FeatureFile.open(out)
    rows = opened.table()
    files = [shop.parent / "images" / f"{i:02}.png" for i in ORDER]
    described = embed.describe(files)
    assert np.array_equal(opened.features(), unit_length(described.features))
    assert rows["row"].to_pylist() == list(range(9))
    assert rows["path"].to_pylist() == [f"images/{i:02}.png" for i in ORDER]
    assert [opened.info.image_file(path) for path in rows["path"].to_pylist()] == [str(path) for path in files]
    assert rows["pid"].to_pylist() == [f"00{i // 2}" for i in ORDER]
    assert rows["camid"].to_pylist() == [i % 3 for i in ORDER]
    assert rows["timestamp"].to_pylist() == [i + 0.5 for i in ORDER]
    assert rows["colour"].to_pylist() == [f"red {i}" for i in ORDER]
    found = embed.predict(described)
    assert rows["predicted_domain"].to_pylist() == [one.domain for one in found]
    assert rows["predicted_camera"].to_pylist() == [one.camera for one in found]
    assert np.allclose(rows["predicted_domain_probability"], [one.domain_probability or 0 for one in found])
    assert np.allclose(rows["predicted_camera_probability"], [one.camera_probability or 0 for one in found])
    assert rows.schema.field("domain_posterior").type.list_size == 2
    assert rows.schema.field("camera_posterior").type.list_size == 4
    assert (opened.info.fingerprint, opened.info.dims, opened.info.normalised) == (embed.fingerprint, 512, True)
    assert (opened.info.cameras, opened.info.rows) == (("d:0", "d:5", "d:10", "e:7"), 9)
    assert not out.with_name("features.parquet.parts").exists()


def test_raw_features_and_mirror_images(run: Path, shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "raw.parquet"
    assert extract(run, shop, out, "--raw", "--flip") == 0
    flipped = Embedder.load(run, device="cpu", flip=True)
    opened = FeatureFile.open(out)
    expected = flipped([shop.parent / "images" / f"{i:02}.png" for i in ORDER], normalise=False)
    assert np.array_equal(opened.features(), expected)
    assert (opened.info.normalised, opened.info.flip) == (False, True)
    assert opened.info.fingerprint == flipped.fingerprint


def test_a_model_without_heads_predicts_nulls(other_run: Path, shop: Path, tmp_path: Path) -> None:
    assert extract(other_run, shop, tmp_path / "f.parquet") == 0
    rows = FeatureFile.open(tmp_path / "f.parquet").table()
    assert rows["predicted_domain"].to_pylist() == rows["predicted_camera_probability"].to_pylist() == [None] * 9
    assert "domain_posterior" not in rows.column_names


def test_a_folder_is_all_its_images_by_path(run: Path, embed: Embedder, tmp_path: Path) -> None:
    for name in ("b/2", "a", ".hidden"):
        draw(tmp_path / "shop" / name, 2, seed=len(name))
    (tmp_path / "shop" / "notes.txt").write_text("no image")
    assert extract(run, tmp_path / "shop", tmp_path / "f.parquet") == 0
    opened = FeatureFile.open(tmp_path / "f.parquet")
    names = ["a/00.png", "a/01.png", "b/2/00.png", "b/2/01.png"]
    assert opened.table()["path"].to_pylist() == names
    assert np.array_equal(opened.features(), embed([tmp_path / "shop" / name for name in names]))


def test_boxes_are_cut_out(run: Path, embed: Embedder, tmp_path: Path, records: list[ImageRecord]) -> None:
    lines = ["images/00.png,2,3,10,20", "images/01.png,,,,", "images/00.png,0,0,23,37", "images/00.png,5,3,10,20"]
    path = table(tmp_path / "shop", lines, "path,x,y,w,h")
    assert extract(run, path, tmp_path / "f.parquet", "--batch-size", "8") == 0
    opened = FeatureFile.open(tmp_path / "f.parquet")
    rows = opened.table()
    expected = [
        embed.boxes(records[0].path, [(2, 3, 10, 20)]),
        embed(records[1].path),
        embed(records[0].path),
        embed.boxes(records[0].path, [(5, 3, 10, 20)]),
    ]
    assert np.allclose(opened.features(), np.concatenate(expected), atol=1e-6)
    assert list(zip(*(rows[name].to_pylist() for name in "xywh"), strict=True))[:2] == [(2, 3, 10, 20), (None,) * 4]
    assert np.allclose(rows["overlap"], [1, 0, 10 * 20 / (23 * 37), 1], atol=1e-6)


@pytest.mark.parametrize("damaged", [[3, 5], list(range(9))])
def test_unreadable_images_are_left_out_and_listed(
    run: Path, manifest: Path, tmp_path: Path, records: list[ImageRecord], capsys: pytest.CaptureFixture[str],
    damaged: list[int],
) -> None:  # fmt: skip
    for i in damaged:
        records[i].path.write_bytes(b"no image")
    out = tmp_path / "f.parquet"
    assert extract(run, manifest, out, "--skip-unreadable") == 0
    opened = FeatureFile.open(out)
    assert opened.table()["row"].to_pylist() == [row for row, i in enumerate(ORDER) if i not in damaged]
    listed = {image.path: image for image in opened.info.skipped}
    assert set(listed) == {f"images/{i:02}.png" for i in damaged}
    assert all("not an image" in image.cause for image in listed.values())
    told = capsys.readouterr().err
    assert all(f"skipped images/{i:02}.png: not an image" in told for i in damaged)
    assert extract(run, manifest, out, "--skip-unreadable") == 0  # complete, and said again
    assert f"skipped images/{damaged[-1]:02}.png" in capsys.readouterr().err
    assert extract(run, manifest, out) == 2
    assert f"is there, without {len(damaged)} unreadable images, such as images/" in capsys.readouterr().err


def test_one_box_outside_its_image_does_not_cost_the_others(
    run: Path, tmp_path: Path, records: list[ImageRecord]
) -> None:
    lines = ["images/00.png,2,3,10,20", "images/00.png,20,3,10,20", "images/00.png,0,0,5,5"]
    path = table(tmp_path / "shop", lines, "path,x,y,w,h")
    assert extract(run, path, tmp_path / "f.parquet", "--skip-unreadable") == 0
    opened = FeatureFile.open(tmp_path / "f.parquet")
    assert opened.table()["row"].to_pylist() == [0, 2]
    assert [image.row for image in opened.info.skipped] == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "f.parquet"], "give a run directory and --images"),
        (["RUN", "--images", "shop"], "--out is missing"),
        (["RUN", "--images", "shop", "--out", "f.csv"], "f.csv; expected a file that ends in .parquet"),
        (
            ["RUN", "--images", "shop", "--out", "s3://b/f.parquet"],
            "s3://b/f.parquet: expected a path on this machine;",
        ),
        (["RUN", "--images", "shop", "--out", "f.parquet", "--shard", "0/3"], "expected K/N with K from 1 to N"),
        (["RUN", "--images", "shop", "--out", "f.parquet", "--shard", "4/3"], "expected K/N with K from 1 to N"),
        (["RUN", "--out", "f.parquet", "--join", "shop"], "leave RUN, --images and --shard out"),
        (["--out", "f.parquet", "--join", "shop"], "contains no shards"),
        (["--out", "f.parquet", "--join", "shop/none.parquet"], "none.parquet does not exist"),
        (["RUN", "--images", "nowhere", "--out", "f.parquet"], "nowhere does not exist; expected a folder of images"),
        (["RUN", "--images", "shop/images/00.png", "--out", "f.parquet"], "is an image; give its folder"),
        (["RUN", "--images", "shop", "--root", "shop", "--out", "f.parquet"], "--root is for tables"),
    ],
)
def test_a_wrong_command_is_told(
    run: Path, tmp_path: Path, records: list[ImageRecord], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], options: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["extract", *(str(run) if word == "RUN" else word for word in options)]) == 2
    assert message in capsys.readouterr().err


def test_a_table_without_the_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"path": ["a"]}), path)
    with pytest.raises(JointreidError, match="has no features with metadata"):
        FeatureFile.open(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(JointreidError, match="cannot be read as Parquet"):
        FeatureFile.open(path)
