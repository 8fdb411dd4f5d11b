"""The page on reproducing holds: its counts are the grid's, its numbers the paper's, its commands are understood."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from jointreid.cli import command, main, options_of
from jointreid.cli.paper import request_of
from jointreid.config import RunConfig
from jointreid.data.protocols import TABLE_I
from jointreid.paper.facts import JOINT, SOLO, TABLES, TESTS, printed
from jointreid.paper.grid import CONTROLS, SLOTS, iterations, plan_grid
from tests.command_lines import read_options

TEXT = (Path(__file__).parents[2] / "docs" / "reproduce.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"^```bash no-test\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


def row(beginning: str) -> list[str]:
    """The cells of the one row that begins so, without the first."""
    (found,) = [line for line in TEXT.splitlines() if line.startswith(f"| {beginning} |")]
    return [cell.strip() for cell in found.strip("|").split("|")][1:]


@pytest.mark.parametrize("table", [*TABLES, "all", CONTROLS])
def test_counts_are_those_of_the_grid(table: str) -> None:
    def counted(slots: tuple[str, ...]) -> str:
        runs = plan_grid(slots, tables=TABLES if table == "all" else (table,))
        steps = sum(iterations([TABLE_I[p].train.images for p in run.train_slots], RunConfig()) for run in runs)
        return f"{len(runs)}, {sum(len(run.tests) for run in runs)}, {steps:,}"

    without_duke = tuple(slot for slot in SLOTS if slot != "dukemtmc")
    assert row(table)[1:] == [counted(SLOTS), counted(without_duke)]


@pytest.mark.parametrize(
    ("name", "table", "recipe", "trained_on"),
    [
        ("BoT, each alone", "II", "bot", SOLO),
        ("BoT, joint", "II", "bot", JOINT),
        ("BoT-DCSD, each alone", "II", "bot-dcsd", SOLO),
        ("BoT-DCSD, joint", "II", "bot-dcsd", JOINT),
        ("AGW, joint", "II", "agw", JOINT),
        ("AGW-DCSD, joint", "II", "agw-dcsd", JOINT),
        ("BoT-DN, joint", "III", "bot-dn", JOINT),
        ("BoT-SNR, joint", "III", "bot-snr", JOINT),
        ("BoT-DCSD, S only, joint", "V", "bot-dcsd-s", JOINT),
        ("BoT-DCSD, no stop-gradient, joint", "VI", "bot-dcsd-no-sg", JOINT),
    ],
)
def test_numbers_are_the_papers(name: str, table: str, recipe: str, trained_on: str) -> None:
    assert row(name) == [str(printed(table, recipe, trained_on, test, "mAP")) for test in TESTS]


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_commands_are_understood(argv: list[str]) -> None:
    name = " ".join(argv[:2])
    if name in ("paper plan", "paper run"):
        request = request_of(read_options(options_of(command(name)), name, argv[2:]))
        assert request.out
    else:
        assert main([*argv[:2], "--help"]) == 0


def test_the_longest_training_is_as_long_as_told(capsys: pytest.CaptureFixture[str]) -> None:
    longest = []
    for names in ([], ["--datasets", "market1501,cuhk_sysu,cuhk03,msmt17"]):
        assert main(["paper", "plan", "--json", *names]) == 0
        plan: dict[str, Any] = json.loads(capsys.readouterr().out)
        longest.append(max(run["steps"] for run in plan["runs"]))
    assert f"{longest[0]:,}\niterations, {longest[1]:,} without Duke" in TEXT
