"""Linear systems: general and triangular solves, inverses, and tensors read as matrices."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import int32
from ..core.errors import ArgumentError, ShapeError
from ..ir.node import Node, Value
from ..ir.types import TensorType
from .arithmetic import cast, constant
from .contract import Array, Grads, Sample, primitive
from .function import Call, composite, function
from .linalg_shared import (
    MatrixOp,
    adjoint,
    complaint,
    diagonal_of,
    drawn,
    each_matrix,
    identity,
    invertible,
    matmul,
    matrices,
    same_dtype,
    same_stack,
    scipy_routine,
    single,
    transposed,
)
from .link import ops
from .named import public
from .pointwise import expect_tensor


class System(MatrixOp):
    """Base of the solvers: operands a (square) and b, the result x of b's shape."""

    inputs = 2
    square = True
    linear_in = 1
    index = "...[mm],...[m]k -> ...[m]k"

    def infer(self, a: TensorType, b: TensorType, **attrs: Any) -> TensorType:
        self.check(a, b)
        if a.shape[-1] != b.shape[-2]:
            raise ShapeError(
                f"{self.name}: Incompatible shapes of A and B: {a.shape[-2]} by {a.shape[-1]} and "
                f"{b.shape[-2]} by {b.shape[-1]}"
            )
        return b


@primitive
class Solve(System):
    """x with a x = b, by LU decomposition with partial pivoting.

    ``label`` is the public function that the complaint about a singular matrix names; without
    one the result is infinite there. Gradient: Giles (2008), "An extended collection of matrix
    derivative results", section 2.3.1.
    """

    name = "solve"

    def reference(self, a: Array, b: Array, label: str) -> Array:
        try:
            return np.linalg.solve(a, b)
        except np.linalg.LinAlgError:
            if label:
                raise _singular(a, label) from None
        result = np.full(b.shape, np.inf, b.dtype)
        for at in each_matrix(a.shape[:-2]):
            with contextlib.suppress(np.linalg.LinAlgError):
                result[at] = np.linalg.solve(a[at], b[at])
        return result

    def vjp(self, node: Node, g: Value) -> Grads:
        found = ops.solve(adjoint(node.inputs[0]), g, label=node.attrs["label"])
        return -matmul(found, adjoint(node.out)), found

    def samples(self) -> Iterator[Sample]:
        attrs = {"label": "linalg.solve"}
        for n, k, stack in [(3, 2, ()), (1, 1, ()), (2, 3, (4,)), (3, 1, (2, 2)), (0, 2, ()),
                            (2, 0, ()), (2, 2, (0,))]:  # fmt: skip
            yield Sample((invertible(*stack, n, n), drawn(*stack, n, k, seed=1)), attrs)
        z = invertible(3, 3, complex=True), drawn(3, 2, seed=1, complex=True)
        yield Sample(z, attrs)
        yield Sample(tuple(map(single, z)), attrs, grad=False)
        some = np.stack([np.eye(2), np.ones((2, 2))])
        yield Sample((some, drawn(2, 2, 1)), {"label": ""}, grad=False)
        yield Sample((drawn(2, 3), drawn(2, 1)), attrs, error=(RuntimeError, "square"))
        yield Sample((drawn(2, 2), drawn(3, 1)), attrs, error=(RuntimeError, "Incompatible"))
        yield Sample((np.zeros((2, 2)), drawn(2, 1)), attrs, error=(RuntimeError, "singular"))


def _singular(a: Array, label: str) -> Exception:
    """The error that names the first singular matrix of a stack."""
    getrf = scipy_routine("lapack", "getrf", a)
    for at in each_matrix(a.shape[:-2]):
        zero = getrf(a[at])[2]
        if zero > 0:
            text = "The solver failed because the input matrix is singular."
            if label == "linalg.inv":
                text = (
                    f"The diagonal element {zero} is zero, the inversion could not be completed "
                    "because the input matrix is singular."
                )
            return complaint(label, at, a.shape[:-2], text)
    return complaint(label, (), (), "The solver failed because an input matrix is singular.")


