"""The images of each identity, shuffled and cut into groups of K: what the batches of a pass are made of."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class GroupDraws(NamedTuple):
    """The random numbers behind the groups of a pass.

    Attributes:
        order: the images of an identity are shuffled into ascending order of these, float64 [N].
        fillers: for each identity with fewer than K images, which K of its images to take, int64 [small, K].
    """

    order: NDArray[np.float64]
    fillers: Indices


class Groups:
    """Groups of K images: how many each identity has, and which images are in them.

    An identity with K images or more has as many whole groups as it has images for; one with fewer has one group, drawn
    from its images with replacement. Groups are numbered identity after identity.

    Args:
        identity: the identity of every image, [N], each of 0..I-1 at least once.
        size: K.

    Attributes:
        counts: groups of every identity, int64 [I], at least 1.
    """

    def __init__(self, identity: Indices, size: int) -> None:
        self._identity, self._size = identity, size
        self._images = np.bincount(identity)
        self.counts = group_counts(self._images, size)

    def draw(self, rng: np.random.Generator) -> GroupDraws:
        """Draw the random numbers of a pass."""
        small = self._images[self._images < self._size]
        order = rng.random(len(self._identity))
        return GroupDraws(order, rng.integers(small[:, None], size=(len(small), self._size)))

    def cut(self, draws: GroupDraws) -> Indices:
        """Return the images of every group, int64 [groups, K]."""
        from jointreid.data.sampling_numba import sort_by_identity  # here, because numba takes long to import

        first_image = np.cumsum(self._images) - self._images
        shuffled = np.empty(len(self._identity), dtype=np.int64)
        sort_by_identity(np.argsort(draws.order, kind="stable"), self._identity, first_image.copy(), shuffled)
        first_group = np.cumsum(self.counts) - self.counts
        owner = np.repeat(np.arange(len(self._images)), self.counts)
        in_owner = (np.arange(len(owner)) - first_group[owner])[:, None] * self._size + np.arange(self._size)
        in_owner[self._images[owner] < self._size] = draws.fillers
        groups: Indices = shuffled[first_image[owner, None] + in_owner]
        return groups


def group_counts(images: Indices, size: int) -> Indices:
    """Return how many groups of K images each identity has, [I], at least 1.

    Args:
        images: images of each identity, [I], 1 or more.
        size: K.
    """
    return np.maximum(images // size, 1)


def draw_groups(identity: Indices, used: Indices, size: int, rng: np.random.Generator) -> Indices:
    """Draw as many groups of K images as each identity is to give, fewer or more than its images make once.

    The images of an identity are shuffled and cut into whole groups as often as is needed: no image comes twice before
    all groups of the identity came once.

    Args:
        identity: the identity of every image, [N], each of 0..I-1 at least once.
        used: groups that each identity gives, [I], 0 or more.
        size: K.
        rng: where the shuffles come from.

    Returns:
        The images of every group, int64 [sum of used, K], identity after identity.
    """
    counts = group_counts(np.bincount(identity), size)
    shuffles = -(-used // counts)
    image = np.repeat(np.arange(len(identity)), shuffles[identity])
    nth = np.arange(len(image)) - np.repeat(np.cumsum(shuffles[identity]) - shuffles[identity], shuffles[identity])
    shuffled = Groups(((np.cumsum(shuffles) - shuffles)[identity[image]]) + nth, size)  # each shuffle as an identity
    cut = image[shuffled.cut(shuffled.draw(rng))]
    made = shuffles * counts
    place = np.arange(len(cut)) - np.repeat(np.cumsum(made) - made, made)
    groups: Indices = cut[place < np.repeat(used, made)]
    return groups
