"""The command line: read the options, call one function, print. Nothing else reads arguments.

Every command exits with 0 only on success; a mistake in input is one paragraph on stderr, without a traceback.
"""

import inspect
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import Any, get_type_hints

from jointreid.cli.options import help_text, read_options
from jointreid.custom import trust
from jointreid.messages.console import failed_stream, open_streams, print_error
from jointreid.messages.errors import EXIT_RESUMABLE, JointreidError, ReportedElsewhere, RunStopped, no_such

# Each command and its function, `module:function` below `jointreid.cli`, loaded when it is called. The function takes
# a dataclass of options, returns an exit code, and its docstring is what `--help` says of it.
COMMANDS = {
    "demo": "demo:demo",
    "data check": "data:check",
    "data ingest": "data:ingest",
    "data prepare": "data:prepare",
    "data synth": "data:synth",
    "train": "train:train",
    "pretrain": "pretrain:pretrain",
    "evaluate": "evaluate:evaluate",
    "compare": "compare:compare",
    "report": "report:report",
    "profile": "profile:profile",
    "paper plan": "paper:plan",
    "paper run": "paper:run",
    "paper tables": "paper:tables",
    "paper figure5": "paper:figure5",
}
HELP = ("--help", "-h", "--help-all")

# Set to 1, it does what --debug does.
DEBUG = "JOINTREID_DEBUG"

# Longer than the main process takes: it prints a line.
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
        # Closing the connection between processes can wait forever for one that has already left.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        if code:
            _let_first_leave(parent)
        os._exit(code)
    sys.exit(code)


def _is_connected() -> bool:
    """Return whether this is one of several connected processes."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def _let_first_leave(parent: int) -> None:
    """Wait until the process that started this one for `--devices` has left.

    If another process fails first, it kills all of them, itself too, before it has printed its message and set the exit
    code. Under torchrun or SLURM there is nothing to wait for.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) == 0 or "RANK" in os.environ:
        return
    until = time.monotonic() + _SECONDS_TO_LEAVE
    while os.getppid() == parent and time.monotonic() < until:
        time.sleep(0.05)


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Returns:
        0 on success, 1 if a check found errors, 2 for a mistake in the command or its input, 75 if a signal stopped a
        run that has saved (`--resume` resumes it), 130 if interrupted.
    """
    open_streams()
    try:
        code = _run(argv)
        sys.stdout.flush()
    except OSError as error:
        if not (stream := failed_stream(error)):
            raise
        if isinstance(error, BrokenPipeError):  # the reader of our output, such as `head`, has what it wants
            return 0
        print_error(f"jointreid: {stream} cannot be written: {error.strerror or error}")
        return 2
    return code


def _run(argv: Sequence[str]) -> int:
    """Run one command, report its errors and return the exit code."""
    rest = [token for token in argv if token != "--debug"]
    try:
        with _tracebacks() if len(rest) < len(argv) or os.environ.get(DEBUG, "") not in ("", "0") else nullcontext():
            return _dispatch(rest)
    except ReportedElsewhere:
        return 2
    except JointreidError as error:
        print_error(f"jointreid: {error}")
        return 2
    except RunStopped as stopped:
        if str(stopped):
            print_error(f"jointreid: {stopped}")
        return EXIT_RESUMABLE
    except KeyboardInterrupt:
        print_error("jointreid: interrupted")
        return 130


@contextmanager
def _tracebacks() -> Iterator[None]:
    """Print the traceback of an error and of its causes, before the paragraph that reports it."""
    try:
        yield
    except (JointreidError, KeyboardInterrupt):  # Python prints the traceback of all others
        traceback.print_exc()
        raise


def _dispatch(argv: list[str]) -> int:
    argv = _trusting(argv)
    name = next((name for name in (" ".join(argv[:2]), *argv[:1]) if name in COMMANDS), "")
    if not name:
        return _without_command(argv)
    run = command(name)
    options, rest = options_of(run), argv[len(name.split()) :]
    if set(HELP) & set(rest):
        print(help_text(options, name, inspect.getdoc(run) or "", full="--help-all" in rest), end="")
        return 0
    from jointreid.training.distributed.world import report_once

    with report_once():
        given = read_options(options, name, rest)
    return run(given)


def command(name: str) -> Callable[[Any], int]:
    """Return the function of a command."""
    module, _, function = COMMANDS[name].partition(":")
    loaded: Callable[[Any], int] = getattr(import_module(f"jointreid.cli.{module}"), function)
    return loaded


def options_of(run: Callable[[Any], int]) -> type[Any]:
    """Return the dataclass of the options that a command's function takes."""
    kind: type[Any] = get_type_hints(run)["options"]
    return kind


def _without_command(argv: list[str]) -> int:
    """Print the help of the program or of a group such as `data`, or its version; refuse anything else."""
    first = argv[0] if argv else "help"
    if first == "--version":
        from jointreid import __version__

        print(f"jointreid {__version__}")
    elif first in (*HELP, "help"):
        print(_overview())
    elif any(name.startswith(f"{first} ") for name in COMMANDS) and (len(argv) == 1 or argv[1] in HELP):
        print(_overview(first))
    else:
        name = " ".join(argv[:2]) if any(name.startswith(f"{first} ") for name in COMMANDS) else first
        raise JointreidError(f"{no_such('command', name, COMMANDS)} `jointreid --help` lists them")
    return 0


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
            raise JointreidError("--code needs a module whose functions a run may use, as in --code my_package.nets")
        trust(module)
    return rest


def _overview(group: str = "") -> str:
    """Return the help of the whole program, or of a group of commands such as `data`."""
    listed = [name for name in COMMANDS if name.startswith(f"{group} " if group else "")]
    about = ["Train one re-identification model on many data sets at once, without the domain conflict.", ""]
    lines = [
        *(about if not group else []),
        f"usage: {' '.join(part for part in ('jointreid', group, 'COMMAND') if part)} ...",
        "",
        *(f"  {name:<13} {(inspect.getdoc(command(name)) or '').rstrip('.')}" for name in listed),
        "",
        "`jointreid COMMAND --help` explains a command, --help-all shows every setting, --version prints the version.",
        "Exit codes: 0 done, 1 a check found errors, 2 a mistake, 75 stopped by a signal and saved, 130 interrupted.",
        "Every command takes --code MODULE, your own code that runs may use (see docs/extend.md), and --debug, which",
        "prints the traceback of an error (see docs/debugging.md).",
    ]
    return "\n".join(lines)
