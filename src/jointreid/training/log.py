"""The log of a run: `metrics.jsonl` for programs, TensorBoard for plots, lines or a progress bar for people.

`metrics.jsonl` holds nothing that depends on the clock, so a resumed run writes the same lines as an unbroken one.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from jointreid.machine.files import sync, write_atomically
from jointreid.messages.console import say
from jointreid.messages.progress import make_bars


class TrainingLog:
    """The three ways to follow a run, as a context manager.

    Args:
        run: the run directory.
        total_steps: steps of the whole run.
        start_step: steps already taken; lines of an interrupted run about later steps are dropped.
        console: where to print: a progress bar on a terminal, elsewhere a line for each logged step.
        start_lines: lines of `metrics.jsonl` about those steps, if known; further lines are dropped.

    Attributes:
        lines: number of lines that `metrics.jsonl` has now.
    """

    def __init__(
        self, run: Path, total_steps: int, start_step: int, console: Console, start_lines: int | None = None
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.console = console
        self._metrics = run / "metrics.jsonl"
        kept = _lines_until(self._metrics, start_step, start_lines)
        self.lines = len(kept)
        if self._metrics.exists() or self._metrics.is_symlink():
            write_atomically(self._metrics, "".join(kept))
        if start_lines is not None and self.lines < start_lines:
            self.say(f"{self._metrics}: {start_lines - self.lines} lines about finished steps are missing from it.")
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=start_step + 1)
        self._bar = make_bars(console)
        self._task = self._bar.add_task("training", total=total_steps, completed=start_step)
        self._total_steps = total_steps

    def __enter__(self) -> "TrainingLog":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._writer.close()

    def advance(self, step: int) -> None:
        """Move the bar to a number of completed steps."""
        self._bar.update(self._task, completed=step)

    def say(self, text: str) -> None:
        """Print a line for people."""
        say(self.console, text)

    def write(self, kind: str, step: int, epoch: int, values: dict[str, Any]) -> None:
        """Append a line to `metrics.jsonl`, and its numbers to TensorBoard.

        Args:
            kind: `train`, `epoch`, `validation` or `evaluation`.
            step: steps completed.
            epoch: epochs started.
            values: numbers, or dicts of them.
        """
        with self._metrics.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps({"kind": kind, "step": step, "epoch": epoch, **values}) + "\n")
        self.lines += 1
        for name, value in _numbers(values):
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def sync(self) -> None:
        """Write the lines to disk: a checkpoint relies on them."""
        self._writer.flush()
        if self._metrics.exists():
            sync(self._metrics)

    def print_step(
        self, step: int, epoch: int, values: dict[str, Any], images_per_second: float, waiting: float | None = None
    ) -> None:
        """Show the values of a step: beside the progress bar on a terminal, as a line elsewhere.

        Args:
            step: steps completed.
            epoch: epochs started.
            values: the terms of the loss, accuracies, and `lr`; those of each domain are not printed.
            images_per_second: since the last line.
            waiting: share of that time in which steps waited for their batches, if known.
        """
        waits = "" if waiting is None else f", {waiting:.0%} of the time waiting for data"
        if self.console.is_terminal:
            self._bar.update(self._task, description=f"epoch {epoch}  loss {values['total']:.3f}{waits}")
        else:
            terms = "  ".join(
                f"{name} {value:.3f}" for name, value in _numbers(values) if "/" not in name and name != "lr"
            )
            self.say(
                f"epoch {epoch}  step {step}/{self._total_steps}  {terms}  "
                f"lr {values['lr']:.2e}  {images_per_second:.0f} images/s{waits}"
            )
        self._writer.add_scalar("train/images_per_second", images_per_second, step)
        if waiting is not None:
            self._writer.add_scalar("train/waiting_for_data", waiting, step)


class SilentLog(TrainingLog):
    """Logs nothing: for all processes but the main one."""

    def __init__(self) -> None:
        self.lines = 0

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def advance(self, step: int) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def write(self, kind: str, step: int, epoch: int, values: dict[str, Any]) -> None:
        """Do nothing."""

    def sync(self) -> None:
        """Do nothing."""

    def print_step(
        self, step: int, epoch: int, values: dict[str, Any], images_per_second: float, waiting: float | None = None
    ) -> None:
        """Do nothing."""


def _lines_until(metrics: Path, step: int, count: int | None) -> list[str]:
    """Return the first `count` lines, as far as they are about steps up to `step`; later steps are taken again."""
    if not metrics.exists():
        return []
    kept = []
    for line in metrics.read_text(encoding="utf-8").splitlines()[:count]:
        try:
            if json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):  # a line that a kill cut short
            break
        kept.append(line + "\n")
    return kept


def _numbers(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Return the numbers in nested dicts as `(a/b, value)`."""
    flat: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            flat += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            flat.append((f"{prefix}{name}", float(value)))
    return flat
