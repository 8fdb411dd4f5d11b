"""Candidates for a person's look: wrong labels, one person under two labels, and people shared by two data sets.

They come from the model's own features, so they are candidates and no facts: a model that errs proposes wrong ones.

Letters: N images, I identities.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jointreid.conflict.probe import unit
from jointreid.data.records import ImageRecord

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class LabelCandidate:
    """An image that resembles another identity of its domain more than its own.

    Attributes:
        domain: of the image.
        record: the image.
        own: mean cosine to the other images of its identity.
        other: mean cosine to the images of the identity it resembles most.
        suggested: an image of that identity, the most similar one.
        score: `other` - `own`.
    """

    domain: str
    record: ImageRecord
    own: float
    other: float
    suggested: ImageRecord
    score: float


@dataclass(frozen=True)
class PersonCandidate:
    """Two identities that may be one person.

    Attributes:
        a: domain, and the image that is most similar to the other identity.
        b: the same of the other identity.
        similarity: mean cosine between images of the two.
        score: the share of the identities whose own images are less similar to each other, in [0, 1].
    """

    a: tuple[str, ImageRecord]
    b: tuple[str, ImageRecord]
    similarity: float
    score: float


@dataclass(frozen=True)
class Candidates:
    """Candidates, best first.

    Attributes:
        labels: images whose label may be wrong.
        same_domain: two identities of one domain that may be one person.
        shared: two identities of two domains that may be one person.
        resembling: images, shown or not, that resemble another identity of their domain more than their own.
        num_same_domain: pairs of identities of one domain, shown or not, with a score of `least_score` or more.
        num_shared: the same of two domains.
    """

    labels: tuple[LabelCandidate, ...]
    same_domain: tuple[PersonCandidate, ...]
    shared: tuple[PersonCandidate, ...]
    resembling: int
    num_same_domain: int
    num_shared: int

    @property
    def alike(self) -> int:
        """Pairs of identities, shown or not, of one domain or two."""
        return self.num_same_domain + self.num_shared


def find_candidates(
    features: NDArray[np.floating],
    records: Sequence[ImageRecord],
    domains: Sequence[str],
    most: int,
    least_score: float = 0.05,
) -> Candidates:
    """Compare every image with every identity, and identities with each other.

    Args:
        features: [N, D].
        records: the images.
        domains: the domain of each, [N].
        most: candidates of each kind.
        least_score: of a pair of identities.
    """
    x = unit(features)
    keys = [(name, record.pid) for name, record in zip(domains, records, strict=True)]
    names = list(dict.fromkeys(keys))
    place = {key: index for index, key in enumerate(names)}
    codes = np.array([place[key] for key in keys], dtype=np.int64)
    members = np.eye(len(names))[codes]  # N I
    counts = members.sum(0)
    similarity = x @ x.T
    to_identity = similarity @ members / counts  # N I: mean cosine to the images of each identity
    own_count = counts[codes]
    own = (to_identity[np.arange(len(codes)), codes] * own_count - 1) / np.maximum(own_count - 1, 1)
    of_domain = np.array([name for name, _ in names])
    others = np.where(np.array(domains)[:, None] == of_domain, to_identity, -np.inf)
    others[np.arange(len(codes)), codes] = -np.inf
    score = np.where((own_count > 1) & np.isfinite(others.max(1)), others.max(1) - own, -np.inf)
    labels = _label_candidates(similarity, others, own, score, codes, records, domains, most)
    between = members.T @ to_identity / counts[:, None]  # I I
    within = np.sort([own[codes == i].mean() for i in range(len(names)) if counts[i] > 1])
    shares = np.searchsorted(within, between) / max(1, len(within))
    pairs = np.triu(shares >= least_score, 1)
    same = of_domain[:, None] == of_domain
    kinds = pairs & same, pairs & ~same
    people = [
        _people(similarity, np.where(kind, between, -np.inf), shares, codes, of_domain, records, most) for kind in kinds
    ]
    numbers = [int(kind.sum()) for kind in kinds]
    return Candidates(labels, people[0], people[1], int((score > 0).sum()), numbers[0], numbers[1])


def _label_candidates(
    similarity: Matrix,
    others: Matrix,
    own: Matrix,
    score: Matrix,
    codes: NDArray[np.int64],
    records: Sequence[ImageRecord],
    domains: Sequence[str],
    most: int,
) -> tuple[LabelCandidate, ...]:
    best = others.argmax(1)
    found = []
    for index in np.argsort(-score, kind="stable")[:most].tolist():
        if score[index] <= 0:
            break
        pool = np.flatnonzero(codes == best[index])
        like = int(pool[similarity[index, pool].argmax()])
        values = float(own[index]), float(others[index].max())
        found.append(LabelCandidate(domains[index], records[index], *values, records[like], float(score[index])))
    return tuple(found)


def _people(
    similarity: Matrix,
    between: Matrix,
    shares: Matrix,
    codes: NDArray[np.int64],
    of_domain: NDArray[np.str_],
    records: Sequence[ImageRecord],
    most: int,
) -> tuple[PersonCandidate, ...]:
    """Return the pairs of identities with the highest `between` [I, I]; those of -inf are no candidates."""
    found = []
    for flat in np.argsort(-between, axis=None, kind="stable")[:most].tolist():
        a, b = divmod(flat, len(of_domain))
        if not np.isfinite(between[a, b]):
            break
        rows, columns = np.flatnonzero(codes == a), np.flatnonzero(codes == b)
        i, j = divmod(int(similarity[np.ix_(rows, columns)].argmax()), len(columns))
        ends = (str(of_domain[a]), records[int(rows[i])]), (str(of_domain[b]), records[int(columns[j])])
        found.append(PersonCandidate(ends[0], ends[1], float(between[a, b]), float(shares[a, b])))
    return tuple(found)
