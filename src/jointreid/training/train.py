"""Train one model on many data sets: the loop, whole and in sight.

One step, as in the paper: 16 identities x 4 images from the union of the data sets, forward, Eq. 5, backward, Adam.
Everything random in a step follows from the seed and the index of its batch, so a run resumes exactly where it stopped.
"""

import math
import time
from contextlib import ExitStack, suppress
from functools import partial

from rich.console import Console

from jointreid.config import RunConfig, config_hash
from jointreid.custom import is_custom
from jointreid.data.batch_shares import step_config
from jointreid.data.composition import compose_pass, realised_histogram, render_composition
from jointreid.data.moved import resolve_paths
from jointreid.data.pk_sampler import PKSampler
from jointreid.data.run_images import load_images, save_images
from jointreid.machine.device import pick_device
from jointreid.machine.memory import kept_memory
from jointreid.machine.paths import cache_folder, require_writable, user_path
from jointreid.machine.shortage import short_of_disk, short_of_memory
from jointreid.messages.commands import command
from jointreid.messages.console import say
from jointreid.messages.errors import OutputError, RunStopped
from jointreid.models.weight_sources import FROM_SCRATCH, NONE
from jointreid.retrieval.result_files import save_results
from jointreid.retrieval.results import Results, render
from jointreid.run import Run, write_config
from jointreid.training.advice import disk_advice, memory_advice
from jointreid.training.checkpoint import save_checkpoint
from jointreid.training.data import TrainingData, data_hash, images_by_content, load_training_data
from jointreid.training.distributed.fabric import launch, make_fabric
from jointreid.training.distributed.processes import Processes
from jointreid.training.distributed.world import (
    is_restarted_job,
    process_layout,
    record_job,
    render_layout,
    report_once,
)
from jointreid.training.evaluation import Evaluation
from jointreid.training.forecast import forecast
from jointreid.training.lock import run_lock
from jointreid.training.log import SilentLog, TrainingLog
from jointreid.training.optim import render_generator_lr, render_lrs
from jointreid.training.resume import (
    Progress,
    ResumePoint,
    checkpoint_state,
    find_resume_point,
    precision_of,
    restore,
    with_data_found,
)
from jointreid.training.setup import TrainingSetup, set_up
from jointreid.training.start_weights import check_start_weights
from jointreid.training.stop import StopRequested, StopSignals


