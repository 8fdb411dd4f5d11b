"""The pages of docs/: all can be reached, and CONTRIBUTING names commands that exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = {page.name for page in (ROOT / "docs").glob("*.md")}


# Pages about what to do with a trained model.
SHOWN = ("extract", "gallery", "verification", "ranklist", "serve", "export", "tools", "weights", "hub", "tutorial")


def leaves(entry: Any) -> Iterator[str]:
    """The files of a navigation, in order."""
    if isinstance(entry, str):
        yield entry
    else:
        for below in entry.values() if isinstance(entry, dict) else entry:
            yield from leaves(below)


def test_the_navigation_lists_every_page_once() -> None:
    nav = list(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert sorted(nav) == sorted(PAGES)


def test_the_first_page_links_to_all_others_in_the_order_of_the_navigation() -> None:
    linked = re.findall(r"\]\((\w[\w-]*\.md)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    nav = list(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert ["index.md", *linked] == nav


def test_contributing_names_commands_and_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = set(re.findall(r"`make ([a-z-]+)", text))
    assert {"quick", "test", "soak", "lint", "format", "bench", "lock"} <= commands
    assert not [name for name in commands if not re.search(rf"^{name}:", makefile, re.MULTILINE)]
    paths = set(re.findall(r"`((?:tests|src|docs)/[\w./-]+)`", text))
    assert paths
    assert not [path for path in paths if not (ROOT / path).exists()]
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


@pytest.mark.parametrize("name", SHOWN)
def test_pages_about_a_trained_model_have_a_picture(name: str) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\((images/[\w.-]+)\)", text)
    assert shown
    for words, image in shown:
        assert len(words) > 20  # what it shows, for readers who do not see it
        assert (ROOT / "docs" / image).stat().st_size < 300_000


def test_every_picture_is_on_a_page() -> None:
    texts = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in PAGES]
    texts.append((ROOT / "README.md").read_text(encoding="utf-8"))
    unused = [
        path.name
        for path in (ROOT / "docs" / "images").iterdir()
        if not any(f"images/{path.name}" in text for text in texts)
    ]
    assert unused == []
