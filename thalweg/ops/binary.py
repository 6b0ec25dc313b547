"""Divisions with rounding, remainders, and binary functions of real numbers (atan2, gcd, …)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import BY_NAME, bool_, default_dtype
from ..core.errors import DTypeError, ValueRangeError
from ..ir.node import Node, Value
from .arithmetic import PUBLIC, Operand, coerce, constant
from .contract import Array, Declined, Grads, Sample, primitive
from .families import Binary, floats, in_float32, integers, samples_of
from .function import Call, function
from .kernels import kernel_from
from .link import ops
from .pointwise import expect_one_tensor, expect_tensor, internal_composite, loops, zeros_like
from .pointwise_calls import binary_calls, calls, no_gradients


class DivisionByZero(ValueRangeError, RuntimeError, ZeroDivisionError):
    """An integer divided by zero (PyTorch raises RuntimeError)."""


def _divisible(op: str, y: Array) -> None:
    if y.dtype.kind in "iu" and not y.all():
        raise DivisionByZero(f"ZeroDivisionError: {op} of integers by zero")


def _division_samples() -> Iterator[Sample]:
    yield from floats(0.5, 3, count=2, special=False)()
    rng = np.random.default_rng(6)
    x, y = rng.integers(-20, 20, (3, 4)), rng.choice([-7, -2, 1, 3], (3, 4))
    yield Sample((x, y), grad=False)
    yield Sample((np.abs(x).astype(np.uint8), np.abs(y).astype(np.uint8)), grad=False)
    yield Sample((x / 4, y / 2), grad=False)
    row = np.array([np.nan, np.inf, -np.inf, 1.0, -7.0], np.float32)
    yield Sample((row, np.roll(row, 1)), grad=False)
    yield Sample((x, np.zeros_like(x)), error=(RuntimeError, "by zero"))


class Division(Binary):
    """A division of integers or of real numbers that involves rounding the quotient."""

    accepts = ("int", "float")
    samples: Any = _division_samples
    numpy: Any
    loop: str

    def reference(self, x: Array, y: Array) -> Array:
        _divisible(self.name, y)
        return in_float32(self.numpy, x, y)

    def lower(self, x: Any, y: Any) -> Any:
        return loops.Binary(self.loop, x, y)


@primitive
class FloorDivide(Division):
    """The quotient rounded down; an error for integers divided by zero."""

    name = "floor_divide"
    numpy = np.floor_divide
    loop = "floordiv"
    onnx: Any = Declined("ONNX has no floored division; exported as Floor of Div, or Mod")

    def vjp(self, node: Node, g: Value) -> Grads:
        return zeros_like(g), zeros_like(g)


@primitive
class Remainder(Division):
    """x - floor(x / y)·y: the remainder with the sign of the divisor."""

    name = "remainder"
    numpy = np.remainder
    loop = "mod"
    onnx = "Mod"

    def vjp(self, node: Node, g: Value) -> Grads:
        x, y = node.inputs
        return g, -g * ops.floor_divide(x, y)


@primitive
class Fmod(Division):
    """x - trunc(x / y)·y: the remainder with the sign of the dividend."""

    name = "fmod"
    numpy = np.fmod
    loop = "fmod"
    onnx: Any = {"op": "Mod", "attrs": {"fmod": 1}}

    def vjp(self, node: Node, g: Value) -> Grads:
        x, y = node.inputs
        return g, -g * ops.trunc(x / y)


class RealBinary(Binary):
    """A function of two floating-point numbers."""

    accepts = ("float",)
    samples: Any = floats(count=2)
    numpy: Any

    def reference(self, x: Array, y: Array) -> Array:
        return in_float32(self.numpy, x, y)


@primitive
class Atan2(RealBinary):
    """The angle in [-π, π] of the point with ordinate x and abscissa y."""

    name = "atan2"
    numpy = np.arctan2
    onnx: Any = Declined("ONNX has no two-argument arctangent; exported as Atan with selections")

    def vjp(self, node: Node, g: Value) -> Grads:
        x, y = node.inputs
        scaled = g / (x * x + y * y)
        return scaled * y, -scaled * x

    def lower(self, x: Any, y: Any) -> Any:
        return loops.Binary("atan2", x, y)


@primitive
class Copysign(RealBinary):
    """The magnitude of the first operand with the sign (of zero too) of the second."""

    name = "copysign"
    numpy = np.copysign
    partial = ("P(prod) P(prod) -> P(prod)", "B P(max) -> P(max)", "B P(min) -> P(min)")
    onnx: Any = Declined("ONNX cannot see the sign of zero")

    def vjp(self, node: Node, g: Value) -> Grads:
        x, y = node.inputs
        sign = ops.sign(x) * ops.copysign(constant(1.0, y.dtype, y.shape), y)
        return g * sign, zeros_like(g)

    def lower(self, x: Any, y: Any) -> Any:
        return _with_sign_of(y, x)


@primitive
class Nextafter(RealBinary):
    """The next representable number after x in the direction of y."""

    name = "nextafter"
    partial = tuple(
        f"{a} {b} -> {p}" for p in ("P(max)", "P(min)") for a, b in ((p, "B"), ("B", p))
    )
    sbp_incomplete = Declined("the result lies within the tolerance of the proof of x itself")
    differentiable = False
    vjp: Any = Declined("a step of rounding has no useful derivative; PyTorch has none either")
    onnx: Any = Declined("ONNX has no access to neighbouring numbers")
    samples = floats(count=2)

    def reference(self, x: Array, y: Array) -> Array:
        return np.nextafter(x, y)

    def lower(self, x: Any, y: Any) -> Any:
        """Neighbours differ by one in their bits; those of zero are the smallest numbers."""
        bits = _bits_of(x)
        one = loops.Const(1, bits.dtype)
        outward = loops.Binary("eq", x < y, x > 0.0)
        step = loops.Bitcast(loops.Select(outward, bits + one, bits - one), x.dtype)
        tiny = _with_sign_of(y, loops.Bitcast(one, x.dtype))
        moved = loops.Select(loops.Binary("eq", x, loops.Const(0.0, x.dtype)), tiny, step)
        undefined = loops.Unary("isnan", x) | loops.Unary("isnan", y)
        same = loops.Binary("eq", x, y)
        return loops.Select(undefined, x + y, loops.Select(same, y, moved))


def _bits_of(x: Any) -> Any:
    return loops.Bitcast(x, BY_NAME[f"int{8 * x.dtype.itemsize}"])


def _with_sign_of(y: Any, x: Any) -> Any:
    """The magnitude of ``x`` with the sign bit of ``y``."""
    bits_x, bits_y = _bits_of(x), _bits_of(y)
    limits = np.iinfo(bits_x.dtype.np)
    sign, rest = (loops.Const(int(v), bits_x.dtype) for v in (limits.min, limits.max))
    return loops.Bitcast((bits_x & rest) | (bits_y & sign), x.dtype)


@primitive
class Gcd(Binary):
    """The greatest common divisor of integers, never negative."""

    name = "gcd"
    accepts = ("int",)
    differentiable = False
    vjp: Any = Declined("integers have no gradient")
    onnx: Any = Declined("ONNX has no greatest common divisor")
    lower: Any = kernel_from("number")
    samples = samples_of(integers(-30, 31, 2), integers(0, 50, 2, np.uint8))

    def reference(self, x: Array, y: Array) -> Array:
        return np.asarray(np.gcd(x, y))


_MODES = (None, "trunc", "floor")


class RoundingModeError(ValueRangeError, RuntimeError):
    """An unknown rounding mode (PyTorch raises RuntimeError)."""


def _div_calls() -> Iterator[Call]:
    yield from binary_calls(0.5, 3)()
    x, y = np.array([-7, 7, -8, 5]), np.array([2, -2, 4, 3])
    for mode in ("trunc", "floor"):
        for a, b in ((x, y), (x.astype(np.int8), 3), (x / 2, y / 4), (x.astype(np.float32), 2)):
            yield Call((a, b), {"rounding_mode": mode}, grad=a.dtype.kind == "f")
        yield Call((x / 2, np.zeros(4)), {"rounding_mode": mode}, grad=False)
        yield Call((x, 2.0), {"rounding_mode": mode}, grad=False)
        yield Call((x, y * 0), {"rounding_mode": mode}, error=(RuntimeError, "ZeroDivision"))
    yield Call((x, y), {"rounding_mode": "up"}, error=(RuntimeError, "expected rounding_mode"))


@function(
    "div", method=True, inplace=True,
    operators=("__truediv__", "__rtruediv__", "__rdiv__", "__itruediv__"),
    aliases=("divide", "true_divide"), calls=_div_calls,
)  # fmt: skip
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Value:
    """``input / other``; ``rounding_mode`` 'trunc' rounds towards zero, 'floor' down.

    Without a mode integers become floating-point numbers. RuntimeError for another mode and,
    when it runs, for integers divided by zero with a mode.
    """
    if rounding_mode not in _MODES:
        raise RoundingModeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
            f"{rounding_mode!r}"
        )
    if rounding_mode is None:
        x, y = coerce(input, other, op="div", to_float=True)
        return ops.div(x, y)  # type: ignore[no-any-return]
    if rounding_mode == "floor":
        return floor_divide(input, other)  # type: ignore[no-any-return]
    x, y = _numbers("div", input, other)
    if x.dtype.category == "float":
        return ops.trunc(ops.div(x, y))  # type: ignore[no-any-return]
    # The floored quotient is one too small where it was rounded and the signs differ.
    low = ops.floor_divide(x, y)
    zero = zeros_like(x)
    inexact = ops.eq(ops.eq(low * y, x), constant(False, bool_, x.shape))
    negative = ops.bitwise_xor(ops.lt(x, zero), ops.lt(y, zero))
    return low + ops.cast(ops.bitwise_and(inexact, negative), dtype=x.dtype)  # type: ignore[no-any-return]


def _numbers(op: str, input: Operand, other: Operand) -> tuple[Value, ...]:
    """Operands of a division that rounds: bools count as numbers only beside others."""
    x, y = coerce(input, other, op=op)
    if x.dtype.category in ("bool", "complex"):
        raise DTypeError(f'"{op}" not implemented for {x.dtype}: expected integer or floating')
    return x, y


_DIVISION_CALLS = binary_calls(
    0.5, 3,
    extra=(
        Call((np.array([-7, 7, -8, 5]), np.array([2, -2, 4, 3])), grad=False),
        Call((np.array([-7.5, 7.25, -8, 5]), np.array([2, -2, 4, 3.5]))),
        Call((np.array([-7, 7], np.int8), 3), grad=False),
        Call((np.array([-7, 7]), 2.5), grad=False),
        Call((np.array([1, 2]), 0), error=(RuntimeError, "ZeroDivision")),
    ),
)  # fmt: skip


@function(
    "floor_divide", method=True, inplace=True,
    operators=("__floordiv__", "__rfloordiv__", "__ifloordiv__"),
    calls=no_gradients(_DIVISION_CALLS),
)  # fmt: skip
def floor_divide(input: Operand, other: Operand) -> Value:
    """``input / other`` rounded down. RuntimeError when it runs if integers are divided by 0."""
    return ops.floor_divide(*_numbers("floor_divide", input, other))  # type: ignore[no-any-return]


@function(
    "remainder", method=True, inplace=True, operators=("__mod__", "__rmod__", "__imod__"),
    calls=_DIVISION_CALLS,
)  # fmt: skip
def remainder(input: Operand, other: Operand) -> Value:
    """Python's modulus: the remainder with the sign of ``other``."""
    expect_one_tensor("remainder", input, other)
    return ops.remainder(*_numbers("remainder", input, other))  # type: ignore[no-any-return]


