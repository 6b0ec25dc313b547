"""max_pool kernels: windows at edges, padding, dilation, ties, NaN, every dtype, compiled too."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_harness import check, few, kernel_of

from thalweg.codegen.emit import emit
from thalweg.codegen.target import host
from thalweg.ops import PRIMITIVES
from thalweg.testing.native import run_native

DTYPES = ["float32", "float64", "float16", "int64", "int8", "uint8", ml_dtypes.bfloat16]


def numbers(seed: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """Few values, so that ties abound, with NaN and infinities among floats."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, shape)
    if np.dtype(dtype).kind in "iu":
        return np.abs(x).astype(dtype)
    y = x.astype(dtype)
    for odd in (np.nan, -np.inf, np.inf):
        y.reshape(-1)[rng.integers(0, y.size, y.size // 6)] = odd
    return y


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    dims = draw(st.integers(1, 3))
    axes = []
    for _ in range(dims):
        kernel, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
        reach = dilation * (kernel - 1) + 1
        low, high = draw(st.integers(0, reach // 2)), draw(st.integers(0, reach // 2 + 1))
        least = max(1, reach - low - high)
        size = draw(st.integers(least, least + (30 if dims == 1 else 6)))
        axes.append((size, kernel, stride, (low, high), dilation))
    sizes, kernels, strides, padding, dilations = zip(*axes)
    attrs = {"kernel": kernels, "stride": strides, "padding": padding, "dilation": dilations}
    return (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *sizes), attrs


@few
@given(case=cases(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 1000))
def test_random(case: tuple[tuple[int, ...], dict[str, Any]], dtype: Any, seed: int) -> None:
    shape, attrs = case
    check("max_pool", (numbers(seed, shape, dtype),), attrs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [((9, 29), (3, 3), (2, 2), 1), ((8, 18), (2, 2), (2, 2), 0), ((5, 40), (3, 5), (1, 3), 1)],
)
def test_compiled(dtype: Any, size: Any, kernel: Any, stride: Any, padding: int) -> None:
    attrs = {
        "kernel": kernel, "stride": stride, "padding": ((padding, padding),) * 2,
        "dilation": (1, 1),
    }  # fmt: skip
    x = numbers(7, (2, 3, *size), dtype)
    with np.errstate(invalid="ignore"):
        values, places = PRIMITIVES["max_pool"].run((x,), attrs)
    made = np.empty_like(values), np.empty_like(places)
    run_native(emit(kernel_of("max_pool", (x,), attrs), host()), [x], list(made), order=3)
    np.testing.assert_array_equal(made[1], places)
    np.testing.assert_array_equal(made[0].astype(np.float64), values.astype(np.float64))


def test_a_long_window_is_a_loop() -> None:
    attrs = {"kernel": (70,), "stride": (5,), "padding": ((20, 30),), "dilation": (1,)}
    kernel = check("max_pool", (numbers(1, (1, 2, 90), "float32"),), attrs)
    assert len(str(kernel)) < 20_000
