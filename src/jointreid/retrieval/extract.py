"""Features of the records of a data set, as evaluation computes them.

The model's input is resized, normalised and channels_last. Letters: N images in all, B in a batch, D dimensions of a
feature, H x W pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jointreid.config import CacheMode, EvalConfig, ImageConfig
from jointreid.data.augment import normalise
from jointreid.data.images import ImageStore
from jointreid.data.records import ImageRecord
from jointreid.machine.memory import kept_memory
from jointreid.messages.errors import JointreidError
from jointreid.models.context import Origins
from jointreid.models.reid import ModelOutput, ReIDModel
from jointreid.retrieval.embeddings import Embeddings, Floats

Indices = NDArray[np.int64]


def extract(
    model: ReIDModel,
    records: Sequence[ImageRecord],
    image: ImageConfig,
    evaluation: EvalConfig,
    *,
    device: torch.device,
    cache_dir: Path | None,
    workers: int,
    cache_mode: CacheMode = "disk",
    on_batch: Callable[[int, int], None] | None = None,
    origins: Indices | None = None,
) -> Embeddings:
    """Return the features of records, in their order.

    A feature is the model's `bn_embedding`; with `evaluation.flip`, its mean with that of the mirrored image. A
    posterior is the softmax of a block's domain or camera logits, averaged over the blocks (and over both images).

    Args:
        model: a model on `device`; it computes in evaluation mode, and returns to the mode it had.
        records: the images.
        image: their size and normalisation.
        evaluation: batch size, and whether mirrored images take part.
        device: where `model` is.
        cache_dir: folder for decoded images; None decodes them each time.
        workers: threads that decode.
        cache_mode: whether that folder is used (`disk`), as in training.
        on_batch: called with (images done, images in all) after each batch.
        origins: [N, 2], the domain id and the global camera id of each image, for a model that `needs_origins`.

    Raises:
        JointreidError: no records, an unreadable image, or a feature that is not finite; names the image.
    """
    # Each image is used once, so keeping decoded images in memory would save nothing.
    on_disk = cache_mode == "disk" and cache_dir
    store = ImageStore.build(records, image, cache_dir, workers, "disk" if on_disk else "off")
    parts: list[BatchFeatures] = []
    with evaluating(model), kept_memory(device.type):
        for start in range(0, len(records), evaluation.batch_size):
            stop = min(start + evaluation.batch_size, len(records))
            images = store.take(np.arange(start, stop))
            own = None if origins is None else origins[start:stop]
            part = forward(model, images, image, evaluation.flip, device, own)
            require_finite(part.features, [str(record.path) for record in records[start:stop]])
            parts.append(part)
            if on_batch is not None:
                on_batch(stop, len(records))
    features, domain, camera = zip(*parts, strict=True)
    return Embeddings.of(
        records,
        np.concatenate(features),
        None if domain[0] is None else np.concatenate(domain),
        None if camera[0] is None else np.concatenate(camera),
    )


class BatchFeatures(NamedTuple):
    """The model's output for a batch: features [B, D], posteriors [B, num_domains] and [B, num_cameras]."""

    features: Floats
    domain: Floats | None
    camera: Floats | None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Compute without gradients in evaluation mode; every module gets back the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def forward(
    model: ReIDModel,
    images: Tensor,
    image: ImageConfig,
    flip: bool,
    device: torch.device,
    origins: Indices | None = None,
) -> BatchFeatures:
    """Run the model on uint8 images [B, 3, H, W], and on their mirror images if asked to; `origins` as in `extract`."""
    told = () if origins is None else (Origins(*torch.from_numpy(origins).to(device).unbind(1)),)
    upright = normalise(images.to(device), image.mean, image.std)
    views = [upright, upright.flip(-1)] if flip else [upright]
    outputs = [model(view.contiguous(memory_format=torch.channels_last), *told) for view in views]
    features = torch.stack([output.bn_embedding.float() for output in outputs]).mean(0)
    return BatchFeatures(features.cpu().numpy(), _posterior(outputs, "domain"), _posterior(outputs, "camera"))


def _posterior(outputs: Sequence[ModelOutput], factor: Literal["domain", "camera"]) -> Floats | None:
    """Return the softmax of the factor's logits [B, classes], averaged over blocks and views; None without heads."""
    logits = [getattr(block, factor) for output in outputs for block in output.factor_logits]
    softmaxes = [values.float().softmax(dim=1) for values in logits if values is not None]
    if not softmaxes:
        return None
    posterior: Floats = torch.stack(softmaxes).mean(0).cpu().numpy()
    return posterior


def require_finite(features: Floats, names: Sequence[str]) -> None:
    """Raise JointreidError if a feature [B, D] is not finite; names its image and how many such the batch has."""
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise JointreidError(
            f"{names[int(finite.argmin())]}: its feature is not finite, one of {int((~finite).sum())} such among the "
            f"{len(names)} of its batch; the weights are damaged: use another checkpoint or train again"
        )
