"""What a training on classes of images is made of: pictures, network, optimiser, arithmetic.

Letters in shapes: S the side of a picture, in pixels.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from jointreid.config import DcsdConfig
from jointreid.data.decode import read_image
from jointreid.data.imagefolder import LabelledImages, centre_crop, random_crop
from jointreid.models.profile import ImageNetClassifier
from jointreid.models.trunk import build_trunk
from jointreid.training.pretrain_config import PretrainConfig


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as a network sees them, uint8 [3, S, S], with their labels: at random in an epoch, or all alike."""

    def __init__(self, images: LabelledImages, config: PretrainConfig, epoch: int | None) -> None:
        self.images, self.config, self.epoch = images, config, epoch

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = read_image(self.images.paths[index])
        if self.epoch is None:
            square = centre_crop(pixels, self.config.size)
        else:
            generator = np.random.default_rng([self.config.seed, self.epoch, index + 1])
            square = random_crop(pixels, self.config.size, generator)
        return torch.from_numpy(np.ascontiguousarray(square)).permute(2, 0, 1), self.images.labels[index]


def network_of(name: str, num_classes: int) -> nn.Module:
    """Return a trunk by its name, with `-dcsd` for generated convolutions, and a layer for the classes."""
    generated = DcsdConfig(factors=("sample",)) if name.endswith("-dcsd") else None
    network = ImageNetClassifier(build_trunk(name.removesuffix("-dcsd"), generated))
    network.fc = nn.Linear(network.trunk.out_channels, num_classes)
    return network


def optimizer_of(model: nn.Module, config: PretrainConfig) -> torch.optim.SGD:
    """Return SGD that decays matrices and filters alone, as timm's trainer does by default."""
    named = dict(model.named_parameters())
    free = {name for name, parameter in named.items() if parameter.ndim == 1 or name.endswith("norm.std")}
    groups = [
        {"params": [named[name] for name in named if name not in free], "weight_decay": config.weight_decay},
        {"params": [named[name] for name in named if name in free], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=True)
