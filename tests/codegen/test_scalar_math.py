"""Functions written in the loop IR: their errors over float32 bit patterns, and in float64."""

import numpy as np
import pytest

from thalweg.codegen.scalar_math import expansion
from thalweg.core.dtypes import float32
from thalweg.ir import loop_interp
from thalweg.ir.loops import Buffer, Const, For, Kernel, Let, Load, Store, Var
from thalweg.testing.math_sweep import BINARY, UNARY, compiled, operands_of, reference, sweep

# Errors allowed in units of the last place, where not 2.
SINGLE = {"pow": 1.0, "tan": 4.0, "lgamma": 8.0, "floordiv": 2.1}
EXTENDED = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2,
    "log10": np.log10, "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin, "pow": np.power,
}  # fmt: skip


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_single_precision_over_bit_patterns(name):
    found = sweep(name, "float32", 99_991)
    assert found.wrong_class == 0, found
    assert found.ulp <= SINGLE.get(name, 2.0), found


@pytest.mark.parametrize("name", EXTENDED)
def test_double_precision(name):
    """Against the C library's extended precision."""
    operands = [x[-40_000:] for x in operands_of(name, "float64", 1)]
    with np.errstate(all="ignore"):
        exact = EXTENDED[name](*(x.astype(np.longdouble) for x in operands))
        got, rounded = compiled(name, *operands), exact.astype(np.float64)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(rounded))
        finite = np.isfinite(rounded)
        unit = np.spacing(np.abs(rounded[finite])).astype(np.longdouble)
        error = np.abs(got[finite] - exact[finite]) / unit
    assert error.max() <= 2.0, (error.max(), [x[finite][np.argmax(error)] for x in operands])


@pytest.mark.parametrize(
    "name", ["exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "pow"]
)
def test_the_interpreter_agrees(name):
    """The expansion is plain loop IR: it means the same without a compiler."""
    steps = expansion(name, float32)
    operands = [x[::200] for x in operands_of(name, "float32", 9_999_991)]
    count, i = len(operands[0]), Var("i")
    loads = [Let(p.name, Load(n, (i,), float32)) for p, n in zip(steps.params, "xy")]
    body = (*loads, *steps.body, Store("z", (i,), steps.result))
    params = [Buffer(n, float32, (count,)) for n, _ in zip("xy", operands)]
    loop = For("i", Const(0), Const(count), 1, body, "vector")
    kernel = Kernel(name, (*params, Buffer("z", float32, (count,), "out")), (loop,))
    arrays = dict(zip("xy", operands), z=np.zeros(count, np.float32))
    loop_interp.run(kernel, arrays)
    np.testing.assert_array_equal(arrays["z"], compiled(name, *operands))
    exact = reference(name, *operands)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(arrays["z"], exact.astype(np.float32), rtol=4e-7, atol=1e-44)
