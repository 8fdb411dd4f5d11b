"""Read a command line without running its command."""

from collections.abc import Sequence
from typing import TypeVar

from jointreid.cli.options import add_command, new_app, parse
from jointreid.cli.train import TrainOptions, run_config
from jointreid.config import RunConfig

Options = TypeVar("Options")


def read_options(cls: type[Options], command: str, argv: Sequence[str]) -> Options:
    """Return the options that a command is called with."""
    app = new_app()
    add_command(app, command, cls, lambda options: options)
    given: Options = parse(app, [*command.split(), *argv])()
    return given


def read_train_options(argv: Sequence[str]) -> RunConfig:
    """Return the settings of the run that `jointreid train` starts by these arguments."""
    return run_config(read_options(TrainOptions, "train", argv))
