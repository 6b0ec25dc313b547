"""Distances between vectors, and the losses of embeddings that are made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import int64
from ..core.errors import ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import coerce, constant
from .dims import normalize_dim
from .function import Call, composite
from .link import ops
from .losses import draw, loss, positive_part, reduced_loss, reductions, zeros_like
from .named import public
from .nn_shared import need_floating, whole_as_floating
from .reduce import spread
from .shape_functions import to_shape


def vector_norm(x: Value, p: float, dim: int | tuple[int, ...], keepdim: bool = False) -> Value:
    """`linalg.vector_norm`, late-bound."""
    return getattr(public, "linalg.vector_norm")(x, p, dim, keepdim)  # type: ignore[no-any-return]


def _pairwise_calls() -> Iterator[Call]:
    x, y = draw(3, 4), draw(4, 3).T + 0.3
    yield Call((x, y))
    yield Call((x, y), {"p": 1.0, "keepdim": True})
    yield Call((x, y, 3.0, 1e-3))
    yield Call((x, y), {"p": float("inf")})
    yield Call((x, y[0]))
    yield Call((x, y[:2]), error=(RuntimeError, "must match the size"))


@composite("pairwise_distance", aliases=("nn.functional.pairwise_distance",), out=False,
           calls=_pairwise_calls)  # fmt: skip
def pairwise_distance(
    x1: Value, x2: Value, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Value:
    """The p-norm of ``x1 - x2 + eps`` over the last dimension; shapes broadcast."""
    x, y = whole_as_floating(*coerce(x1, x2, op="pairwise_distance"))
    need_floating("pairwise_distance", x)
    return vector_norm(x - y + eps, p, x.ndim - 1, keepdim)


def _cosine_calls() -> Iterator[Call]:
    x, y = draw(3, 4), draw(4, 3).T + 0.3
    yield Call((x, y))
    yield Call((x, y), {"dim": 0})
    yield Call((x, y[:1], -1))
    yield Call((x, y), {"eps": 2.0})
    yield Call((x[0], y[0], 0))
    yield Call((np.zeros((2, 3)), draw(2, 3)), grad=False)
    yield Call((x, y, 2), error=(IndexError, "Dimension out of range"))


@composite("cosine_similarity", aliases=("nn.functional.cosine_similarity",), out=False,
           calls=_cosine_calls)  # fmt: skip
def cosine_similarity(x1: Value, x2: Value, dim: int = 1, eps: float = 1e-8) -> Value:
    """The dot product over ``dim`` of ``x1`` and ``x2``, each divided by max(its 2-norm, eps).

    Shapes broadcast; the result lacks ``dim``. RuntimeError for integers.
    """
    x, y = coerce(x1, x2, op="cosine_similarity")
    need_floating("cosine_similarity", x)
    axis = normalize_dim(dim, x.ndim)
    if not x.ndim:
        return cosine_similarity.body(to_shape(x, (1,)), to_shape(y, (1,)), 0, eps)  # type: ignore[no-any-return]
    cosine = _unit(x, axis, eps) * _unit(y, axis, eps)
    return ops.reduce_sum(cosine, dims=(axis,))  # type: ignore[no-any-return]


def _unit(x: Value, dim: int, eps: float) -> Value:
    """x / max(norm, eps), with the gradient of x / norm as PyTorch has it."""
    norm = vector_norm(x, 2.0, dim)
    short = ops.maximum(norm, constant(eps, norm.dtype, norm.shape)) - norm
    return x / spread(norm + ops.stop_gradient(short), x, (dim,))


def _pdist_calls() -> Iterator[Call]:
    for p in (2.0, 1.0, 3.0, float("inf")):
        yield Call((draw(4, 3), p))
    yield Call((draw(2, 5),))
    yield Call((draw(1, 3),))
    yield Call((draw(3),), error=(RuntimeError, "pdist only supports 2D tensors"))


@composite("pdist", aliases=("nn.functional.pdist",), out=False, calls=_pdist_calls)
def pdist(input: Value, p: float = 2) -> Value:
    """p-norm distances of all pairs of rows i < j, in order: (n, d) -> (n (n - 1) / 2)."""
    if input.ndim != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if p < 0:
        raise ShapeError(f"pdist only supports non-negative p values, got {p}")
    need_floating("pdist", input)
    n = input.shape[0]
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    first, second = (
        ops.take(input, ops.table(values=tuple(pair[k] for pair in pairs), dtype=int64), batch=0)
        for k in (0, 1)
    )
    return vector_norm(first - second, float(p), 1)


# ---- losses


def _cosine_loss_calls() -> Iterator[Call]:
    x, y, t = draw(4, 3), draw(3, 4).T + 0.3, np.array([1, -1, -1, 1])
    yield from reductions(x, y, t)
    yield from reductions(x, y, t, margin=0.2)
    yield Call((x[0], y[0], np.array(-1)))
    yield Call((x, y[:2], t), error=(RuntimeError, "1D target tensor expects 2D input tensors"))
    yield Call((x, y, t[:, None]), error=(RuntimeError, "0D or 1D target tensor expected"))


@loss("cosine_embedding_loss", calls=_cosine_loss_calls)
def cosine_embedding_loss(
    input1: Value,
    input2: Value,
    target: Value,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """1 - cos where ``target`` is 1, max(0, cos - margin) where it is -1; reduced.

    (n, d), (n, d), (n), or (d), (d), (). RuntimeError for other shapes.
    """
    if target.ndim > 1:
        raise ShapeError(
            f"0D or 1D target tensor expected, multi-target not supported: got {target.ndim}D"
        )
    if input1.ndim != target.ndim + 1 or input1.shape != input2.shape:
        raise ShapeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors of one shape, "
            f"but found inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    x, y = coerce(input1, input2, op="cosine_embedding_loss", to_float=True)
    last = (x.ndim - 1,)

    def product(a: Value, b: Value) -> Value:
        return ops.reduce_sum(a * b, dims=last)  # type: ignore[no-any-return]

    lengths = (product(x, x) + 1e-12) * (product(y, y) + 1e-12)
    cosine = product(x, y) / ops.sqrt(lengths)
    zero = zeros_like(cosine)
    alike = public.where(public.eq(target, 1), 1.0 - cosine, zero)
    apart = public.where(public.eq(target, -1), positive_part(cosine - margin), zero)
    return reduced_loss(alike + apart, reduction)


def _ranking_calls() -> Iterator[Call]:
    x, y, t = draw(3, 4), draw(4, 3).T, np.where(draw(12).reshape(3, 4) > 0, 1.0, -1.0)
    yield from reductions(x, y, t)
    yield from reductions(x, y, t, margin=0.5)
    message = "All input tensors should have same dimension"
    yield Call((x, y, t[0]), error=(RuntimeError, message))


@loss("margin_ranking_loss", calls=_ranking_calls)
def margin_ranking_loss(
    input1: Value,
    input2: Value,
    target: Value,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """max(0, -target (input1 - input2) + margin), reduced. RuntimeError unless ranks agree."""
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {list(input1.shape)}, input2: {list(input2.shape)}, target: "
            f"{list(target.shape)}"
        )
    x, y, t = coerce(input1, input2, target, op="margin_ranking_loss")
    return reduced_loss(_clamped(-t * (x - y) + margin), reduction)


def _clamped(value: Value) -> Value:
    """``clamp_min(value, 0)``, whose gradient at 0 is 1."""
    return public.clamp_min(value, 0)  # type: ignore[no-any-return]


def _hinge_calls() -> Iterator[Call]:
    x, t = draw(3, 4), np.where(draw(4, 3).T > 0, 1.0, -1.0)
    yield from reductions(x, t)
    yield Call((x, t), {"margin": 0.5})


@loss("hinge_embedding_loss", calls=_hinge_calls)
def hinge_embedding_loss(
    input: Value,
    target: Value,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """input where ``target`` is 1, max(0, margin - input) where it is -1; reduced."""
    x, t = coerce(input, target, op="hinge_embedding_loss")
    zero = zeros_like(x)
    apart = public.where(public.ne(t, 1), _clamped(margin - x), zero)
    alike = public.where(public.ne(t, -1), x, zero)
    return reduced_loss(apart + alike, reduction)


def _triplet_calls() -> Iterator[Call]:
    a, p, n = draw(3, 4), draw(4, 3).T + 0.3, draw(12).reshape(3, 4)
    yield from reductions(a, p, n)
    yield from reductions(a, p, n, swap=True, margin=0.5)
    yield Call((a, p, n), {"p": 1.0, "eps": 1e-3})
    yield Call((a[0], p[0], n[0]))
    yield Call((a, p, n[0]), error=(RuntimeError, "the same number of dimensions"))
    yield Call((a, p, n), {"margin": 0.0}, error=(ValueError, "margin must be greater than 0"))


@loss("triplet_margin_loss", calls=_triplet_calls)
def triplet_margin_loss(
    anchor: Value,
    positive: Value,
    negative: Value,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Value:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), reduced; d is
    `pairwise_distance`.

    ``swap`` takes d(positive, negative) where that is smaller than the second distance (Balntas
    et al., BMVC 2016). RuntimeError unless ranks agree, ValueError unless ``margin`` is positive.
    """
    if margin <= 0:
        raise ValueRangeError(f"margin must be greater than 0, got {margin}")
    given: Any = (anchor, positive, negative)
    if len({v.ndim for v in given}) > 1:
        sizes = ", ".join(f"{v.ndim}D" for v in given)
        raise ShapeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: {sizes} inputs"
        )
    near = pairwise_distance(anchor, positive, float(p), eps)
    far = pairwise_distance(anchor, negative, float(p), eps)
    if swap:
        far = ops.minimum(far, pairwise_distance(positive, negative, float(p), eps))
    return reduced_loss(_clamped(near - far + margin), reduction)


__all__ = ["cosine_similarity", "pairwise_distance", "vector_norm"]
