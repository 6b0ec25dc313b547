"""Eigenvalues and singular values, and the vectors that belong to them.

The vectors are unique only up to signs (complex: phases), and up to rotations where values repeat;
they are LAPACK's. A gradient is meaningful for functions that do not depend on that choice, and
it is infinite where values repeat. Sources of the gradients: Giles (2008), "An extended
collection of matrix derivative results"; Townsend (2016), "Differentiating the singular value
decomposition"; for complex matrices Wan and Zhang (2019), arXiv 1909.02659.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.dtypes import bool_
from ..core.errors import ShapeError, ValueRangeError
from ..ir.node import Node, Value
from ..ir.types import TensorType
from .arithmetic import cast, conj, constant
from .contract import Array, Grads, Sample, primitive
from .function import Call, composite, function
from .linalg_factor import hermitian_from_triangle
from .linalg_shared import (
    LinAlgError,
    MatrixOp,
    adjoint,
    columns,
    converged,
    diagonal_of,
    drawn,
    hermitian_part,
    matmul,
    matrices,
    positive,
    rows,
    scale_columns,
    scale_rows,
    single,
)
from .link import ops
from .named import public


def _embed(values: Value, like: Value) -> Value:
    """Diagonal matrices in the dtype of ``like``."""
    return cast(public.diag_embed(values), like.dtype)


def _gaps(first: Value, second: Value, dtype: Any) -> Value:
    """1 / (first_j - second_i) off the diagonal, 0 on it, as ``dtype``. The operands are rows of
    one length; ``second`` holds the same numbers as ``first``, or their negatives where added."""
    n = first.shape[-1]
    wide = ops.reshape(first, shape=(*first.shape[:-1], 1, n))
    tall = ops.reshape(second, shape=(*second.shape, 1))
    same = public.eye(n, dtype=bool_)
    one, zero = constant(1.0, first.dtype), constant(0.0, first.dtype)
    gaps = public.where(same, one, wide - tall)
    return cast(public.where(same, zero, 1.0 / gaps), dtype)


@primitive
class Eigh(MatrixOp):
    """(values, vectors) of the Hermitian part of the operand, values in ascending order."""

    name = "eigh"
    outputs = 2
    square = True

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        self.check(x)
        return x.with_shape(x.shape[:-1]).with_dtype(x.dtype.to_real()), x

    def reference(self, x: Array) -> tuple[Array, Array]:
        whole = (x + np.conj(np.swapaxes(x, -1, -2))) / 2
        values, vectors = converged("linalg.eigh", np.linalg.eigh, whole)
        return values, vectors

    def vjp(self, node: Node, g: Any) -> Grads:
        values, vectors = node.outputs
        if g[1] is None:
            return (matmul(scale_columns(vectors, g[0]), adjoint(vectors)),)
        inner = matmul(adjoint(vectors), g[1]) * _gaps(values, values, vectors.dtype)
        if g[0] is not None:
            inner = inner + _embed(g[0], inner)
        return (hermitian_part(matmul(matmul(vectors, inner), adjoint(vectors))),)

    def samples(self) -> Iterator[Sample]:
        for shape in [(3, 3), (2, 2, 2), (1, 1), (0, 0), (0, 2, 2)]:
            yield Sample((drawn(*shape),), {})
        yield Sample((drawn(3, 3, complex=True),), {}, grad=False)
        yield Sample((single(drawn(3, 3, complex=True)),), {}, grad=False)
        yield Sample((drawn(2, 3),), {}, error=(RuntimeError, "square"))


@primitive
class Svd(MatrixOp):
    """(U, S, Vh) with singular values in descending order; ``full`` makes U and Vh square.

    The gradient ignores cotangents of the columns and rows that ``full`` adds: any orthonormal
    completion would do.
    """

    name = "svd"
    outputs = 3

    def infer(self, x: TensorType, full: bool) -> tuple[TensorType, ...]:
        self.check(x)
        stack, (m, n) = x.shape[:-2], x.shape[-2:]
        k = min(m, n)
        return (
            x.with_shape((*stack, m, m if full else k)),
            x.with_shape((*stack, k)).with_dtype(x.dtype.to_real()),
            x.with_shape((*stack, n if full else k, n)),
        )

    def reference(self, x: Array, full: bool) -> tuple[Array, ...]:
        return tuple(converged("linalg.svd", np.linalg.svd, x, full_matrices=full))

    def vjp(self, node: Node, g: Any) -> Grads:
        x = node.inputs[0]
        m, n = x.shape[-2:]
        k = min(m, n)
        u, s, vh = node.outputs
        u, vh = columns(u, 0, k), rows(vh, 0, k)
        gu = None if g[0] is None else columns(g[0], 0, k)
        gvh = None if g[2] is None else rows(g[2], 0, k)
        if gu is None and gvh is None:
            return (matmul(scale_columns(u, g[1]), vh),)
        gaps = _gaps(s, s, x.dtype) * _gaps(s, -s, x.dtype)  # 1 / (s_j² - s_i²)
        inner = _embed(g[1], x) if g[1] is not None else constant(0, x.dtype, (*s.shape, k))
        if gu is not None:
            turn = matmul(adjoint(u), gu)
            turn = turn - adjoint(turn)
            inner = inner + scale_columns(turn * gaps, s)
            if x.dtype.is_complex:  # the phase that U and V share
                inner = inner + public.diag_embed(diagonal_of(turn) / (s * 2.0))
        if gvh is not None:
            turn = matmul(vh, adjoint(gvh))
            inner = inner + scale_rows((turn - adjoint(turn)) * gaps, s)
        found = matmul(matmul(u, inner), vh)
        if gu is not None and m > k:
            outside = gu - matmul(u, matmul(adjoint(u), gu))
            found = found + matmul(scale_columns(outside, 1.0 / s), vh)
        if gvh is not None and n > k:
            outside = gvh - matmul(matmul(gvh, adjoint(vh)), vh)
            found = found + matmul(u, scale_rows(outside, 1.0 / s))
        return (found,)

    def samples(self) -> Iterator[Sample]:
        for shape in [(3, 3), (2, 4), (4, 2), (2, 3, 2), (1, 1), (0, 0), (2, 0), (0, 2, 3)]:
            yield Sample((drawn(*shape),), {"full": False})
        yield Sample((drawn(4, 2),), {"full": True}, grad=False)
        yield Sample((drawn(2, 3, complex=True),), {"full": False}, grad=False)
        yield Sample((single(drawn(3, 2, complex=True)),), {"full": False}, grad=False)
        yield Sample((drawn(3),), {"full": False}, error=(RuntimeError, "stacks of matrices"))


@primitive
class Eig(MatrixOp):
    """(values, vectors) of a general square operand: complex, in LAPACK's order, vectors of
    length 1."""

    name = "eig"
    outputs = 2
    square = True

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        self.check(x)
        vectors = x if x.dtype.is_complex else x.with_dtype(x.dtype.to_complex())
        return vectors.with_shape(x.shape[:-1]), vectors

    def reference(self, x: Array) -> tuple[Array, Array]:
        if not np.isfinite(x).all():
            raise LinAlgError("linalg.eig: Expected a finite input, got infinities or NaN")
        values, vectors = converged("linalg.eig", np.linalg.eig, x)
        wide = np.result_type(x.dtype, np.complex64)
        return values.astype(wide, copy=False), vectors.astype(wide, copy=False)

    def vjp(self, node: Node, g: Any) -> Grads:
        """From d values = diag(V⁻¹ dA V) and, for vectors kept at length 1,
        dV = V (M - diag(Re(Vᴴ V M))) with M_ij = (V⁻¹ dA V)_ij / (λ_j - λ_i)."""
        x = node.inputs[0]
        values, vectors = node.outputs
        inner = _embed(g[0], vectors) if g[0] is not None else None
        if g[1] is not None:
            turn = matmul(adjoint(vectors), g[1])
            length = cast(public.real(diagonal_of(turn)), vectors.dtype)
            gram = matmul(adjoint(vectors), vectors)
            turn = (turn - scale_columns(gram, length)) * _gaps(
                conj(values), conj(values), vectors.dtype
            )
            inner = turn if inner is None else inner + turn
        assert inner is not None, "a gradient of at least one result is given"
        right = matmul(inner, adjoint(vectors))
        found = ops.solve(adjoint(vectors), right, label="linalg.eig")
        return (found if x.dtype.is_complex else ops.real(found),)

    def samples(self) -> Iterator[Sample]:
        for shape in [(3, 3), (2, 2, 2), (1, 1), (0, 0), (0, 2, 2)]:
            yield Sample((drawn(*shape),), {}, grad=shape == (1, 1))
        yield Sample((drawn(3, 3, complex=True),), {}, grad=False)
        yield Sample((single(drawn(3, 3)),), {}, grad=False)
        yield Sample((drawn(2, 3),), {}, error=(RuntimeError, "square"))


def _eigh_calls() -> Iterator[Call]:
    yield Call((np.diag([1.0, -2.0, 3.0]),), grad=False)
    yield Call((np.zeros((0, 0)),), grad=False)
    yield Call((drawn(2, 3),), error=(RuntimeError, "must be batches of square matrices"))
    yield Call((drawn(2, 2), "X"), error=(RuntimeError, "Expected UPLO argument to be 'L' or 'U'"))


class _UnknownTriangle(ValueRangeError, RuntimeError):
    """A triangle other than "L" and "U" (PyTorch raises RuntimeError here)."""


def _hermitian(op: str, x: Any, uplo: str) -> Value:
    a = matrices(op, x, square=True)
    if uplo.upper() not in ("L", "U"):
        raise _UnknownTriangle(f"Expected UPLO argument to be 'L' or 'U', but got '{uplo}'")
    return hermitian_from_triangle(a, upper=uplo.upper() == "U")  # type: ignore[no-any-return]


@function("linalg.eigh", calls=_eigh_calls)
def eigh(A: Value, UPLO: str = "L") -> tuple[Value, Value]:
    """(eigenvalues, eigenvectors) of Hermitian A (..., n, n), of which the triangle ``UPLO`` is
    read: real values (..., n) in ascending order, vectors as columns.

    Vectors are unique up to signs or phases only. RuntimeError (`linalg.LinAlgError`) if the
    algorithm does not converge.
    """
    return ops.eigh(_hermitian("linalg.eigh", A, UPLO))  # type: ignore[no-any-return]


def _eigvalsh_calls() -> Iterator[Call]:
    for a in (positive(3, 3), drawn(2, 3, 3), drawn(3, 3, complex=True), np.zeros((0, 2, 2))):
        yield Call((a,), grad=False)
        yield Call((a, "U"), grad=False)


@function("linalg.eigvalsh", calls=_eigvalsh_calls)
def eigvalsh(A: Value, UPLO: str = "L") -> Value:
    """The eigenvalues of `linalg.eigh`: real, ascending."""
    return ops.eigh(_hermitian("linalg.eigvalsh", A, UPLO))[0]  # type: ignore[no-any-return]


def _eig_calls() -> Iterator[Call]:
    yield Call((np.diag([1.0, -2.0, 3.0]),), grad=False)
    yield Call((np.zeros((0, 0)),), grad=False)
    yield Call((drawn(2, 3),), error=(RuntimeError, "must be batches of square matrices"))


@function("linalg.eig", calls=_eig_calls)
def eig(A: Value) -> tuple[Value, Value]:
    """(eigenvalues, eigenvectors) of square A (..., n, n): always complex, in no particular
    order; vectors are columns of length 1, unique up to phases only."""
    return ops.eig(matrices("linalg.eig", A, square=True))  # type: ignore[no-any-return]


def _eigvals_calls() -> Iterator[Call]:
    yield Call((drawn(3, 3) + np.diag([0.0, 5.0, 10.0]),))
    yield Call((drawn(2, 2, 2) + np.diag([0.0, 5.0]),))
    yield Call((np.zeros((0, 0)),))


@function("linalg.eigvals", calls=_eigvals_calls)
def eigvals(A: Value) -> Value:
    """The eigenvalues of square A (..., n, n): complex, in LAPACK's order."""
    return ops.eig(matrices("linalg.eigvals", A, square=True))[0]  # type: ignore[no-any-return]


