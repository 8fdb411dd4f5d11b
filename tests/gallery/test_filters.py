"""Filters: the language, the rows that they leave in memory and in LanceDB, and values that look like SQL."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import numpy as np
import pytest

from jointreid.gallery.filters import Combined, Condition, all_of, condition, parse_filter, parse_time
from jointreid.gallery.gallery import Gallery
from jointreid.gallery.rows import FeatureModel, FeatureRows
from jointreid.messages.errors import JointreidError
from tests.gallery.feature_files import FINGERPRINT, person_features

HOSTILE = "x' or 1=1 --\n\\' \" ; drop table people"
CAMERAS = ["1", "2", None, "3", "1"]
NAMES = ["Anna", HOSTILE, "O'Neill", None, "Zoë"]
TIMES = [parse_time(text) for text in ("2026-01-01", "2026-01-01T12:00", "2026-01-02", "2026-01-03T00:00+02:00")]
DATES = [date(2026, 5, 1), None, date(2026, 6, 1), date(2025, 1, 1), None]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    gallery = Gallery.open(tmp_path_factory.mktemp("filters") / "g")
    columns: dict[str, Sequence[object]] = {
        "camera": CAMERAS,
        "name": NAMES,
        "time": [*TIMES, None],
        "retention": DATES,
    }
    paths = [f"{row}.jpg" for row in range(5)]
    gallery.add(FeatureRows.of(person_features(5, 1), paths, FeatureModel(FINGERPRINT), columns=columns))
    return gallery


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("camera = 1", [0, 4]),
        ("camera != 1", [1, 3]),
        ("camera in (2, '3')", [1, 3]),
        ("camera not in (1, 2)", [3]),
        ("camera = 1 or camera = 2 and name = Anna", [0, 4]),
        ("(camera = 1 or camera = 2) and name = 'Zoë'", [4]),
        ("name = 'O''Neill'", [2]),
        ('name = "O\'Neill"', [2]),
        ("time < 2026-01-01T12:00", [0]),
        ("time >= '2026-01-01 12:00' and time <= 2026-01-02", [1, 2]),
        ("TIME > 2026-01-02T21:59", []),
        ("retention < 2026-06-01", [0, 3]),
        ("retention != 2025-01-01", [0, 2]),
        ("name = in", []),
        ("name = nobody or (path = '3.jpg')", [3]),
    ],
)
def test_a_filter_leaves_the_same_rows_in_memory_and_in_lancedb(gallery: Gallery, text: str, left: list[int]) -> None:
    if text.startswith("TIME"):
        text = text.lower().replace("t21", "T21")
        left = [3]
    where = parse_filter(text)
    rows = gallery.select()
    assert np.flatnonzero(where.mask(rows)).tolist() == left
    found = gallery._store.table().search().where(where.expression()).select(["path"]).to_arrow()
    assert sorted(found["path"].to_pylist()) == [f"{row}.jpg" for row in left]


def test_a_value_that_looks_like_sql_is_a_value(gallery: Gallery) -> None:
    where = condition("name", "=", HOSTILE)
    assert gallery.select(where)["path"].to_pylist() == ["1.jpg"]
    found = gallery._store.table().search().where(where.expression()).select(["path"]).to_arrow()
    assert found["path"].to_pylist() == ["1.jpg"]
    quoted = parse_filter("name = '" + HOSTILE.replace("'", "''") + "'")
    assert quoted == where
    none = condition("name", "in", "' or ''='", "Anna' or pid is null or '")
    assert gallery.select(none).num_rows == 0
    assert gallery._store.table().count_rows(none.expression().to_sql()) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a column: pid, name"),
        ("camera", "expected =, !=, <, <=, >, >=, in or not in, found the end"),
        ("camera = ", "expected a value, found the end"),
        ("camera = 1 2", "expected and, or, or the end, found '2'"),
        ("camera in 3", r"expected \( before the values of `in`, found '3'"),
        ("camera in (3", r"expected , or \), found the end"),
        ("camera not = 3", "expected in, found '='"),
        ("(camera = 3", r"expected \), found the end"),
        ("camera = 'a", 'cannot be read from "\'a" on; quote values'),
        ("camra = 3", "there is no column to filter by camra; did you mean camera"),
        ("feature = 3", "there is no column to filter by feature"),
        ("camera < 3", "camera <: camera is text; compare it with =, != or in"),
        ("time > yesterday", "'yesterday' is no time; expected one such as 2026-03-01T14:30 or seconds"),
        ("time > 0001-01-01T00:00+23:59", "is no time; expected one such as"),
        ("(" * 21 + "camera = 3" + ")" * 21, "more than 20 parentheses in each other"),
        ("retention < soon", "'soon' is no date; expected one such as 2026-03-01"),
    ],
)
def test_a_mistake_in_a_filter_is_named(text: str, message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        parse_filter(text)


def test_a_day_without_dashes_is_no_number_of_seconds() -> None:
    assert parse_time("20260301") == parse_time("2026-03-01")
    assert parse_time("1767225600") == parse_time("2026-01-01")
    assert parse_time("20269901").year == 1970  # is no day
    with pytest.raises(JointreidError, match=r"'2026' may be a year or seconds; expected a day such as 2026-01-01, or"):
        parse_time("2026")


def test_filters_combine() -> None:
    one, two = condition("camera", "=", "1"), condition("time", ">=", "0")
    assert two == Condition("time", ">=", (datetime(1970, 1, 1, tzinfo=UTC),))
    assert all_of([None, None]) is None
    assert all_of([one, None]) is one
    assert all_of([one, two]) == Combined("and", (one, two))
    assert parse_filter("(" * 20 + "camera = 1" + ")" * 20) == one
    assert isinstance(parse_filter(" or ".join(["(camera = 1)"] * 30)), Combined)
