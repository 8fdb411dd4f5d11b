"""The one exception for mistakes a person can mend, and the nearest name to a misspelt one."""

from collections.abc import Iterable
from difflib import get_close_matches


class JointreidError(ValueError):
    """A mistake in input, settings or files that its reader can mend.

    The message says what is wrong, where (file, row, key), what was expected and what to do. The command line
    prints it as one paragraph on stderr, without a traceback, and exits with a code other than 0.
    """


class MadeByAll(JointreidError):
    """A mistake that every process of a run finds alike, so that one of them tells it."""


class ToldElsewhere(JointreidError):
    """What stops a process because of another one, which tells the reader: this one ends in silence."""


class RunStopped(KeyboardInterrupt):
    """A signal asked a run to stop, and it has saved: it goes on with `--resume`.

    An interrupt and no error, so that nobody takes it for a failure and begins the next run. The command line exits
    with `EXIT_RESUMABLE`. Without a message where another process tells it.

    Args:
        where: what stopped it, and how far it has come.
        again: how to go on; whoever was asked for more than this run says it anew.
    """

    def __init__(self, where: str = "", again: str = "") -> None:
        super().__init__("; ".join(part for part in (where, again) if part))
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
