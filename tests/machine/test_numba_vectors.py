"""Vectors in compiled loops, against NumPy."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from jointreid.machine.numba_kernel import inlined
from jointreid.machine.numba_vectors import fused, load, move, plus, pointer, spread, store, times, total, zeros

pytestmark = pytest.mark.slow

Array = npt.NDArray[Any]


@inlined
def _combine(x: Array, out: Array) -> Any:
    """Every operation once, on the second row of x [2, 2, 9]; two lanes of float64 and four of float32."""
    row, to, zero = move(pointer(x, 1), 9), pointer(out, 0), zeros(x, 16)
    a, b = load(row, 1, zero), spread(row, 0, zero)
    store(fused(a, b, plus(a, times(b, b))), to, 1)
    one = zeros(x, 0)
    store(load(row, 8, one), to, 7)
    return total(a)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_do_what_numpy_does(dtype: type) -> None:
    x: Array = np.random.default_rng(0).standard_normal((2, 2, 9)).astype(dtype)
    out: Array = np.zeros(8, dtype)
    lanes = 16 // x.itemsize
    found = _combine(x, out)
    a, b = x[1, 1, 1 : 1 + lanes], x[1, 1, 0]
    expected = np.zeros_like(out)
    expected[1 : 1 + lanes] = a * b + a + b * b
    expected[7] = x[1, 1, 8]
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    np.testing.assert_allclose(found, a.sum(), rtol=1e-5)


def test_kernels_run_without_compiling() -> None:
    """As docs/debugging.md says: in plain Python, where `print` works."""
    code = """
import torch
from jointreid.models import dynamic_filter_numba as kernels
from jointreid.models import dynamic_filter_reference as references
torch.set_num_threads(1)
torch.manual_seed(0)
for channels, stride in ((17, 1), (17, 2), (3, 2)):
    x, spatial = torch.randn(1, channels, 4, 5), torch.randn(1, 9, -(-4 // stride), -(-5 // stride))
    given = x, spatial, torch.randn(1, channels, 9), stride, 1, torch.randn(channels, 9), torch.randn(channels)
    y = kernels.dynamic_filter(*given)
    expected = references.dynamic_filter_reference(*given[:5], base=given[5], gain=given[6])
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    gradients = kernels.dynamic_filter_backward(y, *given)
    expected = references.dynamic_filter_backward_reference(y, *given)
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got.to(wanted.dtype), wanted, rtol=1e-4, atol=1e-3)
"""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
