"""Values of the types that settings have: said in words, and checked."""

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


def conform(kind: Any, value: Any) -> Any:
    """Return a value as the type of a field: a list as tuple, a whole number as float, `"1e-3"` (YAML's text) as 0.001.

    Raises:
        TypeError: it is not of that type; `describe` says what is.
    """
    if get_origin(kind) is Literal:
        if value in get_args(kind) and not isinstance(value, bool):
            return value
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
