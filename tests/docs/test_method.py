"""The page on the method names places in the source and settings: all exist, and no setting of DCSD is missing."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from jointreid.config import SECTIONS, DcsdConfig, LossConfig, all_keys

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", TEXT)))
SETTINGS = set(re.findall(rf"`((?:{'|'.join(SECTIONS)})\.\w+)`", TEXT))


def defined(path: Path) -> set[str]:
    """Return the names that a file defines, methods as `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{member.name}" for member in node.body if isinstance(member, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


@pytest.mark.parametrize("place", PLACES, ids=":".join)
def test_a_place_exists(place: tuple[str, str]) -> None:
    file, name = place
    assert name in defined(ROOT / "src" / "jointreid" / file)


def test_every_mention_of_a_file_is_a_place() -> None:
    assert len(PLACES) > 30
    assert set(re.findall(r"`[^`]*\.py[^`]*`", TEXT)) == {f"`{file}:{name}`" for file, name in PLACES}


def test_settings_exist_and_all_of_dcsd_and_of_the_loss_are_named() -> None:
    assert set(all_keys()) >= SETTINGS
    expected = {f"dcsd.{field.name}" for field in fields(DcsdConfig)} | {f"loss.{f.name}" for f in fields(LossConfig)}
    assert expected - SETTINGS == {"loss.kind"}  # names a custom loss


@pytest.mark.parametrize("number", ["Eq. 1", "Eq. 2", "Eq. 3", "Eq. 4", "Eq. 5", "Fig. 3", "Fig. 4", "Fig. 5"])
def test_every_equation_and_figure_of_the_method_has_its_place(number: str) -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith(f"| {number}")]
    assert rows
    assert all(".py:" in row for row in rows)
