"""The tutorial keeps its word: its commands run one after the other, on fewer and smaller images."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from jointreid.cli import COMMANDS, main
from jointreid.serve.server import open_service
from jointreid.serve.settings import ServeSettings
from tests.docs.test_readme import ROOT, SMALL, blocks, commands

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "tutorial.md"
# Added to commands, so that all take seconds; an option that stands twice counts as it stands last.
SMALLER = {
    "data synth": ("--limit", "300", "--height", "32"),
    "train": (*SMALL, "--init", "start.safetensors"),
    "calibrate": ("--fmr", "0.1"),
    "export": ("--images", "20", "--allow-few", "--allow-vacuous"),
}


def smaller(argv: list[str]) -> list[str]:
    """Return a command of the page with the options that make it small; these replace the page's."""
    name = " ".join(argv[:2]) if " ".join(argv[:2]) in COMMANDS else argv[0]
    added = SMALLER.get(name, ())
    kept: list[str] = []
    skip = False
    for token in argv:
        if not skip and token not in added[::2]:
            kept.append(token)
        skip = token in added[::2] and not skip
    return [*kept, *added]


def test_the_commands_of_the_tutorial_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw, *following = blocks(PAGE, "bash")
    (script,), (count,) = blocks(PAGE, "python folders.py"), blocks(PAGE, "python alarms.py")
    lines = [line for block in following for line in block.replace("\\\n", " ").splitlines()]
    for argv in [shlex.split(line) for line in draw.splitlines()]:
        assert main(smaller(argv[1:])) == 0
    exec(compile(script, "folders.py", "exec"), {})
    for line in lines:
        command, *argv = shlex.split(of_fewer_people(line))
        if command == "jointreid":
            assert main(smaller(argv)) == 0, line
            printed = capsys.readouterr().out
            if argv[0] == "extract":
                exec(compile(count, "alarms.py", "exec"), {})
                assert "searches call somebody the same" in capsys.readouterr().out
            if argv[0] == "match":
                assert ": similarity " in printed
            if argv[0] == "export":  # the network is the page's, whatever its images
                assert re.findall(r"\d+ nodes", printed) == re.findall(r"\d+ nodes", PAGE.read_text(encoding="utf-8"))
            if argv[:2] == ["gallery", "info"]:
                images = int(re.findall(r": (\d+) images of", printed)[0])
            if argv[:2] == ["gallery", "remove"]:
                assert "nothing of them is left" in printed
        else:
            assert command == "rm"
            for pattern in argv[1:]:
                remove(pattern)
    page = open_service("runs/shop", "gallery", ServeSettings(), device="cpu")  # what `serve` shows
    assert 0 < page.gallery.info()["images"] < images


def of_fewer_people(line: str) -> str:
    """Return a line of the page with people who are among the fewer ones, the same for the same on the page."""
    known = sorted(path.stem for path in Path("today").glob("p*.jpg"))
    unknown = sorted(path.stem for path in Path("today").glob("unknown-*.jpg"))
    line = re.sub(r"unknown-\d+", unknown[0], line)
    return re.sub(r"p0061|p0021", lambda found: known[0] if found[0] == "p0061" else known[1], line)


def remove(pattern: str) -> None:
    """Remove what the shell would."""
    found = list(Path().glob(pattern))
    assert found, pattern
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_the_other_commands_of_the_page_have_options_that_exist() -> None:
    found = commands(PAGE, "bash no-test")
    assert [argv[0] for argv in found] == ["serve", "gallery"]
    for argv in found:
        assert main([*argv, "--help"]) == 0
