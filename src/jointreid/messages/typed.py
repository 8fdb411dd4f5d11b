"""Values of the types that settings have: described in words, checked, and read from text."""

from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin


def describe(kind: Any) -> str:
    """Return what a value of a field's type looks like, for messages.

    >>> describe(tuple[float, float])
    'a list in brackets, [a, b, ...], of 2 values, each a number'
    """
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(choice) for choice in choices)
    if get_origin(kind) is tuple:
        count = "one or more" if choices[-1] is Ellipsis else len(choices)
        return f"a list in brackets, [a, b, ...], of {count} values, each {describe(choices[0])}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]


def expected(kind: Any, value: object) -> str:
    """Return what was expected in place of a value that does not fit, with the nearest choice.

    >>> expected(Literal["last", "best"], "bst")
    'expected one of last, best; did you mean best?'
    """
    choices = map(str, get_args(kind) if get_origin(kind) is Literal else ())
    near = get_close_matches(str(value), choices, n=1)
    return f"expected {describe(kind)}" + (f"; did you mean {near[0]}?" if near else "")


def conform(kind: Any, value: Any) -> Any:
    """Return a value as the type of a field: a list as tuple, a whole number as float, `"1e-3"` (YAML's text) as 0.001.

    A choice may be given as what YAML makes of it, and the reverse: False for `off`, `"1"` for 1.

    Raises:
        TypeError: it is not of that type; `describe` says what is.
    """
    if get_origin(kind) is Literal:
        for choice in get_args(kind):
            if _is_choice(value, choice):
                return choice
    elif get_origin(kind) is tuple:
        kinds = get_args(kind)
        if isinstance(value, list | tuple) and (kinds[-1] is Ellipsis or len(kinds) == len(value)):
            return tuple(conform(kinds[0], item) for item in value)
    elif kind is float and not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise TypeError(f"{value!r} is not {describe(kind)}")


def _is_choice(value: object, choice: object) -> bool:
    if type(value) is type(choice):
        return value == choice
    if not isinstance(value, str | int | float | bool | None):
        return False
    value, choice = read_yaml(value), read_yaml(choice)
    return type(value) is type(choice) and value == choice


def read_yaml(value: Any) -> Any:
    """Return what YAML makes of a text, and another value as it is.

    >>> read_yaml("[0.5, on]")
    [0.5, True]

    Raises:
        TypeError: the text is not YAML.
    """
    if not isinstance(value, str):
        return value
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise TypeError(f"{value!r} is not YAML") from error
