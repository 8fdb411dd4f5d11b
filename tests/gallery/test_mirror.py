"""Different people among rows of a gallery, which thresholds of searches depend on."""

import numpy as np
import pyarrow as pa
import pytest

from jointreid.gallery.filters import condition
from jointreid.gallery.mirror import Mirror


@pytest.fixture
def mirror() -> Mirror:
    """Return five rows: two of one person, one of the same pid in another domain, two without pid."""
    columns = {"domain": ["d", "d", "e", None, "d"], "pid": ["1", "1", "1", None, None], "path": list("abcde")}
    rows = pa.table({name: pa.chunked_array([pa.array(of).dictionary_encode()]) for name, of in columns.items()})
    return Mirror("g", 1, rows, np.arange(5, dtype=np.uint64), np.zeros((5, 2), dtype=np.float32))


def test_people_are_told_apart_by_domain_and_pid_and_rows_without_pid_count_one_each(mirror: Mirror) -> None:
    assert len(set(mirror.people.tolist())) == mirror.count_people() == 4
    assert mirror.people[0] == mirror.people[1]
    assert mirror.images_of_person == 5 / 4


@pytest.mark.parametrize(
    ("paths", "chosen", "people"), [("ab", [0, 1], 1), ("cb", [1, 2], 2), ("abde", [0, 1, 3, 4], 3)]
)
def test_rows_and_people_that_a_filter_leaves(mirror: Mirror, paths: str, chosen: list[int], people: int) -> None:
    found = mirror.choose(condition("path", "in", *paths))
    assert found.rows.tolist() == chosen
    assert found.people == people
    assert mirror.choose(condition("path", "in", *paths)) is found  # remembered


def test_a_filter_that_nothing_fulfils_leaves_nobody(mirror: Mirror) -> None:
    rows, people = mirror.choose(condition("path", "=", "z"))
    assert not len(rows)
    assert people == 0
