"""Classes that two label spaces share, and the rows of the classifiers that stand for them.

A grown label space has other numbers for the same identities, domains and cameras, since numbers follow from sorting.
"""

import torch
from torch import Tensor

from jointreid.data.label_space import LabelSpace
from jointreid.models.reid import ReIDModel

# The classifier of identities; others are those of domains and cameras, in the blocks or in the context network.
_IDENTITIES = "classifier"


def known_classes(before: LabelSpace, now: LabelSpace) -> dict[str, tuple[list[int], list[int]]]:
    """Return the classes that both label spaces know, by name: for each kind their numbers before and now.

    Args:
        before: of the earlier run.
        now: of the run to train.

    Returns:
        `identity`, `domain` and `camera`, each two lists of equal length.
    """
    earlier = {domain.name: domain for domain in before.domains}
    pairs: dict[str, list[tuple[int, int]]] = {"identity": [], "domain": [], "camera": []}
    for domain_id, domain in enumerate(now.domains):
        known = earlier.get(domain.name)
        if known is None:
            continue
        pairs["domain"].append((before.domain_id(domain.name), domain_id))
        pids, cameras = set(known.pids), set(known.cameras)
        pairs["identity"] += [(known.label(pid), domain.label(pid)) for pid in domain.pids if pid in pids]
        pairs["camera"] += [
            (known.global_camid(camid), domain.global_camid(camid)) for camid in domain.cameras if camid in cameras
        ]
    return {kind: ([old for old, _ in found], [new for _, new in found]) for kind, found in pairs.items()}


@torch.no_grad()
def copy_known_rows(model: ReIDModel, weights: dict[str, Tensor], before: LabelSpace, now: LabelSpace) -> int:
    """Copy the rows of the classifiers for the classes that both label spaces know, in place.

    Args:
        model: with heads for `now`.
        weights: of a model with heads for `before`.
        before: the label space of the weights.
        now: the label space of the model.

    Returns:
        The identities among them.
    """
    shared, state = known_classes(before, now), model.state_dict()
    for name in model.head_names():
        head = name.rpartition(".")[0]
        kind = "identity" if head == _IDENTITIES else "domain" if "domain" in head else "camera"
        if name in weights:
            old, new = shared[kind]
            state[name][new] = weights[name][old].to(state[name].dtype)
    return len(shared["identity"][0])