@primitive
class SolveTriangular(System):
    """x with a x = b for a triangular a, of which only that triangle is read; with
    ``unitriangular`` its diagonal counts as ones."""

    name = "solve_triangular"

    def reference(self, a: Array, b: Array, upper: bool, unitriangular: bool) -> Array:
        # BLAS divides by a zero on the diagonal, as PyTorch does; LAPACK would refuse it.
        trsm = scipy_routine("blas", "trsm", a, b)
        result = np.empty(b.shape, b.dtype)
        for at in each_matrix(a.shape[:-2]):
            if result[at].size:
                result[at] = trsm(1.0, a[at], b[at], lower=not upper, diag=unitriangular)
        return result

    def vjp(self, node: Node, g: Value) -> Grads:
        upper, unit = node.attrs["upper"], node.attrs["unitriangular"]
        found = ops.solve_triangular(
            adjoint(node.inputs[0]), g, upper=not upper, unitriangular=unit
        )
        whole = -matmul(found, adjoint(node.out))
        triangle = public.triu(whole, int(unit)) if upper else public.tril(whole, -int(unit))
        return triangle, found

    def samples(self) -> Iterator[Sample]:
        for upper in (False, True):
            for unit in (False, True):
                attrs = {"upper": upper, "unitriangular": unit}
                yield Sample((invertible(3, 3), drawn(3, 2, seed=1)), attrs)
                yield Sample((invertible(2, 2, 2), drawn(2, 2, 3, seed=1)), attrs)
            yield Sample((invertible(2, 0, 0), drawn(2, 0, 2)), attrs)
            z = invertible(3, 3, complex=True), drawn(3, 2, seed=1, complex=True)
            yield Sample(z, attrs)
            yield Sample(tuple(map(single, z)), attrs, grad=False)
        yield Sample((drawn(2, 3), drawn(2, 1)), attrs, error=(RuntimeError, "square"))


def _solve_calls() -> Iterator[Call]:
    a, b = invertible(3, 3), drawn(3, 2, seed=1)
    yield Call((a, b))
    yield Call((a, b[:, 0]))
    yield Call((a, b.T), {"left": False})
    yield Call((invertible(2, 1, 3, 3), drawn(4, 3, 2, seed=1)))
    yield Call((invertible(2, 3, 3), drawn(2, 3, seed=1)))
    yield Call((a, drawn(2, 3, 1, seed=1)))
    yield Call((np.zeros((0, 0)), np.zeros((0, 2))))
    yield Call((invertible(3, 3, complex=True), drawn(3, 2, seed=1, complex=True)))
    yield Call((a, drawn(4, 2)), error=(RuntimeError, "Incompatible shapes of A and B"))
    yield Call((drawn(2, 3), b), error=(RuntimeError, "must be batches of square matrices"))
    yield Call((a, b.astype(np.float32)), error=(RuntimeError, "same dtype"))
    yield Call((np.ones((2, 2), np.int64), np.ones(2)), error=(RuntimeError, "floating point"))


@function("linalg.solve", calls=_solve_calls)
def solve(A: Value, B: Value, *, left: bool = True) -> Value:
    """X with ``A X = B`` (with ``left=False``, ``X A = B``).

    A (..., n, n); B (..., n, k) or, as vectors, (..., n) if A has no or the same stack. One
    floating or complex dtype. RuntimeError (`linalg.LinAlgError`) if a matrix is singular.
    """
    return _solve("linalg.solve", A, B, left, "linalg.solve")


def _solve(op: str, A: Value, B: Value, left: bool, label: str) -> Value:
    a = matrices(op, A, square=True)
    b = expect_tensor(op, B, "B", 2)
    same_dtype(op, a, b)
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    if vector:
        if not left:
            raise ShapeError(
                f"{op}: Vector broadcasting of the left hand side is not supported for left=False. "
                "In this case linalg.solve is equivalent to B / A.squeeze(-1)"
            )
        b = ops.reshape(b, shape=(*b.shape, 1))
    x = _two_sided(op, a, b, left, lambda m, r, _: ops.solve(m, r, label=label))
    return ops.reshape(x, shape=x.shape[:-1]) if vector else x


