"""Images of a tracklet -> one row, by the quality of each image.

A tracklet is what a tracker followed as one person in one camera. Its feature is the mean of its images' features,
weighted by `quality`: few sharp images in which nobody else stands count more than many blurred ones.
Letters: T tracklets, D dimensions of a feature.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.extraction.embedder import unit_length
from jointreid.extraction.feature_columns import (
    CAMERA,
    CAMERA_POSTERIOR,
    CAMERA_PROBABILITY,
    DOMAIN,
    DOMAIN_POSTERIOR,
    DOMAIN_PROBABILITY,
    FEATURE,
    IMAGES,
    QUALITY,
    list_column,
    list_values,
)
from jointreid.extraction.feature_file import ROW_GROUP, FeatureInfo
from jointreid.extraction.image_table import TRACKLET
from jointreid.messages.errors import JointreidError

# Tracks are numbered anew for each camera and each domain.
_KEY = ("domain", "camid", TRACKLET)
_MEANS = (FEATURE, DOMAIN_POSTERIOR, CAMERA_POSTERIOR)

# Column of probabilities -> the field of `FeatureInfo` with their names, and the columns that they decide.
_PREDICTED = {
    DOMAIN_POSTERIOR: ("domains", DOMAIN, DOMAIN_PROBABILITY),
    CAMERA_POSTERIOR: ("cameras", CAMERA, CAMERA_PROBABILITY),
}

Tables = Callable[[], Iterator[Any]]


@dataclass
class _Sums:
    """Sums over the images of each tracklet; a list has an entry for each.

    Attributes:
        order: key of a tracklet -> its place, in the order of their first images.
        weighted: column -> sum of quality * values.
        plain: column -> sum of values, for tracklets whose images all have quality 0.
        weight: sum of qualities.
        images: how many.
        best: quality of the best image, and its place among all rows.
    """

    order: dict[object, int] = field(default_factory=dict)
    weighted: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)
    plain: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)
    weight: list[float] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    best: list[tuple[float, int]] = field(default_factory=list)
    pids: list[str | None] = field(default_factory=list)


def pooled(tables: Tables, info: FeatureInfo) -> Iterator[Any]:
    """Yield one row for each tracklet, in the order of their first images; images without one stay as they are.

    A row takes its path, its box and all other columns from its best image. The rows are read twice; only the sums of
    the tracklets are in memory.

    Args:
        tables: starts to yield the rows of all images, as pyarrow tables.
        info: what made them.

    Raises:
        JointreidError: images of one tracklet have several pids.
    """
    import pyarrow as pa

    sums, best, at = _add_up(tables()), [], 0
    places = np.array([place for _, place in sums.best], dtype=np.int64)
    by_place = np.argsort(places)
    for table in tables():
        inside = places[by_place[np.searchsorted(places, at, sorter=by_place) :]]
        best.append(table.take(pa.array(inside[inside < at + table.num_rows] - at)))
        at += table.num_rows
    rows = pa.concat_tables(best).take(pa.array(np.argsort(by_place)))
    for begin in range(0, max(1, rows.num_rows), ROW_GROUP):
        yield _finish(sums, rows.slice(begin, ROW_GROUP), begin, info)


def _add_up(tables: Iterator[Any]) -> _Sums:
    sums, at = _Sums(), 0
    for table in tables:
        names = [name for name in _KEY if name in table.column_names]
        keys = list(zip(*(table[name].to_pylist() for name in names), strict=True))
        qualities = table[QUALITY].to_pylist()
        pids = table["pid"].to_pylist() if "pid" in table.column_names else [None] * table.num_rows
        values = {name: list_values(table, name).astype(np.float64) for name in _MEANS if name in table.column_names}
        for i, key in enumerate(keys):
            tracklet = sums.order.setdefault(("", at + i) if key[-1] is None else key, len(sums.order))
            if tracklet == len(sums.weight):
                _begin(sums, values, pids[i])
            elif sums.pids[tracklet] != pids[i]:
                raise JointreidError(
                    f"tracklet {key[-1]}: images of pid {sums.pids[tracklet]} and of pid {pids[i]}; a tracklet is "
                    "of one person: correct one of the two columns, or keep a row for each image with --tracklets keep"
                )
            for name, rows in values.items():
                sums.weighted[name][tracklet] += qualities[i] * rows[i]
                sums.plain[name][tracklet] += rows[i]
            sums.weight[tracklet] += qualities[i]
            sums.images[tracklet] += 1
            if qualities[i] > sums.best[tracklet][0]:
                sums.best[tracklet] = qualities[i], at + i
        at += table.num_rows
    return sums


def _begin(sums: _Sums, values: dict[str, NDArray[np.float64]], pid: str | None) -> None:
    """Add a tracklet without images."""
    for name, rows in values.items():
        for kind in (sums.weighted, sums.plain):
            kind.setdefault(name, []).append(np.zeros(rows.shape[1]))
    sums.weight.append(0.0)
    sums.images.append(0)
    sums.best.append((-1.0, -1))
    sums.pids.append(pid)


def _finish(sums: _Sums, table: Any, first: int, info: FeatureInfo) -> Any:
    """Return the rows of the best images of tracklets, from one on, with the means of their images in them."""
    import pyarrow as pa

    tracklets = range(first, first + table.num_rows)
    for name in _MEANS:
        if name not in table.column_names:
            continue
        values = np.empty((len(tracklets), table.schema.field(name).type.list_size), np.float32)
        for i, tracklet in enumerate(tracklets):
            weight, count = sums.weight[tracklet], sums.images[tracklet]
            values[i] = sums.weighted[name][tracklet] / weight if weight else sums.plain[name][tracklet] / count
        if name == FEATURE and info.normalised:
            values = unit_length(values)
        table = _replaced(table, name, list_column(values))
        if name in _PREDICTED and len(values):
            classes, (label, share) = getattr(info, _PREDICTED[name][0]), _PREDICTED[name][1:]
            found = pa.array([classes[index] for index in values.argmax(1).tolist()], pa.string())
            table = _replaced(_replaced(table, label, found), share, pa.array(values.max(1), pa.float32()))
    images = pa.array([sums.images[tracklet] for tracklet in tracklets], pa.int32())
    return table.append_column(IMAGES, images)


def _replaced(table: Any, name: str, column: Any) -> Any:
    return table.set_column(table.column_names.index(name), name, column)
