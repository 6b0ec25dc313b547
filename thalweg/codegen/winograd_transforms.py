"""The linear maps of Winograd's minimal filtering F(m, r): m results of a filter of r taps with
m + r - 1 products.

    result = A^T ((G filter) * (B^T data)),   * element by element; in two dimensions on both sides

The maps come from evaluating polynomials at m + r - 2 points and at infinity (Toom and Cook).
Points 0, 1 and -1 need additions only and lose next to nothing. Further points multiply what
rounding lost; 1/2 and -2, which balance large and small powers, to a third of what 2 and -2 do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from .builder import Function, Val, literal

Matrix = tuple[tuple[Fraction, ...], ...]
POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2))


@dataclass(frozen=True, slots=True)
class Maps:
    """``data`` is B^T [size, size], ``filter`` G [size, taps], ``result`` A^T [outputs, size]."""

    outputs: int
    taps: int
    data: Matrix
    filter: Matrix
    result: Matrix

    @property
    def size(self) -> int:
        return self.outputs + self.taps - 1


def maps(outputs: int, taps: int) -> Maps:
    """F(outputs, taps) over the first `POINTS`.

    With M(x) the product of all (x - p) and M_p = M / (x - p): row p of G evaluates the filter at
    p, divided by M_p(p); row p of B^T holds the coefficients of M_p, and its last row those of M;
    column p of A^T holds the powers of p. Signs are moved so that the first coefficient of each
    row of B^T that is not zero is positive.
    """
    size = outputs + taps - 1
    points = list(POINTS[: size - 1])
    whole = _product(points)
    data, filters, columns = [], [], []
    for p in points:
        others = [q for q in points if q != p]
        lagrange = _product(others)
        scale = Fraction(1)
        for q in others:
            scale *= p - q
        sign = -1 if next(c for c in lagrange if c) < 0 else 1
        data.append([sign * c for c in lagrange] + [Fraction(0)])
        filters.append([sign * p**k / scale for k in range(taps)])
        columns.append([p**k for k in range(outputs)])
    data.append(whole)
    filters.append([Fraction(0)] * (taps - 1) + [Fraction(1)])
    columns.append([Fraction(0)] * (outputs - 1) + [Fraction(1)])
    return Maps(outputs, taps, _matrix(data), _matrix(filters), _matrix(zip(*columns)))


def _matrix(rows: object) -> Matrix:
    return tuple(tuple(map(Fraction, row)) for row in rows)  # type: ignore[attr-defined]


def _product(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of all (x - root), lowest first."""
    result = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *result]
        result = [a - root * b for a, b in zip(shifted, [*result, Fraction(0)])]
    return result


def combination(f: Function, coefficients: Sequence[Fraction], values: Sequence[Val]) -> Val | None:
    """The sum of ``coefficients * values``; None if all coefficients are zero."""
    terms = [(c, v) for c, v in zip(coefficients, values) if c]
    terms.sort(key=lambda term: term[0] != 1)  # begin with one that needs no multiplication
    total: Val | None = None
    for c, v in terms:
        if total is None:
            total = v if c == 1 else f.binary("fmul", v, literal(float(c), v.type))
        elif c == 1:
            total = f.binary("fadd", total, v)
        elif c == -1:
            total = f.binary("fsub", total, v)
        else:
            total = f.intrinsic("fma", v, literal(float(c), v.type), total)
    return total
