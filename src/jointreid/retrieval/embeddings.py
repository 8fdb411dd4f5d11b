"""`Embeddings`: features of images with their labels and paths.

Letters: N images, D dimensions of a feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jointreid.data.records import ImageRecord
from jointreid.messages.errors import JointreidError

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The features of N images, with their labels and paths.

    Attributes:
        features: float32 [N, D], `bn_embedding`, not normalised to length 1.
        pids: str [N].
        camids: int64 [N], local to the images' domain.
        paths: str [N].
        domain_posterior: float32 [N, num_domains], probability of each training domain; None without such heads.
        camera_posterior: float32 [N, num_cameras], probability of each training camera; None without such heads.

    Raises:
        JointreidError: the fields have different lengths.
    """

    features: Floats
    pids: NDArray[np.str_]
    camids: NDArray[np.int64]
    paths: NDArray[np.str_]
    domain_posterior: Floats | None = None
    camera_posterior: Floats | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(value) for name, value in vars(self).items() if value is not None}
        if len(set(lengths.values())) > 1:
            raise JointreidError(f"embeddings: the fields are of different lengths: {lengths}")

    @classmethod
    def of(
        cls, records: Sequence[ImageRecord], features: Floats, domain: Floats | None, camera: Floats | None
    ) -> "Embeddings":
        """Combine features and posteriors, [N, ...], with the labels and paths of N records."""
        return cls(
            features=features,
            pids=np.array([record.pid for record in records], dtype=np.str_),
            camids=np.array([record.camid for record in records], dtype=np.int64),
            paths=np.array([str(record.path) for record in records], dtype=np.str_),
            domain_posterior=domain,
            camera_posterior=camera,
        )
