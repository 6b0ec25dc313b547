"""Functions of one number: absolute value, sign, rounding, roots, exponentials and logarithms.

`Elementary` is the base of all primitives that are a scalar function of one floating-point
number; a subclass states the NumPy function, the derivative (`slope`) and how Partial values
pass. `@elementary` registers the primitive together with the public function of its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import float32, int64
from ..core.errors import DTypeError
from ..ir.node import Node, Value
from .arithmetic import coerce_float, conj
from .contract import Array, Declined, Grads, Primitive, primitive
from .families import Unary, floats, in_float32, integers, samples_of
from .function import Call, composite, function
from .link import ops
from .pointwise import RISING, expect_tensor, loops, zeros_like
from .pointwise_calls import Calls, unary_calls


class Elementary(Unary):
    """A smooth scalar function that the loop IR knows by the same name."""

    accepts: ClassVar[tuple[str, ...]] = ("float", "complex")
    numpy: ClassVar[Any]
    samples: Any = floats()
    onnx: Any = Declined("ONNX has no such operator; exported as its formula in others")

    def reference(self, x: Array) -> Array:
        return in_float32(self.numpy, x)

    def slope(self, x: Value, y: Value) -> Value:
        """The derivative at operand ``x``, where the result is ``y``; reads one of the two."""
        raise NotImplementedError

    def vjp(self, node: Node, g: Value) -> Grads:
        return (g * conj(self.slope(node.inputs[0], node.out)),)

    def lower(self, x: Any) -> Any:
        return loops.Unary(self.name, x)


class Stepwise(Elementary):
    """A function of steps: real numbers only, the gradient is zero almost everywhere."""

    accepts = ("float",)
    partial = RISING

    def vjp(self, node: Node, g: Value) -> Grads:
        return (zeros_like(g),)


def public_unary(
    op: Primitive, convert: Callable[[Value], Value] = coerce_float, **public: Any
) -> None:
    """Register the public function of the op's name: ``op(convert(input))``."""

    def impl(input: Value) -> Value:
        return op(convert(expect_tensor(op.name, input)))  # type: ignore[no-any-return]

    impl.__name__ = impl.__qualname__ = op.name
    impl.__doc__ = type(op).__doc__
    function(op.name, method=True, inplace=True, **public)(impl)


def elementary(
    *aliases: str, calls: Calls | None = None
) -> Callable[[type[Elementary]], Primitive]:
    """Register a primitive and, under its name and ``aliases``, its public function, which
    turns integers and bools into the default floating dtype first."""

    def register(cls: type[Elementary]) -> Primitive:
        op = primitive(cls)
        public_unary(op, aliases=aliases, calls=calls or unary_calls())
        return op

    return register


def _step_function(*aliases: str) -> Callable[[type[Stepwise]], Primitive]:
    """Register a rounding: integers are returned as they are."""

    def register(cls: type[Stepwise]) -> Primitive:
        op = primitive(cls)

        def impl(input: Value) -> Value:
            value = expect_tensor(op.name, input)
            return value if value.dtype.category == "int" else op(value)

        impl.__name__ = impl.__qualname__ = op.name
        impl.__doc__ = cls.__doc__
        calls = unary_calls(-9, 9, bools=False)
        function(op.name, method=True, inplace=True, aliases=aliases, calls=calls)(impl)
        return op

    return register


@primitive
class Abs(Unary):
    """The absolute value of real numbers; the gradient at 0 is 0."""

    name = "abs"
    partial = ("P(prod) -> P(prod)",)
    onnx = "Abs"
    accepts = ("int", "float")
    samples = samples_of(floats(), integers())

    def reference(self, x: Array) -> Array:
        return np.abs(x)

    def vjp(self, node: Node, g: Value) -> Grads:
        return (g * ops.sign(node.inputs[0]),)

    def lower(self, x: Any) -> Any:
        return loops.Unary("abs", x) if x.dtype.is_signed else x


@primitive
class Sign(Unary):
    """-1, 0 or 1 by the sign of a real number; NaN gives 0, as in PyTorch."""

    name = "sign"
    partial = (*RISING, "P(prod) -> P(prod)")
    onnx = "Sign"
    accepts = ("int", "float")
    samples = samples_of(floats(), integers())

    def reference(self, x: Array) -> Array:
        return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)  # type: ignore[no-any-return]

    def vjp(self, node: Node, g: Value) -> Grads:
        return (zeros_like(g),)

    def lower(self, x: Any) -> Any:
        return loops.Cast(x > 0, x.dtype) - loops.Cast(x < 0, x.dtype)


