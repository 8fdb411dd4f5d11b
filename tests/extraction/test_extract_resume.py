"""`jointreid extract` that is killed, shared out in shards, or finds a file or parts of another model."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from jointreid.cli import main
from jointreid.data.records import ImageRecord
from jointreid.extraction import feature_file, parts, work
from jointreid.extraction.embedder import Embedder
from jointreid.extraction.image_table import read_images
from jointreid.extraction.shards import Shard
from jointreid.messages.errors import JointreidError
from tests.extraction.nine_images import extract

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models_loaded_once")]


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


@pytest.mark.usefixtures("parts_of_two")
def test_a_part_without_unreadable_images_is_computed_again_where_all_are_wanted(
    run: Path, manifest: Path, records: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, image = tmp_path / "f.parquet", records[0].path  # the second row
    content = image.read_bytes()
    image.write_bytes(b"no image")

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(work, "write_features", kill)
        with pytest.raises(Killed):
            extract(run, manifest, out, "--skip-unreadable")
    assert extract(run, manifest, out) == 2
    assert f"images/{image.name}" in capsys.readouterr().err
    image.write_bytes(content)
    assert extract(run, manifest, out) == 0
    assert feature_file.FeatureFile.open(out).table()["row"].to_pylist() == list(range(9))


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


def test_images_of_the_same_names_in_another_folder_are_others(
    run: Path, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        shutil.copytree(shop.parent, tmp_path / name)
    out = tmp_path / "f.parquet"
    assert extract(run, tmp_path / "a" / shop.name, out) == 0
    assert extract(run, tmp_path / "b" / shop.name, out) == 2
    assert "is there, with features of another model, other settings or other images" in capsys.readouterr().err


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


def test_two_processes_do_not_write_one_file(run: Path, manifest: Path, tmp_path: Path) -> None:
    embed = Embedder.load(run, device="cpu")
    info = work.feature_info(embed, read_images(manifest), run, "last")
    with work.parts_folder(tmp_path / "f.parquet", info), pytest.raises(JointreidError, match="another process writes"):
        work.extract_features(run, manifest, tmp_path / "f.parquet", device="cpu")
