"""Special functions: error functions, gamma functions, logistic functions, x·log(y), sin(x)/x."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.errors import ValueRangeError
from ..ir.node import Node, Value
from .arithmetic import Operand, coerce, coerce_float, constant
from .contract import Array, Declined, Grads, Host, Sample, primitive
from .families import Unary, floats, in_float32
from .function import Call, composite, function
from .link import ops
from .named import public
from .pointwise import (
    FALLING,
    RISING,
    expect_one_tensor,
    expect_tensor,
    internal_composite,
    loops,
    zeros_like,
)
from .pointwise_calls import binary_calls, unary_calls
from .select import clamp
from .unary import Elementary, elementary


class SpecialFunction(Elementary):
    """An elementary function whose reference is SciPy's ``scipy`` of real numbers."""

    accepts = ("float",)
    scipy: str

    def reference(self, x: Array) -> Array:
        from scipy import special

        return in_float32(getattr(special, self.scipy), x)


@elementary("special.erf")
class Erf(SpecialFunction):
    """The error function 2/√π ∫₀ˣ exp(-t²) dt of each element."""

    name = "erf"
    scipy = "erf"
    partial = RISING
    onnx = "Erf"

    def slope(self, x: Value, y: Value) -> Value:
        return ops.exp(-x * x) * (2 / math.sqrt(math.pi))  # type: ignore[no-any-return]


@elementary("special.erfc")
class Erfc(SpecialFunction):
    """1 - erf(x) of each element, accurate for large x."""

    name = "erfc"
    scipy = "erfc"
    partial = FALLING

    def slope(self, x: Value, y: Value) -> Value:
        return ops.exp(-x * x) * (-2 / math.sqrt(math.pi))  # type: ignore[no-any-return]


@elementary("special.erfinv", calls=unary_calls(-0.95, 0.95))
class Erfinv(SpecialFunction):
    """The number whose error function each element is; NaN outside [-1, 1]."""

    name = "erfinv"
    scipy = "erfinv"
    samples = floats(-0.9, 0.9)

    def slope(self, x: Value, y: Value) -> Value:
        return ops.exp(y * y) * (math.sqrt(math.pi) / 2)  # type: ignore[no-any-return]


@elementary("special.gammaln", calls=unary_calls(0.2, 6))
class Lgamma(SpecialFunction):
    """log|Γ(x)| of each element."""

    name = "lgamma"
    scipy = "gammaln"
    samples = floats(0.3, 6)

    def reference(self, x: Array) -> Array:
        # SciPy has -inf at -inf, C and PyTorch have +inf.
        return np.where(np.isinf(x), np.abs(x), super().reference(x))

    def slope(self, x: Value, y: Value) -> Value:
        return ops.polygamma(x, n=0)  # type: ignore[no-any-return]


@elementary("special.expit", "nn.functional.sigmoid")
class Sigmoid(SpecialFunction):
    """The logistic function 1 / (1 + exp(-x)) of each element."""

    name = "sigmoid"
    scipy = "expit"
    partial = RISING
    onnx = "Sigmoid"

    def slope(self, x: Value, y: Value) -> Value:
        return y * (1.0 - y)

    def lower(self, x: Any) -> Any:
        # exp of a negative number only, so that small results are as exact as large ones; and the
        # quotient is corrected for what rounding the sum lost.
        e = loops.Unary("exp", -loops.Unary("abs", x))
        one, zero = (loops.Const(value, x.dtype) for value in (1.0, 0.0))
        positive = loops.Binary("ge", x, zero)
        total = e + one
        lost = e - (total - one)
        y = loops.Select(positive, one, e) / total
        return loops.Fma(-y, lost * loops.Select(positive, y, one - y), y)


@primitive
class Polygamma(Unary):
    """The n-th derivative of the digamma function ψ(x) = d log Γ(x) / dx."""

    name = "polygamma"
    accepts = ("float",)
    onnx: Any = Declined("ONNX has no derivatives of the gamma function")
    lower: Any = Host("a recurrence whose length depends on the data; SciPy's is compiled")

    def reference(self, x: Array, n: int) -> Array:
        from scipy import special

        if n == 0:
            # At 0 the sign of the pole is that of the zero; SciPy ignores it.
            value = in_float32(special.digamma, x)
            return np.where(x == 0, np.copysign(np.inf, -x.astype(np.float64)), value).astype(
                x.dtype
            )
        return in_float32(lambda z: special.polygamma(n, z).astype(z.dtype), x)

    def vjp(self, node: Node, g: Value) -> Grads:
        return (g * ops.polygamma(node.inputs[0], n=node.attrs["n"] + 1),)

    def samples(self) -> Iterator[Sample]:
        rng = np.random.default_rng(7)
        for n in (0, 1, 2):
            for shape in [(3, 4), (), (0,), (7,)]:
                yield Sample((rng.uniform(0.5, 6, shape),), {"n": n})
        yield Sample((np.array([np.nan, np.inf, 1.0], np.float32),), {"n": 0}, grad=False)


@function(
    "digamma", method=True, inplace=True, aliases=("special.digamma", "special.psi"),
    calls=unary_calls(0.2, 6),
)  # fmt: skip
def digamma(input: Value) -> Value:
    """The derivative of `lgamma` at each element."""
    return ops.polygamma(  # type: ignore[no-any-return]
        coerce_float(expect_tensor("digamma", input)), n=0
    )


def _polygamma_calls() -> Iterator[Call]:
    x = np.random.default_rng(5).uniform(0.5, 4, (2, 3))
    for n in (0, 1, 2, 3):
        yield Call((n, x))
    yield Call((1, x.astype(np.float32)))
    yield Call((-1, x), error=(RuntimeError, "does not support negative n"))


