"""Functions of a person's own that settings name, as `my_package.module:function`: a recipe, trunk, loss or sampler.

Settings also come out of files, and opening a file must not run what it names. So a module counts only once somebody
here has trusted it: a command line that names one of its functions, `--code my_package.module`, or `trust` in Python.
"""

import importlib
import os
import sys
from collections.abc import Callable, Collection
from typing import Any

from jointreid.messages.errors import JointreidError, no_such

_trusted: set[str] = set()


def is_custom(name: str) -> bool:
    """Say whether a setting names a function of a person's own."""
    return ":" in name


def trust(module: str) -> None:
    """Allow settings to name functions of a module, in this process; it is imported when one of them is called for."""
    _trusted.add(module)


def require_known_or_custom(key: str, what: str, name: str, known: Collection[str]) -> None:
    """Refuse a setting that is neither one of the known names nor `module:function`.

    Raises:
        JointreidError: names the setting, and the nearest of the known.
    """
    module, colon, function = name.partition(":")
    if name in known or (colon and all(part.isidentifier() for part in [*module.split("."), function])):
        return
    raise JointreidError(
        f"{key}: {no_such(what, name, known)} (one of your own is given as my_package.module:function)"
    )


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
            f"{key} is {name}: code that does not come with this package, so it is not run unasked. If you trust "
            f"it, add --code {module_name} to the command (in Python: jointreid.trust({module_name!r}))"
        )
    if os.getcwd() not in sys.path:  # a console script does not search the current folder, `python -m` does
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise JointreidError(
            f"{key} {name}: cannot import {module_name} ({error}); it must be installed or lie in this folder"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise JointreidError(f"{key} {name}: {module_name} has no function {function_name}")
    return function  # type: ignore[no-any-return]
