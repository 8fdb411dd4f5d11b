"""Where to compute and in which arithmetic: what a setting names, refused plainly where this PyTorch has no such."""

from typing import TYPE_CHECKING, Literal, cast

from jointreid.messages.errors import JointreidError, no_such

if TYPE_CHECKING:
    import torch

# How numbers are kept in a network, in the words of Lightning Fabric.
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


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


def pick_precision(name: str, device: "torch.device") -> Precision:
    """Return the arithmetic of that name; auto is bf16-mixed on GPUs that have it, else 32-true."""
    import torch

    if name != "auto":
        return cast(Precision, name)
    has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if has_it else "32-true"


def sent(tensor: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """Return a CPU tensor on a device, to a GPU without waiting for the work it was given before."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
