"""Errors by camera pair, and images of two domains that a model takes for one person.

Similarities are cosines of `bn_embedding`. Letters: N images, C cameras.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jointreid.conflict.probe import unit
from jointreid.data.records import ImageRecord

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class CameraPairs:
    """Errors of one domain by the camera of the query and the camera that is searched.

    Attributes:
        cameras: C, ascending.
        error: [C, C], the share of queries from one camera whose nearest image of the other shows somebody else; NaN
            without queries.
        queries: [C, C], queries that have a match in the searched camera.
    """

    cameras: tuple[int, ...]
    error: Matrix
    queries: NDArray[np.int64]


def camera_pairs(features: NDArray[np.floating], records: Sequence[ImageRecord], *, same_camera: bool) -> CameraPairs:
    """Let every image ask for its person in each camera, itself left out.

    Args:
        features: [N, D].
        records: the images of one domain.
        same_camera: whether an image also asks its own camera.
    """
    x = unit(features)
    similarity = x @ x.T
    np.fill_diagonal(similarity, -np.inf)
    pids, camids = np.array([r.pid for r in records]), np.array([r.camid for r in records])
    cameras = np.unique(camids)
    error = np.full((len(cameras), len(cameras)), np.nan)
    queries = np.zeros((len(cameras), len(cameras)), dtype=np.int64)
    for b, searched in enumerate(cameras):
        columns = np.flatnonzero(camids == searched)
        matches = pids[:, None] == pids[columns]
        matches &= np.arange(len(pids))[:, None] != columns
        right = pids[columns[similarity[:, columns].argmax(1)]] == pids
        for a, asking in enumerate(cameras):
            asked = (camids == asking) & matches.any(1)
            if asked.any() and (same_camera or a != b):
                queries[a, b] = asked.sum()
                error[a, b] = 1 - right[asked].mean()
    return CameraPairs(tuple(cameras.tolist()), error, queries)


@dataclass(frozen=True)
class ImagePair:
    """Two images that a model finds alike.

    Attributes:
        a: domain and image.
        b: domain and image.
        similarity: their cosine.
    """

    a: tuple[str, ImageRecord]
    b: tuple[str, ImageRecord]
    similarity: float


@dataclass(frozen=True)
class CrossDomain:
    """Images of all domains searched at once.

    Attributes:
        hardest: the most similar pairs of images of two domains, each identity once.
        foreign_first: domain -> the share of its images whose nearest image of all, itself left out, is of another
            domain.
        foreign_nearer: domain -> the share of its images, of those with a match, that have an image of another domain
            nearer than every match.
    """

    hardest: tuple[ImagePair, ...]
    foreign_first: dict[str, float]
    foreign_nearer: dict[str, float]


def cross_domain(
    features: NDArray[np.floating], records: Sequence[ImageRecord], domains: Sequence[str], shown: int
) -> CrossDomain:
    """Search the images of all domains with each of them.

    Args:
        features: [N, D].
        records: the images.
        domains: the domain of each, [N].
        shown: pairs to return.
    """
    x, names = unit(features), np.array(domains)
    people = np.array([f"{name}\0{record.pid}" for name, record in zip(domains, records, strict=True)])
    similarity = x @ x.T
    np.fill_diagonal(similarity, -np.inf)
    foreign = np.where(names[:, None] != names, similarity, -np.inf)
    match = np.where(people[:, None] == people, similarity, -np.inf).max(1)
    nearest = foreign.max(1)
    first = nearest > np.where(names[:, None] == names, similarity, -np.inf).max(1)
    has_match = np.isfinite(match)

    def by_domain(hits: NDArray[np.bool_], counted: NDArray[np.bool_]) -> dict[str, float]:
        own = {name: counted & (names == name) for name in dict.fromkeys(domains)}
        return {name: float(hits[rows].mean()) for name, rows in own.items() if rows.any()}

    pairs: list[ImagePair] = []
    seen: set[str] = set()
    for index in np.argsort(-nearest, kind="stable").tolist():
        other = int(foreign[index].argmax())
        if len(pairs) == shown or not np.isfinite(nearest[index]):
            break
        if seen & {str(people[index]), str(people[other])}:
            continue
        seen |= {str(people[index]), str(people[other])}
        a, b = sorted((index, other))
        pairs.append(ImagePair((domains[a], records[a]), (domains[b], records[b]), float(nearest[index])))
    everyone = np.ones(len(names), dtype=bool)
    return CrossDomain(tuple(pairs), by_domain(first, everyone), by_domain(nearest > match, has_match))
