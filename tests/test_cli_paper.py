"""The commands about the paper as people type them; each calls `main(argv)` in this process."""

import json
from pathlib import Path
from typing import Any

import pytest

import jointreid.paper.run as grid
from jointreid.cli import main
from jointreid.paper.request import Request


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on stderr; it is one paragraph and no traceback."""
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert printed.err.startswith("jointreid: ")
    return printed.err


def test_the_plan_without_data_is_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", "plan", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["trainings"], plan["evaluations"], plan["steps"]) == (41, 165, 2_275_920)


@pytest.mark.parametrize(("given", "trainings"), [("2", 24), ("II", 24), ("5", 5), ("2,5", 27), ("4", 0)])
def test_tables_are_named_in_either_way(given: str, trainings: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", "plan", "--table", given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trainings"] == trainings


def test_what_is_asked_for_reaches_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def stop(request: Request, *_: Any) -> None:
        asked.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "run_grid", stop)
    argv = ["paper", "run", "--manifest", "t.csv", "--data", "market1501=m", "--out", str(tmp_path), "--seeds", "2"]
    argv += ["--scale", "tiny", "--init", "static=tv_in1k", "--init", "dcsd=ddf_imagenet=f.pth", "--device", "cpu"]
    assert main([*argv, "--models", "bot,agw", "--cuhk03", "detected", "--acknowledge-withdrawn"]) == 130
    (request,) = asked
    assert request.base.data.sources == ("market1501=m", "t.csv")
    assert (request.base.data.cuhk03, request.base.data.acknowledge_withdrawn) == ("detected", True)
    assert (request.scale.name, request.seeds, request.models) == ("tiny", (0, 1), ("bot", "agw"))
    assert request.init == {"static": "tv_in1k", "dcsd": "ddf_imagenet=f.pth"}
    assert request.base.train.device == "cpu"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plan --table 9", "there is no table 9"),
        ("plan --scale tinny", "did you mean tiny"),
        ("plan --init bot", "expected MODEL=START"),
        ("tables --out nowhere", "holds no grid.json"),
        ("figure5 a", "give RUN_S and RUN_SDC"),
        ("figure5 a b --ablate-context", "or one RUN with --ablate-context"),
        ("figure5 a b", "b does not exist"),
    ],
)
def test_mistakes_are_one_paragraph(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", *line.split()]) == 2
    assert message in error(capsys)
