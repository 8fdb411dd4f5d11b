"""Settings that make training take seconds, as a config and as options of the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jointreid.config import RunConfig
from jointreid.recipes import apply_recipe

# Images of 32 x 16 pixels and a ResNet-50 of a quarter of the width.
SMALL_SECTIONS: Mapping[str, Mapping[str, Any]] = {
    "image": {"height": 32, "width": 16, "pad": 2},
    "model": {"trunk": "resnet50-w16"},
    "sampler": {"ids_per_batch": 6, "images_per_id": 4},
    "schedule": {"epochs": 2, "milestones": (1,), "warmup_epochs": 1},
    "train": {"device": "cpu", "log_every": 1, "eval_every": 0},
}

# The network and the images of SMALL_SECTIONS.
SMALL_OPTIONS = (
    *("--image.height", "32", "--image.width", "16", "--image.pad", "2"),
    *("--model.trunk", "resnet50-w16", "--device", "cpu"),
)


def small_config(
    recipe: str = "bot", *, manifest: Path | None = None, cache: Path | None = None, **changes: Mapping[str, Any]
) -> RunConfig:
    """Return a recipe with SMALL_SECTIONS, on a manifest.

    Args:
        recipe: such as `bot-dcsd`.
        manifest: the data set, such as `tiny_manifest`.
        cache: folder for decoded images.
        changes: further changes, section by section, as `RunConfig.replace` takes them.
    """
    config = apply_recipe(recipe).replace(**SMALL_SECTIONS)
    if manifest is not None:
        config = config.replace(data={"sources": (str(manifest),)})
    if cache is not None:
        config = config.replace(data={"cache": str(cache)})
    return config.replace(**changes)
