"""How far a run has come, saved at any step and taken up again there."""

from dataclasses import dataclass, field, fields
from typing import Any

from jointreid.config import config_hash
from jointreid.data.joint import LabelSpace
from jointreid.messages.errors import JointreidError
from jointreid.run import write_config
from jointreid.training.checkpoint import Saved, load_checkpoint, save_checkpoint
from jointreid.training.data import images_hash
from jointreid.training.log import TrainingLog
from jointreid.training.parts import Parts
from jointreid.training.watch import Window

_LABELS = "labels.json"


@dataclass
class Progress:
    """How far a run has come; saved in every checkpoint."""

    step: int = 0
    best: float = -1.0
    window: Window = field(default_factory=dict)
    """The values since the last logged step, by name."""
    evaluated: int = -1
    """The step of the last evaluation on the test splits."""
    lines: int | None = None
    """Lines of the log that tell of the steps taken, where they are known."""
    epoch_open: bool = False
    """Whether a signal came while the epoch's end was logged and measured: that is to be done again."""


class Saving:
    """The checkpoints of a run; the first process writes and reads them.

    Args:
        parts: what is saved, and what is loaded into.

    Attributes:
        progress: how far the run has come: the loop moves it on, `resume` replaces it.
    """

    def __init__(self, parts: Parts) -> None:
        self.progress = Progress()
        self._parts = parts
        self._images_hash = images_hash(parts.data.train_set)

    def begin(self) -> None:
        """Make the directory a run, without a checkpoint yet."""
        run = self._parts.run
        if self._parts.processes.is_main:
            run.label_space.save(run.path / _LABELS)
            write_config(run.config, run.path / "config.yaml")  # last: it makes the folder a run

    def save(self, log: TrainingLog, name: str) -> None:
        """Write `last` or `best`; to be called by all processes.

        Raises:
            JointreidError: it cannot be written; the old one is as it was.
        """
        parts, progress = self._parts, self.progress
        log.sync()
        if not progress.epoch_open:
            progress.lines = log.lines
        state: dict[str, Any] = {
            "step": progress.step,
            "epoch": progress.step / parts.steps_per_epoch,
            "best": progress.best,
            "window": progress.window,
            "evaluated": progress.evaluated,
            "lines": progress.lines,
            "epoch_open": progress.epoch_open,
            "scaler": parts.processes.fabric.strategy.precision.state_dict(),
            "sampler": {**parts.sampler.state_dict(), "step": progress.step * parts.config.train.accumulate},
            "labels": parts.run.label_space.hash,
            "images": self._images_hash,
            "config": config_hash(parts.run.config),
            "pretraining": parts.pretraining,
            "precision": parts.arithmetic.precision,
        }
        optimizer = parts.optimizer.optimizer if name == "last" else None
        with parts.processes.error_barrier():
            if parts.processes.is_main:
                save_checkpoint(parts.run.path, name, parts.model, state, average=parts.average, optimizer=optimizer)

    def resume(self) -> None:
        """Load what `last` holds, in the first process, and hand it to the others; without a save a run begins anew.

        Raises:
            JointreidError: the data are not those the run began with, or the checkpoint does not fit.
        """
        parts, processes = self._parts, self._parts.processes
        with processes.error_barrier():
            if processes.is_main:
                self._check_labels()
                if parts.saved:
                    self._load(parts.saved)
        self.progress = processes.broadcast(self.progress)
        if scaler := processes.broadcast(parts.saved.state.get("scaler") if parts.saved else None):
            processes.fabric.strategy.precision.load_state_dict(scaler)
        average = parts.average.tensors if parts.average else None
        processes.broadcast_state(parts.model, parts.optimizer.optimizer, average)

    def _check_labels(self) -> None:
        run = self._parts.run
        if LabelSpace.load(run.path / _LABELS).hash != run.label_space.hash:
            raise JointreidError(
                f"{run.path / _LABELS}: the data has other identities or cameras than when the run began; "
                "resume with the same data, or start a new run from its weights with --init"
            )

    def _load(self, saved: Saved) -> None:
        parts, state = self._parts, saved.state
        if state.get("images", self._images_hash) != self._images_hash:
            raise JointreidError(
                f"{parts.run.path}: the train images have other names or another order than when the run began, so "
                "its batches would be others; resume with the same data, or start a new run from its weights with "
                "--init"
            )
        load_checkpoint(parts.run, saved, parts.model, parts.optimizer.optimizer, parts.average)
        parts.sampler.load_state_dict(state["sampler"])
        self.progress = Progress(**{f.name: state[f.name] for f in fields(Progress) if f.name in state})
