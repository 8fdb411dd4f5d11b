"""The page on extending keeps its word: its code trains, and a run that names code does not run it unasked."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jointreid import custom
from jointreid.cli import main
from jointreid.config import RunConfig
from jointreid.data.sampling import make_sampler
from jointreid.messages.errors import JointreidError
from jointreid.run import open_run
from jointreid.training.data import load_training_data
from tests.docs.test_readme import ROOT, SMALL, blocks, commands
from tests.small import small_config

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "extend.md"
WITHOUT_TRUNK = [token for token in SMALL if token not in ("--model.trunk", "resnet50-w16")]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the page's `mine.py`, of which nothing is known to this process."""
    (block,) = blocks(PAGE, "python mine")
    (tmp_path / "mine.py").write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(custom, "_trusted", set())
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def test_the_page_trains_and_its_run_opens_only_with_leave(
    mine: Path, tiny_manifest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, evaluate = commands(PAGE, "bash mine")
    where = ["--manifest", str(tiny_manifest)]
    argv = [*train[:3], *where, *train[5:], *WITHOUT_TRUNK, "--train.log_every", "1"]
    assert main(argv) == 0
    lines = [json.loads(line) for line in Path("runs/mine/metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["kind"] == "train")
    assert first["total"] == pytest.approx(first["equation_5"] + 0.01 * first["domain_gap"], rel=1e-5)
    config = open_run("runs/mine").config
    train_set = load_training_data(config).train_set
    sampler = make_sampler(train_set, config)
    drawn = np.concatenate([sampler.batch_at(index) for index in range(len(sampler))])
    assert np.bincount(train_set.domain_ids[drawn]).tolist() == [4 * len(sampler)] * 5  # of one identity, 4 images

    monkeypatch.setattr(custom, "_trusted", set())
    capsys.readouterr()
    assert main(["evaluate", "runs/mine", "--device", "cpu"]) == 2
    assert "code that does not come with this package" in capsys.readouterr().err
    assert main([*evaluate, "--device", "cpu"]) == 0
    assert main(["train", "--resume", "runs/mine", "--max-steps", "3"]) == 0


@pytest.mark.parametrize(
    ("text", "setting", "message"),
    [
        ("", {"model": {"trunk": "mine:absent"}}, "mine has no function absent"),
        ("def f(*_): return 3", {"model": {"trunk": "mine:f"}}, "returned int; expected a subclass"),
        ("def f(*_): return 3", {"loss": {"kind": "mine:f"}}, "expected a NamedTuple of scalar tensors"),
        ("def f(*_): return 3", {"sampler": {"kind": "mine:f"}}, r"expected an object with batch_at\(index\)"),
        (
            "class f:\n def __init__(s, *_): pass\n def __len__(s): return 1\n def batch_at(s, i): return [0, 10**6]",
            {"sampler": {"kind": "mine:f"}},
            "batch 0 holds 0 to 1000000; expected indices",
        ),
        (
            "class f:\n def __init__(s, *_): pass\n def __len__(s): return 1\n def batch_at(s, i): return [3, -1]",
            {"sampler": {"kind": "mine:f"}},
            "batch 0 holds -1 to 3; expected indices",
        ),
        ("def f(*_): return 3", {"model": {"trunk": "mine:f", "name": "agw"}}, "places that only a ResNet has"),
    ],
)
def test_what_does_not_fit_is_said(
    mine: Path, tiny_manifest: Path, text: str, setting: dict[str, dict[str, str]], message: str
) -> None:
    from jointreid.training.train import train

    (mine / "mine.py").write_text(text)
    custom.trust("mine")
    config = small_config("bot", manifest=tiny_manifest, train={"out": "out", "max_steps": 1})
    with pytest.raises(JointreidError, match=message):
        train(config.replace(**setting))


def test_a_setting_is_a_known_name_or_a_function() -> None:
    for section, name, near in (
        ("model", "trunk", "resnet50"),
        ("sampler", "kind", "union_pk"),
        ("loss", "kind", "paper"),
    ):
        with pytest.raises(JointreidError, match=rf"{section}\.{name}: there is no .* {near}.* my_package"):
            RunConfig().replace(**{section: {name: near[:-1]}})
    with pytest.raises(JointreidError, match=r"model\.trunk"):
        RunConfig().replace(model={"trunk": "os.path:a b"})


def test_code_needs_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "runs/mine", "--code"]) == 2
    assert "--code requires an argument" in capsys.readouterr().err
