"""The domain and the camera that a model's heads see in an image, by name.

Letters: N images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jointreid.data.label_space import LabelSpace

Floats = NDArray[np.float32]

# A domain that is less probable is as good as unknown.
LIKELY = 0.5


class Prediction(NamedTuple):
    """What the heads see in one image; a field is None where the model has no such head.

    Attributes:
        domain: name of the training domain with the highest probability.
        domain_probability: its probability, in [0, 1].
        camera: the training camera with the highest probability, `domain:camid`, see `camera_names`.
        camera_probability: its probability, in [0, 1].
    """

    domain: str | None = None
    domain_probability: float | None = None
    camera: str | None = None
    camera_probability: float | None = None

    @property
    def likely_domain(self) -> str | None:
        """The domain, if its probability is `LIKELY` or more."""
        return self.domain if self.domain_probability is not None and self.domain_probability >= LIKELY else None


def domain_names(labels: LabelSpace) -> list[str]:
    """Return the names of the domain classes, in their order."""
    return [domain.name for domain in labels.domains]


def camera_names(labels: LabelSpace) -> list[str]:
    """Return the names of the camera classes, in their order.

    `domain:camid` for each camera, `place:camid` for those of domains that share a place. Where all domains share
    camera classes (`data.camera_ids local`), `rank:R`, the R-th camera of whichever domain, from 0.
    """
    if labels.camera_ids == "local":
        return [f"rank:{rank}" for rank in range(labels.num_cameras)]
    named = ((d.global_camid(camid), f"{d.place or d.name}:{camid}") for d in labels.domains for camid in d.cameras)
    return list(dict(named).values())  # classes rise from 0, and a shared one has one name


def predictions(
    domains: Sequence[str], cameras: Sequence[str], domain: Floats | None, camera: Floats | None, count: int
) -> list[Prediction]:
    """Return what the heads see in each of N images.

    Args:
        domains: names of the domain classes.
        cameras: names of the camera classes.
        domain: probabilities [N, num_domains], or None.
        camera: probabilities [N, num_cameras], or None.
        count: N.
    """
    seen = *_highest(domain, domains, count), *_highest(camera, cameras, count)
    return [Prediction(*values) for values in zip(*seen, strict=True)]


def _highest(
    probabilities: Floats | None, names: Sequence[str], count: int
) -> tuple[list[str] | list[None], list[float] | list[None]]:
    """Return the name of the highest probability of each image, and that probability."""
    if probabilities is None:
        return [None] * count, [None] * count
    return [names[index] for index in probabilities.argmax(1).tolist()], probabilities.max(1).tolist()
