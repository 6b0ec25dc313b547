"""Public statistics: variance, median, quantiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import int64
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Node, Value
from .arithmetic import cast, constant
from .contract import Grads
from .dims import Dim, normalize_dim, normalize_dims
from .function import Call, function
from .link import ops
from .named import public
from .pointwise import internal_composite
from .reduce import kept_shape, spread
from .reductions import count_of
from .shape_functions import to_shape
from .sort import sorted_along


def _example(*shape: int) -> Any:
    return np.random.default_rng(41).normal(size=shape)


def _var_calls() -> Iterator[Call]:
    x = _example(3, 4)
    yield Call((x,))
    yield Call((x, 1))
    yield Call((x, (0, 1)), {"correction": 0, "keepdim": True})
    yield Call((x, 0, False))
    yield Call((x, -1), {"unbiased": False, "keepdim": True})
    yield Call((x, False))
    yield Call((x,), {"correction": 2})
    yield Call((np.arange(3),), error=(RuntimeError, "floating point"))


def _arguments(dim: Any, unbiased: bool | None, correction: float | None) -> tuple[Dim, float]:
    """Dimensions and correction of PyTorch's overloads: ``var(x, unbiased)`` too."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return dim, correction


def _moments(op: str, input: Value, dim: Dim, correction: float) -> tuple[Value, Value]:
    """(variance, mean) over the dimensions, which are gone."""
    if input.dtype.category != "float":
        raise DTypeError(
            f"{op} only support floating point and complex dtypes, got {input.dtype.name}"
        )
    dims = normalize_dims(dim, input.ndim)
    count = count_of(input, dims)
    middle = ops.reduce_sum(input, dims=dims) / constant(count, input.dtype)
    apart = input - spread(middle, input, dims)
    total = ops.reduce_sum(apart * apart, dims=dims)
    return total / constant(max(0.0, count - correction), input.dtype), middle


def _kept(value: Value, input: Value, dim: Dim, keepdim: bool) -> Value:
    if not keepdim:
        return value
    return to_shape(value, kept_shape(input.shape, normalize_dims(dim, input.ndim)))


