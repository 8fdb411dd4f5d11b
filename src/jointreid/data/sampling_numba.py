"""Compiled loops of the sampler: the draw of identities for the batches of a pass, and a sort.

The draws are those of numpy's `Generator.choice(waiting, P, replace=False)`, number for number, so that the batches of
a seed stay what they were when numpy made the draws. What numpy has no fast way for is the list of identities that
have groups left: here it is a Fenwick tree, which finds and removes an identity in O(log I) steps.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from jointreid.machine.numba_kernel import cached

Indices = NDArray[np.int64]
Words = NDArray[np.uint32]

# As in numpy: of more identities than this, a choice of more than a fiftieth shuffles the end of a whole list.
_WHOLE_LIST_FROM = 10_000
_WHOLE_LIST_SHARE = 50


def draw_identities(counts: Indices, ids_per_batch: int, rng: np.random.Generator) -> Indices:
    """Draw P different identities a batch, uniformly among those with groups left, until fewer than P have any.

    Args:
        counts: groups of every identity, [I], all at least 1.
        ids_per_batch: P, at most I.
        rng: where the draws come from, one of `numpy.random.default_rng`.

    Returns:
        The groups of every batch as positions in the list of all groups, [batches, P].
    """
    drawn = np.empty((int(counts.sum()) // ids_per_batch, ids_per_batch), dtype=np.int64)
    words = _words(rng, drawn.size * 2)
    while (batches := _draw(words, *_before_the_first(counts), drawn)) < 0:  # some draws took several words
        words = np.concatenate([words, _words(rng, drawn.size)])
    return drawn[:batches]


def _before_the_first(counts: Indices) -> tuple[Indices, Indices, Indices]:
    """Return what `_draw` counts in: groups left and the next group of each identity, and the tree of waiting ones.

    tree[n] is the number of waiting identities among the n & -n that end at the n-th, counted from 1.
    """
    numbers = np.arange(len(counts) + 1)
    left = counts.astype(np.int64)
    return left, np.cumsum(left) - left, numbers & -numbers


def _words(rng: np.random.Generator, count: int) -> Words:
    """Return the next 32-bit numbers of a generator in the order in which numpy takes them, low halves first."""
    state = dict(rng.bit_generator.state)
    halves = rng.bit_generator.random_raw(count // 2 + 8).astype("<u8").view("<u4").astype(np.uint32)
    if not state["has_uint32"]:
        return halves
    rng.bit_generator.state = {**rng.bit_generator.state, "has_uint32": 0}
    return np.concatenate([np.array([state["uinteger"]], dtype=np.uint32), halves])


@njit(nogil=True)
def _below(words: Words, place: Indices, limit: int) -> int:
    """Return a number of 0..limit-1 by Lemire's method; 0 if there are no words left."""
    if limit == 1:
        return 0
    least = np.int64(2**32) % limit
    while place[0] < len(words):
        product = np.uint64(words[place[0]]) * np.uint64(limit)
        place[0] += 1
        if np.int64(product & np.uint64(2**32 - 1)) >= least:
            number: int = np.int64(product >> np.uint64(32))  # type: ignore[assignment]
            return number
    place[0] = len(words) + 1
    return 0


@njit(nogil=True)
def _shuffle(words: Words, place: Indices, values: Indices, first: int) -> None:
    """Shuffle the places from `first` on, each with one before it, by Fisher and Yates."""
    for i in range(len(values) - 1, first - 1, -1):
        j = _below(words, place, i + 1)
        values[i], values[j] = values[j], values[i]


@njit(nogil=True)
def _choose(words: Words, place: Indices, population: int, chosen: Indices) -> None:
    """Choose different numbers of 0..population-1 as `Generator.choice` does, by the same draws in the same order."""
    size = len(chosen)
    if population > _WHOLE_LIST_FROM and size > population // _WHOLE_LIST_SHARE:
        whole = np.empty(population, dtype=np.int64)
        for i in range(population):
            whole[i] = i
        _shuffle(words, place, whole, max(population - size, 1))
        for i in range(size):
            chosen[i] = whole[population - size + i]
        return
    for i in range(size):  # Floyd's algorithm
        last = population - size + i
        number = _below(words, place, last + 1)
        for j in range(i):
            if chosen[j] == number:
                number = last
                break
        chosen[i] = number
    _shuffle(words, place, chosen, 1)


@njit(nogil=True)
def _find(tree: Indices, top: int, rank: int) -> int:
    """Return the waiting identity that has `rank` waiting ones before it."""
    n, step = 0, top
    while step > 0:
        if n + step < len(tree) and tree[n + step] <= rank:
            n += step
            rank -= tree[n]
        step //= 2
    return n


@cached
@njit(nogil=True)
def _draw(words: Words, left: Indices, next_group: Indices, tree: Indices, drawn: Indices) -> int:
    """Write the groups of each batch into `drawn`; return how many batches there are, or -1 for too few words.

    Compiling this takes a second or two, so that it holds nothing but loops.
    """
    ids_per_batch, waiting = drawn.shape[1], len(left)
    top = 1
    while top * 2 <= waiting:
        top *= 2
    chosen, place = np.empty(ids_per_batch, dtype=np.int64), np.zeros(1, dtype=np.int64)
    batches = 0
    while waiting >= ids_per_batch:
        _choose(words, place, waiting, chosen)
        if place[0] > len(words):
            return -1
        for i in range(ids_per_batch):  # all of them before any is removed
            chosen[i] = _find(tree, top, chosen[i])
        for i in range(ids_per_batch):
            owner = chosen[i]
            drawn[batches, i] = next_group[owner]
            next_group[owner] += 1
            left[owner] -= 1
            if left[owner] == 0:
                waiting -= 1
                n = owner + 1
                while n < len(tree):
                    tree[n] -= 1
                    n += n & -n
        batches += 1
    return batches


@cached
@njit(nogil=True)
def sort_by_identity(order: Indices, identity: Indices, place: Indices, out: Indices) -> None:
    """Write the images, taken in `order`, identity after identity.

    Args:
        order: the images, [N].
        identity: the identity of every image, [N].
        place: where each identity begins in `out`, [I]; written.
        out: [N], written.
    """
    for image in order:
        owner = identity[image]
        out[place[owner]] = image
        place[owner] += 1