@function("fmod", method=True, inplace=True, calls=_DIVISION_CALLS)
def fmod(input: Value, other: Operand) -> Value:
    """C's modulus: the remainder with the sign of ``input``."""
    return ops.fmod(*_numbers("fmod", expect_tensor("fmod", input), other))  # type: ignore[no-any-return]


_REAL_CALLS = binary_calls(numbers=False)


def _pair(op: str, input: Any, other: Any, to_float: bool = False) -> tuple[Value, ...]:
    first, second = expect_tensor(op, input), expect_tensor(op, other, "other", 2)
    return coerce(first, second, op=op, to_float=to_float)


@function("atan2", method=True, inplace=True, aliases=("arctan2",), calls=_REAL_CALLS)
def atan2(input: Value, other: Value) -> Value:
    """The angle of the points with ordinates ``input`` and abscissas ``other``."""
    return ops.atan2(*_pair("atan2", input, other, True))  # type: ignore[no-any-return]


@function("copysign", method=True, inplace=True, calls=binary_calls())
def copysign(input: Value, other: Operand) -> Value:
    """Magnitudes of ``input`` with the signs of ``other``."""
    expect_tensor("copysign", input)
    return ops.copysign(  # type: ignore[no-any-return]
        *coerce(input, other, op="copysign", to_float=True)
    )


