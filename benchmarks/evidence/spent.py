"""The time that a training takes, added up over its interruptions."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jointreid.machine.files import write_atomically

# A process that is killed loses at most so much of its time.
EVERY_SECONDS = 60.0


class Spent:
    """Seconds so far, those of earlier processes included.

    Args:
        path: of the file that keeps them.
        resumed: whether to count on from that file.
    """

    def __init__(self, path: Path, *, resumed: bool) -> None:
        self._path = path
        self._before = json.loads(path.read_text(encoding="utf-8")) if resumed and path.is_file() else (0.0, 0.0)
        self._start = time.monotonic(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """Return the seconds that passed, and the CPU seconds of the process."""
        (wall, cpu), (wall_start, cpu_start) = self._before, self._start
        return round(wall + time.monotonic() - wall_start, 1), round(cpu + time.process_time() - cpu_start, 1)

    def save(self) -> None:
        """Write the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(self.seconds()) + "\n")


@contextmanager
def counted(path: Path, *, resumed: bool) -> Iterator[Spent]:
    """Count the time in this context, and keep it in a file: now and then, and at the end, however that comes."""
    spent, stop = Spent(path, resumed=resumed), threading.Event()

    def save_often() -> None:
        while not stop.wait(EVERY_SECONDS):
            spent.save()

    thread = threading.Thread(target=save_often, daemon=True)
    thread.start()
    try:
        yield spent
    finally:
        stop.set()
        thread.join()
        spent.save()
