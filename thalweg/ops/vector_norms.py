"""Public norms of vectors and matrices, with PyTorch's subgradients at zero."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError, ValueRangeError
from ..ir.node import Node, Value
from .arithmetic import cast, constant
from .contract import Grads
from .dims import Dim, distinct_dims, normalize_dims
from .function import Call, function
from .link import ops
from .named import public
from .nn_shared import widened
from .pointwise import internal_composite
from .reduce import kept_shape, spread, without
from .reductions import require_elements
from .shape_functions import to_shape


def _vjp(node: Node, g: Value) -> Grads:
    """Where the norm is 0 (a kink) or the power of a zero element is infinite: 0."""
    x, order, dims = node.inputs[0], node.attrs["ord"], node.attrs["dims"]
    zero = constant(0, g.dtype)
    if order == 0:
        return (None,)
    if math.isinf(order):
        size = public.abs(x)
        hit = cast(public.eq(size, spread(node.out, x, dims)), g.dtype)
        share = g / ops.reduce_sum(hit, dims=dims)
        return (public.sgn(x) * (hit * spread(share, x, dims)),)
    if order == 1:
        return (public.sgn(x) * spread(g, x, dims),)
    if order == 2:
        scale = public.where(public.eq(node.out, 0), zero, g / node.out)
        return (x * spread(scale, x, dims),)
    power = public.pow(public.abs(x), order - 1)
    scale = public.where(public.eq(node.out, 0), zero, g / public.pow(node.out, order - 1))
    slope = public.where(public.eq(x, 0), zero, power) if order < 2 else power
    return (public.sgn(x) * slope * spread(scale, x, dims),)


@internal_composite("vector_norm", vjp=_vjp)
def norm_over(x: Value, ord: float, dims: tuple[int, ...]) -> Value:
    """The ``ord``-norm over ``dims``, which vanish."""
    size = public.abs(x)
    if ord == 0:
        return ops.reduce_sum(cast(public.ne(x, 0), size.dtype), dims=dims)  # type: ignore[no-any-return]
    if math.isinf(ord):
        return (ops.reduce_max if ord > 0 else ops.reduce_min)(size, dims=dims)  # type: ignore[no-any-return]
    if ord == 1:
        return ops.reduce_sum(size, dims=dims)  # type: ignore[no-any-return]
    if ord == 2:
        return public.sqrt(ops.reduce_sum(size * size, dims=dims))  # type: ignore[no-any-return]
    return public.pow(ops.reduce_sum(public.pow(size, ord), dims=dims), 1.0 / ord)  # type: ignore[no-any-return]


def _vector(op: str, x: Value, ord: float, dim: Dim, keepdim: bool, dtype: DType | None) -> Value:
    if dtype is not None:
        x = cast(x, dtype)
    if x.dtype.category not in ("float", "complex"):
        raise DTypeError(
            f"{op}: Expected a floating point or complex tensor as input. Got {x.dtype.name}"
        )
    dims = normalize_dims(dim, x.ndim)
    if ord < 0 or math.isinf(ord):
        if dim is None and not x.type.numel:
            raise ShapeError(
                f"{op} cannot compute the {ord} norm on an empty tensor because the operation does "
                "not have an identity"
            )
        require_elements(op, x, dims)
    result = cast(norm_over(widened(x), float(ord), dims), x.dtype.to_real())
    return to_shape(result, kept_shape(x.shape, dims)) if keepdim else result


def _example(*shape: int) -> Any:
    return np.random.default_rng(43).normal(size=shape)


def _vector_calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    yield Call((x,))
    for order in (0, 0.5, 1, 2, 2.5, 3, math.inf, -math.inf, -1):
        yield Call((x, order, 1), grad=order != 0)
    yield Call((x, 2, (0, -1), True))
    yield Call((np.zeros((2, 3)), 2, 1))
    yield Call((_example(),))
    yield Call((np.arange(3),), error=(RuntimeError, "floating point"))


@function("linalg.vector_norm", calls=_vector_calls)
def vector_norm(
    x: Value, ord: float = 2, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Value:
    """The ``ord``-norm of the elements over ``dim`` (default: all). ``ord``: any number, inf
    (largest magnitude), -inf (smallest), 0 (how many are not 0)."""
    return _vector("linalg.vector_norm", x, ord, dim, keepdim, dtype)


def _matrix_calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    for order in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        yield Call((x, order))
        yield Call((x, order, (0, 2), True))
    for order in ("nuc", 1, 2, math.inf):
        yield Call((np.zeros((0, 0)), order))
        yield Call((np.zeros((2, 0, 3)), order))
    yield Call((x, 3), error=(RuntimeError, "not supported"))


def _matrix(
    op: str, x: Value, ord: Any, dim: tuple[int, int], keepdim: bool, dtype: DType | None
) -> Value:
    """Matrix norms: reductions of the elements, or of the singular values."""
    rows, cols = distinct_dims(dim, x.ndim)
    if ord == "fro":
        return _vector(op, x, 2, (rows, cols), keepdim, dtype)
    if ord in ("nuc", 2, -2):
        return _spectral(op, x if dtype is None else cast(x, dtype), ord, rows, cols, keepdim)
    if ord not in (1, -1, math.inf, -math.inf):
        raise NormOrderError(
            f"{op}: Order {ord!r} not supported: expected 'fro', 'nuc', 1, -1, 2, -2, inf or -inf"
        )
    outer, inner = (cols, rows) if abs(ord) == 1 else (rows, cols)
    sums = _vector(op, x, 1, inner, True, dtype)
    picked = _largest(sums, outer, True) if ord > 0 else public.amin(sums, (outer,), True)
    if keepdim:
        return picked
    return public.squeeze(picked, (rows, cols))  # type: ignore[no-any-return]


def _largest(sizes: Value, dim: int, keepdim: bool) -> Value:
    """The maximum of numbers that are not negative; 0 of none."""
    if sizes.shape[dim] == 0:
        shape = without(sizes.shape, (dim,))
        return constant(0, sizes.dtype, kept_shape(sizes.shape, (dim,)) if keepdim else shape)
    return public.amax(sizes, (dim,), keepdim)  # type: ignore[no-any-return]


class NormOrderError(ValueRangeError, RuntimeError):
    """A matrix norm that does not exist (PyTorch raises RuntimeError here)."""


def _spectral(op: str, x: Value, ord: Any, rows: int, cols: int, keepdim: bool) -> Value:
    """The sum ("nuc"), the largest (2) or the smallest (-2) of the singular values."""
    kept = kept_shape(x.shape, (rows, cols))
    values = getattr(public, "linalg.svdvals")(public.movedim(x, (rows, cols), (-2, -1)))
    if ord == "nuc":
        found = ops.reduce_sum(values, dims=(values.ndim - 1,))
    elif ord > 0:
        found = _largest(values, values.ndim - 1, False)
    else:
        require_elements(op, values, (values.ndim - 1,))
        found = public.amin(values, -1)
    return to_shape(found, kept) if keepdim else found


@function("linalg.matrix_norm", calls=_matrix_calls)
def matrix_norm(
    A: Value,
    ord: Any = "fro",
    dim: tuple[int, int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Value:
    """Norms of matrices: "fro", 1 and -1 (columns' sums), inf and -inf (rows' sums), 2 and -2
    (the largest and smallest singular value), "nuc" (the sum of singular values)."""
    return _matrix("linalg.matrix_norm", A, ord, tuple(dim), keepdim, dtype)  # type: ignore[arg-type]


def _norm_calls() -> Iterator[Call]:
    x = _example(3, 4)
    yield Call((x,))
    yield Call((x, None, 1))
    yield Call((x, "fro"))
    yield Call((x, 1))
    yield Call((x, 3, 0, True))
    yield Call((x[0], math.inf))
    yield Call((_example(2, 3, 4),))


@function("linalg.norm", calls=_norm_calls)
def linalg_norm(
    A: Value, ord: Any = None, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Value:
    """`vector_norm` of one dimension (or, without ``ord`` and ``dim``, of all elements);
    `matrix_norm` of two."""
    if ord is None:
        if dim is None:
            flat = to_shape(A, (A.type.numel,))
            found = _vector("linalg.norm", flat, 2, None, False, dtype)
            return to_shape(found, (1,) * A.ndim) if keepdim else found
        return _vector("linalg.norm", A, 2, dim, keepdim, dtype)
    if dim is None and A.ndim not in (1, 2):
        raise ShapeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{A.ndim}D."
        )
    dims = distinct_dims(dim, A.ndim) if dim is not None else tuple(range(A.ndim))
    if len(dims) == 2:
        return _matrix("linalg.norm", A, ord, dims, keepdim, dtype)
    return _vector("linalg.norm", A, ord, dims, keepdim, dtype)


def _torch_norm_calls() -> Iterator[Call]:
    x = _example(3, 4)
    yield Call((x,))
    yield Call((x, 1))
    yield Call((x, 2, 1))
    yield Call((x, math.inf, 0, True))
    yield Call((x, 3, (0, 1)))
    yield Call((x, "nuc"))
    yield Call((_example(),))


@function("norm", method=True, calls=_torch_norm_calls)
def norm(
    input: Value,
    p: Any = "fro",
    dim: Dim = None,
    keepdim: bool = False,
    out: None = None,
    dtype: DType | None = None,
) -> Value:
    """The ``p``-norm of the elements over ``dim`` (default: all), always as a vector's.

    ``p`` "nuc" is the sum of the singular values of a matrix (or over two dimensions).
    """
    if p == "nuc":
        dims = tuple(range(input.ndim)) if dim is None else distinct_dims(dim, input.ndim)
        if len(dims) != 2:
            raise ShapeError(f"norm: 'nuc' expects two dimensions, got dim={dim} of {input.ndim}")
        return _matrix("norm", input, "nuc", dims, keepdim, dtype)
    return _vector("norm", input, 2 if p in ("fro", None) else p, dim, keepdim, dtype)
