"""Small files of features as `jointreid extract` writes them, of people who are easy to tell apart."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from jointreid.extraction import feature_file as extraction
from jointreid.extraction.feature_file import FeatureInfo
from jointreid.gallery import index, store
from jointreid.gallery.columns import TABLE

Floats = NDArray[np.float32]

DIMS = 16
FINGERPRINT = "ab" * 32
INFO = FeatureInfo(
    fingerprint=FINGERPRINT,
    dims=DIMS,
    normalised=False,
    flip=False,
    run="",
    checkpoint="last",
    domains=(),
    cameras=(),
    source="",
    roots={"": "/data"},
    images="",
    rows=0,
    tracklets=False,
)


def person_features(people: int, images: int, dims: int = DIMS, seed: int = 0) -> Floats:
    """Return features [people * images, dims], those of a person beside each other."""
    draw = np.random.default_rng(seed)
    looks = draw.standard_normal((people, 1, dims), dtype=np.float32)
    noise = draw.standard_normal((people, images, dims), dtype=np.float32)
    features: Floats = (looks + 0.2 * noise).reshape(people * images, dims)
    return features


def write_features(
    file: Path, features: Floats, columns: Mapping[str, Any] | None = None, info: Mapping[str, Any] | None = None
) -> Path:
    """Write features, with paths `0.jpg`, `1.jpg`, ... unless told otherwise, further columns and changes to `INFO`."""
    count, dims = features.shape
    table = {"path": [f"{row}.jpg" for row in range(count)], **(columns or {})}
    table["feature"] = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), dims)
    extraction.write_features(file, replace(INFO, dims=dims, rows=count, **(info or {})), iter([pa.table(table)]))
    return file


def people_file(file: Path, people: int = 6, images: int = 4, seed: int = 0) -> Path:
    """Write a file of people `person-0`, `person-1`, ... in cameras 0, 1, ..."""
    count = people * images
    columns = {
        "pid": [f"person-{row // images}" for row in range(count)],
        "camid": [row % images for row in range(count)],
        "domain": ["shop"] * count,
    }
    return write_features(file, person_features(people, images, seed=seed), columns)


def index_small_galleries(monkeypatch: pytest.MonkeyPatch, images: int, filtered: int) -> None:
    """Index galleries from so many images on, in this process, which is faster to start than another one."""

    def change_here(uri: str, folder: Path, work: index.IndexWork) -> None:
        import lancedb

        index.change_index(lancedb.connect(uri).open_table(TABLE), work)

    monkeypatch.setattr(index, "EXACT_BELOW", images)
    monkeypatch.setattr(index, "EXACT_FILTERED", filtered)
    monkeypatch.setattr(store, "change_index_apart", change_here)
