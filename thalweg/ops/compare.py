"""Comparisons, and the tests of numbers that follow from them (NaN, infinities, closeness)."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import bool_, default_dtype
from ..core.errors import DTypeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import Operand, coerce, constant
from .contract import Array, primitive
from .families import Comparison, floats, integers, samples_of
from .function import FUNCTIONS, Call, function
from .link import ops
from .pointwise import expect_tensor, loops, zeros_like
from .pointwise_calls import binary_calls, no_gradients, unary_calls

# x < max(y) where x is less than any of them; max(x) < y where all of them are less.
ORDERED = (
    "B P(max) -> P(max)", "B P(min) -> P(min)", "P(max) B -> P(min)", "P(min) B -> P(max)",
)  # fmt: skip


class Order(Comparison):
    """A comparison that Python's operators name, in NumPy as in the loop IR."""

    compare: ClassVar[Any]
    samples: Any = samples_of(floats(count=2), integers(count=2))

    def reference(self, x: Array, y: Array) -> Array:
        return np.asarray(self.compare(x, y))


@primitive
class Eq(Order):
    """Whether elements are equal; NaN equals nothing."""

    name = "eq"
    onnx = "Equal"
    compare = staticmethod(operator.eq)

    def lower(self, x: Any, y: Any) -> Any:
        return loops.Binary("eq", x, y)


@primitive
class Lt(Order):
    """Whether the first element is less; false if either is NaN."""

    name = "lt"
    onnx = "Less"
    accepts = ("bool", "int", "float")
    partial = ORDERED
    compare = staticmethod(operator.lt)

    def lower(self, x: Any, y: Any) -> Any:
        return x < y


@primitive
class Le(Order):
    """Whether the first element is less or equal; false if either is NaN."""

    name = "le"
    onnx = "LessOrEqual"
    accepts = ("bool", "int", "float")
    partial = ORDERED
    compare = staticmethod(operator.le)

    def lower(self, x: Any, y: Any) -> Any:
        return x <= y


def logical_not_of(mask: Value) -> Value:
    """The opposite of a bool value."""
    return ops.bitwise_xor(mask, constant(True, mask.dtype, mask.shape))  # type: ignore[no-any-return]


_CALLS = binary_calls(
    bools=True,
    extra=(
        Call((np.arange(4), 1.5), grad=False),
        Call((np.array([1.0, np.nan]), np.nan), grad=False),
        Call((np.array([True, False]), 1), grad=False),
    ),
)


def _comparison(
    name: str, alias: str, text: str, rule: Callable[[Value, Value], Value]
) -> Callable[[Value, Operand], Value]:
    def impl(input: Value, other: Operand) -> Value:
        return rule(*coerce(expect_tensor(name, input), other, op=name))

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = f"Whether ``input {text} other``, elementwise, with broadcasting; bool."
    function(
        name, method=True, inplace=True, operators=(f"__{name}__",),
        aliases=(alias,) if alias else (), calls=no_gradients(_CALLS),
    )(impl)  # fmt: skip
    return impl


eq = _comparison("eq", "", "==", lambda x, y: ops.eq(x, y))
ne = _comparison("ne", "not_equal", "!=", lambda x, y: logical_not_of(ops.eq(x, y)))
lt = _comparison("lt", "less", "<", lambda x, y: ops.lt(x, y))
le = _comparison("le", "less_equal", "<=", lambda x, y: ops.le(x, y))
gt = _comparison("gt", "greater", ">", lambda x, y: ops.lt(y, x))
ge = _comparison("ge", "greater_equal", ">=", lambda x, y: ops.le(y, x))

_TESTS = no_gradients(unary_calls())
_TESTS_COMPLEX = no_gradients(unary_calls(complexes=True))


def _real_parts(value: Value) -> list[Value]:
    return [ops.real(value), ops.imag(value)] if value.dtype.is_complex else [value]


def _inexact(value: Value) -> bool:
    return value.dtype.category in ("float", "complex")


def _every(masks: list[Value]) -> Value:
    result = masks[0]
    for mask in masks[1:]:
        result = ops.bitwise_and(result, mask)
    return result


def _all_false(value: Value) -> Value:
    return constant(False, bool_, value.shape)


def is_nan(value: Value) -> Value:
    """Where elements are NaN (either part, of complex numbers)."""
    if not _inexact(value):
        return _all_false(value)
    return logical_not_of(_every([ops.eq(part, part) for part in _real_parts(value)]))


@function("isnan", method=True, out=False, calls=_TESTS_COMPLEX)
def isnan(input: Value) -> Value:
    """Whether each element is NaN."""
    return is_nan(expect_tensor("isnan", input))


def _magnitude_is_infinite(part: Value) -> Value:
    infinity = constant(math.inf, part.dtype, part.shape)
    return ops.eq(ops.abs(part), infinity)  # type: ignore[no-any-return]


@function("isinf", method=True, out=False, calls=_TESTS_COMPLEX)
def isinf(input: Value) -> Value:
    """Whether each element is infinite, of either sign."""
    value = expect_tensor("isinf", input)
    if not _inexact(value):
        return _all_false(value)
    finite = [logical_not_of(_magnitude_is_infinite(part)) for part in _real_parts(value)]
    return logical_not_of(_every(finite))


