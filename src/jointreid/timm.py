"""Networks of this package in timm: `import jointreid.timm`, then `timm.create_model("jointreid_bot_dcsd", ...)`.

    import jointreid.timm
    import timm

    network = timm.create_model("jointreid_run", run="runs/mine", num_classes=0)   # a trained run: [B, D] features
    network = timm.create_model("jointreid_agw", num_classes=751, trunk="resnet101")

`num_classes=0` gives the features to search with, after BNNeck; otherwise the logits of the classifier. Other arguments
are settings of the network, see `jointreid.models.build_model`. Images have to be normalised as `default_cfg` says.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from jointreid.config import ImageConfig
from jointreid.machine.extras import vision_library
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import SYSTEMS, ModelOutput, ReIDModel, build_model
from jointreid.run import open_run

__all__ = ["TimmNetwork"]  # timm adds the names that it registers

# What timm hands to every entry point, and nothing here needs.
_OF_TIMM = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


class TimmNetwork(nn.Module):
    """A network with the methods that timm's own have.

    Args:
        model: the network.
        num_classes: 0 for features, else the classes of its classifier.
        image: size and normalisation of its images.
    """

    def __init__(self, model: ReIDModel, num_classes: int, image: ImageConfig) -> None:
        super().__init__()
        self.model = model
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = model.bnneck.num_features
        self.default_cfg = self.pretrained_cfg = {
            "input_size": (3, image.height, image.width),
            "interpolation": image.interpolation,
            "mean": image.mean,
            "std": image.std,
            "num_classes": num_classes,
            "crop_pct": 1.0,
        }

    def forward_features(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, H, W] to the feature map [B, D, H', W']."""
        feature_map: Tensor = self.model.feature_map(images)
        return feature_map

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map a feature map to features [B, D], or to logits [B, num_classes]."""
        features: Tensor = self.model.bnneck(self.model.pool(x))
        if pre_logits or not self.num_classes:
            return features
        logits: Tensor = self.model.classifier(features)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, H, W] to features [B, D], or to logits [B, num_classes]."""
        output: ModelOutput = self.model(images)
        return output.id_logits if self.num_classes else output.bn_embedding

    def get_classifier(self) -> nn.Module:
        """Return the classifier."""
        return self.model.classifier if self.num_classes else nn.Identity()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Take another number of classes, with new weights; the pooling of a network cannot be changed.

        Raises:
            JointreidError: another pooling is asked for.
        """
        if global_pool is not None:
            raise JointreidError(f"global_pool is {global_pool!r}; the pooling of this network is part of it")
        self.num_classes = num_classes
        if num_classes:
            self.model.classifier = nn.Linear(self.num_features, num_classes, bias=False)
            nn.init.normal_(self.model.classifier.weight, std=0.01)


def _register() -> None:
    """Register a function for each system, and one for trained runs, with timm."""
    register: Callable[[Callable[..., TimmNetwork]], Any] = vision_library("timm.models").register_model
    for make in (*(_of_system(name) for name in SYSTEMS), jointreid_run):
        globals()[make.__name__] = make
        register(make)


def _of_system(system: str) -> Callable[..., TimmNetwork]:
    """Return the function that makes a system with random weights, as timm calls it."""

    def make(pretrained: bool = False, num_classes: int = 0, **options: Any) -> TimmNetwork:
        if pretrained:
            raise JointreidError(
                f"{make.__name__}: no weights come with it; timm.create_model('jointreid_run', run='runs/mine') makes "
                "the network of a trained run"
            )
        settings = {name: value for name, value in options.items() if name not in _OF_TIMM}
        return TimmNetwork(build_model(system, max(1, num_classes), **settings), num_classes, ImageConfig())

    make.__name__ = make.__qualname__ = f"jointreid_{system.replace('-', '_')}"
    return make


def jointreid_run(
    pretrained: bool = True,
    run: str | Path = "",
    checkpoint: str = "last",
    num_classes: int | None = None,
    **options: Any,
) -> TimmNetwork:
    """Return the network of a trained run, in evaluation mode.

    Args:
        pretrained: without effect: a run always has its weights.
        run: the run directory.
        checkpoint: last or best.
        num_classes: 0 or None for features; another number for a new classifier.
        options: what timm adds; anything else is refused.

    Raises:
        JointreidError: not a run, or an option that a run does not have.
    """
    if other := [name for name in options if name not in _OF_TIMM]:
        raise JointreidError(f"jointreid_run has no option {other[0]}; a run has its settings")
    opened = open_run(run)
    network = TimmNetwork(opened.model(checkpoint), 0, opened.config.image)
    if num_classes:
        network.reset_classifier(num_classes)
    return network.eval()


_register()
