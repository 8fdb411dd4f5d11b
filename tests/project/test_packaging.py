"""Facts about the package: its metadata, the lock file, the citation and the licence agree with each other."""

import re
import tomllib
from importlib.metadata import entry_points, metadata, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

import jointreid
from jointreid.cli import console

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


@pytest.fixture(scope="module")
def locked() -> dict[str, list[str]]:
    """The pins of each distribution, one a platform or Python where they differ."""
    pins: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            pin = re.fullmatch(r"([a-z0-9-]+)==([^ ;]+)( ; .+)?", line)
            assert pin, f"requirements.lock: {line!r} is no pin"
            pins.setdefault(pin[1], []).append(pin[2])
    return pins


def test_metadata_name_licence_version_and_command(project: dict[str, Any]) -> None:
    told = metadata("jointreid")
    assert (told["Name"], told["License-Expression"]) == ("jointreid", "Apache-2.0")
    assert project["version"] == version("jointreid") == jointreid.__version__
    (command,) = entry_points(group="console_scripts", name="jointreid")
    assert command.load() is console


def test_types_are_shipped() -> None:
    assert files("jointreid").joinpath("py.typed").is_file()


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = jointreid.trian


def test_the_lock_pins_every_dependency_once_a_platform(project: dict[str, Any], locked: dict[str, list[str]]) -> None:
    extras = project["optional-dependencies"]
    assert {"paper", "gallery", "serve", "export", "scale", "hub", "docs", "dev"} == extras.keys()
    for requirement in [*project["dependencies"], *(name for extra in extras.values() for name in extra)]:
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        assert re.sub(r"[-_.]+", "-", name).lower() in locked, f"{name}: run `make lock`"
    assert locked["torch"] == ["2.13.0"]


def test_the_lock_names_no_index() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^--", text, flags=re.MULTILINE)


def test_the_citation_names_this_version_and_the_paper(project: dict[str, Any]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["title"], citation["version"], citation["license"]) == (
        "jointreid",
        project["version"],
        "Apache-2.0",
    )
    (paper,) = citation["references"]
    assert paper["title"] == "Multi-Domain Joint Training for Person Re-Identification"
    assert len(paper["authors"]) == 5


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert [int(number) for number in re.findall(r"^   (\d)\. ", text, flags=re.MULTILINE)] == list(range(1, 10))
    assert "END OF TERMS AND CONDITIONS" in text
