"""`jointreid extract`: a folder or a table of images -> one file of features, whatever happens on the way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointreid.cli import main
from jointreid.data.records import ImageRecord
from jointreid.extraction import feature_file, parts, work
from jointreid.extraction.embedder import Embedder, unit_length
from jointreid.extraction.feature_file import FeatureFile
from jointreid.extraction.image_table import read_images
from jointreid.extraction.shards import Shard
from jointreid.messages.errors import JointreidError
from tests.extraction.small_runs import draw, untrained_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models_loaded_once")]

HEADER = "domain,split,path,pid,camid,timestamp,colour"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("other") / "run", "bot", seed=1)


@pytest.fixture(scope="module")
def embed(run: Path) -> Embedder:
    return Embedder.load(run, device="cpu")


@pytest.fixture
def records(tmp_path: Path) -> list[ImageRecord]:
    """Nine images that a test may damage."""
    return draw(tmp_path / "shop" / "images", 9)


ORDER = [4, 0, 8, 2, 6, 1, 7, 3, 5]


def table(folder: Path, lines: Sequence[str], header: str = HEADER) -> Path:
    """Write a table of images into a folder."""
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def nine(folder: Path) -> Path:
    """Write a table of nine images, not in the order of their names."""
    rows = [f"shop,gallery,images/{i:02}.png,00{i // 2},{i % 3},{i}.5,red {i}" for i in ORDER]
    return table(folder, rows)


@pytest.fixture
def manifest(tmp_path: Path, records: list[ImageRecord]) -> Path:
    """A table of the images that a test may damage."""
    return nine(tmp_path / "shop")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of nine images that stay as they are."""
    folder = tmp_path_factory.mktemp("shop")
    draw(folder / "images", 9)
    return nine(folder)


@pytest.fixture(scope="module")
def whole(run: Path, shop: Path) -> Path:
    """The features of these images, written by one process that was left alone."""
    out = shop.with_name("whole.parquet")
    work.extract_features(run, shop, out, device="cpu")
    return out


def extract(run: Path, images: Path | str, out: Path, *options: str) -> int:
    return main(["extract", str(run), "--images", str(images), "--out", str(out), "--device", "cpu", *options])


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


# Kills, shards and joins


class Killed(BaseException):
    """What a kill is to the code: no handler of errors runs."""


@pytest.fixture
def parts_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 2)


@pytest.mark.usefixtures("parts_of_two")
@pytest.mark.parametrize("kill_at", ["third part", "part written", "joined", "clean-up"])
def test_killed_at_any_moment_the_same_command_completes_the_same_file(
    run: Path, shop: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: str
) -> None:
    out = tmp_path / "f.parquet"
    seen: list[int] = []
    computed = Embedder.forward

    def forward(self: Embedder, pixels: Any, names: Any) -> Any:
        seen.append(len(names))
        if len(seen) == {"third part": 3}.get(kill_at):
            raise Killed
        return computed(self, pixels, names)

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "forward", forward)
        if kill_at == "part written":
            written = feature_file.write_features

            def write_then_kill(path: Path, *rest: Any) -> None:
                written(path, *rest)
                if len(seen) == 2:
                    raise Killed

            patch.setattr(parts, "write_features", write_then_kill)
        if kill_at == "joined":
            patch.setattr(work, "write_features", kill)
        if kill_at == "clean-up":
            patch.setattr(work, "remove", kill)
        with pytest.raises(Killed):
            extract(run, shop, out)
    assert out.exists() == (kill_at == "clean-up"), "a file that is there is complete"
    before = len(list(tmp_path.glob("f.parquet.parts/rows-*.parquet")))
    assert before == {"third part": 2, "part written": 2, "joined": 5, "clean-up": 5}[kill_at]
    seen.clear()
    monkeypatch.setattr(Embedder, "forward", forward)
    kill_at = ""
    assert extract(run, shop, out) == 0
    assert len(seen) == 5 - before, "finished parts are not computed again"
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("f.parquet.parts*"))


