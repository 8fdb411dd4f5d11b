"""Synthetic people on disk: equal files for equal arguments, calls that were stopped, and folders left as they are."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from jointreid.cli import main
from jointreid.data.manifest import read_manifest
from jointreid.data.preflight import check
from jointreid.data.readers import READERS
from jointreid.data.readers.market_style import market_style
from jointreid.data.records import SPLITS, Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.ranking import evaluate_ranking
from jointreid.synthetic import PRESETS, synthesise, write
from jointreid.synthetic.presets import TABLE1, DomainSpec, SplitSize

pytestmark = pytest.mark.slow

PLAZA = PRESETS["tiny"][0]
# All that a domain can have, small: 56 images.
SMALL = (
    replace(
        PLAZA,
        train=SplitSize(5, 20),
        query=SplitSize(3, 6),
        gallery=SplitSize(3, 9),
        others=SplitSize(2, 3),
        strangers=4,
        cameras=3,
    ),
    replace(PRESETS["tiny"][1], train=SplitSize(2, 8), query=SplitSize(2, 2), gallery=SplitSize(2, 4)),
)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def images(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if name.endswith("_00.jpg")}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `SMALL`, 32x16 pixels, seed 0. Not to be changed."""
    return synthesise(tmp_path_factory.mktemp("small"), SMALL, height=32).parent


# Equal arguments, equal files


def test_equal_arguments_give_equal_files(tiny_manifest: Path, tmp_path: Path) -> None:
    synthesise(tmp_path / "again", "tiny", height=32)
    assert contents(tmp_path / "again") == contents(tiny_manifest.parent)


