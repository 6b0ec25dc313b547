"""Every loop kernel on the samples of its op, against the op's reference."""

from __future__ import annotations

import numpy as np
import pytest
from loop_harness import check, interpret, kernel_of

from thalweg.ops import PRIMITIVES
from thalweg.ops.contract import LoopKernel
from thalweg.testing.samples import samples_of

KERNELS = sorted(n for n, p in PRIMITIVES.items() if isinstance(p.field("lower"), LoopKernel))


@pytest.mark.parametrize("name", KERNELS)
def test_samples(name):
    count = 0
    for sample in samples_of(PRIMITIVES[name]):
        if sample.error is None and not any(a.dtype.kind == "c" for a in sample.arrays):
            check(name, sample.arrays, sample.attrs)
            count += 1
    assert count > 2


@pytest.mark.parametrize("name", KERNELS)
def test_iterations_one_by_one_give_the_same(name):
    for sample in samples_of(PRIMITIVES[name]):
        if sample.error is None and not any(a.dtype.kind == "c" for a in sample.arrays):
            kernel = kernel_of(name, sample.arrays, sample.attrs)
            together, alone = (interpret(kernel, sample.arrays, lanes) for lanes in (True, False))
            for a, b in zip(together, alone):
                np.testing.assert_array_equal(a, b)


def test_gcd_of_the_hardest_and_the_largest():
    fibonacci = [1, 1]
    while fibonacci[-1] + fibonacci[-2] < 2**63:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    for dtype in (np.int8, np.uint8, np.int16, np.int32, np.int64):
        limits = np.iinfo(dtype)
        mine = [n for n in fibonacci if n <= limits.max]
        values = [*mine[-3:], limits.min + 1, limits.max, 0, 6, 12]
        x, y = np.meshgrid(np.array(values, dtype), np.array(values, dtype))
        check("gcd", (x, y), {})
