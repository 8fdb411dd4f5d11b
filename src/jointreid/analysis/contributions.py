"""Why two images are alike: what each position of their feature maps adds to the cosine similarity of their features.

The feature of an image is f = s * pool(x) + t: BNNeck in evaluation scales and moves each channel of the pooled map x
[D, H, W]. Pooling is written as a sum of parts of the P = H W positions p, so that f = sum_p v(p) with

    v(p) = s * part(p) + t / P,    part(p) = x(p) / P                              (average)
                                   part(p) = pool(x) * x(p)^g / sum_q x(q)^g       (GeM with power g)

The part of GeM is x(p) times the derivative of the pooled value by it, whose sum is the value itself; at g = 1 it is
that of the average. With a feature averaged over the image and its mirror image, v is the mean of both, mirrored back.
Then

    cos(a, b) = sum_p c(p),    c(p) = v_a(p) . b / (|a| |b|)

is exact, and c(p) is the contribution of position p of the first image; the second has its own, with the same sum.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jointreid.config import ImageConfig
from jointreid.data.augment import normalise
from jointreid.messages.errors import JointreidError
from jointreid.models.agw import GeM
from jointreid.models.context import Origins
from jointreid.models.pooling import global_average_pool
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.extract import evaluating

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairContributions:
    """What the positions of two images add to their similarity.

    Attributes:
        similarity: the cosine similarity of the two features, in [-1, 1].
        first: [H, W] of the first image, whose sum is the similarity.
        second: [H, W] of the second image, with the same sum.
    """

    similarity: float
    first: Doubles
    second: Doubles

    @property
    def strongest(self) -> float:
        """The largest absolute contribution, for one scale of both images."""
        return float(max(np.abs(self.first).max(), np.abs(self.second).max()))


def position_features(
    model: ReIDModel,
    images: Tensor,
    image: ImageConfig,
    *,
    flip: bool = False,
    device: torch.device,
    origins: NDArray[np.int64] | None = None,
) -> Doubles:
    """Return v [B, D, H, W] in float64; its sum over H and W is the `bn_embedding` that evaluation uses.

    Args:
        model: on `device`.
        images: uint8 [B, 3, height, width].
        image: normalisation of the run.
        flip: whether features are averaged with those of the mirrored image.
        device: where to compute.
        origins: [B, 2], domain id and global camera id, for a model that `needs_origins`.

    Raises:
        JointreidError: the model pools neither by the average nor by GeM.
    """
    told = None if origins is None else Origins(*torch.from_numpy(origins).to(device).unbind(1))
    upright = normalise(images.to(device), image.mean, image.std)
    with evaluating(model):
        found = _parts(model, upright, told)
        if flip:
            found = (found + _parts(model, upright.flip(-1), told).flip(-1)) / 2
        parts: Doubles = found.cpu().numpy()
    return parts


def pair_contributions(first: Doubles, second: Doubles) -> PairContributions:
    """Return the contributions to the cosine similarity of two images, given v [D, H, W] of each.

    Two channels and two positions each: a = (3, 4), b = (1, 0), and a.b / (|a| |b|) = 3 / 5.

    >>> first = np.array([[[1.0, 2.0]], [[4.0, 0.0]]])
    >>> second = np.array([[[0.5, 0.5]], [[1.0, -1.0]]])
    >>> found = pair_contributions(first, second)
    >>> found.similarity, found.first.tolist(), found.second.round(3).tolist()
    (0.6, [[0.2, 0.4]], [[1.1, -0.5]])

    Raises:
        JointreidError: a feature is all zeros, so that it has no direction.
    """
    a, b = first.sum(axis=(1, 2)), second.sum(axis=(1, 2))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not lengths > 0:
        raise JointreidError(
            "the feature of an image is all zeros, so its similarity is undefined; train the run first"
        )
    return PairContributions(
        float(a @ b) / lengths, np.tensordot(b, first, axes=1) / lengths, np.tensordot(a, second, axes=1) / lengths
    )


def _parts(model: ReIDModel, images: Tensor, origins: Origins | None) -> Tensor:
    """Return v [B, D, H, W] of normalised images."""
    told = () if origins is None else (origins,)
    x = model.feature_map(images.contiguous(memory_format=torch.channels_last), *told).double()
    norm = model.bnneck
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise JointreidError("the model's BNNeck holds no running mean and variance, so it cannot be taken apart")
    scale = norm.weight.double() / (variance.double() + norm.eps).sqrt()
    shift = norm.bias.double() - mean.double() * scale
    return pooled_parts(model.pool, x) * scale[:, None, None] + shift[:, None, None] / x[0, 0].numel()


def pooled_parts(pool: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the parts of a pooled map x, both [B, D, H, W]; their sum over positions is `pool(x)`.

    Raises:
        JointreidError: `pool` is neither the average nor GeM.
    """
    if pool is global_average_pool:
        return x / x[0, 0].numel()
    if isinstance(pool, GeM):
        powers = x.clamp(min=pool.eps).pow(pool.p)
        pooled: Tensor = pool(x)
        return pooled[:, :, None, None] * (powers / powers.sum(dim=(2, 3), keepdim=True))
    raise JointreidError(f"the model pools by {pool}; only the average and GeM can be split over positions")
