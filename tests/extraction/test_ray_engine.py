"""The ray engine's part of the work, on a stand-in for Ray; `tests/soak/ray_extract.py` runs Ray itself."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jointreid.cli import main
from jointreid.extraction import parts, ray_engine
from jointreid.messages.errors import JointreidError
from tests.extraction.small_runs import draw, untrained_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models_loaded_once")]


class FakeRay:
    """Runs tasks one after another in this process, the last one first.

    Attributes:
        begun: how often each part's worker died already, by its first row.
        broken: what reading outcomes raises.
    """

    def __init__(self) -> None:
        self.begun: dict[int, int] = {}
        self.broken: Exception | None = None
        self.started: list[dict[str, Any]] = []
        self.stopped = 0
        self.computed: list[dict[str, int]] = []
        self.settings: dict[str, Any] = {}
        self.data = self
        self.DataContext = SimpleNamespace(get_current=lambda: SimpleNamespace())

    def init(self, **options: Any) -> None:
        self.started.append(options)
        if options["address"] == "nowhere:1":
            raise ConnectionError("no answer")

    def shutdown(self) -> None:
        self.stopped += 1

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def put(self, value: Any) -> Any:
        return value

    def get(self, value: Any) -> Any:
        return value

    def remote(self, **_: Any) -> Any:
        """Return what makes an actor of `Attempts`, whose methods run at once."""
        attempts = ray_engine.Attempts()
        attempts._begun = self.begun
        handle = SimpleNamespace(begin=SimpleNamespace(remote=attempts.begin))
        return lambda _: SimpleNamespace(remote=lambda: handle)

    def from_items(self, items: list[dict[str, int]], **_: Any) -> "FakeRay":
        self.computed = items
        return self

    def ActorPoolStrategy(self, **_: Any) -> None:
        return None

    def map_batches(self, actor: Any, **settings: Any) -> "FakeRay":
        self.settings = settings | {"actor": actor}
        return self

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        actor = self.settings["actor"](*self.settings["fn_constructor_args"])
        for item in reversed(self.computed):
            if self.broken is not None:
                raise self.broken
            batch = actor({name: np.array([value]) for name, value in item.items()})
            yield {name: values[0] for name, values in batch.items()}


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(ray_engine, "library", lambda name, *_: fake)
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    return fake


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("run") / "run", "bot")


def extract(run: Path, folder: Path, out: str, *options: str) -> int:
    words = ["--images", str(folder / "images"), "--out", str(folder / out), "--device", "cpu", *options]
    return main(["extract", str(run), *words])


def test_the_file_is_that_of_the_local_engine_and_parts_that_are_there_are_not_computed_again(
    run: Path, tmp_path: Path, ray: FakeRay, capsys: pytest.CaptureFixture[str]
) -> None:
    records = draw(tmp_path / "images", 9)
    whole = records[5].path.read_bytes()
    records[5].path.write_bytes(b"")
    assert extract(run, tmp_path, "ray.parquet", "--engine", "ray") == 2
    assert "05.png: the file is empty. Correct it" in capsys.readouterr().err
    assert len(ray.computed) == 5
    records[5].path.write_bytes(whole)
    assert extract(run, tmp_path, "ray.parquet", "--engine", "ray", "--address", "head:6379") == 0
    assert ray.computed == [{"start": start, "stop": start + 2} for start in (0, 2, 4)]
    assert [options["address"] for options in ray.started] == ["local", "head:6379"]
    assert ray.stopped == 2
    assert ray.settings["num_cpus"] == 0.5
    assert ray.settings["max_restarts"] == ray.settings["max_task_retries"] == 20
    assert extract(run, tmp_path, "local.parquet") == 0
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()


def test_a_part_whose_worker_dies_each_time_is_given_up_and_named(
    run: Path, tmp_path: Path, ray: FakeRay, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "images", 6)
    ray.begun = {4: ray_engine.ATTEMPTS - 1, 2: ray_engine.ATTEMPTS}
    assert extract(run, tmp_path, "f.parquet", "--engine", "ray") == 2
    told = capsys.readouterr().err
    assert re.search(r"rows 2 to 3 \(.*02.png to .*03.png\): the worker died each of the 6 times", told)
    ray.begun, ray.broken = {}, OSError("The actor died unexpectedly.\nIts log is elsewhere.")
    assert extract(run, tmp_path, "f.parquet", "--engine", "ray") == 2
    told = capsys.readouterr().err
    assert "Ray gives up: The actor died unexpectedly.; 2 parts are not computed, the first is rows 0 to 1" in told
    ray.broken = None
    assert extract(run, tmp_path, "f.parquet", "--engine", "ray") == 0


def test_a_cluster_that_does_not_answer_is_told(
    run: Path, tmp_path: Path, ray: FakeRay, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "images", 3)
    assert extract(run, tmp_path, "f.parquet", "--engine", "ray", "--address", "nowhere:1") == 2
    assert "Ray does not start: no answer; is the address right" in capsys.readouterr().err
    assert extract(run, tmp_path, "f.parquet", "--address", "nowhere:1") == 2
    assert "add --engine ray" in capsys.readouterr().err


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    job: Any = SimpleNamespace(info=SimpleNamespace(job=""))
    with pytest.raises(JointreidError, match=r"--engine ray computes with ray, which is missing.*jointreid\[scale\]"):
        ray_engine.compute_parts_on_ray(job, Path("nowhere"), [(0, 1)], lambda *_: None)
