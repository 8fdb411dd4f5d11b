"""Settings of `jointreid pretrain`: known without loading PyTorch."""

import math
from dataclasses import dataclass
from typing import Literal

from jointreid.config import conform_fields, setting
from jointreid.machine.device import Precision
from jointreid.messages.errors import JointreidError


# One field a line reads better than the formatter's three.
# fmt: off
@dataclass(frozen=True)
class PretrainConfig:
    """Settings of pre-training; the defaults are those of DDF's ImageNet networks."""

    network: Literal[
        "resnet50-dcsd", "resnet50", "resnet101-dcsd", "resnet101", "resnet50-w16-dcsd", "resnet50-w16",
        "mobilenetv2_100-dcsd", "mobilenetv2_100", "efficientnet_lite0-dcsd", "efficientnet_lite0",
        "convnext_tiny-dcsd", "convnext_tiny",
    ] = setting(
        "resnet50-dcsd", "a trunk; with -dcsd every 3x3, or depthwise convolution, is generated from the sample"
    )
    epochs: int = setting(120, "passes over train")
    warmup_epochs: int = setting(
        5, "epochs of linear warm-up from 1/4000 of lr; then a cosine over all epochs, down to 1/40000 of it"
    )
    batch_size: int = setting(256, "images a step, over all devices")
    lr: float = setting(0.4, "learning rate for 1024 images a step, in proportion for others; changes between epochs")
    momentum: float = setting(0.9, "of SGD, by Nesterov")
    weight_decay: float = setting(1e-4, "L2 penalty on weights; none on biases, normalisation and filter spreads")
    label_smoothing: float = setting(0.1, "of the cross-entropy")
    size: int = setting(224, "side of the square that the network sees, in pixels; evaluation resizes to 8/7 of it")
    interpolation: Literal["random", "bilinear", "bicubic"] = setting("random", "of crops in training")
    auto_augment: str = setting(
        "rand-m7-mstd0.5-inc1", "changes of colour and shape, in timm's words, such as 3a; empty for none"
    )
    color_jitter: float = setting(0.4, "of brightness, contrast and saturation; without auto_augment, or with 3a")
    re_prob: float = setting(0.4, "share of images that parts are erased from")
    re_mode: Literal["pixel", "rand", "const"] = setting("pixel", "erased with noise, noise a part, or the mean")
    re_count: int = setting(3, "parts at most")
    seed: int = setting(0, "of weights, order and random changes")
    precision: Literal["auto", Precision] = setting(
        "auto", "arithmetic; auto: bf16-mixed on GPUs that have it, else 32-true"
    )

    def __post_init__(self) -> None:
        conform_fields(self, "")
        rules = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "warmup_epochs": (0 <= self.warmup_epochs < self.epochs, f"0 or more and below the {self.epochs} epochs"),
            "batch_size": (self.batch_size >= 2, "2 or more images"),
            "lr": (0 < self.lr < math.inf, "a positive number"),
            "momentum": (0 < self.momentum < 1, "a share between 0 and 1"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "a share in [0, 1)"),
            "size": (self.size >= 32, "32 or more pixels"),
            "color_jitter": (0 <= self.color_jitter < math.inf, "0 or more"),
            "re_prob": (0 <= self.re_prob <= 1, "a share in [0, 1]"),
            "re_count": (self.re_count >= 1, "1 or more"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        for name, (holds, expected) in rules.items():
            if not holds:
                raise JointreidError(f"{name} is {getattr(self, name)!r}; expected {expected}")
# fmt: on
