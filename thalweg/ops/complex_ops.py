"""Complex numbers: their parts, conjugates, moduli and angles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.types import Shape
from .arithmetic import coerce, coerce_float, constant
from .compare import is_nan
from .contract import Array, Declined, Grads, Host, Sample, primitive
from .families import Binary, Unary, floats
from .function import Call, composite, function
from .link import ops
from .pointwise import expect_tensor, internal_composite, zeros_like
from .pointwise_calls import Calls, calls, unary_calls
from .unary import sign

_NO_KERNEL = Host("loop kernels hold real numbers")
_NO_ONNX = Declined("ONNX operators take no complex tensors")


def _plane(*shape: int) -> Array:
    rng = np.random.default_rng(13)
    return np.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))


class ComplexPart(Unary):
    """A function of complex numbers that is linear over the reals."""

    accepts = ("complex",)
    linear = True
    lower: Any = _NO_KERNEL
    onnx: Any = _NO_ONNX

    def samples(self) -> Iterator[Sample]:
        for shape in [(3, 4), (), (0,), (5,)]:
            yield Sample((_plane(*shape),))
        yield Sample((_plane(3).astype(np.complex64),), grad=False)
        yield Sample((np.ones(2),), error=(RuntimeError, "expected complex"))


@primitive
class Real(ComplexPart):
    """The real part."""

    name = "real"

    def result_dtype(self, dtype: DType, **attrs: Any) -> DType:
        return dtype.to_real()

    def reference(self, x: Array) -> Array:
        return x.real.copy()

    def vjp(self, node: Node, g: Value) -> Grads:
        return (ops.make_complex(g, zeros_like(g)),)


@primitive
class Imag(ComplexPart):
    """The imaginary part."""

    name = "imag"

    def result_dtype(self, dtype: DType, **attrs: Any) -> DType:
        return dtype.to_real()

    def reference(self, x: Array) -> Array:
        return x.imag.copy()

    def vjp(self, node: Node, g: Value) -> Grads:
        return (ops.make_complex(zeros_like(g), g),)


@primitive
class Conj(ComplexPart):
    """The complex conjugate."""

    name = "conj"
    partial = ("P(prod) -> P(prod)",)

    def reference(self, x: Array) -> Array:
        return np.conj(x)

    def vjp(self, node: Node, g: Value) -> Grads:
        return (ops.conj(g),)


@primitive
class MakeComplex(Binary):
    """A complex number from its real and imaginary parts."""

    name = "make_complex"
    accepts = ("float",)
    linear = True
    lower: Any = _NO_KERNEL
    onnx: Any = _NO_ONNX
    samples = floats(count=2)

    def result_dtype(self, dtype: DType, **attrs: Any) -> DType:
        return dtype.to_complex()

    def reference(self, x: Array, y: Array) -> Array:
        wide = np.complex128 if x.dtype == np.float64 else np.complex64
        result = np.empty(x.shape, wide)
        result.real, result.imag = x, y
        return result

    def vjp(self, node: Node, g: Value) -> Grads:
        part = node.inputs[0].dtype
        return tuple(
            p if p.dtype is part else ops.cast(p, dtype=part) for p in (ops.real(g), ops.imag(g))
        )


def _complex_calls(*others: Call) -> Calls:
    def make() -> Iterator[Call]:
        yield Call((_plane(3, 4),), grad=False)
        yield Call((_plane().astype(np.complex64),), grad=False)
        yield Call((_plane(0, 2),), grad=False)
        yield from others

    return make


@function("real", out=False, view=True, calls=_complex_calls(Call((np.ones(3),))))
def real(input: Value) -> Value:
    """The real parts of complex numbers; a real tensor itself."""
    value = expect_tensor("real", input)
    return _component(view_as_real(value), 0) if value.dtype.is_complex else value


@function(
    "imag", out=False, view=True,
    calls=_complex_calls(Call((np.ones(3),), error=(RuntimeError, "imag is not implemented"))),
)  # fmt: skip
def imag(input: Value) -> Value:
    """The imaginary parts of complex numbers. RuntimeError for real tensors."""
    value = expect_tensor("imag", input)
    if not value.dtype.is_complex:
        raise DTypeError(
            f"imag is not implemented for tensors with non-complex dtypes, got {value.dtype}"
        )
    return _component(view_as_real(value), 1)


@function("conj", method=True, out=False, calls=_complex_calls(Call((np.ones(3),))))
def conj(input: Value) -> Value:
    """The complex conjugates; a real tensor itself."""
    value = expect_tensor("conj", input)
    return ops.conj(value) if value.dtype.is_complex else value


@function("conj_physical", method=True, inplace=True, calls=_complex_calls(Call((np.ones(3),))))
def conj_physical(input: Value) -> Value:
    """The same as `conj`: values here are never conjugated lazily."""
    return conj(input)  # type: ignore[no-any-return]


def _floats(op: str, first: Value, second: Value) -> tuple[Value, ...]:
    if first.dtype is not second.dtype or first.dtype.category != "float":
        raise DTypeError(
            f"{op}: Expected both inputs to be Half, Float or Double tensors of one dtype but got "
            f"{first.dtype} and {second.dtype}"
        )
    return coerce(first, second, op=op)


_PARTS = calls(
    Call((np.arange(6.0).reshape(2, 3), np.arange(3.0)), grad=False),
    Call((np.ones(2, np.float32), np.zeros(2, np.float32)), grad=False),
    Call((np.ones(2), np.ones(2, np.float32)), error=(RuntimeError, "Expected")),
)


@function("complex", calls=_PARTS)
def complex_(real: Value, imag: Value) -> Value:
    """Complex numbers from real and imaginary parts of one floating dtype."""
    x, y = expect_tensor("complex", real, "real"), expect_tensor("complex", imag, "imag", 2)
    return ops.make_complex(*_floats("complex", x, y))  # type: ignore[no-any-return]


@function("polar", calls=_PARTS)
def polar(abs: Value, angle: Value) -> Value:
    """Complex numbers from moduli and angles in radians, of one floating dtype."""
    x, y = expect_tensor("polar", abs, "abs"), expect_tensor("polar", angle, "angle", 2)
    r, phi = _floats("polar", x, y)
    return ops.make_complex(r * ops.cos(phi), r * ops.sin(phi))  # type: ignore[no-any-return]


@internal_composite("complex_abs")
def complex_abs(z: Value) -> Value:
    """The modulus, scaled against overflow; its gradient at 0 is 0."""
    x, y = ops.abs(ops.real(z)), ops.abs(ops.imag(z))
    big, small = ops.maximum(x, y), ops.minimum(x, y)
    zero, one = zeros_like(big), constant(1.0, big.dtype, big.shape)
    ratio = small / ops.where(ops.eq(big, zero), one, big)
    length = big * ops.sqrt(ratio * ratio + 1.0)
    infinity = constant(math.inf, big.dtype, big.shape)
    infinite = ops.bitwise_or(ops.eq(x, infinity), ops.eq(y, infinity))
    return ops.where(infinite, infinity, length)  # type: ignore[no-any-return]


@function(
    "abs", method=True, inplace=True, aliases=("absolute",), operators=("__abs__",),
    calls=unary_calls(bools=False, complexes=True),
)  # fmt: skip
def abs_(input: Value) -> Value:
    """The absolute value of each element; of complex numbers the (real) modulus."""
    value = expect_tensor("abs", input)
    if value.dtype.is_complex:
        return complex_abs(value)  # type: ignore[no-any-return]
    return ops.abs(value)  # type: ignore[no-any-return]


@function("sgn", method=True, inplace=True, calls=unary_calls(complexes=True))
def sgn(input: Value) -> Value:
    """`sign` of real numbers; ``input / abs(input)`` of complex numbers, 0 for 0."""
    value = expect_tensor("sgn", input)
    if not value.dtype.is_complex:
        return sign(value)  # type: ignore[no-any-return]
    modulus = abs_(value)
    zero = ops.eq(modulus, zeros_like(modulus))
    return value / ops.where(zero, constant(1.0, modulus.dtype, modulus.shape), modulus)  # type: ignore[no-any-return]


@function(
    "angle", method=True,
    calls=unary_calls(complexes=True),
)  # fmt: skip
def angle(input: Value) -> Value:
    """The angle of each complex number in radians; of real numbers 0, or π below zero."""
    value = expect_tensor("angle", input)
    if value.dtype.is_complex:
        return ops.atan2(ops.imag(value), ops.real(value))  # type: ignore[no-any-return]
    x = coerce_float(value)
    pi, zero = constant(math.pi, x.dtype, x.shape), zeros_like(x)
    return ops.where(is_nan(x), x, ops.where(ops.lt(x, zero), pi, zero))  # type: ignore[no-any-return]


@composite("view_as_real", view=True, out=False, calls=_complex_calls())
def view_as_real(input: Value) -> Value:
    """Complex numbers as pairs (real, imaginary) in a new last dimension of two.

    RuntimeError for real tensors.
    """
    value = expect_tensor("view_as_real", input)
    if not value.dtype.is_complex:
        raise DTypeError("view_as_real is only supported for complex tensors")
    shape = (*value.shape, 1)
    parts = [ops.reshape(part, shape=shape) for part in (ops.real(value), ops.imag(value))]
    return ops.concat(*parts, dim=value.ndim)  # type: ignore[no-any-return]


@composite(
    "view_as_complex", view=True, out=False,
    calls=calls(
        Call((np.arange(12.0).reshape(2, 3, 2),), grad=False),
        Call((np.ones(2, np.float32),), grad=False),
        Call((np.ones((2, 3)),), error=(RuntimeError, "last dimension of size 2")),
    ),
)  # fmt: skip
def view_as_complex(input: Value) -> Value:
    """Pairs in the last dimension (of two elements) as complex numbers.

    RuntimeError for other shapes and for dtypes that are not floating.
    """
    value = expect_tensor("view_as_complex", input)
    if value.dtype.category != "float":
        raise DTypeError(
            "view_as_complex is only supported for half, float and double tensors, but got a "
            f"tensor of {value.dtype}"
        )
    if value.ndim == 0 or value.shape[-1] != 2:
        raise ShapeError(
            f"Tensor must have a last dimension of size 2, got shape {list(value.shape)}"
        )
    parts = [_component(value, i) for i in (0, 1)]
    return ops.make_complex(*parts)  # type: ignore[no-any-return]


class _AsReal:
    """How `view_as_real` shows the memory of its operand; see `movement.View`."""

    @staticmethod
    def strides(shape: Shape, strides: Shape, /) -> Shape:
        return (*(2 * s for s in strides), 1)

    @staticmethod
    def scale(offset: int) -> int:
        return 2 * offset

    @staticmethod
    def write(base: Value, new: Value) -> Value:
        return view_as_complex(new)  # type: ignore[no-any-return]

    @staticmethod
    def reference(x: Array) -> Array:
        part = x.real
        return np.lib.stride_tricks.as_strided(
            part, (*x.shape, 2), (*x.strides, part.itemsize)
        )  # fmt: skip


class _AsComplex:
    """How `view_as_complex` shows the memory of its operand."""

    @staticmethod
    def strides(shape: Shape, strides: Shape, /) -> Shape | None:
        *outer, last = strides
        if last != 1 or any(s % 2 for s, extent in zip(outer, shape) if extent > 1):
            return None
        return tuple(s // 2 for s in outer)

    @staticmethod
    def scale(offset: int) -> int:
        return offset // 2

    @staticmethod
    def write(base: Value, new: Value) -> Value:
        return view_as_real(new)  # type: ignore[no-any-return]

    @staticmethod
    def reference(x: Array) -> Array:
        return x.view(np.result_type(x.dtype, np.complex64))[..., 0]


view_as_real.alias, view_as_complex.alias = _AsReal, _AsComplex


def _component(pairs: Value, index: int) -> Value:
    last = pairs.ndim - 1
    starts = (*(0 for _ in range(last)), index)
    stops = (*pairs.shape[:-1], index + 1)
    part = ops.slice(pairs, starts=starts, stops=stops, steps=(1,) * pairs.ndim)
    return ops.reshape(part, shape=pairs.shape[:-1])  # type: ignore[no-any-return]
