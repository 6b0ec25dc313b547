"""argmax and argmin kernels: odd sizes, block and segment borders, ties, NaN, every dtype."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_harness import check, few, kernel_of

from thalweg.ops.kernels import extremum

DTYPES = ["float32", "float64", "float16", "int64", "int8", "uint8", "bool", ml_dtypes.bfloat16]


def numbers(seed: int, shape: tuple[int, ...], dtype: object, nan: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, shape)  # few values: ties abound
    if np.dtype(dtype).kind == "b":
        return x > 0
    if np.dtype(dtype).kind in "iu":
        return np.abs(x).astype(dtype)
    y = x.astype(dtype)
    if nan and y.size:
        y.reshape(-1)[rng.integers(0, y.size, 2)] = np.nan
    return y


@few
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
    nan=st.booleans(),
    data=st.data(),
)
def test_random(shape, dtype, seed, nan, data):
    dim = data.draw(st.integers(0, len(shape) - 1))
    for name in ("argmax", "argmin"):
        check(name, (numbers(seed, tuple(shape), dtype, nan),), {"dim": dim})


@pytest.mark.parametrize("count", [5, 6, 7, 11, 12, 13, 25])
@pytest.mark.parametrize("nan", [False, True])
def test_blocks_and_segments(monkeypatch, count, nan):
    monkeypatch.setattr(extremum, "_BLOCK", 3)
    monkeypatch.setattr(extremum, "_SEGMENT", 6)
    for seed in range(4):
        for rows in (1, 2, 17):
            check("argmax", (numbers(seed, (rows, count), "float32", nan),), {"dim": 1})
            check("argmin", (numbers(seed, (rows, count), "int64", nan),), {"dim": 1}, lanes=False)


def test_columns_are_tiled(monkeypatch):
    monkeypatch.setattr(extremum, "_COLUMNS", 4)
    for inner in (1, 3, 4, 5, 8, 9):
        check("argmax", (numbers(inner, (2, 5, inner), "float32", True),), {"dim": 1})


def test_a_long_row_is_searched_in_parallel():
    kernel = kernel_of("argmax", (np.zeros((1, 100_000), np.float32),), {"dim": 1})
    assert [p.mode for p in kernel.params] == ["in", "out", "workspace"]
