"""The page on the architecture: its rooms, arrows, places and words are those of the source."""

import re
from pathlib import Path

import pytest

from tests.docs.test_method import defined
from tests.project.test_layers import SOURCE, STAGES

ROOT = Path(__file__).parents[2]
PACKAGE = SOURCE / "jointreid"
PAGE = ROOT / "docs" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in TEXT.split("\n## ")}
# Not a path with a placeholder, such as `<stem>.domains.json`.
PLACES = sorted(set(re.findall(r"`([\w/]+\.py)(?::([\w.]+))?`", TEXT)))


def rows(section: str) -> list[list[str]]:
    """The cells of each row of a section's tables, without headers."""
    lines = [line.strip("|").split("|") for line in SECTIONS[section].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    headers = {i for i, line in enumerate(cells) if i + 1 < len(cells) and set(cells[i + 1][0]) == {"-"}}
    return [line for i, line in enumerate(cells) if i not in headers and set(line[0]) != {"-"}]


def located(file: str) -> Path:
    """The file that a page means: of the package, or of the repository."""
    return next((path for path in (PACKAGE / file, ROOT / file) if path.exists()), PACKAGE / file)


@pytest.mark.parametrize("place", PLACES, ids=":".join)
def test_a_place_exists(place: tuple[str, str]) -> None:
    file, name = place
    assert located(file).is_file()
    assert not name or name in defined(located(file))


def test_every_mention_of_a_file_is_checked() -> None:
    assert len(PLACES) > 50
    mentioned = set(re.findall(r"`[^`]*\.py[^`]*`", TEXT))
    assert mentioned == {f"`{file}:{name}`" if name else f"`{file}`" for file, name in PLACES}


def test_the_rooms_are_those_of_the_source() -> None:
    packages = {f"{path.parent.relative_to(PACKAGE)}/" for path in PACKAGE.rglob("__init__.py")} - {"./"}
    assert {room.strip("`") for room, _ in rows("Rooms")} == packages | {path.name for path in PACKAGE.glob("*.py")}


def test_the_arrows_are_those_that_the_source_is_tested_against() -> None:
    (picture,) = re.findall(r"^```text\n(.*?)^```", SECTIONS["Arrows"], re.MULTILINE | re.DOTALL)
    stages = [
        [[name.strip() for name in room.split(",")] for room in line.removeprefix("-> ").split("|")]
        for line in picture.splitlines()
    ]
    assert stages == [[[name or "__init__" for name in room] for room in stage] for stage in STAGES]


def test_every_word_of_the_glossary_is_in_use() -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").glob("*.md")]
    used = "".join(path.read_text(encoding="utf-8") for path in files if path not in (PAGE, Path(__file__)))
    used = re.sub(r"_|\s+", " ", used)
    words = [word for word, _ in rows("Glossary")]
    assert len(set(words)) == len(words) >= 40
    spoken = {word: re.escape(word.replace("_", " ")) for word in words}
    assert not [word for word in words if not re.search(rf"\b{spoken[word]}s?\b", used, re.IGNORECASE)]


def test_every_file_of_a_run_directory_is_listed() -> None:
    listed = {
        name.strip("/").split("/")[0] for row in rows("The path of a checkpoint") for name in row[0].split("`")[1::2]
    }
    run = ROOT / "tests" / "fixtures" / "run_v1" / "run"
    kept = {path.name for path in run.iterdir()}
    assert {"config.yaml", "last"} <= kept
    assert kept <= listed


@pytest.mark.parametrize(("addition", "files"), rows("To add something"), ids=lambda value: value.split("`")[0])
def test_an_addition_names_files_that_exist(addition: str, files: str) -> None:
    named = [name.partition(":")[0] for name in re.findall(r"`([^`]+)`", files) if "/" in name or ".py" in name]
    assert named
    assert not [name for name in named if not located(name).exists()]
