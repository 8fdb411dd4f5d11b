"""The plan: what there is to do, what is done, how long the rest takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.config import RunConfig
from jointreid.data.images import Batch
from jointreid.losses import LossFunction, reid_loss
from jointreid.messages.errors import JointreidError
from jointreid.paper.plan import GridTask, calibrate, make_plan, plan_for, render, render_time, run_progress
from jointreid.paper.request import SCALES, GridScale, Request
from jointreid.run import write_config
from jointreid.training.forecast import Forecast
from jointreid.training.step import TrainingStep
from tests.small import SMALL_SECTIONS

SMALL = GridScale(
    "small",
    {**SMALL_SECTIONS, "sampler": {"ids_per_batch": 4, "images_per_id": 2}, "train": {}},
)


def test_without_data_the_plan_is_the_papers(tmp_path: Path) -> None:
    plan = make_plan(Request(tmp_path))
    assert (len(plan.tasks), plan.evaluations, plan.steps, plan.steps_left) == (41, 165, 2_275_920, 2_275_920)
    text = render(plan)
    assert "41 trainings of 2,275,920 iterations and 165 evaluations" in text
    assert "bot-dcsd-joint-s0        133,920 iterations, 5 evaluations; for Table II, III, V, VI" in text
    assert "No data sets given" in text
    assert "dukemtmc: 16,522 train images, withdrawn by its owner" in text
    times = render_time(plan, lambda task: 0.001 if task.run.model == "bot" else 0.0).splitlines()
    assert " ".join(times[0].split()) == "bot 0.001 s a step, 4 min for 267,720 iterations"
    assert len(times) == 11 + 1
    assert times[-1].startswith("About 4 min of training here")  # 267,720 iterations of a millisecond
    four = make_plan(Request(tmp_path, datasets=("market1501", "cuhk_sysu", "cuhk03", "msmt17")))
    assert len(four.tasks) == 35
    assert {task.steps for task in four.tasks if task.run.trained_on == "joint"} == {858 * 120}


def test_the_plan_is_plain_for_json(tmp_path: Path) -> None:
    plain = json.loads(json.dumps(make_plan(Request(tmp_path, tables=("VI",), seeds=(0, 1))).to_dict()))
    assert (plain["trainings"], plain["trainings_left"], plain["evaluations_left"]) == (8, 8, 40)
    assert plain["runs"][0]["name"] == "bot-dcsd-no-sg-joint-s0"
    assert plain["runs"][0]["steps"] == 133_920


def test_a_run_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    plan = make_plan(Request(tmp_path, tables=("controls",), models=("bot-a1",), datasets=("cuhk03",)))
    (task,) = plan.tasks
    assert not task.done
    assert "cannot run: bot-a1 is bot from other initial weights" in render(plan)
    assert plan.seconds_left(lambda _: 1.0) == 0


def test_progress_is_read_from_the_run(tmp_path: Path) -> None:
    config = RunConfig()
    assert run_progress(tmp_path, config) == (0, frozenset())
    write_config(config, tmp_path / "config.yaml")
    assert run_progress(tmp_path, config) == (0, frozenset())  # killed before its first save
    last = tmp_path / "last"
    last.mkdir()
    (last / "model.safetensors").touch()
    (last / "state.json").write_text('{"format_version": 1, "step": 7}')
    (tmp_path / "labels.json").write_text("{")
    assert run_progress(tmp_path, config) == (0, frozenset())
    from jointreid.data.label_space import DomainLabels, LabelSpace

    LabelSpace((DomainLabels("a", ("1",), (0,), 0, 0),), "global").save(tmp_path / "labels.json")
    assert run_progress(tmp_path, config) == (7, frozenset())
    assert run_progress(tmp_path, config.replace(train={"max_steps": 9, "device": "cpu"})) == (7, frozenset())
    assert run_progress(tmp_path, config.replace(optim={"lr": 1.0})) == (0, frozenset())


def test_a_task_is_done_when_trained_and_measured(tmp_path: Path) -> None:
    task = make_plan(Request(tmp_path, tables=("V",))).tasks[0]
    assert not task.done
    assert not replace(task, steps_done=task.steps).done
    assert replace(task, steps_done=task.steps, missing=()).done
    assert not replace(task, missing=()).done


def test_a_step_is_measured_once_a_model_and_only_when_asked(tmp_path: Path) -> None:
    base = RunConfig().replace(train={"device": "cpu"})
    plan = make_plan(Request(tmp_path, base, tables=("V",), models=("bot", "bot-dcsd"), scale=SMALL, seeds=(0, 1)))
    seconds = calibrate(plan)
    bot: list[GridTask] = [task for task in plan.tasks if task.run.model == "bot"]
    first = seconds(bot[0])
    assert 0 < first < 60
    assert seconds(bot[1]) == first  # measured again it would differ


def test_a_step_is_timed_with_the_loss_and_the_precision_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[str] = []
    steps: list[TrainingStep] = []

    def loss_of(kind: str) -> LossFunction:
        kinds.append(kind)
        return reid_loss

    def forecast(step: TrainingStep, batch: Batch) -> Forecast:
        steps.append(step)
        return Forecast(0, 0, 3.0, None)

    monkeypatch.setattr("jointreid.losses.loss_function", loss_of)
    monkeypatch.setattr("jointreid.training.forecast.forecast", forecast)
    base = RunConfig().replace(
        train={"device": "cpu", "precision": "bf16-mixed", "accumulate": 2}, loss={"kind": "my_package:loss"}
    )
    plan = make_plan(Request(tmp_path, base, tables=("V",), models=("bot",), scale=SMALL))
    assert calibrate(plan)(plan.tasks[0]) == 3.0 * 4 / 2  # 2 of 4 identities are timed on a CPU
    assert kinds == ["my_package:loss"]
    assert [(step.arithmetic.precision, step.accumulate) for step in steps] == [("bf16-mixed", 2)]


def test_a_step_that_measures_its_context_is_timed_too(tmp_path: Path) -> None:
    dcsd = {"base": "static", "context": "network", "context_held_out": 0.1}
    base = RunConfig().replace(train={"device": "cpu"}, dcsd=dcsd)
    plan = make_plan(Request(tmp_path, base, tables=("V",), models=("bot-dcsd",), scale=SMALL))
    assert 0 < calibrate(plan)(plan.tasks[0]) < 60


def test_no_such_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="there is no file or folder"):
        make_plan(Request(tmp_path, RunConfig().replace(data={"sources": ("a=/nowhere",)})))
    assert plan_for(Request(tmp_path, scale=SCALES["tiny"]), []).tasks == ()
