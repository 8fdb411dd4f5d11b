"""Embeddings as a Parquet table: written, read again, and refused where the file is another one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointreid.messages.errors import JointreidError
from jointreid.retrieval.embeddings import Embeddings


def make_embeddings(heads: bool) -> Embeddings:
    generator = np.random.default_rng(0)
    return Embeddings(
        features=generator.normal(size=(3, 5)).astype(np.float32),
        pids=np.array(["007", "7", "ü"]),
        camids=np.array([0, 12, 3]),
        paths=np.array(["a b.png", "c=d/é.png", "x"]),
        domain_posterior=generator.random((3, 2), dtype=np.float32) if heads else None,
        camera_posterior=generator.random((3, 4), dtype=np.float32) if heads else None,
    )


@pytest.mark.parametrize("heads", [False, True])
def test_embeddings_survive_a_round_trip_to_disk(tmp_path: Path, heads: bool) -> None:
    saved = make_embeddings(heads)
    path = tmp_path / "feature=3" / "embeddings.parquet"  # `feature=3` must not be read as a partition
    saved.save(path)
    loaded = Embeddings.load(path)
    for name, value in vars(saved).items():
        back = getattr(loaded, name)
        if value is None:
            assert back is None
        else:
            assert (back.dtype, back.shape) == (value.dtype, value.shape)
            assert np.array_equal(back, value)
    assert [file.name for file in path.parent.iterdir()] == ["embeddings.parquet"]


def test_a_file_that_is_not_a_table_of_embeddings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    with pytest.raises(JointreidError, match=r"e\.parquet: cannot be read"):
        Embeddings.load(path)
    make_embeddings(True).save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(JointreidError, match="cannot be read as Parquet"):
        Embeddings.load(path)
    pq.write_table(pa.table({"path": ["a"], "pid": ["1"], "camid": [0], "feature": [[1.0, 2.0]]}), path)
    with pytest.raises(JointreidError, match=r"feature of fixed length; found .*feature list<"):
        Embeddings.load(path)
    pq.write_table(pa.table({"path": ["a"]}), path)
    with pytest.raises(JointreidError, match="expected the columns path, pid, camid"):
        Embeddings.load(path)


def test_fields_of_different_lengths_are_refused() -> None:
    with pytest.raises(JointreidError, match="different lengths"):
        Embeddings(np.zeros((2, 3), np.float32), np.array(["a"]), np.array([0]), np.array(["x"]))
