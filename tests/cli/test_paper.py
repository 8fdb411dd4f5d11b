"""The commands about the paper as people type them; each calls `main(argv)` in this process."""

import json
from pathlib import Path
from typing import Any

import pytest

import jointreid.paper.run as grid
from jointreid.cli import main
from jointreid.paper.request import SCALES, GridScale, Request
from tests.small import SMALL_SECTIONS

pytestmark = pytest.mark.slow

SMALL = GridScale(
    "tiny",
    {**SMALL_SECTIONS, "train": {"max_steps": 1, "log_every": 1, "eval_every": 0, "save_every": 0}},
    "The numbers below mean nothing.",
)


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed on stderr, checked to be one paragraph without a traceback."""
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
    argv += ["--precision", "bf16-mixed"]
    assert main([*argv, "--models", "bot,agw", "--cuhk03", "detected", "--acknowledge-withdrawn"]) == 130
    (request,) = asked
    assert request.base.data.sources == ("t.csv", "market1501=m")
    assert (request.base.data.cuhk03, request.base.data.acknowledge_withdrawn) == ("detected", True)
    assert (request.scale.name, request.seeds, request.models) == ("tiny", (0, 1), ("bot", "agw"))
    assert request.init == {"static": "tv_in1k", "dcsd": "ddf_imagenet=f.pth"}
    assert (request.base.train.device, request.base.train.precision) == ("cpu", "bf16-mixed")


def test_a_grid_is_run_planned_printed_and_drawn(
    tiny_manifest: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SCALES, "tiny", SMALL)
    out, cache = tmp_path / "grid", tmp_path_factory.getbasetemp() / "cache"
    asked = ["--data", f"plaza={tiny_manifest}", "--data", f"streets={tiny_manifest}", "--cache", str(cache)]
    asked += ["--out", str(out), "--table", "5", "--models", "bot-dcsd-s,bot-dcsd", "--scale", "tiny"]
    asked += ["--device", "cpu"]

    assert main(["paper", "plan", *asked]) == 0
    plan = capsys.readouterr().out.splitlines()
    assert "bot-dcsd-joint-plaza+streets-s0    1 iterations, 2 evaluations; for Table V" in plan
    assert [line.split()[0] for line in plan[-3:]] == ["bot-dcsd-s", "bot-dcsd", "About"]
    assert all(" s a step, " in line and line.endswith(" for 1 iterations") for line in plan[-3:-1])

    assert main(["paper", "run", *asked, "--json"]) == 0
    printed = capsys.readouterr()
    files = [Path(file) for file in json.loads(printed.out)["files"]]  # nothing but JSON on standard output
    assert "2 of 2: bot-dcsd-joint-plaza+streets-s0, 1 iterations" in printed.err
    assert files[0] == out / "tables" / "tables.md"
    assert all(file.is_file() for file in files)

    assert main(["paper", "plan", *asked]) == 0
    assert "left: 0 iterations and 0 evaluations" in capsys.readouterr().out.splitlines()[-1]  # nothing is measured

    assert main(["paper", "tables", "--out", str(out), "--table", "V,controls"]) == 0
    five, controls = capsys.readouterr().out.split("## Controls")
    assert five.startswith("The numbers below mean nothing.\n")
    assert "plaza (in place of Market-1501) mAP" in five
    assert "| BoT (JT) | no data / 65.7 / – | not run / 89.3 / – |" in five
    assert "| BoT-DCSD, S | no data / – / – | no data / – / – | not run / – / – |" in controls
    assert files[0].read_text() == f"{five}## Controls{controls}".removesuffix("\n")

    assert main(["paper", "figure5", "--out", str(out), "--per-domain", "6", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("The numbers below mean nothing.\n")
    assert "bot-dcsd-s-joint-plaza+streets-s0, checkpoint last, step 1)" in shown
    assert "train.label" not in shown
    assert (out / "figure5.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "figure5.json").read_text())["columns"][1]["factors"] == ["sample", "domain", "camera"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plan --precision half", 'Invalid value "half" for --precision. Choose from: "auto", "32-true"'),
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
