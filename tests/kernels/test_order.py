"""Sort kernels: every dtype, both directions, ties, NaN of both signs, both zeros, long rows."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_harness import check, few

from thalweg.ops.kernels import order

DTYPES = [
    "float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool",
    ml_dtypes.bfloat16,
]  # fmt: skip


def numbers(seed: int, shape: tuple[int, ...], dtype: object, wide: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if kind in "iu":
        limits = np.iinfo(dtype) if wide else None
        low, high = (limits.min, limits.max) if limits else (0, 4)
        return rng.integers(low, high, shape, dtype=np.dtype(dtype), endpoint=True)
    x = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3, shape)
    if not wide:
        x = np.round(x)
        pool = [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1.0]
        x = np.where(rng.random(shape) < 0.5, rng.choice(pool, shape), x)
    return x.astype(dtype)


@few
@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
    wide=st.booleans(),
    descending=st.booleans(),
    data=st.data(),
)
def test_short_rows(shape, dtype, seed, wide, descending, data):
    dim = data.draw(st.integers(0, len(shape) - 1))
    x = numbers(seed, tuple(shape), dtype, wide)
    check("sort", (x,), {"dim": dim, "descending": descending})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("wide", [False, True])
def test_rows_sorted_by_digits(monkeypatch, dtype, wide):
    monkeypatch.setattr(order, "_SHORT", 2)
    for seed, shape in enumerate([(3, 17), (2, 9, 2), (1, 3)]):
        for descending in (False, True):
            x = numbers(seed, shape, dtype, wide)
            check("sort", (x,), {"dim": 1, "descending": descending}, lanes=seed != 0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8", "float16"])
@pytest.mark.parametrize("wide", [False, True])
def test_few_of_many_are_selected(monkeypatch, dtype, wide):
    monkeypatch.setattr(order, "_FEW", 5)
    monkeypatch.setattr(order, "_BLOCK", 4)
    for seed, (shape, keep) in enumerate([((2, 40), 5), ((3, 33, 2), 3), ((1, 17), 1)]):
        for descending in (False, True):
            x = numbers(seed, shape, dtype, wide)
            attrs = {"dim": 1, "descending": descending, "keep": keep}
            assert check("sort", (x,), attrs, lanes=seed != 0).name == "select"


@pytest.mark.parametrize("short", [2, 48])
def test_the_first_of_a_whole_sort(monkeypatch, short):
    monkeypatch.setattr(order, "_SHORT", short)
    for keep in (0, 1, 7, 20):
        x = numbers(keep, (2, 20), "float32", False)
        check("sort", (x,), {"dim": 1, "descending": True, "keep": keep})
