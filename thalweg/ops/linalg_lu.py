"""What is done with LU factors: solving, unpacking, older names; LDLᴴ factors of symmetric
matrices; QR as packed reflections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import int32, int64
from ..core.errors import DTypeError, ShapeError
from ..ir.node import Node, Value
from ..ir.sbp import B, P, Signature, Split
from ..ir.types import TensorType
from .arithmetic import cast, constant
from .check import require
from .contract import Array, Declined, Sample, all_broadcast, primitive
from .function import Call, function
from .linalg_factor import lu_parts, no_pivoting, rows_in_order
from .linalg_shared import (
    MatrixOp,
    adjoint,
    diagonal_of,
    drawn,
    each_matrix,
    identity,
    invertible,
    matrices,
    positive,
    same_dtype,
    same_stack,
    scipy_routine,
    single,
)
from .link import ops
from .named import public
from .pointwise import expect_tensor

_NO_GRADIENT = Declined("positions and packed reflections have no derivative here")


@primitive
class PivotOrder(MatrixOp):
    """The order (int64) in which ``rows`` rows end when LAPACK's exchanges (int32, counted from 1)
    are made one after the other."""

    name = "pivot_order"
    index = "...[k] -> ...[m]"
    fixed_data = "exchanges are positions"
    vjp: Any = _NO_GRADIENT
    differentiable: ClassVar[Any] = False

    def infer(self, x: TensorType, rows: int) -> TensorType:
        if x.dtype is not int32 or not x.shape or x.shape[-1] > rows:
            raise ShapeError(f"pivot_order: expected up to {rows} int32 exchanges, got {x}")
        return x.with_shape((*x.shape[:-1], rows)).with_dtype(int64)

    def reference(self, x: Array, rows: int) -> Array:
        order = np.empty((*x.shape[:-1], rows), np.int64)
        if x.size and not (x.min() >= 1 and x.max() <= rows):
            raise ShapeError(f"pivots must be between 1 and {rows}, got {x.min()} to {x.max()}")
        for at in each_matrix(x.shape[:-1]):
            order[at] = np.arange(rows)
            for i, j in enumerate(x[at] - 1):
                order[at][[i, j]] = order[at][[j, i]]
        return order

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        stack = range(node.inputs[0].ndim - 1)
        return [all_broadcast(node), *(Signature((Split(d),), (Split(d),)) for d in stack)]

    def samples(self) -> Iterator[Sample]:
        yield Sample((np.array([3, 3, 3], np.int32),), {"rows": 3}, grad=False)
        yield Sample((np.array([[2, 2], [1, 4]], np.int32),), {"rows": 4}, grad=False)
        yield Sample((np.zeros((2, 0), np.int32),), {"rows": 2}, grad=False)
        bad = np.array([1, 2], np.int64)
        yield Sample((bad,), {"rows": 2}, error=(RuntimeError, "int32 exchanges"))


def _exchanges(op: str, pivots: Any, packed: Value) -> Value:
    x = expect_tensor(op, pivots, "pivots", 2)
    if x.dtype is not int32:
        raise DTypeError(f"{op}: Expected pivots to be of type torch.int32, got {x.dtype.name}")
    count = min(packed.shape[-2:])
    if not x.ndim or x.shape[-1] != count:
        raise ShapeError(
            f"{op}: Number of pivots per batch should be same as the dimension of the matrix: "
            f"expected {count}, got shape {list(x.shape)}"
        )
    return x


def _factor_ex(op: str, A: Value, pivot: bool, check_errors: bool) -> tuple[Value, Value, Value]:
    no_pivoting(op, pivot)
    packed, pivots, _ = ops.lu_factor(matrices(op, A))
    zero = public.eq(diagonal_of(packed), 0)
    if zero.shape[-1]:
        first = public.argmax(cast(zero, int32), -1) + 1
        info = cast(public.where(public.any(zero, -1), first, 0), int32)
    else:
        info = constant(0, int32, packed.shape[:-2])
    if check_errors:
        packed = require(packed, public.eq(info, 0), f"{op}: U has a zero on its diagonal")
    return packed, pivots, info


def _factor_calls() -> Iterator[Call]:
    for shape in [(3, 3), (2, 4), (4, 2), (2, 3, 3), (0, 0), (2, 0, 3)]:
        yield Call((drawn(*shape),))
    yield Call((np.array([[0.0, 1.0], [0.0, 2.0]]),), grad=False)
    yield Call((drawn(3),), error=(RuntimeError, "at least 2 dimensions"))


@function("linalg.lu_factor_ex", calls=_factor_calls)
def lu_factor_ex(
    A: Value, *, pivot: bool = True, check_errors: bool = False
) -> tuple[Value, Value, Value]:
    """(LU, pivots, info): as `linalg.lu_factor`; info (int32) is 0, or counts from 1 the first zero
    on the diagonal of U, which is an error with ``check_errors``."""
    return _factor_ex("linalg.lu_factor_ex", A, pivot, check_errors)


@function("lu", method=True, out=False, calls=_factor_calls)
def old_lu(A: Value, pivot: bool = True, get_infos: bool = False) -> tuple[Value, ...]:
    """`linalg.lu_factor`: (LU, pivots), or with ``get_infos`` also the infos."""
    found = _factor_ex("lu", A, pivot, check_errors=False)
    return found if get_infos else found[:2]


def _solve_calls() -> Iterator[Call]:
    a = invertible(3, 3)
    pivots = np.array([2, 3, 3], np.int32)
    for kwargs in ({}, {"adjoint": True}):
        yield Call((a, pivots, drawn(3, 2, seed=1)), kwargs)
        yield Call((a, pivots, drawn(2, 3, seed=1)), {"left": False, **kwargs})
        z = invertible(2, 3, 3, complex=True)
        yield Call((z, np.stack([pivots] * 2), drawn(3, 2, seed=1, complex=True)), kwargs)
    yield Call((a, pivots[:2], drawn(3, 2)), error=(RuntimeError, "Number of pivots"))
    yield Call((a, pivots, drawn(4, 2)), error=(RuntimeError, "Incompatible shapes"))


@function("linalg.lu_solve", calls=_solve_calls)
def lu_solve(
    LU: Value, pivots: Value, B: Value, *, left: bool = True, adjoint: bool = False
) -> Value:
    """X with ``A X = B`` for A given by `linalg.lu_factor` (``adjoint``: Aᴴ; ``left=False``: the
    unknown stands at the left). B (..., n, k)."""
    return _solve("linalg.lu_solve", LU, pivots, B, left, adjoint)


def _solve(op: str, LU: Value, pivots: Value, B: Value, left: bool, turned: bool) -> Value:
    packed, b = matrices(op, LU, "LU", square=True), matrices(op, B, "B")
    same_dtype(op, packed, b)
    exchanges = _exchanges(op, pivots, packed)
    n = packed.shape[-1]
    if b.shape[-2 if left else -1] != n:
        raise ShapeError(
            f"{op}: Incompatible shapes of A and B for the equation "
            f"{'AX' if left else 'XA'} = B: {list(packed.shape)} and {list(b.shape)}"
        )
    if not left:
        return adjoint(_solve(op, packed, exchanges, adjoint(b), True, not turned))
    order = ops.pivot_order(exchanges, rows=n)
    packed, b = same_stack(op, packed, b)
    order = public.broadcast_to(order, (*packed.shape[:-2], n))
    if not turned:
        b = rows_in_order(b, order)
        b = ops.solve_triangular(packed, b, upper=False, unitriangular=True)
        return ops.solve_triangular(packed, b, upper=True, unitriangular=False)  # type: ignore[no-any-return]
    over = adjoint(packed)
    b = ops.solve_triangular(over, b, upper=False, unitriangular=False)
    b = ops.solve_triangular(over, b, upper=True, unitriangular=True)
    return rows_in_order(b, public.argsort(order, -1))


def _old_solve_calls() -> Iterator[Call]:
    yield Call((drawn(3, 2, seed=1), invertible(3, 3), np.array([2, 3, 3], np.int32)))


@function("lu_solve", method=True, calls=_old_solve_calls)
def old_lu_solve(b: Value, LU_data: Value, LU_pivots: Value) -> Value:
    """`linalg.lu_solve` with the right side first."""
    return _solve("lu_solve", LU_data, LU_pivots, b, left=True, turned=False)


def _unpack_calls() -> Iterator[Call]:
    pivots = np.array([2, 3, 3], np.int32)
    yield Call((drawn(3, 3), pivots))
    yield Call((drawn(2, 3, 4), np.stack([pivots, pivots[::-1].copy()])))
    yield Call((drawn(4, 3), pivots))
    yield Call((drawn(3, 3), pivots), {"unpack_data": False}, grad=False)
    yield Call((drawn(3, 3), pivots), {"unpack_pivots": False})
    wrong = (RuntimeError, "torch.int32")
    yield Call((drawn(3, 3), pivots.astype(np.int64)), error=wrong)


@function("lu_unpack", calls=_unpack_calls)
def lu_unpack(
    LU_data: Value, LU_pivots: Value, unpack_data: bool = True, unpack_pivots: bool = True
) -> tuple[Value, Value, Value]:
    """(P, L, U) with ``A = P L U`` from packed factors and row exchanges; what is not asked for is
    empty."""
    op = "lu_unpack"
    packed = matrices(op, LU_data, "LU_data")
    nothing = constant(0, packed.dtype, (0,))
    lower, upper = lu_parts(packed) if unpack_data else (nothing, nothing)
    if not unpack_pivots:
        return nothing, lower, upper
    rows = packed.shape[-2]
    order = ops.pivot_order(_exchanges(op, LU_pivots, packed), rows=rows)
    ones = identity(packed, rows)
    return rows_in_order(ones, public.argsort(order, -1)), lower, upper


def _factorized(x: Array, hermitian: bool) -> tuple[Array, ...]:
    factorize = scipy_routine("lapack", _kind("trf", x, hermitian), x)
    packed, info = np.tril(x), np.zeros(x.shape[:-2], np.int32)
    pivots = np.zeros(x.shape[:-1], np.int32)
    for at in each_matrix(x.shape[:-2]):
        if x.shape[-1]:
            found, pivots[at], info[at] = factorize(packed[at], lower=True)
            packed[at] = np.tril(found)
    return packed, pivots, info


@primitive
class LdlFactor(MatrixOp):
    """(LD, pivots, info) of symmetric (``hermitian``: Hermitian) matrices, read from their lower
    triangles, as LAPACK packs them: unit lower L, and D of blocks of one or two rows."""

    name = "ldl_factor"
    outputs = 3
    square = True
    vjp: Any = _NO_GRADIENT
    differentiable: ClassVar[Any] = (False, False, False)

    def infer(self, x: TensorType, hermitian: bool) -> tuple[TensorType, ...]:
        self.check(x)
        pivots = x.with_shape(x.shape[:-1]).with_dtype(int32)
        return x, pivots, x.with_shape(x.shape[:-2]).with_dtype(int32)

    def reference(self, x: Array, hermitian: bool) -> tuple[Array, ...]:
        return _factorized(x, hermitian)

    def samples(self) -> Iterator[Sample]:
        for hermitian in (False, True):
            for shape in [(3, 3), (2, 4, 4), (0, 0), (2, 0, 0)]:
                x = drawn(*shape) if shape[-1] != 3 else positive(*shape)
                yield Sample((x,), {"hermitian": hermitian}, grad=False)
            z = positive(3, 3, complex=True)
            yield Sample((z,), {"hermitian": hermitian}, grad=False)
            yield Sample((single(z),), {"hermitian": hermitian}, grad=False)
        yield Sample((drawn(2, 3),), {"hermitian": False}, error=(RuntimeError, "square"))


def _check_blocks(pivots: Array) -> None:
    """LAPACK trusts its pivots: rows from 1, negative ones in pairs that make a block of two."""
    at, count = 0, len(pivots)
    while at < count:
        here = int(pivots[at])
        block = 1 if here > 0 else 2
        if not 1 <= abs(here) <= count or at + block > count or pivots[at + block - 1] != here:
            raise ShapeError(f"ldl_solve: {pivots.tolist()} are no pivots of an LDL factorization")
        at += block


def _kind(routine: str, x: Array, hermitian: bool) -> str:
    return ("he" if hermitian and x.dtype.kind == "c" else "sy") + routine


@primitive
class LdlSolve(MatrixOp):
    """x with ``A x = b`` for A given by `ldl_factor`: operands LD, b and the pivots."""

    name = "ldl_solve"
    inputs = 3
    square = True
    index = "...[mm],...[m]k,...[m] -> ...[m]k"
    fixed_data = "pivots are positions"
    vjp: Any = _NO_GRADIENT
    differentiable: ClassVar[Any] = False

    def infer(
        self, x: TensorType, b: TensorType, pivots: TensorType, hermitian: bool
    ) -> TensorType:
        self.check(x, b)
        if x.shape[-1] != b.shape[-2] or pivots.shape != x.shape[:-1] or pivots.dtype is not int32:
            raise ShapeError(
                f"ldl_solve: Incompatible shapes of LD, B and pivots: {list(x.shape)}, "
                f"{list(b.shape)} and {list(pivots.shape)} of {pivots.dtype}"
            )
        return b

    def reference(self, x: Array, b: Array, pivots: Array, hermitian: bool) -> Array:
        solver = scipy_routine("lapack", _kind("trs", x, hermitian), x)
        result = np.empty(b.shape, b.dtype)
        for at in each_matrix(x.shape[:-2]):
            if result[at].size:
                _check_blocks(pivots[at])
                result[at] = solver(x[at], pivots[at], b[at], lower=True)[0]
        return result

    def sbp(self, node: Node, ranks: int) -> list[Signature]:
        stack = range(node.inputs[0].ndim - 2)
        last = node.inputs[1].ndim - 1
        found = [all_broadcast(node), Signature((B, P, B), (P,))]
        found.append(Signature((B, Split(last), B), (Split(last),)))
        return [*found, *(Signature((Split(d),) * 3, (Split(d),)) for d in stack)]

    def samples(self) -> Iterator[Sample]:
        packed, pivots, _ = _factorized(positive(3, 3), False)
        attrs = {"hermitian": False}
        yield Sample((packed, drawn(3, 2, seed=1), pivots), attrs, grad=False)
        packed, pivots, _ = _factorized(drawn(2, 4, 4), False)
        yield Sample((packed, drawn(2, 4, 3, seed=1), pivots), attrs, grad=False)
        wrong = (packed, drawn(2, 3, 3), pivots)
        yield Sample(wrong, attrs, error=(RuntimeError, "Incompatible shapes"))


def _ldl_calls() -> Iterator[Call]:
    yield Call((positive(3, 3),), grad=False)
    yield Call((positive(2, 3, 3),), {"hermitian": True}, grad=False)
    yield Call((positive(3, 3, complex=True),), {"hermitian": True}, grad=False)
    yield Call((drawn(2, 3),), error=(RuntimeError, "square matrices"))


@function("linalg.ldl_factor", calls=_ldl_calls)
def ldl_factor(A: Value, *, hermitian: bool = False) -> tuple[Value, Value]:
    """(LD, pivots) of symmetric or Hermitian A (..., n, n), of which the lower triangle is read, in
    LAPACK's packed form. No gradient."""
    a = matrices("linalg.ldl_factor", A, square=True)
    return ops.ldl_factor(a, hermitian=hermitian)[:2]  # type: ignore[no-any-return]


