import doctest
from typing import Any, Literal

import pytest

from jointreid.messages import typed
from jointreid.messages.typed import conform, read_yaml


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (float, 1, 1.0),
        (float, "1e-3", 0.001),
        (int, 3, 3),
        (bool, True, True),
        (str, "x", "x"),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, ...], (), ()),
        (tuple[float, float], [1, 2.5], (1.0, 2.5)),
        (Literal[1, 2], 2, 2),
        (tuple[Literal["a", "b"], ...], ["b"], ("b",)),
        (Literal["disk", "off"], False, "off"),  # what YAML makes of off
        (Literal["on", "off"], True, "on"),
        (Literal["on", "off"], "off", "off"),
        (Literal["some", "null"], None, "null"),
        (Literal["2", "3.5"], 2, "2"),
        (Literal["2", "3.5"], 3.5, "3.5"),
        (Literal[1, 2], "2", 2),
    ],
)
def test_values_arrive_as_their_type(kind: Any, value: object, expected: object) -> None:
    found = conform(kind, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (float, "fast"), (float, None), (float, True), (int, 2.0), (int, True), (bool, 1), (str, 3),
        (Literal[1, 2], True), (Literal["a"], "b"), (tuple[float, float], [1.0]),
        (tuple[int, ...], 3), (tuple[int, ...], ["x"]), (Literal["no", "off"], "false"), (Literal["1"], True),
        (Literal["a"], None), (Literal["a"], ["a"]), (Literal[1], 1.0), (Literal[1], "]"),
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused(kind: Any, value: object) -> None:
    with pytest.raises(TypeError, match="is not"):
        conform(kind, value)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (bool, "true", True), (bool, "off", False),
        (int, "-3", -3), (float, "-1e-3", -0.001), (float, "3", 3.0), (tuple[int, ...], "[3,4]", (3, 4)),
        (tuple[int, ...], "[]", ()),
        (tuple[str, ...], "['it''s', b]", ("it's", "b")), (Literal["disk", "off"], "off", "off"),
        (Literal[1, 2], "2", 2), (Literal["none", "x"], "none", "none"),
    ],
)  # fmt: skip
def test_text_is_read_as_its_type(kind: Any, text: str, value: object) -> None:
    found = conform(kind, read_yaml(text))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "2.5"), (int, ""), (float, "fast"), (bool, "1"), (tuple[int, ...], "3"), (tuple[int, ...], "[3"),
        (Literal[1, 2], "3"), (str, "1"), (int, "["), (float, "true"),
    ],
)  # fmt: skip
def test_text_of_another_type_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(TypeError, match="is not"):
        conform(kind, read_yaml(text))


def test_the_examples_hold() -> None:
    assert doctest.testmod(typed).failed == 0
