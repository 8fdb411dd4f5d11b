"""The field of a settings dataclass: its default, its line of help, and the check of its value."""

from dataclasses import field
from typing import Any, get_type_hints

from jointreid.messages.errors import JointreidError
from jointreid.messages.typed import conform, expected


def setting(default: Any, help: str, *, metavar: str = "", short: str = "", custom: bool = False) -> Any:
    """Return a dataclass field with its default and its line of help.

    Args:
        default: its default; `dataclasses.MISSING` if it must be given.
        help: one line, with the unit.
        metavar: the word for its value in the help of a command; by default one that tells the type.
        short: a setting's short name on the command line, beside `--section.field`.
        custom: whether it may name a function of the user's, `my_package.module:function`.
    """
    return field(default=default, metadata={"help": help, "metavar": metavar, "short": short, "custom": custom})


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Refuse a value.

    Args:
        condition: whether the value is right.
        key: the setting, `section.field`.
        value: its value.
        expected: the values that are right, in words.

    Raises:
        JointreidError: the value is not right.
    """
    if not condition:
        raise JointreidError(f"{key} is {value!r}; expected {expected}")


def conform_fields(config: Any, prefix: str) -> None:
    """Give each field of a frozen dataclass a value of its type: a list becomes a tuple, a whole number a float.

    Args:
        config: the dataclass, which calls this first in its `__post_init__`.
        prefix: put before a field's name in messages, such as "data.".

    Raises:
        JointreidError: a value is of another type, or not among the names that the field may have.
    """
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        try:
            object.__setattr__(config, name, conform(kind, value))
        except TypeError:
            raise JointreidError(f"{prefix}{name} is {value!r}; {expected(kind, value)}") from None
