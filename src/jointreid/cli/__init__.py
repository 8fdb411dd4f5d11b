"""The command line: read the options, call one function, print. Nothing else reads arguments.

Every command exits with 0 only on success; a mistake in input is one paragraph on stderr, without a traceback.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import Annotated, Any, get_type_hints

from cyclopts import Group, Parameter

import jointreid
from jointreid.cli.options import add_command, new_app, parse
from jointreid.custom import trust
from jointreid.messages.console import failed_stream, open_streams, print_error
from jointreid.messages.errors import EXIT_RESUMABLE, JointreidError, ReportedElsewhere, RunStopped

# Each command and its function, `module:function` below `jointreid.cli`. The function takes a dataclass of options,
# returns an exit code, and its docstring is what `--help` says of it; that of the module describes a group of commands.
COMMANDS = {
    "demo": "demo:demo",
    "data check": "data:check",
    "data ingest": "data:ingest",
    "data prepare": "data:prepare",
    "data synth": "data:synth",
    "train": "train:train",
    "pretrain": "pretrain:pretrain",
    "weights fetch": "weights:fetch",
    "weights list": "weights:list_sources",
    "weights convert": "weights:convert",
    "evaluate": "evaluate:evaluate",
    "extract": "extract:extract",
    "calibrate": "calibrate:calibrate",
    "match": "match:match",
    "gallery add": "gallery:add",
    "gallery search": "gallery:search",
    "gallery remove": "gallery:remove",
    "gallery info": "gallery:info",
    "gallery compact": "gallery:compact",
    "serve": "serve:serve",
    "compare": "compare:compare",
    "gain": "gain:gain",
    "matrix": "matrix:matrix",
    "report": "report:report",
    "ranklist": "ranklist:ranklist",
    "why": "why:why",
    "conflict": "conflict:conflict",
    "predict": "predict:predict",
    "add-domain": "add_domain:add_domain",
    "profile": "profile:profile",
    "export": "export:export",
    "hub push": "hub:push",
    "hub fetch": "hub:fetch",
    "paper plan": "paper:plan",
    "paper run": "paper:run",
    "paper tables": "paper:tables",
    "paper figure5": "paper:figure5",
}

# Set to 1, it does what --debug does.
DEBUG = "JOINTREID_DEBUG"

_ABOUT = "Train one re-identification model on many data sets at once, and measure and reduce the domain conflict."
_MORE = """A setting is given as --section.field VALUE; --help-all lists all that a command takes, with their defaults.

Exit codes: 0 done, 1 a check found errors, 2 a mistake, 75 stopped by a signal and saved, 130 interrupted."""
_ALWAYS = Group("Every command", sort_key=99)

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
    try:
        return _dispatch(argv)
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


def _dispatch(argv: Sequence[str]) -> int:
    """Let cyclopts find the command; --code and --debug may stand before and after it."""
    app = new_app(help=_ABOUT, help_epilogue=_MORE, version=lambda: f"jointreid {jointreid.__version__}")
    app.command(lambda: app.help_print([]), name="help", show=False)
    for name in COMMANDS:
        run, asked = command(name), set(name.split()) <= set(argv)  # the options of all others would take 0.1 s
        add_command(app, name, options_of(run) if asked else None, run, full="--help-all" in argv)

    @app.meta.default
    def start(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        code: Annotated[tuple[str, ...], Parameter(metavar="MODULE", group=_ALWAYS, show_default=False)] = (),
        debug: Annotated[bool, Parameter(group=_ALWAYS, show_default=False)] = False,
    ) -> Any:
        """Run a command.

        Args:
            tokens: the command and its options
            code: a module of yours, of which runs may use functions (see docs/extend.md)
            debug: print the traceback of an error (see docs/debugging.md)
        """
        from jointreid.training.distributed.world import report_once

        with _tracebacks() if debug or os.environ.get(DEBUG, "") not in ("", "0") else nullcontext():
            for module in code:
                trust(module)
            with report_once():
                run = parse(app, tokens)
            return run()

    exit_code: int | None = parse(app.meta, argv)()
    return exit_code or 0  # None of --help


def command(name: str) -> Callable[[Any], int]:
    """Return the function of a command."""
    module, _, function = COMMANDS[name].partition(":")
    loaded: Callable[[Any], int] = getattr(import_module(f"jointreid.cli.{module}"), function)
    return loaded


def options_of(run: Callable[[Any], int]) -> type[Any]:
    """Return the dataclass of the options that a command's function takes."""
    kind: type[Any] = get_type_hints(run)["options"]
    return kind
