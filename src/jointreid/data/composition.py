"""Composition of batches: the images of each domain and camera in an epoch, and of each domain by fifth of a pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jointreid.data.joint import JointTrainSet
from jointreid.data.pk_sampler import PKSampler
from jointreid.messages.tables import text_table

FIFTHS = 5
# A domain is spread unevenly if fifths of a pass differ by more than half of their mean and this many deviations of
# what chance makes of groups that are spread at random.
_DEVIATIONS = 5


class Histogram(NamedTuple):
    """Number of images that some batches took from each domain and camera.

    Attributes:
        domains: images by domain name.
        cameras: images by global camera id.
    """

    domains: dict[str, int]
    cameras: list[int]


def realised_histogram(train_set: JointTrainSet, indices: ArrayLike) -> Histogram:
    """Count the domains and cameras that batches really held; padded images count as often as they were used.

    Args:
        train_set: the images that the indices stand for.
        indices: integers of any shape, for example the batches of an epoch.
    """
    flat = np.asarray(indices, dtype=np.int64).ravel()
    space = train_set.label_space
    domains = np.bincount(train_set.domain_ids[flat], minlength=space.num_domains).tolist()
    cameras = np.bincount(train_set.global_camids[flat], minlength=space.num_cameras).tolist()
    return Histogram(dict(zip((domain.name for domain in space.domains), domains, strict=True)), cameras)


@dataclass(frozen=True)
class PassComposition:
    """The images that each fifth of a pass has of each domain.

    Attributes:
        fifths: five counts of images for each domain.
        uneven: the domains of which some fifths have far more than others, more than by chance.
    """

    fifths: Mapping[str, Sequence[int]]
    uneven: Sequence[str]


def compose_pass(sampler: PKSampler, domain_ids: ArrayLike, names: Sequence[str]) -> PassComposition | None:
    """Count the images of each domain in each fifth of the first pass; None for one domain, or fewer than 5 batches.

    Args:
        sampler: of the batches.
        domain_ids: the domain of every image, integers [N].
        names: the domains' names.
    """
    if len(names) < 2:
        return None
    batches = sampler.batches_of(0)
    if len(batches) < FIFTHS:
        return None
    parts = np.array_split(np.asarray(domain_ids)[batches], FIFTHS)
    counts = np.stack([np.bincount(part.ravel(), minlength=len(names)) for part in parts], axis=1)
    mean, spread = counts.mean(axis=1), np.ptp(counts, axis=1)
    chance = _DEVIATIONS * np.sqrt(mean * sampler.images_together)
    uneven = [name for name, is_uneven in zip(names, spread > mean / 2 + chance, strict=True) if is_uneven]
    return PassComposition(dict(zip(names, counts.tolist(), strict=True)), uneven)


def render_composition(composition: PassComposition) -> str:
    """Return a table of the images of each domain by fifth of a pass, with advice where they are spread unevenly."""
    rows = [["images by fifth of a pass", *(f"{n}/{FIFTHS}" for n in range(1, FIFTHS + 1))]]
    rows += [[name, *(f"{count:,}" for count in counts)] for name, counts in composition.fifths.items()]
    table = text_table(rows, "l" + "r" * FIFTHS, bars=False)
    if not composition.uneven:
        return table
    return (
        f"{table}\nuneven: {', '.join(composition.uneven)}. The loss may jump where a pass begins; --sampler.kind "
        "interleaved spreads every data set evenly over a pass (union_pk is the paper's)."
    )
