"""Epilogues of matrix products: what they compute, at edges and for every way to compute sums."""

import math

import ml_dtypes
import numpy as np
import pytest
from gemm_calls import contraction, dtype_of, kernel
from native_runner import Runner, guarded
from scipy.special import erf

from thalweg.core.dtypes import bool_, float16, float32, float64, int64
from thalweg.ir.loops import (
    Binary,
    Buffer,
    Cast,
    Const,
    Let,
    Load,
    Select,
    Store,
    Unary,
    Var,
    compute_dtype,
)

I0, I1, I2 = (Var(f"i{k}") for k in range(3))

# Direct, packed, split and thin products: full tiles, and tails in both directions.
SIZES = [
    (64, 48, 30), (23, 37, 50), (230, 290, 400), (10, 40, 20000), (1, 300, 200), (3, 50, 64),
    (300, 3, 70), (1, 1, 3000),
]  # fmt: skip


def operands(m, n, k, dtype=np.float32):
    rng = np.random.default_rng(m + n + k)
    x, y = (rng.normal(size=s).astype(dtype) for s in ((m, k), (k, n)))
    return rng, x, y / np.asarray(math.sqrt(k), dtype)


def run(call, *arrays):
    """Results of the kernel, every buffer up against a guard page."""
    out = [guarded(np.zeros(p.shape, p.dtype.np), True) for p in call.params if p.mode == "out"]
    Runner(kernel(call))(*(guarded(a, True) for a in arrays), *out, seed=5)
    return out


def close(out, want, tolerance=2e-6):
    np.testing.assert_allclose(out, want, rtol=tolerance, atol=tolerance * 4)


@pytest.mark.parametrize(("m", "n", "k"), SIZES)
@pytest.mark.parametrize("layout", ["mk,kn->mn", "mk,nk->mn", "mk,kn->nm"])
def test_bias_and_gelu(m, n, k, layout):
    rng, x, y = operands(m, n, k)
    bias = rng.normal(size=n).astype(np.float32)
    y = np.ascontiguousarray(y.T) if "nk" in layout else y
    at = I0 if layout.endswith("nm") else I1
    s = Var("s", float32)
    half = Const(0.5, float32) * s
    body = (
        Let("s", Var("v", float32) + Load("bias", (at,), float32)),
        Let("e", Unary("erf", s * Const(math.sqrt(0.5), float32))),
        Store("out", (I0, I1), half + half * Var("e", float32)),
    )
    call = contraction(layout, x, y, epilogue=body, extra=[("bias", bias)])
    (out,) = run(call, x, y, bias)
    total = np.einsum(layout, x.astype(float), y.astype(float))
    total += bias[:, None] if layout.endswith("nm") else bias
    close(out, 0.5 * total * (1 + erf(total / math.sqrt(2))))


@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_several_results_of_different_types(m, n, k):
    """A sum with a residual, its sign as bool, and a row number mixed in, transposed."""
    rng, x, y = operands(m, n, k)
    residual = rng.normal(size=(m, n)).astype(np.float16)
    v, zero = Var("v", float32), Const(0.0, float32)
    total = Var("t", float32)
    body = (
        Let("t", v + Load("residual", (I0, I1), float16)),
        Store("sum", (I0, I1), Cast(total, float64)),
        Store("positive", (I0, I1), Binary("gt", total, zero)),
        Store("turned", (I1, I0), Select(Binary("gt", v, zero), I0 + I1, Const(-1, int64))),
        Store("rounded", (I0, I1), Cast(v, float16)),
    )
    results = [
        Buffer("sum", float64, (m, n), "out"), Buffer("positive", bool_, (m, n), "out"),
        Buffer("turned", int64, (n, m), "out"), Buffer("rounded", float16, (m, n), "out"),
    ]  # fmt: skip
    call = contraction(
        "mk,kn->mn", x, y, epilogue=body, extra=[("residual", residual)], results=results
    )
    total, positive, turned, rounded = run(call, x, y, residual)
    product = x.astype(float) @ y.astype(float)
    clear = abs(product) > 1e-5
    close(total, product + residual)
    np.testing.assert_array_equal(positive, total > 0)
    numbers = np.add.outer(np.arange(m), np.arange(n))
    np.testing.assert_array_equal(turned.T[clear], np.where(product > 0, numbers, -1)[clear])
    close(rounded, product, 1e-3)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.int32, np.int8])