def train(config: RunConfig, console: Console | None = None, *, data: TrainingData | None = None) -> Run:
    """Train, evaluate and leave a run directory.

    Args:
        config: every setting; `config.data.sources` names the data sets.
        console: where to print; standard output by default.
        data: what `load_training_data(config)` returned, where several runs share it; loaded here by default.

    Returns:
        The run, whose `last` checkpoint is the trained model.

    Raises:
        JointreidError: the data or settings do not allow training, or another process trains in the directory (found
            before the first step), a loss or a gradient is not finite (raised before the step that would spoil the
            weights), or memory or disk run out.
        RunStopped: a signal asked it to stop, and it has saved.
    """
    with report_once():
        device, layout = pick_device(config.train.device), process_layout(config.train)
        config = config.replace(train={"devices": layout.devices, "nodes": layout.nodes})
        step_config(config)  # refuses a batch that the processes cannot share
        path = user_path(config.train.out or f"runs/{config.train.label or config.model.name}-{config_hash(config)}")
        config = config.replace(train={"resume": config.train.resume or is_restarted_job(path, layout)})
        given = config
        config = resolve_paths(with_data_found(path, config).replace(train={"out": str(path)}))
        precision = precision_of(path, config, device)
        fabric = make_fabric(config.train, layout, device, precision, find_unused=is_custom(config.model.trunk))
    launch(fabric, layout)
    processes = Processes(fabric)
    config = config.replace(train={"resume": processes.broadcast(config.train.resume)})
    console = (console or Console()) if processes.is_main else Console(quiet=True)
    again = command("train", "--resume", path)
    advice = f"resume with `{again}`, started as before (torchrun restarts resume by themselves)"
    with processes.report_lost(path, advice), ExitStack() as stack:
        # Folders may have other names on each machine; the data are compared by content, once they are read.
        settings = config_hash(given.replace(data={"sources": (), "cache": "cache"}))
        processes.require_same("the settings or the arithmetic", f"{settings} {precision}")
        resume_point = None
        with processes.error_barrier():
            if processes.is_main:
                require_writable(path, "--out")
                stack.enter_context(run_lock(path, partial(say, console)))
                resume_point = find_resume_point(path, config, partial(say, console))
                check_start_weights(config)
                record_job(path, layout)
        if processes.world_size > 1:
            say(console, render_layout(config, layout))
        if data is None:
            say(console, "Checking the data; the first time every image is decoded.")
            data = processes.local_main_first(lambda: load_training_data(config))
            say(console, data.summary)
        if processes.world_size > 1:
            processes.require_same("the images or labels", data_hash(data))
        with processes.error_barrier():
            if resume_point:
                resume_point.require_same_data(data, config)
        with (
            kept_memory(device.type),
            short_of_memory(lambda: memory_advice(config, path, device)),
            short_of_disk(lambda: disk_advice(path)),
        ):
            checkpoint = resume_point.checkpoint if resume_point else None
            setup = set_up(config, path, data, processes, precision, checkpoint, console)
            return _Trainer(setup, resume_point, console, given).run()


