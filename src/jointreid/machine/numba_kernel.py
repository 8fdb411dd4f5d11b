"""How the CPU kernels are compiled, kept and started: numba's options, its cache and its threads."""

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

WORKQUEUE_LOCK = threading.Lock()


def launch_guard() -> AbstractContextManager[Any]:
    """A lock where numba found neither OpenMP nor TBB: its own work queue aborts the process on concurrent calls."""
    return WORKQUEUE_LOCK if threading_layer() == "workqueue" else nullcontext()


def cached(dispatcher: Any) -> Any:
    """Keep compiled code on disk: beside the loop's file, or in the user's cache directory where that is read-only."""
    try:
        dispatcher.enable_caching()
    except RuntimeError:
        warnings.warn(
            "Found no directory to keep compiled kernels in: every process compiles them anew, which takes seconds. "
            "Set NUMBA_CACHE_DIR to a writable directory.",
            RuntimeWarning,
            stacklevel=1,  # one place, so one warning for all kernels
        )
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """A part of a loop. Inlined by force: a call would count references to every array slice it is given."""
    return njit(forceinline=True, **OPTIONS)(function)


class Kernel:
    """A loop compiled, on first use, for one thread and, its `prange` spread out, for several.

    One thread gets a build of its own: a process that was forked after OpenMP started may not enter it again.

    Args:
        loop: the loop; writes into its arguments.
        options: what differs from `OPTIONS`.
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
        import torch  # here, because drawing people shares this room and needs no torch

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
