"""Circular and hyperbolic functions and their inverses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.node import Value
from .families import floats
from .link import ops
from .pointwise import RISING
from .pointwise_calls import unary_calls
from .unary import Elementary, elementary


@elementary(calls=unary_calls(complexes=True))
class Sin(Elementary):
    """The sine of each element, an angle in radians."""

    name = "sin"
    numpy = np.sin
    onnx = "Sin"

    def slope(self, x: Value, y: Value) -> Value:
        return ops.cos(x)  # type: ignore[no-any-return]


@elementary(calls=unary_calls(complexes=True))
class Cos(Elementary):
    """The cosine of each element, an angle in radians."""

    name = "cos"
    numpy = np.cos
    onnx = "Cos"

    def slope(self, x: Value, y: Value) -> Value:
        return -ops.sin(x)  # type: ignore[no-any-return]


@elementary(calls=unary_calls(-1.4, 1.4, complexes=True))
class Tan(Elementary):
    """The tangent of each element, an angle in radians."""

    name = "tan"
    numpy = np.tan
    onnx = "Tan"
    samples = floats(-1.4, 1.4)

    def slope(self, x: Value, y: Value) -> Value:
        return y * y + 1.0


class InverseOfUnitRange(Elementary):
    """An inverse function whose operand lies in [-1, 1]; NaN outside.

    No Partial passes through: a rank may hold a term outside although the maximum is inside.
    """

    accepts = ("float",)
    samples: Any = floats(-0.9, 0.9)


@elementary("arcsin", calls=unary_calls(-0.95, 0.95))
class Asin(InverseOfUnitRange):
    """The angle in [-π/2, π/2] whose sine each element is."""

    name = "asin"
    numpy = np.arcsin
    onnx = "Asin"

    def slope(self, x: Value, y: Value) -> Value:
        return 1.0 / ops.sqrt(1.0 - x * x)  # type: ignore[no-any-return]


@elementary("arccos", calls=unary_calls(-0.95, 0.95))
class Acos(InverseOfUnitRange):
    """The angle in [0, π] whose cosine each element is."""

    name = "acos"
    numpy = np.arccos
    onnx = "Acos"

    def slope(self, x: Value, y: Value) -> Value:
        return -1.0 / ops.sqrt(1.0 - x * x)  # type: ignore[no-any-return]


@elementary("arctan")
class Atan(Elementary):
    """The angle in [-π/2, π/2] whose tangent each element is."""

    name = "atan"
    numpy = np.arctan
    partial = RISING
    accepts = ("float",)
    onnx = "Atan"

    def slope(self, x: Value, y: Value) -> Value:
        return 1.0 / (x * x + 1.0)


@elementary()
class Sinh(Elementary):
    """The hyperbolic sine of each element."""

    name = "sinh"
    numpy = np.sinh
    partial = RISING
    onnx = "Sinh"

    def slope(self, x: Value, y: Value) -> Value:
        return ops.cosh(x)  # type: ignore[no-any-return]


@elementary()
class Cosh(Elementary):
    """The hyperbolic cosine of each element."""

    name = "cosh"
    numpy = np.cosh
    onnx = "Cosh"

    def slope(self, x: Value, y: Value) -> Value:
        return ops.sinh(x)  # type: ignore[no-any-return]


@elementary("nn.functional.tanh", calls=unary_calls(complexes=True))
class Tanh(Elementary):
    """The hyperbolic tangent of each element."""

    name = "tanh"
    numpy = np.tanh
    partial = RISING
    onnx = "Tanh"

    def slope(self, x: Value, y: Value) -> Value:
        return 1.0 - y * y


@elementary("arcsinh")
class Asinh(Elementary):
    """The number whose hyperbolic sine each element is."""

    name = "asinh"
    numpy = np.arcsinh
    partial = RISING
    accepts = ("float",)
    onnx = "Asinh"

    def slope(self, x: Value, y: Value) -> Value:
        return 1.0 / ops.sqrt(x * x + 1.0)  # type: ignore[no-any-return]


@elementary("arccosh", calls=unary_calls(1.1, 4))
class Acosh(Elementary):
    """The non-negative number whose hyperbolic cosine each element is; NaN below 1."""

    name = "acosh"
    numpy = np.arccosh
    partial = ("P(min) -> P(min)",)
    accepts = ("float",)
    onnx = "Acosh"
    samples = floats(1.2, 4)

    def slope(self, x: Value, y: Value) -> Value:
        return 1.0 / ops.sqrt(x * x - 1.0)  # type: ignore[no-any-return]


@elementary("arctanh", calls=unary_calls(-0.95, 0.95))
class Atanh(InverseOfUnitRange):
    """The number whose hyperbolic tangent each element is; NaN outside [-1, 1]."""

    name = "atanh"
    numpy = np.arctanh
    onnx = "Atanh"

    def slope(self, x: Value, y: Value) -> Value:
        return 1.0 / (1.0 - x * x)
