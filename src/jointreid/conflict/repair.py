"""Images whose stated camera is probably not the one that took them.

Letters: N images, C cameras.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jointreid.data.label_space import LabelSpace

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class CameraSuggestion:
    """A stated camera that the predicted one contradicts.

    Attributes:
        index: of the image.
        domain: its stated domain.
        stated: its stated camera.
        suggested: the most probable camera of that domain.
        stated_probability: of the stated camera, among those of the domain, in [0, 1].
        suggested_probability: of the suggested one.
    """

    index: int
    domain: str
    stated: int
    suggested: int
    stated_probability: float
    suggested_probability: float


def suggest_cameras(
    posterior: Matrix,
    domains: Sequence[str | None],
    camids: Sequence[int | None],
    labels: LabelSpace,
    margin: float,
) -> tuple[list[CameraSuggestion], list[int]]:
    """Compare stated cameras with the probabilities of the cameras of the stated domain.

    Args:
        posterior: [N, C], over the camera classes of the run.
        domains: the stated domain of each image; None where it is not stated.
        camids: the stated camera of each image; None where it is not stated.
        labels: of the run.
        margin: the difference of the two probabilities from which on a camera is suggested.

    Returns:
        The suggestions, most certain first, and the indices of the images that could be compared: those of a domain
        and a camera of the run, with two cameras or more in that domain.
    """
    known = {domain.name: domain for domain in labels.domains}
    found, compared = [], []
    for index, (name, camid) in enumerate(zip(domains, camids, strict=True)):
        domain = known.get(name or "")
        if domain is None or camid not in domain.cameras or len(domain.cameras) < 2:
            continue
        compared.append(index)
        row = posterior[index, [domain.global_camid(camera) for camera in domain.cameras]]
        shares = row / row.sum() if row.sum() > 0 else np.full(len(row), 1 / len(row))
        stated, best = domain.cameras.index(camid), int(shares.argmax())
        if best != stated and shares[best] - shares[stated] >= margin:
            values = float(shares[stated]), float(shares[best])
            found.append(CameraSuggestion(index, domain.name, int(camid), domain.cameras[best], *values))
    return sorted(found, key=lambda entry: entry.stated_probability - entry.suggested_probability), compared
