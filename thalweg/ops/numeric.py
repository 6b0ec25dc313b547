"""Numerical analysis of samples: trapezoidal rule, finite differences, covariance, distances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations as _choices
from itertools import combinations_with_replacement as _choices_with_replacement
from typing import Any

import numpy as np

from ..core.dtypes import float32, int32, int64
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Value
from .arithmetic import Operand, cast, coerce_float, conj, constant
from .check import require
from .dims import normalize_dim
from .function import Call, function
from .link import ops
from .named import public
from .pointwise import expect_tensor
from .shape_functions import slice_dim, to_shape


def _example(*shape: int) -> Any:
    return np.random.default_rng(43).normal(size=shape)


def _along(x: Value, dim: int, start: int, stop: int) -> Value:
    """Elements ``start`` to ``stop`` of a dimension, both counted from either end."""
    extent = x.shape[dim]
    first, last, _ = slice(start, stop or None).indices(extent)
    return slice_dim(x, dim, first, max(first, last))


# ---- the trapezoidal rule


def _widths(op: str, y: Value, x: Value | None, dx: float | None, dim: int) -> Any:
    """The distances between the samples of ``y`` along ``dim``: a number, or a tensor."""
    if x is None:
        return 1 if dx is None else dx
    if dx is not None:
        raise ShapeError(f"{op}: expected x or dx, got both")
    if x.ndim == 0 or x.dtype.category == "bool" or y.dtype.category == "bool":
        raise ShapeError(f"{op}: received a bool or 0-d input for `x` or `y`")
    if x.ndim == 1:
        if x.shape[0] != y.shape[dim]:
            raise ShapeError(
                f"{op}: There must be one `x` value for each sample point, got {x.shape[0]} for "
                f"{y.shape[dim]}"
            )
        x = to_shape(x, tuple(x.shape[0] if d == dim else 1 for d in range(y.ndim)))
    elif x.ndim < y.ndim:
        x = to_shape(x, (1,) * (y.ndim - x.ndim) + x.shape)
    axis = dim + x.ndim - y.ndim if x.ndim > y.ndim else dim
    return _along(x, axis, 1, 0) - _along(x, axis, 0, -1)


def _trapezoid_calls() -> Iterator[Call]:
    y = _example(3, 4)
    yield Call((y,))
    yield Call((y,), {"dx": 0.5, "dim": 0})
    yield Call((y, np.array([0.0, 1.0, 1.5, 4.0])))
    yield Call((y, _example(3, 4)), {"dim": 0})
    yield Call((np.arange(5),), grad=False)
    yield Call((y, np.zeros(3)), error=(RuntimeError, "one `x` value for each sample"))


def trapezoid(y: Value, x: Value | None = None, *, dx: float | None = None, dim: int = -1) -> Value:
    """The integral of ``y`` along ``dim`` by the trapezoidal rule, sampled at ``x`` or every
    ``dx`` (1)."""
    dim = normalize_dim(dim, y.ndim)
    if not y.ndim or not y.shape[dim]:
        return constant(0, y.dtype, y.shape[:dim] + y.shape[dim + 1 :])
    width = _widths("trapezoid", y, x, dx, dim)
    between = (_along(y, dim, 1, 0) + _along(y, dim, 0, -1)) * width
    return public.sum(between, dim) / 2.0  # type: ignore[no-any-return]


function("trapezoid", out=False, calls=_trapezoid_calls)(trapezoid)


@function("trapz", out=False, calls=_trapezoid_calls)
def trapz(y: Value, x: Value | None = None, *, dx: float | None = None, dim: int = -1) -> Value:
    """The same as `trapezoid`."""
    return trapezoid(y, x, dx=dx, dim=dim)


@function("cumulative_trapezoid", out=False, calls=_trapezoid_calls)
def cumulative_trapezoid(
    y: Value, x: Value | None = None, *, dx: float | None = None, dim: int = -1
) -> Value:
    """`trapezoid` up to each sample of ``y`` but the first."""
    dim = normalize_dim(dim, y.ndim)
    width = _widths("cumulative_trapezoid", y, x, dx, dim)
    between = (_along(y, dim, 1, 0) + _along(y, dim, 0, -1)) * width
    return public.cumsum(between, dim) / 2.0  # type: ignore[no-any-return]


# ---- finite differences


def _gradient_calls() -> Iterator[Call]:
    x = _example(4, 5)
    yield Call((x,))
    yield Call((x,), {"dim": 1, "spacing": 0.5, "edge_order": 2})
    yield Call((x,), {"dim": (0, 1), "spacing": [2.0, 0.5]})
    yield Call((x,), {"dim": 0, "spacing": [np.array([0.0, 1.0, 3.0, 3.5])], "edge_order": 2})
    yield Call((np.arange(6),), grad=False)
    yield Call((x,), {"edge_order": 3}, error=(RuntimeError, "edge_order"))


def _spaced(x: Value, dim: int, step: float, edge_order: int) -> Value:
    inner = (_along(x, dim, 2, 0) - _along(x, dim, 0, -2)) / (2.0 * step)
    if edge_order == 1:
        first = (_along(x, dim, 1, 2) - _along(x, dim, 0, 1)) / step
        last = (_along(x, dim, -1, 0) - _along(x, dim, -2, -1)) / step
    else:
        a, b, c = (_along(x, dim, i, i + 1) for i in range(3))
        first = (b * 4.0 - a * 3.0 - c) / (2.0 * step)
        a, b, c = (_along(x, dim, i, i + 1) for i in (-1, -2, -3))
        last = (a * 3.0 - b * 4.0 + c) / (2.0 * step)
    return public.cat((first, inner, last), dim)  # type: ignore[no-any-return]


def _located(x: Value, dim: int, at: Value, edge_order: int) -> Value:
    shape = tuple(at.shape[0] if d == dim else 1 for d in range(x.ndim))
    at = to_shape(at, shape)
    apart = _along(at, dim, 1, 0) - _along(at, dim, 0, -1)
    h, k = _along(apart, dim, 0, -1), _along(apart, dim, 1, 0)
    low, mid, high = _along(x, dim, 0, -2), _along(x, dim, 1, -1), _along(x, dim, 2, 0)
    inner = low * (-k / (h * (h + k))) + mid * ((k - h) / (h * k)) + high * (h / (k * (h + k)))
    first = _edge(x, dim, apart, (0, 1, 2), edge_order)
    last = _edge(x, dim, apart, (-1, -2, -3), edge_order)
    return public.cat((first, inner, last), dim)  # type: ignore[no-any-return]


def _edge(x: Value, dim: int, apart: Value, at: tuple[int, ...], edge_order: int) -> Value:
    """The one-sided derivative at element ``at[0]``; ``at`` goes inwards."""
    sign = 1.0 if at[0] == 0 else -1.0
    a, b, c = (_along(x, dim, i, i + 1) for i in at) if edge_order == 2 else (None, None, None)
    h = _along(apart, dim, at[0], at[0] + 1)
    if edge_order == 1:
        outer, inner = (_along(x, dim, i, i + 1) for i in at[:2])
        return (inner - outer) * sign / h
    k = _along(apart, dim, at[1], at[1] + 1)
    assert a is not None and b is not None and c is not None
    slope = b * ((h + k) / (h * k)) - a * ((h * 2.0 + k) / (h * (h + k))) - c * (h / (k * (h + k)))
    return slope * sign


@function("gradient", out=False, calls=_gradient_calls)
def gradient(
    input: Value, *, spacing: Any = None, dim: int | Sequence[int] | None = None,
    edge_order: int = 1,
) -> tuple[Value, ...]:  # fmt: skip
    """The derivatives of the samples ``input`` along each of ``dim`` by central differences.

    ``spacing``: the distance of the samples, one for each dimension, or a list of 1-d tensors
    with their coordinates; ``edge_order`` (1 or 2): that of the differences at both ends.
    """
    if edge_order not in (1, 2):
        raise ShapeError(
            f"torch.gradient only supports edge_order=1 and edge_order=2, got {edge_order}"
        )
    if input.dtype.category == "bool" or input.dtype.name == "uint8":
        raise DTypeError(f"torch.gradient does not support {input.dtype} input")
    if dim is None:
        several = isinstance(spacing, (tuple, list))
        given = tuple(range(len(spacing) if several and len(spacing) > 1 else input.ndim))
        if several and len(spacing) == 1:
            given = (0,) if input.ndim == 1 else given
        if several and len(spacing) not in (1, input.ndim):
            raise ShapeError(
                f"torch.gradient expected spacing to be unspecified, a number or {input.ndim} of "
                f"them, got {len(spacing)}"
            )
    else:
        given = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)  # type: ignore[assignment]
    dims = [normalize_dim(d, input.ndim) for d in given]
    if len(set(dims)) != len(dims):
        raise ShapeError(f"dim {list(given)}: one dimension appears multiple times in the list")
    spacings = list(spacing) if isinstance(spacing, (tuple, list)) else [spacing] * len(dims)
    if len(spacings) != len(dims):
        raise ShapeError(
            f"torch.gradient expected one spacing for each of {len(dims)} dimensions, got "
            f"{len(spacings)}"
        )
    found = []
    for d, step in zip(dims, spacings):
        if not input.ndim or input.shape[d] < edge_order + 1:
            raise ShapeError(
                f"torch.gradient expected each dimension size to be at least edge_order+1, got "
                f"{list(input.shape)}"
            )
        if isinstance(step, Value):
            if step.ndim != 1 or step.shape[0] != input.shape[d]:
                raise ShapeError(
                    f"torch.gradient expected each spacing tensor to be 1-d with the "
                    f"{input.shape[d]} coordinates of its dimension, got {list(step.shape)}"
                )
            found.append(_located(input, d, step, edge_order))
        else:
            found.append(_spaced(input, d, 1.0 if step is None else step, edge_order))
    return tuple(found)


# ---- covariance


def _cov_calls() -> Iterator[Call]:
    x = _example(3, 5)
    counts, weights = np.array([1, 2, 1, 3, 1]), np.linspace(0.2, 1, 5)
    yield Call((x,))
    yield Call((x,), {"correction": 0})
    yield Call((x,), {"fweights": counts, "aweights": weights})
    yield Call((x[0],))
    yield Call((np.arange(6).reshape(2, 3),), grad=False)
    yield Call((_example(2, 2, 2),), error=(RuntimeError, "two or fewer dimensions"))


def _checked_weights(kind: str, weights: Value, categories: tuple[str, ...], count: int) -> Value:
    if weights.ndim > 1:
        raise ShapeError(f"cov(): expected {kind} to have one or fewer dimensions")
    if weights.dtype.category not in categories:
        raise DTypeError(f"cov(): expected {kind} to have {categories[0]} dtype")
    if weights.type.numel != count:
        raise ShapeError(
            f"cov(): expected {kind} to have the same numel as there are observations, {count}"
        )
    return weights


@function("cov", method=True, out=False, calls=_cov_calls)
def cov(
    input: Value, *, correction: int = 1, fweights: Value | None = None,
    aweights: Value | None = None,
) -> Value:  # fmt: skip
    """The covariance matrix of the variables in the rows of ``input``, whose columns are
    observations; ``fweights`` says how often each occurred, ``aweights`` how much it counts."""
    if input.ndim > 2:
        raise ShapeError(f"cov(): expected input to have two or fewer dimensions, got {input.ndim}")
    if input.dtype.category == "bool":
        raise DTypeError("cov(): bool dtype is not supported for input")
    x = input if input.ndim == 2 else to_shape(input, (1, input.type.numel))
    x = coerce_float(x)
    count = x.shape[1]
    weight: Any = None
    if fweights is not None:
        weight = _checked_weights("fweights", fweights, ("int",), count)
        valid = public.ge(weight, 0)
        weight = require(weight, valid, "cov(): fweights cannot be negative")
    if aweights is not None:
        scale = _checked_weights("aweights", aweights, ("float",), count)
        valid = public.ge(scale, 0)
        scale = require(scale, valid, "cov(): aweights cannot be negative")
        weight = scale if weight is None else weight * scale
    total: Any = count if weight is None else public.sum(weight)
    middle = public.div(public.sum(x if weight is None else x * weight, 1), total)
    centered = x - public.unsqueeze(middle, 1)
    if weight is None or aweights is None or correction == 0:
        norm: Any = total - correction
    else:
        norm = total - public.sum(weight * aweights) * correction / total
    norm = public.clamp(norm, min=0) if isinstance(norm, Value) else max(norm, 0)
    right = centered if weight is None else centered * weight
    centered = cast(centered, right.dtype)
    product = public.matmul(centered, conj(public.t(right)))
    return public.squeeze(public.div(product, norm))  # type: ignore[no-any-return]


def _corrcoef_calls() -> Iterator[Call]:
    yield Call((_example(3, 5),))
    yield Call((_example(5),))
    yield Call((_example(2, 2, 2),), error=(RuntimeError, "two or fewer dimensions"))


@function("corrcoef", method=True, out=False, calls=_corrcoef_calls)
def corrcoef(input: Value) -> Value:
    """The matrix of Pearson's correlations of the rows of ``input``."""
    if input.ndim > 2:
        raise ShapeError(
            f"corrcoef(): expected input to have two or fewer dimensions, got {input.ndim}"
        )
    c = cov(input)
    if not c.ndim:
        return c / c  # type: ignore[no-any-return]
    d = public.diagonal(c)
    deviation = public.sqrt(ops.real(d) if c.dtype.is_complex else d)
    c = c / public.unsqueeze(deviation, 1) / deviation
    if c.dtype.is_complex:
        return public.complex(  # type: ignore[no-any-return]
            public.clamp(ops.real(c), -1, 1), public.clamp(ops.imag(c), -1, 1)
        )
    return public.clamp(c, -1, 1)  # type: ignore[no-any-return]