@function(
    "nextafter", method=True, inplace=True,
    calls=calls(
        Call((np.array([1.0, 0.0, -1.0]), np.array([2.0, -1.0, -1.0])), grad=False),
        Call((np.ones(3, np.float32), np.array([0, 2, np.nan], np.float32)), grad=False),
        Call((np.arange(3), np.arange(3)), error=(RuntimeError, "not implemented")),
    ),
)  # fmt: skip
def nextafter(input: Value, other: Value) -> Value:
    """The next representable numbers after ``input`` towards ``other``; no gradient."""
    return ops.nextafter(*_pair("nextafter", input, other))  # type: ignore[no-any-return]


_WHOLE_CALLS = calls(
    Call((np.array([12, -18, 0, 7]), np.array([18, 12, 5, 0])), grad=False),
    Call((np.array([[6], [4]]), np.array([3, 8])), grad=False),
    Call((np.array([12], np.uint8), np.array([18], np.int16)), grad=False),
    Call((np.zeros((0, 2), int), np.array([1, 2])), grad=False),
    Call((np.array([0]), np.array([0])), grad=False),
    Call((np.ones(2), np.ones(2)), error=(RuntimeError, "not implemented")),
)


@function("gcd", method=True, inplace=True, calls=_WHOLE_CALLS)
def gcd(input: Value, other: Value) -> Value:
    """Greatest common divisors of integers. RuntimeError for other dtypes."""
    return ops.gcd(*_pair("gcd", input, other))  # type: ignore[no-any-return]