@function("linalg.ldl_factor_ex", calls=_ldl_calls)
def ldl_factor_ex(
    A: Value, *, hermitian: bool = False, check_errors: bool = False
) -> tuple[Value, Value, Value]:
    """(LD, pivots, info): info (int32) counts from 1 the first zero block of D, else 0."""
    op = "linalg.ldl_factor_ex"
    packed, pivots, info = ops.ldl_factor(matrices(op, A, square=True), hermitian=hermitian)
    if check_errors:
        packed = require(packed, public.eq(info, 0), f"{op}: D has a zero on its diagonal")
    return packed, pivots, info


def _ldl_solve_calls() -> Iterator[Call]:
    packed, pivots, _ = _factorized(positive(2, 3, 3), False)
    yield Call((packed, pivots, drawn(2, 3, 2, seed=1)), grad=False)
    yield Call((packed, pivots, drawn(3, 2, seed=1)), grad=False)
    yield Call((packed, pivots, drawn(4, 2)), error=(RuntimeError, "Incompatible shapes"))


@function("linalg.ldl_solve", calls=_ldl_solve_calls)
def ldl_solve(LD: Value, pivots: Value, B: Value, *, hermitian: bool = False) -> Value:
    """X with ``A X = B`` for A given by `linalg.ldl_factor`. No gradient."""
    op = "linalg.ldl_solve"
    packed, b = matrices(op, LD, "LD", square=True), matrices(op, B, "B")
    same_dtype(op, packed, b)
    exchanges = expect_tensor(op, pivots, "pivots", 2)
    if exchanges.dtype.category != "int":
        raise DTypeError(f"{op}: Expected pivots to be integers. Got {exchanges.dtype.name}")
    packed, b = same_stack(op, packed, b)
    exchanges = public.broadcast_to(cast(exchanges, int32), packed.shape[:-1])
    return ops.ldl_solve(packed, b, exchanges, hermitian=hermitian)  # type: ignore[no-any-return]


