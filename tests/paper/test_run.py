"""The grid, run for real on two small drawn data sets, and what it does about failures."""

import hashlib
import json
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from jointreid.config import RunConfig
from jointreid.data.label_space import DomainLabels, LabelSpace
from jointreid.messages.errors import JointreidError, RunStopped
from jointreid.paper import evaluation as evaluation_room
from jointreid.paper import run as room
from jointreid.paper.grid_data import load_grid_data
from jointreid.paper.plan import GridTask, make_plan
from jointreid.paper.render import markdown
from jointreid.paper.request import GridScale, Request
from jointreid.paper.run import run_grid, train_and_evaluate
from jointreid.paper.store import load_record, load_records
from jointreid.paper.tables import build_tables
from jointreid.retrieval.extract import extract
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import DomainResult
from jointreid.run import open_run
from tests.paper.saved_runs import save_run
from tests.small import SMALL_SECTIONS

pytestmark = pytest.mark.slow


def scale(steps: int) -> GridScale:
    return GridScale(
        "test",
        {**SMALL_SECTIONS, "train": {"max_steps": steps, "log_every": 1, "eval_every": 0, "save_every": 0}},
        "Only a test.",
    )


@pytest.fixture
def request_(tiny_manifest: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Request:
    """BoT and BoT-DCSD on two domains together, for two steps."""
    base = RunConfig().replace(
        data={
            "sources": (f"plaza={tiny_manifest}", f"streets={tiny_manifest}"),
            "cache": str(tmp_path_factory.getbasetemp() / "cache"),
        },
        train={"device": "cpu"},
    )
    return Request(tmp_path / "out", base, tables=("V",), models=("bot", "bot-dcsd"), scale=scale(2))


def quiet() -> Console:
    return Console(quiet=True)


def test_the_grid_resumes_and_fills_tables(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    run_grid(replace(request_, scale=scale(1), models=("bot",)), quiet())
    begun = make_plan(request_)
    assert [(task.steps_done, task.steps, task.missing) for task in begun.tasks] == [
        (1, 2, ("market1501", "cuhk_sysu")),
        (0, 2, ("market1501", "cuhk_sysu")),
    ]
    said = StringIO()
    plan = run_grid(request_, Console(file=said, width=500))
    assert all(task.done for task in plan.tasks)
    assert "1 of 2: bot-joint-plaza+streets-s0, 1 iterations" in said.getvalue()

    runs = request_.out / "runs"
    names = ["bot-dcsd-joint-plaza+streets-s0", "bot-joint-plaza+streets-s0"]
    assert sorted(path.name for path in runs.iterdir()) == names
    records = load_records(request_.out)
    assert [record.step for record in records] == [2, 2]
    assert len({digest for record in records for digest in record.feature_hashes.values()}) == 4
    lines = [json.loads(line) for line in (runs / names[0] / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2]
    own, queries = load_results(runs / names[0])
    assert own.domains == records[0].results.domains
    assert [result.domain for result in own.domains] == ["plaza", "streets"]
    assert len(queries) == 36
    hash_is_that_of_the_features(request_, runs / names[0])

    (table,) = build_tables(request_.out, ["V"])
    text = markdown(table)
    assert text.startswith("Only a test.\n")
    assert "plaza (in place of Market-1501) mAP" in text
    assert sum(figure.status == "" for row in table.rows for figure in row.numbers) == 4
    assert "no data / 65.7 / –" in text

    monkeypatch.setattr(room, "train", None)  # nothing is trained again
    save_run(replace(records[0], results=replace(own, domains=own.domains[:1])), runs / names[0])
    assert run_grid(request_, quiet()) == plan
    assert [result.domain for result in load_record(runs / names[0]).results.domains] == ["plaza", "streets"]
    assert undated(load_results(runs / names[0])[0].domains) == undated(own.domains)
    as_earlier_versions_wrote(runs / names[0], own.domains[:1])
    as_earlier_versions_wrote(runs / names[1], records[1].results.domains)
    assert run_grid(request_, quiet()) == plan
    assert undated(load_record(runs / names[0]).results.domains) == undated(own.domains)
    monkeypatch.setattr(evaluation_room, "evaluate_domains", None)  # nor evaluated
    assert run_grid(request_, quiet()) == plan


def undated(domains: tuple[DomainResult, ...]) -> list[DomainResult]:
    """Results without when they were found."""
    return [replace(result, conditions=None) for result in domains]


def as_earlier_versions_wrote(run: Path, domains: tuple[DomainResult, ...]) -> None:
    """Put the results of some domains into the record itself."""
    record, path = load_record(run), run / "evaluations.json"
    plain = json.loads(path.read_text())
    del plain["files"]
    path.write_text(json.dumps({**plain, "results": replace(record.results, domains=domains).to_dict()}))


def hash_is_that_of_the_features(request: Request, path: Path) -> None:
    run = open_run(path)
    domain = load_grid_data(request, quiet()).domains["market1501"]
    found = extract(
        run.model(),
        [*domain.query, *domain.gallery],
        run.config.image,
        run.config.eval,
        device=torch.device("cpu"),
        cache_dir=Path(run.config.data.cache),
        workers=1,
    )
    assert found.features.dtype == np.float32
    assert load_record(path).feature_hashes["plaza"] == hashlib.sha256(found.features.tobytes()).hexdigest()


def test_moved_data_are_the_same_and_other_images_are_refused(request_: Request, tmp_path: Path) -> None:
    request = replace(request_, models=("bot",), tables=("V",))
    run_grid(request, quiet())
    (place,) = {str(Path(source.split("=")[-1]).parent) for source in request.base.data.sources}
    shutil.copytree(place, tmp_path / "moved")
    sources = tuple(source.replace(place, str(tmp_path / "moved")) for source in request.base.data.sources)
    moved = replace(request, base=request.base.replace(data={"sources": sources}))
    assert all(task.done for task in run_grid(moved, quiet()).tasks)
    image = next(
        path for path in sorted((tmp_path / "moved").rglob("*.jpg")) if "train" in str(path) and "plaza" in str(path)
    )
    image.write_bytes(image.read_bytes() + b"x")
    with pytest.raises(JointreidError, match=r"not those of the run.*plaza, train: 1 of .*choose another --out"):
        run_grid(moved, quiet())


def test_cross_domain_results_stand_beside_the_runs_own(request_: Request) -> None:
    data = load_grid_data(request_, quiet())
    plan = make_plan(replace(request_, tables=("III",), models=("bot",)))
    task = plan.tasks[0]
    assert (task.name, task.run.tests) == ("bot-plaza-s0", ("market1501", "cuhk_sysu"))
    train_and_evaluate(task, data, quiet())
    path = request_.out / "runs" / "bot-plaza-s0"
    assert [(result.domain, result.trained_on) for result in load_results(path)[0].domains] == [
        ("plaza", True),
        ("streets", False),
    ]
    record = load_record(path)
    assert (record.trained_on, record.domains) == ("market1501", ("plaza",))
    assert [result.domain for result in record.results.domains] == ["plaza", "streets"]
    assert "train.max_steps" in record.changed
    trained = replace(task, steps_done=task.steps)
    LabelSpace((DomainLabels("plaza", ("1",), (0,), 0, 0),), "global").save(path / "labels.json")
    with pytest.raises(JointreidError, match=r"labels\.json: the data has other identities or cameras than when"):
        train_and_evaluate(trained, data, quiet())


def test_a_failed_training_does_not_stop_the_others(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fail_first(task: GridTask, *rest: Any) -> str:
        tried.append(task.name)
        if len(tried) == 1:
            raise JointreidError("the loss is not finite")
        return "well"

    monkeypatch.setattr(room, "train_and_evaluate", fail_first)
    with pytest.raises(JointreidError, match=r"1 trainings failed: bot-joint.*: the loss is not finite\. The others"):
        run_grid(request_, quiet())
    assert len(tried) == 2


def test_an_unfinished_training_is_not_evaluated(request_: Request) -> None:
    base = request_.base.replace(train={"minutes": 1e-9})
    with pytest.raises(JointreidError, match="stopped at step 0 of 2; give the same command"):
        run_grid(replace(request_, base=base, models=("bot",)), quiet())
    assert not load_records(request_.out)


def test_a_signal_stops_the_grid_and_names_the_command_that_resumes(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(task: GridTask, *rest: Any) -> str:
        raise RunStopped("stopped by SIGTERM, saved at step 1 of 2", "resume with `jointreid train`")

    monkeypatch.setattr(room, "train_and_evaluate", stop)
    said = r"^bot-joint\S*: stopped by SIGTERM, saved at step 1 of 2; give the same command again to resume$"
    with pytest.raises(RunStopped, match=said):
        run_grid(request_, quiet())


def test_data_that_are_not_the_papers_are_refused_unless_allowed(
    request_: Request, tiny_manifest: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_manifest.parent / "plaza", tmp_path / "people" / "plaza")
    table = tmp_path / "people" / "market.csv"
    lines = tiny_manifest.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line for line in lines[1:] if ",plaza" in line)]) + "\n")
    sources = (f"market1501={table}",)
    wrong = replace(request_, base=request_.base.replace(data={"sources": sources}))
    with pytest.raises(JointreidError, match=r"not the data sets of the paper's Table I.*--allow-counts"):
        run_grid(wrong, quiet())
    assert not (request_.out / "grid.json").exists()
    data = load_grid_data(replace(wrong, allow_counts=True), quiet())
    assert [dataset.is_from_paper for dataset in data.datasets] == [True]


def test_data_that_cannot_be_evaluated_on_are_refused_before_anything_is_written(
    request_: Request, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "path,pid,camid,split,domain\n" + "".join(f"{s}.png,1,0,{s},a\n" for s in ("train", "query", "gallery"))
    )
    with pytest.raises(JointreidError, match=r"the data are not ready: a: .*no such file"):
        run_grid(replace(request_, base=request_.base.replace(data={"sources": (str(table),)})), quiet())
    assert not request_.out.exists()