# ---- distances and norms


def _dist_calls() -> Iterator[Call]:
    yield Call((_example(3, 4), _example(4)))
    for p in (1, 3.5, float("inf")):
        yield Call((_example(3, 4), _example(3, 4), p))
    yield Call((_example(3, 4), _example(3, 4), 0), grad=False)


@function("dist", method=True, out=False, calls=_dist_calls)
def dist(input: Value, other: Value, p: float = 2) -> Value:
    """The ``p``-norm of all elements of ``input - other``."""
    return getattr(public, "linalg.vector_norm")(input - other, p)  # type: ignore[no-any-return]


def _renorm_calls() -> Iterator[Call]:
    yield Call((_example(3, 4), 2, 0, 1.0))
    yield Call((_example(3, 4, 2), 1, -1, 5.0))
    yield Call((_example(3), 2, 0, 1.0), error=(RuntimeError, "at least 2 dimensions"))


@function("renorm", method=True, inplace=True, calls=_renorm_calls)
def renorm(input: Value, p: float, dim: int, maxnorm: float) -> Value:
    """Each slice along ``dim`` whose ``p``-norm exceeds ``maxnorm`` scaled down to it."""
    if not isinstance(p, (int, float)) or p <= 0:
        raise ShapeError(f"renorm: non-positive-norm not supported, got p={p}")
    if isinstance(maxnorm, complex) or maxnorm < 0:
        raise ShapeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if input.ndim < 2:
        raise ShapeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    if input.dtype.category not in ("float", "complex"):
        raise DTypeError(f"renorm: expected a floating or complex dtype, got {input.dtype}")
    dim = normalize_dim(dim, input.ndim)
    others = tuple(d for d in range(input.ndim) if d != dim)
    wide = cast(input, float32) if input.dtype.name in ("float16", "bfloat16") else input
    norm = getattr(public, "linalg.vector_norm")(wide, p, others, True)
    factor = public.where(public.gt(norm, maxnorm), maxnorm / (norm + 1e-7), 1.0)
    return cast(wide * cast(factor, wide.dtype), input.dtype)


