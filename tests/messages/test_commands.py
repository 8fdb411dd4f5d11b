"""Commands that are printed run as they stand, whatever the names of files hold."""

import os
import re
import shlex
from pathlib import Path

import pytest

from jointreid import custom
from jointreid.cli import main
from jointreid.cli.paper import RunOptions
from jointreid.config import RunConfig
from jointreid.data.sources import load_domains
from jointreid.ingest import ingest
from jointreid.ingest.summary import check_command
from jointreid.messages.commands import command, options, source_word
from jointreid.messages.errors import JointreidError
from jointreid.paper.datasets import GridDataset
from jointreid.paper.store import GridSetup, joint_runs, save_setup
from jointreid.retrieval.result_files import load_results
from jointreid.run import open_run
from jointreid.training.advice import disk_advice
from tests.command_lines import read_options, read_train_options

PLAIN = ("out/my run (2)/ö'x", "-x", "--out", "~/x", "~", "true", "a=b.csv")
NAMES = (*PLAIN, 'a "b" $HOME `ls` \\n', "tab\there", "new\nline")


def words_of(text: str) -> list[str]:
    """Return the words of the one command in backticks, after `jointreid`."""
    (line,) = re.findall(r"`(jointreid .*?)`(?=[,;. )]|$)", text, re.DOTALL)
    first, *words = shlex.split(line)
    assert first == "jointreid"
    return words


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_and_the_command_line_give_the_name_back(name: str) -> None:
    assert os.path.abspath(read_train_options(shlex.split(command("train", "--resume", Path(name)))[2:]).train.out) == (
        os.path.abspath(name)
    )
    made = read_train_options(shlex.split(command("train", "--out", Path(name), "--manifest", Path(name)))[2:])
    assert os.path.abspath(made.train.out) == os.path.abspath(name)
    assert [os.path.abspath(source) for source in made.data.sources] == [os.path.abspath(name)]


def test_a_path_of_the_usual_kind_is_printed_as_it_is() -> None:
    assert command("train", "--resume", Path("runs/bot-1")) == "jointreid train --resume runs/bot-1"
    assert options("--init", Path("/a b/c")) == "--init '/a b/c'"
    assert source_word("shop", "~x") == "shop=./~x"
    assert source_word("", "a=b.csv") == "./a=b.csv"


def test_a_module_that_this_process_trusts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom, "_trusted", {"my_package.nets"})
    assert command("evaluate", Path("run")) == "jointreid evaluate run --code my_package.nets"


def test_windows_programs_split_the_line_their_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointreid.messages.commands.os.name", "nt")
    assert options("--init", "C:\\my run\\x") == '--init "C:\\my run\\x"'


@pytest.mark.parametrize("name", NAMES[:2])
def test_advice_about_a_run_parses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path(name)
    with pytest.raises(JointreidError) as error:
        open_run(run)
    assert read_train_options(words_of(str(error.value))[1:]).train.out.removeprefix("./") == name
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("train: {seed: 3}\n")
    config = read_train_options(words_of(disk_advice(run))[1:])
    assert (config.train.resume, config.train.seed) == (True, 3)
    with pytest.raises(JointreidError) as error:
        load_results(run)
    assert Path(words_of(str(error.value))[1]) == run


def test_the_next_command_of_ingest_runs(
    tiny_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my people (2)" / "ö'x"
    for pid in ("ann", "bob", "cy", "dee"):
        (folder / pid).mkdir(parents=True)
        for number, image in enumerate(sorted(tiny_manifest.parent.rglob("*.jpg"))[: 2 + ord(pid[0]) % 3]):
            (folder / pid / f"{number}.jpg").write_bytes(image.read_bytes() + pid.encode())
    with pytest.raises(JointreidError) as error:
        load_domains(RunConfig().replace(data={"sources": (str(folder),)}).data)
    assert words_of(str(error.value)) == ["data", "ingest", str(folder), "--out", "manifest.csv"]
    summary = ingest(folder, tmp_path / "a b.csv", camera="none")
    assert summary.next_command == check_command(tmp_path / "a b.csv")
    assert main([*shlex.split(summary.next_command)[1:], "--cache", str(tmp_path / "cache")]) in (0, 1)
    assert "ready" in capsys.readouterr().out


def test_the_command_for_more_models_of_a_grid_parses(tmp_path: Path) -> None:
    out = tmp_path / "my grid"
    data = GridDataset("market1501", "shop", "shop=/my data/shop.csv", "", None, {"train": {}}, {})
    save_setup(GridSetup("tiny", "paper", (data,)), out)
    with pytest.raises(JointreidError) as error:
        joint_runs(out, ("bot", "bot-dcsd"))
    given = read_options(RunOptions, "paper run", words_of(str(error.value))[2:])
    assert (given.out, given.models, given.scale) == (str(out), "bot,bot-dcsd", "tiny")
    assert given.settings["data"]["sources"] == ("shop=/my data/shop.csv",)
