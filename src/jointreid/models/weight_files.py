"""Files of weights, read without executing anything in them."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointreid.machine.reading import load_tensors
from jointreid.messages.errors import JointreidError

_PICKLED = re.compile(r"\.(pth(\.tar(-\w+)?)?|pt)$")  # torchreid adds the epoch: model.pth.tar-60


def read_weights(path: Path, under: Sequence[str] = ("state_dict",)) -> dict[str, Tensor]:
    """Read a file of weights without executing anything in it.

    A leading `module.` is removed from the names.

    Args:
        path: the file.
        under: the keys below which a checkpoint may have its tensors; the first that is there is read.

    Raises:
        JointreidError: it is missing, damaged, of another format, or contains something other than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            found: Any = load_tensors(path)
        elif _PICKLED.search(path.name):
            with torch.serialization.safe_globals(_plain_values()):
                found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise JointreidError(f"{path}: expected a .safetensors, .pth or .pth.tar file")
    except JointreidError:
        raise
    except Exception as error:  # unpickling damaged bytes raises nearly anything
        foreign = re.search(r"GLOBAL (\S+)", str(error))  # PyTorch's message about code that a pickle asks for
        cause = f"it asks for {foreign[1]}" if foreign else str(error).partition("\n")[0] or type(error).__name__
        raise JointreidError(
            f"{path}: not readable as weights alone ({cause}). Nothing in it was executed. If you trust its author, "
            "save its state_dict as .safetensors where it was made, and give that"
        ) from error
    if isinstance(found, Mapping):
        found = next((found[key] for key in under if isinstance(found.get(key), Mapping)), found)
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        places = " or ".join(under)
        raise JointreidError(f"{path}: expected tensors by name, or a checkpoint with them under {places}")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def _plain_values() -> list[Any]:
    """Return what checkpoints hold beside tensors and executes nothing: options of timm, numbers of NumPy."""
    scalar: Any = np.float64(0).__reduce__()[0]  # makes a number of NumPy from its bytes
    kinds = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [argparse.Namespace, np.dtype, *kinds, *((scalar, name) for name in names)]
