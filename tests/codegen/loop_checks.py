"""Compiled kernels of the loop IR against the loop interpreter."""

from __future__ import annotations

import numpy as np

from thalweg.codegen.emit import emit
from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import AVX512, NEON, host
from thalweg.ir import loop_interp
from thalweg.ir.loop_text import parse_kernel
from thalweg.ir.loop_verify import verify_structure
from thalweg.ir.loops import Kernel
from thalweg.testing.native import run_native


def random_array(buffer, rng, special=False):
    """Random elements of a buffer's dtype; with ``special`` also NaN, infinities and extremes."""
    dtype, shape = buffer.dtype, buffer.shape
    if dtype.category == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.category == "int":
        limits = np.iinfo(dtype.np)
        low, high = (limits.min, limits.max) if special else (max(limits.min, -9), 9)
        return rng.integers(low, high, shape, dtype=dtype.np, endpoint=True)
    values = rng.normal(size=shape) * rng.choice([0.1, 1, 30], shape)
    if special:
        odd = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -3e38, 2.5, -0.5]
        values = np.where(rng.random(shape) < 0.4, rng.choice(odd, shape), values)
    with np.errstate(over="ignore"):
        return values.astype(dtype.np)


def results(kernel, arrays, order=None, target=None):
    """Outputs of the compiled kernel, by name."""
    native = emit(kernel, target or host())
    params = [b for b in kernel.params if b.mode != "workspace"]
    made = {b.name: arrays[b.name].copy() for b in params if b.mode != "in"}
    operands = [arrays[b.name] for b in params if b.mode == "in"]
    run_native(native, operands, list(made.values()), order, target)
    return made


def expected(kernel, arrays):
    copies = {name: array.copy() for name, array in arrays.items()}
    loop_interp.run(kernel, copies)
    return {b.name: copies[b.name] for b in kernel.params if b.mode not in ("in", "workspace")}


def check(kernel: Kernel | str, seed=0, ulps=4, special=False, arrays=None, elsewhere=True):
    """Compile and run a kernel, in order and in shuffled order; also assemble it for the targets
    that are not at hand. Floats may differ by ``ulps`` of the largest number involved."""
    if isinstance(kernel, str):
        kernel = parse_kernel(kernel)
    verify_structure(kernel)
    rng = np.random.default_rng(seed)
    if arrays is None:
        arrays = {
            b.name: random_array(b, rng, special) for b in kernel.params if b.mode != "workspace"
        }
    want = expected(kernel, arrays)
    got, shuffled = results(kernel, arrays), results(kernel, arrays, order=seed)
    for name, array in want.items():
        assert got[name].tobytes() == shuffled[name].tobytes(), f"{name}: depends on the order"
        compare(name, got[name], array, ulps)
    if elsewhere:
        for target in (AVX512, NEON):
            assert emit_object(emit(kernel, target).text, target)


def compare(name, got, want, ulps):
    if got.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want, err_msg=name)
        return
    eps = {2: 2.0**-7 if got.dtype.name == "bfloat16" else 2.0**-10}.get(
        got.dtype.itemsize, np.finfo(got.dtype).eps if got.dtype.itemsize > 2 else 0
    )
    a, b = got.astype(np.float64), want.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=f"{name}: NaN")
    finite = np.isfinite(b)
    outside = ~finite & ~np.isnan(b)
    np.testing.assert_array_equal(a[outside], b[outside], err_msg=f"{name}: infinities")
    if finite.any():
        scale = np.maximum(np.abs(b[finite]), 1e-30 if got.dtype.itemsize > 2 else 1e-7)
        error = np.abs(a[finite] - b[finite]) / scale / eps
        worst = int(np.argmax(error))
        assert error[worst] <= ulps, (
            f"{name}: {error[worst]:.3g} ulp, got {a[finite][worst]!r}, want {b[finite][worst]!r}"
        )
