"""Where to compute: the device that a setting names, refused plainly where this PyTorch has none."""

from typing import TYPE_CHECKING

from jointreid.errors import JointreidError, no_such

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> "torch.device":
    """Return the device of that name.

    Args:
        name: cpu, cuda or mps, or auto for the first of cuda, mps and cpu that there is.

    Raises:
        JointreidError: an unknown name, or a device that this PyTorch does not see.
    """
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind in present if present[kind])
    if name not in present:
        raise JointreidError(no_such("device", name, ["auto", *present]))
    if not present[name]:
        raise JointreidError(
            f"device {name} asked for, but this PyTorch sees no {name.upper()} device; use --device cpu"
        )
    return torch.device(name)
