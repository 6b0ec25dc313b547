"""Choosing between values: the larger, the smaller, by a mask, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import bool_, finfo
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.types import TensorType
from .arithmetic import (
    Operand,
    broadcast_shapes,
    broadcast_to,
    cast,
    coerce,
    common_dtype,
    constant,
)
from .compare import is_nan
from .contract import Array, Grads, Sample, primitive
from .families import Binary, Pointwise, floats, integers, samples_of
from .function import Call, composite, function
from .link import ops
from .pointwise import expect_tensor, internal_composite, loops, zeros_like
from .pointwise_calls import SPECIAL, binary_calls, calls


@primitive
class Where(Pointwise):
    """The second operand where the first (bool) is true, else the third."""

    name = "where"
    inputs = 3
    partial = tuple(f"B P({op}) P({op}) -> P({op})" for op in ("sum", "max", "min", "prod"))
    onnx = "Where"

    def infer(self, *operands: TensorType, **attrs: Any) -> TensorType:
        condition, x, y = operands
        if condition.dtype is not bool_:
            raise DTypeError(f"where: expected a bool condition, got {condition.dtype}")
        if condition.shape != x.shape:
            raise ShapeError(
                f"where: expected operands of one shape, got {list(condition.shape)} and "
                f"{list(x.shape)}"
            )
        return super().infer(x, y)

    def reference(self, condition: Array, x: Array, y: Array) -> Array:
        return np.where(condition, x, y)

    def vjp(self, node: Node, g: Value) -> Grads:
        condition = node.inputs[0]
        zero = zeros_like(g)
        return None, ops.where(condition, g, zero), ops.where(condition, zero, g)

    def lower(self, condition: Any, x: Any, y: Any) -> Any:
        return loops.Select(condition, x, y)

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(7)
        for shape in [(3, 4), (), (0,), (2, 1, 5)]:
            x, y = rng.normal(size=shape), rng.normal(size=shape)
            yield Sample((np.asarray(rng.random(shape) < 0.5), x, y))
        mask = np.arange(5) % 2 == 0
        yield Sample((mask, rng.integers(-9, 9, 5), rng.integers(-9, 9, 5)), grad=False)
        yield Sample((mask, np.full(5, np.nan, np.float32), np.zeros(5, np.float32)), grad=False)
        yield Sample((np.ones(2), np.ones(2), np.ones(2)), error=(RuntimeError, "bool condition"))


class Extremum(Binary):
    """The larger or smaller of two real numbers; NaN if either is; ties share the gradient."""

    accepts = ("bool", "int", "float")
    samples: Any = samples_of(floats(count=2), integers(count=2))
    numpy: Any

    def reference(self, x: Array, y: Array) -> Array:
        return np.asarray(self.numpy(x, y))

    def vjp(self, node: Node, g: Value) -> Grads:
        x, y = node.inputs
        zero, shared = zeros_like(g), ops.where(ops.eq(x, y), g * 0.5, g)
        first, second = self.loses(x, y), self.loses(y, x)
        return ops.where(first, zero, shared), ops.where(second, zero, shared)

    def loses(self, x: Value, y: Value) -> Value:
        """Where the result is ``y`` and not ``x``."""
        raise NotImplementedError


_SAME = tuple(f"{a} {b} -> {p}" for p in ("P(max)", "P(min)") for a, b in ((p, "B"), ("B", p)))


@primitive
class Maximum(Extremum):
    """The larger of two numbers."""

    name = "maximum"
    numpy = np.maximum
    partial = (*_SAME, "P(max) P(max) -> P(max)")
    onnx = "Max"

    def loses(self, x: Value, y: Value) -> Value:
        return ops.lt(x, y)  # type: ignore[no-any-return]

    def lower(self, x: Any, y: Any) -> Any:
        return loops.Binary("or" if x.dtype is bool_ else "max", x, y)


@primitive
class Minimum(Extremum):
    """The smaller of two numbers."""

    name = "minimum"
    numpy = np.minimum
    partial = (*_SAME, "P(min) P(min) -> P(min)")
    onnx = "Min"

    def loses(self, x: Value, y: Value) -> Value:
        return ops.lt(y, x)  # type: ignore[no-any-return]

    def lower(self, x: Any, y: Any) -> Any:
        return loops.Binary("and" if x.dtype is bool_ else "min", x, y)


_PAIRS = binary_calls(
    numbers=False, bools=True,
    extra=(Call((np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))),),
)  # fmt: skip


def _tensors(op: str, input: Any, other: Any) -> tuple[Value, ...]:
    return coerce(expect_tensor(op, input), expect_tensor(op, other, "other", 2), op=op)


@function("maximum", method=True, calls=_PAIRS)
def maximum(input: Value, other: Value) -> Value:
    """The larger of two tensors elementwise; NaN if either is NaN."""
    return ops.maximum(*_tensors("maximum", input, other))  # type: ignore[no-any-return]


@function("minimum", method=True, calls=_PAIRS)
def minimum(input: Value, other: Value) -> Value:
    """The smaller of two tensors elementwise; NaN if either is NaN."""
    return ops.minimum(*_tensors("minimum", input, other))  # type: ignore[no-any-return]


def _first_unless(wins: Value, x: Value, y: Value) -> Value:
    """x where it wins or y is NaN, else y (so x yields if it alone is NaN)."""
    if x.dtype.category == "float":
        wins = ops.bitwise_or(wins, is_nan(y))
    return ops.where(wins, x, y)  # type: ignore[no-any-return]


@function("fmax", method=True, calls=_PAIRS)
def fmax(input: Value, other: Value) -> Value:
    """The larger of two tensors elementwise; a NaN yields to the other operand.

    The gradient of a tie goes to ``input``.
    """
    x, y = _tensors("fmax", input, other)
    return _first_unless(ops.le(y, x), x, y)


@function("fmin", method=True, calls=_PAIRS)
def fmin(input: Value, other: Value) -> Value:
    """The smaller of two tensors elementwise; a NaN yields to the other operand.

    The gradient of a tie goes to ``input``.
    """
    x, y = _tensors("fmin", input, other)
    return _first_unless(ops.le(x, y), x, y)


def _where_calls() -> Iterator[Call]:
    rng = np.random.default_rng(4)
    mask = rng.random((3, 4)) < 0.5
    x, y = rng.normal(size=(3, 4)), rng.normal(size=(4,))
    yield Call((mask, x, y))
    yield Call((mask, x, 0.0))
    yield Call((mask, 1, y.astype(np.float32)))
    yield Call((mask, 1.0, 0.0))
    yield Call((mask, np.arange(4), 2.5), grad=False)
    yield Call((mask[:, :1], x[0], y))
    yield Call((np.zeros((0, 4), bool), np.zeros((0, 4)), y))
    yield Call((mask, np.arange(4), -1), grad=False)
    yield Call((x, x, y), error=(RuntimeError, "expected condition to be a boolean tensor"))


@function("where", method="", out=True, calls=_where_calls)
def where(condition: Value, input: Operand, other: Operand) -> Value:
    """``input`` where ``condition`` (bool) is true, else ``other``; all three broadcast.

    RuntimeError if the condition is neither bool nor uint8.
    """
    mask = expect_tensor("where", condition, "condition")
    if mask.dtype.name not in ("bool", "uint8"):
        raise DTypeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{mask.dtype}"
        )
    dtype = common_dtype((input, other))
    shapes = [v.shape for v in (mask, input, other) if isinstance(v, Value)]
    shape = broadcast_shapes(*shapes, op="where")
    x, y = (
        broadcast_to(cast(v, dtype), shape) if isinstance(v, Value) else constant(v, dtype, shape)
        for v in (input, other)
    )
    return ops.where(broadcast_to(cast(mask, bool_), shape), x, y)  # type: ignore[no-any-return]


def _masked_fill_calls() -> Iterator[Call]:
    rng = np.random.default_rng(4)
    x, mask = rng.normal(size=(3, 4)), rng.random(4) < 0.5
    yield Call((x, mask, 2.5))
    yield Call((x, mask[None], np.array(1.5)))
    yield Call((x.astype(np.float32), mask, -np.inf), grad=False)
    yield Call((np.arange(4), mask, 7), grad=False)
    yield Call((rng.normal(size=(1, 4)), rng.random((3, 4)) < 0.5, 0.0))
    yield Call((x, x > 0, rng.normal(size=(2,))), error=(RuntimeError, "0-dimensional value"))
    yield Call((x, np.ones(4), 0.0), error=(RuntimeError, "only supports boolean masks"))


@function("masked_fill", method=True, inplace=True, out=False, calls=_masked_fill_calls)
def masked_fill(input: Value, mask: Value, value: Operand) -> Value:
    """``input`` with ``value`` (a number or a 0-d tensor) where ``mask`` (bool) is true."""
    x = expect_tensor("masked_fill", input)
    expect_tensor("masked_fill", mask, "mask", 2)
    if mask.dtype is not bool_:
        raise DTypeError(f"masked_fill only supports boolean masks, but got mask of {mask.dtype}")
    if isinstance(value, Value):
        if value.dtype.is_complex and not x.dtype.is_complex:
            raise DTypeError(f"value cannot be converted to type {x.dtype} without overflow")
        if value.ndim:
            raise ShapeError(
                "masked_fill only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
    elif isinstance(value, complex) and not x.dtype.is_complex:
        raise DTypeError(f"value cannot be converted to type {x.dtype} without overflow")
    shape = broadcast_shapes(x.shape, mask.shape, op="masked_fill")
    fill = broadcast_to(cast(value, x.dtype), shape) if isinstance(value, Value) else (
        constant(value, x.dtype, shape)
    )  # fmt: skip
    return ops.where(  # type: ignore[no-any-return]
        broadcast_to(mask, shape), fill, broadcast_to(x, shape)
    )


def _clamp_vjp(node: Node, g: Value) -> Grads:
    """The gradient passes where the operand lies within the bounds (ties included); where a
    bound won, it goes to that bound."""
    x, *bounds = node.inputs
    zero = zeros_like(g)
    low = node.attrs["low"] if "low" in node.attrs else bounds.pop(0)
    high = node.attrs["high"] if "high" in node.attrs else bounds.pop(0)
    low_v, high_v = (
        constant(b, x.dtype, x.shape) if isinstance(b, (bool, int, float)) else b
        for b in (low, high)
    )
    above = None if low_v is None else ops.le(low_v, x)
    below = None if high_v is None else ops.le(x, high_v)
    grads: list[Value | None] = [_masked([above, below], g, zero)]
    crossed = None if low_v is None or high_v is None else ops.lt(low_v, high_v)
    if isinstance(low, Value):
        grads.append(_masked([ops.lt(x, low), crossed], g, zero))
    if isinstance(high, Value):
        too_high = ops.lt(high, x)
        if low_v is not None:
            too_high = ops.bitwise_or(too_high, ops.lt(high, low_v))
        grads.append(ops.where(too_high, g, zero))
    return grads


def _masked(masks: list[Value | None], g: Value, zero: Value) -> Value:
    result = g
    for mask in masks:
        if mask is not None:
            result = ops.where(mask, result, zero)
    return result


@internal_composite("clamp", vjp=_clamp_vjp)
def _clamp(x: Value, low: Value | float | None, high: Value | float | None) -> Value:
    """x limited from below and above, each by a number or by numbers of its shape."""
    if low is not None:
        x = ops.maximum(x, low if isinstance(low, Value) else constant(low, x.dtype, x.shape))
    if high is not None:
        x = ops.minimum(x, high if isinstance(high, Value) else constant(high, x.dtype, x.shape))
    return x


def _clamp_calls() -> Iterator[Call]:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(3, 4))
    low, high = rng.normal(size=(4,)) - 0.5, rng.normal(size=(3, 1)) + 0.5
    for args in [(-0.5, 0.5), (-0.5,), (None, 0.5), (low, high), (low,), (0.5, -0.5), (high, low)]:
        yield Call((x, *args))
    yield Call((x,), {"min": low})
    yield Call((x,), {"max": high})
    yield Call((x.astype(np.float32), 0, 1))
    yield Call((SPECIAL, -0.5, 0.5), grad=False)
    yield Call((np.arange(5), 1, 3), grad=False)
    yield Call((np.arange(5), 1.5), grad=False)
    yield Call((np.zeros((0, 2)), 0.0))
    yield Call((np.array([1.0, 2.0, 3.0]), 1.0, 3.0))
    yield Call((x,), error=(RuntimeError, "At least one of 'min' or 'max' must not be None"))


class MissingBound(ArgumentError, RuntimeError):
    """A clamp without bounds (PyTorch raises RuntimeError here)."""


@function("clamp", method=True, inplace=True, aliases=("clip",), calls=_clamp_calls)
def clamp(input: Value, min: Operand | None = None, max: Operand | None = None) -> Value:
    """``input`` limited to [min, max]; bounds are numbers or tensors, which broadcast.

    Where ``min > max`` the result is ``max``. RuntimeError without any bound.
    """
    x = expect_tensor("clamp", input)
    if min is None and max is None:
        raise MissingBound("clamp: At least one of 'min' or 'max' must not be None")
    bounds = [b for b in (min, max) if b is not None]
    dtype = common_dtype((x, *bounds))
    if dtype.is_complex:
        raise DTypeError("clamp is not supported for complex types")
    shape = broadcast_shapes(*(v.shape for v in (x, *bounds) if isinstance(v, Value)), op="clamp")
    low, high = (
        broadcast_to(cast(b, dtype), shape) if isinstance(b, Value) else b for b in (min, max)
    )
    return _clamp(broadcast_to(cast(x, dtype), shape), low, high)  # type: ignore[no-any-return]


_ONE_BOUND = calls(
    Call((np.array([-1.0, 0.0, 0.5, 2.0]), 0.5)), Call((np.array([[1.0], [3.0]]), np.arange(3.0))),
    Call((np.arange(5), 3), grad=False), Call((np.zeros((0,)), 1.0)),
)  # fmt: skip


@function("clamp_min", method=True, inplace=True, calls=_ONE_BOUND)
def clamp_min(input: Value, min: Operand) -> Value:
    """``input`` with smaller elements raised to ``min``."""
    return clamp(input, min, None)  # type: ignore[no-any-return]


@function("clamp_max", method=True, inplace=True, calls=_ONE_BOUND)
def clamp_max(input: Value, max: Operand) -> Value:
    """``input`` with larger elements lowered to ``max``."""
    return clamp(input, None, max)  # type: ignore[no-any-return]


@composite(
    "nan_to_num", method=True, inplace=True,
    calls=calls(
        Call((SPECIAL,)), Call((SPECIAL.astype(np.float64), 1.0, 2.0, -3.0)),
        Call((SPECIAL,), {"nan": 7.0}), Call((np.arange(3),), grad=False), Call((np.zeros((0,)),)),
    ),
)  # fmt: skip
def nan_to_num(
    input: Value, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Value:
    """``input`` with NaN, infinity and minus infinity replaced, by default by 0 and the largest
    and smallest finite numbers of its dtype."""
    x = expect_tensor("nan_to_num", input)
    if x.dtype.category != "float":
        return x
    limits = finfo(x.dtype)
    above = limits.max if posinf is None else posinf
    below = limits.min if neginf is None else neginf

    def filled(mask: Value, number: float, rest: Value) -> Value:
        return ops.where(mask, constant(number, x.dtype, x.shape), rest)  # type: ignore[no-any-return]

    result = filled(is_nan(x), 0.0 if nan is None else nan, x)
    infinity = constant(np.inf, x.dtype, x.shape)
    result = filled(ops.eq(x, infinity), above, result)
    return filled(ops.eq(x, -infinity), below, result)
