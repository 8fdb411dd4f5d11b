"""The state of every generator of random numbers that a process shares, as tensors for a checkpoint.

Training itself draws from generators made of the seed and the step; these serve layers and losses of a person's own,
and libraries that draw from what is shared.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Seed PyTorch's generators, numpy's and Python's: a run then follows from its seed, whatever draws from them."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - what others draw from
    random.seed(seed)


@contextmanager
def randomness_of(*numbers: int) -> Iterator[None]:
    """Let what draws from PyTorch's CPU generator, numpy's or Python's draw what follows from `numbers` alone.

    Afterwards all three go on as if nothing had been drawn.
    """
    python, pytorch = random.getstate(), torch.get_rng_state()
    of_numpy = np.random.get_state()  # noqa: NPY002 - what others draw from
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
    _, keys, position, has_gauss, next_gauss = np.random.get_state()  # noqa: NPY002 - what others draw from
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
    """Take up states that `random_state` returned, as far as they are there: version 1 kept PyTorch's on the CPU alone.

    A device that the machine lacks is passed over; one without a state here goes on with its own.

    Raises:
        ValueError, RuntimeError, TypeError: a state is none.
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
