"""Train one model on many data sets: the loop, whole and in sight.

One step, as in the paper: 16 identities x 4 images from the union of the data sets, forward, Eq. 5, backward, Adam.
Everything random in a step follows from the seed and the step's number, so a run goes on exactly where it stopped.
"""

import math
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from jointreid.config import RunConfig, config_hash
from jointreid.data.images import ImageStore
from jointreid.data.joint import LabelSpace
from jointreid.data.sampling import make_sampler, realised_histogram
from jointreid.device import Precision, pick_device
from jointreid.errors import JointreidError, RunStopped
from jointreid.losses import head_accuracy, loss_function
from jointreid.memory import kept_memory
from jointreid.models.pretrained import FROM_SCRATCH, NONE
from jointreid.models.reid import ReIDModel
from jointreid.own import is_own
from jointreid.progress import counting
from jointreid.retrieval.results import Results, render, save_results
from jointreid.run import Run, model_for, write_config
from jointreid.shortage import short_of_disk, short_of_memory
from jointreid.training.advice import disk_advice, memory_advice
from jointreid.training.arithmetic import Arithmetic, compiling
from jointreid.training.batches import AugmentedBatches
from jointreid.training.checkpoint import Saved, load_checkpoint, newest_whole, save_checkpoint
from jointreid.training.data import TrainingData, images_hash, prepare
from jointreid.training.evaluation import Evaluation
from jointreid.training.forecast import forecast
from jointreid.training.lock import held
from jointreid.training.optim import WeightAverage, build_optimizer, rate_factor, render_rates, set_rate
from jointreid.training.parallel import Together, make_fabric
from jointreid.training.randomness import seed_all
from jointreid.training.report import NoReport, Report
from jointreid.training.start import check_start, claim, load_start, precision_of
from jointreid.training.stop import Leave, StopSignals
from jointreid.training.watch import Watch, Window
from jointreid.training.world import goes_on, record_launch, render_world, settings_of_all, told_once, world_of


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


def train(config: RunConfig, console: Console | None = None, *, data: TrainingData | None = None) -> Run:
    """Train, evaluate and leave a run directory.

    Args:
        config: every setting; `config.data.sources` names the data sets.
        console: where to print; standard output by default.
        data: what `prepare(config)` gave, where several runs share it; read and checked here by default.

    Returns:
        The run, whose `last` checkpoint is the trained model.

    Raises:
        JointreidError: the data or settings do not allow training, or another process trains in the directory (found
            before the first step), a loss or a gradient is not finite (raised before the step that would spoil the
            weights), or memory or disk run out.
        RunStopped: a signal asked it to stop, and it has saved.
    """
    with told_once():
        device, world = pick_device(config.train.device), world_of(config.train)
        config = config.replace(train={"devices": world.devices, "nodes": world.nodes})
        settings_of_all(config)
        path = Path(config.train.out or f"runs/{config.train.label or config.model.name}-{config_hash(config)}")
        config = config.replace(train={"resume": config.train.resume or goes_on(path, world)})
        precision = precision_of(path, config, device)
        fabric = make_fabric(config.train, world, device, precision, unused=is_own(config.model.trunk))
    fabric.launch()
    together = Together(fabric)
    config = config.replace(train={"resume": together.from_first(config.train.resume)})
    console = (console or Console()) if together.first else Console(quiet=True)
    with together.watched(path), ExitStack() as stack:
        with together.meeting():
            if together.first:
                say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
                stack.enter_context(held(path, say))
                claim(path, config)
                check_start(config)
                record_launch(path, world)
        if together.size > 1:
            console.print(render_world(config, world), highlight=False)
        if data is None:
            console.print("Checking the data; the first time every image is decoded.", highlight=False)
            data = together.in_turn(lambda: prepare(config))
            console.print(data.summary, highlight=False, markup=False, soft_wrap=True)
        with (
            kept_memory(device.type),
            short_of_memory(lambda: memory_advice(config, path, device)),
            short_of_disk(lambda: disk_advice(path)),
        ):
            return _Training(config, path, data, together, precision, console).run()


