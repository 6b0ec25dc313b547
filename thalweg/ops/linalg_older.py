"""Older names of matrix functions: triangular solves and products with packed reflections."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.errors import ShapeError
from ..ir.node import Value
from .arithmetic import constant
from .function import Call, function
from .linalg_shared import (
    adjoint,
    drawn,
    invertible,
    matmul,
    matrices,
    numeric,
    same_dtype,
    same_stack,
    transposed,
)
from .link import ops
from .named import public
from .pointwise import expect_tensor


def _triangular_calls() -> Iterator[Call]:
    a, b = invertible(3, 3), drawn(3, 2, seed=1)
    yield Call((b, a))
    yield Call((b, a, False, True))
    yield Call((drawn(2, 3, 2, seed=1), a), {"unitriangular": True})
    yield Call((b, drawn(2, 2)), error=(RuntimeError, "size"))


@function("triangular_solve", method=True, out=False, calls=_triangular_calls)
def triangular_solve(
    b: Value, A: Value, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> tuple[Value, Value]:
    """(X, A) with ``A X = b`` (``transpose``: ``Aᵀ X = b``) for triangular A (..., n, n), of which
    only that triangle is read."""
    op = "triangular_solve"
    right, a = matrices(op, b, "b"), matrices(op, A, square=True)
    same_dtype(op, right, a)
    if right.shape[-2] != a.shape[-1]:
        raise ShapeError(
            f"{op}: Incompatible matrix sizes: each A matrix is of size {a.shape[-1]} but each b "
            f"matrix has {right.shape[-2]} rows"
        )
    a, right = same_stack(op, a, right)
    left = transposed(a) if transpose else a
    found = ops.solve_triangular(left, right, upper=upper != transpose, unitriangular=unitriangular)
    return found, a


def _ormqr_calls() -> Iterator[Call]:
    yield Call((drawn(4, 2), drawn(2, seed=1), drawn(4, 3, seed=2)))
    yield Call((drawn(3, 3), drawn(3, seed=1), drawn(3, 3, seed=2), True, True))
    yield Call((drawn(4, 2), drawn(2, seed=1), drawn(3, 4, seed=2), False))
    yield Call((drawn(4, 2), drawn(2, seed=1), drawn(3, 4, seed=2)), error=(RuntimeError, "shape"))


@function("ormqr", method=True, calls=_ormqr_calls)
def ormqr(
    input: Value, tau: Value, other: Value, left: bool = True, transpose: bool = False
) -> Value:
    """``Q other`` (``left=False``: ``other Q``; ``transpose``: with Qᴴ), Q (m, m) being the product
    of the reflections that ``input`` (..., m, k) and ``tau`` (..., k) describe."""
    op = "ormqr"
    a, c = matrices(op, input, "input"), matrices(op, other, "other")
    factors = numeric(op, expect_tensor(op, tau, "tau", 2))
    same_dtype(op, a, c)
    same_dtype(op, a, factors)
    m, k = a.shape[-2], factors.shape[-1] if factors.ndim else 0
    stacks = {a.shape[:-2], c.shape[:-2], factors.shape[:-1]}
    if len(stacks) > 1 or c.shape[-2 if left else -1] != m or not k <= a.shape[-1] or k > m:
        raise ShapeError(
            f"{op}: other.shape[{-2 if left else -1}] must be equal to input.shape[-2] and tau "
            f"must fit input, got {list(a.shape)}, {list(factors.shape)} and {list(c.shape)}"
        )
    if a.shape[-1] > m:
        a = public.narrow(a, -1, 0, m)
    elif a.shape[-1] < m:
        rest = constant(0, a.dtype, (*a.shape[:-1], m - a.shape[-1]))
        a = public.cat((a, rest), -1)
    q = getattr(public, "linalg.householder_product")(a, factors)
    q = adjoint(q) if transpose else q
    return matmul(q, c) if left else matmul(c, q)