@function("var", method=True, calls=_var_calls)
def var(
    input: Value, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> Value:  # fmt: skip
    """The variance over ``dim`` (default: all), divided by the count less ``correction`` (1)."""
    dim, correction = _arguments(dim, unbiased, correction)
    return _kept(_moments("var", input, dim, correction)[0], input, dim, keepdim)


def _std_vjp(node: Node, g: Value) -> Grads:
    """0 where the deviation is 0, as PyTorch has it, instead of 0/0."""
    x, correction = node.inputs[0], node.attrs["correction"]
    dims = normalize_dims(node.attrs["dim"], x.ndim)
    count = count_of(x, dims)
    middle = ops.reduce_sum(x, dims=dims) / constant(count, x.dtype)
    scale = g / (node.out * constant(max(0.0, count - correction), x.dtype))
    scale = public.where(public.eq(node.out, 0), constant(0, g.dtype), scale)
    return (spread(scale, x, dims) * (x - spread(middle, x, dims)),)


def _deviation(input: Value, dim: Dim, correction: float) -> Value:
    return public.sqrt(_moments("std", input, dim, correction)[0])  # type: ignore[no-any-return]


@internal_composite("std", vjp=_std_vjp)
def deviation(input: Value, dim: Any, correction: float) -> Value:
    """The standard deviation over ``dim``, which vanishes."""
    return _deviation(input, dim, correction)


@function("std", method=True, calls=_var_calls)
def std(
    input: Value, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> Value:  # fmt: skip
    """The standard deviation over ``dim`` (default: all): the square root of `var`."""
    dim, correction = _arguments(dim, unbiased, correction)
    return _kept(deviation(input, dim, correction), input, dim, keepdim)


@function("var_mean", out=False, calls=_var_calls)
def var_mean(
    input: Value, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> tuple[Value, Value]:  # fmt: skip
    """(`var`, `mean`) over ``dim``."""
    dim, correction = _arguments(dim, unbiased, correction)
    spread_, middle = _moments("var_mean", input, dim, correction)
    return _kept(spread_, input, dim, keepdim), _kept(middle, input, dim, keepdim)


@function("std_mean", out=False, calls=_var_calls)
def std_mean(
    input: Value, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> tuple[Value, Value]:  # fmt: skip
    """(`std`, `mean`) over ``dim``."""
    dim, correction = _arguments(dim, unbiased, correction)
    _, middle = _moments("std_mean", input, dim, correction)
    return (
        _kept(deviation(input, dim, correction), input, dim, keepdim),
        _kept(middle, input, dim, keepdim),
    )


def _median_calls() -> Iterator[Call]:
    x = _example(3, 4)
    yield Call((x,))
    yield Call((x, 1))
    yield Call((x, 0, True))
    yield Call((np.array([[1.0, np.nan, 2.0], [3.0, 1.0, 2.0]]), 1), grad=False)
    yield Call((np.array([1.0, np.nan, 3.0, 2.0]),), grad=False)
    yield Call((np.array([4, 1, 3, 1]),), grad=False)


def _median_pair(input: Value, dim: int, keepdim: bool, ignore_nan: bool) -> Any:
    """Sorting puts NaN last, so their number tells where the median of the others lies."""
    if not input.ndim:
        return input, constant(0, int64)
    count = input.shape[dim]
    if count == 0:
        raise ShapeError(f"median() operation does not have an identity for dimension {dim}")
    values, indices = sorted_along(input, dim)
    kept = kept_shape(input.shape, (dim,))
    at = constant((count - 1) // 2, int64, kept)
    if input.dtype.is_floating_point:
        real = cast(public.logical_not(public.isnan(input)), int64)
        present = to_shape(ops.reduce_sum(real, dims=(dim,)), kept)
        if ignore_nan:
            at = public.clamp(public.div(present - 1, 2, rounding_mode="floor"), min=0)
        else:
            at = public.where(public.lt(present, count), present, at)
    found = public.gather(values, dim, at), public.gather(indices, dim, at)
    if keepdim:
        return found
    return public.squeeze(found[0], dim), public.squeeze(found[1], dim)


def _median_all_vjp(node: Node, g: Value) -> Grads:
    """Shared evenly among the elements equal to the median."""
    x = node.inputs[0]
    hit = public.eq(x, node.out)
    if x.dtype.is_floating_point:
        hit = public.logical_or(hit, public.logical_and(public.isnan(x), public.isnan(node.out)))
    chosen = cast(hit, g.dtype)
    return (chosen * (g / public.sum(chosen)),)


@internal_composite("median", vjp=_median_all_vjp)
def median_of_all(input: Value, ignore_nan: bool) -> Value:
    """The median of all elements: the lower of two."""
    if not input.type.numel:
        return constant(float("nan"), input.dtype)
    flat = to_shape(input, (input.type.numel,))
    return _median_pair(flat, 0, False, ignore_nan)[0]  # type: ignore[no-any-return]


@function("median", method=True, calls=_median_calls)
def median(input: Value, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of all elements, or (values, indices) along ``dim``. NaN if there is one."""
    if dim is None:
        return median_of_all(input, False)
    return _median_pair(input, normalize_dim(dim, input.ndim), keepdim, False)


@function("nanmedian", method=True, calls=_median_calls)
def nanmedian(input: Value, dim: int | None = None, keepdim: bool = False) -> Any:
    """As `median`, of the elements that are not NaN."""
    if dim is None:
        return median_of_all(input, True)
    return _median_pair(input, normalize_dim(dim, input.ndim), keepdim, True)


def _quantile_calls() -> Iterator[Call]:
    x = _example(3, 5)
    yield Call((x, 0.3))
    yield Call((x, 0.3, 1))
    yield Call((x, np.array([0.0, 0.4, 1.0]), 0, True))
    yield Call((x, np.array([0.0, 0.4, 1.0]), 1))
    for interpolation in ("lower", "higher", "midpoint", "nearest"):
        yield Call((x, 0.3, 1), {"interpolation": interpolation}, grad=False)
    yield Call((np.array([[1.0, np.nan, 2.0], [3.0, 1.0, 2.0]]), 0.5, 1), grad=False)
    yield Call((np.array([[1.0, np.nan, 2.0], [np.nan] * 3]), 0.5, 1), grad=False)
    yield Call((x, 1.5), error=(RuntimeError, "[0, 1]"))
    yield Call((np.arange(3), 0.5), error=(RuntimeError, "float or double"))


_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(
    op: str,
    input: Value,
    q: float | Value,
    dim: int | None,
    keepdim: bool,
    interpolation: str,
    ignore_nan: bool,
) -> Value:
    if input.dtype.name not in ("float32", "float64"):
        raise DTypeError(
            f"{op}() input tensor must be either float or double dtype, got {input.dtype}"
        )
    if interpolation not in _INTERPOLATIONS:
        raise ShapeError(
            f"{op}() interpolation must be one of {', '.join(_INTERPOLATIONS)}, but got "
            f"{interpolation}"
        )
    if not isinstance(q, Value):
        if not 0 <= q <= 1:
            raise ShapeError(f"{op}() q must be in the range [0, 1] but got {q}")
        q = constant(q, input.dtype)
    if q.ndim > 1:
        raise ShapeError(f"{op}() q must be a scalar or 1D tensor, got {q.ndim}-d")
    if q.dtype is not input.dtype:
        raise DTypeError(f"{op}() q tensor must be same dtype as the input tensor: got {q.dtype}")
    if not input.type.numel:
        raise ShapeError(f"{op}() input tensor must be non-empty")
    ndim = input.ndim
    if dim is None:
        rows, kept = to_shape(input, (input.type.numel,)), (1,) * ndim
    else:
        axis = normalize_dim(dim, ndim)
        rows = public.movedim(input, axis, -1) if ndim else to_shape(input, (1,))
        kept = kept_shape(input.shape, (axis,)) if ndim else ()
    found = _at_rank(rows, q, interpolation, ignore_nan)  # [..., q]
    found = public.movedim(found, -1, 0)
    shape = kept if keepdim else rows.shape[:-1]
    return to_shape(found, (*q.shape, *shape))


def _at_rank(rows: Value, q: Value, interpolation: str, ignore_nan: bool) -> Value:
    """Quantiles along the last dimension, in its place."""
    last, count = rows.ndim - 1, rows.shape[-1]
    values, _ = ops.sort(rows, dim=last, descending=False)
    present = cast(public.logical_not(public.isnan(rows)), rows.dtype)
    known = to_shape(ops.reduce_sum(present, dims=(last,)), (*rows.shape[:-1], 1))
    wanted = to_shape(q, (1,) * last + (q.type.numel,))
    if ignore_nan:
        rank = wanted * public.clamp(known - 1, min=0)
    else:
        # A row with NaN has its last element, a NaN, as every quantile.
        rank = public.where(public.lt(known, count), float(count - 1), wanted * float(count - 1))
    rank = public.broadcast_to(rank, (*rows.shape[:-1], q.type.numel))
    low, high = public.floor(rank), public.ceil(rank)
    if interpolation == "nearest":
        low = high = public.round(rank)
    elif interpolation == "lower":
        high = low
    elif interpolation == "higher":
        low = high
    lower = public.gather(values, last, cast(low, int64))
    if low is high:
        return lower  # type: ignore[no-any-return]
    upper = public.gather(values, last, cast(high, int64))
    weight = 0.5 if interpolation == "midpoint" else rank - low
    return lower + (upper - lower) * weight  # type: ignore[no-any-return]


@function("quantile", method=True, calls=_quantile_calls)
def quantile(
    input: Value,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Value:
    """The ``q``-quantiles (a number or 1-d tensor in [0, 1], whose dimension comes first) along
    ``dim`` or of all elements. NaN where a row has one."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@function("nanquantile", method=True, calls=_quantile_calls)
def nanquantile(
    input: Value,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Value:
    """As `quantile`, of the elements that are not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)
