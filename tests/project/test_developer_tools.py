"""The commands of a developer: `make help` lists every target, and a commit runs the checks of `make lint`."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def targets() -> list[str]:
    """The targets that are commands, from the line .PHONY."""
    (line,) = re.findall(r"^\.PHONY:(.*)$", MAKEFILE, re.MULTILINE)
    return str(line).split()


def recipe(target: str) -> list[str]:
    """The lines that a target runs."""
    (body,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)
    return [line.strip() for line in body.splitlines()]


def test_every_command_has_a_line_of_help() -> None:
    explained = dict(re.findall(r"^([\w-]+):.*?## (\S.*)$", MAKEFILE, re.MULTILINE))
    assert set(targets()) == explained.keys()
    assert len(set(explained.values())) == len(explained)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_alone_lists_every_command_once() -> None:
    printed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert sorted(line.split()[1] for line in printed.splitlines()) == sorted(targets())
    assert "make lint        check style, formatting and types" in printed


def test_a_commit_runs_the_checks_of_make_lint() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (local,) = config["repos"]
    assert local["repo"] == "local"  # nothing is fetched
    assert all(hook["language"] == "system" for hook in local["hooks"])
    linted = [re.sub(r"^\$\(BIN\)/| --check| \.$", "", line) for line in recipe("lint")]
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in local["hooks"]] == linted


def test_the_editor_wraps_where_ruff_does() -> None:
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert f"[*.py]\nmax_line_length = {ruff['line-length']}\n" in (ROOT / ".editorconfig").read_text(encoding="utf-8")
