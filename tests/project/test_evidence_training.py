"""The trainings of the comparison of networks: their settings, the records that belong to them, and their time."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pytest

from jointreid.config import config_hash
from jointreid.messages.errors import JointreidError
from tests.project.made_records import MadeRecords

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test import the benchmarks, which are no package of the project."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def a_task(**changes: Any) -> Any:
    from evidence.tasks import Task

    return Task(**{"dataset": "people", "start": "random", "stage": "tune", "arm": "s", "lr": 0.002, **changes})


def test_the_hash_in_a_record_does_not_depend_on_places(monkeypatch: pytest.MonkeyPatch) -> None:
    import evidence.training_config as plan
    from evidence.tasks import SCALES

    task, scale = a_task(stage="short"), SCALES["cpu"]
    monkeypatch.setattr(plan, "manifest", lambda _name, out, _start: out / "manifest.csv")
    configs = [plan.config(task, Path(out), scale) for out in ("/a", "/b")]
    assert configs[0].data.cache == "/a/cache"
    assert len({config_hash(config) for config in configs}) == 2
    cleared = {config_hash(config.replace(data={"sources": (), "cache": ""})) for config in configs}
    assert cleared == {plan.planned_hash(task, scale)}
    assert plan.planned_hash(a_task(stage="tune"), scale) not in cleared


def test_the_records_of_the_project_are_those_of_the_plan() -> None:
    from evidence.records import RecordStore
    from evidence.tasks import SCALES
    from evidence.training_config import check_records

    store = RecordStore(ROOT / "results" / "evidence")
    assert list(store)
    check_records(store, SCALES["cpu"])


@pytest.mark.parametrize("changes", [{"config": "00000000"}, {"arm": "an arm of the past"}])
def test_a_record_of_other_settings_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    from evidence.records import RecordStore
    from evidence.tasks import SCALES
    from evidence.training_config import check_records, planned_hash

    store, scale = RecordStore(tmp_path), SCALES["cpu"]
    good = {"config": planned_hash(a_task(), scale), "provenance": {"commit": "abcdef0123"}}
    store.save(a_task(), {"task": a_task().identity, **good})
    check_records(store, scale)
    task = a_task(lr=0.004, arm=changes.get("arm", "s"))
    known = planned_hash(a_task(lr=0.004), scale)
    store.save(task, {"task": task.identity, **good, "config": changes.get("config", known)})
    with pytest.raises(JointreidError, match=r"lr0.004_s0.json: this training had other settings(.|\n)*abcdef01"):
        check_records(store, scale)


def test_the_time_of_a_training_adds_up_over_interruptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evidence.spent

    path, clock = tmp_path / "spent" / "a.json", [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "process_time", lambda: clock[0] / 2)

    def interrupted() -> None:
        with evidence.spent.counted(path, resumed=False):
            clock[0] += 10
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with evidence.spent.counted(path, resumed=True) as spent:
        clock[0] += 4
        assert spent.seconds() == (14.0, 7.0)
    assert json.loads(path.read_text()) == [14.0, 7.0]
    with evidence.spent.counted(path, resumed=False) as spent:
        assert spent.seconds() == (0.0, 0.0)


def test_the_time_of_a_training_is_kept_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evidence.spent

    path = tmp_path / "a.json"
    monkeypatch.setattr(evidence.spent, "EVERY_SECONDS", 0.001)
    with evidence.spent.counted(path, resumed=False):
        until = time.monotonic() + 10
        while not path.is_file() and time.monotonic() < until:
            time.sleep(0.001)
        assert path.is_file()


def test_the_gpu_scale_trains_networks_of_full_width(monkeypatch: pytest.MonkeyPatch) -> None:
    import evidence.training_config as plan
    from evidence.options import add_options, chosen_scale
    from evidence.plan import tasks

    monkeypatch.setattr(plan, "manifest", lambda _name, out, _start: out / "manifest.csv")
    parser = argparse.ArgumentParser()
    add_options(parser)
    scale = chosen_scale(parser.parse_args(["--scale", "gpu"]))
    store: Any = MadeRecords()
    while missing := [task for task in tasks(scale, store) if store(task.name) is None]:
        for task in missing:
            store.add(task, task.lr)
    done = [record["task"] for record in store]
    assert {task["arm"] for task in done if task["stage"] == "long"} == {"static", "context", "s", "static-wide"}
    assert {task["start"] for task in done} == {"random-full"}
    assert "matched" not in {task["stage"] for task in done}
    for arm in ("static", "paper", "context"):
        config = plan.config(a_task(start="random-full", stage="short", arm=arm), Path("/out"), scale)
        assert (config.model.trunk, config.model.width, config.model.depthwise) == ("resnet50", 0, False)
        assert (config.image.height, config.image.width, config.image.pad) == (128, 64, 8)
        assert (config.train.device, config.model.pretrain) == ("auto", "none")


def test_weights_of_imagenet_are_a_file_at_the_gpu_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    import evidence.training_config as plan
    from evidence.options import add_options, chosen_scale

    monkeypatch.setattr(plan, "manifest", lambda _name, out, _start: out / "manifest.csv")
    parser = argparse.ArgumentParser()
    add_options(parser)
    scale = chosen_scale(parser.parse_args(["--scale", "gpu", "--weights", "/a/r50.safetensors"]))
    assert scale.starts == ("random-full", "imagenet-full")
    task = a_task(start="imagenet-full", stage="short")
    assert plan.config(task, Path("/out"), scale).model.pretrain == "/a/r50.safetensors"
    moved = chosen_scale(parser.parse_args(["--scale", "gpu", "--weights", "/b/r50.safetensors"]))
    assert plan.planned_hash(task, scale) == plan.planned_hash(task, moved)
    with pytest.raises(SystemExit, match="for --scale gpu alone"):
        chosen_scale(parser.parse_args(["--weights", "/a/r50.safetensors"]))
