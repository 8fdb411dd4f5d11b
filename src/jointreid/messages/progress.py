"""Bars that show on a terminal how far counted work is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

# Called with (items done, items in all).
OnProgress = Callable[[int, int], None]


def make_bars(console: "Console", *, transient: bool = False) -> "Progress":
    """Return bars with counts and times, to be started; on anything but a terminal they show nothing.

    Args:
        console: where they are shown.
        transient: remove them at the end.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
        disable=not console.is_terminal,
    )


@contextmanager
def progress_bars(console: "Console") -> Iterator[Callable[[str, int, int], None]]:
    """Give a function to call with (name, items done, items in all), which moves the bar of that name."""
    with make_bars(console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield show


@contextmanager
def progress_bar(console: "Console", name: str) -> Iterator[OnProgress]:
    """Give a function to call with (items done, items in all), which moves one bar."""
    with progress_bars(console) as show:
        yield lambda done, total: show(name, done, total)
