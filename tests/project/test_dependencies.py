"""The page of dependencies names those of pyproject.toml, each under the licence that its metadata names."""

import re
import tomllib
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
# Words by which licences are told apart, whatever their versions and the spelling of their names.
FAMILIES = {
    **{name: name for name in ("Apache", "BSD", "MIT", "MPL", "PSF", "Zlib", "CC0", "BSL")},
    "Python Software Foundation": "PSF",
    "0BSD": "BSD",
}


class Row(NamedTuple):
    """A row of the page: a licence and the extras that bring the package, none for what is always needed."""

    licence: str
    extras: frozenset[str]
    why: str


def name_of(requirement: str) -> str:
    """Return a requirement's name as indexes spell it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@pytest.fixture(scope="module")
def page() -> dict[str, Row]:
    rows = {}
    for line in (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] != "package":
            licence, *extras, why = cells[1:]
            names = frozenset(name for cell in extras for name in cell.split(", "))
            assert name_of(cells[0]) not in rows, f"{cells[0]} stands there twice"
            rows[name_of(cells[0])] = Row(licence, names, why)
    return rows


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def test_the_page_names_every_dependency_and_its_extras_and_nothing_else(
    page: dict[str, Row], project: dict[str, Any]
) -> None:
    expected: dict[str, set[str]] = {name_of(requirement): set() for requirement in project["dependencies"]}
    for extra, requirements in project["optional-dependencies"].items():
        for requirement in requirements:
            expected.setdefault(name_of(requirement), set()).add(extra)
    assert {name: set(row.extras) for name, row in page.items()} == expected
    assert all(row.licence and row.why for row in page.values())


def families(text: str) -> set[str]:
    return {FAMILIES[word] for word in re.findall("|".join(map(re.escape, FAMILIES)), text)}


def told_licences(told: PackageMetadata) -> list[str]:
    """Return what metadata say of the licence: its expression, else its short name and the classifiers."""
    if expression := told.get_all("License-Expression", []):
        return expression
    names = [text for text in told.get_all("License", []) if len(text) < 80]
    return names + [text for text in told.get_all("Classifier", []) if text.startswith("License ::")]


def test_licences_are_those_that_the_pinned_versions_name(page: dict[str, Row]) -> None:
    pins = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\n]+)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    compared = 0
    for name, row in page.items():
        try:
            told = metadata(name)
        except PackageNotFoundError:
            continue
        if told["Version"].partition("+")[0] != pins[name]:
            continue
        named = families(" ".join(told_licences(told)))
        assert named, f"{name}: its metadata names no licence that is known here"
        assert families(row.licence) == named, f"{name}: the page says {row.licence}, its metadata {sorted(named)}"
        compared += 1
    assert compared > 10
