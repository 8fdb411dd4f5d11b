"""The comparison of networks: which training comes next, and which learning rate an arm gets."""

from collections.abc import Callable
from typing import Any

import pytest

from jointreid.config import config_difference
from jointreid.recipes import apply_recipe
from jointreid.training.optim import generator_lr
from tests.project.made_records import MadeRecords


@pytest.fixture
def plan(tasks: Any) -> Any:
    """The module of their order."""
    import evidence.plan

    return evidence.plan


def finished(tasks: Any, mean: Callable[[Any], float] | None = None) -> list[str]:
    """Return the names of all trainings in their order, by default each with its learning rate as mAP.

    The recommended network reaches its goals then.
    """
    from evidence.plan import tasks as planned

    def lr(task: Any) -> float:
        return float(task.lr + 0.1 * (task.arm == "context" and task.stage != "tune"))

    store: Any = MadeRecords()
    while task := next((task for task in planned(tasks.SCALES["test"], store) if store(task.name) is None), None):
        store.add(task, (mean or lr)(task))
    return list(store.records)


def long_arms(names: list[str], start: str) -> set[str]:
    """Return the arms that were trained long from a start."""
    return {name.split("_")[3] for name in names if name.startswith(f"omniglot_{start}_long_")}


def test_what_the_goals_need_is_trained_first_and_one_stage_after_the_other(tasks: Any) -> None:
    names = finished(tasks)
    assert names[:4] == [f"omniglot_random_tune_static_lr{lr}_s0" for lr in ("0.001", "0.002", "0.004")] + [
        "omniglot_random_short_static_lr0.004_s0"  # the learning rate of the highest mAP
    ]
    of_goals = [name.split("_")[3] in tasks.ALWAYS_LONG for name in names if name.split("_")[2] in ("tune", "short")]
    assert of_goals == sorted(of_goals, reverse=True)
    # From random weights these are the four that are trained long; from ImageNet a fourth is chosen by its tuning.
    first = next(index for index, name in enumerate(names) if name.split("_")[3] not in tasks.ALWAYS_LONG)
    assert sum("_random_" in name and name.split("_")[2] in ("long", "closed") for name in names[:first]) == 4 * 3 + 4
    assert not any("_imagenet_" in name and name.split("_")[2] in ("long", "closed") for name in names[:first])
    order = ["long", "closed", "solo", "longest"]
    for part in names[:first], names[first:]:
        stages = [name.split("_")[2].replace("matched", "long") for name in part]
        stages = [stage for stage in stages if stage in order]
        assert stages == sorted(stages, key=order.index)
    for stage in order:
        assert {name.split("_")[1] for name in names if f"_{stage}_" in name} == {"random", "imagenet"}
    assert sum("_random_long_" in name for name in names) == 4 * 3


def test_what_the_goals_need_is_trained_long_even_if_it_scores_low(tasks: Any) -> None:
    names = finished(tasks, lambda task: 0.0 if task.arm in tasks.ALWAYS_LONG else 0.5)
    assert long_arms(names, "random") == {"static", "context", "s", "static-wide"}
    assert {"static", "context", "s"} < long_arms(names, "imagenet")
    assert len(long_arms(names, "imagenet")) == 4


@pytest.mark.parametrize("best", ["blocks", "paper"])
def test_places_that_are_left_go_by_the_tunings_not_by_test_identities(
    tasks: Any, plan: Any, monkeypatch: pytest.MonkeyPatch, best: str
) -> None:
    monkeypatch.setattr(plan, "LONG_ARMS", 5)

    from evidence.arms import NETWORKS

    def mean(task: Any) -> float:
        if NETWORKS[task.arm].control:
            return 0.9
        return 0.5 if (task.arm == best) == (task.stage == "tune") else 0.1

    assert long_arms(finished(tasks, mean), "random") == {*tasks.ALWAYS_LONG, best}


REACHED = {"static": 0.4, "static-wide": 0.41, "s": 0.42, "context": 0.45}


