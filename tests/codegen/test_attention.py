"""Attention kernels against float64 NumPy: layouts, masks, groups, tails, and what they touch."""

import math

import numpy as np
import pytest
from attention_calls import backward, backward_call, forward, forward_call, views
from gemm_calls import kernel

from thalweg.codegen import attention, attention_grad
from thalweg.codegen.objects import emit_object
from thalweg.codegen.target import AVX2, AVX512, NEON, host
from thalweg.codegen.templates import instantiate
from thalweg.ir.anchor import AnchorCall, Epilogue
from thalweg.ir.loops import Buffer, Load, Store, Var
from thalweg.runtime.native import STACK_BYTES
from thalweg.testing.native import run_native

SIZES = [  # batch, heads, groups, queries, keys, width, depth
    (1, 1, 1, 16, 12, 8, 8),
    (1, 2, 1, 5, 7, 4, 3),
    (2, 4, 2, 40, 100, 16, 20),
    (1, 2, 2, 61, 137, 64, 64),
    (1, 1, 1, 137, 61, 24, 24),
    (1, 1, 1, 1, 1, 1, 1),
]
MASKS = (None, "keys", "pairs", "added")
TOLERANCE = {"float32": 5e-5, "float64": 1e-12}


def masked(kind, sizes, rng):
    """The mask seen as [b, h, l, s], and its base."""
    b, h, _, queries, keys, *_ = sizes
    if kind == "keys":
        base = rng.random((b, 1, 1, keys)) < 0.7
    elif kind == "pairs":
        base = rng.random((queries, keys)) < 0.3  # rows that see nothing turn up
    else:
        base = rng.normal(size=(queries, keys)).astype(np.float32)
    return np.broadcast_to(base, (b, h, queries, keys)), base


def problem(sizes, dtype, layout, kind, seed=0):
    rng = np.random.default_rng(seed)
    pairs = views(rng, sizes, dtype, layout)
    mask = None
    if kind is not None:
        mask, base = masked(kind, sizes, rng)
        pairs.append((mask, base))
    b, h, _, queries, keys, _, w = sizes
    g = views(rng, (b, h, h, queries, keys, w, w), dtype, layout)[0]
    return [x for x, _ in pairs], [y for _, y in pairs], mask, g


def run_forward(arrays, bases, scale, causal, order=None):
    call = forward_call(arrays, bases, scale, causal)
    dtype = arrays[0].dtype
    out, lse = np.zeros(call.shape, dtype), np.zeros(call.shape[:3], dtype)
    run_native(kernel(call), bases, [out, lse], order=order)
    return out, lse


def run_backward(arrays, bases, lse, delta, g, scale, causal, is_masked, order=None):
    call = backward_call(arrays, bases, lse, delta, *g, scale, causal, is_masked)
    outs = [np.zeros(p.shape, p.dtype.np) for p in call.params[-3:]]
    run_native(kernel(call), [*bases, lse, delta, g[1]], outs, order=order)
    return outs


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("dtype", "layout", "causal", "kind"), [
    ("float32", "bhle", False, None), ("float32", "blhe", True, None),
    ("float32", "ebhl", False, "keys"), ("float32", "blhe", True, "pairs"),
    ("float32", "bhle", False, "added"), ("float64", "blhe", False, "pairs"),
    ("float64", "ebhl", True, None), ("float64", "bhle", True, "added"),
])  # fmt: skip
def test_forward_and_backward(sizes, dtype, layout, causal, kind):
    arrays, bases, mask, g = problem(sizes, dtype, layout, kind)
    tolerance = TOLERANCE[dtype]
    found = run_forward(arrays, bases, 0.3, causal)
    wanted = forward(*arrays[:3], mask, 0.3, causal)
    for ours, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, expected, atol=tolerance, rtol=tolerance)
    lse = np.ascontiguousarray(wanted[1], dtype)
    delta = np.ascontiguousarray((wanted[0] * g[0]).sum(-1), dtype)
    found = run_backward(arrays, bases, lse, delta, g, 0.3, causal, kind is not None)
    expected = backward(*arrays[:3], mask, lse, delta, g[0], 0.3, causal)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("causal", [False, True])
