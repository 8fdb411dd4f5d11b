"""The device and the precision that settings name, with an error where this PyTorch does not have the device."""

from typing import TYPE_CHECKING, Literal, cast, get_args

from jointreid.messages.errors import JointreidError, no_such

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
# Names of Lightning Fabric.
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def pick_device(name: str) -> "torch.device":
    """Return the device of that name.

    Args:
        name: cpu, cuda or mps; or auto, for the first of cuda, mps and cpu that PyTorch sees.

    Raises:
        JointreidError: the name is unknown, or this PyTorch does not see such a device.
    """
    import torch

    if name not in get_args(Device):
        raise JointreidError(no_such("device", name, get_args(Device)))
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind in present if present[kind])
    if not present[name]:
        raise JointreidError(
            f"device {name} requested, but this PyTorch sees no {name.upper()} device; use --device cpu"
        )
    return torch.device(name)


def pick_precision(name: str, device: "torch.device") -> Precision:
    """Return the precision of that name; auto is bf16-mixed on GPUs that have it, else 32-true.

    Raises:
        JointreidError: 16-mixed on a CPU, which has no scaler for it.
    """
    import torch

    if name == "16-mixed" and device.type == "cpu":
        raise JointreidError("precision 16-mixed needs a GPU; on a CPU take bf16-mixed or 32-true")
    if name != "auto":
        return cast(Precision, name)
    has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if has_it else "32-true"


def sent(tensor: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """Return a copy of a CPU tensor on a device; a copy to a GPU does not wait for work that is queued there."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
