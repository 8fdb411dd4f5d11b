"""Compiling, caching and starting the CPU kernels: numba's options, its cache and its threads."""

import math
import threading
import types
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import njit
from numba.np.ufunc import threading_layer

Array = npt.NDArray[Any]

# Reassociation is what lets a sum over channels use SIMD lanes. "nnan" and "ninf" are left out on purpose: a diverged
# network must give NaN here as it does in PyTorch. (numba's cache looks at the file of a loop, not at its options,
# nor at what it calls in another file: after a change of either, delete `__pycache__`.)
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}

# Loops whose pieces need partial sums are split into at least this many: enough for the cores of a workstation.
_PIECES = 32

WORKQUEUE_LOCK = threading.Lock()


def launch_guard() -> AbstractContextManager[Any]:
    """Return a lock if numba found neither OpenMP nor TBB: its own work queue aborts on concurrent calls."""
    return WORKQUEUE_LOCK if threading_layer() == "workqueue" else nullcontext()


def cached(dispatcher: Any) -> Any:
    """Keep compiled code on disk: beside the file of the loop, or in the user's cache directory if it is read-only."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return dispatcher  # the plain function
    try:
        dispatcher.enable_caching()
    except RuntimeError:
        warnings.warn(
            "Found no writable directory for compiled kernels: every process compiles them again, which takes seconds. "
            "Set NUMBA_CACHE_DIR to a writable directory.",
            RuntimeWarning,
            stacklevel=1,  # one place, so one warning for all kernels
        )
    return dispatcher


def inlined(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a part of a loop, inlined by force: a call would count references to every array slice passed to it.

    Args:
        function: the part.
        options: changes to `OPTIONS`, which hold for what is written in `function` and not for its caller.
    """
    return njit(forceinline=True, **OPTIONS | options)(function)


def count_bands(owners: int, length: int) -> int:
    """Number of partial sums for each of `owners` results of `length` terms: by the shapes alone, 32 or more in all."""
    return max(1, min(length, math.ceil(_PIECES / max(owners, 1))))


class Kernel:
    """A loop compiled on first use, once for one thread and once for several (`prange`).

    One thread has a separate build, because a process forked after OpenMP started may not enter OpenMP again.

    Args:
        loop: the loop; it writes into its arguments.
        options: changes to `OPTIONS`.
    """

    def __init__(self, loop: Callable[..., None], **options: Any) -> None:
        options = OPTIONS | options
        threaded = types.FunctionType(loop.__code__, loop.__globals__, loop.__name__)
        # numba names its cache files by the qualified name and not by the options: two builds need two names.
        threaded.__qualname__ = f"{loop.__qualname__}_threaded"
        self._serial = cached(njit(**options)(loop))
        self._threaded = cached(njit(parallel=True, **options)(threaded))

    def __call__(self, *args: Array | int | np.floating[Any] | tuple[Any, ...]) -> None:
        """Run the loop on as many threads as torch uses."""
        import torch  # imported here because drawing people needs no torch

        threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        if threads == 1:
            self._serial(*args)
            return
        threads_before = numba.get_num_threads()
        numba.set_num_threads(threads)
        try:
            with launch_guard():
                self._threaded(*args)
        finally:
            numba.set_num_threads(threads_before)