@_step_function()
class Floor(Stepwise):
    """The greatest integer that is not above each element; integers are unchanged."""

    name = "floor"
    numpy = np.floor
    onnx = "Floor"


@_step_function()
class Ceil(Stepwise):
    """The least integer that is not below each element; integers are unchanged."""

    name = "ceil"
    numpy = np.ceil
    onnx = "Ceil"


@_step_function("fix")
class Trunc(Stepwise):
    """Each element rounded towards zero; integers are unchanged."""

    name = "trunc"
    numpy = np.trunc
    onnx: Any = Declined("ONNX has no truncation; exported as Sign times Floor of Abs")


@primitive
class Round(Stepwise):
    """Each element rounded to the nearest integer, ties to the even one."""

    name = "round"
    numpy = np.rint
    onnx = "Round"


@elementary(calls=unary_calls(0.1, 4, complexes=True))
class Sqrt(Elementary):
    """The square root of each element, NaN for negative real numbers."""

    name = "sqrt"
    numpy = np.sqrt
    # P(max) is not here: a rank may hold a negative term below a positive maximum.
    partial = ("P(min) -> P(min)",)
    onnx = "Sqrt"
    samples = floats(0.2, 4)

    def slope(self, x: Value, y: Value) -> Value:
        return 0.5 / y


@elementary(calls=unary_calls(complexes=True))
class Exp(Elementary):
    """The exponential e^x of each element."""

    name = "exp"
    numpy = np.exp
    partial = (*RISING, "P(sum) -> P(prod)")
    onnx = "Exp"

    def slope(self, x: Value, y: Value) -> Value:
        return y


@elementary("special.exp2")
class Exp2(Elementary):
    """The power 2^x of each element."""

    name = "exp2"
    numpy = np.exp2
    partial = (*RISING, "P(sum) -> P(prod)")
    accepts = ("float",)

    def slope(self, x: Value, y: Value) -> Value:
        return y * math.log(2)


@elementary("special.expm1")
class Expm1(Elementary):
    """e^x - 1 of each element, accurate near 0."""

    name = "expm1"
    numpy = np.expm1
    partial = RISING
    accepts = ("float",)

    def slope(self, x: Value, y: Value) -> Value:
        return y + 1.0


class Logarithm(Elementary):
    """A logarithm to some base; NaN for negative real numbers."""

    partial = ("P(min) -> P(min)",)
    samples: Any = floats(0.2, 4)
    natural_base: ClassVar[float] = 1.0

    def slope(self, x: Value, y: Value) -> Value:
        return 1.0 / (x if self.natural_base == 1.0 else x * self.natural_base)


@elementary(calls=unary_calls(0.1, 4, complexes=True))
class Log(Logarithm):
    """The natural logarithm of each element."""

    name = "log"
    numpy = np.log
    onnx = "Log"


@elementary(calls=unary_calls(0.1, 4))
class Log2(Logarithm):
    """The logarithm to base 2 of each element, exact for powers of two."""

    name = "log2"
    numpy = np.log2
    accepts = ("float",)
    natural_base = math.log(2)


@elementary(calls=unary_calls(0.1, 4))
class Log10(Logarithm):
    """The logarithm to base 10 of each element, exact for powers of ten."""

    name = "log10"
    numpy = np.log10
    accepts = ("float",)
    natural_base = math.log(10)


@elementary("special.log1p", calls=unary_calls(-0.9, 4))
class Log1p(Elementary):
    """log(1 + x) of each element, accurate near 0."""

    name = "log1p"
    numpy = np.log1p
    partial = ("P(min) -> P(min)",)
    accepts = ("float",)
    samples = floats(-0.8, 3)

    def slope(self, x: Value, y: Value) -> Value:
        return 1.0 / (x + 1.0)


def _reciprocal_vjp(node: Node, g: Value) -> Grads:
    y = conj(node.out)
    return (-g * y * y,)


@composite(
    "reciprocal", vjp=_reciprocal_vjp, method=True, inplace=True,
    calls=unary_calls(0.2, 3, complexes=True),
)  # fmt: skip
def reciprocal(input: Value) -> Value:
    """``1 / input``; integers become floating-point numbers."""
    return 1.0 / coerce_float(expect_tensor("reciprocal", input))