class _Trainer:
    """One run: its loop, the end of its epochs, its evaluations and its checkpoints.

    Every process runs the same code; only the main process logs, prints and writes.
    """

    def __init__(
        self, setup: TrainingSetup, resume_point: ResumePoint | None, console: Console, given: RunConfig
    ) -> None:
        self.setup, self.resume_point, self.console, self.given = setup, resume_point, console, given
        self.is_main, self.progress = setup.processes.is_main, Progress()
        self.log: TrainingLog = SilentLog()
        self.stop = StopSignals(partial(say, console))
        self.evaluation = Evaluation(setup, self.stop.raise_if_requested)
        self.limit = min(setup.total_steps, setup.step_config.train.max_steps or setup.total_steps)

    def run(self) -> Run:
        """Train to the last step, or to `max_steps` or `minutes`; evaluate and save."""
        setup, run = self.setup, self.setup.run
        self._start()
        results, finished = None, False
        with setup.batches, self.stop, self._open_log() as self.log:
            try:
                with suppress(StopRequested):
                    self._loop()
                    if not self._is_stop_requested():
                        results = self._evaluate_at_the_end()
                        finished = True
            except OutputError:
                if setup.processes.world_size > 1:  # the others save nothing at this step
                    raise
                self._save("last")  # nobody reads the log any more; what was trained is kept
                if not self.stop.name:
                    raise
            else:
                self._save("last")
        if not finished:
            where = (
                f"stopped by {self.stop.name or 'a signal to another process'}, saved at step "
                f"{self.progress.step:,} of {setup.total_steps:,}"
            )
            started = ", started as before" if setup.processes.world_size > 1 else ""
            again = f"resume with `{command('train', '--resume', run.path)}`{started}"
            raise RunStopped(where, again) if self.is_main else RunStopped()
        if results is not None:
            say(self.console, render(results))
        say(self.console, f"Run directory: {run.path}")
        return run

    def _evaluate_at_the_end(self) -> Results | None:
        """Choose `best` and evaluate on the test splits, unless both was done for the weights as they are."""
        if self.setup.data.val and self.progress.validated != self.progress.step:  # it ended between two epochs
            self._save("last")
            self._choose_best(-(-self.progress.step // self.setup.steps_per_epoch))
        if not self._needs_evaluation():
            return None
        self._save("last")  # an evaluation that fails or is killed costs no step
        return self._evaluate()

    def _loop(self) -> None:
        """Take steps up to the limit; log, evaluate and save when it is time."""
        setup, train, progress = self.setup, self.setup.step_config.train, self.progress
        samples = setup.data.train_set.samples
        watch = setup.step.make_watch(lambda index: samples[index].record, progress.window)
        stop_at = time.monotonic() + train.minutes * 60 if train.minutes else math.inf
        if progress.epoch_open:  # a signal interrupted the end of this epoch
            self._end_epoch(progress.step // setup.steps_per_epoch)
        setup.step.network.train()
        since, images, setup.batches.waited = time.monotonic(), 0, 0.0
        while progress.step < self.limit and self._in_time(stop_at) and not self._is_stop_requested():
            epoch, lr = progress.step // setup.steps_per_epoch + 1, setup.lr(progress.step)
            batch_indices = range(progress.step * train.accumulate, (progress.step + 1) * train.accumulate)
            setup.step(progress.step, lr, map(setup.batches, batch_indices), watch)  # forward, loss, backward, Adam
            progress.step += 1
            images += train.accumulate * setup.step_config.sampler.batch_size
            self.log.advance(progress.step)

            is_log_step = progress.step % train.log_every == 0 or progress.step == self.limit
            is_epoch_end = progress.step % setup.steps_per_epoch == 0
            is_save_step = train.save_every and progress.step % train.save_every == 0
            if is_log_step or is_epoch_end or is_save_step:
                watch.read()  # stops at a loss that is not finite
            if is_log_step:
                values = {**watch.take_means(), **setup.step.context_trust(), "lr": lr}
                self.log.write("train", progress.step, epoch, values)
                seconds = time.monotonic() - since
                self.log.print_step(progress.step, epoch, values, images / seconds, setup.batches.waited / seconds)
            if is_epoch_end:
                self._end_epoch(epoch)
            if is_log_step or is_epoch_end:
                since, images, setup.batches.waited = time.monotonic(), 0, 0.0
            if is_save_step:
                self._save("last")
        watch.read()

    def _end_epoch(self, epoch: int) -> None:
        """Log which domains and cameras an epoch, counted from 1, has seen; evaluate and choose `best` when due."""
        setup, progress = self.setup, self.progress
        progress.epoch_open, progress.lines = True, self.log.lines
        first, end, accumulate = (
            (epoch - 1) * setup.steps_per_epoch,
            epoch * setup.steps_per_epoch,
            setup.step.accumulate,
        )
        batches = [setup.sampler.batch_at(index) for index in range(first * accumulate, end * accumulate)]
        histogram = realised_histogram(setup.data.train_set, batches)
        lrs = {"first_lr": setup.lr(first), "last_lr": setup.lr(end - 1)}
        self.log.write("epoch", progress.step, epoch, {**lrs, **histogram._asdict()})
        every = setup.step_config.train.eval_every
        due, at_limit = every and epoch % every == 0, progress.step >= self.limit
        if due and not at_limit and setup.data.test:  # at the limit, `run` evaluates
            results = self._evaluate()
            if results is not None:
                say(self.console, render(results))
        if (due or at_limit) and setup.data.val:
            self._choose_best(epoch)
        progress.epoch_open = False

    def _evaluate(self) -> Results | None:
        """Evaluate on every test domain, write `results.json` and log; only the main process returns results."""
        setup, progress = self.setup, self.progress
        evaluated = self.evaluation.on_test()
        if evaluated is None:
            return None
        results, queries = evaluated
        epoch = -(-progress.step // setup.steps_per_epoch)
        domains = {result.domain: {"mAP": result.mAP, "rank1": result.cmc[1]} for result in results.domains}
        self.log.write("evaluation", progress.step, epoch, domains)
        save_results(results.dated(progress.step), queries, setup.run.path)
        progress.evaluated = progress.step
        return results

    def _choose_best(self, epoch: int) -> None:
        """Save `best` if the mean mAP on the held-out identities is the highest so far."""
        results = self.evaluation.on_held_out()
        if results is not None:
            self.log.write("validation", self.progress.step, epoch, results.to_dict()["mean"])
        self.progress.validated = self.progress.step
        mean_ap = self.setup.processes.broadcast(results.mean["mAP"] if results else 0.0)
        if mean_ap > self.progress.best:
            self.progress.best = mean_ap
            self._save("best")

    def _save(self, name: str) -> None:
        """Write the checkpoint `last` or `best`; all processes call it, the main one writes."""
        setup, progress, step = self.setup, self.progress, self.setup.step
        self.log.sync()
        if not progress.epoch_open:
            progress.lines = self.log.lines
        state = checkpoint_state(setup, progress)
        optimizer = step.optimizer.optimizer if name == "last" else None
        with setup.processes.error_barrier():
            if self.is_main:
                save_checkpoint(setup.run.path, name, step.model, state, average=step.average, optimizer=optimizer)

    def _start(self) -> None:
        """Restore a run that is resumed, or make the directory of a new one a run; say what is to come."""
        setup, run = self.setup, self.setup.run
        if run.config.train.resume:
            self.progress = restore(setup, self.resume_point.checkpoint if self.resume_point else None)
            if self.resume_point:  # the main process's; nothing is refused any more
                self.resume_point.keep_places(run.config)
            if self.is_main and not load_images(run.path):  # an earlier version began it
                self._remember_images()
            say(self.console, f"Resuming {run.path} at step {self.progress.step:,} of {setup.total_steps:,}.")
        elif self.is_main:
            run.label_space.save(run.path / "labels.json")
            self._remember_images()
            write_config(run.config, run.path / "config.yaml", self.given)  # last: it makes the folder a run
        say(self.console, f"Start: {FROM_SCRATCH if setup.pretraining == NONE else setup.pretraining}")
        say(self.console, setup.step.arithmetic.render())
        by_epoch = [setup.lr(first) for first in range(0, setup.total_steps, setup.steps_per_epoch)]
        say(self.console, f"Learning rate by epoch: {render_lrs(by_epoch)}")
        if run.config.model.name.endswith("-dcsd"):
            say(self.console, render_generator_lr(run.config))
        if self.is_main and isinstance(setup.sampler, PKSampler):
            names = [domain.name for domain in setup.run.label_space.domains]
            if composition := compose_pass(setup.sampler, setup.data.train_set.domain_ids, names):
                say(self.console, render_composition(composition))
        batch = setup.batches(self.progress.step * setup.step.accumulate).batch
        say(self.console, forecast(setup.step, batch).render(self.limit - self.progress.step))

    def _remember_images(self) -> None:
        run = self.setup.run
        save_images(
            images_by_content(self.setup.data, cache_folder(run.config.data.cache), run.config.train.workers), run.path
        )

    def _open_log(self) -> TrainingLog:
        progress = self.progress
        if not self.is_main:
            return SilentLog()
        return TrainingLog(
            self.setup.run.path, self.setup.total_steps, progress.step, self.console, start_lines=progress.lines
        )

    def _needs_evaluation(self) -> bool:
        """Say whether there are test splits on which the weights as they are have not been evaluated yet."""
        progress, setup = self.progress, self.setup
        evaluated = progress.evaluated == progress.step and (setup.run.path / "results.json").is_file()
        return bool(setup.data.test) and not setup.processes.broadcast(evaluated)

    def _is_stop_requested(self) -> bool:
        """Say whether any of the processes got a signal: all stop after the same step."""
        return self.setup.processes.any(bool(self.stop.name))

    def _in_time(self, stop_at: float) -> bool:
        return stop_at == math.inf or self.setup.processes.broadcast(time.monotonic() < stop_at)
