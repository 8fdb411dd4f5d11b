"""The trainings, in order: what comes next depends on the records of those before.

A cell is one data set with one start. All cells go through one stage before the next begins, so that an interrupted
comparison has answers for every data set: learning rates are tried on held-out train identities and every arm is
trained short with its best one, first the arms that the goals are about. Then four arms are trained long with three
seeds: those that the goals are about, and the best of the others in the tunings; and the plain network once more for
the CPU time of the context network. Where the recommended network then misses its goal, it is trained short with one
change at a time. Then come every arm with a domain and a camera left out of train, and what joining itself costs (each
domain alone). Last, two arms are trained twice as long as long.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from evidence.arms import ARMS, FULL, REMEDIES, STARTS, Start
from evidence.data import DATASETS
from evidence.levels import Record, misses_goal

Stage = Literal["tune", "short", "matched", "long", "remedies", "solo", "closed", "longest"]
LRS: Mapping[Start, tuple[float, ...]] = {
    "random": (1e-3, 2e-3, 4e-3),
    "imagenet": (3.5e-4, 7e-4, 1.4e-3),
    "random-full": (3.5e-4, 7e-4, 1.4e-3),
    "imagenet-full": (3.5e-4, 7e-4, 1.4e-3),
}
LONG_ARMS, LONG_SEEDS = 4, 3
# The plain network, and the one to recommend: for as long as any is trained, and on each domain alone.
COMPARED = ("static", "context")
# The plain network of no fewer multiply-adds than that, where the width can be chosen.
RIVAL = "static-wide"
# The plain networks: the recommended one is to beat the best of them.
PLAIN = ("static", RIVAL, "static-dense")
# The goals need these long: D + C is what the context network gains over static + S.
ALWAYS_LONG = (*COMPARED, "s", RIVAL)
# CPU time of a step of the context network as a multiple of static's: the stage `matched` trains static for as many
# times more epochs than `short`, so that both cost the same. `python -m evidence.costs` measures it; 5 rounds gave 1.62
# on people and 1.69 on Omniglot from random weights, 2.16 and 2.17 with MobileNetV2. On a GPU CPU time says nothing: no
# such stage.
CPU_FACTOR: Mapping[Start, float] = {"random": 1.6, "imagenet": 2.2}

# From the name of a task to its record, or None.
Records = Callable[[str], Record | None]


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        dataset: name in `DATASETS`.
        start: where its weights come from.
        stage: why it is trained.
        arm: name in `ARMS`.
        lr: learning rate.
        seed: of the training.
        domain: for `solo`, the domain that it is trained on.
    """

    dataset: str
    start: Start
    stage: Stage
    arm: str
    lr: float
    seed: int = 0
    domain: str = ""

    @property
    def name(self) -> str:
        """The name of its record and of its run directory."""
        parts = (self.dataset, self.start, self.stage, self.arm, self.domain, f"lr{self.lr:g}", f"s{self.seed}")
        return "_".join(part for part in parts if part)

    @property
    def identity(self) -> dict[str, Any]:
        """Its fields as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Scale:
    """The size of the comparison.

    Attributes:
        datasets: that are used.
        shrink: divides the epochs of every training.
        max_steps: of every training; 0 for no limit.
        starts: where the trainings start from.
        weights: the file that `imagenet-full` starts from.
        words: what the reader of the page is to know of the size.
    """

    datasets: tuple[str, ...]
    shrink: int = 1
    max_steps: int = 0
    starts: tuple[Start, ...] = STARTS
    weights: Path = Path()
    words: str = "Small networks, small pictures and few steps on two CPU cores"


SCALES = {
    "cpu": Scale(tuple(DATASETS)),
    "gpu": Scale(
        tuple(DATASETS),
        starts=FULL[:1],
        words="Full width, pictures of 128x64 or 96x96, few steps on a GPU",
    ),
    "test": Scale(("omniglot",), 100, 3),
}


def arms_of(start: Start) -> tuple[str, ...]:
    """Return the arms that can be trained from a start."""
    return tuple(name for name, arm in ARMS.items() if start in arm.starts)


def best_lr(dataset: str, start: Start, arm: str, records: Records) -> float | None:
    """Return the learning rate of the highest mAP on held-out train identities; None until all were tried."""
    found = [(records(Task(dataset, start, "tune", arm, lr).name), lr) for lr in LRS[start]]
    values = [(record["mean"], lr) for record, lr in found if record is not None]
    return max(values)[1] if len(values) == len(found) else None


def long_arms(dataset: str, start: Start, records: Records) -> tuple[str, ...]:
    """Return the arms that are trained long: `ALWAYS_LONG`, and the best others in the tunings if places are left.

    The tunings know train identities alone, so that no arm is chosen on a test identity. Controls cannot be
    recommended; their short trainings are enough. Empty until all tunings are done.
    """
    arms = arms_of(start)
    lrs = {arm: best_lr(dataset, start, arm, records) for arm in arms}
    scores = []
    for arm, lr in lrs.items():
        record = None if lr is None else records(Task(dataset, start, "tune", arm, lr).name)
        if record is None:
            return ()
        if not ARMS[arm].control and arm not in ALWAYS_LONG:
            scores.append((record["mean"], arm))
    always = [arm for arm in ALWAYS_LONG if arm in arms]
    best = [arm for _, arm in sorted(scores, reverse=True)]
    return (*always, *best[: LONG_ARMS - len(always)])


def misses_goal_long(dataset: str, start: Start, records: Records) -> bool:
    """Return whether the long trainings are done, and the recommended network misses its goal in them."""

    def trained(arm: str) -> list[Record]:
        lr = best_lr(dataset, start, arm, records)
        if lr is None:
            return []
        found = (records(Task(dataset, start, "long", arm, lr, seed).name) for seed in range(LONG_SEEDS))
        return [record for record in found if record is not None]

    arms = long_arms(dataset, start, records)
    of_arms = {arm: trained(arm) for arm in arms}
    if not arms or any(len(found) < LONG_SEEDS for found in of_arms.values()):
        return False
    plain = [of_arms[arm] for arm in PLAIN if arm in of_arms]
    return misses_goal(dataset, plain, of_arms["s"], of_arms["context"])


def tasks(scale: Scale, records: Records) -> Iterator[Task]:
    """Yield the trainings in order, those that the records allow to know: one stage of all cells after the other."""
    cells = [(dataset, start) for start in scale.starts for dataset in scale.datasets]
    for stage in (_goal_arms, _other_arms, _long, _remedies, _closed, _solo, _longest):
        for dataset, start in cells:
            yield from stage(dataset, start, records)


def tuned_arms(dataset: str, start: Start, records: Records) -> dict[str, float]:
    """Return the arms whose learning rate is chosen, and that."""
    found = ((arm, best_lr(dataset, start, arm, records)) for arm in arms_of(start))
    return {arm: lr for arm, lr in found if lr is not None}


def _goal_arms(dataset: str, start: Start, records: Records) -> Iterator[Task]:
    for arm in arms_of(start):
        if arm in ALWAYS_LONG:
            yield from _tune_and_short(dataset, start, arm, records)


def _other_arms(dataset: str, start: Start, records: Records) -> Iterator[Task]:
    for arm in arms_of(start):
        if arm not in ALWAYS_LONG:
            yield from _tune_and_short(dataset, start, arm, records)


def _tune_and_short(dataset: str, start: Start, arm: str, records: Records) -> Iterator[Task]:
    for lr in LRS[start]:
        yield Task(dataset, start, "tune", arm, lr)
    chosen = best_lr(dataset, start, arm, records)
    if chosen is not None:
        yield Task(dataset, start, "short", arm, chosen)


def _long(dataset: str, start: Start, records: Records) -> Iterator[Task]:
    lrs = tuned_arms(dataset, start, records)
    if "static" in lrs and start in CPU_FACTOR:
        yield Task(dataset, start, "matched", "static", lrs["static"])
    arms = long_arms(dataset, start, records)
    for seed in range(LONG_SEEDS):
        for arm in arms:
            yield Task(dataset, start, "long", arm, lrs[arm], seed)


def _remedies(dataset: str, start: Start, records: Records) -> Iterator[Task]:
    if misses_goal_long(dataset, start, records):
        for arm in REMEDIES:
            yield Task(dataset, start, "remedies", arm, tuned_arms(dataset, start, records)["context"])


def _closed(dataset: str, start: Start, records: Records) -> Iterator[Task]:
    for arm, lr in tuned_arms(dataset, start, records).items():
        yield Task(dataset, start, "closed", arm, lr)


def _solo(dataset: str, start: Start, records: Records) -> Iterator[Task]:
    for arm, lr in tuned_arms(dataset, start, records).items():
        if arm in COMPARED:
            for domain in DATASETS[dataset].domains:
                yield Task(dataset, start, "solo", arm, lr, 0, domain)


def _longest(dataset: str, start: Start, records: Records) -> Iterator[Task]:
    for arm, lr in tuned_arms(dataset, start, records).items():
        if arm in COMPARED:
            yield Task(dataset, start, "longest", arm, lr)
