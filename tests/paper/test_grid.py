"""The trainings and evaluations of the grid, counted with all data sets and with fewer."""

from pathlib import Path

import pytest

from jointreid.config import RunConfig
from jointreid.data.joint import join
from jointreid.data.protocols import TABLE_I
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sampling import make_sampler
from jointreid.messages.errors import JointreidError
from jointreid.paper.datasets import describe_dataset
from jointreid.paper.facts import JOINT
from jointreid.paper.grid import CONTROLS, SLOTS, PlannedRun, entries, iterations, plan_grid
from jointreid.recipes import PRESETS, apply_recipe

WITHOUT_DUKE = tuple(slot for slot in SLOTS if slot != "dukemtmc")


def steps(runs: tuple[PlannedRun, ...]) -> int:
    return sum(iterations([TABLE_I[slot].train.images for slot in run.train_slots], RunConfig()) for run in runs)


def test_the_whole_grid_is_41_trainings_165_evaluations_and_so_many_iterations() -> None:
    runs = plan_grid()
    assert len(runs) == len({(run.model, run.trained_on) for run in runs}) == 41
    assert sum(len(run.tests) for run in runs) == 165
    assert steps(runs) == 2_275_920


def test_six_trainings_of_one_model() -> None:
    runs = plan_grid(models=("bot-dcsd",))
    assert [run.trained_on for run in runs] == [*SLOTS, JOINT]
    assert steps(runs) == 267_720
    assert steps(runs[:-1]) == 133_800
    assert runs[-1].tables == ("II", "III", "V", "VI")


@pytest.mark.parametrize(
    ("table", "trainings", "evaluations"),
    [("I", 0, 0), ("II", 24, 40), ("III", 24, 120), ("IV", 0, 0), ("V", 5, 25), ("VI", 4, 20), (CONTROLS, 11, 15)],
)
def test_the_trainings_of_one_table(table: str, trainings: int, evaluations: int) -> None:
    runs = plan_grid(tables=(table,))
    assert len(runs) == trainings
    assert sum(len(run.tests) for run in runs) == evaluations


def test_without_duke_joint_training_is_on_four() -> None:
    runs = plan_grid(WITHOUT_DUKE)
    assert len(runs) == 41 - 6
    assert all("dukemtmc" not in (*run.train_slots, *run.tests) for run in runs)
    joint = [run for run in runs if run.trained_on == JOINT]
    assert {run.train_slots for run in joint} == {WITHOUT_DUKE}
    assert iterations([54_926], RunConfig()) == 120 * 858


def test_one_data_set_has_no_joint_training_and_none_has_nothing() -> None:
    runs = plan_grid(("cuhk03",))
    assert {run.trained_on for run in runs} == {"cuhk03"}
    assert all(run.tests == ("cuhk03",) for run in runs)
    assert plan_grid(("cuhk03",), models=("bot-dcsd-s",)) == ()
    assert plan_grid(()) == ()


def test_each_seed_repeats_everything_and_the_first_comes_first() -> None:
    runs = plan_grid(tables=("VI",), seeds=(3, 1))
    assert [run.seed for run in runs] == [3] * 4 + [1] * 4


def test_a_model_that_is_a_recipe_from_other_weights() -> None:
    (run, *_) = plan_grid(tables=(CONTROLS,), models=("bot-a1",))
    assert (run.model, run.recipe) == ("bot-a1", "bot")


def test_rows_of_differences_need_no_training() -> None:
    assert not [entry for entry in entries("V") if " " in entry.model]
    assert {entry.model for entry in entries("V")} == {"bot", "bot-dcsd", "bot-dcsd-s", "bot-dcsd-sd", "bot-dcsd-sc"}


def test_unknown_tables_and_models_are_refused_by_name() -> None:
    with pytest.raises(JointreidError, match="there is no table VII"):
        plan_grid(tables=("VII",))
    with pytest.raises(JointreidError, match="no model in these tables agw-dn; did you mean"):
        plan_grid(models=("agw-dn",))
    with pytest.raises(JointreidError, match="no model in these tables bot-dn"):
        plan_grid(tables=("VI",), models=("bot-dn",))
    with pytest.raises(JointreidError, match="no accuracy table IV"):
        entries("IV")


@pytest.mark.parametrize(
    ("images", "sections", "expected"),
    [
        (63, {}, 120),  # at least one batch an epoch
        (200, {"schedule": {"epochs": 2}}, 6),
        (200, {"schedule": {"epochs": 2}, "train": {"accumulate": 2}}, 2),
        (200, {"train": {"max_steps": 5}}, 5),
        (64, {"train": {"max_steps": 500}}, 120),
    ],
)
def test_iterations_are_those_of_the_loop(images: int, sections: dict[str, dict[str, int]], expected: int) -> None:
    assert iterations([images], RunConfig().replace(**sections)) == expected


def test_iterations_of_epochs_by_passes_count_the_groups_of_each_identity() -> None:
    config = RunConfig().replace(schedule={"epoch_length": "pass", "epochs": 3}, train={"accumulate": 2})
    # 32 identities of 7 images have one group of four each: two batches of 16, where floor(224 / 64) is 3.
    assert iterations([7] * 32, config) == 3 * 1
    assert iterations([7] * 32, config.replace(train={"accumulate": 1})) == 3 * 2


@pytest.mark.parametrize("preset", PRESETS)
def test_a_plan_counts_the_steps_that_the_sampler_of_the_run_gives(preset: str) -> None:
    sizes = [2, 3, 4, 5, 7, 9, 11, 14, 20, 30] * 4
    pids = [f"{pid}" for pid, size in enumerate(sizes) for _ in range(size)]
    domain = Domain("a", train=tuple(ImageRecord(Path(f"{i}"), pid, 0) for i, pid in enumerate(pids)))
    config = apply_recipe("bot", preset)
    sampler = make_sampler(join([domain]), config)
    assert iterations(describe_dataset("market1501", "a=t.csv", domain).train_images, config) == 120 * len(sampler)
    assert len(sampler) == {"paper": 6, "fastreid": 6}.get(preset, 4)
