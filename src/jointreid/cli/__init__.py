"""The command line: parse, call one function, print. Nothing else parses arguments.

Every command exits with 0 only on success; a mistake in input is one paragraph on stderr, without a traceback.
"""

import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

from jointreid.cli.command import Command
from jointreid.cli.data import DATA_COMMANDS
from jointreid.cli.paper import PAPER_COMMANDS
from jointreid.cli.runs import RUN_COMMANDS
from jointreid.custom import trust
from jointreid.messages.errors import EXIT_RESUMABLE, JointreidError, RunStopped, ToldElsewhere, no_such

COMMANDS: dict[str, Command] = {"demo": RUN_COMMANDS["demo"], **DATA_COMMANDS, **RUN_COMMANDS, **PAPER_COMMANDS}

# Set to 1, it does what --debug does.
DEBUG = "JOINTREID_DEBUG"

# The first process is done well before: it prints a line.
_SECONDS_TO_LEAVE = 10.0


def console() -> None:
    """Run the command line and leave the process: the console script."""
    parent = os.getppid()
    if "--debug" in sys.argv:
        os.environ[DEBUG] = "1"  # for the processes that this one starts
    try:
        code = main(sys.argv[1:])
    except Exception:
        if not _is_connected():
            raise
        code = 1
        with suppress(OSError, ValueError):
            traceback.print_exc()
    if _is_connected():
        # Taking down what connects several processes can wait for ever, for one that has left already.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        if code:
            _let_first_leave(parent)
        os._exit(code)
    sys.exit(code)


def _is_connected() -> bool:
    """Say whether this is one of several processes that have met."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def _let_first_leave(parent: int) -> None:
    """Wait for the process that started this one by `--devices`: it kills all, itself too, if one of them fails first.

    It has its own message to print and its own exit code. Where something else started them, nobody is waited for.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) == 0 or "RANK" in os.environ:
        return
    until = time.monotonic() + _SECONDS_TO_LEAVE
    while os.getppid() == parent and time.monotonic() < until:
        time.sleep(0.05)


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Returns:
        0 on success, 1 when a check found errors, 2 for a mistake in the command or its input, 75 when a signal stopped
        a run that has saved (`--resume` goes on with it), 130 when interrupted.
    """
    rest = [token for token in argv if token != "--debug"]
    try:
        with _tracebacks() if len(rest) < len(argv) or os.environ.get(DEBUG, "") not in ("", "0") else nullcontext():
            return _dispatch(rest)
    except ToldElsewhere:
        return 2
    except JointreidError as error:
        print(f"jointreid: {error}", file=sys.stderr)
        return 2
    except RunStopped as stopped:
        if str(stopped):
            print(f"jointreid: {stopped}", file=sys.stderr)
        return EXIT_RESUMABLE
    except KeyboardInterrupt:
        print("jointreid: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has what it wants
        sys.stderr.close()
        return 0


@contextmanager
def _tracebacks() -> Iterator[None]:
    """Print the traceback of what ends a command early, with its causes, before it is told in one paragraph."""
    try:
        yield
    except (JointreidError, KeyboardInterrupt):  # of others Python prints the traceback
        traceback.print_exc()
        raise


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("--help", "-h", "help", "--help-all"):
        print(_overview())
        return 0
    if argv[0] == "--version":
        from jointreid import __version__

        print(f"jointreid {__version__}")
        return 0
    argv = _trusting(argv)
    words = 2 if " ".join(argv[:2]) in COMMANDS else 1
    name, rest = " ".join(argv[:words]), argv[words:]
    if name not in COMMANDS:
        raise JointreidError(f"{no_such('command', name, COMMANDS)}. `jointreid --help` lists them")
    command = COMMANDS[name]
    if {"--help", "-h", "--help-all"} & set(rest):
        print(f"{command.summary}\n\nusage: jointreid {command.usage}\n\n{command.help('--help-all' in rest)}")
        return 0
    return command.run(rest)


def _trusting(argv: list[str]) -> list[str]:
    """Return the arguments without `--code MODULE`, which every command takes: settings may name its functions."""
    rest, tokens = [], iter(argv)
    for token in tokens:
        name, equals, value = token.partition("=")
        if name != "--code":
            rest.append(token)
            continue
        module = value if equals else next(tokens, "")
        if not module or module.startswith("-"):
            raise JointreidError("--code needs a module of which runs may name functions, as in --code my_package.nets")
        trust(module)
    return rest


def _overview() -> str:
    lines = [
        "Train one re-identification model on many data sets at once, without the domain conflict.",
        "",
        "usage: jointreid COMMAND ...",
        "",
        *(f"  {name:<13} {command.summary}" for name, command in COMMANDS.items()),
        "",
        "jointreid COMMAND --help explains one; --help-all shows every setting; --version prints the version.",
        "Exit codes: 0 done, 1 a check found errors, 2 a mistake, 75 stopped by a signal and saved, 130 interrupted.",
        "Every command takes --code MODULE: code of your own that runs may use (see docs/extend.md), and --debug,",
        "which prints the traceback of an error (see docs/debugging.md).",
    ]
    return "\n".join(lines)