def _rsub_calls() -> Iterator[Call]:
    yield Call((_example(3, 4), _example(4)))
    yield Call((_example(3, 4), 2.5), {"alpha": 2})


@function("rsub", out=False, calls=_rsub_calls)
def rsub(input: Value, other: Operand, *, alpha: float = 1) -> Value:
    """``other - alpha * input``."""
    expect_tensor("rsub", input)
    if not isinstance(other, Value):
        return public.add(public.mul(input, -alpha), other)  # type: ignore[no-any-return]
    return public.sub(other, input, alpha=alpha)  # type: ignore[no-any-return]


# ---- order and choice


def _msort_calls() -> Iterator[Call]:
    yield Call((_example(4, 3),))
    yield Call((_example(),))


@function("msort", method=True, calls=_msort_calls)
def msort(input: Value) -> Value:
    """The elements sorted along the first dimension."""
    return public.sort(input, 0)[0] if input.ndim else input


def _combinations_calls() -> Iterator[Call]:
    for r in (0, 1, 2, 3):
        yield Call((_example(4), r))
    yield Call((_example(3), 2, True))
    yield Call((_example(2, 2),), error=(RuntimeError, "1D"))


@function("combinations", out=False, calls=_combinations_calls)
def combinations(input: Value, r: int = 2, with_replacement: bool = False) -> Value:
    """[n, r]: every choice of ``r`` elements of a 1-d tensor, in order."""
    if input.ndim != 1:
        raise ShapeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise ShapeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return constant(0, input.dtype, (0,))
    choose = _choices_with_replacement if with_replacement else _choices
    rows = [i for row in choose(range(input.shape[0]), r) for i in row]
    at = ops.table(values=tuple(rows), dtype=int64)
    return to_shape(ops.take(input, at, batch=0), (len(rows) // r, r))


def _frexp_calls() -> Iterator[Call]:
    yield Call((np.array([[0.0, 1.0, -3.0], [0.5, 1e-3, 1e20]]),))
    yield Call((_example(3, 4).astype(np.float32),))
    yield Call((np.array([np.inf, np.nan, -np.inf]),), grad=False)
    yield Call((np.arange(3),), error=(RuntimeError, "floating"))


@function("frexp", method=True, calls=_frexp_calls)
def frexp(input: Value) -> tuple[Value, Value]:
    """(mantissa, exponent): ``input == mantissa * 2**exponent``, with 1/2 <= |mantissa| < 1 and
    exponents int32; 0, infinities and NaN keep their value with exponent 0."""
    if input.dtype.category != "float":
        raise DTypeError(f"torch.frexp() only supports floating-point dtypes, got {input.dtype}")
    wide = cast(input, float32) if input.dtype.name in ("float16", "bfloat16") else input
    size = ops.abs(ops.stop_gradient(wide))
    normal = public.logical_and(public.gt(size, 0), public.lt(size, float("inf")))
    size = public.where(normal, size, 0.5)
    exponent = public.floor(public.log2(size)) + 1.0
    # log2 is rounded: its error may move the exponent by one next to a power of two.
    mantissa = _scaled(size, -exponent)
    exponent = public.where(public.ge(mantissa, 1.0), exponent + 1.0, exponent)
    exponent = public.where(public.lt(mantissa, 0.5), exponent - 1.0, exponent)
    found = public.where(normal, _scaled(wide, -exponent), wide)
    return cast(found, input.dtype), cast(exponent, int32)


def _scaled(x: Value, exponent: Value) -> Value:
    """``x * 2**exponent`` in two steps, neither of which overflows."""
    half = public.floor(exponent * 0.5)
    return x * public.exp2(half) * public.exp2(exponent - half)  # type: ignore[no-any-return]
