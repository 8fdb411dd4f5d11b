"""What stands beside the plain network in a `ReIDModel`, told from the names of its modules and parameters.

What loads plain weights, sets learning rates and studies single parts asks here, so that all mean the same parts.
"""

from collections.abc import Mapping
from typing import Literal

# generators: both branches of a DCSD and its gain; entry: the layer by which one context for all blocks enters each of
# them; norm: the batch normalisation by domain of `dcsd.inject norm`; context: what tells the domain and the camera.
Beside = Literal["generators", "entry", "norm", "context"]

# Names inside the spatial convolution of a block.
_IN_BLOCK: Mapping[str, Beside] = {
    "channel_branch": "generators",
    "spatial_branch": "generators",
    "gain": "generators",
    "projection": "entry",
    "domain_norm": "norm",
    "domain": "context",
    "camera": "context",
}


def beside(name: str) -> Beside | None:
    """Return what a module, parameter or buffer is beside the plain network; None for a part of that network itself.

    >>> [beside(f"trunk.layer1.0.conv2.{name}") for name in ("gain", "projection.weight", "camera.fc1.weight")]
    ['generators', 'entry', 'context']
    >>> beside("context.hidden.weight"), beside("trunk.layer1.0.conv2.weight")
    ('context', None)

    Args:
        name: its full name in the model, such as `trunk.layer1.0.conv2.channel_branch.fc1.weight`.
    """
    first, *words = name.split(".")
    if first != "trunk":
        return "context" if first == "context" else None
    return next((_IN_BLOCK[word] for word in words if word in _IN_BLOCK), None)
