"""Train a trunk to classify images, such as ImageNet's, for other trainings to start from: `jointreid pretrain`.

A trunk of generated convolutions learns them from the sample alone: a folder of classes has no domains and no cameras.
The recipe is that of DDF's ImageNet networks, on the parts of timm that they were trained with: random changes, SGD and
its rate, without the ten epochs at the last rate that their trainer adds. How an image changes follows from the seed,
the epoch and the image, so a training goes on exactly where an epoch ended.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from jointreid.data.decode import scan_images
from jointreid.data.imagefolder import ImageFolder, LabelledImages, read_image_folder
from jointreid.device import pick_device, pick_precision
from jointreid.errors import JointreidError
from jointreid.files import replacing, write_atomically
from jointreid.models.pretrained import own_label
from jointreid.training.pretrain_config import PretrainConfig
from jointreid.training.pretrain_parts import Pictures, network_of, optimizer_of, schedule_of, transform_of
from jointreid.training.report import Report

FORMAT_VERSION = 1
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

    `out` gets `model.safetensors`, `model.json` (top-1 and how it came about), `metrics.jsonl` and, after every epoch,
    `training.safetensors`, from which `resume` goes on.

    Args:
        images: a folder with train/CLASS/* and val/CLASS/*.
        out: folder to write.
        config: what is trained and how.
        device: auto, cpu, cuda or mps.
        devices: how many of them, each a process. Under `torchrun` as many as it starts here.
        nodes: machines, each with as many; more than one needs `torchrun`.
        workers: processes a device that decode images; 0 decodes between the steps.
        resume: go on with the training in `out`.
        console: where to print; standard output by default.

    Returns:
        `out`/model.safetensors.

    Raises:
        JointreidError: the folder or the settings do not allow it, images are unreadable (all are listed in
            `out`/unreadable.txt), `out` holds a training already or another one, or a loss is not finite.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    config, out = config or PretrainConfig(), Path(out)
    where = pick_device(device)
    _claim(out, resume)
    folder = read_image_folder(images)
    precision = pick_precision(config.precision, where)
    config = dataclasses.replace(config, precision=precision)
    # Each process keeps the statistics of its own images; `_evaluate` takes their mean.
    strategy = DDPStrategy(broadcast_buffers=False) if devices * nodes > 1 else "auto"
    fabric = Fabric(accelerator=where.type, devices=devices, num_nodes=nodes, precision=precision, strategy=strategy)
    fabric.launch()
    if not fabric.is_global_zero:
        console = Console(quiet=True)
    training = _Pretraining(config, folder, out, fabric, workers, console or Console())
    if resume:
        training.resume()
    else:
        training.require_readable()
    return training.run()


class _Pretraining:
    """One training in the making: what the loop works on."""

    def __init__(
        self, config: PretrainConfig, folder: ImageFolder, out: Path, fabric: Any, workers: int, console: Console
    ) -> None:
        self.config, self.folder, self.out, self.fabric = config, folder, out, fabric
        self.workers, self.console = workers, console
        self.share, left = divmod(config.batch_size, fabric.world_size)
        if left:
            raise JointreidError(
                f"batch_size is {config.batch_size}; expected a multiple of the {fabric.world_size} devices"
            )
        self.steps_per_epoch = len(folder.train) // config.batch_size
        if not self.steps_per_epoch:
            raise JointreidError(
                f"train holds {len(folder.train):,} images, fewer than a batch of {config.batch_size}; lower batch_size"
            )
        transform_of(config, training=True)  # refuses what it cannot do
        torch.manual_seed(config.seed)
        self.model = network_of(config.network, len(folder.classes))
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = optimizer_of(self.model, config)
        self.schedule = schedule_of(optimizer, config)
        self.wrapped, self.optimizer = fabric.setup(self.model, optimizer)
        self.epoch = 0
        self.measures: dict[str, float] = {}

    def require_readable(self) -> None:
        """Decode every image once, and refuse those that cannot be."""
        self._say("Checking the images: every one is decoded once.")
        paths = (*self.folder.train.paths, *self.folder.val.paths)
        mine = scan_images(paths[self.fabric.global_rank :: self.fabric.world_size], None, max(1, self.workers))
        causes = [f"{path}: {cause}" for path, cause in mine.unreadable.items()]
        shares = [self.fabric.broadcast(causes, rank) for rank in range(self.fabric.world_size)]
        if unreadable := sorted(cause for share in shares for cause in share):
            listed = self.out / "unreadable.txt"
            if self.fabric.is_global_zero:
                write_atomically(listed, "\n".join(unreadable) + "\n")
            more = f"; and {len(unreadable) - 10} more" if len(unreadable) > 10 else ""
            raise JointreidError(
                f"{len(unreadable)} images cannot be read: {'; '.join(unreadable[:10])}{more}. All are listed in "
                f"{listed}; repair or remove them"
            )

    def run(self) -> Path:
        """Train from where the training stands to its end, and write the weights."""
        config, folder = self.config, self.folder
        self._say(
            f"{config.network} on {len(folder.train):,} images of {len(folder.classes):,} classes, "
            f"{config.epochs - self.epoch} of {config.epochs} epochs to go, {self.steps_per_epoch:,} steps each, "
            f"{config.precision} on {self.fabric.world_size} x {self.fabric.device.type}."
        )
        total, done = config.epochs * self.steps_per_epoch, self.epoch * self.steps_per_epoch
        first = self.fabric.is_global_zero
        with Report(self.out, total, done, self.console) if first else nullcontext() as report:
            while self.epoch < config.epochs:
                self._train_epoch(report)
                self.epoch += 1
                self.measures = self._evaluate()
                if report:
                    report.log("evaluation", self.epoch * self.steps_per_epoch, self.epoch, self.measures)
                    shares = ", ".join(f"{name} {share:.1%}" for name, share in self.measures.items())
                    report.say(f"epoch {self.epoch}  {shares}")
                    self._save()
                self.fabric.barrier()
        if first:
            self._export()
        self.fabric.barrier()
        return self.out / "model.safetensors"

    def _train_epoch(self, report: Report | None) -> None:
        """Take one pass over train; the images that are left after its last whole batch are not seen."""
        config, model = self.config, self.wrapped
        since, losses = time.monotonic(), list[float]()
        model.train()
        self.schedule.step(self.epoch)
        for step, (images, labels) in enumerate(
            self._batches(self.folder.train, self.epoch), start=self.epoch * self.steps_per_epoch
        ):
            logits = model(images)
            loss = functional.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)
            if not bool(torch.isfinite(loss)):
                raise JointreidError(
                    f"step {step + 1}: the loss is not finite; stopped before the step. Lower lr or train in precision "
                    f"32-true. {self.out} holds the training up to epoch {self.epoch}"
                )
            self.fabric.backward(loss)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            if report:
                report.advance(step + 1)
                if (step + 1) % LOG_EVERY == 0 or (step + 1) % self.steps_per_epoch == 0:
                    values = {"total": sum(losses) / len(losses), "rate": self.optimizer.param_groups[0]["lr"]}
                    speed = len(losses) * config.batch_size / (time.monotonic() - since)
                    report.log("train", step + 1, self.epoch + 1, values)
                    report.step_line(step + 1, self.epoch + 1, values, speed)
                    since, losses = time.monotonic(), []

    def _batches(self, images: LabelledImages, epoch: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's share of each batch, on its device: of an epoch, or of all in order."""
        order = np.arange(len(images))
        if epoch is not None:
            shuffled = np.random.default_rng([self.config.seed, epoch, 0]).permutation(order)
            order = shuffled[: self.steps_per_epoch * self.config.batch_size]
        loader = DataLoader(
            Pictures(images, self.config, epoch),
            batch_size=self.share,
            sampler=order[self.fabric.global_rank :: self.fabric.world_size].tolist(),
            num_workers=self.workers,
            pin_memory=self.fabric.device.type == "cuda",
        )
        for pictures, labels in loader:
            pictures = pictures.to(self.fabric.device, non_blocking=True, memory_format=torch.channels_last)
            yield pictures, labels.to(self.fabric.device)

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        """Return the shares of val images whose class is the first, and among the first five, of the logits."""
        if self.fabric.world_size > 1:  # each process normalised by the statistics of its own images
            for buffer in self.model.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.fabric.all_reduce(buffer, reduce_op="mean"))
        self.model.eval()
        hits = torch.zeros(2, device=self.fabric.device)
        for images, labels in self._batches(self.folder.val, None):
            with self.fabric.autocast():
                logits = self.model(images)
            ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]  # B 5
            hits += torch.stack((ranked[:, 0].sum(), ranked.sum()))
        top1, top5 = self.fabric.all_reduce(hits, reduce_op="sum").tolist()
        return {"top1": top1 / len(self.folder.val), "top5": top5 / len(self.folder.val)}

    def resume(self) -> None:
        """Load what `_save` wrote after the last whole epoch.

        Raises:
            JointreidError: it is damaged, or of another training.
        """
        path = self.out / "training.safetensors"
        try:
            with safe_open(path, "pt") as opened:
                state = json.loads(opened.metadata()["state"])
            tensors = load_file(path)
            if changed := _changed(state["facts"], self._facts()):
                raise JointreidError(
                    f"--resume: {self.out} was begun with other {', '.join(changed)}; leave that as it was, or choose "
                    "another --out"
                )
            self.model.load_state_dict({name: tensors[f"model/{name}"] for name in self.model.state_dict()})
            for name, parameter in self.model.named_parameters():
                momentum = tensors[f"momentum/{name}"].to(parameter.device)
                self.optimizer.optimizer.state[parameter]["momentum_buffer"] = momentum
            self.epoch = int(state["epoch"])
            self.measures = {name: float(state[name]) for name in ("top1", "top5")}
        except JointreidError:
            raise
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise JointreidError(f"{path}: cannot be gone on with ({error!r}); train anew in another --out") from error

    def _save(self) -> None:
        """Write what is needed to go on after an epoch, in one file, which is replaced whole."""
        tensors = {f"model/{name}": tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            slots = self.optimizer.optimizer.state[parameter]
            tensors[f"momentum/{name}"] = slots["momentum_buffer"].contiguous()
        state = {"format_version": FORMAT_VERSION, "epoch": self.epoch, **self.measures, "facts": self._facts()}
        with replacing(self.out / "training.safetensors") as temporary:
            save_file(tensors, temporary, {"state": json.dumps(state)})

    def _export(self) -> None:
        """Write the weights under the trunk's own names, then the JSON, which names this very file."""
        path = self.out / "model.safetensors"
        tensors = {name.removeprefix("trunk."): tensor for name, tensor in self.model.state_dict().items()}
        with replacing(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        facts = {
            "format_version": FORMAT_VERSION,
            **self.measures,
            "epochs": self.epoch,
            "sha256": sha256,
            **self._facts(),
            "versions": {package: version(package) for package in ("jointreid", "torch", "timm")},
        }
        write_atomically(path.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
        source = "dcsd_imagenet" if self.config.network.endswith("-dcsd") else "r50_imagenet"
        self._say(f"Wrote {path}: {own_label(path, sha256)}")
        self._say(f"Start from it with --model.pretrain {source} --model.pretrain_file {path}")

    def _facts(self) -> dict[str, Any]:
        """Return what is trained, on what and how: it stands in the JSON and must be the same to go on."""
        return {
            "network": self.config.network,
            "classes": len(self.folder.classes),
            "train_images": len(self.folder.train),
            "val_images": len(self.folder.val),
            "recipe": asdict(self.config),
            "class_names": list(self.folder.classes),
        }

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return which facts, and which settings of the recipe, are not as they were."""
    flat_before, flat_now = ({**facts, **facts["recipe"], "recipe": None} for facts in (before, now))
    return [name for name in flat_now if flat_before.get(name) != flat_now[name]]


def _claim(out: Path, resume: bool) -> None:
    """Refuse to write over a training, or to go on with none."""
    begun = (out / "training.safetensors").is_file()
    if resume and not begun:
        raise JointreidError(f"--resume: {out} holds no epoch to go on after; leave --resume out to begin")
    if not resume and (begun or (out / "model.safetensors").is_file()):
        raise JointreidError(f"{out} already holds a training; go on with it by --resume, or choose another --out")
