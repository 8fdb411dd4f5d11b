"""Random changes of a batch, drawn for each of its images, on the device the batch is on.

The draws (`draw`) are apart from what they do (`apply`): they come from a CPU generator, so that a seed changes images
the same way on every device, and the deterministic part can be checked image by image.
Letters: B images in a batch, H x W pixels, P pixels of padding.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from jointreid.config import ImageConfig
from jointreid.errors import JointreidError

# Rectangles tried before an image is left whole, as in torchvision.
ERASE_ATTEMPTS = 10


class Draws(NamedTuple):
    """What happens to each image of a batch; all fields are [B].

    Attributes:
        flip: bool, whether left and right are swapped.
        top: int64 in [0, 2P], first row of the crop in the padded image.
        left: int64 in [0, 2P], first column of the crop in the padded image.
        erase_top: int64, first erased row of the crop.
        erase_left: int64, first erased column of the crop.
        erase_height: int64, erased rows; 0 erases nothing.
        erase_width: int64, erased columns.
    """

    flip: Tensor
    top: Tensor
    left: Tensor
    erase_top: Tensor
    erase_left: Tensor
    erase_height: Tensor
    erase_width: Tensor


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (images / 255 - mean) / std.

    Args:
        images: uint8 [B, 3, H, W].
        mean: per channel, of intensities in [0, 1].
        std: per channel, of intensities in [0, 1].

    Returns:
        float32 [B, 3, H, W], in the memory format of `images`.
    """
    scaled = images.to(torch.float32).div_(255)
    return scaled.sub_(_per_channel(mean, scaled)).div_(_per_channel(std, scaled))


def augment(images: Tensor, config: ImageConfig, generator: torch.Generator) -> Tensor:
    """Flip, shift, normalise and erase at random, independently for every image of the batch.

    Args:
        images: uint8 [B, 3, config.height, config.width], on any device, contiguous or channels_last.
        config: probabilities and ranges.
        generator: where the draws come from, on the CPU; moves on by the same amount whatever the settings are.

    Returns:
        float32 [B, 3, H, W], normalised, on the device and in the memory format of `images`.

    Raises:
        JointreidError: the images are not uint8 or not of the configured size.
    """
    return apply(images, draw(config, len(images), generator), config)


def draw(config: ImageConfig, batch: int, generator: torch.Generator) -> Draws:
    """Draw the changes of a batch.

    The crop is uniform over the (2P+1)^2 places. The erased rectangle has an area uniform in `erase_area` (as a share
    of the image) and a height/width log-uniform in `erase_ratio`, rounded to pixels; the first of ten such shapes
    that is smaller than the image both ways is placed uniformly, and if there is none nothing is erased.

    Args:
        config: probabilities and ranges.
        batch: B.
        generator: on the CPU.
    """
    # One row of uniform numbers an image, in double precision: floor(u * n) is then uniform over 0..n-1 and never n.
    uniform = torch.rand(batch, 6 + 2 * ERASE_ATTEMPTS, dtype=torch.float64, generator=generator)
    flip, top, left, erase, erase_top, erase_left = uniform[:, :6].unbind(1)
    areas, ratios = uniform[:, 6:].chunk(2, dim=1)
    height, width = _rectangles(areas, ratios, config)
    erased = erase < config.erase
    return Draws(
        flip=flip < config.flip,
        top=(top * (2 * config.pad + 1)).long(),
        left=(left * (2 * config.pad + 1)).long(),
        erase_top=(erase_top * (config.height - height + 1)).long(),
        erase_left=(erase_left * (config.width - width + 1)).long(),
        erase_height=height * erased,
        erase_width=width * erased,
    )


def apply(images: Tensor, draws: Draws, config: ImageConfig) -> Tensor:
    """Return the images changed as drawn: flip, pad and crop, normalise, erase.

    The fill is 0 after normalising, which is the mean of the data (`erase_fill` "mean"), or the mean's own values.

    Args:
        images: uint8 [B, 3, config.height, config.width].
        draws: what happens to each.
        config: padding, normalisation and fill.

    Returns:
        float32 [B, 3, H, W], in the memory format of `images`.

    Raises:
        JointreidError: the images are not uint8 or not of the configured size.
    """
    if images.dtype != torch.uint8 or images.shape[1:] != (3, config.height, config.width):
        raise JointreidError(
            f"images are {images.dtype} {tuple(images.shape)}; expected torch.uint8 [B, 3, {config.height}, "
            f"{config.width}] (image.height, image.width)"
        )
    draws = Draws(*(field.to(images.device) for field in draws))
    normalised = normalise(_flip_and_crop(images, draws, config), config.mean, config.std)
    rows = _inside(draws.erase_top, draws.erase_height, config.height)  # [B, H]
    columns = _inside(draws.erase_left, draws.erase_width, config.width)  # [B, W]
    erased = (rows[:, :, None] & columns[:, None, :])[:, None]  # [B, 1, H, W]
    fill = (0.0, 0.0, 0.0) if config.erase_fill == "mean" else config.mean
    return torch.where(erased, _per_channel(fill, normalised), normalised)


def _flip_and_crop(images: Tensor, draws: Draws, config: ImageConfig) -> Tensor:
    """Flip, pad and crop back to size: every crop is a view, of which each image picks one."""
    batch, _, height, width = images.shape
    padded = _pad(images, config.pad, config.pad_mode)
    both = torch.cat((padded, padded.flip(-1)))  # [2B, 3, H+2P, W+2P]
    crops = both.unfold(2, height, 1).unfold(3, width, 1)  # [2B, 3, 2P+1, 2P+1, H, W]
    chosen = torch.arange(batch, device=images.device) + batch * draws.flip
    cropped = crops[chosen, :, draws.top, draws.left]  # [B, 3, H, W]
    # Indexing keeps the memory format on the CPU today, but nothing promises it.
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return cropped.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _pad(images: Tensor, pad: int, mode: Literal["zeros", "edge"]) -> Tensor:
    """Return [B, 3, H+2P, W+2P]; the border holds zeros, or the image's nearest pixel."""
    if mode == "zeros":
        return torch.nn.functional.pad(images, (pad, pad, pad, pad))
    for dim in (2, 3):  # by index, because replication padding has no kernel for uint8
        size = images.shape[dim]
        nearest = torch.arange(-pad, size + pad, device=images.device).clamp(0, size - 1)
        images = images.index_select(dim, nearest)
    return images


def _rectangles(areas: Tensor, ratios: Tensor, config: ImageConfig) -> tuple[Tensor, Tensor]:
    """Return height and width, int64 [B], of the first rectangle that fits; 0 if none does.

    Args:
        areas: uniform in [0, 1), [B, attempts].
        ratios: the same.
        config: size and ranges.
    """
    smallest, largest = config.erase_area
    area = config.height * config.width * (smallest + areas * (largest - smallest))
    low, high = map(math.log, config.erase_ratio)
    ratio = torch.exp(low + ratios * (high - low))
    height, width = torch.sqrt(area * ratio).round().long(), torch.sqrt(area / ratio).round().long()
    fits = (height < config.height) & (width < config.width)
    first = fits.int().argmax(dim=1, keepdim=True)  # the first of the largest; 0 where none fits
    found = fits.gather(1, first)
    return (height.gather(1, first) * found)[:, 0], (width.gather(1, first) * found)[:, 0]


def _inside(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Return which of 0..size-1 lie in [start, start + length), bool [B, size]."""
    position = torch.arange(size, device=start.device)
    return (position >= start[:, None]) & (position < (start + length)[:, None])


def _per_channel(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]  # [3, 1, 1]
