"""The commands of a gallery as people type them, from images to an erasure."""

import json
from pathlib import Path

import pytest

from jointreid.cli import main
from tests.extraction.small_runs import draw, untrained_run
from tests.gallery.feature_files import people_file, person_features, write_features

pytestmark = pytest.mark.slow


def answer(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    """Run a command that must succeed, and return what it prints."""
    capsys.readouterr()
    assert main(["gallery", *map(str, argv)]) == 0
    return capsys.readouterr().out


def error(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> str:
    """Run a command that must fail, and return its one paragraph."""
    capsys.readouterr()
    assert main(["gallery", *map(str, argv)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("jointreid: ")
    return printed


def test_from_images_to_an_erasure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, gallery = untrained_run(tmp_path / "run"), tmp_path / "g"
    records = draw(tmp_path / "images", 6)
    lines = ["path,pid,camid,domain", *(f"{one.path.name},{one.pid},{one.camid},shop" for one in records)]
    (tmp_path / "images" / "people.csv").write_text("\n".join(lines))
    features = tmp_path / "e.parquet"
    images = str(tmp_path / "images" / "people.csv")
    assert main(["extract", str(run), "--images", images, "--out", str(features), "--device", "cpu"]) == 0
    added = answer(capsys, "add", gallery, features, "--set", "source=shop A", "--thumbnails", "32")
    assert added == f"{features}: 6 images added, 0 were there already\n"
    query = records[3].path
    found = json.loads(answer(capsys, "search", gallery, query, "--top", "2", "--json"))
    assert found["people"][0]["pid"] == "p1"
    assert found["people"][0]["hits"][0]["path"] == str(query)
    assert found["people"][0]["similarity"] == pytest.approx(1, abs=1e-4)
    printed = answer(capsys, "search", gallery, query, "--camera", "0", "--threshold", "0.5")
    assert "searched 2 of 6 images, 2 people, all compared" in printed
    assert "same  p1 (shop)" in printed
    assert "the threshold is as given, not calibrated" in printed
    by_feature = json.loads(answer(capsys, "search", gallery, features, "--row", "3", "--json", "--where", "pid = p1"))
    assert by_feature["people"][0]["hits"][0]["path"] == str(query)
    info = answer(capsys, "info", gallery)
    assert "6 images of 3 people" in info
    assert str(run) in info
    assert f"added from {features}: 6 images" in info
    assert "2 images of 1 people would be removed" in answer(capsys, "remove", gallery, "--pid", "p1", "--dry-run")
    removed = answer(capsys, "remove", gallery, "--pid", "p1", "--purge")
    assert "nothing of them is left in the gallery's files" in removed
    assert f"not touched: the images themselves, and the features in {features}" in removed
    assert "p1" not in answer(capsys, "search", gallery, query)
    assert "4 images" in answer(capsys, "compact", gallery)


def test_mistakes_are_one_paragraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery, features = tmp_path / "g", people_file(tmp_path / "e.parquet")
    assert "is no gallery; `jointreid gallery add` makes one" in error(capsys, "search", gallery, features)
    assert "parameter FEATURES requires an argument" in error(capsys, "add", gallery)
    answer(capsys, "add", gallery, features)
    assert "does not say which run made its features; name it with --run" in error(capsys, "search", gallery, "a.png")
    assert "there is no row 99" in error(capsys, "search", gallery, features, "--row", "99")
    assert "threshold is 2.0; expected a similarity" in error(capsys, "search", gallery, features, "--threshold", "2")
    assert "--set source: expected NAME=..." in error(capsys, "add", gallery, features, "--set", "source")
    assert "nothing says whom to remove" in error(capsys, "remove", gallery)
    assert "does not exist" in error(capsys, "add", gallery, tmp_path / "none.parquet")
    other = write_features(tmp_path / "o.parquet", person_features(1, 1), info={"fingerprint": "c" * 64})
    assert "made by another model" in error(capsys, "search", gallery, other)
