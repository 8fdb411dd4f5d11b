"""README keeps its word: its commands run, its table is read, its links lead somewhere."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from jointreid.cli import COMMANDS, main
from jointreid.data.manifest import read_manifest
from tests.command_lines import read_train_options
from tests.small import SMALL_OPTIONS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, info: str) -> list[str]:
    """The bodies of the fenced blocks whose info string is exactly `info`."""
    return re.findall(rf"^```{re.escape(info)}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path, info: str) -> list[list[str]]:
    lines = "".join(blocks(page, info)).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("jointreid ")]


# Added to each training of a page, so that it takes seconds; everything else runs as it stands there.
SMALL = (*SMALL_OPTIONS, "--sampler.ids_per_batch", "6", "--max-steps", "2")


def test_blocks_run_one_after_the_other(tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On folders as the page names them: one folder a person, and one in the layout of Market-1501."""
    shutil.copytree(tiny_manifest.parent / "plaza", tmp_path / "market-style-folder")
    for path in (tiny_manifest.parent / "college").rglob("*.jpg"):
        person = {"0001": "anna", "0002": "ben"}.get(path.name[:4], path.name[:4])
        folder = tmp_path / "my-shop" / person
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{len(list(folder.iterdir())) + 1}.jpg")
    monkeypatch.chdir(tmp_path)
    found = commands(README, "bash")
    assert {argv[0] for argv in found} >= {"data", "train", "evaluate", "report"}
    for argv in found:
        trains = argv[0] == "train" and "--help" not in argv
        assert main([*argv, *SMALL] if trains else argv) == 0, argv
    for block in blocks(README, "python"):
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_need_data_have_settings_that_exist(page: Path) -> None:
    for argv in commands(page, "bash no-test"):
        name = " ".join(argv[:2]) if " ".join(argv[:2]) in COMMANDS else argv[0]
        assert name in COMMANDS or name == "--version"
        if name == "train":
            if "--config" in argv:  # a file of the reader's
                at = argv.index("--config")
                del argv[at : at + 2]
            read_train_options(argv[1:])


def test_the_table_of_commands_lists_each_command_once() -> None:
    """By its name, or by that of its group."""
    table = README.read_text(encoding="utf-8").partition("\n| command | what it does |\n")[2].partition("\n\n")[0]
    listed = re.findall(r"`([a-z -]+)`", " ".join(row.split(" | ")[0] for row in table.splitlines()))
    lines = {name: [entry for entry in listed if f"{name} ".startswith(f"{entry} ")] for name in COMMANDS}
    assert {name: found for name, found in lines.items() if len(found) != 1} == {}
    assert set(listed) == {entry for found in lines.values() for entry in found}


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


def test_the_presets_hold_as_many_images_as_the_page_says() -> None:
    from jointreid.synthetic import PRESETS
    from jointreid.synthetic.shots import choose_shots

    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) \| ([\d,]+) \|", (ROOT / "docs" / "synthetic.md").read_text(), re.MULTILINE
    )
    assert {name for name, _, _ in rows} == set(PRESETS)
    for name, domains, images in rows:
        shots = choose_shots(PRESETS[name], 0)
        assert (len(shots), f"{sum(map(len, shots.values())):,}") == (int(domains), images)
