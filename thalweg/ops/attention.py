"""Scaled dot-product attention: one named node, from queries to mixed values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import bool_, int64
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import broadcast_shapes, broadcast_to, cast, constant
from .attention_core import fits_attention, fused_attention
from .function import Call, function
from .link import ops
from .named import public
from .nn_shared import need_floating, widened
from .philox import Stream
from .pointwise import expect_tensor, internal_composite
from .random_fill import fill_bernoulli
from .reduce import spread
from .shape_functions import to_shape
from .softmax import softmax_along


def _causal(shape: tuple[int, ...]) -> Value:
    """Position j is visible to query i if j <= i; (..., queries, keys)."""
    rows, cols = len(shape) - 2, len(shape) - 1
    return ops.le(  # type: ignore[no-any-return]
        ops.iota(shape=shape, dim=cols, dtype=int64), ops.iota(shape=shape, dim=rows, dtype=int64)
    )


def _visible_softmax(scores: Value) -> Value:
    """Softmax over the last dimension; rows that see nothing (all -inf) become 0, not NaN."""
    last = scores.ndim - 1
    peak = ops.stop_gradient(ops.reduce_max(scores, dims=(last,)))
    blind = spread(ops.eq(peak, constant(-math.inf, peak.dtype, peak.shape)), scores, (last,))
    zero = constant(0, scores.dtype, scores.shape)
    weights = softmax_along(ops.where(blind, zero, scores), dim=last)
    return ops.where(blind, zero, weights)  # type: ignore[no-any-return]


@internal_composite("scaled_dot_product_attention")
def attend(
    query: Value,
    key: Value,
    value: Value,
    mask: Value | None,
    kept: Value | None,
    scale: float,
    is_causal: bool,
) -> Value:
    """``softmax(query keyᵀ scale + mask) * kept @ value``.

    (..., l, e), (..., s, e), (..., s, v) -> (..., l, v) with equal leading dimensions, but for
    heads (dimension -3) of key and value, which may be a divisor of the query's; ``mask`` (bool:
    true is visible, or numbers to add) broadcasts to the scores (..., l, s), ``kept`` (the factors
    of dropout) has their shape. Scores of halves are computed in float32.
    """
    if kept is None and fits_attention(query, key, value):
        shape = (*query.shape[:-1], key.shape[-2])
        whole = None if mask is None else broadcast_to(mask, shape)
        return fused_attention(query, key, value, whole, scale, is_causal)
    if query.ndim > 2:
        key, value = (_repeated(query.shape[-3], x) for x in (key, value))
    key_order = (*range(key.ndim - 2), key.ndim - 1, key.ndim - 2)
    scores = widened(public.matmul(query, ops.permute(key, dims=key_order))) * scale
    hidden = constant(-math.inf, scores.dtype, scores.shape)
    may_be_blind = is_causal and key.shape[-2] == 0
    if is_causal:
        scores = ops.where(_causal(scores.shape), scores, hidden)
    if mask is not None:
        may_be_blind = True
        if mask.dtype is bool_:
            scores = ops.where(broadcast_to(mask, scores.shape), scores, hidden)
        else:
            scores = scores + broadcast_to(cast(mask, scores.dtype), scores.shape)
    if may_be_blind:
        weights = _visible_softmax(scores)
    else:
        weights = softmax_along(scores, dim=scores.ndim - 1)
    weights = cast(weights, value.dtype)
    if kept is not None:
        weights = weights * kept
    return public.matmul(weights, value)  # type: ignore[no-any-return]


def _check(query: Value, key: Value, value: Value, mask: Value | None, is_causal: bool) -> None:
    given = {"query": query, "key": key, "value": value}
    kinds = " ".join(f"{n}.dtype: {v.dtype}" for n, v in given.items())
    sizes = " ".join(f"{n}: {list(v.shape)}" for n, v in given.items())
    if min(v.ndim for v in given.values()) < 2:
        raise ShapeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got " + sizes
        )
    if len({v.dtype for v in given.values()}) > 1:
        raise DTypeError("Expected query, key, and value to have the same dtype, but got " + kinds)
    need_floating("scaled_dot_product_attention", query)
    if query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            "scaled_dot_product_attention: expected query and key of one size in the last "
            f"dimension, got {sizes}"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            "scaled_dot_product_attention: expected as many values as keys in dimension -2, got "
            + sizes
        )
    if mask is None:
        return
    if is_causal:
        raise ShapeError(
            "scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
        )
    if mask.dtype not in (bool_, query.dtype) and mask.dtype.name != "float32":
        raise DTypeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
            f"attn_mask.dtype: {mask.dtype} and  query.dtype: {query.dtype} instead."
        )


def _check_groups(name: str, heads: int, x: Value) -> None:
    count = x.shape[-3]
    if count == 0 or heads % count:
        raise ShapeError(
            "Number of heads in key and value must divide the number of heads in query: got "
            f"{count} in {name} and {heads} in query"
        )


def _repeated(heads: int, x: Value) -> Value:
    """Each head of keys or values repeated for its group of query heads."""
    count = x.shape[-3]
    if count == heads:
        return x
    lead, rest = x.shape[:-2], x.shape[-2:]
    wide = (*lead, heads // count, *rest)
    return to_shape(broadcast_to(to_shape(x, (*lead, 1, *rest)), wide), (*lead[:-1], heads, *rest))


def _check_mask(mask: Value | None, shape: tuple[int, ...]) -> None:
    if (
        mask is not None
        and broadcast_shapes(shape, mask.shape, op="scaled_dot_product_attention") != shape
    ):
        raise ShapeError(
            f"scaled_dot_product_attention: expected an attn_mask that broadcasts to "
            f"{list(shape)}, got {list(mask.shape)}"
        )


def _attention_calls() -> Iterator[Call]:
    rng = np.random.default_rng(14)
    q, k, v = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 6, 5)), rng.normal(
        size=(2, 3, 6, 2)
    )  # fmt: skip
    seen = rng.random((4, 6)) < 0.6
    yield Call((q, k, v))
    yield Call((q, k, v), {"is_causal": True})
    yield Call((q, k, v, seen))
    yield Call((q, k, v, rng.normal(size=(2, 1, 4, 6))))
    yield Call((q, k, v, np.where(seen, 0.0, -np.inf)))
    yield Call((q, k, v, np.zeros((4, 6), bool)))
    yield Call((q, k, v), {"scale": 0.3})
    yield Call((q[0, 0], k[0, 0], v[0, 0]))
    yield Call((q[0], k[0], v[0], seen[None]))
    yield Call((np.tile(q, (1, 2, 1, 1)), k, v), {"enable_gqa": True})
    yield Call((q, k[:, :1], v[:1]))
    yield Call((q.astype(np.float16), k.astype(np.float16), v.astype(np.float16)), grad=False)
    yield Call((q, k[:, :, :0], v[:, :, :0]))
    yield Call((q[:, :, :0], k, v))
    yield Call((q * 100, k * 100, v))
    same = "Expected query, key, and value to have the same dtype"
    yield Call((q, k.astype(np.float32), v), error=(RuntimeError, same))
    yield Call((q[0, 0, 0], k, v), error=(RuntimeError, "at least 2 dimensional"))
    yield Call((q, k[..., :3], v), error=(RuntimeError, "one size in the last dimension"))
    yield Call((q, k, v, seen * 1), error=(RuntimeError, "Expected attn_mask dtype to be bool"))
    yield Call((q, k, v, seen[:3]), error=(RuntimeError, "must match the size"))
    wrong = (RuntimeError, "must divide the number of heads")
    yield Call((q, k[:, :2], v[:, :2]), {"enable_gqa": True}, error=wrong)
    wrong = (RuntimeError, "dropout probability has to be between 0 and 1")
    yield Call((q, k, v), {"dropout_p": 2.0}, error=wrong)


class DropoutError(ValueRangeError, RuntimeError):
    """A probability outside [0, 1] (PyTorch raises RuntimeError here)."""


@function("nn.functional.scaled_dot_product_attention", out=False, calls=_attention_calls)
def scaled_dot_product_attention(
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """``softmax(query @ key.T * scale + mask) @ value``, with dropout of the weights.

    (..., l, e), (..., s, e), (..., s, v) -> (..., l, v); leading dimensions broadcast. ``scale``
    is 1 / sqrt(e) unless given. ``attn_mask`` broadcasts to (..., l, s): bool (true takes part) or
    numbers to add; ``is_causal`` hides keys after the query's position. Queries that see no key
    give 0. With ``enable_gqa`` groups of query heads (dimension -3) share heads of keys and values
    (Ainslie et al., arXiv 2305.13245). RuntimeError for shapes and dtypes that do not fit. Vaswani
    et al., arXiv 1706.03762.

    Graphs with dropout are recorded by `attention_with_dropout`, which takes the random numbers.
    """
    if dropout_p:
        _check_dropout(dropout_p)
        raise ValueRangeError(
            "scaled_dot_product_attention: dropout needs random numbers: attention_with_dropout"
        )
    return _attention(query, key, value, attn_mask, is_causal, scale, enable_gqa)


def _dropout_calls() -> Iterator[Call]:
    rng = np.random.default_rng(14)
    q, k, v = (rng.normal(size=s) for s in ((2, 4, 5), (2, 6, 5), (2, 6, 3)))
    yield Call((q, k, v), {"dropout_p": 0.5})
    yield Call((q, k, v), {"dropout_p": 1.0, "is_causal": True})
    wrong = (RuntimeError, "dropout probability has to be between 0 and 1")
    yield Call((q, k, v), {"dropout_p": -0.5}, error=wrong)


_dropout_calls.no_twin = (  # type: ignore[attr-defined]
    "nn.functional.scaled_dot_product_attention where it draws random numbers"
)


@function("attention_with_dropout", public=False, random=True, out=False, calls=_dropout_calls)
def attention_with_dropout(
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    rng: Stream,
) -> Value:
    """`scaled_dot_product_attention`, whose weights are zeroed with probability ``dropout_p`` and
    otherwise divided by ``1 - dropout_p``."""
    _check_dropout(dropout_p)
    return _attention(query, key, value, attn_mask, is_causal, scale, enable_gqa, dropout_p, rng)


def _check_dropout(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise DropoutError(f"dropout probability has to be between 0 and 1, but got {p}")


def _attention(
    query: Value, key: Value, value: Value, mask: Value | None, is_causal: bool,
    scale: float | None, enable_gqa: bool, dropout_p: float = 0.0, rng: Stream | None = None,
) -> Value:  # fmt: skip
    q, k, v = (
        expect_tensor("scaled_dot_product_attention", x, n, i)
        for i, (n, x) in enumerate({"query": query, "key": key, "value": value}.items(), 1)
    )
    _check(q, k, v, mask, is_causal)
    if enable_gqa:
        if min(x.ndim for x in (q, k, v)) < 3:
            raise ShapeError("enable_gqa: expected heads in dimension -3 of query, key and value")
        for name, x in (("key", k), ("value", v)):
            _check_groups(name, q.shape[-3], x)
        if k.shape[-3] != v.shape[-3]:
            k, v = _repeated(q.shape[-3], k), _repeated(q.shape[-3], v)
    shared = enable_gqa and k.shape[-3] != q.shape[-3]
    of_keys = [(*x.shape[:-3], *(q.shape[-3:-2] if shared else x.shape[-3:-2])) for x in (k, v)]
    lead = broadcast_shapes(q.shape[:-2], *of_keys, op="scaled_dot_product_attention")
    q = broadcast_to(q, (*lead, *q.shape[-2:]))
    if shared:
        lead = (*lead[:-1], k.shape[-3])
    k, v = (broadcast_to(x, (*lead, *x.shape[-2:])) for x in (k, v))
    shape = (*q.shape[:-1], k.shape[-2])
    _check_mask(mask, shape)
    kept: Any = None
    if rng is not None and dropout_p > 0.0:
        survive = 1.0 / (1.0 - dropout_p) if dropout_p < 1.0 else 0.0
        kept = fill_bernoulli(constant(0, q.dtype, shape), 1.0 - dropout_p, rng=rng) * survive
    width = q.shape[-1]
    factor = scale if scale is not None else 1.0 / math.sqrt(width) if width else 1.0
    return attend(q, k, v, mask, kept, scale=float(factor), is_causal=bool(is_causal))  # type: ignore[no-any-return]


__all__ = ["attend", "attention_with_dropout", "scaled_dot_product_attention"]
