"""Train one model on many data sets: the loop, whole and in sight.

One step, as in the paper: 16 identities x 4 images from the union of the data sets, forward, Eq. 5, backward, Adam.
Everything random in a step follows from the seed and the step's number, so a run goes on exactly where it stopped.
"""

import math
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from jointreid.config import RunConfig, config_hash
from jointreid.custom import is_custom
from jointreid.losses import head_accuracy
from jointreid.machine.device import pick_device
from jointreid.machine.memory import kept_memory
from jointreid.machine.shortage import short_of_disk, short_of_memory
from jointreid.messages.console import say
from jointreid.messages.errors import RunStopped
from jointreid.models.pretrained import FROM_SCRATCH, NONE
from jointreid.retrieval.results import render
from jointreid.run import Run
from jointreid.training.advice import disk_advice, memory_advice
from jointreid.training.arithmetic import compiling
from jointreid.training.data import TrainingData, data_hash, load_training_data
from jointreid.training.distributed.fabric import make_fabric
from jointreid.training.distributed.processes import Processes
from jointreid.training.distributed.world import (
    goes_on,
    record_launch,
    render_world,
    report_once,
    settings_of_all,
    world_of,
)
from jointreid.training.epochs import Epochs
from jointreid.training.forecast import Forecast, forecast
from jointreid.training.lock import held
from jointreid.training.log import SilentLog, TrainingLog
from jointreid.training.optim import render_lrs, set_lr
from jointreid.training.parts import Parts, make_parts
from jointreid.training.saving import Saving
from jointreid.training.start import check_start, claim, precision_of
from jointreid.training.stop import Leave, StopSignals
from jointreid.training.watch import Watch


def train(config: RunConfig, console: Console | None = None, *, data: TrainingData | None = None) -> Run:
    """Train, evaluate and leave a run directory.

    Args:
        config: every setting; `config.data.sources` names the data sets.
        console: where to print; standard output by default.
        data: what `load_training_data(config)` gave, where several runs share it; read and checked here by default.

    Returns:
        The run, whose `last` checkpoint is the trained model.

    Raises:
        JointreidError: the data or settings do not allow training, or another process trains in the directory (found
            before the first step), a loss or a gradient is not finite (raised before the step that would spoil the
            weights), or memory or disk run out.
        RunStopped: a signal asked it to stop, and it has saved.
    """
    with report_once():
        device, world = pick_device(config.train.device), world_of(config.train)
        config = config.replace(train={"devices": world.devices, "nodes": world.nodes})
        settings_of_all(config)
        path = Path(config.train.out or f"runs/{config.train.label or config.model.name}-{config_hash(config)}")
        config = config.replace(train={"resume": config.train.resume or goes_on(path, world)})
        precision = precision_of(path, config, device)
        fabric = make_fabric(config.train, world, device, precision, unused=is_custom(config.model.trunk))
    fabric.launch()
    processes = Processes(fabric)
    config = config.replace(train={"resume": processes.broadcast(config.train.resume)})
    console = (console or Console()) if processes.is_main else Console(quiet=True)
    again = f"go on with `jointreid train --resume {path}`, started as before (torchrun restarts go on by themselves)"
    with processes.report_lost(path, again), ExitStack() as stack:
        # Folders may be called otherwise on each machine: what the data are is compared when they are read.
        alike = config_hash(config.replace(data={"sources": (), "cache": "cache"}))
        processes.require_same("the settings or the arithmetic", f"{alike} {precision}")
        with processes.error_barrier():
            if processes.is_main:
                stack.enter_context(held(path, partial(say, console)))
                claim(path, config)
                check_start(config)
                record_launch(path, world)
        if processes.world_size > 1:
            say(console, render_world(config, world))
        if data is None:
            say(console, "Checking the data; the first time every image is decoded.")
            data = processes.local_main_first(lambda: load_training_data(config))
            say(console, data.summary)
        if processes.world_size > 1:
            processes.require_same("the images or labels", data_hash(data))
        with (
            kept_memory(device.type),
            short_of_memory(lambda: memory_advice(config, path, device)),
            short_of_disk(lambda: disk_advice(path)),
        ):
            return _Training(make_parts(config, path, data, processes, precision, console), console).run()