def _two_sided(op: str, a: Value, b: Value, left: bool, solver: Any) -> Value:
    """Solve from the left, or from the right through transposes."""
    if a.shape[-1] != b.shape[-2 if left else -1]:
        equation = "AX = B" if left else "XA = B"
        raise ShapeError(
            f"{op}: Incompatible shapes of A and B for the equation {equation}"
            f" ({a.shape[-2]}x{a.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )
    a, b = same_stack(op, a, b)
    if left:
        return solver(a, b, False)  # type: ignore[no-any-return]
    return transposed(solver(transposed(a), transposed(b), True))


def _triangular_calls() -> Iterator[Call]:
    a, b = invertible(3, 3), drawn(3, 2, seed=1)
    for upper in (False, True):
        yield Call((a, b), {"upper": upper})
        yield Call((a, b), {"upper": upper, "unitriangular": True})
        yield Call((a, b.T), {"upper": upper, "left": False})
        triangle = (np.triu if upper else np.tril)(invertible(2, 1, 3, 3, complex=True))
        right = drawn(4, 3, 2, seed=1, complex=True)
        yield Call((triangle, right), {"upper": upper})
    yield Call((np.zeros((0, 0)), np.zeros((0, 2))), {"upper": True})
    yield Call((drawn(2, 3), b), {"upper": True}, error=(RuntimeError, "square matrices"))
    yield Call((a, drawn(4, 2)), {"upper": True}, error=(RuntimeError, "Incompatible shapes"))


@function("linalg.solve_triangular", calls=_triangular_calls)
def solve_triangular(
    A: Value, B: Value, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Value:
    """X with ``A X = B`` (with ``left=False``, ``X A = B``) for triangular A.

    Only the upper or lower triangle of A (..., n, n) is read; with ``unitriangular`` its diagonal
    counts as ones. B (..., n, k). A zero on the diagonal gives infinities, no error.
    """
    op = "linalg.solve_triangular"
    a, b = matrices(op, A, square=True), matrices(op, B, "B")
    same_dtype(op, a, b)

    def solver(m: Value, r: Value, flipped: bool) -> Value:
        return ops.solve_triangular(  # type: ignore[no-any-return]
            m, r, upper=upper != flipped, unitriangular=unitriangular
        )

    return _two_sided(op, a, b, left, solver)


def _inv_vjp(node: Node, g: Value) -> Grads:
    back = adjoint(node.out)
    return (-matmul(matmul(back, g), back),)


def _inv_calls() -> Iterator[Call]:
    yield Call((invertible(3, 3),))
    yield Call((invertible(2, 1, 2, 2),))
    yield Call((np.zeros((0, 0)),))
    yield Call((np.zeros((0, 2, 2)),))
    yield Call((invertible(3, 3, complex=True),))
    yield Call((drawn(2, 3),), error=(RuntimeError, "must be batches of square matrices"))
    yield Call((drawn(3),), error=(RuntimeError, "must have at least 2 dimensions"))
    yield Call((np.ones((2, 2), np.int64),), error=(RuntimeError, "floating point"))


@composite("linalg.inv", method="inverse", aliases=("inverse",), vjp=_inv_vjp, calls=_inv_calls)
def inv(A: Value) -> Value:
    """The inverses of square matrices (..., n, n). RuntimeError (`linalg.LinAlgError`) if one is
    singular. Gradient: Giles (2008), section 2.2.3."""
    a = matrices("linalg.inv", A, square=True)
    return ops.solve(a, identity(a), label="linalg.inv")  # type: ignore[no-any-return]


def _info(a: Value) -> Value:
    """0, or the number (int32, from 1) of the first zero on the diagonal of the LU factors."""
    zero = public.eq(diagonal_of(ops.lu_factor(a)[0]), 0)
    if not zero.shape[-1]:
        return constant(0, int32, zero.shape[:-1])
    first = cast(ops.argmax(cast(zero, int32), dim=zero.ndim - 1), int32) + 1
    none = constant(0, int32, first.shape)
    return public.where(ops.reduce_max(zero, dims=(zero.ndim - 1,)), first, none)  # type: ignore[no-any-return]


def _inv_ex_calls() -> Iterator[Call]:
    yield Call((invertible(2, 3, 3),))
    yield Call((invertible(3, 3, complex=True),), {"check_errors": True})
    yield Call((np.zeros((0, 0)),))
    yield Call((drawn(2, 3),), error=(RuntimeError, "must be batches of square matrices"))


@function("linalg.inv_ex", calls=_inv_ex_calls)
def inv_ex(A: Value, *, check_errors: bool = False) -> tuple[Value, Value]:
    """(inverse, info): as `linalg.inv`, but for a singular matrix the inverse is full of
    infinities and info (int32) is not 0, unless ``check_errors``."""
    a = matrices("linalg.inv_ex", A, square=True)
    found = ops.solve(a, identity(a), label="linalg.inv" if check_errors else "")
    return found, _info(a)


def _solve_ex_calls() -> Iterator[Call]:
    yield Call((invertible(2, 3, 3), drawn(2, 3, 1, seed=1)))
    yield Call((invertible(3, 3), drawn(2, 3, seed=1)), {"left": False, "check_errors": True})
    yield Call((drawn(2, 3), drawn(2)), error=(RuntimeError, "must be batches of square matrices"))


@function("linalg.solve_ex", calls=_solve_ex_calls)
def solve_ex(
    A: Value, B: Value, *, left: bool = True, check_errors: bool = False
) -> tuple[Value, Value]:
    """(result, info): as `linalg.solve`, but for a singular matrix the result is full of
    infinities and info (int32) is not 0, unless ``check_errors``."""
    op = "linalg.solve_ex"
    found = _solve(op, A, B, left, op if check_errors else "")
    return found, _info(A)


def _tensorsolve_calls() -> Iterator[Call]:
    a = invertible(12, 12).reshape(3, 4, 2, 3, 2)
    yield Call((a, drawn(3, 4, seed=1)))
    yield Call((np.moveaxis(a, 2, 4), drawn(3, 4, seed=1)), {"dims": (4,)})
    yield Call((drawn(3, 4, 2), drawn(3, 4)), error=(RuntimeError, "product"))


@function("linalg.tensorsolve", calls=_tensorsolve_calls)
def tensorsolve(A: Value, B: Value, dims: Sequence[int] | None = None) -> Value:
    """X with ``tensordot(A, X, X.ndim) == B``; ``dims`` of A are moved to its end first.

    RuntimeError unless the first dimensions of A are those of B, and the rest has as many
    elements.
    """
    op = "linalg.tensorsolve"
    a, b = expect_tensor(op, A, "A"), expect_tensor(op, B, "B", 2)
    if dims is not None:
        given = tuple(dims)
        a = public.movedim(a, given, tuple(range(a.ndim - len(given), a.ndim)))
    rest = a.shape[b.ndim :]
    if math.prod(a.shape[: b.ndim]) != math.prod(rest):
        raise ShapeError(
            f"{op}: Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but the product of {list(rest)} is not that of "
            f"{list(a.shape[: b.ndim])}"
        )
    size = math.prod(rest)
    flat = ops.reshape(b, shape=(b.type.numel,))
    x = solve(ops.reshape(a, shape=(math.prod(a.shape[: b.ndim]), size)), flat)
    return ops.reshape(x, shape=rest)  # type: ignore[no-any-return]


def _tensorinv_calls() -> Iterator[Call]:
    yield Call((invertible(12, 12).reshape(3, 4, 2, 6),))
    yield Call((invertible(6, 6).reshape(6, 3, 2), 1))
    yield Call((drawn(3, 4, 2),), error=(RuntimeError, "product"))
    yield Call((drawn(3, 3), 0), error=(RuntimeError, "strictly positive"))


@function("linalg.tensorinv", calls=_tensorinv_calls)
def tensorinv(A: Value, ind: int = 2) -> Value:
    """The inverse under `tensordot`: A as the matrix of its first ``ind`` dimensions by the rest.

    RuntimeError unless both have as many elements and ``ind`` is positive.
    """
    op = "linalg.tensorinv"
    a = expect_tensor(op, A, "A")
    if isinstance(ind, bool) or not isinstance(ind, int):
        raise ArgumentError(f"{op}(): argument 'ind' must be int, not {type(ind).__name__}")
    if ind <= 0:
        raise ShapeError(f"{op}: Expected a strictly positive integer for 'ind', got {ind}")
    front, back = a.shape[:ind], a.shape[ind:]
    if math.prod(front) != math.prod(back):
        raise ShapeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but the product of {list(back)} is not that of {list(front)}"
        )
    found = inv(ops.reshape(a, shape=(math.prod(front), math.prod(back))))
    return ops.reshape(found, shape=(*back, *front))  # type: ignore[no-any-return]
