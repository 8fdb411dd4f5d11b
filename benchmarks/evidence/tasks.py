"""A training of the comparison, the size of the whole, and the choices of its plan."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from evidence.arms import ARMS, FULL, STARTS, Start
from evidence.data import DATASETS

Stage = Literal["tune", "short", "matched", "long", "remedies", "solo", "closed", "longest"]
# Of `imagenet`, 3.5e-4 was the first of three until it and 7e-4 were far behind 1.4e-3 on people (15, 26 and 46 mAP).
LRS: Mapping[Start, tuple[float, ...]] = {
    "random": (1e-3, 2e-3, 4e-3),
    "imagenet": (7e-4, 1.4e-3, 2.8e-3),
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
# times more epochs than `short`, so that both cost the same. `python -m evidence.costs --rounds 7` measured it, medians
# on people, Omniglot and emoji: 1.55, 1.59 and 1.59 from random weights, 1.98, 1.97 and 1.88 with MobileNetV2. On a GPU
# CPU time says nothing: no such stage.
CPU_FACTOR: Mapping[Start, float] = {"random": 1.6, "imagenet": 2.0}


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
