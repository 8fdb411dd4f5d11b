"""Random changes of a batch, drawn for each of its images, on the device the batch is on.

The draws (`draw`) are apart from what they do (`apply`): they come from a CPU generator, so that a seed changes images
the same way on every device, and the deterministic part can be checked image by image.
Letters: B images in a batch, H x W pixels, P pixels of padding.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jointreid.config import ImageConfig
from jointreid.machine.device import sent
from jointreid.messages.errors import JointreidError

# Rectangles tried before an image is left whole, as in torchvision.
ERASE_ATTEMPTS = 10


class AugmentDraws(NamedTuple):
    """Random changes of each image of a batch; all fields are [B].

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


def augment(
    images: Tensor,
    config: ImageConfig,
    generator: torch.Generator,
    part: slice = slice(None),
    batch_size: int | None = None,
) -> Tensor:
    """Flip, shift, normalise and erase at random, independently for every image of the batch.

    Args:
        images: uint8 [B, 3, config.height, config.width], on any device, contiguous or channels_last.
        config: probabilities and ranges.
        generator: where the draws come from, on the CPU; moves on by the same amount whatever the settings are.
        part: which images of a larger batch these are; they change as they would in the whole of it.
        batch_size: images of that batch; B by default.

    Returns:
        float32 [B, 3, H, W], normalised, on the device and in the memory format of `images`.

    Raises:
        JointreidError: the images are not uint8 or not of the configured size.
    """
    draws = draw(config, len(images) if batch_size is None else batch_size, generator)
    return apply(images, AugmentDraws(*(field[part] for field in draws)), config)


def draw(config: ImageConfig, batch: int, generator: torch.Generator) -> AugmentDraws:
    """Draw the changes of a batch.

    The crop is uniform over the (2P+1)^2 places. The erased rectangle has an area uniform in `erase_area` (as a share
    of the image) and a height/width log-uniform or uniform (`erase_ratio_law`) in `erase_ratio`, rounded to pixels; the
    first of ten such shapes that is smaller than the image both ways is placed uniformly, and if there is none nothing
    is erased.

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
    return AugmentDraws(
        flip=flip < config.flip,
        top=(top * (2 * config.pad + 1)).long(),
        left=(left * (2 * config.pad + 1)).long(),
        erase_top=(erase_top * (config.height - height + 1)).long(),
        erase_left=(erase_left * (config.width - width + 1)).long(),
        erase_height=height * erased,
        erase_width=width * erased,
    )


def apply(images: Tensor, draws: AugmentDraws, config: ImageConfig) -> Tensor:
    """Return the images changed as drawn: flip, pad and crop, normalise, erase.

    The fill is 0 after normalising, which is the mean of the data (`erase_fill` "mean"), or the mean's own values.
    On a CPU one compiled pass does what `apply_reference` does, to the last bit.

    Args:
        images: uint8 [B, 3, config.height, config.width].
        draws: the changes of each, on the CPU.
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
    changed = _apply_on_cpu if images.device.type == "cpu" else apply_reference
    return changed(images, draws, config).contiguous(memory_format=_memory_format(images))


def apply_reference(images: Tensor, draws: AugmentDraws, config: ImageConfig) -> Tensor:
    """Do what `apply` does in plain PyTorch, in any memory format: the reference for it, and the code for a GPU."""
    draws = AugmentDraws(*sent(torch.stack([field.long() for field in draws]), images.device))
    cropped = _flip_and_crop(images, draws, config)
    rows = _inside(draws.erase_top, draws.erase_height, config.height)  # [B, H]
    columns = _inside(draws.erase_left, draws.erase_width, config.width)  # [B, W]
    erased = (rows[:, :, None] & columns[:, None, :])[:, None]  # [B, 1, H, W]
    normalised = normalise(cropped, config.mean, config.std)
    return torch.where(erased, _per_channel(_fill(config), normalised), normalised)


def _apply_on_cpu(images: Tensor, draws: AugmentDraws, config: ImageConfig) -> Tensor:
    from jointreid.data.augment_numba import change  # here, because importing numba takes over a second

    intensities = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    normalised = normalise(intensities, config.mean, config.std)[0, :, 0].T.contiguous()  # [256, 3]
    last = images.permute(0, 2, 3, 1).contiguous()
    changed = torch.empty(last.shape, dtype=torch.float32)
    change(
        last.numpy(),
        torch.stack([field.long() for field in draws], dim=1).numpy(),
        config.pad,
        config.pad_mode == "edge",
        normalised.numpy(),
        np.array(_fill(config), dtype=np.float32),
        changed.numpy(),
    )
    return changed.permute(0, 3, 1, 2)


def _flip_and_crop(images: Tensor, draws: AugmentDraws, config: ImageConfig) -> Tensor:
    """Flip, pad and crop back to size: for each pixel of the crop, the one it shows, or zero in the border."""
    height, width = config.height, config.width
    rows = draws.top[:, None] - config.pad + torch.arange(height, device=images.device)  # [B, H]
    columns = draws.left[:, None] - config.pad + torch.arange(width, device=images.device)  # [B, W]
    nearest_row, nearest_column = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    shown = torch.where(draws.flip[:, None] > 0, width - 1 - nearest_column, nearest_column)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    cropped = images[image, :, nearest_row[:, :, None], shown[:, None, :]].permute(0, 3, 1, 2)  # [B, 3, H, W]
    if config.pad_mode == "edge":
        return cropped
    inside = (rows == nearest_row)[:, :, None] & (columns == nearest_column)[:, None, :]  # [B, H, W]
    return cropped * inside[:, None]


def _rectangles(areas: Tensor, ratios: Tensor, config: ImageConfig) -> tuple[Tensor, Tensor]:
    """Return height and width, int64 [B], of the first rectangle that fits; 0 if none does.

    Args:
        areas: uniform in [0, 1), [B, attempts].
        ratios: the same.
        config: size and ranges.
    """
    smallest, largest = config.erase_area
    area = config.height * config.width * (smallest + areas * (largest - smallest))
    if config.erase_ratio_law == "uniform":
        low, high = config.erase_ratio
        ratio = low + ratios * (high - low)
    else:
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
    return sent(torch.tensor(values, dtype=like.dtype), like.device)[:, None, None]  # [3, 1, 1]


def _fill(config: ImageConfig) -> tuple[float, ...]:
    return (0.0, 0.0, 0.0) if config.erase_fill == "mean" else config.mean


def _memory_format(images: Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