def test_relu_in_every_dtype(dtype):
    rng = np.random.default_rng(0)
    x, y = ((rng.normal(size=s) * 3).astype(dtype) for s in ((21, 40), (40, 35)))
    kind = dtype_of(x)
    computed = compute_dtype(kind)
    value = Binary("max", Var("v", computed), Const(0, computed))
    stored = value if computed is kind else Cast(value, kind)
    call = contraction("mk,kn->mn", x, y, epilogue=(Store("out", (I0, I1), stored),))
    (out,) = run(call, x, y)
    if kind.category == "int":
        np.testing.assert_array_equal(out, np.maximum(x @ y, 0))
        return
    want = np.maximum(x.astype(float) @ y.astype(float), 0)
    tolerance = {2: 5e-3 if kind is not float16 else 1e-3, 8: 1e-14}[kind.itemsize]
    close(out.astype(float), want, tolerance)


def test_batched_with_heads_merged_by_the_store():
    """Attention's second product: its result goes to [batch, position, head, channel]."""
    rng = np.random.default_rng(2)
    p, v = (rng.normal(size=s).astype(np.float32) for s in ((2, 3, 9, 17), (2, 17, 3, 20)))
    scale = rng.normal(size=(2, 3)).astype(np.float32)
    index = tuple(Var(f"i{k}") for k in range(4))
    b, q, h, d = index
    body = (
        Store("out", (b, q, h, d), Var("v", float32) * Load("scale", (b, h), float32)),
    )  # fmt: skip
    call = contraction("bhqk,bkhd->bqhd", p, v, epilogue=body, extra=[("scale", scale)])
    (out,) = run(call, p, v, scale)
    close(out, np.einsum("bhqk,bkhd,bh->bqhd", *(a.astype(float) for a in (p, v, scale))))


def test_result_stored_merged_and_broadcast_loads():
    """The result [b, t, c] is stored flat, with a mask over t and a bias over c."""
    rng = np.random.default_rng(3)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((3, 21, 10), (10, 19)))
    keep, bias = rng.normal(size=21).astype(np.float32), rng.normal(size=19).astype(np.float32)
    b, t, c = I0, I1, I2
    flat = (b * 21 + t) * 19 + c
    value = Var("v", float32) * Load("keep", (t,), float32) + Load("bias", (c,), float32)
    call = contraction(
        "btk,kc->btc", x, w, epilogue=(Store("out", (flat,), value),),
        extra=[("keep", keep), ("bias", bias)],
        results=[Buffer("out", float32, (3 * 21 * 19,), "out")],
    )  # fmt: skip
    (out,) = run(call, x, w, keep, bias)
    want = np.einsum("btk,kc->btc", x.astype(float), w.astype(float)) * keep[:, None] + bias
    close(out.reshape(3, 21, 19), want)


def test_nothing_summed_still_passes_through_the_epilogue():
    x, y, bias = np.zeros((3, 0)), np.zeros((0, 5)), np.arange(5.0)
    body = (Store("out", (I0, I1), Var("v", float64) + Load("bias", (I1,), float64)),)
    call = contraction("mk,kn->mn", x, y, epilogue=body, extra=[("bias", bias)])
    (out,) = run(call, x, y, bias)
    np.testing.assert_array_equal(out, np.tile(bias, (3, 1)))


@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_residual_may_be_overwritten(m, n, k):
    rng, x, y = operands(m, n, k)
    residual = rng.normal(size=(m, n)).astype(np.float32)
    value = Var("v", float32) + Load("residual", (I0, I1), float32)
    call = contraction(
        "mk,kn->mn", x, y, epilogue=(Store("out", (I0, I1), value),),
        extra=[("residual", residual)],
    )  # fmt: skip
    made = kernel(call)
    assert made.in_place == ((2, 3),)
    shared = residual.copy()
    Runner(made)(x, y, shared, shared, seed=1)
    close(shared, x.astype(float) @ y.astype(float) + residual)


def test_operands_of_the_product_are_never_overwritten():
    x = np.zeros((8, 8), np.float32)
    value = Var("v", float32) + Load("x", (I0, I1), float32)
    call = contraction("mk,kn->mn", x, x, epilogue=(Store("out", (I0, I1), value),))
    assert kernel(call).in_place == ()
