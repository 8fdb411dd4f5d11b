"""`Embedder`: any images -> features for retrieval, as evaluation computes them.

Letters: N images in all, B in a batch, D dimensions of a feature, H x W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from jointreid.config import EvalConfig, ImageConfig, RunConfig
from jointreid.data.decode import resize_image
from jointreid.data.label_space import LabelSpace
from jointreid.extraction.fingerprint import fingerprint
from jointreid.extraction.image_input import (
    BoxForm,
    Channels,
    ImageLike,
    Pixels,
    as_list,
    cut_boxes,
    name_of,
    rgb_pixels,
)
from jointreid.extraction.predictions import Prediction, camera_names, domain_names, predictions
from jointreid.machine.device import pick_device
from jointreid.machine.memory import kept_memory
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.extract import BatchFeatures, evaluating, forward, require_finite
from jointreid.run import Run, open_run

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Embedder:
    """Maps any images to features for retrieval, as evaluation does.

        embed = jointreid.Embedder.load("runs/mine")
        features = embed(["anna.jpg", Image.open("ben.jpg")])           # float32 [2, D], of length 1
        features = embed(cv2.imread("anna.jpg"), channels="bgr")        # [1, D]
        features = embed.boxes(frame, tracker_boxes, form="xyxy")       # [N, D]

    Attributes:
        model: the model, on `device`.
        image: size and normalisation.
        evaluation: batch size, and whether mirrored images take part.
        device: where to compute.
        domains: names of the domain classes of its heads.
        cameras: names of the camera classes of its heads, see `jointreid.extraction.predictions.camera_names`.
        fingerprint: of weights and settings, see `jointreid.extraction.fingerprint`.
    """

    model: ReIDModel
    image: ImageConfig
    evaluation: EvalConfig
    device: torch.device
    domains: tuple[str, ...]
    cameras: tuple[str, ...]
    fingerprint: str

    @classmethod
    def load(
        cls,
        run: Run | str | Path,
        checkpoint: str = "last",
        device: str = "auto",
        *,
        flip: bool = False,
        batch_size: int | None = None,
    ) -> "Embedder":
        """Return the embedder of a run.

        Args:
            run: a run, or its directory.
            checkpoint: last or best.
            device: auto, cpu, cuda or mps.
            flip: average each feature with that of the mirrored image, even if the run's settings do not.
            batch_size: images at a time; None for the run's setting.

        Raises:
            JointreidError: not a run, no such checkpoint, no such device, or a batch size below 1.
        """
        run = run if isinstance(run, Run) else open_run(run)
        settings = {"flip": flip or run.config.eval.flip}
        config = run.config.replace(eval=settings if batch_size is None else {**settings, "batch_size": batch_size})
        return cls.of(run.model(checkpoint), config, run.label_space, device)

    @classmethod
    def of(cls, model: ReIDModel, config: RunConfig, labels: LabelSpace, device: str = "auto") -> "Embedder":
        """Return the embedder of a model in memory.

        Args:
            model: the model, which is moved to `device`.
            config: the settings that it was made with: its network, the size and normalisation of images, evaluation.
            labels: the classes of its heads.
            device: auto, cpu, cuda or mps.

        Raises:
            JointreidError: no such device, or the model has to be told the domain and the camera of each image.
        """
        where = pick_device(device)
        if model.needs_origins:
            raise JointreidError(
                "this model was trained with dcsd.context labels, a control that has to be told the domain and the "
                "camera of each image; evaluate it with `jointreid evaluate`, and take features from another model"
            )
        digest = fingerprint(model, config.image, config.eval, config.model, config.dcsd)
        names = tuple(domain_names(labels)), tuple(camera_names(labels))
        return cls(model.to(where), config.image, config.eval, where, *names, digest)

    @cached_property
    def dims(self) -> int:
        """D, the dimensions of a feature."""
        return self.model.bnneck.num_features

    def __call__(
        self, images: ImageLike | Sequence[ImageLike], *, channels: Channels = "rgb", normalise: bool = True
    ) -> Floats:
        """Return features, of length 1 unless told otherwise, so that their dot product is the cosine similarity.

        Args:
            images: one image or several, each a path; a PIL image of any mode; pixels uint8 [H, W, 3]; or a tensor
                [3, H, W], uint8, or float in [0, 1]. Several of one size may be one array [N, H, W, 3] or one tensor
                [N, 3, H, W].
            channels: the order of colours in arrays and tensors; `bgr` for images that OpenCV read.
            normalise: whether features are scaled to length 1; evaluation's own are not.

        Returns:
            float32 [N, D], in the order of `images`; [0, D] for none.

        Raises:
            JointreidError: an image is unreadable or of another kind, or its feature is not finite; names the image.
        """
        features = self.describe(images, channels=channels).features
        return unit_length(features) if normalise else features

    def boxes(
        self,
        frame: ImageLike,
        boxes: ArrayLike,
        *,
        form: BoxForm = "xywh",
        channels: Channels = "rgb",
        normalise: bool = True,
    ) -> Floats:
        """Return the features of people in one frame.

        Args:
            frame: the frame, as any image of `__call__`.
            boxes: [N, 4] in pixels of the upright frame, integers or floats; they are rounded and cut at its edges.
            form: `xywh` for left, top, width, height; `xyxy` for left, top, right, bottom.
            channels: the order of colours, where `frame` is an array or a tensor.
            normalise: whether features are scaled to length 1.

        Returns:
            float32 [N, D], in the order of `boxes`.

        Raises:
            JointreidError: the frame is unreadable or of another kind, or a box shows none of it.
        """
        cuts = cut_boxes(rgb_pixels(frame, name_of(frame, 0), channels), boxes, form)
        return self(list[ImageLike](cuts), normalise=normalise)

    def describe(self, images: ImageLike | Sequence[ImageLike], *, channels: Channels = "rgb") -> BatchFeatures:
        """Return features that are not scaled [N, D], with the probabilities of domains and cameras.

        Args:
            images: see `__call__`.
            channels: see `__call__`.

        Raises:
            JointreidError: see `__call__`.
        """
        queue = as_list(images)
        size = self.evaluation.batch_size
        if not queue:
            return BatchFeatures(np.empty((0, self.dims), dtype=np.float32), None, None)
        parts = []
        with kept_memory(self.device.type):
            for start in range(0, len(queue), size):
                batch = queue[start : start + size]
                names = [name_of(image, start + i) for i, image in enumerate(batch)]
                pixels = [rgb_pixels(image, name, channels) for image, name in zip(batch, names, strict=True)]
                parts.append(self.forward(np.stack([self.resize(whole) for whole in pixels]), names))
        features, domain, camera = zip(*parts, strict=True)
        return BatchFeatures(
            np.concatenate(features),
            None if domain[0] is None else np.concatenate(domain),
            None if camera[0] is None else np.concatenate(camera),
        )

    def predict(self, described: BatchFeatures) -> list[Prediction]:
        """Return the domain and the camera that the heads see in each of the images of `describe`."""
        return predictions(self.domains, self.cameras, described.domain, described.camera, len(described.features))

    def resize(self, pixels: Pixels) -> Pixels:
        """Return an image [H, W, 3] at the model's size."""
        return resize_image(pixels, self.image.height, self.image.width, self.image.interpolation)

    def forward(self, pixels: Pixels, names: Sequence[str]) -> BatchFeatures:
        """Run the model on a batch of images of its size.

        Args:
            pixels: uint8 [B, H, W, 3], RGB.
            names: what messages call the images.

        Raises:
            JointreidError: a feature is not finite; names the image.
        """
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        with evaluating(self.model):
            described = forward(self.model, batch, self.image, self.evaluation.flip, self.device)
        require_finite(described.features, names)
        return described


def unit_length(features: Floats) -> Floats:
    """Return features [N, D] scaled to length 1; zeros stay zeros."""
    scaled: Floats = nn.functional.normalize(torch.from_numpy(features)).numpy()
    return scaled
