"""Signals that ask a run to stop: it saves at the next step and can be resumed.

A cluster sends SIGTERM before it takes a machine back, Ctrl-C sends SIGINT, and SLURM sends SIGUSR1 ahead of a time
limit (`--signal=USR1@60`). On Windows there is SIGINT, and SIGBREAK from Ctrl-Break.
"""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from jointreid.messages.errors import OutputError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGBREAK") if hasattr(signal, name))

# A launcher and its process group may both forward a signal, one right after the other.
_REPEAT_SECONDS = 1.0


class StopRequested(Exception):
    """Raised inside long work, such as an evaluation, that a signal interrupts."""


class StopSignals:
    """Catch the first of these signals, as a context manager; a second one has its usual effect and ends at once.

    Outside the main thread, where Python allows no signal handlers, all keep their usual effect.

    Args:
        say: told about the first one.

    Attributes:
        name: of the signal that was caught; empty before.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.name = ""
        self._say = say
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def raise_if_requested(self, *_: object) -> None:
        """Interrupt the work at hand if a signal was caught.

        Raises:
            StopRequested: one was.
        """
        if self.name:
            raise StopRequested(self.name)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if not self.name:
            self.name, self._since = signal.Signals(number).name, time.monotonic()
            with suppress(OutputError):  # Ctrl-C also ends what reads the output, such as tee
                words = "saving at the next step, then stopping; a second signal ends at once, without a save."
                self._say(f"{self.name}: {words}")
        elif time.monotonic() - self._since > _REPEAT_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
