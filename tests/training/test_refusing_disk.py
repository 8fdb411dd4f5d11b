"""A training on a file system that refuses every safety step: it ends, saves, resumes, and is evaluated."""

from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file
from torch import equal

from jointreid.cli import main
from jointreid.run import open_run
from jointreid.training.train import train
from tests.refusing_disk import STEPS, refuse
from tests.small import small_config

pytestmark = pytest.mark.slow


def test_a_run_ends_saves_and_resumes_without_any_of_the_steps(
    tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(manifest=tiny_manifest).replace(train={"deterministic": True, "save_every": 1})

    def sitting(name: str, steps: int, *, resume: bool = False) -> Path:
        folder = tmp_path / name
        settings = {"out": str(folder / "run"), "max_steps": steps, "resume": resume}
        train(config.replace(train=settings, data={"cache": str(folder / "cache")}), Console(quiet=True))
        return folder / "run"

    whole = sitting("whole", 3)
    capsys.readouterr()
    for step, numbers in STEPS.items():
        refuse(monkeypatch, tmp_path / "refusing", step, numbers[0])
    sitting("refusing", 2)
    run = sitting("refusing", 3, resume=True)
    assert main(["evaluate", str(run)]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "this file system cannot" in line]
    # "open folder" and "sync folder" are one kind, "attributes" is needed by nothing.
    kinds = [line.partition("cannot ")[2].partition(":")[0] for line in lines]
    assert len(kinds) == len(set(kinds)) == len(STEPS) - 2
    assert open_run(run).state()["step"] == 3
    expected, found = (load_file(path / "last" / "model.safetensors") for path in (whole, run))
    assert expected.keys() == found.keys()
    assert all(equal(expected[name], found[name]) for name in expected)
    assert not [path for path in run.rglob("*") if path.name.endswith((".before", ".held", ".new", ".old"))]