@function("isfinite", method=True, out=False, calls=_TESTS_COMPLEX)
def isfinite(input: Value) -> Value:
    """Whether each element is neither infinite nor NaN."""
    value = expect_tensor("isfinite", input)
    if not _inexact(value):
        return logical_not_of(_all_false(value))
    parts = _real_parts(value)
    return _every([ops.lt(ops.abs(p), constant(math.inf, p.dtype, p.shape)) for p in parts])


def _infinite(op: str, value: Value, bound: float) -> Value:
    if value.dtype.is_complex:
        raise DTypeError(f"{op} does not support complex inputs.")
    if not _inexact(value):
        return _all_false(value)
    return ops.eq(value, constant(bound, value.dtype, value.shape))  # type: ignore[no-any-return]


@function("isposinf", method=True, calls=_TESTS)
def isposinf(input: Value) -> Value:
    """Whether each element is positive infinity. RuntimeError for complex tensors."""
    return _infinite("isposinf", expect_tensor("isposinf", input), math.inf)


@function("isneginf", method=True, calls=_TESTS)
def isneginf(input: Value) -> Value:
    """Whether each element is negative infinity. RuntimeError for complex tensors."""
    return _infinite("isneginf", expect_tensor("isneginf", input), -math.inf)


@function("isreal", method=True, out=False, calls=_TESTS_COMPLEX)
def isreal(input: Value) -> Value:
    """Whether each element has no imaginary part."""
    value = expect_tensor("isreal", input)
    if value.dtype.is_complex:
        imaginary = ops.imag(value)
        return ops.eq(imaginary, zeros_like(imaginary))  # type: ignore[no-any-return]
    return logical_not_of(_all_false(value))


@function("signbit", method=True, calls=_TESTS)
def signbit(input: Value) -> Value:
    """Whether the sign of each element is minus (-0.0 included). RuntimeError if complex."""
    value = expect_tensor("signbit", input)
    if value.dtype.is_complex:
        raise DTypeError("signbit is not implemented for complex tensors.")
    if value.dtype.category == "bool":
        return _all_false(value)
    if value.dtype.category == "float":
        value = ops.copysign(constant(1.0, value.dtype, value.shape), value)
    return ops.lt(value, zeros_like(value))  # type: ignore[no-any-return]


def _close_calls() -> Iterator[Call]:
    x = np.array([1.0, 2.0, np.nan, np.inf, -np.inf, 0.0, 100.0])
    y = np.array([1.0 + 1e-9, 2.1, np.nan, np.inf, np.inf, 1e-9, 100.2])
    several: list[dict[str, Any]] = [{}, {"rtol": 0.01}, {"atol": 0.2}, {"equal_nan": True}]
    for options in several:
        yield Call((x, y), options, grad=False)
    yield Call((x[:, None], y), grad=False)
    yield Call((np.arange(5), np.array([0, 1, 2, 4, 4])), grad=False)
    yield Call((np.arange(5), np.array([0, 1, 2, 4, 4])), {"atol": 1.0}, grad=False)
    yield Call((np.array([True]), np.array([False])), grad=False)
    yield Call((x, x.astype(np.float32)), error=(RuntimeError, "same dtype"))
    yield Call((x, y), {"rtol": -1.0}, error=(RuntimeError, "greater than or equal to zero"))


@function("isclose", method=True, out=False, calls=_close_calls)
def isclose(
    input: Value, other: Value, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Value:
    """Whether |input - other| <= atol + rtol·|other|; equal infinities are close.

    RuntimeError for different dtypes and for negative tolerances.
    """
    expect_tensor("isclose", input)
    expect_tensor("isclose", other, "other", 2)
    if input.dtype is not other.dtype:
        raise DTypeError(
            f"isclose(): expected tensors of the same dtype, got {input.dtype} and {other.dtype}"
        )
    for name, bound in (("rtol", rtol), ("atol", atol)):
        if not bound >= 0:
            raise ToleranceError(
                f"isclose(): {name} must be greater than or equal to zero, but got {bound}"
            )
    x, y = coerce(input, other, op="isclose")
    close = ops.eq(x, y)
    if equal_nan and _inexact(x):
        close = ops.bitwise_or(close, ops.bitwise_and(is_nan(x), is_nan(y)))
    if rtol == 0 and atol == 0:
        return close  # type: ignore[no-any-return]
    if x.dtype.category in ("bool", "int"):
        x, y = (ops.cast(v, dtype=default_dtype()) for v in (x, y))
    allowed = _modulus(y) * rtol + atol
    error = _modulus(x - y)
    finite = ops.lt(error, constant(math.inf, error.dtype, error.shape))
    within = ops.bitwise_and(finite, ops.le(error, allowed))
    return ops.bitwise_or(close, within)  # type: ignore[no-any-return]


def _modulus(value: Value) -> Value:
    return FUNCTIONS["abs"].impl(value)  # type: ignore[no-any-return]


class ToleranceError(ValueRangeError, RuntimeError):
    """A negative tolerance (PyTorch raises RuntimeError here)."""
