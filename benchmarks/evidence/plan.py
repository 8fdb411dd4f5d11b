"""The trainings, in order: what comes next depends on the records of those before.

A cell is one data set with one start. All cells go through one stage before the next begins, so that an interrupted
comparison has answers for every data set: learning rates are tried on held-out train identities and every arm is
trained short with its best one, first the arms that the goals are about. Where the recommended network misses its
goals, it is trained with one change at a time, before what is expensive: on the held-out train identities, so that no
change need be chosen on a test identity, and short; the best change is then tried on the other data sets, too. Four
arms are trained long with three seeds: those that the goals are about, and the best of the others in the tunings if
places are left; and the plain network once more for the CPU time of the context network. Where no place is left, that
comes before the other arms are tried, as do the trainings of these four with a domain and a camera left out of train,
since goals depend on them. Goals that only the long trainings miss lead to the same changes. Then come every other arm
with a domain and a camera left out, and what joining itself costs (each domain alone). Last, two arms are trained twice
as long as long.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from statistics import fmean

from evidence.arms import ARMS, REMEDIES, Start, remedies_of
from evidence.compared import records_of
from evidence.data import DATASETS
from evidence.outcome import outcome
from evidence.records import RecordStore
from evidence.tasks import (
    ALWAYS_LONG,
    COMPARED,
    CPU_FACTOR,
    LONG_ARMS,
    LONG_SEEDS,
    LRS,
    PLAIN,
    Scale,
    Stage,
    Task,
    arms_of,
)


def best_lr(dataset: str, start: Start, arm: str, store: RecordStore) -> float | None:
    """Return the learning rate of the highest mAP on held-out train identities.

    None until all were tried, or if the training diverged with each.
    """
    if not _is_tuned(dataset, start, arm, store):
        return None
    found = [(store(Task(dataset, start, "tune", arm, lr).name), lr) for lr in LRS[start]]
    values = [(record["mean"], lr) for record, lr in found if record is not None and "diverged" not in record]
    return max(values, default=(0.0, None))[1]


def _is_tuned(dataset: str, start: Start, arm: str, store: RecordStore) -> bool:
    return all(store(Task(dataset, start, "tune", arm, lr).name) is not None for lr in LRS[start])


def long_arms(dataset: str, start: Start, store: RecordStore) -> tuple[str, ...]:
    """Return the arms that are trained long: `ALWAYS_LONG`, and the best others in the tunings if places are left.

    The tunings know train identities alone, so that no arm is chosen on a test identity. Controls cannot be
    recommended; their short trainings are enough. Empty until the tunings that this depends on are done.
    """
    arms = [arm for arm in arms_of(start) if arm in ALWAYS_LONG]
    if len(arms) < LONG_ARMS:  # all arms are asked for the other places
        arms = list(arms_of(start))
    if not all(_is_tuned(dataset, start, arm, store) for arm in arms):
        return ()
    lrs = tuned_arms(dataset, start, store)
    scores = []
    for arm, lr in lrs.items():
        record = store(Task(dataset, start, "tune", arm, lr).name)
        assert record is not None
        if not ARMS[arm].control and arm not in ALWAYS_LONG:
            scores.append((record["mean"], arm))
    always = [arm for arm in ALWAYS_LONG if arm in lrs]
    best = [arm for _, arm in sorted(scores, reverse=True)]
    return (*always, *best[: LONG_ARMS - len(always)])


def misses_goals(dataset: str, start: Start, store: RecordStore) -> bool:
    """Return whether the recommended network misses its goals, in the short trainings or in the long ones.

    False while a training that the goals need is missing in both.
    """
    stages: Mapping[Stage, int] = {"short": 1, "long": LONG_SEEDS}
    for stage, seeds in stages.items():
        lrs = {arm: best_lr(dataset, start, arm, store) for arm in arms_of(start) if arm in ALWAYS_LONG}
        names = [
            None if lr is None else Task(dataset, start, stage, arm, lr, seed).name
            for arm, lr in lrs.items()
            for seed in range(seeds)
        ]
        if all(name and store(name) for name in names):
            trained = tuple(arm for arm in PLAIN if records_of(store, dataset, start, stage, arm))
            if _misses_goals(store, dataset, start, stage, trained):
                return True
    return False


@cache  # the plan is asked before each training, and resampling takes a while; trainings that are done do not change
def _misses_goals(store: RecordStore, dataset: str, start: Start, stage: Stage, _plain: tuple[str, ...]) -> bool:
    found = outcome(store, dataset, start, stage)
    return found is not None and not found.reaches_goals


def best_remedy(start: Start, store: RecordStore) -> str | None:
    """Return the remedy that gains most on held-out train identities, in the mean over the data sets that miss a goal.

    None until all were tried on them, or if none gains: then there is nothing to try on the other data sets. Remedies
    that make sense for some data sets alone take no part.
    """
    gains: dict[str, list[float]] = {name: [] for name, arm in REMEDIES.items() if not arm.datasets}
    for dataset in DATASETS:
        lr = best_lr(dataset, start, "context", store)
        if lr is None or not misses_goals(dataset, start, store):
            continue
        before = store(Task(dataset, start, "tune", "context", lr).name)
        for arm, found in gains.items():
            record = store(Task(dataset, start, "tune", arm, lr).name)
            if before is None or record is None:
                return None
            found.append(record["mean"] - before["mean"])
    means = {arm: fmean(found) for arm, found in gains.items() if found}
    best = max(means, key=means.__getitem__, default=None)
    return best if best is not None and means[best] > 0 else None


def tasks(scale: Scale, store: RecordStore) -> Iterator[Task]:
    """Yield the trainings in order, those that the records allow to know: one stage of all cells after the other."""
    cells = [(dataset, start) for start in scale.starts for dataset in scale.datasets]
    remedies = (_remedies, _remedy_elsewhere)
    goals = (_goal_arms, *remedies, _long, _closed_goal_arms)
    for stage in (*goals, _other_arms, _long, *remedies, _closed, _solo, _longest):
        for dataset, start in cells:
            yield from stage(dataset, start, store)


def tuned_arms(dataset: str, start: Start, store: RecordStore) -> dict[str, float]:
    """Return the arms whose learning rate is chosen, and that."""
    found = ((arm, best_lr(dataset, start, arm, store)) for arm in arms_of(start))
    return {arm: lr for arm, lr in found if lr is not None}


def _goal_arms(dataset: str, start: Start, store: RecordStore) -> Iterator[Task]:
    for arm in arms_of(start):
        if arm in ALWAYS_LONG:
            yield from _tune_and_short(dataset, start, arm, store)


def _other_arms(dataset: str, start: Start, store: RecordStore) -> Iterator[Task]:
    for arm in arms_of(start):
        if arm not in ALWAYS_LONG:
            yield from _tune_and_short(dataset, start, arm, store)


def _tune_and_short(dataset: str, start: Start, arm: str, store: RecordStore) -> Iterator[Task]:
    for lr in LRS[start]:
        yield Task(dataset, start, "tune", arm, lr)
    chosen = best_lr(dataset, start, arm, store)
    if chosen is not None:
        yield Task(dataset, start, "short", arm, chosen)


def _long(dataset: str, start: Start, store: RecordStore) -> Iterator[Task]:
    lrs = tuned_arms(dataset, start, store)
    if "static" in lrs and start in CPU_FACTOR:
        yield Task(dataset, start, "matched", "static", lrs["static"])
    arms = long_arms(dataset, start, store)
    for seed in range(LONG_SEEDS):
        for arm in arms:
            yield Task(dataset, start, "long", arm, lrs[arm], seed)


def _remedies(dataset: str, start: Start, store: RecordStore) -> Iterator[Task]:
    lr = best_lr(dataset, start, "context", store)
    if lr is not None and misses_goals(dataset, start, store):
        for arm in remedies_of(dataset):
            yield from _tune_and_remedy(dataset, start, arm, lr, store)


def _remedy_elsewhere(dataset: str, start: Start, store: RecordStore) -> Iterator[Task]:
    lr, remedy = best_lr(dataset, start, "context", store), best_remedy(start, store)
    if lr is not None and remedy is not None and not misses_goals(dataset, start, store):
        yield from _tune_and_remedy(dataset, start, remedy, lr, store)


def _tune_and_remedy(dataset: str, start: Start, arm: str, lr: float, store: RecordStore) -> Iterator[Task]:
    tuning = Task(dataset, start, "tune", arm, lr)
    yield tuning
    record = store(tuning.name)
    if record is None or "diverged" not in record:
        yield Task(dataset, start, "remedies", arm, lr)


def _closed_goal_arms(dataset: str, start: Start, store: RecordStore) -> Iterator[Task]:
    if long_arms(dataset, start, store):
        yield from (task for task in _closed(dataset, start, store) if task.arm in ALWAYS_LONG)


def _closed(dataset: str, start: Start, store: RecordStore) -> Iterator[Task]:
    for arm, lr in tuned_arms(dataset, start, store).items():
        yield Task(dataset, start, "closed", arm, lr)


def _solo(dataset: str, start: Start, store: RecordStore) -> Iterator[Task]:
    for arm, lr in tuned_arms(dataset, start, store).items():
        if arm in COMPARED:
            for domain in DATASETS[dataset].domains:
                yield Task(dataset, start, "solo", arm, lr, 0, domain)


def _longest(dataset: str, start: Start, store: RecordStore) -> Iterator[Task]:
    for arm, lr in tuned_arms(dataset, start, store).items():
        if arm in COMPARED:
            yield Task(dataset, start, "longest", arm, lr)
