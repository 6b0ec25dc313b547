"""Triangular factorizations: Cholesky, LU with row exchanges, QR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from ..core.dtypes import int32, int64
from ..core.errors import AutogradError, ShapeError, ValueRangeError
from ..ir.node import Node, Value
from ..ir.types import TensorType
from .arithmetic import cast, constant
from .contract import Array, Grads, Sample, primitive
from .function import Call, function
from .linalg_shared import (
    MatrixOp,
    adjoint,
    columns,
    complaint,
    diagonal_of,
    drawn,
    each_matrix,
    hermitian_part,
    identity,
    invertible,
    matmul,
    matrices,
    positive,
    rows,
    same_dtype,
    same_stack,
    scipy_routine,
    single,
    transposed,
)
from .link import ops
from .named import public
from .pointwise import internal_composite

_MINOR = (
    "The factorization could not be completed because the input is not positive-definite (the "
    "leading minor of order {} is not positive-definite)."
)


@primitive
class Cholesky(MatrixOp):
    """(L, info): lower-triangular L with L Lᴴ the Hermitian part of the operand; info (int32)
    is 0, or the order of the first leading minor that is not positive, where L is NaN.

    With a ``label``, the public function that the complaint names, such a minor is an error.
    Gradient: Murray (2016), arXiv 1602.07527.
    """

    name = "cholesky"
    outputs = 2
    differentiable: ClassVar[Any] = (True, False)
    square = True

    def infer(self, x: TensorType, label: str) -> tuple[TensorType, TensorType]:
        self.check(x)
        return x, x.with_shape(x.shape[:-2]).with_dtype(int32)

    def reference(self, x: Array, label: str) -> tuple[Array, Array]:
        whole = (x + np.conj(np.swapaxes(x, -1, -2))) / 2
        info = np.zeros(x.shape[:-2], np.int32)
        try:
            return np.linalg.cholesky(whole), info
        except np.linalg.LinAlgError:
            pass
        potrf = scipy_routine("lapack", "potrf", whole)
        result = np.empty(x.shape, x.dtype)
        for at in each_matrix(info.shape):
            result[at], info[at] = potrf(whole[at], lower=True)
            if info[at]:
                if label:
                    raise complaint(label, at, info.shape, _MINOR.format(info[at]))
                result[at] = np.tril(np.full(x.shape[-2:], np.nan))
        return result, info

    def vjp(self, node: Node, g: Any) -> Grads:
        if g[0] is None:
            return (None,)
        factor = node.outputs[0]
        inner = public.tril(matmul(adjoint(factor), g[0]))
        inner = inner - public.diag_embed(diagonal_of(inner)) / 2.0
        upper = adjoint(factor)
        left = ops.solve_triangular(upper, inner, upper=True, unitriangular=False)
        both = ops.solve_triangular(upper, adjoint(left), upper=True, unitriangular=False)
        return (hermitian_part(both),)

    def samples(self) -> Iterator[Sample]:
        checked = {"label": "linalg.cholesky"}
        for n, stack in [(3, ()), (2, (4,)), (3, (2, 2)), (0, ()), (2, (0,))]:
            yield Sample((positive(*stack, n, n),), checked)
        yield Sample((positive(1, 1),), {"label": ""})
        yield Sample((positive(3, 3, complex=True),), checked)
        yield Sample((single(positive(3, 3, complex=True)),), checked, grad=False)
        mixed = np.stack([np.eye(2), -np.eye(2), [[1.0, 2.0], [2.0, 1.0]]])
        yield Sample((mixed,), {"label": ""}, grad=False)
        yield Sample((mixed,), checked, error=(RuntimeError, "(Batch element 1)"))
        yield Sample((drawn(2, 3),), checked, error=(RuntimeError, "square"))


def _triangle_vjp(node: Node, g: Value) -> Grads:
    return (hermitian_part(g),)


@internal_composite("hermitian_from_triangle", vjp=_triangle_vjp)
def hermitian_from_triangle(x: Value, upper: bool) -> Value:
    """The Hermitian matrix of which x is the upper or lower triangle. Its gradient is as if the
    mean of x and xᴴ were read: Hermitian, as PyTorch's."""
    half = public.triu(x, 1) if upper else public.tril(x, -1)
    middle = diagonal_of(x)
    if x.dtype.is_complex:
        middle = cast(ops.real(middle), x.dtype)
    return half + adjoint(half) + public.diag_embed(middle)  # type: ignore[no-any-return]