def test_processes_make_no_difference(tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_FEW", 0)
    done: list[tuple[int, int]] = []
    synthesise(tmp_path / "two", "tiny", height=32, workers=2, on_progress=lambda at, of: done.append((at, of)))
    assert contents(tmp_path / "two") == contents(tiny_manifest.parent)
    assert done == sorted(done)
    assert done[-1] == (672, 672)


def test_another_seed_draws_other_people_and_cameras(small: Path, tmp_path: Path) -> None:
    other = images(synthesise(tmp_path, SMALL, height=32, seed=1).parent)
    assert not set(other.values()) & set(images(small).values())


@pytest.mark.parametrize("height", [32, 33, 64])
def test_images_have_the_given_height_and_half_of_it_as_width(height: int, tmp_path: Path) -> None:
    manifest = synthesise(tmp_path, SMALL[1:], height=height)
    for name in images(manifest.parent):
        with Image.open(tmp_path / name) as image:
            assert (image.size, image.mode, image.format) == ((height // 2, height), "RGB", "JPEG")


def test_images_of_a_limited_set_are_those_of_the_whole(small: Path, tmp_path: Path) -> None:
    kept = images(synthesise(tmp_path, SMALL, height=32, limit=40).parent)
    whole = images(small)
    assert 30 < len(kept) <= 40 < len(whole)
    assert kept == {name: whole[name] for name in kept}


def test_every_image_is_different(small: Path) -> None:
    assert len(set(images(small).values())) == len(images(small)) == 56


# Resuming


class Stop(Exception):
    pass


def test_an_interrupted_call_resumes(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_CHUNK", 5)

    def stop(done: int, total: int) -> None:
        assert total == 56
        if done >= 15:
            raise Stop

    with pytest.raises(Stop):
        synthesise(tmp_path, SMALL, height=32, on_progress=stop)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*_00.jpg")}
    assert len(before) == 15
    assert not (tmp_path / "manifest.csv").exists()
    steps: list[tuple[int, int]] = []
    synthesise(tmp_path, SMALL, height=32, on_progress=lambda at, of: steps.append((at, of)))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert steps[0][0] > 15
    assert steps[-1] == (56, 56)
    assert contents(tmp_path) == contents(small)


def test_a_finished_set_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthesise(tmp_path, SMALL[1:], height=32)
    before = contents(tmp_path)
    monkeypatch.setattr(write, "photograph", None)
    synthesise(tmp_path, SMALL[1:], height=32)
    assert contents(tmp_path) == before


def test_a_lost_image_is_drawn_again(small: Path, tmp_path: Path) -> None:
    synthesise(tmp_path, SMALL, height=32)
    lost = sorted(tmp_path.rglob("*_00.jpg"))[::7]
    for path in lost:
        path.unlink()
    synthesise(tmp_path, SMALL, height=32)
    assert contents(tmp_path) == contents(small)


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[str] = []

    def fail(source: Path, target: Path) -> None:
        if str(target).endswith("_00.jpg") and len(replaced) == 3:
            raise OSError("no space left")
        replaced.append(str(target))
        os.rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="no space left"):
            synthesise(tmp_path, SMALL[1:], height=32)
    assert not list(tmp_path.rglob("*.tmp"))
    assert all(path.stat().st_size for path in tmp_path.rglob("*_00.jpg"))


def test_half_written_files_are_no_images_and_are_removed_when_nobody_writes_them(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plaza" / "query"
    synthesise(tmp_path, SMALL, height=32)
    old, young = (folder / f".0006_c1s1_000020_00.jpg.{process}.tmp" for process in (1, 2))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, times=(time.time() - 3600,) * 2)
    (folder / ".gone.tmp").symlink_to("nowhere")  # as if it was there when listed, and not when looked at
    domain = market_style(tmp_path / "plaza", "plaza")
    assert len(domain.query) == SMALL[0].query.images
    manifest = synthesise(tmp_path, SMALL, height=32)
    assert not old.exists()  # its writer was killed
    assert young.exists()  # its writer may be at work in another process
    young.unlink()
    assert contents(manifest.parent) == contents(small)


def test_anybody_may_read_what_is_written(small: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    modes = {path.stat().st_mode for path in small.rglob("*_00.jpg")}
    assert modes == {plain.stat().st_mode}


# Folders that hold something else


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"limit": 40},
        {"height": 48},
        {"preset": "tiny"},
        {"preset": SMALL[:1]},
        {"preset": (replace(SMALL[0], fashion=TABLE1[2].fashion), SMALL[1])},
    ],
    ids=["seed", "limit", "height", "preset", "domains", "fashion"],
)
def test_other_synthetic_people_are_refused_and_nothing_is_touched(small: Path, changes: dict[str, Any]) -> None:
    before = contents(small)
    with pytest.raises(JointreidError, match=r"contains other synthetic images \(see synthetic.json\)"):
        synthesise(small, **{"preset": SMALL, "height": 32, **changes})
    assert contents(small) == before


def test_the_record_of_custom_domains_depends_on_their_values_alone(tmp_path: Path, small: Path) -> None:
    class Renamed(DomainSpec):
        pass

    renamed = [Renamed(**{field.name: getattr(spec, field.name) for field in fields(spec)}) for spec in SMALL]
    assert "Renamed(" in repr(renamed)
    assert (
        synthesise(tmp_path / "new", renamed, height=32).with_name("synthetic.json").read_text()
        == (small / "synthetic.json").read_text()
    )


def test_a_folder_drawn_before_the_record_of_custom_domains_changed_is_accepted(tmp_path: Path, small: Path) -> None:
    """The earlier record hashed a text with the names of the classes at that time."""
    folder = shutil.copytree(small, tmp_path / "earlier")
    state = json.loads((folder / "synthetic.json").read_text()) | {"preset": "own, 0075146f6a040106"}
    (folder / "synthetic.json").write_text(json.dumps(state, indent=2) + "\n")
    before = contents(folder)
    synthesise(folder, SMALL, height=32)
    assert images(folder) == images(small)
    assert contents(folder)["synthetic.json"] == before["synthetic.json"]
    with pytest.raises(JointreidError, match="contains other synthetic images"):
        synthesise(folder, (SMALL[0], replace(SMALL[1], cameras=SMALL[1].cameras + 1)), height=32)


def test_a_folder_with_other_files_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    (tmp_path / "plaza").mkdir()
    (tmp_path / "plaza" / "thesis.tex").write_text("years of work")
    with pytest.raises(JointreidError, match="is not empty and contains no synthetic images; choose another folder"):
        synthesise(tmp_path, SMALL, height=32)
    with pytest.raises(JointreidError, match="contains no synthetic images"):
        synthesise(tmp_path / "plaza" / "thesis.tex", SMALL, height=32)
    assert contents(tmp_path) == {"plaza/thesis.tex": b"years of work"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "tny"}, "there is no preset tny; did you mean tiny?"),
        ({"preset": ()}, "expected one or more, each with a different name"),
        ({"preset": SMALL[:1] * 2}, "each with a different name"),
        ({"preset": (replace(PLAZA, name="a/b"),)}, "a domain is named 'a/b'"),
        ({"height": 31}, "height is 31, .* expected a height of 32 pixels or more"),
        ({"limit": -1}, "limit -1"),
        ({"seed": -1}, "seed -1"),
        ({"workers": -1}, "workers -1"),
        ({"limit": 3}, "the limit of 3 images is too small"),
    ],
)
def test_a_refused_call_writes_nothing(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=message):
        synthesise(tmp_path / "new", **arguments)
    assert not any(tmp_path.iterdir())


# Reading it


def facts(domain: Domain) -> dict[str, list[tuple[Path, str, int, bool, bool]]]:
    return {
        split: [(record.path, record.pid, record.camid, record.junk, record.distractor) for record in held]
        for split, held in ((split, getattr(domain, split)) for split in SPLITS)
    }


