"""index_put kernels: any mix of batch, indexed and other dimensions, repeated and bad positions."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_harness import check, few, interpret, kernel_of, node_of

from thalweg.core.dtypes import from_numpy
from thalweg.core.errors import IndexOutOfRange
from thalweg.ir.loop_verify import verify
from thalweg.ir.loops import For, walk
from thalweg.ir.types import TensorType
from thalweg.ops import PRIMITIVES
from thalweg.ops.kernels import put
from thalweg.ops.kernels.bounds import extent_kernel

DTYPES = ["float32", "float64", "float16", "int32", "bool", ml_dtypes.bfloat16]


def numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: object) -> np.ndarray:
    return rng.integers(0 if np.dtype(dtype).kind == "b" else 1, 3, shape).astype(dtype)


@few
@given(
    batch=st.lists(st.integers(0, 3), max_size=1),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    rest=st.lists(st.integers(0, 20), max_size=1),
    places=st.lists(st.integers(0, 5), max_size=2),
    dtype=st.sampled_from(DTYPES),
    combine=st.sampled_from(["set", "sum", "prod", "max", "min"]),
    narrow=st.booleans(),
    wrap=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_random(batch, sizes, rest, places, dtype, combine, narrow, wrap, seed):
    rng = np.random.default_rng(seed)
    x = numbers(rng, (*batch, *sizes, *rest), dtype)
    kind = np.int32 if narrow else np.int64
    index = [rng.integers(-n if wrap else 0, n, (*batch, *places)).astype(kind) for n in sizes]
    new = numbers(rng, (*batch, *places, *rest), dtype)
    attrs = {"batch": len(batch), "combine": combine, "wrap": wrap}
    check("index_put", (x, *index, new), attrs)


def test_wide_rows_are_shared_by_range_of_destination():
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(9, 40)), rng.normal(size=(30, 40))
    index = rng.integers(0, 9, 30)
    attrs = {"batch": 0, "combine": "sum"}
    kernel = check("index_put", (x, index, new), attrs)
    ranges = [s for s in walk(kernel.body) if isinstance(s, For) and s.var == "p"]
    assert [int(s.hi.value) for s in ranges] == [40 // put._NARROW]
    check("index_put", (x, index, new), {"batch": 0, "combine": "set"})


@pytest.mark.parametrize("window", [(0, 2, 9), (1, 1, 8)])
def test_windows_leave_what_is_elsewhere(window):
    rng = np.random.default_rng(1)
    x, new = rng.normal(size=(4, 5, 2)), rng.normal(size=(20, 2))
    index = (rng.integers(0, 9 if window[0] == 0 else 4, 20),
             rng.integers(0, 8 if window[0] == 1 else 5, 20))  # fmt: skip
    check("index_put", (x, *index, new), {"batch": 0, "combine": "sum", "window": window})


@few
@given(bad=st.sampled_from([-9, -1, 4, 2**40, -(2**62)]), wrap=st.booleans())
def test_bad_positions_touch_nothing_and_have_a_range(bad, wrap):
    x, new = np.zeros((4, 2)), np.ones((3, 2))
    index = np.array([1, bad, 2])
    arrays, attrs = (x, index, new), {"batch": 0, "combine": "set", "wrap": wrap}
    (found,) = interpret(kernel_of("index_put", arrays, attrs), arrays)
    good = index[(index >= (-4 if wrap else 0)) & (index < 4)]
    x[good] = 1
    np.testing.assert_array_equal(found, x.reshape(-1))
    (given_range,) = node_of("index_put", arrays, attrs).op.index_ranges(
        node_of("index_put", arrays, attrs)
    )
    assert (given_range.operand, given_range.high) == (1, 4)
    assert given_range.low == (-4 if wrap else 0)
    if not given_range.low <= bad < given_range.high:
        with pytest.raises(IndexOutOfRange) as error:
            PRIMITIVES["index_put"].run(arrays, attrs)
        assert str(error.value) == given_range.message.format(index=bad)


@few
@given(
    x=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=40),
    dtype=st.sampled_from(["int32", "int64"]),
)
def test_extent(x, dtype):
    array = np.array(x, dtype)
    kernel = extent_kernel(TensorType(array.shape, from_numpy(array.dtype)))
    verify(kernel)
    (found,) = interpret(kernel, (array,))
    assert found.tolist() == [min(x), max(x)]