@function("polygamma", aliases=("special.polygamma",), calls=_polygamma_calls)
def polygamma(n: int, input: Value) -> Value:
    """The ``n``-th derivative of `digamma` at each element. RuntimeError for negative ``n``."""
    _check_order(n)
    value = coerce_float(expect_tensor("polygamma", input, position=2))
    return ops.polygamma(value, n=n)  # type: ignore[no-any-return]


def _check_order(n: int) -> None:
    if n < 0:
        raise NegativeOrder(f"polygamma(n, x) does not support negative n, got n={n}")


class NegativeOrder(ValueRangeError, RuntimeError):
    """A negative order of differentiation (PyTorch raises RuntimeError here)."""


def _logit_calls() -> Iterator[Call]:
    yield from unary_calls(0.05, 0.95)()
    x = np.array([-0.5, 0.0, 0.1, 0.5, 0.95, 1.0, 1.5])
    yield Call((x, 0.2))
    yield Call((x,), {"eps": 0.01})


@composite("logit", method=True, inplace=True, aliases=("special.logit",), calls=_logit_calls)
def logit(input: Value, eps: float | None = None) -> Value:
    """log(x / (1 - x)); with ``eps``, x is first clamped to [eps, 1 - eps]."""
    x = coerce_float(expect_tensor("logit", input))
    if eps is not None:
        x = clamp(x, eps, 1.0 - eps)
    return ops.log(x / (1.0 - x))  # type: ignore[no-any-return]


@composite("sinc", method=True, inplace=True, aliases=("special.sinc",), calls=unary_calls())
def sinc(input: Value) -> Value:
    """sin(πx) / (πx), and 1 at 0."""
    x = coerce_float(expect_tensor("sinc", input))
    one = constant(1, x.dtype, x.shape)
    zero = ops.eq(x, zeros_like(x))
    angle = ops.where(zero, one, x) * math.pi
    return ops.where(zero, one, ops.sin(angle) / angle)  # type: ignore[no-any-return]


def _times_log(x: Value, y: Value) -> Value:
    zero = zeros_like(x)
    product = ops.where(ops.eq(x, zero), zero, x * ops.log(y))
    return ops.where(ops.eq(y, y), product, y)  # type: ignore[no-any-return]


def _xlogy_vjp(node: Node, g: Value) -> Grads:
    x, y = node.inputs
    zero = zeros_like(x)
    flat = ops.bitwise_and(ops.eq(x, zero), ops.le(y, zero))
    return ops.where(flat, zero, _times_log(g, y)), g * x / y


@internal_composite("xlogy", vjp=_xlogy_vjp)
def _xlogy(x: Value, y: Value) -> Value:
    """x·log(y), 0 where x is 0 unless y is NaN."""
    return _times_log(x, y)


@function(
    "xlogy", method=True, inplace=True, aliases=("special.xlogy",), calls=binary_calls(0.2, 3)
)
def xlogy(input: Operand, other: Operand) -> Value:
    """``input * log(other)``, 0 where ``input`` is 0 unless ``other`` is NaN."""
    expect_one_tensor("xlogy", input, other)
    x, y = coerce(input, other, op="xlogy", to_float=True)
    return _xlogy(x, y)  # type: ignore[no-any-return]


def _logaddexp_body(x: Value, y: Value, base: float) -> Value:
    """max + log(1 + base^-|x - y|) / log(base); equal infinities have no difference."""
    exp, scale = (ops.exp, 1.0) if base == math.e else (ops.exp2, 1.0 / math.log(base))
    top = ops.maximum(x, y)
    same = ops.eq(x, y)
    gap = ops.where(same, zeros_like(x), -ops.abs(x - y))
    tail = ops.log1p(exp(gap))
    return top + (tail if scale == 1.0 else tail * scale)  # type: ignore[no-any-return]


def _logaddexp_vjp(node: Node, g: Value) -> Grads:
    x, y = node.inputs
    gap = y - x
    # Equal infinities have no difference; equal numbers have one whose derivative counts.
    gap = ops.where(public.logical_and(ops.eq(x, y), public.ne(gap, gap)), zeros_like(x), gap)
    if node.op.name == "logaddexp2":
        gap = gap * math.log(2)
    return g * ops.sigmoid(-gap), g * ops.sigmoid(gap)


@internal_composite("logaddexp", vjp=_logaddexp_vjp)
def _logaddexp(x: Value, y: Value) -> Value:
    """log(exp(x) + exp(y)) without overflow."""
    return _logaddexp_body(x, y, math.e)


@internal_composite("logaddexp2", vjp=_logaddexp_vjp)
def _logaddexp2(x: Value, y: Value) -> Value:
    """log2(2^x + 2^y) without overflow."""
    return _logaddexp_body(x, y, 2.0)


_TENSORS_ONLY = binary_calls(ints=False, numbers=False)


@function("logaddexp", method=True, calls=_TENSORS_ONLY)
def logaddexp(input: Value, other: Value) -> Value:
    """log(exp(input) + exp(other)) without overflow."""
    x, y = coerce(
        expect_tensor("logaddexp", input), expect_tensor("logaddexp", other, "other", 2),
        op="logaddexp", to_float=True,
    )  # fmt: skip
    return _logaddexp(x, y)  # type: ignore[no-any-return]


@function("logaddexp2", method=True, calls=_TENSORS_ONLY)
def logaddexp2(input: Value, other: Value) -> Value:
    """log2(2^input + 2^other) without overflow."""
    x, y = coerce(
        expect_tensor("logaddexp2", input), expect_tensor("logaddexp2", other, "other", 2),
        op="logaddexp2", to_float=True,
    )  # fmt: skip
    return _logaddexp2(x, y)  # type: ignore[no-any-return]