hermitian_from_triangle.surrogate = (  # type: ignore[attr-defined]
    "the gradient is Hermitian although one triangle is read"
)


def _cholesky_calls() -> Iterator[Call]:
    yield Call((positive(3, 3),), grad=False)
    yield Call((positive(2, 1, 2, 2),), grad=False)
    yield Call((np.tril(positive(3, 3)),), grad=False)
    yield Call((np.triu(positive(3, 3)),), {"upper": True}, grad=False)
    yield Call((np.zeros((0, 0)),), grad=False)
    yield Call((positive(3, 3, complex=True),), grad=False)
    yield Call((positive(3, 3, complex=True),), {"upper": True}, grad=False)
    yield Call((drawn(2, 3),), error=(RuntimeError, "must be batches of square matrices"))


def _cholesky(op: str, x: Any, upper: bool, check: bool = True) -> tuple[Value, Value]:
    a = matrices(op, x, square=True)
    whole = hermitian_from_triangle(a, upper=upper)
    factor, info = ops.cholesky(whole, label=op if check else "")
    return (adjoint(factor) if upper else factor), info


@function("linalg.cholesky", calls=_cholesky_calls)
def cholesky(A: Value, *, upper: bool = False) -> Value:
    """Lower-triangular L with ``A = L Lᴴ`` (``upper``: U with ``A = Uᴴ U``) for Hermitian
    positive-definite A (..., n, n), of which only that triangle is read.

    RuntimeError (`linalg.LinAlgError`) if a matrix is not positive-definite.
    """
    return _cholesky("linalg.cholesky", A, upper)[0]


def _old_cholesky_calls() -> Iterator[Call]:
    yield Call((positive(2, 3, 3),), grad=False)
    yield Call((positive(3, 3), True), grad=False)


@function("cholesky", method=True, calls=_old_cholesky_calls)
def old_cholesky(input: Value, upper: bool = False) -> Value:
    """The same as `linalg.cholesky`."""
    return _cholesky("cholesky", input, upper)[0]


def _cholesky_ex_calls() -> Iterator[Call]:
    yield Call((positive(2, 3, 3),), grad=False)
    yield Call((positive(3, 3),), {"upper": True, "check_errors": True}, grad=False)
    yield Call((drawn(2, 3),), error=(RuntimeError, "square matrices"))


@function("linalg.cholesky_ex", calls=_cholesky_ex_calls)
def cholesky_ex(
    A: Value, *, upper: bool = False, check_errors: bool = False
) -> tuple[Value, Value]:
    """(L, info): as `linalg.cholesky`, but a matrix that is not positive-definite gives info > 0,
    the order of its first bad leading minor, and L full of NaN, unless ``check_errors``."""
    return _cholesky("linalg.cholesky_ex", A, upper, check_errors)


def _cholesky_solve_calls() -> Iterator[Call]:
    factor = np.tril(invertible(3, 3))
    yield Call((drawn(3, 2), factor), grad=False)
    yield Call((drawn(2, 3, 2), factor.T.copy(), True), grad=False)
    z = np.linalg.cholesky(positive(2, 3, 3, complex=True))
    yield Call((drawn(2, 3, 2, complex=True), z), grad=False)
    yield Call((drawn(4, 2), factor), error=(RuntimeError, "Incompatible matrix sizes"))