@primitive
class Geqrf(MatrixOp):
    """(a, tau): QR as LAPACK packs it, R above the reflections, and their factors."""

    name = "geqrf"
    outputs = 2
    vjp: Any = _NO_GRADIENT
    differentiable: ClassVar[Any] = (False, False)

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        self.check(x)
        return x, x.with_shape((*x.shape[:-2], min(x.shape[-2:])))

    def reference(self, x: Array) -> tuple[Array, Array]:
        routine = scipy_routine("lapack", "geqrf", x)
        packed, tau = x.copy(), np.zeros((*x.shape[:-2], min(x.shape[-2:])), x.dtype)
        for at in each_matrix(x.shape[:-2]):
            if x[at].size:
                packed[at], tau[at] = routine(x[at])[:2]
        return packed, tau

    def samples(self) -> Iterator[Sample]:
        for shape in [(3, 3), (2, 4), (4, 2), (2, 3, 3), (0, 0), (2, 0)]:
            yield Sample((drawn(*shape),), {}, grad=False)
        yield Sample((drawn(3, 2, complex=True),), {}, grad=False)
        yield Sample((drawn(3),), {}, error=(RuntimeError, "stacks of matrices"))


def _geqrf_calls() -> Iterator[Call]:
    for shape in [(3, 3), (2, 4), (4, 2), (2, 3, 3)]:
        yield Call((drawn(*shape),), grad=False)
    yield Call((drawn(3),), error=(RuntimeError, "at least 2 dimensions"))


@function("geqrf", method=True, calls=_geqrf_calls)
def geqrf(input: Value) -> tuple[Value, Value]:
    """(a, tau): QR in LAPACK's packed form, which `ormqr` and `linalg.householder_product` take.
    No gradient."""
    return ops.geqrf(matrices("geqrf", input))  # type: ignore[no-any-return]
