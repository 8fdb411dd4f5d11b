"""The end of an epoch: the log of what it held, the measurement when it is due, and the choice of `best`."""

from collections.abc import Callable

from jointreid.data.sampling import realised_histogram
from jointreid.retrieval.results import Results, render, save_results
from jointreid.training.evaluation import Evaluation
from jointreid.training.log import TrainingLog
from jointreid.training.parts import Parts
from jointreid.training.saving import Saving


class Epochs:
    """Ends the epochs of a run; every process takes part.

    Args:
        parts: of the run.
        saving: knows how far it has come, and saves `best`.
        on_batch: called between batches of an evaluation where there is one process; what it raises ends that.
    """

    def __init__(self, parts: Parts, saving: Saving, on_batch: Callable[..., None]) -> None:
        self._parts, self._saving = parts, saving
        self._evaluation = Evaluation(
            parts.run.config,
            parts.data,
            parts.model,
            parts.average,
            parts.pretraining,
            parts.processes,
            on_batch,
        )

    def end(self, log: TrainingLog, epoch: int, limit: int) -> None:
        """Log which domains and cameras the epoch held, choose `best`, evaluate when due.

        Args:
            log: of the run.
            epoch: counted from 1.
            limit: the step at which this sitting ends, after which all is measured anyway.
        """
        parts, progress = self._parts, self._saving.progress
        progress.epoch_open, progress.lines = True, log.lines
        first, after = (epoch - 1) * parts.steps_per_epoch, epoch * parts.steps_per_epoch
        accumulate, every = parts.config.train.accumulate, parts.config.train.eval_every
        drawn = [parts.sampler.batch_at(number) for number in range(first * accumulate, after * accumulate)]
        histogram = realised_histogram(parts.data.train_set, drawn)
        lrs = {"first_lr": parts.lr(first), "last_lr": parts.lr(after - 1)}
        log.write("epoch", progress.step, epoch, {**lrs, **histogram._asdict()})
        due = every and epoch % every == 0
        if progress.step < limit and due and parts.data.test:
            results = self.measure(log)
            if results is not None:
                log.say(render(results))
        if parts.data.val and (due or progress.step >= limit):
            self._choose_best(log, epoch)
        progress.epoch_open = False

    def measure(self, log: TrainingLog) -> Results | None:
        """Evaluate on every domain; the numbers go to `results.json` and the log. Only the first process has them."""
        found = self._evaluation.on_test()
        if found is None:
            return None
        results, queries = found
        progress = self._saving.progress
        epoch = -(-progress.step // self._parts.steps_per_epoch)
        domains = {result.domain: {"mAP": result.mAP, "rank1": result.cmc[1]} for result in results.domains}
        log.write("evaluation", progress.step, epoch, domains)
        save_results(results, queries, self._parts.run.path)
        progress.evaluated = progress.step
        return results

    def is_to_be_measured(self) -> bool:
        """Say whether no sitting before this one has measured the weights as they are."""
        parts, progress = self._parts, self._saving.progress
        measured = progress.evaluated == progress.step and (parts.run.path / "results.json").is_file()
        return bool(parts.data.test) and not parts.processes.broadcast(measured)

    def _choose_best(self, log: TrainingLog, epoch: int) -> None:
        """Save `best` when the mean mAP on the held-out identities is the highest so far."""
        progress = self._saving.progress
        found = self._evaluation.on_held_out()
        if found is not None:
            log.write("validation", progress.step, epoch, found.to_dict()["mean"])
        reached = self._parts.processes.broadcast(found.mean["mAP"] if found else 0.0)
        if reached > progress.best:
            progress.best = reached
            self._saving.save(log, "best")
