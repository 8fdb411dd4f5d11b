"""The commands as people type them, on small drawn images; each calls `main(argv)` in this process."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import jointreid.cli as room
from jointreid.cli import COMMANDS, main
from jointreid.training.pretrain.config import PretrainConfig
from tests.small import SMALL_OPTIONS

pytestmark = pytest.mark.slow

SMALL = (
    *SMALL_OPTIONS,
    *("--sampler.ids_per_batch", "6", "--schedule.epochs", "1", "--schedule.milestones", "[1]"),
)


@pytest.fixture(scope="module")
def runs(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small runs, `bot` and `bot-dcsd`, trained by the command line."""
    folder = tmp_path_factory.mktemp("cli")
    for recipe in ("bot", "bot-dcsd"):
        argv = ["train", "--recipe", recipe, "--manifest", str(tiny_manifest), "--out", str(folder / recipe)]
        assert main([*argv, *SMALL, "--data.cache", str(folder / "cache")]) == 0
    return folder


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed on stderr, checked to be one paragraph without a traceback."""
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert printed.err.startswith("jointreid: ")
    return printed.err


def test_help_names_every_command_and_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for name in COMMANDS:
        group, _, last = name.rpartition(" ")
        assert f" {group or name} " in overview
        assert main([*group.split(), "--help"]) == 0
        assert f" {last} " in capsys.readouterr().out
        for option in ("--help", "--help-all"):
            assert main([*name.split(), option]) == 0
            assert f"Usage: jointreid {name}" in capsys.readouterr().out
    assert main(["help"]) == 0
    assert capsys.readouterr().out == overview
    assert main(["train", "--help-all"]) == 0
    assert "--schedule.warmup_factor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian", 'Unknown command "trian". Did you mean "train"?'),
        ("train --schedule.epoch 3", "Unknown option: --schedule.epoch. Did you mean --schedule.epochs?"),
        ("train", "--manifest"),
        (
            "data chek",
            'Unknown command "chek". Did you mean "check"? Available commands: check, ingest, prepare, synth.',
        ),
        ("data nothing at all", 'Unknown command "nothing". Available commands: check, ingest, prepare, synth.'),
        ("evaluate", 'Command "evaluate" parameter RUN requires an argument. See `jointreid evaluate --help`.'),
        ("evaluate nowhere", "nowhere does not exist"),
        ("evaluate a b", "'b' is one argument too many"),
        ("evaluate a --max-memory lots", "--max-memory is 'lots'; expected bytes, or a size such as 500MB or 2GB"),
        ("evaluate a --chekpoint last", "Unknown option: --chekpoint. Did you mean --checkpoint?"),
        (
            "evaluate a --checkpoint lst",
            'Invalid value "lst" for --checkpoint. Choose from: "last", "best". Did you mean "last"?',
        ),
        ("data ingest a", 'Command "data ingest" parameter --out requires an argument'),
        ("data ingest a --out", 'Command "data ingest" parameter --out requires an argument'),
        ("compare a b", "a does not exist"),
        ("profile resnet5", "did you mean resnet50"),
        ("profile resnet50 --optim.lr 3", "Unknown option: --optim.lr. See `jointreid profile --help`."),
        ("data check --manifest nowhere.csv", "nowhere.csv"),
        ("train --manifest nowhere.csv --device cpu", "nowhere.csv"),
    ],
)
def test_mistakes_are_one_paragraph_and_no_success(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert message in error(capsys)


def test_check_reports_for_people_and_programs(
    tiny_manifest: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = ["data", "check", "--manifest", str(tiny_manifest), "--cache", str(tmp_path)]
    assert main(argv) == 0
    assert capsys.readouterr().out.strip()
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def copied(manifest: Path, folder: Path) -> Path:
    """A copy of a data set that a test may spoil."""
    shutil.copytree(manifest.parent, folder)
    return folder / manifest.name


def test_a_truncated_image_is_named_before_the_first_epoch(
    tiny_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = copied(tiny_manifest, tmp_path / "data")
    row = next(line for line in manifest.read_text().splitlines() if ",train," in line)
    victim = manifest.parent / row.split(",")[2]
    victim.write_bytes(victim.read_bytes()[:-40])
    argv = ["--manifest", str(manifest), "--data.cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    assert main(["train", *argv, *SMALL]) == 2
    assert victim.name in error(capsys)
    assert not (tmp_path / "run").exists()
    assert main(["data", "check", "--manifest", str(manifest), "--cache", str(tmp_path / "cache")]) == 1
    assert victim.name in capsys.readouterr().out


def test_a_query_without_a_match_is_named_before_the_first_epoch(
    tiny_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = copied(tiny_manifest, tmp_path / "data")
    lines = manifest.read_text().splitlines()
    place = next(place for place, line in enumerate(lines) if ",query," in line)
    fields = lines[place].split(",")
    lines[place] = ",".join([*fields[:3], "nobody_else", *fields[4:]])
    manifest.write_text("\n".join(lines) + "\n")
    argv = ["--manifest", str(manifest), "--data.cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    assert main(["train", *argv, *SMALL]) == 2
    assert "nobody_else" in error(capsys)
    assert not (tmp_path / "run").exists()


def test_evaluate_prints_a_table_or_json_and_takes_new_domains(
    runs: Path, tiny_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(runs / "bot-dcsd"), "--device", "cpu"]) == 0
    table = capsys.readouterr().out
    assert "mAP" in table
    assert main(["evaluate", str(runs / "bot-dcsd"), "--device", "cpu", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    names = [domain["domain"] for domain in results["domains"]]
    assert all(name in table for name in names)
    assert all(0 <= domain["mAP"] <= 1 for domain in results["domains"])

    manifest = copied(tiny_manifest, tmp_path / "data")
    lines = manifest.read_text().splitlines()
    kept = [lines[0], *(line.replace(names[0], "unseen", 1) for line in lines if line.startswith(f"{names[0]},"))]
    manifest.write_text("\n".join(kept) + "\n")
    manifest.with_name("manifest.domains.json").unlink()
    argv = ["evaluate", str(runs / "bot-dcsd"), "--data", f"new={manifest}", "--device", "cpu", "--json"]
    assert main(argv) == 0
    printed = capsys.readouterr()
    new = json.loads(printed.out)["domains"]
    assert [domain["domain"] for domain in new] == ["new"]
    assert new[0]["trained_on"] is False
    told = f"test images are those of {names[0]}, which the run was trained on"
    assert told in new[0]["marks"][-1]
    assert told in printed.err
    assert main([*argv, "--rerank", "--max-memory", "2 MB"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rerank"] is True
    assert again["domains"][0]["mINP"] != new[0]["mINP"]
    assert again["domains"][0]["num_valid_queries"] == new[0]["num_valid_queries"]


def test_compare_shows_settings_and_differences(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(runs / "bot"), str(runs / "bot-dcsd")]) == 0
    printed = capsys.readouterr().out
    assert "model.name" in printed
    assert main(["compare", str(runs / "bot"), str(runs / "bot"), "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_a_pickle_in_the_place_of_weights_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "bot", run)
    torch.save({"a": 1}, run / "last" / "model.safetensors")
    assert main(["evaluate", str(run), "--device", "cpu"]) == 2
    assert "Nothing in it was loaded or executed" in error(capsys)


def test_profile_counts_the_papers_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "resnet50-dcsd", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted["params"] == 18_241_524
    assert counted["macs"] == pytest.approx(2.268e9, rel=5e-4)
    assert main(["profile", "bot-dcsd", "--model.trunk", "mobilenetv2_100", "--image.height", "64", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["height"] == 64
    assert main(["profile", "resnet50-dcsd", "--dcsd.mlp_bias"]) == 0
    assert "18,250,964" in capsys.readouterr().out


def test_pretraining_hands_its_settings_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import jointreid.training.pretrain.loop as room

    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(room, "pretrain", lambda *given, **named: asked.append((*given, named)))
    assert main(["pretrain", "images", "--out", "o", "--network", "resnet50", "--lr", "0.1", "--resume"]) == 0
    ((images, out, config, named),) = asked
    assert (images, out, config) == ("images", "o", PretrainConfig(network="resnet50", lr=0.1))
    assert named == {"device": "auto", "devices": 1, "nodes": 1, "workers": 8, "resume": True}
    assert main(["pretrain", "images", "--out", "o", "--network", "vgg"]) == 2
    assert 'Invalid value "vgg" for --network. Choose from: "resnet50-dcsd", "resnet50"' in error(capsys)


class Left(Exception):
    """In place of the end of the process."""


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process take itself for one of several connected ones."""

    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(room, "_is_connected", lambda: True)
    monkeypatch.setattr(os, "_exit", leave)


@pytest.mark.usefixtures("connected")
def test_a_connected_process_leaves_at_once_even_after_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: list[str]) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(room, "main", fail)
    with pytest.raises(Left, match="1"):
        room.console()
    assert "RuntimeError: a bug" in capsys.readouterr().err
    monkeypatch.setattr(room, "_is_connected", lambda: False)
    with pytest.raises(RuntimeError, match="a bug"):
        room.console()


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("environ", "waits"), [({"LOCAL_RANK": "1"}, 3), ({"LOCAL_RANK": "0"}, 0), ({"LOCAL_RANK": "1", "RANK": "1"}, 0)]
)
def test_a_failing_process_leaves_after_the_main_process(
    environ: dict[str, str], waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(os, "getppid", lambda: 1 if len(slept) == 3 else 7)
    monkeypatch.setattr(room, "main", lambda argv: 75)
    with pytest.raises(Left, match="75"):
        room.console()
    assert len(slept) == waits
