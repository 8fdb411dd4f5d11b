"""What every sub-command is made of: a parser that names the nearest option, and the description of a command."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from jointreid.messages.errors import JointreidError, no_such


@dataclass(frozen=True)
class Command:
    """One verb: what it is for, how it is used, and the function that takes its arguments and returns an exit code."""

    summary: str
    usage: str
    run: Callable[[list[str]], int]
    help: Callable[[bool], str]


class Parser(argparse.ArgumentParser):
    """argparse that raises `JointreidError` and names the nearest option."""

    def __init__(self, usage: str) -> None:
        super().__init__(prog="jointreid", usage=usage, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and leaving."""
        raise JointreidError(f"{message}. Usage: jointreid {self.usage}")

    def read(self, argv: list[str]) -> argparse.Namespace:
        """Parse, refusing unknown options with the nearest known one."""
        found, left = self.parse_known_args(argv)
        for token in left:
            name = token.partition("=")[0]
            if name.startswith("--"):
                raise JointreidError(no_such("option", name, self._option_string_actions))
            raise JointreidError(f"{token!r} is one argument too many. Usage: jointreid {self.usage}")
        return found

    def options_help(self) -> str:
        """Return a line for each argument."""
        lines = []
        for action in self._actions:
            name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            value = (
                "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or action.dest.upper()}"
            )
            lines.append(f"  {name + value:<28} {action.help}")
        return "\n".join(lines)


def print_json(value: Any) -> None:
    """Print a value as JSON that any parser takes: no NaN."""
    print(json.dumps(value, indent=2, allow_nan=False))
