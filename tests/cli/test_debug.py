"""`--debug` and JOINTREID_DEBUG: the traceback of an error with its causes, and the same exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jointreid.cli import main

BROKEN = "optim: [1"  # no YAML


@pytest.fixture
def broken(tmp_path: Path) -> list[str]:
    """A command that fails because of another error: one of the YAML parser."""
    (tmp_path / "broken.yaml").write_text(BROKEN)
    return ["train", "--config", str(tmp_path / "broken.yaml")]


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_prints_the_traceback_and_its_causes_and_keeps_the_exit_code(
    place: str, broken: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--debug", *broken] if place == "before" else [*broken, "--debug"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("Traceback (most recent call last)") >= 2  # the error, and the parser's that caused it
    assert "yaml.parser.ParserError" in printed
    assert "in read_yaml" in printed
    assert "\njointreid: " in printed.rpartition("Traceback")[2]


def test_without_debug_an_error_is_one_paragraph(broken: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(broken) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("jointreid: ")
    assert "Traceback" not in printed


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_the_environment_asks_for_it_too(
    value: str, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOINTREID_DEBUG", value)
    assert main(["evaluate", "nowhere"]) == 2
    printed = capsys.readouterr().err
    assert ("Traceback" in printed) is shown
    assert "nowhere does not exist" in printed


def test_an_interrupt_keeps_its_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jointreid.demo.demo", interrupt)
    assert main(["--debug", "demo"]) == 130
    assert "KeyboardInterrupt" in capsys.readouterr().err


@pytest.mark.slow
def test_the_console_script_shows_it_and_exits_with_2(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "JOINTREID_DEBUG"}
    command = [sys.executable, "-m", "jointreid", "--debug", "evaluate", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("jointreid: nowhere does not exist")
