"""Public reductions: sum, prod, max, min, any, all, argmax, logsumexp and their relatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import DType, bool_, int64
from ..core.errors import DimError, DTypeError, ShapeError
from ..ir.node import Node, Value
from .arithmetic import cast, coerce_float, constant
from .contract import Grads
from .dims import Dim, normalize_dim, normalize_dims
from .function import Call, composite, function
from .link import ops
from .named import public
from .reduce import kept_shape, spread
from .shape_functions import to_shape


def reduced(op: Any, input: Value, dims: tuple[int, ...], keepdim: bool) -> Value:
    """Apply a reduction primitive; ``keepdim`` leaves extents of one."""
    result: Value = op(input, dims=dims)
    return to_shape(result, kept_shape(input.shape, dims)) if keepdim else result


def require_elements(op: str, input: Value, dims: tuple[int, ...]) -> None:
    """IndexError unless every reduced dimension has elements: the result has no identity."""
    for d in dims:
        if input.shape[d] == 0:
            raise DimError(
                f"{op}(): Expected reduction dim {d} to have non-zero size: got shape "
                f"{list(input.shape)}"
            )


def summable(input: Value, dtype: DType | None) -> Value:
    """Integers and bools as int64, so that sums do not overflow; or as ``dtype``."""
    if dtype is not None:
        return cast(input, dtype)
    return cast(input, int64) if input.dtype.category in ("bool", "int") else input


def _example(*shape: int) -> Any:
    return np.random.default_rng(37).normal(size=shape)


def _calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    yield Call((x,))
    yield Call((x, 1))
    yield Call((x, -1), {"keepdim": True})
    yield Call((_example(),))
    yield Call((_example(), -1))
    yield Call((x, 3), error=(IndexError, "Dimension out of range"))


def _many_calls() -> Iterator[Call]:
    yield from _calls()
    x = _example(2, 3, 4)
    yield Call((x, (0, 2)))
    yield Call((x, [0, -1], True))
    yield Call((x,), {"dim": (), "keepdim": True})
    yield Call((x, (0, 0)), error=(RuntimeError, "multiple times"))


def _number_calls() -> Iterator[Call]:
    yield Call((np.arange(6, dtype=np.int32).reshape(2, 3),), grad=False)
    yield Call((np.array([True, True, False]), 0), grad=False)
    yield Call((np.zeros((0, 3)),))
    yield Call((np.zeros((0, 3)), 1))


def _sum_calls() -> Iterator[Call]:
    yield from _many_calls()
    yield from _number_calls()
    yield Call((_example(3).astype(np.float16),), grad=False)


@function("sum", method=True, calls=_sum_calls)
def sum_(
    input: Value, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Value:
    """The sum over ``dim`` (default: all). Integers and bools sum as int64 unless ``dtype``."""
    return reduced(ops.reduce_sum, summable(input, dtype), normalize_dims(dim, input.ndim), keepdim)


def _nansum_calls() -> Iterator[Call]:
    yield Call((np.array([[1.0, np.nan], [np.nan, 2.0]]),))
    yield Call((np.array([[1.0, np.nan], [np.nan, np.nan]]), 1, True))
    yield Call((np.arange(3),), grad=False)


@function("nansum", method=True, calls=_nansum_calls)
def nansum(
    input: Value, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Value:
    """The sum with NaN counted as 0."""
    return sum_(_nan_to_zero(input), dim, keepdim, dtype=dtype)  # type: ignore[no-any-return]


def _nan_to_zero(input: Value) -> Value:
    if not input.dtype.is_floating_point:
        return input
    return public.where(public.isnan(input), constant(0, input.dtype), input)  # type: ignore[no-any-return]


def _mean_calls() -> Iterator[Call]:
    yield from _many_calls()
    yield Call((np.zeros((0, 3)), 0))
    yield Call((np.arange(4),), error=(RuntimeError, "floating point"))


def float_for_mean(input: Value, dtype: DType | None, op: str) -> Value:
    if dtype is not None:
        input = cast(input, dtype)
    if input.dtype.category in ("bool", "int"):
        raise DTypeError(
            f"{op}(): could not infer output dtype. Input dtype must be either a floating point or "
            f"complex dtype. Got: {input.dtype.name}"
        )
    return input


def count_of(input: Value, dims: tuple[int, ...]) -> int:
    return int(np.prod([input.shape[d] for d in dims], dtype=np.int64))


@function("mean", method=True, calls=_mean_calls)
def mean(
    input: Value, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Value:
    """The mean over ``dim`` (default: all). RuntimeError for integers unless ``dtype``."""
    x = float_for_mean(input, dtype, "mean")
    dims = normalize_dims(dim, x.ndim)
    return reduced(ops.reduce_sum, x, dims, keepdim) / constant_like(count_of(x, dims), x)


def constant_like(number: float, like: Value) -> Value:
    return constant(number, like.dtype)


def _nanmean_calls() -> Iterator[Call]:
    yield Call((np.array([[1.0, np.nan], [5.0, 2.0]]),))
    yield Call((np.array([[1.0, np.nan], [3.0, 2.0]]), 1, True))
    yield Call((np.array([[1.0, np.nan], [np.nan, np.nan]]), 1, True), grad=False)


@function("nanmean", method=True, calls=_nanmean_calls)
def nanmean(
    input: Value, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Value:
    """The mean of the elements that are not NaN."""
    x = float_for_mean(input, dtype, "nanmean")
    dims = normalize_dims(dim, x.ndim)
    present = cast(public.logical_not(public.isnan(x)), x.dtype)
    total = reduced(ops.reduce_sum, _nan_to_zero(x), dims, keepdim)
    return total / reduced(ops.reduce_sum, present, dims, keepdim)


def _prod_calls() -> Iterator[Call]:
    yield from _calls()
    yield from _number_calls()
    yield Call((np.array([[2.0, 0.0, 3.0], [0.0, 1.0, 0.0]]), 1))


@function("prod", method=True, calls=_prod_calls)
def prod(
    input: Value, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Value:
    """The product over one dimension (default: all). Integers multiply as int64."""
    dims = normalize_dims(dim, input.ndim)
    if dtype is bool_:
        return reduced(ops.reduce_min, cast(input, bool_), dims, keepdim)
    return reduced(ops.reduce_prod, summable(input, dtype), dims, keepdim)


def _ordered_calls() -> Iterator[Call]:
    yield Call((np.array([[3, 1, 3], [0, 0, -2]]), 1), grad=False)
    yield Call((np.array([[1.0, np.nan, 2.0], [np.inf, 0.0, -np.inf]]), 1), grad=False)
    yield Call((np.array([2.0, 2.0, 1.0]),))


def _extreme_calls() -> Iterator[Call]:
    yield from _calls()
    yield from _ordered_calls()
    x = _example(2, 3)
    yield Call((x, _example(3)))
    yield Call((np.array([True, False]),), grad=False)
    yield Call((np.zeros((0, 2)),), error=(RuntimeError, "numel() == 0"))
    yield Call((np.zeros((0, 2)), 0), error=(IndexError, "non-zero size"))


def _extreme(name: str, input: Value, dim: Any, keepdim: bool, other: Value | None) -> Any:
    if isinstance(dim, Value):
        other, dim = dim, None
    if other is not None:
        return getattr(public, f"{name}imum")(input, other)
    if dim is None:
        if not input.type.numel:
            raise ShapeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
                "the reduction dim with the 'dim' argument."
            )
        reduce = ops.reduce_max if name == "max" else ops.reduce_min
        return reduce(input, dims=tuple(range(input.ndim)))
    dim = normalize_dim(dim, input.ndim)
    if not input.ndim:
        return input, constant(0, int64)
    require_elements(name, input, (dim,))
    arg = ops.argmax if name == "max" else ops.argmin
    index = to_shape(arg(input, dim=dim), kept_shape(input.shape, (dim,)))
    values = public.gather(input, dim, index)
    if keepdim:
        return values, index
    return public.squeeze(values, dim), public.squeeze(index, dim)


@function("max", method=True, calls=_extreme_calls)
def max_(
    input: Value, dim: Any = None, keepdim: bool = False, *, other: Value | None = None
) -> Any:
    """The maximum of all elements; with ``dim`` (values, indices) along it; with a tensor the
    elementwise `maximum`. NaN wins; the first of several indices."""
    return _extreme("max", input, dim, keepdim, other)


@function("min", method=True, calls=_extreme_calls)
def min_(
    input: Value, dim: Any = None, keepdim: bool = False, *, other: Value | None = None
) -> Any:
    """The minimum of all elements; with ``dim`` (values, indices) along it; with a tensor the
    elementwise `minimum`. NaN wins; the first of several indices."""
    return _extreme("min", input, dim, keepdim, other)


def _amax_calls() -> Iterator[Call]:
    yield from _many_calls()
    yield from _ordered_calls()
    yield Call((np.zeros((0, 2)), 0), error=(IndexError, "non-zero size"))


def _amax(name: str, op: Any, input: Value, dim: Dim, keepdim: bool) -> Value:
    dims = normalize_dims(dim, input.ndim)
    if dim in (None, ()) and not input.type.numel:
        raise ShapeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
            "the reduction dim with the 'dim' argument."
        )
    require_elements(name, input, dims)
    return reduced(op, input, dims, keepdim)


@function("amax", method=True, calls=_amax_calls)
def amax(input: Value, dim: Dim = (), keepdim: bool = False) -> Value:
    """The maximum over ``dim`` (default: all); the gradient is shared among equal elements."""
    return _amax("amax", ops.reduce_max, input, dim, keepdim)


@function("amin", method=True, calls=_amax_calls)
def amin(input: Value, dim: Dim = (), keepdim: bool = False) -> Value:
    """The minimum over ``dim`` (default: all); the gradient is shared among equal elements."""
    return _amax("amin", ops.reduce_min, input, dim, keepdim)


def _aminmax_calls() -> Iterator[Call]:
    yield Call((_example(2, 3),))
    yield Call((_example(2, 3),), {"dim": 1, "keepdim": True})


@function("aminmax", method=True, calls=_aminmax_calls)
def aminmax(input: Value, *, dim: int | None = None, keepdim: bool = False) -> tuple[Value, Value]:
    """(min, max) over ``dim`` (default: all)."""
    if dim is None and not input.type.numel:
        raise ShapeError("aminmax(): cannot compute aminmax over an empty dimension")
    return amin(input, dim, keepdim), amax(input, dim, keepdim)


def _arg_calls() -> Iterator[Call]:
    for call in _calls():
        yield Call(call.args, call.kwargs, False, call.error)
    yield from list(_ordered_calls())[:2]
    yield Call((np.array([2.0, 2.0, 1.0]),), {"keepdim": True}, grad=False)
    yield Call((np.zeros((0, 2)), 0), error=(IndexError, "non-zero size"))


def _arg(name: str, op: Any, input: Value, dim: int | None, keepdim: bool) -> Value:
    if dim is None:
        if not input.type.numel:
            raise DimError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
            )
        found = op(to_shape(input, (input.type.numel,)), dim=0)
        return to_shape(found, (1,) * input.ndim) if keepdim else found
    dim = normalize_dim(dim, input.ndim)
    if not input.ndim:
        return constant(0, int64)
    require_elements(name, input, (dim,))
    found = op(input, dim=dim)
    return to_shape(found, kept_shape(input.shape, (dim,))) if keepdim else found


@function("argmax", method=True, calls=_arg_calls)
def argmax(input: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """Position (int64) of the maximum along ``dim``, or in the flattened tensor; the first."""
    return _arg("argmax", ops.argmax, input, dim, keepdim)


@function("argmin", method=True, calls=_arg_calls)
def argmin(input: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """Position (int64) of the minimum along ``dim``, or in the flattened tensor; the first."""
    return _arg("argmin", ops.argmin, input, dim, keepdim)


def _any_calls() -> Iterator[Call]:
    x = np.array([[True, False], [False, False]])
    yield Call((x,), grad=False)
    yield Call((x, 1), grad=False)
    yield Call((x, (0, 1), True), grad=False)
    yield Call((np.array([0.0, np.nan]),), grad=False)
    yield Call((np.array([[0, 2]], np.uint8), 0), grad=False)
    yield Call((np.zeros((0, 2), bool),), grad=False)
    yield Call((np.zeros((0, 2), bool), 0), grad=False)


def _logical(op: Any, input: Value, dim: Dim, keepdim: bool) -> Value:
    result = reduced(op, cast(input, bool_), normalize_dims(dim, input.ndim), keepdim)
    # PyTorch keeps uint8, which stood for bool before there was one.
    return cast(result, input.dtype) if input.dtype.name == "uint8" else result


@function("any", method=True, calls=_any_calls)
def any_(input: Value, dim: Dim = None, keepdim: bool = False) -> Value:
    """Whether any element over ``dim`` (default: all) is true, that is not 0; bool."""
    return _logical(ops.reduce_max, input, dim, keepdim)


@function("all", method=True, calls=_any_calls)
def all_(input: Value, dim: Dim = None, keepdim: bool = False) -> Value:
    """Whether all elements over ``dim`` (default: all) are true, that is not 0; bool."""
    return _logical(ops.reduce_min, input, dim, keepdim)


@function("count_nonzero", method=True, out=False, calls=lambda: list(_any_calls())[:2])
def count_nonzero(input: Value, dim: Dim = None) -> Value:
    """How many elements over ``dim`` (default: all) are not 0; int64."""
    return reduced(
        ops.reduce_sum, cast(public.ne(input, 0), int64), normalize_dims(dim, input.ndim), False
    )


def _logsumexp_calls() -> Iterator[Call]:
    x = _example(2, 3) * 50
    yield Call((x, 1))
    yield Call((x, (0, 1), True))
    yield Call((np.array([[-np.inf, -np.inf], [np.inf, 1.0]]), 1), grad=False)
    yield Call((np.arange(3), 0), grad=False)
    yield Call((np.zeros((0, 2)), 0), grad=False)


def _logsumexp_vjp(node: Node, g: Value) -> Grads:
    x = node.inputs[0]
    dims = normalize_dims(node.attrs["dim"], x.ndim)
    weight = public.exp(x - spread(node.out, x, dims))
    return (spread(g, x, dims) * weight,)


@composite("logsumexp", vjp=_logsumexp_vjp, method=True, calls=_logsumexp_calls)
def logsumexp(input: Value, dim: Dim, keepdim: bool = False) -> Value:
    """log of the sum of exponentials over ``dim``, without overflow. Integers become floats."""
    x = coerce_float(input)
    dims = normalize_dims(dim, x.ndim)
    peak = ops.reduce_max(x, dims=dims)
    finite = public.where(public.eq(public.abs(peak), np.inf), constant(0, peak.dtype), peak)
    total = ops.reduce_sum(public.exp(x - spread(finite, x, dims)), dims=dims)
    result = public.log(total) + finite
    return to_shape(result, kept_shape(x.shape, dims)) if keepdim else result
