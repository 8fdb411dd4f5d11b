"""Train a trunk to classify images, such as ImageNet's, for other trainings to start from: `jointreid pretrain`.

A trunk of generated convolutions learns them from the sample alone: a folder of classes has no domains and no cameras.
The recipe is that of DDF's ImageNet networks, on the parts of timm that they were trained with: random changes, SGD and
its schedule, without the ten epochs at the last learning rate that their trainer adds. How an image changes follows
from the seed, the epoch and the image, so a resumed training continues exactly from the end of an epoch.
"""

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from jointreid.config import TrainConfig
from jointreid.data.decode import scan_images
from jointreid.machine.device import pick_device, pick_precision
from jointreid.machine.files import write_atomically
from jointreid.machine.paths import user_path
from jointreid.machine.shortage import short_of_workers
from jointreid.messages.console import say
from jointreid.messages.errors import JointreidError, SharedError
from jointreid.messages.listing import first_few
from jointreid.training.distributed.fabric import launch, make_fabric
from jointreid.training.distributed.processes import Processes
from jointreid.training.distributed.world import process_layout, report_once
from jointreid.training.lock import run_lock
from jointreid.training.log import SilentLog, TrainingLog
from jointreid.training.pretrain.checkpoint import PretrainCheckpoint, check_out
from jointreid.training.pretrain.config import PretrainConfig
from jointreid.training.pretrain.imagefolder import ImageFolder, LabelledImages, read_image_folder
from jointreid.training.pretrain.recipe import AugmentedImages, network_of, optimizer_of, schedule_of, transform_of

LOG_EVERY = 50  # steps


def pretrain(
    images: str | Path,
    out: str | Path,
    config: PretrainConfig | None = None,
    *,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    workers: int = 8,
    resume: bool = False,
    console: Console | None = None,
) -> Path:
    """Train a trunk on a folder of classes and write weights that a run can start from.

    `out` gets `model.safetensors`, `model.json` (top-1 and how it was trained), `metrics.jsonl` and, after every epoch,
    `training.safetensors`, from which `resume` continues.

    Args:
        images: a folder with train/CLASS/* and val/CLASS/*.
        out: folder to write.
        config: settings; the defaults if None.
        device: auto, cpu, cuda or mps.
        devices: number of devices, a process for each; under `torchrun`, the number it starts here.
        nodes: machines, each with as many devices; more than one needs `torchrun`.
        workers: decoding processes for each device; 0 decodes between the steps.
        resume: continue the training in `out`.
        console: where to print; standard output by default.

    Returns:
        `out`/model.safetensors.

    Raises:
        JointreidError: the folder or the settings do not allow it, images are unreadable (all are listed in
            `out`/unreadable.txt), `out` already holds a training, or one with other settings, another process trains
            in it, or a loss is not finite on any device.
    """
    config, out = config or PretrainConfig(), user_path(out)
    with report_once():
        if workers < 0:
            raise JointreidError(f"--workers is {workers}; expected 0 or more")
        where, layout = pick_device(device), process_layout(TrainConfig(devices=devices, nodes=nodes))
        precision = pick_precision(config.precision, where)
        config = dataclasses.replace(config, precision=precision)
        folder = read_image_folder(images)
        fabric = make_fabric(TrainConfig(), layout, where, precision)
    launch(fabric, layout)
    processes = Processes(fabric)
    console = (console or Console()) if processes.is_main else Console(quiet=True)
    with processes.report_lost(out, "run the same command again with --resume"), ExitStack() as stack:
        with processes.error_barrier():
            if processes.is_main:
                stack.enter_context(run_lock(out, partial(say, console)))
                check_out(out, resume)
        with processes.error_barrier():
            training = _Pretraining(config, folder, out, processes, workers, console)
            if resume:
                training.checkpoint.resume()
        if not resume:
            training.require_readable()
        with short_of_workers(workers, "load images", alone=0):
            return training.run()


