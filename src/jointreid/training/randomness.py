"""The state of the global random generators of a process, as tensors for a checkpoint.

Training itself draws from generators made from the seed and the batch index; the global ones serve custom code and
libraries that draw from them.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Seed the global generators of PyTorch, numpy and Python, so that all draws of a run follow from its seed."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator, which custom code draws from
    random.seed(seed)


@contextmanager
def randomness_of(*numbers: int) -> Iterator[None]:
    """Seed PyTorch's CPU generator, numpy's and Python's by some numbers inside the block.

    After it all three are in the state that they had before.
    """
    python, pytorch = random.getstate(), torch.get_rng_state()
    of_numpy = np.random.get_state()  # noqa: NPY002 - the global generator, which custom code draws from
    sequence = np.random.SeedSequence(numbers)
    first, second = sequence.generate_state(2, np.uint64).tolist()
    random.seed(first)
    torch.default_generator.manual_seed(second)
    np.random.seed(sequence.generate_state(4))  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(pytorch)
        np.random.set_state(of_numpy)  # noqa: NPY002


def random_state() -> dict[str, Tensor]:
    """Return the states of PyTorch's generators (CPU and each CUDA device), numpy's and Python's."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, next_gauss = np.random.get_state()  # noqa: NPY002 - the global generator, which custom code draws from
    state = {
        "cpu": torch.get_rng_state(),
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.tensor([position, has_gauss, *np.asarray(keys).tolist()], dtype=torch.int64),
        "numpy_gauss": torch.tensor([next_gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state |= {f"cuda{index}": drawn for index, drawn in enumerate(torch.cuda.get_rng_state_all())}
    return state


def set_random_state(state: dict[str, Tensor]) -> None:
    """Restore states that `random_state` returned; checkpoints of version 1 hold that of PyTorch's CPU generator only.

    The state of a device that this machine lacks is ignored; a device without a saved state keeps its own.

    Raises:
        ValueError, RuntimeError, TypeError: a state is invalid.
    """
    torch.set_rng_state(state["cpu"])
    if "python" in state:
        version, *words = state["python"].tolist()
        gauss = state["python_gauss"].tolist()
        random.setstate((version, tuple(words), gauss[0] if gauss else None))
    if "numpy" in state:
        position, has_gauss, *keys = state["numpy"].tolist()
        words_of_numpy = np.array(keys, dtype=np.uint32)
        next_gauss = float(state["numpy_gauss"].item())
        np.random.set_state(("MT19937", words_of_numpy, position, has_gauss, next_gauss))  # noqa: NPY002
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if f"cuda{index}" in state:
            torch.cuda.set_rng_state(state[f"cuda{index}"], index)