@pytest.mark.parametrize(
    ("changed", "is_missed"),
    [
        ({}, False),
        ({"static-wide": 0.435}, True),  # less than 2 mAP over the best plain network
        ({"s": 0.43}, True),  # D + C less than half
        ({"context": lambda seed: (0.50, 0.50, 0.40)[seed]}, True),  # nothing with one seed
        ({"context": lambda seed: (0.50, 0.50, 0.42)[seed]}, False),
    ],
)
@pytest.mark.parametrize("stage", ["short", "long"])
def test_remedies_are_trained_where_a_goal_is_missed(
    tasks: Any, changed: dict[str, Any], is_missed: bool, stage: str
) -> None:
    from evidence.arms import remedies_of

    remedies = remedies_of("omniglot")

    def mean(task: Any) -> float:
        values = {"tune": {}, stage: REACHED | changed}.get(task.stage, REACHED)
        value = values.get(task.arm, task.lr if task.stage == "tune" else 0.3)
        return float(value(task.seed) if callable(value) else value)

    is_missed &= stage == "long" or not callable(changed.get("context"))  # a short training has one seed
    names = [name for name in finished(tasks, mean) if name.startswith("omniglot_random_")]
    wanted = [f"omniglot_random_{kind}_{arm}_lr0.004_s0" for arm in remedies for kind in ("tune", "remedies")]
    assert [name for name in names if name.split("_")[3] in remedies] == wanted * is_missed
    if is_missed:  # before what is expensive, if the short trainings tell
        first_long = next(number for number, name in enumerate(names) if "_long_" in name)
        assert (names.index(wanted[0]) < first_long) == (stage == "short")