class _Training:
    """One run in the making: what the loop works on."""

    def __init__(
        self,
        config: RunConfig,
        path: Path,
        data: TrainingData,
        together: Together,
        precision: Precision,
        console: Console,
    ) -> None:
        self.data, self.together, self.precision, self.console = data, together, precision, console
        self.fabric: Any = together.fabric
        self.device = device = together.fabric.device
        self.space = data.train_set.label_space
        self.result = Run(path, config, self.space)
        self.config = config = settings_of_all(config)
        self.sampler = make_sampler(data.train_set, config.sampler, config.train.seed)
        self.loss = loss_function(config.loss.kind)
        self.steps_per_epoch = max(1, len(self.sampler) // config.train.accumulate)
        self.total_steps = config.schedule.epochs * self.steps_per_epoch
        with counting(console, "decoding") as progress:
            self.store = together.in_turn(
                lambda: ImageStore.build(
                    [sample.record for sample in data.train_set.samples],
                    config.image,
                    Path(config.data.cache),
                    config.train.workers,
                    config.data.cache_mode,
                    progress,
                )
            )
        part = together.rank, together.size
        self.batches = AugmentedBatches(self.store, data.train_set, self.sampler, config, device, *part)
        seed_all(config.train.seed)
        torch.use_deterministic_algorithms(config.train.deterministic)
        self.model: ReIDModel = model_for(config, self.space)
        self.saved: Saved | None = None
        with together.meeting():
            if together.first and config.train.resume:
                self.saved = newest_whole(self.result, self._say)
            started = load_start(self.model, self.saved, config, console) if together.first else ""
        self.pretraining = together.from_first(started)
        together.same_weights(self.model)
        if config.train.sync_bn and together.size > 1:
            self.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.model)  # type: ignore[no-untyped-call]
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Own code may not fit into one graph, nor does what SyncBatchNorm sends in the middle of a pass.
        one_graph = not is_own(config.model.trunk) and not config.train.sync_bn
        self.arithmetic = Arithmetic(device, precision, config.train.compile, one_graph)
        optimizer = build_optimizer(self.model, config.optim, fused=self.arithmetic.fused)
        network = self.arithmetic.network(self.model)
        # With several processes the network is compiled, not what sends its gradients around.
        self.wrapped, self.optimizer = self.fabric.setup(network, optimizer, _reapply_compile=together.size == 1)
        self.average = WeightAverage(self.model, config.train.ema) if config.train.ema else None
        self.stop = StopSignals(self._say)
        self.evaluation = Evaluation(
            self.result.config, data, self.model, self.average, self.pretraining, together, self.stop.leave_if_asked
        )
        self.images_hash = images_hash(data.train_set)
        self.progress = Progress()

    def run(self) -> Run:
        """Train from where the run stands to its end, or to `max_steps` or `minutes`."""
        run = self.result
        if self.config.train.resume:
            self._resume()
        elif self.together.first:
            self.space.save(run.path / "labels.json")
            write_config(run.config, run.path / "config.yaml")  # last: it makes the folder a run
        start = FROM_SCRATCH if self.pretraining == NONE else self.pretraining
        self.console.print(f"Start: {start}", highlight=False, markup=False, soft_wrap=True)
        self.console.print(self.arithmetic.render(), highlight=False)
        limit = min(self.total_steps, self.config.train.max_steps or self.total_steps)
        by_epoch = [self._rate(first) for first in range(0, self.total_steps, self.steps_per_epoch)]
        self.console.print(f"Learning rate by epoch: {render_rates(by_epoch)}", highlight=False, soft_wrap=True)
        self._forecast(limit)
        first, begun = self.together.first, self.progress
        made = Report(run.path, self.total_steps, begun.step, self.console, begun.lines) if first else NoReport()
        results, finished = None, False
        with self.batches, self.stop, made as report:
            with suppress(Leave):
                self._loop(report, limit)
                if not self._is_asked_to_stop():
                    results = self._evaluate(report) if self._is_to_be_measured() else None
                    finished = True
            self._save(report, "last")
        if not finished:
            text = (
                f"stopped by {self.stop.name or 'a signal to another process'}, saved at step "
                f"{self.progress.step:,} of {self.total_steps:,}; go on with `jointreid train --resume {run.path}`"
            )
            raise RunStopped(text if first else "")
        if results is not None:
            self.console.print(render(results), highlight=False, markup=False, soft_wrap=True)
        self.console.print(f"Run directory: {run.path}", highlight=False, markup=False, soft_wrap=True)
        return run

    def _loop(self, report: Report, limit: int) -> None:
        config, progress, model = self.config, self.progress, self.wrapped
        samples = self.data.train_set.samples
        at_once, scaled = not self.arithmetic.reads_seldom, self.arithmetic.scaled
        mean = self.together.mean
        watch = Watch(self.device, at_once, progress.window, lambda index: samples[index].record, scaled, mean)
        if not at_once:
            self.optimizer.optimizer.found_inf = watch.spoilt
        stop_at = time.monotonic() + config.train.minutes * 60 if config.train.minutes else math.inf
        since, images, self.batches.waited = time.monotonic(), 0, 0.0
        if progress.epoch_open:
            self._end_epoch(report, progress.step // self.steps_per_epoch, limit)
        model.train()
        while progress.step < limit and self._in_time(stop_at) and not self._is_asked_to_stop():
            epoch = progress.step // self.steps_per_epoch + 1
            rate = self._rate(progress.step)
            set_rate(self.optimizer, rate)
            self.together.seed(config.train.seed, progress.step)
            for micro in range(config.train.accumulate):
                number = progress.step * config.train.accumulate + micro
                batch, indices = self.batches(number)
                with self.fabric.no_backward_sync(model, enabled=micro + 1 < config.train.accumulate):
                    output = self.together.outputs(model(batch.images), gather=config.train.gather)
                    terms = self.loss(output, batch, config.loss, self.batches.generator(number, "pairs"))
                    accuracy = head_accuracy(output.factor_logits, batch.domain_ids, batch.global_camids)
                    watch.note(progress.step + 1, terms, accuracy, indices)
                    self.fabric.backward(terms.total / config.train.accumulate)
            watch.note_gradients(progress.step + 1, self.model)
            if config.optim.clip_norm:
                norm = config.optim.clip_norm
                self.fabric.clip_gradients(model, self.optimizer, max_norm=norm, error_if_nonfinite=False)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            progress.step += 1
            self.together.average_statistics(self.model)
            if self.average:
                self.average.update(self.model)

            images += config.train.accumulate * config.sampler.batch_size
            report.advance(progress.step)
            logged = progress.step % config.train.log_every == 0 or progress.step == limit
            ended = progress.step % self.steps_per_epoch == 0
            saved = config.train.save_every and progress.step % config.train.save_every == 0
            if logged or ended or saved:
                watch.read()
            if logged:
                values = {**watch.take_means(), "rate": rate}
                report.log("train", progress.step, epoch, values)
                seconds = time.monotonic() - since
                report.step_line(progress.step, epoch, values, images / seconds, self.batches.waited / seconds)
            if ended:
                self._end_epoch(report, epoch, limit)
            if logged or ended:
                since, images, self.batches.waited = time.monotonic(), 0, 0.0
            if saved:
                self._save(report, "last")
        watch.read()

    def _is_asked_to_stop(self) -> bool:
        """Say whether a signal came, to any of the processes: all leave after the same step."""
        return self.together.any(bool(self.stop.name))

    def _is_to_be_measured(self) -> bool:
        """Say whether no sitting before this one has measured the weights as they are."""
        measured = self.progress.evaluated == self.progress.step and (self.result.path / "results.json").is_file()
        return bool(self.data.test) and not self.together.from_first(measured)

    def _in_time(self, stop_at: float) -> bool:
        return stop_at == math.inf or self.together.from_first(time.monotonic() < stop_at)

    def _rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.config.optim.lr * rate_factor(self.config.schedule, step, self.steps_per_epoch)

    def _end_epoch(self, report: Report, epoch: int, limit: int) -> None:
        """Log which domains and cameras the epoch held, choose `best`, evaluate when due."""
        self.progress.epoch_open, self.progress.lines = True, report.lines
        config, per_epoch = self.config, self.steps_per_epoch * self.config.train.accumulate
        drawn = [self.sampler.batch_at(number) for number in range((epoch - 1) * per_epoch, epoch * per_epoch)]
        histogram = realised_histogram(self.data.train_set, drawn)
        first, last = ((epoch - 1) * self.steps_per_epoch, epoch * self.steps_per_epoch - 1)
        rates = {"first_rate": self._rate(first), "last_rate": self._rate(last)}
        report.log("epoch", self.progress.step, epoch, {**rates, **histogram._asdict()})
        due = config.train.eval_every and epoch % config.train.eval_every == 0
        if self.progress.step < limit and due and self.data.test:
            results = self._evaluate(report)
            if results is not None:
                report.say(render(results))
        if self.data.val and (due or self.progress.step >= limit):
            self._choose_best(report, epoch)
        self.progress.epoch_open = False

    def _choose_best(self, report: Report, epoch: int) -> None:
        """Save `best` when the mean mAP on the held-out identities is the highest so far."""
        found = self.evaluation.on_held_out()
        if found is not None:
            report.log("validation", self.progress.step, epoch, found.to_dict()["mean"])
        reached = self.together.from_first(found.mean["mAP"] if found else 0.0)
        if reached > self.progress.best:
            self.progress.best = reached
            self._save(report, "best")

    def _evaluate(self, report: Report) -> Results | None:
        """Evaluate on every domain; the numbers go to `results.json` and the log. Only the first process has them."""
        found = self.evaluation.on_test()
        if found is None:
            return None
        results, queries = found
        epoch = -(-self.progress.step // self.steps_per_epoch)
        domains = {result.domain: {"mAP": result.mAP, "rank1": result.cmc[1]} for result in results.domains}
        report.log("evaluation", self.progress.step, epoch, domains)
        save_results(results, queries, self.result.path)
        self.progress.evaluated = self.progress.step
        return results

    def _save(self, report: Report, name: str) -> None:
        report.sync()
        if not self.progress.epoch_open:
            self.progress.lines = report.lines
        run = self.result
        state: dict[str, Any] = {
            "step": self.progress.step,
            "epoch": self.progress.step / self.steps_per_epoch,
            "best": self.progress.best,
            "window": self.progress.window,
            "evaluated": self.progress.evaluated,
            "lines": self.progress.lines,
            "epoch_open": self.progress.epoch_open,
            "scaler": self.fabric.strategy.precision.state_dict(),
            "sampler": {**self.sampler.state_dict(), "step": self.progress.step * self.config.train.accumulate},
            "labels": self.space.hash,
            "images": self.images_hash,
            "config": config_hash(run.config),
            "pretraining": self.pretraining,
            "precision": self.precision,
        }
        optimizer = self.optimizer.optimizer if name == "last" else None
        with self.together.meeting():
            if self.together.first:
                save_checkpoint(run.path, name, self.model, state, average=self.average, optimizer=optimizer)

    def _resume(self) -> None:
        """Load what `last` holds, in the first process, and hand it to the others; without a save a run begins anew."""
        with self.together.meeting():
            if self.together.first:
                self._load_last()
        average = self.average.tensors if self.average else None
        self.progress = self.together.from_first(self.progress)
        if scaler := self.together.from_first(self.saved.state.get("scaler") if self.saved else None):
            self.fabric.strategy.precision.load_state_dict(scaler)
        self.together.same_state(self.model, self.optimizer.optimizer, average)
        self._say(f"Resuming {self.result.path} at step {self.progress.step:,} of {self.total_steps:,}.")

    def _load_last(self) -> None:
        run = self.result
        if LabelSpace.load(run.path / "labels.json").hash != self.space.hash:
            raise JointreidError(
                f"{run.path}/labels.json: the data has other identities or cameras than when the run began; "
                "resume with the same data, or start a new run from its weights with --init"
            )
        if self.saved:
            state = self.saved.state
            if state.get("images", self.images_hash) != self.images_hash:
                raise JointreidError(
                    f"{run.path}: the train images have other names or another order than when the run began, so its "
                    "batches would be others; resume with the same data, or start a new run from its weights with "
                    "--init"
                )
            load_checkpoint(run, self.saved, self.model, self.optimizer.optimizer, self.average)
            self.sampler.load_state_dict(state["sampler"])
            self.progress = Progress(**{f.name: state[f.name] for f in fields(Progress) if f.name in state})

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _forecast(self, limit: int) -> None:
        batch, _ = self.batches(self.progress.step * self.config.train.accumulate)

        def loss() -> torch.Tensor:
            output = self.together.outputs(self.wrapped(batch.images), gather=self.config.train.gather)
            return self.loss(output, batch, self.config.loss, None).total

        self.model.train()
        with compiling():
            cost = forecast(self.model, loss, self.config.train.accumulate, self.fabric.backward)
        self.console.print(cost.render(limit - self.progress.step), highlight=False, markup=False, soft_wrap=True)
