"""Attention as anchor calls, and what they should give."""

import numpy as np
from gemm_calls import dtype_of, operand

from thalweg.ir.anchor import AnchorCall, Epilogue
from thalweg.ir.loops import Buffer, Store, Var


def views(rng, sizes, dtype, layout):
    """q, k, v and their bases; layout "bhle", "blhe" as projections leave them, or "ebhl"."""
    b, h, g, queries, keys, e, w = sizes
    made = []
    for heads, rows, width in [(h, queries, e), (g, keys, e), (g, keys, w)]:
        if layout == "bhle":
            base = rng.normal(size=(b, heads, rows, width)).astype(dtype)
            made.append((base, base))
        elif layout == "blhe":
            base = rng.normal(size=(b, rows, heads, width)).astype(dtype)
            made.append((base.transpose(0, 2, 1, 3), base))
        else:  # features not side by side
            base = rng.normal(size=(width, b, heads, rows)).astype(dtype)
            made.append((base.transpose(1, 2, 3, 0), base))
    return made


def forward_call(arrays, bases, scale, causal):
    """``arrays`` are q, k, v and perhaps the mask, views of ``bases``."""
    q, v = arrays[0], arrays[2]
    dtype = dtype_of(q)
    shape = (*q.shape[:3], v.shape[3])
    names = ("q", "k", "v", "mask")
    params = [Buffer(n, dtype_of(x), x.shape) for n, x in zip(names, bases)]
    params += [Buffer("out", dtype, shape, "out"), Buffer("lse", dtype, q.shape[:3], "out")]
    index = ("i0", "i1", "i2", "i3")
    store = Store("out", tuple(map(Var, index)), Var("value", dtype))
    operands = tuple(operand(n, x, base) for n, (x, base) in enumerate(zip(arrays, bases)))
    attrs = (("scale", scale), ("causal", causal))
    return AnchorCall(
        "attention", attrs, operands, shape, dtype, tuple(params),
        Epilogue(index, "value", (store,)),
    )  # fmt: skip


def scores(q, k, mask, scale, causal):
    """Masked scores in float64, keys of groups repeated for their heads."""
    q, k = q.astype(np.float64), k.astype(np.float64)
    k = np.repeat(k, q.shape[1] // k.shape[1], 1)
    s = np.einsum("bhle,bhse->bhls", q, k) * scale
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    if causal:
        s = np.where(np.tril(np.ones(s.shape[2:], bool)), s, -np.inf)
    return s


def softmax(s):
    with np.errstate(all="ignore"):
        peak = s.max(-1, keepdims=True)
        peak = np.where(np.isneginf(peak), 0, peak)
        p = np.exp(s - peak)
        total = p.sum(-1, keepdims=True)
        lse = np.log(total) + peak
        return np.where(total == 0, 0, p / total), lse[..., 0]


def forward(q, k, v, mask, scale, causal):
    p, lse = softmax(scores(q, k, mask, scale, causal))
    v = np.repeat(v.astype(np.float64), q.shape[1] // v.shape[1], 1)
    return np.einsum("bhls,bhsw->bhlw", p, v), lse


def backward_call(arrays, bases, lse, delta, g, g_base, scale, causal, masked):
    """``arrays`` are q, k, v and perhaps the mask; then come dense ``lse`` and ``delta``, and g."""
    q, k, v = arrays[:3]
    dtype = dtype_of(q)
    more = [(lse, lse), (delta, delta), (g, g_base)]
    pairs = [*zip(arrays, bases), *more]
    names = ("q", "k", "v", "mask") if masked else ("q", "k", "v")
    names = (*names, "lse", "delta", "g")
    params = [Buffer(n, dtype_of(base), base.shape) for n, (_, base) in zip(names, pairs)]
    params += [Buffer(n, dtype, x.shape, "out") for n, x in (("dq", q), ("dk", k), ("dv", v))]
    index = ("i0", "i1", "i2", "i3")
    store = Store("dq", tuple(map(Var, index)), Var("value", dtype))
    operands = tuple(operand(n, x, base) for n, (x, base) in enumerate(pairs))
    attrs = (("scale", scale), ("causal", causal))
    return AnchorCall(
        "attention_grad", attrs, operands, q.shape, dtype, tuple(params),
        Epilogue(index, "value", (store,)),
    )  # fmt: skip


def backward(q, k, v, mask, lse, delta, g, scale, causal):
    """dq, dk, dv in float64."""
    repeat, (b, groups, s, _) = q.shape[1] // k.shape[1], k.shape
    q, g = q.astype(np.float64), g.astype(np.float64)
    k, v = (np.repeat(x.astype(np.float64), repeat, 1) for x in (k, v))
    lse = np.where(np.isneginf(lse), 0, lse)
    p = np.exp(scores(q, k, mask, scale, causal) - lse[..., None])
    ds = p * (np.einsum("bhlw,bhsw->bhls", g, v) - delta[..., None])
    dq = np.einsum("bhls,bhse->bhle", ds, k) * scale
    dk = np.einsum("bhls,bhle->bhse", ds, q) * scale
    dv = np.einsum("bhls,bhlw->bhsw", p, g)
    return dq, *(x.reshape(b, groups, repeat, s, -1).sum(2) for x in (dk, dv))
