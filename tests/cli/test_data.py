"""The commands about data as people type them; each calls `main(argv)` in this process."""

import json
from pathlib import Path

import pytest
from PIL import Image

from jointreid.cli import main

pytestmark = pytest.mark.slow


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed on stderr, checked to be one paragraph without a traceback."""
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert printed.err.startswith("jointreid: ")
    return printed.err


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """One folder a person, four images in each."""
    for shade, person in enumerate(("anna", "ben", "eva", "tom")):
        (tmp_path / "people" / person).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 16), (60 * number, 90 + 20 * shade, 120)).save(
                tmp_path / "people" / person / f"{number}.png"
            )
    return tmp_path / "people"


def test_a_folder_of_images_becomes_a_manifest_that_passes_the_check(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "elsewhere" / "m.csv"
    assert main(["data", "ingest", str(people), "--out", str(manifest), "--name", "shop"]) == 0
    assert "data check" in capsys.readouterr().out  # what to do next
    argv = ["data", "check", "--manifest", str(manifest), "--cache", str(tmp_path / "cache"), "--json"]
    assert main(argv) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["domains"]) == {"shop"}
    assert report["domains"]["shop"]["splits"]["train"]["ids"] == 2


def test_ingest_prints_json(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["data", "ingest", str(people), "--out", str(tmp_path / "m.csv"), "--json"]
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["layout"] == "imagefolder"
    assert main(argv) == 2
    assert "--overwrite" in error(capsys)
    assert main([*argv, "--overwrite", "--test-share", "0.75"]) == 0


def test_people_are_drawn_and_drawn_only_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tiny"
    argv = ["data", "synth", "--preset", "tiny", "--height", "32", "--out", str(out)]
    assert main(argv) == 0
    assert str(out / "manifest.csv") in capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*_00.jpg")}
    assert main(argv) == 0
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*_00.jpg")}
    capsys.readouterr()
    assert main([*argv, "--seed", "2"]) == 2
    assert "contains other synthetic images" in error(capsys)
    assert main(["data", "synth", "--preset", "tinny", "--out", str(tmp_path / "x")]) == 2
    assert "did you mean tiny" in error(capsys)


def test_every_synthetic_domain_is_a_folder_that_readers_take(
    tiny_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_manifest.parent / "plaza"
    cache = ["--cache", str(tmp_path / "cache"), "--json"]
    assert main(["data", "check", "--data", f"shop={folder}", "--data", f"market1501={folder}", *cache]) == 0
    report = json.loads(capsys.readouterr().out)["domains"]
    assert report["shop"]["protocol"] is None
    assert report["market1501"]["protocol"]["name"] == "part of market1501"


def test_prepare_prints_the_terms_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "cuhk_sysu", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert printed.index("Terms: CUHK-SYSU") < printed.index("jointreid: ")
    assert "there is no such folder" in printed
    assert main(["data", "prepare", "market1501", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "--data market1501=PATH" in error(capsys)


def test_withdrawn_data_are_read_only_when_acknowledged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ["bounding_box_train/0001_c1", "bounding_box_train/0004_c1"]
    names = [*train, "query/0002_c1", "bounding_box_test/0002_c2", "bounding_box_test/0003_c2"]
    for shade, name in enumerate(names):
        path = tmp_path / "duke" / f"{name}_f0000001.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 16), (60 * shade, 0, 0)).save(path)
    argv = ["data", "check", "--data", f"dukemtmc={tmp_path / 'duke'}", "--cache", str(tmp_path / "cache")]
    assert main(argv) == 2
    assert "--acknowledge-withdrawn" in error(capsys)
    assert main([*argv, "--acknowledge-withdrawn"]) == 0
    assert "warning: dukemtmc: DukeMTMC-reID was withdrawn by its owner" in capsys.readouterr().out