def _svd_calls() -> Iterator[Call]:
    yield Call((np.diag([1.0, 2.0, 3.0]),), grad=False)
    yield Call((np.zeros((2, 0)),), grad=False)
    yield Call((drawn(3),), error=(RuntimeError, "at least 2 dimensions"))
    yield Call((np.ones((2, 2), np.int64),), error=(RuntimeError, "floating point"))


@function("linalg.svd", calls=_svd_calls)
def svd(
    A: Value, full_matrices: bool = True, *, driver: str | None = None
) -> tuple[Value, Value, Value]:
    """(U, S, Vh) with ``A = U diag(S) Vh`` for A (..., m, n): S real, in descending order.

    U has min(m, n) columns and Vh as many rows; ``full_matrices`` makes both square. Columns of U
    and rows of Vh are unique up to common signs or phases only. ``driver`` has a meaning on GPUs
    only. RuntimeError (`linalg.LinAlgError`) if the algorithm does not converge.
    """
    if driver is not None:
        raise ShapeError("linalg.svd: keyword argument `driver=` is only supported on CUDA inputs")
    return ops.svd(matrices("linalg.svd", A), full=full_matrices)  # type: ignore[no-any-return]


def _svdvals_calls() -> Iterator[Call]:
    for shape in [(3, 3), (2, 4), (2, 3, 2), (2, 0)]:
        yield Call((drawn(*shape),))
    yield Call((drawn(2, 3, complex=True),))
    yield Call((drawn(3),), error=(RuntimeError, "at least 2 dimensions"))