def test_the_manifest_lists_the_images_of_the_specification(small: Path) -> None:
    domains = read_manifest(small / "manifest.csv")
    assert set(domains) == {spec.name for spec in SMALL}
    for spec in SMALL:
        domain = domains[spec.name]
        assert domain.exclude_same_camera is spec.exclude_same_camera
        assert domain.cameras == tuple(range(spec.cameras))
        assert domain.terms == write.TERMS
        assert (len(domain.train), len(domain.query)) == (spec.train.images, spec.query.images)
        assert len(domain.gallery) == spec.gallery.images + spec.others.images + spec.strangers
        strangers = [record for record in domain.gallery if record.distractor]
        assert len(strangers) == spec.strangers
        assert {record.pid for record in strangers} <= {"0000"}
    assert {record.path for domain in domains.values() for record in domain} == {small / name for name in images(small)}


def test_each_domain_is_a_folder_like_market_1501(small: Path) -> None:
    for name, domain in read_manifest(small / "manifest.csv").items():
        assert facts(market_style(small / name, name)) == facts(domain)
        assert facts(READERS["market1501"](small / name)) == facts(domain)


def test_the_preflight_check_finds_no_error(tiny_manifest: Path, small: Path) -> None:
    for manifest in (tiny_manifest, small / "manifest.csv"):
        report, _ = check(list(read_manifest(manifest).values()), cache_dir=None)
        assert report.ok, report.problems
        assert not report.unreadable


def test_the_state_says_what_was_asked_for(tiny_manifest: Path) -> None:
    state = json.loads((tiny_manifest.parent / "synthetic.json").read_text())
    assert {name: state[name] for name in ("preset", "seed", "limit", "height")} == {
        "preset": "tiny",
        "seed": 0,
        "limit": 0,
        "height": 32,
    }
    assert sum(state["images"].values()) == 672


# Difficulty


def stripes(record: ImageRecord, space: str) -> NDArray[np.float64]:
    """Roots of the joint histograms of 64 colours in eight stripes from head to foot."""
    with Image.open(record.path) as image:
        pixels = np.asarray(image.convert(space)).astype(np.int64) // 64
    codes = np.array_split(pixels @ (16, 4, 1), 8)
    counts = [np.bincount(stripe.ravel(), minlength=64) / stripe.size for stripe in codes]
    roots: NDArray[np.float64] = np.sqrt(np.concatenate(counts))
    return roots


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Domain]:
    """All five domains, with 20 people to search for among 50 images, at the usual size."""

    def shorten(spec: DomainSpec) -> DomainSpec:
        return replace(
            spec,
            train=SplitSize(2, 8),
            query=SplitSize(20, 20),
            gallery=SplitSize(20, 50),
            others=SplitSize(0, 0),
            strangers=0,
            views=min(spec.views, 8),
        )

    folder = tmp_path_factory.mktemp("hard")
    return read_manifest(synthesise(folder, [shorten(spec) for spec in TABLE1], workers=1))


@pytest.mark.parametrize("space", ["RGB", "HSV"])
def test_a_colour_histogram_does_not_find_people(hard: Mapping[str, Domain], space: str) -> None:
    found = {}
    for name, domain in hard.items():
        query, gallery = (
            np.stack([stripes(record, space) for record in held]) for held in (domain.query, domain.gallery)
        )
        metrics = evaluate_ranking(
            query,
            gallery,
            [record.pid for record in domain.query],
            [record.pid for record in domain.gallery],
            [record.camid for record in domain.query],
            [record.camid for record in domain.gallery],
            exclude_same_camera=domain.exclude_same_camera,
        )
        assert metrics.num_valid_queries == 20
        found[name] = round(metrics.mAP, 3)
    assert len(found) == 5
    assert max(found.values()) <= 0.35, found


# The command


def test_the_command_draws_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "people"
    argv = ["data", "synth", "--preset", "tiny", "--height", "32", "--limit", "100", "--out", str(folder)]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert f"Wrote {folder / 'manifest.csv'} in " in printed
    assert f"jointreid data check --manifest {folder / 'manifest.csv'}" in printed
    assert {path.name for path in folder.iterdir()} == {
        "manifest.csv",
        "manifest.domains.json",
        "sheet.jpg",
        "synthetic.json",
        *(spec.name for spec in PRESETS["tiny"]),
    }
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*_00.jpg")}
    assert 60 < len(before) <= 100
    assert main(argv) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*_00.jpg")} == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--preset", "tinny", "there is no preset tinny; did you mean tiny?"),
        ("--workers", "-2", "workers -2"),
        ("--limit", "9", "is too small"),
    ],
)
def test_the_command_refuses_in_one_paragraph(
    option: str, value: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "synth", "--out", str(tmp_path / "people"), option, value]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not any(tmp_path.iterdir())