def test_the_remedy_that_helps_most_is_tried_where_no_goal_is_missed(
    tasks: Any, plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evidence.arms import REMEDIES

    monkeypatch.setattr(plan, "misses_goals", lambda dataset, _start, _store: dataset != "people")
    store: Any = MadeRecords()
    gains = {"late": (0.04, 0.0), "dropout": (0.01, 0.02), "shared": (0.0, 0.3)}  # on Omniglot and emoji
    for number, dataset in enumerate(("omniglot", "emoji")):
        for lr in tasks.LRS["random"]:
            store.add(tasks.Task(dataset, "random", "tune", "context", lr), 0.5)
        best = plan.best_lr(dataset, "random", "context", store)
        for arm in REMEDIES:
            assert plan.best_remedy("random", store) is None
            task = tasks.Task(dataset, "random", "tune", arm, best)
            store.add(task, 0.5 + gains.get(arm, (-0.1, 0.0))[number])
    assert plan.best_remedy("random", store) == "late"
    for lr in tasks.LRS["random"]:
        store.add(tasks.Task("people", "random", "tune", "context", lr), lr)
    names = [task.name for task in plan._remedy_elsewhere("people", "random", store)]
    assert names == [f"people_random_{stage}_late_lr0.004_s0" for stage in ("tune", "remedies")]
    assert list(plan._remedy_elsewhere("emoji", "random", store)) == []


def test_cameras_are_shared_where_the_data_sets_do(tasks: Any) -> None:
    from evidence.arms import REMEDIES, remedies_of

    assert set(REMEDIES) - set(remedies_of("omniglot")) == {"shared"}
    assert remedies_of("emoji") == tuple(REMEDIES)


def test_no_remedy_is_tried_elsewhere_if_none_helps(tasks: Any, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from evidence.arms import REMEDIES

    monkeypatch.setattr(plan, "misses_goals", lambda _dataset, _start, _store: True)
    store: Any = MadeRecords()
    for arm in ("context", *REMEDIES):
        for lr in tasks.LRS["random"]:
            store.add(tasks.Task("omniglot", "random", "tune", arm, lr), 0.5 - 0.1 * (arm != "context"))
    assert plan.best_remedy("random", store) is None


def test_a_remedy_changes_one_thing_of_the_recommended_network(tasks: Any) -> None:
    from evidence.arms import REMEDIES, predicts_context, settings

    from jointreid.config import config_difference

    for start in tasks.STARTS:
        changed = [config_difference(settings("context", start), settings(arm, start)) for arm in REMEDIES]
        widths = ["dcsd.squeeze"] if start == "random" else ["dcsd.squeeze", "dcsd.hidden_floor"]
        assert [list(keys) for keys in changed] == [
            ["dcsd.context_dropout"], ["dcsd.camera_shrinkage"], ["dcsd.context_held_out"], ["loss.id_head"],
            ["data.camera_ids"], ["dcsd.context_stages"], widths,
        ]  # fmt: skip
        for before, after in changed[-1].values():
            assert after == 2 * before
        assert all(predicts_context(arm, start) for arm in REMEDIES)


def test_the_plain_network_is_trained_for_the_cpu_time_of_the_context_network(tasks: Any) -> None:
    from evidence.training_config import epochs_of

    epochs = {}
    for start in tasks.STARTS:
        for stage in ("short", "matched"):
            task = tasks.Task("omniglot", start, stage, "static", 0.001)
            epochs[start, stage] = epochs_of(task)
    assert epochs == {
        ("random", "short"): 25, ("random", "matched"): 40, ("imagenet", "short"): 25, ("imagenet", "matched"): 50,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("start", "named"), [("random", {}), ("imagenet", {"dcsd.squeeze": 0.1, "dcsd.hidden_floor": 16})]
)
def test_the_context_network_is_the_recipe_joint(tasks: Any, start: Any, named: dict[str, Any]) -> None:
    from evidence.arms import TRUNKS, settings

    recipe = apply_recipe("joint").replace(model=TRUNKS[start])
    arm = settings("context", start)
    assert generator_lr(recipe) == arm.optim.generator_lr
    found = config_difference(recipe, arm)
    del found["optim.generator_lr"]  # a number there, the same
    assert {key: new for key, (_, new) in found.items()} == named


def test_the_arms_that_say_most_come_first(tasks: Any) -> None:
    names = [name for name in finished(tasks) if name.startswith("omniglot_random_short_")]
    assert [name.split("_")[3] for name in names[:6]] == ["static", "context", "static-wide", "s", "blocks", "labels"]


def test_every_arm_meets_a_closed_domain_and_a_closed_camera(tasks: Any) -> None:
    names = finished(tasks)
    arms = [name.split("_")[3] for name in names if name.startswith("omniglot_random_closed_")]
    assert arms == list(tasks.arms_of("random"))


def test_contexts_are_exchanged_in_networks_that_predict_them(tasks: Any) -> None:
    from evidence.arms import predicts_context

    for start in tasks.STARTS:
        found = {arm for arm in tasks.arms_of(start) if predicts_context(arm, start)}
        assert found == {"context", "blocks", "film", "paper", "paper-wide"} & set(tasks.arms_of(start))


def test_the_closed_camera_is_of_a_domain_that_stays(tasks: Any) -> None:
    for data in tasks.DATASETS.values():
        assert data.closed_camera[0] in set(data.domains) - {data.closed_domain}


def test_nothing_follows_from_learning_rates_that_all_diverged(tasks: Any, plan: Any) -> None:
    store: Any = MadeRecords()
    lrs = tasks.LRS["random"]
    for arm in tasks.arms_of("random"):
        for lr in lrs:
            task = tasks.Task("omniglot", "random", "tune", arm, lr)
            store.add(task, lr)
            if arm == "paper" or lr == max(lrs):
                store.records[task.name]["diverged"] = "step 7"
    assert plan.best_lr("omniglot", "random", "paper", store) is None
    assert plan.best_lr("omniglot", "random", "static", store) == sorted(lrs)[-2]
    assert set(plan.long_arms("omniglot", "random", store)) == set(tasks.ALWAYS_LONG)
    tuning, *training = plan._tune_and_remedy("omniglot", "random", "late", 0.002, store)
    assert [task.stage for task in training] == ["remedies"]
    store.add(tuning, 0.0)
    store.records[tuning.name]["diverged"] = "step 7"
    assert list(plan._tune_and_remedy("omniglot", "random", "late", 0.002, store)) == [tuning]
