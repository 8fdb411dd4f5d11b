"""The exception for mistakes that the user can fix, and suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


class JointreidError(ValueError):
    """A mistake in input, settings or files that the user can fix.

    The message says what is wrong, where (file, row, key), what was expected and what to do. The command line
    prints it as one paragraph on stderr, without a traceback, and exits with a code other than 0.
    """


class OutputError(JointreidError):
    """The output for people cannot be written: its disk is full, or its reader is gone."""


class SharedError(JointreidError):
    """A mistake that every process of a run finds, so that only the main process reports it."""


class ReportedElsewhere(JointreidError):
    """An error caused and reported by another process: this one ends without a message."""


class RunStopped(KeyboardInterrupt):
    """A run that a signal stopped after it had saved; restart it with `--resume`.

    This is an interrupt, not an error, so that a caller does not treat it as a failure and start the next run. The
    command line exits with `EXIT_RESUMABLE`. The message is empty if another process reports it.

    Args:
        where: the cause, and how far the run has come.
        command: how to resume; a caller that started several runs replaces it.
    """

    def __init__(self, where: str = "", command: str = "") -> None:
        super().__init__("; ".join(part for part in (where, command) if part))
        self.where = where


EXIT_RESUMABLE = 75  # EX_TEMPFAIL of sysexits.h: the same command, tried later, succeeds


def no_such(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that does not exist, with the nearest that do.

    >>> no_such("setting", "schedule.epoch", ["schedule.epochs", "optim.lr"])
    'there is no setting schedule.epoch; did you mean schedule.epochs?'
    """
    known = list(known)
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return f"there is no {what} {name}; {hint}"
