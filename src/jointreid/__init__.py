"""Train one re-identification model on many data sets at once, and measure and reduce the domain conflict.

    import jointreid

    run = jointreid.train(jointreid.RunConfig(...))   # the same as `jointreid train`
    embed = jointreid.Embedder.load(run)              # embed(images) -> float32 [N, D]

The names below are loaded when they are first used, so that importing the package takes no time and no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jointreid.config import RunConfig
    from jointreid.custom import trust
    from jointreid.extraction.embedder import Embedder
    from jointreid.training.train import train

    __version__: str

__all__ = ["Embedder", "RunConfig", "__version__", "train", "trust"]

_HOMES = {
    "Embedder": "jointreid.extraction.embedder",
    "RunConfig": "jointreid.config",
    "train": "jointreid.training.train",
    "trust": "jointreid.custom",
}


def __getattr__(name: str) -> object:
    """Load a name of `__all__` on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("jointreid")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'jointreid' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))
