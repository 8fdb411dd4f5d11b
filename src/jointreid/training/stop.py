"""Signals that ask a run to end: it saves at the next step and can be gone on with.

SIGTERM is how a machine is taken back, SIGINT what Ctrl-C sends, SIGUSR1 what SLURM sends ahead of a limit
(`--signal=USR1@60`).
"""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))

# A launcher and the group of processes it stands in may both pass a signal on, one right after the other.
_REPEAT_SECONDS = 1.0


class Leave(Exception):
    """Raised inside long work, such as an evaluation, that a signal ends before its end."""


class StopSignals:
    """Note the first of these signals, as a context manager; a second one has its usual effect, which ends at once.

    Outside the main thread, where Python lets nobody listen to signals, they keep their usual effect.

    Args:
        say: told of the first one.

    Attributes:
        name: of the signal that came; empty before.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.name = ""
        self._say = say
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def leave_if_asked(self, *_: object) -> None:
        """End what is being done if a signal has come.

        Raises:
            Leave: one has.
        """
        if self.name:
            raise Leave(self.name)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.name:
            self.name, self._since = signal.Signals(number).name, time.monotonic()
            self._say(f"{self.name}: saving at the next step, then leaving; once more ends at once, without a save.")
        elif time.monotonic() - self._since > _REPEAT_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
