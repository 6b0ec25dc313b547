"""Loop kernels as machine code, against the references: samples, and rows long enough for every
loop to have whole vectors and a rest."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from loop_harness import compare, kernel_of
from test_samples import KERNELS

from thalweg.codegen.emit import emit
from thalweg.codegen.target import host
from thalweg.ops import PRIMITIVES
from thalweg.testing.native import compile_native, run_native
from thalweg.testing.samples import samples_of


def check_native(name, arrays, attrs, order=None):
    with np.errstate(all="ignore"):
        wanted = PRIMITIVES[name].run(arrays, attrs)
    results = [np.zeros(w.shape, w.dtype) for w in wanted]
    kernel = emit(kernel_of(name, arrays, attrs), host())
    run_native(kernel, arrays, results, order=order)
    for mine, theirs in zip(results, wanted, strict=True):
        compare(mine.reshape(-1), theirs.reshape(-1), f"{name} {attrs}")
    return kernel


@pytest.mark.parametrize("name", KERNELS)
def test_samples(name):
    for sample in samples_of(PRIMITIVES[name]):
        if sample.error is None and not any(a.dtype.kind == "c" for a in sample.arrays):
            check_native(name, sample.arrays, sample.attrs)


def drawn(shape, dtype="float32", seed=0):
    x = np.random.default_rng(seed).normal(size=shape) * 3
    return x.astype(dtype)


@pytest.mark.parametrize("name", ["argmax", "argmin", "cumsum", "cummax", "cumprod", "sort"])
@pytest.mark.parametrize(("shape", "dim"), [
    ((5, 301), 1), ((2, 37, 19), 1), ((1, 40_000), 1), ((300, 3), 0), ((2, 70, 100), 1),
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_longer_rows(name, shape, dim, dtype):
    x = drawn(shape, dtype)
    if dtype == "float32" and name != "sort":
        x.reshape(-1)[x.size // 2] = np.nan
    if name == "cumprod":
        x = np.sign(x)
    attrs = {"dim": dim, "descending": False} if name == "sort" else {"dim": dim}
    check_native(name, (x,), attrs)


@pytest.mark.parametrize(("shape", "dim"), [
    ((3, 50), 1), ((5, 301), 1), ((1, 30_000), 1), ((2, 70, 100), 1)
])  # fmt: skip
def test_logarithms_of_running_sums(shape, dim):
    x = drawn(shape, "float64")
    x.reshape(-1)[:2] = -np.inf
    check_native("logcumsumexp", (x,), {"dim": dim})


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_few_of_a_long_row(dtype):
    attrs = {"dim": 1, "descending": True, "keep": 40}
    kernel = check_native("sort", (drawn((3, 5000), dtype) * 100,), attrs)
    assert kernel.name == "select"


@pytest.mark.parametrize("combine", ["set", "sum", "max"])
def test_rows_put_by_many_tasks(combine):
    rng = np.random.default_rng(0)
    x, new = (np.round(drawn(s)) for s in ((50, 200), (300, 200)))  # sums are exact
    arrays = (x, rng.integers(0, 50, 300), new)
    kernel = check_native("index_put", arrays, {"batch": 0, "combine": combine}, order=3)
    assert max(launch.extent // launch.chunk for launch in kernel.launches) >= 8


@pytest.mark.parametrize("in_place", [False, True])
def test_put_in_place_leaves_out_the_copy(in_place):
    """Rows that are not put keep what the operand holds, or in place what the result held."""
    x, new, at = np.ones((8, 4), np.float32), np.full((1, 4), 2, np.float32), np.array([5])
    kernel = emit(kernel_of("index_put", (x, at, new), {"batch": 0, "combine": "sum"}), host())
    assert kernel.in_place == ((0, 3),)
    y = np.full((8, 4), 7, np.float32)
    library = compile_native(kernel)
    buffers = [y if in_place else x, at, new, y]
    table = (ctypes.c_void_p * 4)(*(b.ctypes.data for b in buffers))
    for launch in kernel.launches:
        entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        entry(library.addresses[launch.symbol])(ctypes.addressof(table), 0, launch.extent)
    expected = np.full((8, 4), 7 if in_place else 1, np.float32)
    expected[5] += 2
    np.testing.assert_array_equal(y, expected)
