"""How similar each image of known people is to the nearest image of each other person.

A gallery holds several images of a person, and they are alike: a search meets people, not independent images.

Letters: Q queries, which are all images; I identities; T = Q (I - 1) encounters.
"""

from dataclasses import dataclass

import numpy as np

from jointreid.verification.pairs import Doubles, Floats, Integers, People

# Similarities computed at once: 32 MB.
_BLOCK = 2**23


@dataclass(frozen=True, eq=False)
class Encounters:
    """Each query with each other person, the most similar first.

    Attributes:
        similarities: float32 [T], of the query to the nearest image of the person.
        queries: int64 [T], the row of the query.
        persons: int64 [T], the other person.
        identities: int64 [Q], the person of each query.
        num_identities: I.
    """

    similarities: Floats
    queries: Integers
    persons: Integers
    identities: Integers
    num_identities: int

    def false_alarms(self, count: int, gallery: int, drawn: Integers, *, replace: bool = False) -> float:
        """Return the share of searches that find anybody, where the `count` most similar encounters are let through.

        Of n other people, k are let through. A gallery of M of the n, drawn at random, holds none of the k with
        probability C(n - k, M) / C(n, M), which estimates without bias what galleries of M people would give that are
        drawn from where these people come from. With replacement it is (1 - k / n)^M.

        Args:
            count: encounters that are let through.
            gallery: M, in people; all others where they are fewer.
            drawn: [I], how often each person counts, as a query and in the gallery.
            replace: draw with replacement.
        """
        queries, persons = self.queries[:count], self.persons[:count]
        reached = np.bincount(queries, drawn[persons], len(self.identities))
        weights = drawn[self.identities]
        others = int(drawn.sum()) - weights
        asked = (weights > 0) & (others > 0)
        n, k, own = others[asked], reached[asked].astype(np.int64), weights[asked]
        if not len(own):
            return 0.0
        if replace:
            missed = (1 - k / n) ** gallery
        else:
            logs = _log_factorials(int(n.max()))
            m = np.minimum(gallery, n)
            missed = np.zeros(len(n))
            possible = n - k >= m
            n, r, m = n[possible], (n - k)[possible], m[possible]
            missed[possible] = np.exp(logs[r] - logs[r - m] - logs[n] + logs[n - m])
        return float(((1 - missed) * own).sum() / own.sum())

    def allowed(self, rate: float, gallery: int, drawn: Integers, most: int, *, replace: bool = False) -> int:
        """Return how many encounters, at most `most`, may be let through to keep `false_alarms` at `rate` or below."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.false_alarms(middle, gallery, drawn, replace=replace) <= rate * (1 + 1e-9):
                low = middle
            else:
                high = middle - 1
        return low

    def threshold(self, count: int, most: int) -> float:
        """Return the lowest threshold that lets no more than `count` of the `most` most similar encounters through."""
        if count < most:
            return float(np.nextafter(self.similarities[count], np.float32(2)))
        return -1.0 if most == len(self.similarities) else float(self.similarities[most - 1])

    def at_least(self, threshold: float) -> int:
        """Return how many encounters are at least so similar."""
        return int((self.similarities >= threshold).sum())


def encounters_of(people: People) -> Encounters:
    """Return the encounters of people, of whom each has an image; groups do not count."""
    order = np.argsort(people.identities, kind="stable")
    persons = people.num_identities
    first = np.searchsorted(people.identities[order], np.arange(persons))
    columns = people.features[order].T
    nearest = np.empty((len(order), persons), dtype=np.float32)
    rows = max(1, _BLOCK // max(1, len(order)))
    for start in range(0, len(order), rows):
        found = people.features[start : start + rows] @ columns
        nearest[start : start + rows] = np.maximum.reduceat(found, first, axis=1)
    others = people.identities[:, None] != np.arange(persons)
    queries, other = np.nonzero(others)
    values = nearest[others]
    best = np.argsort(-values, kind="stable")
    return Encounters(values[best], queries[best], other[best], people.identities, persons)


def _log_factorials(largest: int) -> Doubles:
    """Return log n! for n from 0 to `largest`."""
    logs: Doubles = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])
    return logs
