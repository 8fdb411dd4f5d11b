"""Run directories that earlier versions wrote stay readable: opened, evaluated, resumed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from jointreid.cli import main
from jointreid.retrieval.result_files import load_results
from jointreid.run import open_run
from tests.small_run import copy_of_fixture

# Names in metrics.jsonl that version 1 wrote -> what they are called now.
RENAMED = {"rate": "lr", "first_rate": "first_lr", "last_rate": "last_lr"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the fixture as the current folder, its trunk trusted."""
    return copy_of_fixture(tmp_path / "place", monkeypatch)


def close(value: Any) -> Any:
    """The numbers are those of one machine; on another one, sums are taken in another order."""
    return pytest.approx(value, rel=1e-3, abs=1e-5)


def lines(path: Path) -> list[dict[str, Any]]:
    plain = [json.loads(line) for line in path.read_text().splitlines()]
    return [{RENAMED.get(key, key): value for key, value in line.items()} for line in plain]


def test_version_1_is_opened_and_embeds(place: Path) -> None:
    run = open_run("run")
    assert run.state()["step"] == 3
    assert run.state("best")["step"] == 2
    assert run.label_space.num_ids == 8
    images = torch.rand(2, 3, 32, 16)
    for name in ("last", "best"):
        with torch.no_grad():
            embedding = run.model(name)(images).bn_embedding
        assert embedding.shape == (2, 16)
        assert bool(torch.isfinite(embedding).all())


def test_version_1_results_are_read_and_found_again(place: Path) -> None:
    before, queries = load_results(Path("run"))
    assert [len([query for query in queries if query.domain == name]) for name in ("east", "west")] == [3, 3]
    assert main(["evaluate", "run", "--device", "cpu"]) == 0
    after, _ = load_results(Path("run"))
    assert after.mean == close(before.mean)


@pytest.mark.slow
def test_version_1_resumes_as_if_never_stopped(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "run"]) == 0
    assert "Resuming run at step 3 of 8" in capsys.readouterr().out
    assert open_run("run").state()["step"] == 8
    # The sitting that ended after step 3 logged and measured there, and the next line tells of step 4 alone.
    expected = [line for line in lines(place / "whole-metrics.jsonl") if line["step"] > 4 or line["kind"] == "epoch"]
    found = [line for line in lines(place / "run" / "metrics.jsonl") if line["step"] > 4 or line["kind"] == "epoch"]
    assert [line["kind"] for line in found] == [line["kind"] for line in expected]
    for line, other in zip(found, expected, strict=True):
        assert other.pop("snr", 0.0) == 0.0  # logged then for models without SNR, and left out since
        assert "snr" not in line
        for key, value in other.items():
            assert line[key] == close(value) if isinstance(value, float) else line[key] == value, key
    mean = json.loads((place / "whole-results.json").read_text())["mean"]
    assert load_results(Path("run"))[0].mean == close(mean)