@function("lcm", method=True, inplace=True, calls=_WHOLE_CALLS)
def lcm(input: Value, other: Value) -> Value:
    """Least common multiples of integers, 0 if either is 0. RuntimeError for other dtypes."""
    x, y = _pair("lcm", input, other)
    divisor = ops.gcd(x, y)
    one = constant(1, x.dtype, x.shape)
    safe = ops.where(ops.eq(divisor, zeros_like(divisor)), one, divisor)
    return ops.abs(ops.floor_divide(x, safe) * y)  # type: ignore[no-any-return]


def _hypot_vjp(node: Node, g: Value) -> Grads:
    x, y = node.inputs
    return g * (x / node.out), g * (y / node.out)


@internal_composite("hypot", vjp=_hypot_vjp)
def _hypot(x: Value, y: Value) -> Value:
    """sqrt(x² + y²), scaled by the larger of the two against overflow."""
    a, b = ops.abs(x), ops.abs(y)
    big, small = ops.maximum(a, b), ops.minimum(a, b)
    zero = ops.eq(big, zeros_like(big))
    ratio = small / ops.where(zero, constant(1.0, x.dtype, x.shape), big)
    length = big * ops.sqrt(ratio * ratio + 1.0)
    infinity = constant(math.inf, x.dtype, x.shape)
    infinite = ops.bitwise_or(ops.eq(a, infinity), ops.eq(b, infinity))
    return ops.where(infinite, infinity, length)  # type: ignore[no-any-return]


@function("hypot", method=True, inplace=True, calls=binary_calls(0.2, 3, ints=False, numbers=False))
def hypot(input: Value, other: Value) -> Value:
    """sqrt(input² + other²) without overflow in between."""
    return _hypot(*_pair("hypot", input, other))  # type: ignore[no-any-return]


@function(
    "heaviside", method=True, inplace=True,
    calls=calls(
        Call((np.array([-1.5, 0.0, 2.0]), np.array([0.5])), grad=False),
        Call((np.array([-1, 0, 2]), np.array([7, 8, 9])), grad=False),
        Call((np.array([np.nan, np.inf], np.float32), np.array([2.0, 3.0], np.float32)),
             grad=False),
        Call((np.ones(2), np.ones(2, np.float32)), error=(RuntimeError, "different dtypes")),
    ),
)  # fmt: skip
def heaviside(input: Value, values: Value) -> Value:
    """0 below zero, 1 above it, ``values`` at zero. RuntimeError for different dtypes."""
    expect_tensor("heaviside", input)
    expect_tensor("heaviside", values, "values", 2)
    if input.dtype is not values.dtype:
        raise DTypeError(
            "heaviside is not yet implemented for tensors with different dtypes: "
            f"{input.dtype} and {values.dtype}"
        )
    x, at_zero = coerce(input, values, op="heaviside")
    zero = zeros_like(x)
    step = ops.cast(ops.lt(zero, x), dtype=x.dtype)
    return ops.where(ops.eq(x, zero), at_zero, step)  # type: ignore[no-any-return]


@function("ldexp", method=True, inplace=True, calls=_REAL_CALLS)
def ldexp(input: Value, other: Value) -> Value:
    """``input * 2**other``; integers become floating-point numbers."""
    exponent = expect_tensor("ldexp", other, "other", 2)
    if exponent.dtype.category in ("bool", "int"):
        exponent = ops.cast(exponent, dtype=default_dtype())
    x, power = coerce(expect_tensor("ldexp", input), ops.exp2(exponent), op="ldexp")
    return ops.mul(x, power)  # type: ignore[no-any-return]


PUBLIC["div"] = div
