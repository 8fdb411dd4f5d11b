import doctest
from typing import Any, Literal

import pytest

from jointreid.messages import typed
from jointreid.messages.typed import conform


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
        (tuple[int, ...], 3), (tuple[int, ...], ["x"]),
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused(kind: Any, value: object) -> None:
    with pytest.raises(TypeError, match="is not"):
        conform(kind, value)


def test_the_example_holds() -> None:
    assert doctest.testmod(typed).failed == 0
