"""Read a command line without running its command."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from cyclopts import App

from jointreid.cli.options import add_command, new_app, parse
from jointreid.cli.train import TrainOptions, run_config
from jointreid.config import RunConfig

Options = TypeVar("Options")


def read_options(cls: type[Options], command: str, argv: Sequence[str]) -> Options:
    """Return the options that a command is called with."""
    app = _app(cls, command)  # type: ignore[arg-type]  # a class can be hashed
    given: Options = parse(app, [*command.split(), *argv])()
    return given


@cache
def _app(cls: type[Any], command: str) -> App:
    """Return a command line that knows the command alone and returns its options."""
    app = new_app()
    add_command(app, command, cls, lambda options: options)
    return app


def read_train_options(argv: Sequence[str]) -> RunConfig:
    """Return the settings of the run that `jointreid train` starts by these arguments."""
    return run_config(read_options(TrainOptions, "train", argv))