@function("cholesky_solve", method=True, calls=_cholesky_solve_calls)
def cholesky_solve(B: Value, L: Value, upper: bool = False) -> Value:
    """X with ``A X = B`` from the Cholesky factor L (..., n, n) of A; B (..., n, k).

    The triangle of L that is not read has no gradient (PyTorch gives it one)."""
    op = "cholesky_solve"
    b, factor = matrices(op, B, "B"), matrices(op, L, "L", square=True)
    same_dtype(op, b, factor)
    if b.shape[-2] != factor.shape[-1]:
        raise ShapeError(
            f"{op}: Incompatible matrix sizes: {list(b.shape)} and the factor {list(factor.shape)}"
        )
    b, factor = same_stack(op, b, factor)
    lower = adjoint(factor) if upper else factor
    half = ops.solve_triangular(lower, b, upper=False, unitriangular=False)
    return ops.solve_triangular(  # type: ignore[no-any-return]
        adjoint(lower), half, upper=True, unitriangular=False
    )


def _cholesky_inverse_calls() -> Iterator[Call]:
    yield Call((np.tril(invertible(3, 3)),), grad=False)
    yield Call((np.triu(invertible(2, 3, 3)), True), grad=False)
    yield Call((np.linalg.cholesky(positive(3, 3, complex=True)),), grad=False)


@function("cholesky_inverse", method=True, calls=_cholesky_inverse_calls)
def cholesky_inverse(L: Value, upper: bool = False) -> Value:
    """The inverse of A from its Cholesky factor L (..., n, n), of which one triangle is read."""
    factor = matrices("cholesky_inverse", L, "L", square=True)
    return cholesky_solve(identity(factor), factor, upper)  # type: ignore[no-any-return]


@primitive
class LuFactor(MatrixOp):
    """(LU, pivots, order): both factors in one matrix, LAPACK's row exchanges (int32, from 1), and
    the order of rows (int64) they end in: ``operand[order] = L U``.

    Gradient: the differentials of ``A[order] = L U`` solved for dL and dU, whose triangles do not
    overlap; for a wide operand the columns behind the square follow from L⁻¹, for a tall one the
    rows below it from U⁻¹.
    """

    name = "lu_factor"
    outputs = 3
    differentiable: ClassVar[Any] = (True, False, False)

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        self.check(x)
        stack, (m, n) = x.shape[:-2], x.shape[-2:]
        pivots = x.with_shape((*stack, min(m, n))).with_dtype(int32)
        return x, pivots, x.with_shape((*stack, m)).with_dtype(int64)

    def reference(self, x: Array) -> tuple[Array, ...]:
        getrf = scipy_routine("lapack", "getrf", x)
        stack, (m, n) = x.shape[:-2], x.shape[-2:]
        packed = np.empty(x.shape, x.dtype)
        pivots = np.empty((*stack, min(m, n)), np.int32)
        order = np.empty((*stack, m), np.int64)
        for at in each_matrix(stack):
            rows_now = np.arange(m)
            if m and n:
                packed[at], exchanged, _ = getrf(x[at])
                pivots[at] = exchanged + 1
                for i, j in enumerate(exchanged):
                    rows_now[[i, j]] = rows_now[[j, i]]
            order[at] = rows_now
        return packed, pivots, order

    def vjp(self, node: Node, g: Any) -> Grads:
        if g[0] is None:
            return (None,)
        packed, _, order = node.outputs
        m, n = packed.shape[-2:]
        k = min(m, n)
        corner, cotangent = columns(rows(packed, 0, k), 0, k), columns(rows(g[0], 0, k), 0, k)
        left, right = adjoint(unit_lower(corner)), adjoint(public.triu(corner))
        below = matmul(left, public.tril(cotangent, -1))
        above = matmul(public.triu(cotangent), right)
        more: Value | None = None
        if n > k:
            behind = columns(g[0], k, n)
            below = below - matmul(behind, adjoint(columns(packed, k, n)))
            more = ops.solve_triangular(left, behind, upper=True, unitriangular=True)
        elif m > k:
            under = rows(g[0], k, m)
            above = above - matmul(adjoint(rows(packed, k, m)), under)
            more = _right_solve(right, under, upper=False, unit=False)
        inner = public.tril(below, -1) + public.triu(above)
        inner = ops.solve_triangular(left, inner, upper=True, unitriangular=True)
        inner = _right_solve(right, inner, upper=False, unit=False)
        if more is not None:
            inner = public.cat((inner, more), -1 if n > k else -2)
        back = public.argsort(order, -1)
        return (rows_in_order(inner, back),)

    def samples(self) -> Iterator[Sample]:
        for shape in [(3, 3), (2, 4), (4, 2), (2, 3, 3), (1, 1), (0, 0), (2, 0), (0, 2, 2)]:
            yield Sample((drawn(*shape),), {})
        yield Sample((drawn(3, 3, complex=True),), {})
        yield Sample((drawn(4, 2, complex=True),), {})
        yield Sample((single(drawn(2, 3, complex=True)),), {}, grad=False)
        yield Sample((np.array([[0.0, 1.0], [0.0, 2.0]]),), {}, grad=False, name="singular")
        yield Sample((drawn(3),), {}, error=(RuntimeError, "stacks of matrices"))


