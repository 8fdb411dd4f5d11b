"""README keeps its word: its commands run, its table is read, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from jointreid.cli import COMMANDS, main
from jointreid.data.manifest import read_manifest
from jointreid.options import read_options

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, info: str) -> list[str]:
    """The bodies of the fenced blocks whose info string is exactly `info`."""
    return re.findall(rf"^```{re.escape(info)}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path, info: str) -> list[list[str]]:
    lines = "".join(blocks(page, info)).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("jointreid ")]


def test_commands_run() -> None:
    found = commands(ROOT / "README.md", "bash")
    assert found
    for argv in found:
        assert main(argv) == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_need_data_have_settings_that_exist(page: Path) -> None:
    for argv in commands(page, "bash no-test"):
        name = " ".join(argv[:2]) if " ".join(argv[:2]) in COMMANDS else argv[0]
        assert name in COMMANDS or name == "--version"
        if name == "train":
            read_options(argv[1:])


def test_the_table_of_the_readme_is_one(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "README.md", "csv")
    (tmp_path / "people.csv").write_text(block)
    (domain,) = read_manifest(tmp_path / "people.csv").values()
    assert (len(domain.train), len(domain.query), len(domain.gallery)) == (1, 1, 1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
