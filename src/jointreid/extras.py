"""Libraries that are no part of a plain installation, imported by the functions that need them."""

import importlib
from typing import Any

from jointreid.errors import JointreidError


def library(name: str, purpose: str) -> Any:
    """Import a library of the extra `paper`.

    Args:
        name: of its module, such as `scipy.io`.
        purpose: what it is for, as the beginning of a sentence that goes on "with NAME".

    Raises:
        JointreidError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise JointreidError(
            f"{purpose} with {package}, which is missing; install it with pip install 'jointreid[paper]'"
        ) from error
