"""Resuming a run: what its directory holds, whether it may be resumed, and how far it had come.

`find_resume_point` reads the directory once, in the main process and under its lock. Only the arithmetic is asked for
before, by `precision_of`: processes cannot be started without it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from jointreid.config import RunConfig, config_difference, config_hash
from jointreid.data.moved import resolve_paths
from jointreid.data.run_images import load_images, require_same_images
from jointreid.machine.device import Precision, pick_precision
from jointreid.machine.paths import cache_folder
from jointreid.machine.reading import is_file, require_inside
from jointreid.machine.run_files import candidates, read_state
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.run import Run, find_data, open_run, write_config
from jointreid.training.checkpoint import SavedCheckpoint, load_checkpoint, newest_checkpoint
from jointreid.training.data import TrainingData, images_by_content, images_hash
from jointreid.training.setup import TrainingSetup
from jointreid.training.watch import Window

# Settings that may change on resuming: they say where and how long a run computes, not what.
FREE_ON_RESUME = {
    "train.out", "train.resume", "train.device", "train.max_steps", "train.minutes", "train.workers", "train.compile",
    "train.devices", "train.nodes",  # their product may not change
    "data.sources",  # the images themselves are compared
    "data.cache", "data.cache_mode", "eval.batch_size", "eval.max_memory",
}  # fmt: skip


@dataclass(frozen=True)
class ResumePoint:
    """A run directory to resume.

    Attributes:
        run: the settings and labels that it was started with.
        checkpoint: its newest `last`; None if it stopped before it had saved one.
    """

    run: Run
    checkpoint: SavedCheckpoint | None

    def require_same_data(self, data: TrainingData, config: RunConfig) -> None:
        """Refuse other data than the run was started with.

        Raises:
            JointreidError: there are other identities or cameras, other images, or another order of them.
        """
        path, checkpoint = self.run.path, self.checkpoint
        if self.run.label_space.hash != data.train_set.label_space.hash:
            raise JointreidError(
                f"{path / 'labels.json'}: the data has other identities or cameras than when the run was started; "
                "resume with the same data, or start a new run from its weights with --init"
            )
        now = images_hash(data.train_set)
        if checkpoint and checkpoint.state.get("images", now) != now:
            raise JointreidError(
                f"{path}: the train images have other names or another order than when the run was started, so its "
                "batches would be different; resume with the same data, or start a new run from its weights with --init"
            )
        self._require_same_content(data, config)

    def keep_places(self, config: RunConfig) -> None:
        """Write into the settings of the run where it and its data lie now, if they were moved."""
        was, now = self.run.config, config
        if (was.data.sources, was.train.out) != (now.data.sources, now.train.out):
            places = was.replace(data={"sources": now.data.sources}, train={"out": now.train.out})
            write_config(places, self.run.path / "config.yaml")

    def _require_same_content(self, data: TrainingData, config: RunConfig) -> None:
        """Refuse images of another content; runs of earlier versions do not remember it."""
        known = load_images(self.run.path)
        if not known:
            return
        found = images_by_content(data, cache_folder(config.data.cache), config.train.workers)
        splits = {(image.domain, image.split) for image in found} & {(image.domain, image.split) for image in known}
        require_same_images(
            [image for image in known if (image.domain, image.split) in splits],
            [image for image in found if (image.domain, image.split) in splits],
            self.run.path,
            "Resume with the same data, or start a new run from its weights with --init",
        )


@dataclass
class Progress:
    """Progress of a run; saved in every checkpoint."""

    step: int = 0
    """Optimiser steps taken."""
    best: float = -1.0
    """The highest mean mAP on held-out identities so far."""
    window: Window = field(default_factory=dict)
    """The values since the last logged step, by name."""
    evaluated: int = -1
    """The step of the last evaluation on the test splits."""
    validated: int = -1
    """The step of the last evaluation on the held-out identities."""
    lines: int | None = None
    """Lines of `metrics.jsonl` about the steps taken, if known."""
    epoch_open: bool = False
    """True if a signal interrupted the end of an epoch: its log and evaluation must be repeated."""


def precision_of(path: Path, config: RunConfig, device: torch.device) -> Precision:
    """Return the arithmetic of a run: for a resumed one that of its checkpoint, on whatever device it is resumed.

    Raises:
        JointreidError: the device does not have it.
    """
    for folder in candidates(path, "last") if config.train.resume else ():
        try:
            recorded: Precision | None = read_state(path, folder).get("precision")
        except JointreidError:  # find_resume_point reports it
            continue
        if recorded:
            return pick_precision(recorded, device)
    return pick_precision(config.train.precision, device)


def with_data_found(path: Path, config: RunConfig) -> RunConfig:
    """Return the settings with the data sets of a run that is resumed where they lie now, see `run.find_data`.

    Raises:
        JointreidError: they are not found; other faults of the run are left to `find_resume_point`.
    """
    if not config.train.resume or not (path / "config.yaml").is_file():
        return config
    run = open_run(path)
    given = config.data.sources if config.data.sources != run.config.data.sources else ()
    return config.replace(data={"sources": find_data(run, given).config.data.sources})


def find_resume_point(path: Path, config: RunConfig, say: Callable[[str], None]) -> ResumePoint | None:
    """Return the run in a directory if it is to be resumed; None where a new one starts.

    Args:
        path: the run directory, locked.
        config: the settings now.
        say: told if a damaged checkpoint is passed over.

    Raises:
        JointreidError: there is a run but no `--resume`, or the other way round; the run was started with other
            settings, or all of its checkpoints are damaged.
    """
    if not is_file(path / "config.yaml"):
        if config.train.resume:
            raise JointreidError(f"--resume: {path} holds no run to resume (no config.yaml in it)")
        if (path / "training.safetensors").is_file():
            raise JointreidError(f"{path} holds a training of `{command('pretrain')}`; choose another --out")
        return None
    if not config.train.resume:
        again = command("train", "--resume", path)
        raise JointreidError(f"{path} already holds a run; resume it with `{again}`, or choose another --out")
    run = open_run(path)
    if run.label_space.is_published:
        raise JointreidError(
            f"{path} was fetched from a hub, without the state of its training; start a new run from it with "
            f"`{command('train', '--init', path)}` and its settings"
        )
    _require_same_settings(run, config)
    require_inside(path / "tensorboard", path)  # which training writes into
    return ResumePoint(run, newest_checkpoint(run, say))


def restore(setup: TrainingSetup, checkpoint: SavedCheckpoint | None) -> Progress:
    """Load a checkpoint into the model, the optimiser and the random state of all processes; return the progress.

    Args:
        setup: of the run.
        checkpoint: the main process's; without one the run starts from its first step.

    Raises:
        JointreidError: the checkpoint does not fit, or was changed meanwhile.
    """
    processes, step, progress = setup.processes, setup.step, Progress()
    with processes.error_barrier():
        if processes.is_main and checkpoint:
            load_checkpoint(setup.run, checkpoint, step.model, step.optimizer.optimizer, step.average)
            state = checkpoint.state
            setup.sampler.require_same(state["sampler"])
            progress = Progress(**{f.name: state[f.name] for f in fields(Progress) if f.name in state})
    progress = processes.broadcast(progress)
    if scaler := processes.broadcast(checkpoint.state.get("scaler") if checkpoint else None):
        processes.fabric.strategy.precision.load_state_dict(scaler)
    processes.broadcast_state(step.model, step.optimizer.optimizer, step.average.tensors if step.average else None)
    return progress


def checkpoint_state(setup: TrainingSetup, progress: Progress) -> dict[str, Any]:
    """Return the content of `state.json`: the progress, and what a resumed run must have in common with this one."""
    return {
        **{f.name: getattr(progress, f.name) for f in fields(Progress)},
        "epoch": progress.step / setup.steps_per_epoch,
        "scaler": setup.processes.fabric.strategy.precision.state_dict(),
        "sampler": {
            "batch_index": progress.step * setup.step.accumulate,  # of the next batch
            **setup.sampler.fingerprint(),
        },
        "labels": setup.run.label_space.hash,
        "images": setup.images_hash,
        "config": config_hash(setup.run.config),
        "pretraining": setup.pretraining,
        "precision": setup.step.arithmetic.precision,
    }


def _require_same_settings(run: Run, config: RunConfig) -> None:
    before, now = (c.train.devices * c.train.nodes for c in (run.config, config))
    if before != now:
        raise JointreidError(
            f"--resume: {run.path} was started with {before} process{'es' if before > 1 else ''}, now there are {now}: "
            "with another number, batch normalisation and triplets would see other parts of a batch. Start as many as "
            "before, or start a new run from its weights with --init"
        )
    changed = config_difference(resolve_paths(run.config), config)
    refused = [f"{key} was {old}, now {new}" for key, (old, new) in changed.items() if key not in FREE_ON_RESUME]
    if refused:
        raise JointreidError(
            f"--resume: {run.path} was started with other settings: {'; '.join(refused)}. Leave them as they were, or "
            "start a new run from its weights with --init"
        )
