"""Powers, and the combined forms of multiply and add (lerp, addcmul, addcdiv)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import complex128, float64
from ..core.errors import DTypeError, ValueRangeError
from ..ir.node import Node, Value
from ..ir.sbp import Signature
from .arithmetic import Operand, Scalar, cast, coerce, common_dtype, conj, constant, is_weak
from .contract import Array, Grads, Sample, primitive
from .families import Binary, floats, in_float32, samples_of, signature
from .function import Call, function
from .link import ops
from .pointwise import expect_one_tensor, expect_tensor, loops, zeros_like
from .pointwise_calls import binary_calls
from .unary import reciprocal, rsqrt


def _integer_power(x: Array, y: Array) -> Array:
    """Wrapping powers; with a negative exponent 0, except for bases 1 and -1."""
    if x.dtype.kind == "u":
        return np.power(x, y)
    unit = np.where(y % 2 == 0, np.abs(x), x) * (np.abs(x) == 1)
    return np.where(y < 0, unit, np.power(x, np.maximum(y, 0))).astype(x.dtype)


def _power_samples() -> Iterator[Sample]:
    x, y = np.array([2, -1, 1, -3, 0]), np.array([3, -3, -2, 2, 0])
    yield Sample((x, y), grad=False)
    yield Sample((np.abs(x).astype(np.uint8), np.abs(y).astype(np.uint8)), grad=False)
    yield Sample((np.array([-2.0, 0.0, 0.0, -2.0]), np.array([3.0, 0.0, 2.0, 0.5])), grad=False)


@primitive
class Pow(Binary):
    """x to the power y."""

    name = "pow"
    onnx = "Pow"
    accepts = ("int", "float", "complex")
    samples = samples_of(floats(0.3, 3, count=2), _power_samples)

    def reference(self, x: Array, y: Array) -> Array:
        if x.dtype.kind in "iu":
            return np.asarray(_integer_power(x, y))
        return in_float32(np.power, x, y)

    def vjp(self, node: Node, g: Value) -> Grads:
        """y·x^(y-1), 0 for y = 0; and x^y·log(x), 0 where x = 0 and y is not negative."""
        x, y = node.inputs
        zero, one = zeros_like(y), constant(1, y.dtype, y.shape)
        flat = ops.eq(y, zero)
        by_base = ops.where(flat, zero, y * ops.pow(x, ops.where(flat, one, y) - 1.0))
        vanishing = ops.eq(x, zero)
        if not x.dtype.is_complex:
            vanishing = ops.bitwise_and(vanishing, ops.le(zero, y))
        log = ops.log(ops.where(vanishing, one, x))
        by_power = ops.where(vanishing, zero, node.out * log)
        return g * conj(by_base), g * conj(by_power)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        # Factors may be negative, which only integers survive (their powers are never NaN).
        whole = node.types[0].dtype.category == "int"
        more = [signature("P(prod) B -> P(prod)")] if whole else []
        return super().sbp(node, ranks) + more

    def lower(self, x: Any, y: Any) -> Any:
        return loops.Binary("pow", x, y)


class NegativeIntegerPower(ValueRangeError, RuntimeError):
    """An integer tensor to a negative integer (PyTorch raises RuntimeError)."""


def _constant_power(x: Value, exponent: Scalar) -> Value | None:
    """A power by a few multiplications or a root, where that is what PyTorch computes too."""
    if exponent == 1:
        return x
    if exponent == 2:
        return ops.mul(x, x)  # type: ignore[no-any-return]
    if exponent == 3:
        return ops.mul(ops.mul(x, x), x)  # type: ignore[no-any-return]
    if x.dtype.category == "float":
        if exponent == 0.5:
            return ops.sqrt(x)  # type: ignore[no-any-return]
        if exponent == -0.5:
            return rsqrt(x)  # type: ignore[no-any-return]
        if exponent == -1:
            return reciprocal(x)  # type: ignore[no-any-return]
    return None


def _pow_calls() -> Iterator[Call]:
    yield from binary_calls(0.3, 3, ints=False)()
    x = np.random.default_rng(2).uniform(0.3, 2, (3, 4))
    for exponent in (0, 1, 2, 3, 4, 0.5, -0.5, -1, -2, 1.7):
        yield Call((x, exponent))
    yield Call((-x, 3))
    yield Call((2.0, x))
    yield Call((2, np.arange(4)), grad=False)
    yield Call((2, np.array([1.5, -1.0], np.float32)))
    yield Call((np.arange(5), 3), grad=False)
    yield Call((np.arange(5), 2.5), grad=False)
    yield Call((np.array([2, 1, -1, -1]), np.array([-1, -2, -3, -4])), grad=False)
    yield Call((np.arange(4, dtype=np.uint8), np.arange(4)), grad=False)
    yield Call((np.array([True, False]), 2), grad=False)
    yield Call((np.array([0.0, 0.0, 1.0]), np.array([0.0, 2.0, 0.0])))
    yield Call((np.arange(3), -1), error=(RuntimeError, "Integers to negative integer powers"))


@function(
    "pow", method=True, inplace=True, operators=("__pow__", "__rpow__", "__ipow__"),
    calls=_pow_calls,
)  # fmt: skip
def pow_(input: Operand, exponent: Operand) -> Value:
    """``input ** exponent``; either may be a number, not both.

    RuntimeError for an integer tensor and a negative whole number.
    """
    expect_one_tensor("pow", input, exponent)
    dtype = common_dtype((input, exponent))
    if dtype.category == "bool":
        raise DTypeError('"pow" not implemented for bool')
    if isinstance(input, Value) and not isinstance(exponent, Value):
        if dtype.category == "int" and isinstance(exponent, int) and exponent < 0:
            raise NegativeIntegerPower(
                "Integers to negative integer powers are not allowed: pow of a tensor of "
                f"{dtype} by {exponent}"
            )
        quick = _constant_power(cast(input, dtype), exponent)
        if quick is not None:
            return quick
    x, y = coerce(input, exponent, op="pow")
    return ops.pow(x, y)  # type: ignore[no-any-return]


@function(
    "float_power", method=True, inplace=True,
    calls=lambda: [
        Call((np.array([1.5, 2.0], np.float32), 2)), Call((np.arange(1, 4), -1), grad=False),
        Call((np.arange(1, 4), np.array([0.5, 1.0, 2.0]))), Call((2.0, np.arange(3)), grad=False),
    ],
)  # fmt: skip
def float_power(input: Operand, exponent: Operand) -> Value:
    """``input ** exponent`` computed in float64 (or complex128)."""
    wide = complex128 if common_dtype((input, exponent)).is_complex else float64
    x, y = (v if not isinstance(v, Value) else cast(v, wide) for v in (input, exponent))
    return cast(pow_(x, y), wide)


def _lerp_calls() -> Iterator[Call]:
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(3, 4)), rng.normal(size=(4,))
    for weight in (0.0, 0.25, 0.75, 1.0, rng.uniform(size=(3, 4)), rng.uniform(size=(3, 1))):
        yield Call((x, y, weight))
    yield Call((x.astype(np.float32), y.astype(np.float32), 0.3))
    yield Call((np.zeros((0, 4)), y, 0.5))
    yield Call((x, y.astype(np.float32), 0.5), error=(RuntimeError, "expected dtype"))


@function("lerp", method=True, inplace=True, calls=_lerp_calls)
def lerp(input: Value, end: Value, weight: Operand) -> Value:
    """``input + weight * (end - input)``, exact at both ends. RuntimeError if dtypes differ."""
    expect_tensor("lerp", input)
    expect_tensor("lerp", end, "end", 2)
    for name, value in (("end", end), ("weight", weight)):
        if isinstance(value, Value) and value.dtype is not input.dtype and not is_weak(value):
            raise DTypeError(
                f"lerp: expected dtype {input.dtype} for `{name}` but got dtype {value.dtype}"
            )
    x, y, w = coerce(input, end, weight, op="lerp", dtype=input.dtype)
    near_end = y - (y - x) * (1.0 - w)
    near_start = x + w * (y - x)
    if not isinstance(weight, Value):
        return near_start if abs(weight) < 0.5 else near_end
    half = constant(0.5, w.dtype, w.shape)
    return ops.where(ops.lt(ops.abs(w), half), near_start, near_end)  # type: ignore[no-any-return]


def _addc_calls(divisor: bool) -> Any:
    def make() -> Iterator[Call]:
        rng = np.random.default_rng(9)
        x, y = rng.normal(size=(3, 4)), rng.normal(size=(4,))
        z = rng.uniform(0.5, 2, size=(3, 1))
        yield Call((x, y, z))
        yield Call((x, y, z), {"value": -0.3})
        yield Call((y, x, z), {"value": 2})
        yield Call((x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)))
        yield Call((np.zeros((0, 4)), y, np.ones(4)))
        whole = np.arange(1, 4)
        if divisor:
            yield Call((whole, whole, whole), error=(RuntimeError, "no longer supported"))
        else:
            yield Call((whole, whole, whole), {"value": 2}, grad=False)
        yield Call((x, y, rng.normal(size=3)), error=(RuntimeError, "must match the size"))

    return make


def _three(op: str, x: Any, y: Any, z: Any, value: Scalar) -> tuple[Value, ...]:
    for number, (name, tensor) in enumerate((("input", x), ("tensor1", y), ("tensor2", z)), 1):
        expect_tensor(op, tensor, name, number)
    found = coerce(x, y, z, op=op)
    if isinstance(value, float) and found[0].dtype.category in ("bool", "int"):
        raise DTypeError(
            f"{op}(): For integral input tensors, argument value must not be a floating point "
            f"number, got value={value}"
        )
    return found


@function("addcmul", method=True, inplace=True, calls=_addc_calls(False))
def addcmul(input: Value, tensor1: Value, tensor2: Value, *, value: Scalar = 1) -> Value:
    """``input + value * tensor1 * tensor2``, with broadcasting and type promotion."""
    x, y, z = _three("addcmul", input, tensor1, tensor2, value)
    product = ops.mul(y, z)
    return x + (product if value == 1 else product * value)  # type: ignore[no-any-return]


@function("addcdiv", method=True, inplace=True, calls=_addc_calls(True))
def addcdiv(input: Value, tensor1: Value, tensor2: Value, *, value: Scalar = 1) -> Value:
    """``input + value * tensor1 / tensor2``. RuntimeError for two integer tensors."""
    x, y, z = _three("addcdiv", input, tensor1, tensor2, value)
    if common_dtype((tensor1, tensor2)).category in ("bool", "int"):
        raise DTypeError(
            "Integer division with addcdiv is no longer supported: use input + value * "
            "trunc(tensor1 / tensor2), or cast the tensors to a floating dtype"
        )
    quotient = ops.div(y, z)
    return x + (quotient if value == 1 else quotient * value)  # type: ignore[no-any-return]
