"""Bitwise operations, which on bool are the logical ones, and shifts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import bool_
from ..core.errors import DTypeError
from ..ir.node import Node, Value
from ..ir.sbp import Signature
from .arithmetic import Operand, coerce, constant
from .compare import logical_not_of
from .contract import Array, Declined, Sample, primitive
from .families import Binary, integers, samples_of, signature
from .function import Call, function
from .link import ops
from .pointwise import expect_one_tensor, expect_tensor, loops, zeros_like
from .pointwise_calls import binary_calls, no_gradients, unary_calls


def _bools() -> Any:
    x = np.array([[True, False], [True, False]])
    yield Sample((x, x.T), grad=False)
    yield Sample((x[0, 0], x[0, 1]), grad=False)


_EITHER = tuple(f"{a} {b} -> {p}" for p in ("P(max)", "P(min)") for a, b in ((p, "B"), ("B", p)))


class Bitwise(Binary):
    """An operation on the bits of two integers, or on two truth values."""

    accepts: ClassVar[tuple[str, ...]] = ("bool", "int")
    differentiable = False
    vjp: Any = Declined("integers and bools have no gradient")
    samples: Any = samples_of(integers(count=2), integers(0, 9, 2, np.uint8), _bools)
    numpy: Any
    of_bools: tuple[str, ...] = ()

    def reference(self, x: Array, y: Array) -> Array:
        return np.asarray(self.numpy(x, y))

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        more = self.of_bools if node.types[0].dtype is bool_ else ()
        return super().sbp(node, ranks) + [signature(text) for text in more]


@primitive
class BitwiseAnd(Bitwise):
    """Bits set in both operands."""

    name = "bitwise_and"
    numpy = np.bitwise_and
    of_bools = (*_EITHER, "P(min) P(min) -> P(min)")
    onnx = "BitwiseAnd"

    def lower(self, x: Any, y: Any) -> Any:
        return x & y


@primitive
class BitwiseOr(Bitwise):
    """Bits set in either operand."""

    name = "bitwise_or"
    numpy = np.bitwise_or
    of_bools = (*_EITHER, "P(max) P(max) -> P(max)")
    onnx = "BitwiseOr"

    def lower(self, x: Any, y: Any) -> Any:
        return x | y


@primitive
class BitwiseXor(Bitwise):
    """Bits set in exactly one operand."""

    name = "bitwise_xor"
    numpy = np.bitwise_xor
    onnx = "BitwiseXor"

    def lower(self, x: Any, y: Any) -> Any:
        return loops.Binary("xor", x, y)


def _shifts() -> Any:
    rng = np.random.default_rng(7)
    for shape in [(3, 4), (), (0, 2)]:
        yield Sample((rng.integers(-99, 99, shape), rng.integers(0, 9, shape)), grad=False)
    edge = np.array([-1, 0, 7, 8, 63, 64, 70])
    yield Sample((np.array([-9, 9, 1, -1, 5, 5, -5]), edge), grad=False)
    small = rng.integers(0, 255, (7,)).astype(np.uint8)
    yield Sample((small, np.arange(3, 10, dtype=np.uint8)), grad=False)


class Shift(Bitwise):
    """A shift; amounts below 0 or of the width and more shift everything out."""

    accepts = ("int",)
    samples: Any = _shifts

    def reference(self, x: Array, y: Array) -> Array:
        width = x.dtype.itemsize * 8
        inside = (y >= 0) & (y < width)
        amount = np.where(inside, y, 0).astype(x.dtype)
        return np.where(inside, self.numpy(x, amount), self.beyond(x)).astype(x.dtype)

    def beyond(self, x: Array) -> Array:
        return np.zeros_like(x)


@primitive
class ShiftLeft(Shift):
    """The first operand times two to the power of the second, in wrapping arithmetic."""

    name = "shift_left"
    numpy = np.left_shift
    partial = ("P(sum) B -> P(sum)",)
    onnx: Any = {"op": "BitShift", "attrs": {"direction": "LEFT"}}

    def lower(self, x: Any, y: Any) -> Any:
        return loops.Binary("shl", x, y)


@primitive
class ShiftRight(Shift):
    """The first operand divided by two to the power of the second, rounded down."""

    name = "shift_right"
    numpy = np.right_shift
    partial = ("P(max) B -> P(max)", "P(min) B -> P(min)")
    onnx: Any = {"op": "BitShift", "attrs": {"direction": "RIGHT"}}

    def beyond(self, x: Array) -> Array:
        return (x < 0).astype(x.dtype) * x.dtype.type(-1) if x.dtype.kind == "i" else x * 0

    def lower(self, x: Any, y: Any) -> Any:
        return loops.Binary("shr", x, y)


def _whole(op: str, *values: Value) -> None:
    for value in values:
        if value.dtype.category not in ("bool", "int"):
            raise DTypeError(f'"{op}" not implemented for {value.dtype}: expected bool or integer')


_FLOAT = Call((np.ones(2), np.ones(2)), error=(RuntimeError, "not implemented"))
_BITWISE_CALLS = binary_calls(floats=False, bools=True, extra=(_FLOAT,))


def _bitwise(name: str, operators: tuple[str, ...], text: str) -> Callable[..., Value]:
    def impl(input: Operand, other: Operand) -> Value:
        expect_one_tensor(name, input, other)
        x, y = coerce(input, other, op=name)
        _whole(name, x)
        return getattr(ops, name)(x, y)  # type: ignore[no-any-return]

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = f"Bitwise {text} of integers, logical {text} of bools. RuntimeError for floats."
    function(name, method=True, inplace=True, operators=operators, calls=_BITWISE_CALLS)(impl)
    return impl


bitwise_and = _bitwise("bitwise_and", ("__and__", "__rand__", "__iand__"), "and")
bitwise_or = _bitwise("bitwise_or", ("__or__", "__ror__", "__ior__"), "or")
bitwise_xor = _bitwise("bitwise_xor", ("__xor__", "__rxor__", "__ixor__"), "exclusive or")


@function(
    "bitwise_not", method=True, inplace=True, operators=("__invert__",),
    calls=lambda: [
        Call((np.arange(-3, 4),), grad=False), Call((np.arange(4, dtype=np.uint8),), grad=False),
        Call((np.array([True, False]),), grad=False), Call((np.zeros((0, 2), int),), grad=False),
        Call((np.ones(2),), error=(RuntimeError, "not implemented")),
    ],
)  # fmt: skip
def bitwise_not(input: Value) -> Value:
    """Every bit flipped; the opposite of bools. RuntimeError for floats."""
    value = expect_tensor("bitwise_not", input)
    _whole("bitwise_not", value)
    if value.dtype is bool_:
        return logical_not_of(value)
    ones = -1 if value.dtype.is_signed else int(np.iinfo(value.dtype.np).max)
    return ops.bitwise_xor(  # type: ignore[no-any-return]
        value, constant(ones, value.dtype, value.shape)
    )


def _shift(name: str, primitive_name: str, operators: tuple[str, ...], text: str) -> Any:
    def impl(input: Operand, other: Operand) -> Value:
        expect_one_tensor(name, input, other)
        x, y = coerce(input, other, op=name)
        return getattr(ops, primitive_name)(x, y)  # type: ignore[no-any-return]

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = f"Integers with their bits shifted {text} by ``other``. RuntimeError for floats."
    function(
        name, method=True, inplace=True, operators=operators,
        calls=binary_calls(floats=False, extra=(Call((np.arange(-9, 9), 70), grad=False),)),
    )(impl)  # fmt: skip
    return impl


bitwise_left_shift = _shift(
    "bitwise_left_shift", "shift_left", ("__lshift__", "__rlshift__", "__ilshift__"), "left"
)
bitwise_right_shift = _shift(
    "bitwise_right_shift", "shift_right", ("__rshift__", "__rrshift__", "__irshift__"), "right"
)


def truth(value: Value) -> Value:
    """Whether elements are not zero; NaN counts as true."""
    if value.dtype is bool_:
        return value
    return logical_not_of(ops.eq(value, zeros_like(value)))


_LOGICAL_CALLS = no_gradients(
    binary_calls(bools=True, numbers=False, extra=(Call((np.arange(3), np.arange(3) > 1)),))
)


def _logical(name: str, bitwise: str, text: str) -> Callable[..., Value]:
    def impl(input: Value, other: Value) -> Value:
        x = truth(expect_tensor(name, input))
        y = truth(expect_tensor(name, other, "other", 2))
        return getattr(ops, bitwise)(*coerce(x, y, op=name))  # type: ignore[no-any-return]

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = f"Logical {text} of two tensors (non-zero is true), with broadcasting; bool."
    function(name, method=True, inplace=True, calls=_LOGICAL_CALLS)(impl)
    return impl


logical_and = _logical("logical_and", "bitwise_and", "and")
logical_or = _logical("logical_or", "bitwise_or", "or")
logical_xor = _logical("logical_xor", "bitwise_xor", "exclusive or")


@function("logical_not", method=True, inplace=True, calls=no_gradients(unary_calls(complexes=True)))
def logical_not(input: Value) -> Value:
    """Whether each element is zero; bool."""
    value = expect_tensor("logical_not", input)
    return logical_not_of(value) if value.dtype is bool_ else ops.eq(value, zeros_like(value))
