"""Hold identities out: of train, to choose a checkpoint on without looking at the test split, or of a part of it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from jointreid.data.label_space import LabelSpace
from jointreid.data.records import Domain, ImageRecord
from jointreid.machine.hashing import text_sha256
from jointreid.messages.errors import JointreidError

# Identities that a split leaves in train: with one, nothing could be told apart.
_LEFT_IN_TRAIN = 2


def hold_out(domain: Domain, count: int, seed: int) -> tuple[Domain, Domain]:
    """Split a domain's train identities into those to train on and `count` held out as a small test set.

    Under the camera rule each held-out identity was seen by two cameras or more; its first image of each camera is a
    query, all of its images are the gallery, and the rule keeps a query from finding itself. Without the rule each
    has two images or more; the first is the query, the others are the gallery. In leave-one-out each image asks the
    others.

    Returns:
        The domain with less in train, and a domain of the same name whose query and gallery are the held-out images.

    Raises:
        JointreidError: fewer than `count` identities can be matched, or fewer than two would be left to train on.
    """
    images: dict[str, list[ImageRecord]] = {}
    for record in domain.train:
        images.setdefault(record.pid, []).append(record)
    fit = [pid for pid in sorted(images) if _can_match(images[pid], domain.exclude_same_camera)]
    most = max(0, min(len(fit), len(images) - _LEFT_IN_TRAIN))
    if count > most:
        kind = "seen by two cameras" if domain.exclude_same_camera else "with two images"
        raise JointreidError(
            f"{domain.name}: data.val_ids is {count}, but of its {len(images)} train identities only {len(fit)} are "
            f"{kind}, and at least two must be left to train on; choose at most {most}"
        )
    held = set(np.random.default_rng(seed).choice(fit, count, replace=False).tolist())
    query, gallery = [], []
    for pid in sorted(held):
        first_of_camera = {record.camid: record for record in reversed(images[pid])}
        if domain.leave_one_out:
            gallery += images[pid]
        elif domain.exclude_same_camera:
            query += list(first_of_camera.values())
            gallery += images[pid]
        else:
            query.append(images[pid][0])
            gallery += images[pid][1:]
    rest = replace(domain, train=tuple(record for record in domain.train if record.pid not in held))
    return rest, replace(domain, train=(), query=tuple(query), gallery=tuple(gallery))


def held_out_identities(labels: LabelSpace, share: float) -> NDArray[np.bool_]:
    """Return a share of the identities of every domain, bool [num_ids], rounded to whole identities.

    At least one of a domain is held out and at least one is not, so one of a single identity holds out none.

    The choice depends on the names of a domain and its identities alone, and a higher share holds out the same ones and
    more: where a run goes on with further data sets, nobody is held out whom it has learnt from.

    Args:
        labels: the identities.
        share: in [0, 1).
    """
    held = np.zeros(labels.num_ids, dtype=np.bool_)
    for domain in labels.domains:
        order = sorted(range(len(domain.pids)), key=lambda rank: text_sha256(f"{domain.name}\0{domain.pids[rank]}"))
        count = min(len(order) - 1, max(1, int(share * len(order) + 0.5))) if share else 0
        held[[domain.label_offset + rank for rank in order[:count]]] = True
    return held


def _can_match(records: list[ImageRecord], exclude_same_camera: bool) -> bool:
    return len({record.camid for record in records}) >= 2 if exclude_same_camera else len(records) >= 2
