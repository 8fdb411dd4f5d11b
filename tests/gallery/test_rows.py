"""Files of features as rows of a gallery: columns by other names, values for all rows, and what is refused."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointreid.gallery.columns import image_key
from jointreid.gallery.rows import FeatureModel, FeatureRows, read_feature
from jointreid.messages.errors import JointreidError
from tests.gallery.feature_files import DIMS, FINGERPRINT, people_file, person_features, write_features


def test_columns_are_known_by_their_other_names(tmp_path: Path) -> None:
    columns = {"camid": [3, 4], "timestamp": [0.5, None], "retention_date": ["2027-01-01", ""], "who": ["Anna", "Ben"]}
    box = {"x": [1, None], "y": [2, None], "w": [3, None], "h": [4, None]}
    file = write_features(tmp_path / "e.parquet", person_features(2, 1), {**columns, **box})
    rows = FeatureRows.read(file, columns={"name": "who"}, values={"source": "shop A", "time": "2026-03-01"})
    found = rows.metadata.to_pydict()
    assert found["camera"] == ["3", "4"]
    assert found["name"] == ["Anna", "Ben"]
    assert found["source"] == ["shop A", "shop A"]
    assert found["time"] == [datetime(2026, 3, 1, tzinfo=UTC)] * 2
    assert found["retention"] == [date(2027, 1, 1), None]
    assert found["path"] == ["/data/0.jpg", "/data/1.jpg"]
    assert rows.boxes() == [(1, 2, 3, 4), None]
    assert found["key"] == [image_key("/data/0.jpg", (1, 2, 3, 4)), image_key("/data/1.jpg", (None,))]
    assert rows.model == FeatureModel(FINGERPRINT)
    assert FeatureRows.read(file).metadata["time"].to_pylist() == [datetime(1970, 1, 1, 0, 0, 0, 500_000, UTC), None]


def test_paths_are_below_the_folder_of_their_domain(tmp_path: Path) -> None:
    file = write_features(
        tmp_path / "e.parquet",
        person_features(3, 1),
        {"path": ["0.jpg", "1.jpg", "/else/2.jpg"], "domain": ["a", None, "a"]},
        {"roots": {"a": "/data/a/", "": "/data/b"}},
    )
    assert FeatureRows.read(file).metadata["path"].to_pylist() == ["/data/a/0.jpg", "/data/b/1.jpg", "/else/2.jpg"]


def test_features_are_scaled_to_length_1(tmp_path: Path) -> None:
    features = 7 * person_features(3, 2)
    file = write_features(tmp_path / "e.parquet", features)
    expected = features / np.sqrt((features**2).sum(axis=1, keepdims=True))
    assert np.allclose(np.concatenate(list(FeatureRows.read(file).normalised())), expected, atol=1e-6)
    feature, fingerprint = read_feature(file, 4)
    assert fingerprint == FINGERPRINT
    assert np.allclose(feature, expected[4], atol=1e-6)
    with pytest.raises(JointreidError, match="there is no row 6; expected one from 0 to 5"):
        read_feature(file, 6)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_feature_that_is_no_direction_is_refused(tmp_path: Path, value: float) -> None:
    features = person_features(3, 1)
    features[1] = value
    file = write_features(tmp_path / "e.parquet", features)
    with pytest.raises(JointreidError, match=r"row 1 \(/data/1.jpg\): the feature is 0 or not finite"):
        list(FeatureRows.read(file).normalised())


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        ({"time": ["noon", "1"]}, {}, "column time, row 0: 'noon' is no time"),
        ({"retention": [20270101, 20270102]}, {}, "column retention: is int64; expected dates, or text such as"),
        ({"retention": ["2027-01-01", "never"]}, {}, "column retention, row 1: 'never' is no date"),
        ({"x": ["a", "b"]}, {}, "column x: is string; expected int32"),
        ({}, {"columns": {"nam": "who"}}, "there is no column of a gallery nam; did you mean name"),
        ({}, {"columns": {"name": "who"}}, "has no column who for name; there are path"),
        ({}, {"values": {"retention": "soon"}}, "retention, row 0: 'soon' is no date"),
    ],
)
def test_a_wrong_column_is_named(
    tmp_path: Path, columns: dict[str, Any], given: dict[str, dict[str, str]], message: str
) -> None:
    file = write_features(tmp_path / "e.parquet", person_features(2, 1), columns)
    with pytest.raises(JointreidError, match=message):
        FeatureRows.read(file, **given)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    file = people_file(tmp_path / "e.parquet")
    plain = pq.read_table(file).replace_schema_metadata({})
    pq.write_table(plain, tmp_path / "plain.parquet")
    with pytest.raises(JointreidError, match="has no features with metadata; expected what `jointreid extract` writes"):
        FeatureRows.read(tmp_path / "plain.parquet")
    pq.write_table(plain.drop_columns("feature"), tmp_path / "none.parquet")
    with pytest.raises(JointreidError, match="has no features with metadata"):
        FeatureRows.read(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("pid")
    with pytest.raises(JointreidError, match="cannot be read as Parquet"):
        FeatureRows.read(tmp_path / "text.parquet")


def test_features_in_memory_become_rows() -> None:
    features = person_features(2, 1)
    rows = FeatureRows.of(
        features, ["a", "b"], FeatureModel(FINGERPRINT), columns={"pid": ["1", None]}, values={"camera": "7"}
    )
    assert rows.metadata.select(["pid", "camera"]).to_pydict() == {"pid": ["1", None], "camera": ["7", "7"]}
    assert rows.dims == DIMS
    assert rows.metadata.schema.field("pid").type == pa.string()
    with pytest.raises(JointreidError, match=r"features are \[2, 16\]; expected \[1, D\]"):
        FeatureRows.of(features, ["a"], FeatureModel(FINGERPRINT))
    with pytest.raises(JointreidError, match="column pid has 1 values; expected 2"):
        FeatureRows.of(features, ["a", "b"], FeatureModel(FINGERPRINT), columns={"pid": ["1"]})
    with pytest.raises(JointreidError, match="there is no column of a gallery pidd; did you mean pid"):
        FeatureRows.of(features, ["a", "b"], FeatureModel(FINGERPRINT), columns={"pidd": ["1", "2"]})
