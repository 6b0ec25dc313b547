"""Running results: odd sizes, strands, segments, every dtype, and sums as exact as float64's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_harness import check, few, interpret, kernel_of

from thalweg.ops import PRIMITIVES
from thalweg.ops.kernels import running

NAMES = ["cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"]
DTYPES = ["float32", "float64", "float16", "int64", "int8", "uint8", "bool", ml_dtypes.bfloat16]


def numbers(seed: int, shape: tuple[int, ...], dtype: object, nan: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, shape) / 2
    if np.dtype(dtype).kind in "iub":
        return np.abs(2 * x).astype(dtype)
    y = x.astype(dtype)
    if nan and y.size:
        y.reshape(-1)[rng.integers(0, y.size)] = np.nan
        y.reshape(-1)[rng.integers(0, y.size)] = -np.inf
    return y


def accepts(name: str, array: np.ndarray) -> bool:
    kind = {"b": "bool", "i": "int", "u": "int"}.get(array.dtype.kind, "float")
    return kind in PRIMITIVES[name].accepts


@few
@given(
    name=st.sampled_from(NAMES),
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
    nan=st.booleans(),
    data=st.data(),
)
def test_random(name, shape, dtype, seed, nan, data):
    dim = data.draw(st.integers(0, len(shape) - 1))
    x = numbers(seed, tuple(shape), dtype, nan)
    if accepts(name, x):
        check(name, (x,), {"dim": dim})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nan", [False, True])
def test_segments(monkeypatch, name, nan):
    monkeypatch.setattr(running, "_SEGMENT", 3)
    for seed, count in enumerate([6, 7, 12, 13, 16, 19]):
        for shape in ((1, count), (2, count, 2)):
            x = numbers(seed, shape, "float32", nan)
            kernel = check(name, (x,), {"dim": 1}, lanes=bool(seed % 2))
            assert kernel.params[-1].mode == "workspace"


def test_a_long_sum_is_as_exact_as_pytorch_s(monkeypatch):
    monkeypatch.setattr(running, "_SEGMENT", 64)
    x = np.full(2_000, 0.1, np.float32)
    (found,) = interpret(kernel_of("cumsum", (x,), {"dim": 0}), (x,))
    np.testing.assert_array_equal(found, np.cumsum(x, dtype=np.float64).astype(np.float32))
