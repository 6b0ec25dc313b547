"""Cumulative primitives and functions: each element gathers those before it along one dimension."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import DType, float64, from_numpy, int64
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import P, Partial, Signature, Split
from ..ir.types import TensorType
from .arithmetic import cast, coerce_float, conj, constant
from .contract import Array, Declined, Grads, Primitive, Sample, all_broadcast, primitive
from .dims import normalize_dim
from .families import in_float32
from .function import Call, function
from .kernels import kernel_from
from .link import ops
from .named import public


class Cumulative(Primitive):
    """Base: result i along ``dim`` depends on elements 0..i along it."""

    index: ClassVar[Any] = Declined("a running result along one dimension; not a contraction")
    accepts: tuple[str, ...] = ("bool", "int", "float")
    lower: Any = kernel_from("running")
    running: ClassVar[str]  # which running result it is, for the kernel
    onnx: Any = Declined("no such operator; exported as a Scan")

    def infer(self, x: TensorType, dim: int) -> Any:
        if not 0 <= dim < x.ndim:
            raise ShapeError(f"{self.name}: expected a dimension below {x.ndim}, got {dim}")
        if x.dtype.category not in self.accepts:
            raise DTypeError(
                f'"{self.name}" not implemented for {x.dtype}: expected {" or ".join(self.accepts)}'
            )
        return (x, x.with_dtype(int64)) if self.outputs == 2 else x

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        dims = [d for d in range(node.inputs[0].ndim) if d != node.attrs["dim"]]
        outs = len(node.outputs)
        return [all_broadcast(node), *[Signature((Split(d),), (Split(d),) * outs) for d in dims]]

    def batch(
        self, node: Node, inputs: tuple[Value, ...], batched: tuple[bool, ...], size: int
    ) -> tuple[Value, ...]:
        result = self(inputs[0], dim=node.attrs["dim"] + 1)
        return result if isinstance(result, tuple) else (result,)

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(5)
        for shape, dim in [((3, 4), 1), ((3, 4), 0), ((2, 3, 5), 1), ((1,), 0), ((7,), 0)]:
            yield Sample((rng.normal(size=shape),), {"dim": dim})
        yield Sample((np.zeros((0, 3)),), {"dim": 0})
        special = np.array([1.0, np.inf, 2.0, np.nan, -np.inf], np.float32)
        yield Sample((special,), {"dim": 0}, grad=False)
        if "int" in self.accepts:
            yield Sample((rng.integers(-3, 4, (2, 6)),), {"dim": 1}, grad=False)
        yield Sample((np.zeros(3),), {"dim": 1}, error=(RuntimeError, "expected a dimension"))


def _reversed_sum(g: Value, dim: int) -> Value:
    flipped = ops.flip(g, dims=(dim,))
    return ops.flip(ops.cumsum(flipped, dim=dim), dims=(dim,))  # type: ignore[no-any-return]


def _accumulated(function: Any, x: Array, dim: int) -> Array:
    """Running sums or products, kept in float64 as PyTorch keeps them."""
    wide = np.float64 if from_numpy(x.dtype).is_floating_point else None
    return np.asarray(function(x, axis=dim, dtype=wide)).astype(x.dtype, copy=False)


@primitive
class CumSum(Cumulative):
    name = "cumsum"
    running = "sum"
    accepts = ("int", "float", "complex")
    onnx = "CumSum"

    def reference(self, x: Array, dim: int) -> Array:
        return _accumulated(np.cumsum, x, dim)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        return [*super().sbp(node, ranks), Signature((P,), (P,))]

    def vjp(self, node: Node, g: Value) -> Grads:
        return (_reversed_sum(g, node.attrs["dim"]),)


@primitive
class CumProd(Cumulative):
    name = "cumprod"
    running = "prod"
    accepts = ("int", "float", "complex")

    def samples(self) -> Iterator[Sample]:
        yield from super().samples()
        yield Sample((np.array([[2.0, 0.0, 3.0, 1.5], [0.0, 2.0, 0.0, 5.0]]),), {"dim": 1})

    def reference(self, x: Array, dim: int) -> Array:
        return _accumulated(np.cumprod, x, dim)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        prod = Partial("prod")
        return [*super().sbp(node, ranks), Signature((prod,), (prod,))]

    def vjp(self, node: Node, g: Value) -> Grads:
        """Without division, so zeros need no special case: element j's gradient is the product
        before it times s(j) = g(j) + x(j+1) s(j+1), a recurrence solved by doubling its reach."""
        x, dim = conj(node.inputs[0]), node.attrs["dim"]
        count = x.shape[dim]
        if count == 0:
            return (g,)
        factor, total = _shift(x, dim, 1), g
        reach = 1
        while reach < count:
            total = total + factor * _shift(total, dim, reach)
            factor = factor * _shift(factor, dim, reach)
            reach *= 2
        return (_shift(ops.cumprod(x, dim=dim), dim, -1, 1) * total,)


def _shift(x: Value, dim: int, by: int, fill: int = 0) -> Value:
    """Element j + ``by`` in place of element j, ``fill`` where there is none."""
    count = x.shape[dim]
    by = max(-count, min(count, by))
    lows = tuple(max(0, -by) if d == dim else 0 for d in range(x.ndim))
    highs = tuple(max(0, by) if d == dim else 0 for d in range(x.ndim))
    part = ops.slice(
        x,
        starts=highs,
        stops=tuple(n - low for n, low in zip(x.shape, lows)),
        steps=(1,) * x.ndim,
    )
    return ops.pad(part, low=lows, high=highs, interior=(0,) * x.ndim, value=fill)  # type: ignore[no-any-return]


class CumExtremum(Cumulative):
    """Base of cummax and cummin: the running extremum and its latest position; NaN stays."""

    outputs = 2
    differentiable: ClassVar[Any] = (True, False)

    def vjp(self, node: Node, g: Any) -> Grads:
        if g[0] is None:
            return (None,)
        zeros = constant(0, g[0].dtype, g[0].shape)
        return (public.scatter_add(zeros, node.attrs["dim"], node.outputs[1], g[0]),)


def _running(ufunc: Any, x: Array, dim: int) -> tuple[Array, Array]:
    wide = x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iub" else x
    values = ufunc.accumulate(wide, axis=dim)
    shape = [-1 if d == dim else 1 for d in range(x.ndim)]
    ramp = np.arange(x.shape[dim]).reshape(shape)
    hit = (wide == values) | (wide != wide)
    positions = np.maximum.accumulate(np.where(hit, ramp, 0), axis=dim)
    return values.astype(x.dtype, copy=False), positions.astype(np.int64, copy=False)


@primitive
class CumMax(CumExtremum):
    name = "cummax"
    running = "max"

    def reference(self, x: Array, dim: int) -> tuple[Array, Array]:
        return _running(np.maximum, x, dim)


@primitive
class CumMin(CumExtremum):
    name = "cummin"
    running = "min"

    def reference(self, x: Array, dim: int) -> tuple[Array, Array]:
        return _running(np.minimum, x, dim)


@primitive
class LogCumSumExp(Cumulative):
    """log of the running sum of exponentials, without overflow or lost small terms."""

    name = "logcumsumexp"
    running = "logsumexp"
    accepts = ("float",)

    def reference(self, x: Array, dim: int) -> Array:
        return in_float32(np.logaddexp.accumulate, x, axis=dim)

    def vjp(self, node: Node, g: Value) -> Grads:
        """sum over i >= j of g(i) exp(x(j) - y(i)), positive and negative parts in log space.

        In double precision, as errors of logarithms become relative errors of the gradient.
        """
        x, dim, dtype = node.inputs[0], node.attrs["dim"], node.inputs[0].dtype
        y = node.out
        if dtype is not float64:
            x, g = cast(x, float64), cast(g, float64)
            y = ops.logcumsumexp(x, dim=dim)
        magnitude = public.log(public.abs(g))
        parts = []
        for sign in (public.gt(g, 0), public.lt(g, 0)):
            logs = public.where(sign, magnitude - y, -np.inf)
            back = ops.flip(ops.logcumsumexp(ops.flip(logs, dims=(dim,)), dim=dim), dims=(dim,))
            parts.append(public.exp(back + x))
        return (cast(parts[0] - parts[1], dtype),)


def _along(op: Any, input: Value, dim: int) -> Any:
    """Apply a cumulative op; a 0-d tensor counts as one element along its dimension."""
    dim = normalize_dim(dim, input.ndim)
    if input.ndim:
        return op(input, dim=dim)
    result = op(ops.reshape(input, shape=(1,)), dim=0)
    if isinstance(result, tuple):
        return tuple(ops.reshape(v, shape=()) for v in result)
    return ops.reshape(result, shape=())


def _summed(input: Value, dtype: DType | None) -> Value:
    if dtype is not None:
        return cast(input, dtype)
    return cast(input, int64) if input.dtype.category in ("bool", "int") else input


def _calls() -> Iterator[Call]:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3, 4))
    yield Call((x, 1))
    yield Call((x.astype(np.float32), -2))
    yield Call((rng.normal(size=()), 0))
    yield Call((rng.normal(size=(0, 2)), 0))
    yield Call((x, 2), error=(IndexError, "Dimension out of range"))


def _sum_calls() -> Iterator[Call]:
    yield from _calls()
    yield Call((np.arange(6, dtype=np.int32).reshape(2, 3), 0), grad=False)
    yield Call((np.array([True, False, True]), 0), grad=False)
    yield Call((np.array([[2.0, 0.0, 3.0], [0.0, 1.0, 0.0]]), 1))


def _extremum_calls() -> Iterator[Call]:
    yield from _calls()
    yield Call((np.array([3, 1, 3, 2, 4]), 0), grad=False)


@function("cumsum", method=True, inplace=True, calls=_sum_calls)
def cumsum(input: Value, dim: int, *, dtype: DType | None = None) -> Value:
    """Running sums along ``dim``; same shape. Integers are summed as int64 unless ``dtype``."""
    return _along(ops.cumsum, _summed(input, dtype), dim)  # type: ignore[no-any-return]


@function("cumprod", method=True, inplace=True, calls=_sum_calls)
def cumprod(input: Value, dim: int, *, dtype: DType | None = None) -> Value:
    """Running products along ``dim``; same shape. Integers multiply as int64 unless ``dtype``."""
    return _along(ops.cumprod, _summed(input, dtype), dim)  # type: ignore[no-any-return]


@function("cummax", method=True, calls=_extremum_calls)
def cummax(input: Value, dim: int) -> tuple[Value, Value]:
    """(values, indices): the running maximum along ``dim`` and its latest position (int64)."""
    return _along(ops.cummax, input, dim)  # type: ignore[no-any-return]


@function("cummin", method=True, calls=_extremum_calls)
def cummin(input: Value, dim: int) -> tuple[Value, Value]:
    """(values, indices): the running minimum along ``dim`` and its latest position (int64)."""
    return _along(ops.cummin, input, dim)  # type: ignore[no-any-return]


@function("logcumsumexp", method=True, calls=_calls)
def logcumsumexp(input: Value, dim: int) -> Value:
    """log of the running sum of exponentials along ``dim``; floating point of the same shape."""
    return _along(ops.logcumsumexp, coerce_float(input), dim)  # type: ignore[no-any-return]


def _diff_calls() -> Iterator[Call]:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3, 4))
    yield Call((x,))
    yield Call((x,), {"n": 2, "dim": 0})
    yield Call((x,), {"n": 9})
    yield Call((x,), {"prepend": rng.normal(size=(3, 1)), "append": rng.normal(size=(3, 2))})
    yield Call((np.array([True, False, False]),), grad=False)
    yield Call((rng.normal(size=()),), error=(RuntimeError, "at least one-dimensional"))


@function("diff", method=True, calls=_diff_calls)
def diff(
    input: Value,
    n: int = 1,
    dim: int = -1,
    prepend: Value | None = None,
    append: Value | None = None,
) -> Value:
    """The ``n``-th difference of neighbours along ``dim``, which shrinks by n; bools by xor."""
    if input.ndim == 0:
        raise ShapeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise ShapeError(f"order must be non-negative but got {n}")
    dim = normalize_dim(dim, input.ndim)
    if n == 0:
        return input
    parts = [part for part in (prepend, input, append) if part is not None]
    x = public.cat(parts, dim) if len(parts) > 1 else input
    for _ in range(min(n, x.shape[dim])):  # what is empty stays so
        count = max(x.shape[dim] - 1, 0)
        low = public.narrow(x, dim, 0, count)
        high = public.narrow(x, dim, x.shape[dim] - count, count)
        x = public.logical_xor(high, low) if x.dtype.category == "bool" else high - low
    return x
