"""Different people among rows of a gallery, which thresholds of searches depend on."""

import numpy as np
import pyarrow as pa
import pytest

from jointreid.gallery.mirror import Mirror


@pytest.fixture
def mirror() -> Mirror:
    """Return five rows: two of one person, one of the same pid in another domain, two without pid."""
    columns = {"domain": ["d", "d", "e", None, "d"], "pid": ["1", "1", "1", None, None]}
    rows = pa.table({name: pa.chunked_array([pa.array(of).dictionary_encode()]) for name, of in columns.items()})
    return Mirror("g", 1, rows, np.arange(5, dtype=np.uint64), np.zeros((5, 2), dtype=np.float32))


def test_people_are_told_apart_by_domain_and_pid_and_rows_without_pid_count_one_each(mirror: Mirror) -> None:
    assert len(set(mirror.people.tolist())) == mirror.count_people() == 4
    assert mirror.people[0] == mirror.people[1]
    assert mirror.images_of_person == 5 / 4


@pytest.mark.parametrize(("chosen", "people"), [([0, 1], 1), ([1, 2], 2), ([0, 1, 3, 4], 3), ([], 0)])
def test_people_of_chosen_rows(mirror: Mirror, chosen: list[int], people: int) -> None:
    assert mirror.count_people(np.array(chosen, dtype=np.int64)) == people