@composite("linalg.svdvals", calls=_svdvals_calls)
def svdvals(A: Value, *, driver: str | None = None) -> Value:
    """The singular values of A (..., m, n): real, in descending order."""
    return ops.svd(matrices("linalg.svdvals", A), full=False)[1]  # type: ignore[no-any-return]


def _old_svd_calls() -> Iterator[Call]:
    yield Call((np.diag([1.0, 2.0, 3.0]),), grad=False)
    yield Call((np.zeros((2, 0)), False), grad=False)
    yield Call((np.diag([1.0, 2.0]), True, False), grad=False)


@function("svd", method=True, calls=_old_svd_calls)
def old_svd(input: Value, some: bool = True, compute_uv: bool = True) -> tuple[Value, Value, Value]:
    """(U, S, V) with ``input = U diag(S) Vᴴ``; note V, not Vᴴ as in `linalg.svd`.

    ``some=False`` makes U and V square; without ``compute_uv`` both are zeros.
    """
    a = matrices("svd", input)
    u, s, vh = ops.svd(a, full=not some or not compute_uv)
    v = adjoint(vh)
    if compute_uv:
        return u, s, v
    return constant(0, a.dtype, u.shape), s, constant(0, a.dtype, v.shape)


__all__ = ["eig", "eigh", "eigvals", "eigvalsh", "svd", "svdvals"]
