"""Custom functions that settings name as `my_package.module:function`: a recipe, trunk, loss or sampler.

Settings also come from files, and opening a file must not run code that it names. So the module has to be trusted
first: a command line does it by naming one of its functions or by `--code my_package.module`, Python by `trust`.
"""

import importlib
import os
import sys
from collections.abc import Callable, Collection
from typing import Any

from jointreid.messages.errors import JointreidError, no_such

_trusted: set[str] = set()


def is_custom(name: str) -> bool:
    """Say whether a setting names a custom function."""
    return ":" in name


def trust(module: str) -> None:
    """Allow settings to name functions of a module in this process; it is imported when one of them is needed."""
    _trusted.add(module)


def trusted_modules() -> list[str]:
    """Return the modules whose functions settings may name in this process."""
    return sorted(_trusted)


def require_known_or_custom(key: str, what: str, name: str, known: Collection[str]) -> None:
    """Refuse a setting that is neither one of the known names nor `module:function`.

    Raises:
        JointreidError: the message names the setting and the nearest known name.
    """
    module, colon, function = name.partition(":")
    if name in known or (colon and all(part.isidentifier() for part in [*module.split("."), function])):
        return
    raise JointreidError(f"{key}: {no_such(what, name, known)} (a custom one is given as my_package.module:function)")


def custom_function(key: str, name: str) -> Callable[..., Any]:
    """Return the function that a setting names.

    Args:
        key: the setting, for messages.
        name: `my_package.module:function`.

    Raises:
        JointreidError: the module is not trusted or cannot be imported, or has no such function.
    """
    module_name, _, function_name = name.partition(":")
    if module_name not in _trusted:
        raise JointreidError(
            f"{key} is {name}: code that does not come with this package, and running it was not allowed. If you "
            f"trust it, add --code {module_name} to the command (in Python: jointreid.trust({module_name!r}))"
        )
    if os.getcwd() not in sys.path:  # a console script does not search the current folder, `python -m` does
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise JointreidError(
            f"{key} {name}: cannot import {module_name} ({error}); install it, or run from the folder it is in"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise JointreidError(f"{key} {name}: {module_name} has no function {function_name}")
    return function  # type: ignore[no-any-return]
