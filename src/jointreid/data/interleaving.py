"""The order of groups in a pass that spreads every domain and every identity evenly over it."""

from itertools import chain

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def interleaved_batches(counts: Indices, ids_per_batch: int) -> int:
    """Return the batches of an interleaved pass, the most that P different identities a batch allow.

    A batch holds an identity once, so B batches use at most B groups of each: B is the largest number for which
    `sum(min(counts, B)) >= P * B`. At least 1 where there are P identities.

    Args:
        counts: groups of every identity, [I], 1 or more.
        ids_per_batch: P, at most I.
    """
    most, least = int(counts.sum()) // ids_per_batch, 1
    while least < most:
        middle = (least + most + 1) // 2
        if int(np.minimum(counts, middle).sum()) >= ids_per_batch * middle:
            least = middle
        else:
            most = middle - 1
    return least


def interleave(counts: Indices, domains: Indices, ids_per_batch: int, rng: np.random.Generator) -> Indices:
    """Choose the groups of every batch such that domains and identities are spread evenly over the pass.

    The pass is cut into as many equal parts as an identity has groups, and each part gets one of them at a random
    time. The groups of a domain, in the order of these times, are then set at equal distances, so that any stretch of
    the pass holds the domain's share of it to within one group. All groups in order of time, cut into batches, are
    the result; where a batch would hold an identity twice, the second group waits for the next batch. Fewer than P
    groups are left over, other ones in each pass, besides those of an identity with more groups than there are batches.

    Args:
        counts: groups of every identity, [I], 1 or more.
        domains: the domain of every identity, [I].
        ids_per_batch: P, at most I.
        rng: where the times come from.

    Returns:
        The groups of every batch as positions in the list of all groups, [batches, P].
    """
    batches = interleaved_batches(counts, ids_per_batch)
    group, used = _used_groups(counts, batches, batches * ids_per_batch, rng)
    drawn: Indices = group[spread_evenly(used, domains, ids_per_batch, rng)]
    return drawn


def spread_evenly(used: Indices, domains: Indices, ids_per_batch: int, rng: np.random.Generator) -> Indices:
    """Return the order of the groups of a pass that `interleave` describes.

    Args:
        used: groups that each identity gives to the pass, [I], 0 or more. They add up to batches * P, and none is more
            than there are batches.
        domains: the domain of every identity, [I].
        ids_per_batch: P.
        rng: where the times come from.

    Returns:
        The groups of every batch as positions in the list of all groups, identity after identity, [batches, P].
    """
    batches = int(used.sum()) // ids_per_batch
    owner = np.repeat(np.arange(len(used)), used)
    nth = np.arange(len(owner)) - (np.cumsum(used) - used)[owner]
    times = _equal_distances((nth + rng.random(len(owner))) / used[owner], domains[owner], rng)
    order = np.argsort(times, kind="stable")
    in_batches = np.sort(owner[order].reshape(batches, ids_per_batch), axis=1)
    if (in_batches[:, 1:] == in_batches[:, :-1]).any():
        order = _separate(order, owner, batches - used[owner] + nth, batches, ids_per_batch)
    drawn: Indices = order.reshape(batches, ids_per_batch)
    return drawn


def _used_groups(counts: Indices, batches: int, total: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Choose the groups that a pass uses.

    Returns:
        The position of each used group in the list of all groups, [total], identity after identity; and how many of
        them each identity has, [I].
    """
    most = np.minimum(counts, batches)
    owner = np.repeat(np.arange(len(counts)), most)
    nth = np.arange(len(owner)) - (np.cumsum(most) - most)[owner]
    group = (np.cumsum(counts) - counts)[owner] + nth
    kept = np.ones(len(owner), dtype=bool)
    kept[rng.choice(len(owner), len(owner) - total, replace=False)] = False
    return group[kept], np.bincount(owner[kept], minlength=len(counts))


def _equal_distances(times: NDArray[np.float64], domains: Indices, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return times in [0, 1) that keep the order within each domain, and are equally far apart in it."""
    sizes = np.bincount(domains)
    in_order = np.lexsort((times, domains))
    rank = np.arange(len(times)) - (np.cumsum(sizes) - sizes)[domains[in_order]]
    spread = np.empty(len(times))
    spread[in_order] = (rank + rng.random(len(sizes))[domains[in_order]]) / sizes[domains[in_order]]
    return spread


def _separate(order: Indices, owner: Indices, latest: Indices, batches: int, ids_per_batch: int) -> Indices:
    """Return the order with no identity twice in a batch.

    A batch takes first the groups that must not wait any longer: an identity with as many groups left as there are
    batches left is in each of them. These are never more than P, because P times the batches left is the number of
    groups left. The others follow in their order, an identity's second one waiting for the next batch.

    Args:
        order: the used groups by time.
        owner: the identity of each.
        latest: the last batch that each may wait for.
        batches: B.
        ids_per_batch: P; there are B * P groups.
    """
    due: list[list[int]] = [[] for _ in range(batches)]
    for group, batch in enumerate(latest.tolist()):
        due[batch].append(group)
    owners, taken = owner.tolist(), bytearray(len(order))
    waiting: list[int] = []
    others, result = iter(order.tolist()), []
    for batch in range(batches):
        chosen = [group for group in due[batch] if not taken[group]]
        for group in chosen:
            taken[group] = 1
        present = {owners[group] for group in chosen}
        held_back: list[int] = []
        earlier = iter(waiting)
        queue = chain(earlier, others)
        while len(chosen) < ids_per_batch:
            group = next(queue)
            if taken[group]:
                continue
            if owners[group] in present:
                held_back.append(group)
            else:
                chosen.append(group)
                present.add(owners[group])
                taken[group] = 1
        waiting = [*held_back, *earlier]
        result += chosen
    return np.array(result, dtype=np.int64)