class _Training:
    """One run in the making."""

    def __init__(self, parts: Parts, console: Console) -> None:
        self.parts, self.console = parts, console
        self.stop = StopSignals(partial(say, self.console))
        self.saving = Saving(parts)
        self.epochs = Epochs(parts, self.saving, self.stop.leave_if_asked)

    def run(self) -> Run:
        """Train from where the run stands to its end, or to `max_steps` or `minutes`."""
        parts, run = self.parts, self.parts.run
        if parts.config.train.resume:
            self.saving.resume()
            say(self.console, f"Resuming {run.path} at step {self.saving.progress.step:,} of {parts.total_steps:,}.")
        else:
            self.saving.begin()
        limit = min(parts.total_steps, parts.config.train.max_steps or parts.total_steps)
        self._announce(limit)
        first, progress = parts.processes.is_main, self.saving.progress
        training_log = (
            TrainingLog(run.path, parts.total_steps, progress.step, self.console, progress.lines)
            if first
            else SilentLog()
        )
        results, finished = None, False
        with parts.batches, self.stop, training_log as log:
            with suppress(Leave):
                self._loop(log, limit)
                if not self._is_asked_to_stop():
                    if self.epochs.is_to_be_measured():
                        self.saving.save(log, "last")  # an evaluation that fails, or is killed, costs no step
                        results = self.epochs.measure(log)
                    finished = True
            self.saving.save(log, "last")
        if not finished:
            where = (
                f"stopped by {self.stop.name or 'a signal to another process'}, saved at step "
                f"{progress.step:,} of {parts.total_steps:,}"
            )
            started = ", started as before" if parts.processes.world_size > 1 else ""
            again = f"go on with `jointreid train --resume {run.path}`{started}"
            raise RunStopped(where, again) if first else RunStopped()
        if results is not None:
            say(self.console, render(results))
        say(self.console, f"Run directory: {run.path}")
        return run

    def _loop(self, log: TrainingLog, limit: int) -> None:
        """Take steps up to a limit; log, measure and save when it is time."""
        parts, train, progress = self.parts, self.parts.config.train, self.saving.progress
        watch = self._watch()
        stop_at = time.monotonic() + train.minutes * 60 if train.minutes else math.inf
        since, images, parts.batches.waited = time.monotonic(), 0, 0.0
        if progress.epoch_open:
            self.epochs.end(log, progress.step // parts.steps_per_epoch, limit)
        parts.network.train()
        while progress.step < limit and self._in_time(stop_at) and not self._is_asked_to_stop():
            epoch, lr = progress.step // parts.steps_per_epoch + 1, parts.lr(progress.step)
            self._step(progress.step, lr, watch)
            progress.step += 1

            images += train.accumulate * parts.config.sampler.batch_size
            log.advance(progress.step)
            logged = progress.step % train.log_every == 0 or progress.step == limit
            ended = progress.step % parts.steps_per_epoch == 0
            saved = train.save_every and progress.step % train.save_every == 0
            if logged or ended or saved:
                watch.read()
            if logged:
                values = {**watch.take_means(), "lr": lr}
                log.write("train", progress.step, epoch, values)
                seconds = time.monotonic() - since
                log.print_step(progress.step, epoch, values, images / seconds, parts.batches.waited / seconds)
            if ended:
                self.epochs.end(log, epoch, limit)
            if logged or ended:
                since, images, parts.batches.waited = time.monotonic(), 0, 0.0
            if saved:
                self.saving.save(log, "last")
        watch.read()

    def _step(self, step: int, lr: float, watch: Watch) -> None:
        """Take the step of a number, counted from 0: forward, Eq. 5 and backward for each of its batches, then Adam."""
        parts, config, processes, model = self.parts, self.parts.config, self.parts.processes, self.parts.model
        fabric: Any = processes.fabric
        set_lr(parts.optimizer, lr)
        processes.seed_step(config.train.seed, step)
        for micro in range(config.train.accumulate):
            number = step * config.train.accumulate + micro
            batch, indices = parts.batches(number)
            with fabric.no_backward_sync(parts.network, enabled=micro + 1 < config.train.accumulate):
                output = processes.outputs_for_loss(parts.network(batch.images), gather=config.train.gather)
                terms = parts.loss(output, batch, config.loss, parts.batches.generator(number, "pairs"))
                accuracy = head_accuracy(output.factor_logits, batch.domain_ids, batch.global_camids)
                watch.note(step + 1, terms, accuracy, indices)
                fabric.backward(terms.total / config.train.accumulate)
        watch.note_gradients(step + 1, model)
        if norm := config.optim.clip_norm:
            fabric.clip_gradients(parts.network, parts.optimizer, max_norm=norm, error_if_nonfinite=False)
        parts.optimizer.step()
        parts.optimizer.zero_grad(set_to_none=True)
        processes.average_batch_norm(model)
        if parts.average:
            parts.average.update(model)

    def _watch(self) -> Watch:
        """Return what sees the values of each step; on a GPU, what keeps a spoilt one from the weights."""
        parts, arithmetic, samples = self.parts, self.parts.arithmetic, self.parts.data.train_set.samples
        watch = Watch(
            arithmetic.device,
            not arithmetic.reads_seldom,
            self.saving.progress.window,
            lambda index: samples[index].record,
            arithmetic.scaled,
            parts.processes.mean,
        )
        if arithmetic.reads_seldom:
            parts.optimizer.optimizer.found_inf = watch.spoilt
        return watch

    def _is_asked_to_stop(self) -> bool:
        """Say whether a signal came, to any of the processes: all leave after the same step."""
        return self.parts.processes.any(bool(self.stop.name))

    def _in_time(self, stop_at: float) -> bool:
        return stop_at == math.inf or self.parts.processes.broadcast(time.monotonic() < stop_at)

    def _announce(self, limit: int) -> None:
        """Say where training starts, how it computes, its learning rates, and what steps up to a limit will cost."""
        parts = self.parts
        say(self.console, f"Start: {FROM_SCRATCH if parts.pretraining == NONE else parts.pretraining}")
        say(self.console, parts.arithmetic.render())
        by_epoch = [parts.lr(first) for first in range(0, parts.total_steps, parts.steps_per_epoch)]
        say(self.console, f"Learning rate by epoch: {render_lrs(by_epoch)}")
        say(self.console, self._forecast().render(limit - self.saving.progress.step))

    def _forecast(self) -> Forecast:
        parts, config, processes = self.parts, self.parts.config, self.parts.processes
        batch, _ = parts.batches(self.saving.progress.step * config.train.accumulate)

        def loss() -> torch.Tensor:
            output = processes.outputs_for_loss(parts.network(batch.images), gather=config.train.gather)
            return parts.loss(output, batch, config.loss, None).total

        parts.model.train()
        with compiling():
            return forecast(parts.model, loss, config.train.accumulate, processes.fabric.backward)