def _rsqrt_vjp(node: Node, g: Value) -> Grads:
    y = conj(node.out)
    return (-0.5 * g * y * y * y,)


@composite(
    "rsqrt", vjp=_rsqrt_vjp, method=True, inplace=True, calls=unary_calls(0.2, 3, complexes=True)
)
def rsqrt(input: Value) -> Value:
    """``1 / sqrt(input)``; integers become floating-point numbers."""
    return 1.0 / ops.sqrt(coerce_float(expect_tensor("rsqrt", input)))  # type: ignore[no-any-return]


@function("square", method=True, inplace=True, calls=unary_calls(complexes=True))
def square(input: Value) -> Value:
    """``input * input``."""
    value = expect_tensor("square", input)
    if value.dtype.category == "bool":
        value = ops.cast(value, dtype=int64)
    return ops.mul(value, value)  # type: ignore[no-any-return]


@function(
    "neg", method=True, inplace=True, aliases=("negative",), operators=("__neg__",),
    calls=unary_calls(bools=False, complexes=True),
)  # fmt: skip
def neg(input: Value) -> Value:
    """``-input``. RuntimeError for bool tensors."""
    value = expect_tensor("neg", input)
    if value.dtype.category == "bool":
        raise DTypeError(
            "neg(): Negation, the `-` operator, on a bool tensor is not supported. If you are "
            "trying to invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return ops.neg(value)  # type: ignore[no-any-return]


@function(
    "positive", method=True, operators=("__pos__",), out=False,
    calls=unary_calls(bools=False, complexes=True),
)  # fmt: skip
def positive(input: Value) -> Value:
    """``input`` itself. RuntimeError for bool tensors."""
    value = expect_tensor("positive", input)
    if value.dtype.category == "bool":
        raise DTypeError("positive(): The `+` operator, on a bool tensor is not supported.")
    return value


@function("sign", method=True, inplace=True, calls=unary_calls())
def sign(input: Value) -> Value:
    """-1, 0 or 1 by the sign of each element (0 for NaN)."""
    value = expect_tensor("sign", input)
    return value if value.dtype.category == "bool" else ops.sign(value)


def _round_calls() -> Iterator[Call]:
    yield from unary_calls(-9, 9, bools=False)()
    row = np.array([0.5, 1.5, 2.5, -0.5, 123.456, -1234.567])
    yield Call((row,))
    yield Call((row,), {"decimals": 2})
    yield Call((row,), {"decimals": -2})
    yield Call((np.arange(3),), {"decimals": 2}, error=(RuntimeError, "not implemented"))


@function("round", method=True, inplace=True, aliases=("special.round",), calls=_round_calls)
def round_(input: Value, *, decimals: int = 0) -> Value:
    """Each element rounded to ``decimals`` places, ties to even; integers are unchanged.

    RuntimeError for integers with ``decimals`` other than 0.
    """
    value = expect_tensor("round", input)
    if value.dtype.category == "int":
        if decimals:
            raise DTypeError(f'"round" with decimals is not implemented for {value.dtype}')
        return value
    if decimals == 0:
        return ops.round(value)  # type: ignore[no-any-return]
    if value.dtype.itemsize == 2 and value.dtype.category == "float":
        # The scaled number may exceed the range of a half.
        wide = round_(ops.cast(value, dtype=float32), decimals=decimals)
        return ops.cast(wide, dtype=value.dtype)  # type: ignore[no-any-return]
    scale = 10.0 ** abs(decimals)
    if decimals > 0:
        return ops.round(value * scale) / scale  # type: ignore[no-any-return]
    return ops.round(value / scale) * scale  # type: ignore[no-any-return]


@function("frac", method=True, inplace=True, calls=unary_calls(ints=False, bools=False))
def frac(input: Value) -> Value:
    """The part of each floating-point element behind the point, with its sign."""
    value = expect_tensor("frac", input)
    return value - ops.trunc(value)  # type: ignore[no-any-return]


@function("rad2deg", method=True, inplace=True, calls=unary_calls())
def rad2deg(input: Value) -> Value:
    """Angles in radians as degrees."""
    return coerce_float(expect_tensor("rad2deg", input)) * (180.0 / math.pi)


@function("deg2rad", method=True, inplace=True, calls=unary_calls(-180, 180))
def deg2rad(input: Value) -> Value:
    """Angles in degrees as radians."""
    return coerce_float(expect_tensor("deg2rad", input)) * (math.pi / 180.0)
