"""Every primitive that has a loop kernel computes, in the interpreter, what its reference does."""

import numpy as np
import pytest
from lowered import compare, run_kernel

from thalweg.core.dtypes import bool_, float16, float32, int64, uint8
from thalweg.ir.loops import Kernel
from thalweg.lowering import lower_node
from thalweg.ops import PRIMITIVES, Declined
from thalweg.ops.contract import Host, LoopKernel, Template
from thalweg.testing.samples import apply, describe, samples_of


def has_loops(op):
    rule = op.field("lower")
    return bool(op.reduces) or isinstance(rule, LoopKernel) or not isinstance(rule, str)


LOWERED = sorted(n for n, op in PRIMITIVES.items() if has_loops(op))


def test_the_ops_of_every_form_are_lowered():
    assert {"add", "erf", "reshape", "pad", "take", "concat", "iota", "philox_bits", "reduce_max",
            "windows", "diagonal", "slice_update", "where", "cast"} <= set(LOWERED)  # fmt: skip
    for name in LOWERED:
        assert not isinstance(PRIMITIVES[name].field("lower"), (Declined, Template, Host)), name


@pytest.mark.parametrize("name", LOWERED)
def test_samples(name):
    op = PRIMITIVES[name]
    count = 0
    for sample in samples_of(op):
        if sample.error or any(a.dtype.kind == "c" for a in sample.arrays):
            continue
        _, node = apply(op, sample.arrays, sample.attrs)
        kernel = lower_node(node)
        if node.types[0].dtype.is_complex:
            assert kernel is None
            continue
        assert isinstance(kernel, Kernel), describe(sample)
        with np.errstate(all="ignore"):
            compare(run_kernel(kernel, sample.arrays), op.run(sample.arrays, sample.attrs))
        count += 1
    assert count


@pytest.mark.parametrize("name", ["reduce_sum", "reduce_max", "reduce_min", "reduce_prod"])
@pytest.mark.parametrize("dtype", [float32, float16, int64, uint8, bool_])
@pytest.mark.parametrize(
    ("shape", "dims"),
    [((5, 70), (1,)), ((70, 5), (0,)), ((300, 3), (0,)), ((3, 66, 4), (1,)), ((2, 3, 4), (0, 2)),
     ((9000,), (0,)), ((2, 4), ()), ((0, 3), (0,)), ((3, 1), (1,)), ((2, 100, 3), (0, 1))],
)  # fmt: skip
def test_reductions_of_every_dtype_and_dimension(name, dtype, shape, dims):
    op = PRIMITIVES[name]
    if dtype.category not in op.accepts:
        return
    rng = np.random.default_rng(1)
    low, high = (0.9, 1.1) if name == "reduce_prod" else (-2, 2)
    array = rng.uniform(low, high, shape).astype(dtype.np)
    _, node = apply(op, [array], {"dims": dims})
    kernel = lower_node(node)
    with np.errstate(all="ignore"):
        expected = op.run([array], {"dims": dims})
        for lanes in (True, False) if array.size < 1000 else (True,):
            compare(run_kernel(kernel, [array], lanes), expected, rtol=1e-4, atol=1e-4)
