"""Orthogonal polynomials whose degree is data: Chebyshev's four kinds and their shifted forms,
Hermite's two, Laguerre's and Legendre's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..ir.node import Value
from .arithmetic import Operand, coerce
from .contract import Array, Declined, Host, Sample, primitive
from .families import Binary, floats, in_float32
from .function import Call, function
from .link import ops
from .pointwise import expect_one_tensor

Step = Callable[[Array, int, Array, Array], Array]

# Of each family: the polynomial of degree 1, and that of degree k + 1 from x, k, and those of
# degrees k and k - 1 (DLMF 18.9).
_RECURRENCES: dict[str, tuple[Callable[[Array], Array], Step]] = {
    "chebyshev_t": (lambda x: x, lambda x, k, p, q: 2 * x * p - q),
    "chebyshev_u": (lambda x: 2 * x, lambda x, k, p, q: 2 * x * p - q),
    "chebyshev_v": (lambda x: 2 * x - 1, lambda x, k, p, q: 2 * x * p - q),
    "chebyshev_w": (lambda x: 2 * x + 1, lambda x, k, p, q: 2 * x * p - q),
    "hermite_h": (lambda x: 2 * x, lambda x, k, p, q: 2 * x * p - 2 * k * q),
    "hermite_he": (lambda x: x, lambda x, k, p, q: x * p - k * q),
    "laguerre_l": (lambda x: 1 - x, lambda x, k, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)),
    "legendre_p": (lambda x: x, lambda x, k, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)),
}

_EVALUATED = 1024
"""Degrees above this: NaN, except for Chebyshev's within [-1, 1], which are cosines."""


def _cosines(family: str, x: Array, n: Array) -> Array:
    """Chebyshev's polynomials inside (-1, 1), for any degree (DLMF 18.5)."""
    angle = np.arccos(x)
    if family == "chebyshev_t":
        return np.asarray(np.cos(n * angle))
    if family == "chebyshev_u":
        return np.asarray(np.sin((n + 1) * angle) / np.sin(angle))
    if family == "chebyshev_v":
        return np.asarray(np.cos((n + 0.5) * angle) / np.cos(angle / 2))
    return np.asarray(np.sin((n + 0.5) * angle) / np.sin(angle / 2))


def _evaluate(x: Array, degree: Array, family: str) -> Array:
    whole = np.where(np.isfinite(degree), np.trunc(degree), -1)
    first, step = _RECURRENCES[family]
    highest = int(min(whole.max(initial=0), _EVALUATED))
    below, now = np.ones_like(x), np.asarray(first(x), x.dtype)
    result = np.where(whole == 0, below, np.where(whole == 1, now, np.nan)).astype(x.dtype)
    for k in range(1, highest):
        below, now = now, np.asarray(step(x, k, now, below), x.dtype)
        result = np.where(whole == k + 1, now, result)
    if family.startswith("chebyshev"):
        inside = (whole > 8) & (np.abs(x) < 1)
        held = np.where(inside, x, 0)
        result = np.where(inside, _cosines(family, held, whole), result)
    return np.where(whole < 0, 0, result).astype(x.dtype)


@primitive
class OrthogonalPolynomial(Binary):
    """The polynomial of a ``family`` whose degree is the second operand without its fraction, at
    the first operand; 0 for negative degrees. No gradient (PyTorch has none)."""

    name = "orthogonal_polynomial"
    accepts = ("float",)
    differentiable = False
    vjp: Any = Declined("the degree is a whole number, and PyTorch has no gradient for x")
    lower: Any = Host("a recurrence whose length depends on the data")
    onnx = Declined("ONNX has no such function")

    def reference(self, x: Array, degree: Array, family: str) -> Array:
        with np.errstate(all="ignore"):
            return in_float32(_evaluate, x, degree, family=family)

    def samples(self) -> Iterator[Sample]:
        for family in _RECURRENCES:
            for sample in floats(-1.5, 9.0, count=2, special=False)():
                yield Sample(sample.arrays, {"family": family}, grad=False)


def _calls() -> Iterator[Call]:
    rng = np.random.default_rng(31)
    x = rng.uniform(-1.5, 1.5, (3, 4))
    yield Call((x, np.array([0, 1, 2, 5])), grad=False)
    yield Call((x, np.array([-1.0, 3.7, 12.0, 6.0])), grad=False)
    yield Call((x.astype(np.float32), 3), grad=False)
    yield Call((0.3, np.arange(5)), grad=False)
    yield Call((np.arange(-2, 3), 2), grad=False)
    yield Call((x, np.zeros(3)), error=(RuntimeError, "must match the size"))


def _public(name: str, family: str, title: str, shifted: bool = False) -> None:
    def impl(input: Operand, n: Operand) -> Value:
        expect_one_tensor(name, input, n)
        x, degree = coerce(input, n, op=name, to_float=True)
        at = x * 2.0 - 1.0 if shifted else x
        return ops.orthogonal_polynomial(at, degree, family=family)  # type: ignore[no-any-return]

    impl.__name__ = impl.__qualname__ = name
    impl.__doc__ = f"{title} of degree ``n`` (its fraction is dropped) at ``input``."
    function(f"special.{name}", calls=_calls)(impl)


for _kind, _ordinal in (("t", "first"), ("u", "second"), ("v", "third"), ("w", "fourth")):
    _title = f"Chebyshev's polynomial of the {_ordinal} kind"
    _public(f"chebyshev_polynomial_{_kind}", f"chebyshev_{_kind}", _title)
    _public(
        f"shifted_chebyshev_polynomial_{_kind}", f"chebyshev_{_kind}",
        f"{_title}, moved from [-1, 1] to [0, 1],", shifted=True,
    )  # fmt: skip
_public("hermite_polynomial_h", "hermite_h", "The physicists' Hermite polynomial")
_public("hermite_polynomial_he", "hermite_he", "The probabilists' Hermite polynomial")
_public("laguerre_polynomial_l", "laguerre_l", "Laguerre's polynomial")
_public("legendre_polynomial_p", "legendre_p", "Legendre's polynomial")
