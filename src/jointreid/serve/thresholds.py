"""The calibration of a run that is being served: read when the server starts, and again when its file has changed."""

import logging
import threading
from pathlib import Path

from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError
from jointreid.verification.calibration import Calibration, Uncalibrated, path_of

LOG = logging.getLogger("jointreid.serve")

# When a file was written, its size and its number on the disk; None for no file.
FileState = tuple[int, int, int] | None


class CurrentCalibration:
    """The calibration of a run, as its file says now; used by many threads.

    Args:
        run: the run directory.
        checkpoint: last or best.
        fingerprint: of the model in use.

    Raises:
        JointreidError: the file is damaged.
    """

    def __init__(self, run: str | Path, checkpoint: str, fingerprint: str) -> None:
        self._run = user_path(run)
        self._checkpoint = checkpoint
        self._fingerprint = fingerprint
        self._lock = threading.Lock()
        self._state = self._file_state()
        self._calibration = self._read()

    def get(self) -> Calibration | None:
        """Return the calibration, and None where there is none for the model in use.

        A file that cannot be read any more leaves no calibration either: its thresholds may be of other weights. The
        log says so once.
        """
        with self._lock:
            if (state := self._file_state()) != self._state:
                self._state = state
                try:
                    self._calibration = self._read()
                except JointreidError as error:
                    self._calibration = None
                    LOG.warning("answers have no verdict: %s", error)
                if self._calibration is not None:
                    LOG.info("the calibration has changed: answers are judged by its new thresholds")
            return self._calibration

    def _read(self) -> Calibration | None:
        try:
            return Calibration.load(self._run, self._checkpoint, self._fingerprint)
        except Uncalibrated as error:
            LOG.warning("answers have no verdict: %s", error)
            return None

    def _file_state(self) -> FileState:
        try:
            found = path_of(self._run, self._checkpoint).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
