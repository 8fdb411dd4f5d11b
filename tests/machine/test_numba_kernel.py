from contextlib import nullcontext

import pytest

from jointreid.machine import numba_kernel
from jointreid.models.dynamic_filter_loops_numba import forward


def test_only_the_work_queue_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_kernel, "threading_layer", lambda: "workqueue")
    assert numba_kernel.launch_guard() is numba_kernel.WORKQUEUE_LOCK
    for layer in ("omp", "tbb"):
        monkeypatch.setattr(numba_kernel, "threading_layer", lambda layer=layer: layer)
        assert isinstance(numba_kernel.launch_guard(), nullcontext)


def test_two_builds_of_a_kernel_do_not_share_a_cache_file() -> None:
    names = {build._cache._impl.filename_base for build in (forward._serial, forward._threaded)}
    assert len(names) == 2


def test_says_when_compiled_kernels_cannot_be_kept() -> None:
    class Homeless:
        def enable_caching(self) -> None:
            raise RuntimeError("no locator available for file")

    dispatcher = Homeless()
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR"):
        assert numba_kernel.cached(dispatcher) is dispatcher
