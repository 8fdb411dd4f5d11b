"""Images by their index, decoded and resized once where there is room to keep them, and batches taken out of them.

Resizing is the last step before the random ones, so it needs doing only once; `augment` does the rest on the batch.
Letters: B images in a batch, N in the store, H x W pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jointreid.config import CacheMode, ImageConfig
from jointreid.data.decoding import Pixels, decode_in_order
from jointreid.data.joint import JointTrainSet
from jointreid.data.pixels import Rows, cached_pixels
from jointreid.data.records import ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.messages.progress import OnProgress

Indices = NDArray[np.int64]


class Batch(NamedTuple):
    """A batch of images and labels, as a training step takes it.

    Attributes:
        images: [B, 3, H, W], RGB; uint8 as stored, float32 and normalised once augmented.
        labels: int64 [B].
        global_camids: int64 [B].
        domain_ids: int64 [B].
        id_domains: the domain of every identity that a label may stand for, int64 [num_ids]; None where no loss asks.
        keeps_context: bool [images of this process], False for one whose domain and camera vectors are to be 0; None
            without `dcsd.context_dropout`.
    """

    images: Tensor
    labels: Tensor
    global_camids: Tensor
    domain_ids: Tensor
    id_domains: Tensor | None = None
    keeps_context: Tensor | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device; pinned memory is copied while the host does other things."""
        moved = {
            name: tensor.to(device, non_blocking=tensor.is_pinned())
            for name, tensor in self._asdict().items()
            if tensor is not None
        }
        return Batch(**moved)


@dataclass(frozen=True, eq=False)
class ImageStore:
    """Images of one size, by their index.

    Attributes:
        shape: N, H, W, 3.
        fill: writes the images of indices [B] into uint8 [B, H, W, 3].
    """

    shape: tuple[int, int, int, int]
    fill: Callable[[Indices, Pixels], None]

    @classmethod
    def build(
        cls,
        records: Sequence[ImageRecord],
        image: ImageConfig,
        cache_dir: Path | None,
        threads: int,
        mode: CacheMode = "disk",
        on_progress: OnProgress | None = None,
    ) -> "ImageStore":
        """Return the store of some images; in every mode they have the same pixels.

        Args:
            records: the images, in the order of their indices.
            image: their size and how they are resized.
            cache_dir: folder for decoded images; None for `memory` in place of `disk`.
            threads: threads that decode.
            mode: `disk` maps the file of all images of this size that were ever decoded, after adding those it lacks
                (see `cached_pixels`); `memory` decodes all of them now and holds them, H * W * 3 bytes each, without
                touching the disk; `off` decodes an image each time it is taken.
            on_progress: called with (images decoded, images to decode).

        Raises:
            JointreidError: no records, a source that is missing or unreadable (with `off` only when it is taken), or
                too little room.
        """
        if not records:
            raise JointreidError("there are no images to decode")
        shape = (len(records), image.height, image.width, 3)
        if mode == "off":
            return cls(shape, partial(_decode_into, records, image, threads))
        if mode == "memory" or cache_dir is None:
            pixels, rows = _decoded_in_memory(records, image, threads, on_progress), np.arange(len(records))
        else:
            pixels, rows = cached_pixels(records, image, cache_dir, threads, on_progress)
        return cls(shape, partial(_copy_into, pixels, rows))

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, indices: Indices, pin: bool = False) -> Tensor:
        """Copy images out of the store.

        Args:
            indices: [B].
            pin: whether they go into pinned memory, from which a GPU copies while the host does other things.

        Returns:
            uint8 [B, 3, H, W], in the channels_last memory format.
        """
        images = torch.empty((len(indices), *self.shape[1:]), dtype=torch.uint8, pin_memory=pin)
        self.fill(indices, images.numpy())
        return images.permute(0, 3, 1, 2)


def train_batch(
    store: ImageStore, train_set: JointTrainSet, indices: Indices, pin: bool = False, labelled: Indices | None = None
) -> Batch:
    """Return the batch that a sampler's indices mean, its images uint8 and not yet augmented, on the CPU.

    Args:
        store: the images of `train_set.samples`, in that order.
        train_set: where the labels come from.
        indices: [B].
        pin: whether it is to go to a GPU (see `ImageStore.take`).
        labelled: the images that the labels are of, where other processes have some of them; `indices` by default.
    """
    arrays = (train_set.labels, train_set.global_camids, train_set.domain_ids)
    labels = [torch.from_numpy(array[indices if labelled is None else labelled]) for array in arrays]
    labels.append(torch.tensor(train_set.label_space.id_domains))
    return Batch(store.take(indices, pin), *(tensor.pin_memory() if pin else tensor for tensor in labels))


def _copy_into(pixels: Pixels, rows: Rows, indices: Indices, out: Pixels) -> None:
    # Not numpy's own check of the range, which copies everything twice: `rows` is of the right one.
    np.take(pixels, rows[indices], axis=0, out=out, mode="clip")


def _decode_into(
    records: Sequence[ImageRecord], image: ImageConfig, threads: int, indices: Indices, out: Pixels
) -> None:
    wanted = [records[index] for index in indices]
    for i, pixels in enumerate(decode_in_order(wanted, image, threads, lambda pixels: pixels)):
        out[i] = pixels


def _decoded_in_memory(
    records: Sequence[ImageRecord], image: ImageConfig, threads: int, on_progress: OnProgress | None
) -> Pixels:
    shape = (len(records), image.height, image.width, 3)
    try:
        decoded = np.empty(shape, np.uint8)
    except MemoryError as error:
        raise JointreidError(
            f"the decoded images take {math.prod(shape) / 1e9:.1f} GB of memory, more than is free; choose "
            "--data.cache_mode disk or off"
        ) from error
    for i, pixels in enumerate(decode_in_order(records, image, threads, lambda pixels: pixels)):
        decoded[i] = pixels
        if on_progress is not None:
            on_progress(i + 1, len(records))
    return decoded
