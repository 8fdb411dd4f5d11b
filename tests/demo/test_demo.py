"""The demo at its smallest: what it leaves, that it can be repeated, and what its weights are."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import jointreid.demo as room
from jointreid.demo import LABEL, SYSTEMS, demo
from jointreid.demo.weights import SYSTEMS as WITH_WEIGHTS
from jointreid.demo.weights import committed_weights
from jointreid.messages.errors import JointreidError
from jointreid.run import open_run, write_config
from jointreid.training.lock import run_lock
from jointreid.training.optim import generator_lr

pytestmark = pytest.mark.slow


def quiet() -> Console:
    return Console(quiet=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    demo(out, "test", quiet())
    return out


FOLDERS = [f"{start}{system}" for start in ("", "scratch/") for system in ("bot", "bot-dcsd", "joint")]


def test_it_leaves_people_six_evaluated_runs_and_a_page(done: Path) -> None:
    for folder in FOLDERS:
        run = open_run(done / folder)
        assert run.config.train.label == LABEL
        assert run.config.model.name == Path(folder).name.replace("joint", "bot-dcsd")
        assert run.config.dcsd.base == ("static" if folder.endswith("joint") else "none")
        assert run.label_space.num_domains > 1
        assert (run.path / "results.json").is_file()
        assert bool(run.config.train.init) is not folder.startswith("scratch")
    assert (done / "data" / "sheet.jpg").is_file()
    assert "<table" in (done / "report.html").read_text()


def test_all_systems_are_trained_alike(done: Path) -> None:
    for folder, joint_lr in (("", 6), ("scratch", 1)):
        configs = [open_run(done / folder / system).config.replace(train={"out": "", "init": ""}) for system in SYSTEMS]
        for config in configs:
            generators = replace(config.optim, generator_lr=configs[0].optim.generator_lr)
            assert replace(config, model=configs[0].model, dcsd=configs[0].dcsd, optim=generators) == configs[0]
        assert [generator_lr(open_run(done / folder / system).config) for system in SYSTEMS] == [1, 1, joint_lr]


def test_it_can_be_repeated_in_place(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    monkeypatch.setattr(room, "train", lambda config, *_, **__: trained.append(config.train.out))
    monkeypatch.setattr(room, "_finish", lambda *_: done)
    runs = [done / folder for folder in FOLDERS]
    kept = {run: (run / "config.yaml").read_text() for run in runs}
    demo(done, "test", quiet())
    assert [Path(path) for path in trained] == runs
    assert not any(run.exists() for run in runs)
    for run, text in kept.items():  # as they were, for the tests that follow
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(text)


def test_it_leaves_other_runs_alone(tmp_path: Path) -> None:
    mine = room._settings(tmp_path, "bot", room.SCALES["test"], room._STARTS[0], "")
    write_config(mine.replace(train={"label": "mine"}), tmp_path / "bot" / "config.yaml")
    with pytest.raises(JointreidError, match="bot: holds a run that is not the demo's"):
        demo(tmp_path, "test", quiet())
    assert "mine" in (tmp_path / "bot" / "config.yaml").read_text()


def test_there_is_no_other_scale(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="there is no scale ful; did you mean full"):
        demo(tmp_path, "ful", quiet())


def test_committed_weights_are_small_and_say_what_they_were_made_of() -> None:
    origin = json.loads(committed_weights("bot").with_name("weights.json").read_text())
    for system in WITH_WEIGHTS:
        content = committed_weights(system).read_bytes()
        assert len(content) <= 4_000_000
        assert hashlib.sha256(content).hexdigest() == origin["weights"][system]["sha256"]
    assert len({origin["weights"][system]["steps"] for system in WITH_WEIGHTS}) == 1
    assert origin["people"]["seed"] != 0  # the demo's own people


def test_a_second_demo_does_not_remove_the_runs_of_the_first(done: Path) -> None:
    with run_lock(done, print), pytest.raises(JointreidError, match=r"is in use by process .*--out"):
        demo(done, "test", quiet())
    assert all((done / folder / "config.yaml").is_file() for folder in FOLDERS)
