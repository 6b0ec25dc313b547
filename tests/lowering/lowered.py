"""Kernels of lowered nodes, run in the loop interpreter on arrays."""

import numpy as np

from thalweg.ir.loop_interp import run
from thalweg.ir.loop_verify import verify
from thalweg.ir.loops import Kernel


def run_kernel(kernel: Kernel, arrays, lanes=True):
    """Verify a kernel, run it on the arrays of its operands: the flat arrays of its results."""
    verify(kernel)
    operands = [b for b in kernel.params if b.mode == "in"]
    results = [b for b in kernel.params if b.mode == "out"]
    assert len(operands) == len(arrays)
    given = {b.name: np.ascontiguousarray(a).reshape(b.shape) for b, a in zip(operands, arrays)}
    found = {b.name: np.zeros(b.shape, b.dtype.np) for b in results}
    run(kernel, {**given, **found}, lanes=lanes)
    return [found[b.name] for b in results]


def compare(found, expected, rtol=1e-6, atol=1e-12):
    """Flat results against arrays: exact for integers and bools, close for floats."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        theirs = np.asarray(theirs)
        assert ours.dtype == theirs.dtype
        if theirs.dtype.kind in "iub":
            np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)
            continue
        if theirs.dtype.itemsize == 2:
            rtol, atol = 2e-2, 1e-3
        np.testing.assert_allclose(
            ours.reshape(theirs.shape).astype(np.float64), theirs.astype(np.float64), rtol, atol
        )
