"""Special functions without gradients: Bessel functions, Airy's, and Hurwitz's zeta."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..ir.node import Node, Value
from ..ir.sbp import Signature
from .arithmetic import Operand, coerce, coerce_float
from .contract import Array, Declined, Host, Sample, primitive
from .families import Binary, Unary, floats, in_float32, signature
from .function import Call, function
from .link import ops
from .pointwise import RISING, expect_one_tensor, expect_tensor

_SERIES: Any = Host("series whose length depends on the data; SciPy's are compiled")
_NO_ONNX: Any = Declined("ONNX has no such function")
_NO_GRADIENT: Any = Declined("PyTorch has no gradient for it")


def _scipy(name: str) -> Callable[[Array], Array]:
    from scipy import special

    if name == "airy":
        return lambda x: special.airy(x)[0]
    if name == "spherical_j0":
        return lambda x: special.spherical_jn(0, x)
    return getattr(special, name)  # type: ignore[no-any-return]


@primitive
class BesselFunction(Unary):
    """One of SciPy's functions of a real number: j0, j1, y0, y1, i0, i1, k0, k1, k0e, k1e, airy
    (Ai) and spherical_j0. NaN where it is not real."""

    name = "bessel_function"
    accepts = ("float",)
    differentiable = False
    vjp = _NO_GRADIENT
    lower = _SERIES
    onnx = _NO_ONNX

    def reference(self, x: Array, of: str) -> Array:
        apply = _scipy(of)
        with np.errstate(all="ignore"):
            return in_float32(lambda v: np.asarray(apply(v)).astype(v.dtype), x)

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        of = node.attrs["of"]
        rules = RISING if of == "i1" else ("P(min) -> P(max)",) if of[0] == "k" else ()
        return [*super().sbp(node, ranks), *map(signature, rules)]

    def samples(self) -> Iterator[Sample]:
        for of in _FUNCTIONS.values():
            low = 0.3 if of[0] in "ky" else -9.0
            for sample in floats(low, 9.0, special=False)():
                yield Sample(sample.arrays, {"of": of}, grad=False)


_FUNCTIONS = {
    "airy_ai": "airy",
    "bessel_j0": "j0", "bessel_j1": "j1", "bessel_y0": "y0", "bessel_y1": "y1",
    "modified_bessel_i0": "i0", "modified_bessel_i1": "i1",
    "modified_bessel_k0": "k0", "modified_bessel_k1": "k1",
    "scaled_modified_bessel_k0": "k0e", "scaled_modified_bessel_k1": "k1e",
    "spherical_bessel_j0": "spherical_j0",
}  # fmt: skip

_KINDS = {
    "a": "Airy's function Ai",
    "j": "The Bessel function of the first kind",
    "y": "The Bessel function of the second kind",
    "i": "The modified Bessel function of the first kind",
    "k": "The modified Bessel function of the second kind",
    "s": "The spherical Bessel function of the first kind",
}


def _calls() -> Iterator[Call]:
    rng = np.random.default_rng(31)
    yield Call((rng.uniform(0.1, 4.5, (3, 4)),), grad=False)
    yield Call((rng.uniform(0.1, 3, (5,)).astype(np.float32),), grad=False)
    yield Call((np.arange(1, 5),), grad=False)
    yield Call((np.zeros((0, 2)),), grad=False)
    yield Call(("x",), error=(TypeError, "must be Tensor"))


def _public(name: str, of: str) -> None:
    def impl(input: Value) -> Value:
        x = coerce_float(expect_tensor(name, input))
        return ops.bessel_function(x, of=of)  # type: ignore[no-any-return]

    order = "" if of == "airy" else f" of order {of.rstrip('e')[-1]}"
    scale = ", times exp(x)" if of.endswith("e") else ""
    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = f"{_KINDS[of[0]]}{order}{scale} of each element; no gradient."
    function(f"special.{name}", calls=_calls)(impl)


for _name, _of in _FUNCTIONS.items():
    _public(_name, _of)


@primitive
class Zeta(Binary):
    """Hurwitz's zeta function: the sum of ``(k + q) ** -x`` over k >= 0 for x > 1."""

    name = "zeta"
    sbp_incomplete = Declined("falls in both operands, but only where x > 1 and q > 0")
    accepts = ("float",)
    differentiable = False
    vjp = _NO_GRADIENT
    lower = _SERIES
    onnx = _NO_ONNX

    def reference(self, x: Array, q: Array) -> Array:
        from scipy import special

        with np.errstate(all="ignore"):
            return in_float32(special.zeta, x, q)

    def samples(self) -> Iterator[Sample]:
        for sample in floats(1.2, 6.0, count=2, special=False)():
            yield Sample(sample.arrays, grad=False)


def _zeta_calls() -> Iterator[Call]:
    rng = np.random.default_rng(37)
    x, q = rng.uniform(1.2, 6, (3, 4)), rng.uniform(0.2, 4, (4,))
    yield Call((x, q), grad=False)
    yield Call((x.astype(np.float32), 2), grad=False)
    yield Call((2.5, q), grad=False)
    yield Call((np.arange(1, 5), np.arange(-1, 3)), grad=False)
    yield Call((x, q[:3]), error=(RuntimeError, "must match the size"))


@function("special.zeta", calls=_zeta_calls)
def zeta(input: Operand, other: Operand) -> Value:
    """Hurwitz's zeta function of ``input`` (the exponent) and ``other`` (the shift)."""
    expect_one_tensor("zeta", input, other)
    x, q = coerce(input, other, op="zeta", to_float=True)
    return ops.zeta(x, q)  # type: ignore[no-any-return]
