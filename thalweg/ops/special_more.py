"""Special functions beyond the common ones: Bessel functions, the normal distribution, entropy,
incomplete gamma functions, and Hurwitz's zeta."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from operator import index
from typing import Any

import numpy as np

from ..core.dtypes import DType
from ..core.errors import ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import Signature
from .arithmetic import Operand, coerce, coerce_float, constant
from .contract import Array, Declined, Grads, Host, Sample, primitive
from .families import Binary, Unary, floats, in_float32, signature
from .function import Call, function
from .link import ops
from .named import public
from .nn_shared import expect_room
from .pointwise import expect_tensor, internal_composite, zeros_like
from .pointwise_calls import Calls, binary_calls, unary_calls
from .special import SpecialFunction

_SERIES: Any = Host("series whose length depends on the data; SciPy's are compiled")
_NO_ONNX: Any = Declined("ONNX has no such function")


@primitive
class BesselIe(Unary):
    """exp(-|x|) I_n(x), I_n the modified Bessel function of the first kind of order n >= 0.

    Gradient: the recurrence of DLMF 10.29.1.
    """

    name = "bessel_ie"
    accepts = ("float",)
    lower = _SERIES
    onnx = _NO_ONNX

    def reference(self, x: Array, n: int) -> Array:
        from scipy import special

        return in_float32(lambda v: special.ive(n, v).astype(v.dtype), x)

    def vjp(self, node: Node, g: Value) -> Grads:
        x, n = node.inputs[0], node.attrs["n"]
        below, above = ops.bessel_ie(x, n=abs(n - 1)), ops.bessel_ie(x, n=n + 1)
        return (g * ((below + above) * 0.5 - ops.sign(x) * ops.bessel_ie(x, n=n)),)

    def samples(self) -> Iterator[Sample]:
        for n in (0, 1, 2):
            for sample in floats(0.3, 4.0)():
                yield Sample(sample.arrays, {"n": n}, sample.grad)
            yield Sample((np.array([-2.0, -0.5]),), {"n": n})


def _bessel(name: str, order: int, scaled: bool, doc: str, *aliases: str) -> None:
    def impl(input: Value) -> Value:
        x = coerce_float(expect_tensor(name, input))
        value = ops.bessel_ie(x, n=order)
        return value if scaled else value * ops.exp(ops.abs(x))  # type: ignore[no-any-return]

    impl.__doc__ = doc
    impl.__name__ = impl.__qualname__ = name
    method = "i0" if name == "i0" else False
    function(
        f"special.{name}", method=method, inplace=bool(method), aliases=aliases,
        calls=unary_calls(special=False),
    )(impl)  # fmt: skip


_bessel("i0", 0, False, "The modified Bessel function of the first kind of order 0.", "i0")
_bessel("i1", 1, False, "The modified Bessel function of the first kind of order 1.")
_bessel("i0e", 0, True, "exp(-|x|) `i0`, which does not overflow.")
_bessel("i1e", 1, True, "exp(-|x|) `i1`, which does not overflow.")


@primitive
class Erfcx(SpecialFunction):
    """exp(x²) erfc(x), which does not underflow for large x."""

    name = "erfcx"
    scipy = "erfcx"
    partial = ("P(max) -> P(min)", "P(min) -> P(max)")
    lower = _SERIES
    onnx = _NO_ONNX
    samples: Any = floats(-1.5, 3.0)

    def slope(self, x: Value, y: Value) -> Value:
        return x * y * 2.0 - 2 / math.sqrt(math.pi)


@primitive
class Ndtri(SpecialFunction):
    """The quantile function of the standard normal distribution."""

    name = "ndtri"
    scipy = "ndtri"
    lower = _SERIES
    onnx = _NO_ONNX
    samples: Any = floats(0.05, 0.95)

    def slope(self, x: Value, y: Value) -> Value:
        return ops.exp(y * y * 0.5) * math.sqrt(2 * math.pi)  # type: ignore[no-any-return]


def _unary(
    name: str, calls: Calls, *aliases: str
) -> Callable[[Callable[[Value], Value]], Callable[[Value], Value]]:
    """Register ``special.NAME`` whose body takes one floating-point value."""

    def register(body: Callable[[Value], Value]) -> Callable[[Value], Value]:
        def impl(input: Value) -> Value:
            return body(coerce_float(expect_tensor(name, input)))

        impl.__doc__ = body.__doc__
        impl.__name__ = impl.__qualname__ = name
        function(f"special.{name}", aliases=aliases, calls=calls)(impl)
        return body

    return register


@_unary("erfcx", unary_calls(-1.5, 3.0))
def _erfcx(x: Value) -> Value:
    """exp(x²) erfc(x), which does not underflow for large x."""
    return ops.erfcx(x)  # type: ignore[no-any-return]


@_unary("ndtri", unary_calls(0.05, 0.95))
def _ndtri(x: Value) -> Value:
    """The quantile function of the standard normal distribution; NaN outside [0, 1]."""
    return ops.ndtri(x)  # type: ignore[no-any-return]


@_unary("ndtr", unary_calls())
def _ndtr(x: Value) -> Value:
    """The distribution function of the standard normal distribution."""
    return ops.erfc(x * (-1 / math.sqrt(2))) * 0.5  # type: ignore[no-any-return]


@_unary("log_ndtr", unary_calls(special=False))
def _log_ndtr(x: Value) -> Value:
    """log(ndtr(x)), accurate for very negative x."""
    low = public.lt(x, -1.0)
    zero = zeros_like(x)
    down, up = public.where(low, x, zero - 1.0), public.where(low, zero, x)
    root = 1 / math.sqrt(2)
    tail = ops.log(ops.erfcx(down * -root) * 0.5) - down * down * 0.5
    return public.where(low, tail, ops.log1p(ops.erfc(up * root) * -0.5))  # type: ignore[no-any-return]


def _entr_vjp(node: Node, g: Value) -> Grads:
    return (g * (-ops.log(node.inputs[0]) - 1.0),)


@internal_composite("entr", vjp=_entr_vjp)
def _entr(x: Value) -> Value:
    """-x log(x), 0 at 0, -inf below."""
    zero = zeros_like(x)
    one, low = constant(1, x.dtype, x.shape), constant(-math.inf, x.dtype, x.shape)
    positive = ops.lt(zero, x)
    value = -x * ops.log(ops.where(positive, x, one))
    return ops.where(ops.lt(x, zero), low, ops.where(ops.eq(x, zero), zero, value))  # type: ignore[no-any-return]


@_unary("entr", unary_calls(0.2, 3))
def entr(x: Value) -> Value:
    """-x log(x) of each element; 0 at 0, -inf below."""
    return _entr(x)  # type: ignore[no-any-return]


def _xlog1py_vjp(node: Node, g: Value) -> Grads:
    x, y = node.inputs
    flat = ops.bitwise_and(ops.eq(x, zeros_like(x)), ops.le(y, zeros_like(y) - 1.0))
    slope = ops.where(flat, zeros_like(x), _x_log1p(g, y))
    return slope, g * x / (y + 1.0)


def _x_log1p(x: Value, y: Value) -> Value:
    zero = zeros_like(x)
    product = ops.where(ops.eq(x, zero), zero, x * ops.log1p(y))
    return ops.where(ops.eq(y, y), product, y)  # type: ignore[no-any-return]


@internal_composite("xlog1py", vjp=_xlog1py_vjp)
def _xlog1py(x: Value, y: Value) -> Value:
    """x·log(1 + y), 0 where x is 0 unless y is NaN."""
    return _x_log1p(x, y)


@function("special.xlog1py", calls=binary_calls(0.2, 3))
def xlog1py(input: Operand, other: Operand) -> Value:
    """``input * log1p(other)``, 0 where ``input`` is 0 unless ``other`` is NaN."""
    if not isinstance(input, Value):
        expect_tensor("xlog1py", other, "other", 2)
    x, y = coerce(input, other, op="xlog1py", to_float=True)
    return _xlog1py(x, y)  # type: ignore[no-any-return]


@primitive
class GammaInc(Binary):
    """The regularized incomplete gamma function of order a at x: lower, or ``upper`` from x on.
    No gradient for the order (PyTorch has none either). DLMF 8.2.4."""

    name = "gammainc"
    accepts = ("float",)
    lower = _SERIES
    onnx = _NO_ONNX
    surrogate = "no gradient for the order a"

    def reference(self, a: Array, x: Array, upper: bool) -> Array:
        from scipy import special

        return in_float32(special.gammaincc if upper else special.gammainc, a, x)

    def vjp(self, node: Node, g: Value) -> Grads:
        a, x = node.inputs
        slope = ops.exp((a - 1.0) * ops.log(x) - x - ops.lgamma(a))
        return None, (-g if node.attrs["upper"] else g) * slope

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        """Monotone in both; terms that a minimum outdoes stay in the domain."""
        kept, turned = ("B P(min)", "P(min) B")[:: -1 if node.attrs["upper"] else 1]
        rules = (f"{kept} -> P(min)", f"{turned} -> P(max)")
        return [*super().sbp(node, ranks), *map(signature, rules)]

    def samples(self) -> Iterator[Sample]:
        for upper in (False, True):
            for sample in floats(0.4, 3.0, count=2)():
                yield Sample(sample.arrays, {"upper": upper}, sample.grad)


def _gamma_calls() -> Iterator[Call]:
    rng = np.random.default_rng(23)
    a, x = rng.uniform(0.4, 3, (3, 4)), rng.uniform(0.4, 3, (4,))
    yield Call((a, x), grad=False)
    yield Call((a.astype(np.float32), x.astype(np.float32)), grad=False)
    yield Call((a, x[:3]), error=(RuntimeError, "must match the size"))
    yield Call((a, 2.0), error=(TypeError, "must be Tensor"))


@function(
    "special.gammainc", method="igamma", inplace=True, aliases=("igamma",), calls=_gamma_calls
)
def gammainc(input: Value, other: Value) -> Value:
    """The lower regularized incomplete gamma function of order ``input`` at ``other``; no gradient
    for the order."""
    first, second = expect_tensor("gammainc", input), expect_tensor("gammainc", other, "other", 2)
    a, x = coerce(first, second, op="gammainc", to_float=True)
    return ops.gammainc(a, x, upper=False)  # type: ignore[no-any-return]


@function(
    "special.gammaincc", method="igammac", inplace=True, aliases=("igammac",), calls=_gamma_calls
)
def gammaincc(input: Value, other: Value) -> Value:
    """1 - `gammainc`, accurate where that is small."""
    first, second = expect_tensor("gammaincc", input), expect_tensor("gammaincc", other, "other", 2)
    a, x = coerce(first, second, op="gammaincc", to_float=True)
    return ops.gammainc(a, x, upper=True)  # type: ignore[no-any-return]


def _multigamma_calls() -> Iterator[Call]:
    x = np.random.default_rng(5).uniform(2.5, 6, (2, 3))
    for p in (1, 2, 4):
        yield Call((x, p))
    yield Call((x + 10, 20))
    yield Call((x, 0), error=(RuntimeError, "p has to be greater than or equal to 1"))


_UNROLLED = 16  # terms that are written out


@function(
    "special.multigammaln", method="mvlgamma", inplace=True, aliases=("mvlgamma",),
    calls=_multigamma_calls,
)  # fmt: skip
def multigammaln(input: Value, p: int) -> Value:
    """The logarithm of the multivariate gamma function of dimension ``p`` of each element, which
    must exceed (p - 1) / 2. RuntimeError for ``p`` below 1."""
    if index(p) < 1:
        raise ShapeError(f"mvlgamma: p has to be greater than or equal to 1, got p={p}")
    x = coerce_float(expect_tensor("mvlgamma", input))
    total: Value = constant(p * (p - 1) / 4 * math.log(math.pi), x.dtype, x.shape)
    if p > _UNROLLED:
        expect_room("mvlgamma", (*x.shape, p), x.dtype)  # as PyTorch, which makes it
        halves = ops.iota(shape=(p,), dim=0, dtype=x.dtype, start=0) * 0.5
        return total + public.sum(ops.lgamma(public.unsqueeze(x, -1) - halves), -1)  # type: ignore[no-any-return]
    for j in range(p):
        total = total + ops.lgamma(x - j / 2)
    return total


def _along_calls() -> Iterator[Call]:
    x = np.random.default_rng(29).normal(size=(2, 3))
    yield Call((x, 1))
    yield Call((x, -2))


def _probabilities(name: str) -> None:
    def impl(input: Value, dim: int, *, dtype: DType | None = None) -> Value:
        return getattr(public, name)(input, dim, dtype=dtype)  # type: ignore[no-any-return]

    impl.__doc__ = f"`{name}` along ``dim``."
    impl.__name__ = impl.__qualname__ = name
    function(f"special.{name}", out=False, calls=_along_calls)(impl)


_probabilities("softmax")
_probabilities("log_softmax")


@function("special.logsumexp", calls=_along_calls)
def logsumexp(input: Value, dim: int | tuple[int, ...], keepdim: bool = False) -> Value:
    """`logsumexp` along ``dim``."""
    return public.logsumexp(input, dim, keepdim)  # type: ignore[no-any-return]