def _right_solve(a: Value, b: Value, *, upper: bool, unit: bool) -> Value:
    """x with x a = b for triangular a."""
    found = ops.solve_triangular(transposed(a), transposed(b), upper=not upper, unitriangular=unit)
    return transposed(found)


def unit_lower(packed: Value) -> Value:
    """L of a packed square LU."""
    return public.tril(packed, -1) + identity(packed)  # type: ignore[no-any-return]


def rows_in_order(x: Value, order: Value) -> Value:
    """The rows of each matrix in the given order."""
    return ops.take(x, order, batch=x.ndim - 2)  # type: ignore[no-any-return]


def lu_parts(packed: Value) -> tuple[Value, Value]:
    m, n = packed.shape[-2:]
    k = min(m, n)
    lower = public.tril(columns(packed, 0, k), -1)
    ones = public.eye(m, k, dtype=packed.dtype)
    return lower + ones, public.triu(rows(packed, 0, k))


def _lu_calls() -> Iterator[Call]:
    for shape in [(3, 3), (2, 4), (4, 2), (2, 3, 3), (0, 0)]:
        yield Call((drawn(*shape),))
    yield Call((drawn(3, 3, complex=True),))
    yield Call((drawn(3),), error=(RuntimeError, "at least 2 dimensions"))


def no_pivoting(op: str, pivot: bool) -> None:
    if not pivot:
        raise ShapeError(
            f"{op}: LU without pivoting is not implemented on the CPU, expected pivot=True"
        )


@function("linalg.lu_factor", calls=_lu_calls)
def lu_factor(A: Value, *, pivot: bool = True) -> tuple[Value, Value]:
    """(LU, pivots) of A (..., m, n): both factors in one matrix, L without its unit diagonal, and
    the row exchanges (int32, counted from 1). ``pivot=False`` raises RuntimeError."""
    no_pivoting("linalg.lu_factor", pivot)
    return ops.lu_factor(matrices("linalg.lu_factor", A))[:2]  # type: ignore[no-any-return]


@function("linalg.lu", calls=_lu_calls)
def lu(A: Value, *, pivot: bool = True) -> tuple[Value, Value, Value]:
    """(P, L, U) with ``A = P L U``: a permutation, a unit lower and an upper triangular matrix."""
    no_pivoting("linalg.lu", pivot)
    a = matrices("linalg.lu", A)
    packed, _, order = ops.lu_factor(a)
    lower, upper = lu_parts(packed)
    ones = identity(a, a.shape[-2])
    return rows_in_order(ones, public.argsort(order, -1)), lower, upper


