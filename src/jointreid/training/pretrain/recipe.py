"""The recipe of pre-training: augmented images, network, optimiser and schedule.

Augmentation, optimiser and schedule are timm's, with the values of DDF's trainer, which uses them too. Letters in
shapes: S the side of an image, in pixels.
"""

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import Dataset

from jointreid.config import DcsdConfig, ImageConfig
from jointreid.data.decode import read_image
from jointreid.machine.extras import vision_library
from jointreid.messages.errors import JointreidError
from jointreid.models.families import build_trunk
from jointreid.models.profile import ImageNetClassifier
from jointreid.training.pretrain.config import PretrainConfig
from jointreid.training.pretrain.imagefolder import LabelledImages
from jointreid.training.randomness import randomness_of

# DDF's training starts with learning rate 1e-4 and ends with 1e-5, here as shares of its peak, 0.4.
WARMUP_SHARE = 1 / 4000
LAST_SHARE = 1 / 40000


class AugmentedImages(Dataset[tuple[Tensor, int]]):
    """Images as the network sees them, float32 [3, S, S], normalised, with their labels.

    In an epoch of training they are augmented at random; the changes follow from the seed, the epoch and the image
    alone. Without an epoch they are as evaluation sees them.
    """

    def __init__(self, images: LabelledImages, config: PretrainConfig, epoch: int | None) -> None:
        self.images, self.seed, self.epoch = images, config.seed, epoch
        self.transform = transform_of(config, training=epoch is not None)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = Image.fromarray(read_image(self.images.paths[index])), self.images.labels[index]
        if self.epoch is None:
            return self.transform(image), label
        with randomness_of(self.seed, self.epoch, index + 1):
            return self.transform(image), label


def transform_of(config: PretrainConfig, *, training: bool) -> Callable[[Image.Image], Tensor]:
    """Return timm's transform of an image: the augmentation of DDF's trainer, or that of its evaluation.

    Raises:
        JointreidError: timm does not accept `auto_augment`.
    """
    options: dict[str, Any] = {"interpolation": "bicubic"}
    if training:
        options = {
            "is_training": True,
            "interpolation": config.interpolation,
            "auto_augment": config.auto_augment or None,
            "color_jitter": config.color_jitter,
            "re_prob": config.re_prob,
            "re_mode": config.re_mode,
            "re_count": config.re_count,
        }
    create, statistics = vision_library("timm.data").create_transform, ImageConfig()
    try:
        transform: Callable[[Image.Image], Tensor]
        transform = create(config.size, mean=statistics.mean, std=statistics.std, **options)
    except (AssertionError, KeyError, ValueError) as error:
        raise JointreidError(
            f"auto_augment is {config.auto_augment!r}; expected a policy of timm, such as rand-m7-mstd0.5-inc1, "
            "original, 3a, or nothing"
        ) from error
    return transform


def network_of(name: str, num_classes: int) -> nn.Module:
    """Return a trunk by its name, with `-dcsd` for generated convolutions, and a layer for the classes."""
    generated = DcsdConfig(factors=("sample",)) if name.endswith("-dcsd") else None
    network = ImageNetClassifier(build_trunk(name.removesuffix("-dcsd"), generated))
    network.fc = nn.Linear(network.trunk.out_channels, num_classes)
    return network


def optimizer_of(model: nn.Module, config: PretrainConfig) -> optim.Optimizer:
    """Return timm's SGD with Nesterov momentum, which decays matrices and filters only."""
    timm = vision_library("timm.optim")
    spreads = [name for name, _ in model.named_parameters() if name.endswith("norm.std")]  # vectors in DDF
    groups = timm.param_groups_weight_decay(model, config.weight_decay, no_weight_decay_list=spreads)
    optimizer: optim.Optimizer = timm.create_optimizer_v2(groups, "sgd", lr=_peak(config), momentum=config.momentum)
    return optimizer


def schedule_of(optimizer: optim.Optimizer, config: PretrainConfig) -> Any:
    """Return timm's cosine, whose `step(epoch)` sets the learning rate of an epoch, counted from 0; it keeps no state.

    With P the peak, W the epochs of warm-up, E all, and a and b the shares above, the learning rate in epoch e is
    P(a + (1 - a) e / W) where e < W, and P(b + (1 - b)(1 + cos(pi e / E)) / 2) from there on.
    """
    return vision_library("timm.scheduler").CosineLRScheduler(
        optimizer,
        t_initial=config.epochs,
        lr_min=_peak(config) * LAST_SHARE,
        warmup_t=config.warmup_epochs,
        warmup_lr_init=_peak(config) * WARMUP_SHARE,
    )


def _peak(config: PretrainConfig) -> float:
    return config.lr * config.batch_size / 1024
