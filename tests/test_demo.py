from pathlib import Path

import pytest
from rich.console import Console

from jointreid.demo import LABEL, demo
from jointreid.errors import JointreidError
from jointreid.run import open_run, write_config


def test_the_demo_leaves_data_and_an_evaluated_run_and_can_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        run = demo(tmp_path, minutes=1e-9, console=Console(quiet=True))
        assert run.config.train.label == LABEL
        assert run.config.model.name == "bot-dcsd"
        assert len(run.label_space.domains) > 1
        assert (run.path / "results.json").exists()


def test_the_demo_leaves_other_runs_alone(tmp_path: Path) -> None:
    run = demo(tmp_path, minutes=1e-9, console=Console(quiet=True))
    mine = run.config.replace(train={"label": "mine"})
    write_config(mine, run.path / "config.yaml")
    with pytest.raises(JointreidError, match="already holds a run"):
        demo(tmp_path, minutes=1e-9, console=Console(quiet=True))
    assert open_run(run.path).config.train.label == "mine"
