"""The walk through the trainings of the comparison of networks: who trains what, and what one that fails leaves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def claims(tasks: Any) -> Any:
    """The module of the locks on trainings."""
    import evidence.claims

    return evidence.claims


def test_a_training_is_claimed_by_one_process_at_a_time(tasks: Any, claims: Any, tmp_path: Path) -> None:
    records: dict[str, Any] = {}
    plan = [tasks.Task("omniglot", "random", "tune", "static", lr) for lr in (0.001, 0.002)]

    def claimed() -> Any:
        return claims.claimed(plan, lambda task: task.name not in records, tmp_path)

    with claimed() as first:
        with claimed() as second:
            assert (first, second) == (plan[0], plan[1])
            with claimed() as third:
                assert third is None
        records[plan[1].name] = {}
    with claimed() as again:
        assert again == plan[0]
    records[plan[0].name] = {}
    with claimed() as nothing:
        assert nothing is None


def test_a_record_without_other_contexts_is_completed_while_its_run_is_there(
    tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import evidence.run
    from evidence.records import RecordStore

    monkeypatch.setattr(evidence.run, "context_use", lambda run: {"zeroed": {"indic": 0.1}, "of": run.name})
    monkeypatch.setattr(evidence.run, "train_task", lambda *_args: pytest.fail("it was trained again"))
    store = RecordStore(tmp_path)
    plain, context = (tasks.Task("omniglot", "random", "short", arm, 0.004) for arm in ("static", "context"))
    monkeypatch.setattr(evidence.run, "tasks", lambda _scale, _records: iter([plain, context]))
    for task in (plain, context):
        store.save(task, {"mean": 0.5})
    walk = evidence.run.Walk(tmp_path, tasks.SCALES["test"], store, "omniglot", "command")
    assert not walk.take_next()  # there is no run to try
    for task in (plain, context):
        (tmp_path / "runs" / task.name).mkdir(parents=True)
    assert [task.name for task in walk.left()] == [context.name]
    assert walk.take_next()
    assert not walk.take_next()
    assert store(context.name) == {"mean": 0.5, "context": {"zeroed": {"indic": 0.1}, "of": context.name}}
    assert store(plain.name) == {"mean": 0.5}


def test_a_tuning_that_diverges_is_the_worst_learning_rate(
    tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import evidence.run
    from evidence.arms import settings
    from evidence.records import RecordStore

    from jointreid.messages.errors import JointreidError

    def diverge(_settings: Any) -> None:
        raise JointreidError("step 7: the loss is not finite")

    monkeypatch.setattr(evidence.run, "train", diverge)
    monkeypatch.setattr(evidence.run, "config", lambda task, out, _scale: settings(task.arm, task.start))
    monkeypatch.setattr(evidence.run, "provenance", lambda *_packages: {})
    store, scale = RecordStore(tmp_path), tasks.SCALES["test"]
    task = tasks.Task("omniglot", "random", "tune", "static", 4.0)
    record = evidence.run.train_task(task, tmp_path, scale, store, "command")
    assert (record["mean"], record["diverged"]) == (0.0, "step 7: the loss is not finite")
    with pytest.raises(JointreidError, match="not finite"):
        evidence.run.train_task(replace(task, stage="short"), tmp_path, scale, store, "command")


def test_a_training_that_diverges_does_not_stop_those_after_it(
    tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import evidence.run
    from evidence.records import RecordStore

    from jointreid.messages.errors import JointreidError

    def train_task(task: Any, *_rest: Any) -> dict[str, Any]:
        if task.arm == "static":
            raise JointreidError("step 7: the loss is not finite")
        return {"mean": 0.5}

    monkeypatch.setattr(evidence.run, "train_task", train_task)
    monkeypatch.setattr(evidence.run, "context_use", lambda _run: {})
    plan = [tasks.Task("omniglot", "random", "closed", arm, 0.004) for arm in ("static", "s")]
    monkeypatch.setattr(evidence.run, "tasks", lambda _scale, _records: iter(plan))
    for task in plan:
        (tmp_path / "runs" / task.name).mkdir(parents=True)
    store = RecordStore(tmp_path)
    walk = evidence.run.Walk(tmp_path, tasks.SCALES["test"], store, "", "command")
    assert [walk.take_next(), walk.take_next(), walk.take_next()] == [True, True, False]
    assert [store(task.name) for task in plan] == [None, {"mean": 0.5}]
