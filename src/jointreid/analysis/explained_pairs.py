"""Pairs of images with what makes them alike, as numbers and as pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jointreid.analysis.contributions import PairContributions, pair_contributions, position_features
from jointreid.analysis.overlays import jpeg, overlay
from jointreid.config import RunConfig
from jointreid.data.images import ImageStore
from jointreid.data.records import ImageRecord
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.extract import Indices

# Images in a batch: their feature maps are held in float64.
_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class ExplainedPair:
    """Two images and what makes them alike.

    Attributes:
        contributions: of their positions.
        first: the first image with its contributions over it, a JPEG file.
        second: the second image.
    """

    contributions: PairContributions
    first: bytes
    second: bytes


def explain_pairs(
    model: ReIDModel,
    pairs: Sequence[tuple[ImageRecord, ImageRecord]],
    config: RunConfig,
    *,
    device: torch.device,
    origins: Indices | None = None,
) -> Iterator[ExplainedPair]:
    """Yield the contributions and pictures of pairs of images, as the network sees them.

    Args:
        model: on `device`.
        pairs: the images.
        config: settings of the run, with `eval.flip` as features are computed.
        device: where to compute.
        origins: [2 N, 2], domain id and global camera id of the images of all pairs in turn, for a model that
            `needs_origins`.

    Raises:
        JointreidError: an image is unreadable, or the model's pooling cannot be split over positions.
    """
    records = [record for pair in pairs for record in pair]
    if not records:
        return
    store = ImageStore.build(records, config.image, None, config.train.workers, "off")
    at_once = min(max(2, config.eval.batch_size // 2 * 2), _AT_ONCE)
    for start in range(0, len(records), at_once):
        indices = np.arange(start, min(start + at_once, len(records)))
        own = None if origins is None else origins[indices]
        images = store.take(indices)
        parts = position_features(model, images, config.image, flip=config.eval.flip, device=device, origins=own)
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        for first in range(0, len(indices), 2):
            found = pair_contributions(parts[first], parts[first + 1])
            maps = (found.first, found.second)
            strongest = found.strongest or 1.0
            shown = [jpeg(overlay(pixels[first + i], maps[i], strongest)) for i in range(2)]
            yield ExplainedPair(found, *shown)