class _Pretraining:
    """One pre-training: its network, its data and its loop."""

    def __init__(
        self,
        config: PretrainConfig,
        folder: ImageFolder,
        out: Path,
        processes: Processes,
        workers: int,
        console: Console,
    ) -> None:
        self.config, self.folder, self.out, self.processes = config, folder, out, processes
        self.workers, self.console = workers, console
        self.fabric: Any = processes.fabric
        self.share, left = divmod(config.batch_size, processes.world_size)
        if left:
            raise JointreidError(
                f"batch_size is {config.batch_size}; expected a multiple of the {processes.world_size} devices"
            )
        self.steps_per_epoch = len(folder.train) // config.batch_size
        if not self.steps_per_epoch:
            raise JointreidError(
                f"train holds {len(folder.train):,} images, fewer than a batch of {config.batch_size}; lower batch_size"
            )
        transform_of(config, training=True)  # refuses settings that timm does not accept
        torch.manual_seed(config.seed)
        self.model = network_of(config.network, len(folder.classes))
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = optimizer_of(self.model, config)
        self.schedule = schedule_of(optimizer, config)
        self.wrapped, self.optimizer = self.fabric.setup(self.model, optimizer)
        facts = {
            "network": config.network,
            "classes": len(folder.classes),
            "train_images": len(folder.train),
            "val_images": len(folder.val),
            "recipe": dataclasses.asdict(config),
            "class_names": list(folder.classes),
        }
        self.checkpoint = PretrainCheckpoint(out, facts, self.model, optimizer, self.fabric.strategy.precision)

    def require_readable(self) -> None:
        """Decode every image once, and stop if some are unreadable."""
        say(self.console, "Checking the images: every one is decoded once.")
        paths = (*self.folder.train.paths, *self.folder.val.paths)
        mine = scan_images(paths[self.processes.rank :: self.processes.world_size], None, max(1, self.workers))
        causes = [f"{path}: {cause}" for path, cause in mine.unreadable.items()]
        causes_by_rank = [self.fabric.broadcast(causes, rank) for rank in range(self.processes.world_size)]
        if unreadable := sorted(cause for causes in causes_by_rank for cause in causes):
            listed = self.out / "unreadable.txt"
            if self.processes.is_main:
                write_atomically(listed, "\n".join(unreadable) + "\n")
            raise SharedError(
                f"{len(unreadable)} images cannot be read: {first_few(unreadable, 10, sep='; ')}. All are listed in "
                f"{listed}; repair or remove them"
            )

    def run(self) -> Path:
        """Train the remaining epochs, and write the weights."""
        config, folder, checkpoint, is_main = self.config, self.folder, self.checkpoint, self.processes.is_main
        say(
            self.console,
            f"{config.network} on {len(folder.train):,} images of {len(folder.classes):,} classes, "
            f"{config.epochs - checkpoint.epoch} of {config.epochs} epochs to go, {self.steps_per_epoch:,} steps each, "
            f"{config.precision} on {self.processes.world_size} x {self.fabric.device.type}.",
        )
        total, done = config.epochs * self.steps_per_epoch, checkpoint.epoch * self.steps_per_epoch
        with TrainingLog(self.out, total, done, self.console) if is_main else SilentLog() as log:
            while checkpoint.epoch < config.epochs:
                self._train_epoch(log)
                checkpoint.epoch += 1
                checkpoint.accuracy = self._evaluate()
                log.write("evaluation", checkpoint.epoch * self.steps_per_epoch, checkpoint.epoch, checkpoint.accuracy)
                shares = ", ".join(f"{name} {share:.1%}" for name, share in checkpoint.accuracy.items())
                log.say(f"epoch {checkpoint.epoch}  {shares}")
                with self.processes.error_barrier():
                    if is_main:
                        checkpoint.save()
        path = self.out / "model.safetensors"
        with self.processes.error_barrier():
            if is_main:
                say(self.console, f"Wrote {path}: {checkpoint.export()}")
        source = "dcsd_imagenet" if config.network.endswith("-dcsd") else "r50_imagenet"
        say(self.console, f"Start from it with --model.pretrain {source} --model.pretrain_file {path}")
        return path

    def _train_epoch(self, log: TrainingLog) -> None:
        """Train for one epoch; the images that are left after the last whole batch are not used."""
        config, model, epoch = self.config, self.wrapped, self.checkpoint.epoch
        since, losses = time.monotonic(), list[float]()
        model.train()
        self.schedule.step(epoch)
        for step, (images, labels) in enumerate(
            self._batches(self.folder.train, epoch), start=epoch * self.steps_per_epoch + 1
        ):
            logits = model(images)
            loss = functional.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)
            losses.append(self.processes.mean(loss.detach()).item())  # the same in all processes, so that all stop
            if not math.isfinite(losses[-1]):
                raise SharedError(
                    f"step {step}: the loss is not finite; stopped before the step. Lower lr or train in precision "
                    f"32-true. {self.out} holds the checkpoint of epoch {epoch}"
                )
            self.fabric.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            log.advance(step)
            if step % LOG_EVERY == 0 or step % self.steps_per_epoch == 0:
                values = {"total": sum(losses) / len(losses), "lr": self.optimizer.param_groups[0]["lr"]}
                speed = len(losses) * config.batch_size / (time.monotonic() - since)
                log.write("train", step, epoch + 1, values)
                log.print_step(step, epoch + 1, values, speed)
                since, losses = time.monotonic(), []

    def _batches(self, images: LabelledImages, epoch: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's part of each batch, on its device: shuffled for an epoch, else in order."""
        order = np.arange(len(images))
        if epoch is not None:
            shuffled = np.random.default_rng([self.config.seed, epoch, 0]).permutation(order)
            order = shuffled[: self.steps_per_epoch * self.config.batch_size]
        loader = DataLoader(
            AugmentedImages(images, self.config, epoch),
            batch_size=self.share,
            sampler=order[self.processes.rank :: self.processes.world_size].tolist(),
            num_workers=self.workers,
            pin_memory=self.fabric.device.type == "cuda",
        )
        for pixels, labels in loader:
            pixels = pixels.to(self.fabric.device, non_blocking=True, memory_format=torch.channels_last)
            yield pixels, labels.to(self.fabric.device)

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        """Return the top-1 and top-5 accuracy on val."""
        self.processes.average_running(self.model)  # each process has seen its own images only
        self.model.eval()
        hits = torch.zeros(2, device=self.fabric.device)
        for images, labels in self._batches(self.folder.val, None):
            with self.fabric.autocast():
                logits = self.model(images)
            ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]  # B 5
            hits += torch.stack((ranked[:, 0].sum(), ranked.sum()))
        top1, top5 = self.fabric.all_reduce(hits, reduce_op="sum").tolist()
        return {"top1": top1 / len(self.folder.val), "top5": top5 / len(self.folder.val)}