@primitive
class Qr(MatrixOp):
    """(Q, R) with orthonormal columns and upper-triangular R; ``complete`` makes Q square.

    The signs are LAPACK's: the diagonal of R may be negative. Gradient: Roberts and Roberts
    (2020), arXiv 2009.10071.
    """

    name = "qr"
    outputs = 2

    def infer(self, x: TensorType, complete: bool) -> tuple[TensorType, TensorType]:
        self.check(x)
        stack, (m, n) = x.shape[:-2], x.shape[-2:]
        k = m if complete else min(m, n)
        return x.with_shape((*stack, m, k)), x.with_shape((*stack, k, n))

    def reference(self, x: Array, complete: bool) -> tuple[Array, Array]:
        q, r = np.linalg.qr(x, "complete" if complete else "reduced")
        return q, r

    def vjp(self, node: Node, g: Any) -> Grads:
        (x,), (q, r), (gq, gr) = node.inputs, node.outputs, g
        m, n = x.shape[-2:]
        if node.attrs["complete"] and m > n:
            raise AutogradError(
                "The QR decomposition is not differentiable when mode='complete' and nrows > ncols "
                f"({m} > {n})"
            )
        more: Value | None = None
        if n > m:
            if gr is not None:
                behind = columns(gr, m, n)
                more = matmul(q, behind)
                part = matmul(columns(x, m, n), adjoint(behind))
                gq, gr = part if gq is None else gq + part, columns(gr, 0, m)
            else:
                more = constant(0, x.dtype, (*x.shape[:-1], n - m))
            r = columns(r, 0, m)
        inner: Value | None = None
        if gr is not None:
            inner = matmul(gr, adjoint(r))
        if gq is not None:
            part = matmul(adjoint(q), gq)
            inner = -part if inner is None else inner - part
        assert inner is not None, "a gradient of at least one result is given"
        above = public.triu(inner)
        middle = public.diag_embed(diagonal_of(above))
        whole = matmul(q, above + adjoint(above) - hermitian_part(middle))
        whole = whole if gq is None else gq + whole
        found = _right_solve(adjoint(r), whole, upper=False, unit=False)
        return (found if more is None else public.cat((found, more), -1),)

    def samples(self) -> Iterator[Sample]:
        for shape in [(3, 3), (4, 2), (2, 4), (2, 3, 2), (1, 1), (0, 0), (2, 0), (0, 2, 2)]:
            yield Sample((drawn(*shape),), {"complete": False})
        yield Sample((drawn(2, 3),), {"complete": True})
        yield Sample((drawn(4, 2),), {"complete": True}, grad=False)
        yield Sample((drawn(4, 2, complex=True),), {"complete": False})
        yield Sample((single(drawn(2, 4, complex=True)),), {"complete": False}, grad=False)
        yield Sample((drawn(3),), {"complete": False}, error=(RuntimeError, "stacks of matrices"))


def _qr_calls() -> Iterator[Call]:
    for shape in [(3, 3), (4, 2), (2, 4), (2, 3, 2), (2, 0)]:
        yield Call((drawn(*shape),))
    yield Call((drawn(4, 3, complex=True),))
    yield Call((drawn(2, 4), "complete"))
    yield Call((drawn(4, 2), "complete"), grad=False)
    yield Call((drawn(4, 2), "r"), grad=False)
    yield Call((drawn(3, 3), "all"), error=(RuntimeError, "qr received unrecognized mode 'all'"))
    yield Call((drawn(3),), error=(RuntimeError, "at least 2 dimensions"))


@function("linalg.qr", calls=_qr_calls)
def qr(A: Value, mode: str = "reduced") -> tuple[Value, Value]:
    """(Q, R) with ``A = Q R`` for A (..., m, n): orthonormal columns and upper-triangular R.

    ``mode`` "reduced" (Q has min(m, n) columns), "complete" (m columns), or "r" (Q is empty).
    Unique only up to the signs (phases) of R's diagonal; they are LAPACK's. Gradients need the
    first min(m, n) columns of A to be independent, and m <= n for "complete".
    """
    a = matrices("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise _UnknownMode(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    q, r = ops.qr(a, complete=mode == "complete")
    return (constant(0, a.dtype, (0,)) if mode == "r" else q), r


class _UnknownMode(ValueRangeError, RuntimeError):
    """A mode that does not exist (PyTorch raises RuntimeError here)."""


def _old_qr_calls() -> Iterator[Call]:
    yield Call((drawn(4, 2),))
    yield Call((drawn(3, 2), False), grad=False)


@function("qr", method=True, calls=_old_qr_calls)
def old_qr(input: Value, some: bool = True) -> tuple[Value, Value]:
    """`linalg.qr`: reduced, or complete with ``some=False``."""
    return ops.qr(matrices("qr", input), complete=not some)  # type: ignore[no-any-return]