def test_results_do_not_depend_on_the_order_of_tasks(causal):
    arrays, bases, _, g = problem((1, 2, 1, 90, 300, 16, 16), "float32", "blhe", None)
    first = run_forward(arrays, bases, 0.25, causal)
    lse, delta = first[1], np.ascontiguousarray((first[0] * g[0]).sum(-1))
    first_grads = run_backward(arrays, bases, lse, delta, g, 0.25, causal, False)
    for order in (1, 2):
        again = run_forward(arrays, bases, 0.25, causal, order)
        grads = run_backward(arrays, bases, lse, delta, g, 0.25, causal, False, order)
        for a, b in zip((*first, *first_grads), (*again, *grads), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_head_of_many_keys_is_split_into_parts():
    arrays, bases, _, g = problem((1, 1, 1, 8, 300, 4, 4), "float32", "bhle", None)
    stats = np.zeros((1, 1, 8), np.float32)
    made = kernel(backward_call(arrays, bases, stats, stats, *g, 1.0, False, False))
    assert made.launches[0].extent > 1 and len(made.workspaces) == 1


def test_hidden_rows_give_zeros_and_no_gradient():
    arrays, bases, _, g = problem((1, 1, 1, 20, 30, 8, 8), "float32", "bhle", None)
    mask = np.ones((20, 30), bool)
    mask[3:7] = False
    arrays.append(np.broadcast_to(mask, (1, 1, 20, 30)))
    bases.append(mask)
    out, lse = run_forward(arrays, bases, 1.0, False)
    assert (out[0, 0, 3:7] == 0).all() and np.isneginf(lse[0, 0, 3:7]).all()
    delta = np.ascontiguousarray((out * g[0]).sum(-1))
    dq, dk, dv = run_backward(arrays, bases, lse, delta, g, 1.0, False, True)
    assert (dq[0, 0, 3:7] == 0).all()
    assert np.isfinite(dk).all() and np.isfinite(dv).all()


def test_large_scores_do_not_overflow_and_nan_stays_in_its_row():
    arrays, bases, _, _ = problem((1, 1, 1, 20, 200, 8, 8), "float32", "bhle", None)
    arrays[0] *= 1000
    arrays[0][0, 0, 4] = math.nan
    out, lse = run_forward(arrays, bases, 1.0, False)
    rows = np.arange(20) != 4
    wanted = forward(*arrays, None, 1.0, False)
    np.testing.assert_allclose(out[0, 0, rows], wanted[0][0, 0, rows], atol=1e-3)
    assert np.isnan(out[0, 0, 4]).all() and np.isnan(lse[0, 0, 4])


def test_the_epilogue_sees_every_element_once():
    """The result is stored transposed, with a bias added."""
    arrays, bases, _, _ = problem((1, 2, 1, 21, 30, 8, 7), "float32", "bhle", None)
    plain = forward_call(arrays, bases, 1.0, False)
    bias = np.arange(7, dtype=np.float32)
    b, h, i, j = (Var(n) for n in ("b", "h", "i", "j"))
    f32 = plain.dtype
    value = Var("v", f32) + Load("bias", (j,), f32)
    params = (
        *plain.params[:3], Buffer("bias", f32, (7,)), Buffer("out", f32, (1, 21, 2, 7), "out"),
        plain.params[-1],
    )  # fmt: skip
    call = AnchorCall(
        "attention", plain.attrs, plain.operands, plain.shape, plain.dtype, params,
        Epilogue(("b", "h", "i", "j"), "v", (Store("out", (b, i, h, j), value),)),
    )  # fmt: skip
    out, lse = np.zeros((1, 21, 2, 7), np.float32), np.zeros((1, 2, 21), np.float32)
    run_native(kernel(call), [*bases, bias], [out, lse])
    wanted = forward(*arrays, None, 1.0, False)[0].transpose(0, 2, 1, 3) + bias
    np.testing.assert_allclose(out, wanted, atol=1e-5)


@pytest.mark.parametrize("target", [AVX2, AVX512, NEON], ids=lambda t: t.name)
def test_kernels_assemble_for_every_target(target):
    arrays, bases, _, g = problem((1, 2, 1, 40, 100, 64, 64), "float32", "blhe", "keys")
    stats = np.zeros((1, 2, 40), np.float32)
    for call in (
        forward_call(arrays, bases, 1.0, True),
        backward_call(arrays, bases, stats, stats, *g, 1.0, True, True),
    ):
        text = instantiate(call, target).text
        assert text == instantiate(call, target).text
        assert len(emit_object(text, target, 1)) > 1000


@pytest.mark.parametrize("width", [64, 256])
def test_tasks_stay_within_their_stack(width):
    arrays, bases, _, g = problem((1, 1, 1, 70, 200, width, width), "float32", "blhe", None)
    stats = np.zeros((1, 1, 70), np.float32)
    for call in (
        forward_call(arrays, bases, 1.0, True),
        backward_call(arrays, bases, stats, stats, *g, 1.0, True, False),
    ):
        text = instantiate(call, host()).text
        counts = [
            int(line.split("i64 ")[1].split(",")[0])
            for line in text.splitlines()
            if " = alloca float" in line
        ]
        assert counts and 4 * sum(counts) <= STACK_BYTES


def test_blocks_hold_whole_tiles():
    assert attention._KEYS % 12 == 0 and attention_grad._QUERIES % 12 == 0