def test_a_complete_file_is_left_as_it_is(
    run: Path, shop: Path, whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = whole.stat().st_mtime_ns
    monkeypatch.setattr(Embedder, "forward", None)
    assert extract(run, shop, whole) == 0
    assert whole.stat().st_mtime_ns == before
    assert "Already complete" in capsys.readouterr().out


@pytest.mark.usefixtures("parts_of_two")
@pytest.mark.parametrize("count", [2, 7])
def test_shards_join_to_the_file_of_one_process(run: Path, shop: Path, whole: Path, tmp_path: Path, count: int) -> None:
    shards = tmp_path / "shards"
    for number in range(count, 0, -1):
        work.extract_features(run, shop, shards / "f.parquet", shard=Shard(number, count), device="cpu")
    assert sorted(path.name for path in shards.iterdir()) == [f"f.{k}-of-{count}.parquet" for k in range(1, count + 1)]
    assert main(["extract", "--join", str(shards), "--out", str(tmp_path / "f.parquet")]) == 0
    assert (tmp_path / "f.parquet").read_bytes() == whole.read_bytes()


def test_a_missing_a_doubled_and_a_foreign_shard_are_named(
    run: Path, other_run: Path, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 3):
        assert extract(run, shop, tmp_path / "f.parquet", "--shard", f"{number}/3") == 0
    assert extract(other_run, shop, tmp_path / "g.parquet", "--shard", "2/3") == 0
    first, third, foreign = (
        str(tmp_path / name) for name in ("f.1-of-3.parquet", "f.3-of-3.parquet", "g.2-of-3.parquet")
    )
    for files, message in (
        ((first, third), "rows 2 to 5 of 9 are in none of the 2 files; run the missing shards"),
        ((first, third, first), "rows 0 to 1 are in another file too"),
        ((first, foreign, third), "are of other models, settings or lists of images"),
    ):
        capsys.readouterr()
        options = [word for file in files for word in ("--join", file)]
        assert main(["extract", *options, "--out", str(tmp_path / "f.parquet")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "f.parquet").exists()


# Refusals


def test_a_file_of_another_model_is_not_overwritten(
    run: Path, other_run: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "f.parquet"
    assert extract(run, manifest, out) == 0
    before = out.read_bytes()
    assert extract(other_run, manifest, out) == 2
    assert "is there, with features of another model" in capsys.readouterr().err
    manifest.write_text(manifest.read_text().replace("red 4", "blue"))
    assert extract(run, manifest, out) == 2
    assert out.read_bytes() == before


@pytest.mark.usefixtures("parts_of_two")
def test_parts_of_another_model_are_refused(
    run: Path, other_run: Path, manifest: Path, tmp_path: Path, records: list[ImageRecord],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    whole = records[3].path.read_bytes()
    records[3].path.write_bytes(whole[:500])
    assert extract(run, manifest, tmp_path / "f.parquet") == 2
    assert "03.png: " in (told := capsys.readouterr().err)
    assert "the same command then resumes" in told
    records[3].path.write_bytes(whole)
    assert extract(other_run, manifest, tmp_path / "f.parquet") == 2
    assert "f.parquet.parts: holds parts of another model" in capsys.readouterr().err
    assert extract(run, manifest, tmp_path / "f.parquet") == 0


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


def test_two_processes_do_not_write_one_file(run: Path, manifest: Path, tmp_path: Path) -> None:
    embed = Embedder.load(run, device="cpu")
    info = work.feature_info(embed, read_images(manifest), run, "last")
    with work.parts_folder(tmp_path / "f.parquet", info), pytest.raises(JointreidError, match="another process writes"):
        work.extract_features(run, manifest, tmp_path / "f.parquet", device="cpu")


def test_a_table_without_the_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"path": ["a"]}), path)
    with pytest.raises(JointreidError, match="has no features with metadata"):
        FeatureFile.open(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(JointreidError, match="cannot be read as Parquet"):
        FeatureFile.open(path)
