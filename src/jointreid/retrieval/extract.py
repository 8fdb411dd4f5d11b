"""Features of images: `extract` for the records of a data set, `Embedder` for any images.

Both give the model the same input: resized, normalised, channels_last. Letters: N images in all, B in a batch, D
dimensions of a feature, H x W pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from jointreid.config import CacheMode, EvalConfig, ImageConfig
from jointreid.data.augment import normalise
from jointreid.data.decode import read_image, resize_image, to_rgb
from jointreid.data.images import ImageStore
from jointreid.data.records import ImageRecord
from jointreid.machine.device import pick_device
from jointreid.machine.memory import kept_memory
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ModelOutput, ReIDModel
from jointreid.retrieval.embeddings import Embeddings, Floats
from jointreid.run import Run, open_run

ImageLike = str | Path | Image.Image | NDArray[np.uint8]


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

    Raises:
        JointreidError: no records, an unreadable image, or a feature that is not finite; names the image.
    """
    # Each image is used once, so keeping decoded images in memory would save nothing.
    on_disk = cache_mode == "disk" and cache_dir
    store = ImageStore.build(records, image, cache_dir, workers, "disk" if on_disk else "off")
    parts: list[_Features] = []
    with _evaluating(model), kept_memory(device.type):
        for start in range(0, len(records), evaluation.batch_size):
            stop = min(start + evaluation.batch_size, len(records))
            part = _forward(model, store.take(np.arange(start, stop)), image, evaluation.flip, device)
            _require_finite(part.features, [str(record.path) for record in records[start:stop]])
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


@dataclass(frozen=True, eq=False)
class Embedder:
    """Maps any images to features for retrieval, as evaluation does.

    Attributes:
        model: the model, on `device`.
        image: size and normalisation.
        evaluation: batch size, and whether mirrored images take part.
        device: where to compute.
    """

    model: ReIDModel
    image: ImageConfig
    evaluation: EvalConfig
    device: torch.device

    @classmethod
    def load(cls, run: Run | str | Path, checkpoint: str = "last", device: str = "auto") -> "Embedder":
        """Return the embedder of a run.

        Args:
            run: a run, or its directory.
            checkpoint: last or best.
            device: auto, cpu, cuda or mps.

        Raises:
            JointreidError: not a run, no such checkpoint, or no such device.
        """
        where = pick_device(device)
        run = run if isinstance(run, Run) else open_run(run)
        return cls(run.model(checkpoint).to(where), run.config.image, run.config.eval, where)

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Floats:
        """Return features of length 1, whose dot product is the cosine similarity.

        Args:
            images: one image or several, each a path, a PIL image of any mode, or RGB pixels uint8 [H, W, 3].

        Returns:
            float32 [N, D], in the order of `images`; [0, D] for none.

        Raises:
            JointreidError: an image is unreadable or of another kind, or its feature is not finite; names the image.
        """
        queue = _as_list(images)
        size = self.evaluation.batch_size
        parts = [np.empty((0, self.model.bnneck.num_features), dtype=np.float32)]
        with _evaluating(self.model):
            parts += [self._embed(queue[start : start + size], start) for start in range(0, len(queue), size)]
        return np.concatenate(parts)

    def _embed(self, images: Sequence[ImageLike], first: int) -> Floats:
        names = [
            str(image) if isinstance(image, str | Path) else f"image {first + i}" for i, image in enumerate(images)
        ]
        size = self.image.height, self.image.width, self.image.interpolation
        pixels = [resize_image(_pixels(image, name), *size) for image, name in zip(images, names, strict=True)]
        batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        features = _forward(self.model, batch, self.image, self.evaluation.flip, self.device).features
        _require_finite(features, names)
        return nn.functional.normalize(torch.from_numpy(features)).numpy()


class _Features(NamedTuple):
    """The model's output for a batch: features [B, D], posteriors [B, num_domains] and [B, num_cameras]."""

    features: Floats
    domain: Floats | None
    camera: Floats | None


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Compute without gradients in evaluation mode; every module gets back the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _forward(model: ReIDModel, images: Tensor, image: ImageConfig, flip: bool, device: torch.device) -> _Features:
    """Run the model on uint8 images [B, 3, H, W], and on their mirror images if asked to."""
    upright = normalise(images.to(device), image.mean, image.std)
    views = [upright, upright.flip(-1)] if flip else [upright]
    outputs = [model(view.contiguous(memory_format=torch.channels_last)) for view in views]
    features = torch.stack([output.bn_embedding.float() for output in outputs]).mean(0)
    return _Features(features.cpu().numpy(), _posterior(outputs, "domain"), _posterior(outputs, "camera"))


def _posterior(outputs: Sequence[ModelOutput], factor: Literal["domain", "camera"]) -> Floats | None:
    """Return the softmax of the factor's logits [B, classes], averaged over blocks and views; None without heads."""
    logits = [getattr(block, factor) for output in outputs for block in output.factor_logits]
    softmaxes = [values.float().softmax(dim=1) for values in logits if values is not None]
    if not softmaxes:
        return None
    posterior: Floats = torch.stack(softmaxes).mean(0).cpu().numpy()
    return posterior


def _require_finite(features: Floats, names: Sequence[str]) -> None:
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise JointreidError(
            f"{names[int(finite.argmin())]}: its feature is not finite, one of {int((~finite).sum())} such among the "
            f"{len(names)} of its batch; the weights are damaged: use another checkpoint or train again"
        )


def _as_list(images: ImageLike | Sequence[ImageLike]) -> list[ImageLike]:
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if isinstance(images, np.ndarray):
        return [images] if images.ndim == 3 else list(images)
    return list(images)


def _pixels(image: ImageLike, name: str) -> NDArray[np.uint8]:
    """Return an image's RGB pixels, uint8 [H, W, 3]."""
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        try:
            image = to_rgb(ImageOps.exif_transpose(image))
        except Exception as error:
            # An opened file is decoded only here, where damaged bytes raise nearly anything.
            raise JointreidError(f"{name}: {error}") from error
    if not isinstance(image, np.ndarray):
        raise JointreidError(f"{name}: {type(image).__name__}; expected a path, a PIL image or an array")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise JointreidError(f"{name}: array {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3], RGB")
    return image
