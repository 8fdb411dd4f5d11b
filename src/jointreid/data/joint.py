"""The train images of several domains as one training set, numbered in their joint label space."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from jointreid.config import CameraIds
from jointreid.data.label_space import LabelSpace, label_space_of, read_only
from jointreid.data.records import Domain, ImageRecord


@dataclass(frozen=True)
class JointSample:
    """One train image with its numbers in the label space."""

    record: ImageRecord
    label: int
    global_camid: int
    domain_id: int


@dataclass(frozen=True)
class JointTrainSet:
    """The train images of all domains, in the order of the domains and sorted by path in each, and their label space.

    The arrays run parallel to `samples` and are read-only.
    """

    samples: tuple[JointSample, ...]
    label_space: LabelSpace

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The label of every sample, int64 [N]."""
        return read_only([sample.label for sample in self.samples])

    @cached_property
    def global_camids(self) -> NDArray[np.int64]:
        """The global camera id of every sample, int64 [N]."""
        return read_only([sample.global_camid for sample in self.samples])

    @cached_property
    def domain_ids(self) -> NDArray[np.int64]:
        """The domain id of every sample, int64 [N]."""
        return read_only([sample.domain_id for sample in self.samples])


def join(domains: Iterable[Domain], camera_ids: CameraIds = "global") -> JointTrainSet:
    """Number the train images of several domains as one training set (Fig. 3).

    With o_d the number of train identities of the domains before d, and c_d the number of their cameras:

        label        = o_d + rank of pid among the sorted train pids of d
        global_camid = c_d + rank of camid among the sorted cameras of d      (c_d = 0 if camera_ids is "local")
        domain_id    = d

    Ranks, not the ids themselves: gaps never make two cameras collide. Equal pids of two domains are two people.
    Domains with the same `Domain.place` have one set of cameras, the union of theirs, and so the same c_d and ranks.

    Args:
        domains: in the order of their ids.
        camera_ids: whether every domain's cameras are classes of their own, or shared by rank.

    Raises:
        JointreidError: no domain, two of one name, or one without train images.
    """
    domains = tuple(domains)
    space = label_space_of(domains, camera_ids)
    samples = tuple(
        JointSample(record, numbers.label(record.pid), numbers.global_camid(record.camid), domain_id)
        for domain_id, (domain, numbers) in enumerate(zip(domains, space.domains, strict=True))
        for record in domain.train
    )
    return JointTrainSet(samples, space)
