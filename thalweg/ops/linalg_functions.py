"""Functions of matrices made of decompositions: determinants, pseudo-inverses, ranks, powers."""

from __future__ import annotations

from collections.abc import Iterator
from operator import index
from typing import Any

import numpy as np

from ..core.dtypes import bool_, finfo, float32, int64
from ..core.errors import ShapeError, ValueRangeError
from ..ir.node import Node, Value
from ..ir.types import TensorType
from .arithmetic import cast, coerce, conj, constant
from .contract import Array, Grads, Sample, primitive
from .dims import normalize_dim
from .function import Call, composite, function
from .linalg_factor import hermitian_from_triangle, rows_in_order, unit_lower
from .linalg_shared import (
    MatrixOp,
    adjoint,
    columns,
    diagonal_of,
    drawn,
    identity,
    invertible,
    matmul,
    matrices,
    numeric,
    positive,
    rows,
    same_dtype,
    same_stack,
    scale_columns,
    scale_rows,
    single,
)
from .link import ops
from .named import public
from .pointwise import expect_tensor


def _exchange_sign(pivots: Value, like: Value) -> Value:
    """1 or -1: the sign of the permutation that the row exchanges make."""
    n = pivots.shape[-1]
    own = cast(public.arange(1, n + 1), pivots.dtype)
    moved = ops.reduce_sum(cast(public.ne(pivots, own), int64), dims=(pivots.ndim - 1,))
    return cast(1 - public.remainder(moved, 2) * 2, like.dtype)


def _product(diagonal: Value, pivots: Value) -> Value:
    found = ops.reduce_prod(diagonal, dims=(diagonal.ndim - 1,))
    return found * _exchange_sign(pivots, found)  # type: ignore[no-any-return]


def _det_vjp(node: Node, g: Value) -> Grads:
    """g · conj(det) · A⁻ᴴ. A zero on U's diagonal counts as the dtype's epsilon, which leaves the
    cofactors right to that precision where A is singular."""
    a = node.inputs[0]
    packed, pivots, order = ops.lu_factor(a)
    diagonal = diagonal_of(packed)
    tiny = constant(float(finfo(a.dtype).eps), a.dtype)
    filled = public.where(public.eq(diagonal, 0), tiny, diagonal)
    upper = public.triu(packed, 1) + public.diag_embed(filled)
    start = rows_in_order(identity(a), order)
    half = ops.solve_triangular(unit_lower(packed), start, upper=False, unitriangular=True)
    inverse = ops.solve_triangular(upper, half, upper=True, unitriangular=False)
    scale = g * conj(_product(filled, pivots))
    return (adjoint(inverse) * ops.reshape(scale, shape=(*scale.shape, 1, 1)),)


def _square_calls() -> Iterator[Call]:
    yield Call((invertible(3, 3),))
    yield Call((drawn(2, 1, 3, 3),))
    yield Call((drawn(3, 3, complex=True),))
    yield Call((np.zeros((0, 0)),))
    yield Call((np.zeros((0, 2, 2)),))
    yield Call((drawn(1, 1),))
    yield Call((drawn(2, 3),), error=(RuntimeError, "must be batches of square matrices"))
    yield Call((np.ones((2, 2), np.int64),), error=(RuntimeError, "floating point"))


@composite(
    "linalg.det", method=True, aliases=("det",), vjp=_det_vjp, onnx="Det", calls=_square_calls
)
def det(A: Value) -> Value:
    """The determinants (...) of square matrices (..., n, n), by LU decomposition."""
    packed, pivots, _ = ops.lu_factor(matrices("linalg.det", A, square=True))
    return _product(diagonal_of(packed), pivots)


@composite("linalg.slogdet", method=True, aliases=("slogdet",), calls=_square_calls)
def slogdet(A: Value) -> tuple[Value, Value]:
    """(sign, logabsdet): the sign (complex: of modulus 1) of each determinant and the logarithm of
    its modulus. For a singular matrix 0 and -inf."""
    packed, pivots, _ = ops.lu_factor(matrices("linalg.slogdet", A, square=True))
    diagonal = diagonal_of(packed)
    sizes = ops.log(public.abs(diagonal))
    return _product(public.sgn(diagonal), pivots), ops.reduce_sum(sizes, dims=(sizes.ndim - 1,))


def _logdet_calls() -> Iterator[Call]:
    yield Call((positive(3, 3),))
    yield Call((positive(2, 2, 2),))
    yield Call((np.stack([np.diag([1.0, -2.0]), np.eye(2)]),), grad=False)
    yield Call((drawn(3, 3, complex=True),))


@function("logdet", method=True, calls=_logdet_calls)
def logdet(A: Value) -> Value:
    """The logarithms of the determinants of (..., n, n); NaN for a negative one, -inf for 0."""
    sign, size = slogdet(matrices("logdet", A, square=True))
    if sign.dtype.is_complex:
        return size + ops.log(sign)  # type: ignore[no-any-return]
    negative = public.lt(sign, 0)
    return public.where(negative, constant(float("nan"), size.dtype), size)  # type: ignore[no-any-return]


Tolerance = float | Value | None


def _threshold(values: Value, shape: tuple[int, ...], atol: Tolerance, rtol: Tolerance) -> Value:
    """The size up to which a singular value counts as 0, with an extra last dimension of 1."""
    if rtol is None:
        rtol = 0.0 if atol is not None else float(finfo(values.dtype).eps) * max(shape[-2:])
    if values.shape[-1] == 0:
        return constant(0, values.dtype, (*values.shape[:-1], 1))
    largest = ops.stop_gradient(public.amax(values, -1, True))
    absolute, relative = (
        public.unsqueeze(t, -1) if isinstance(t, Value) else t for t in (atol, rtol)
    )
    found = largest * relative
    if absolute is None:
        return cast(found, values.dtype)
    x, y = coerce(found, absolute)
    return cast(ops.maximum(x, y), values.dtype)


def _singular_values(op: str, a: Value, hermitian: bool) -> Value:
    if hermitian:
        whole = hermitian_from_triangle(matrices(op, a, square=True), upper=False)
        return public.abs(ops.eigh(whole)[0])  # type: ignore[no-any-return]
    return ops.svd(matrices(op, a), full=False)[1]  # type: ignore[no-any-return]


def _rank_calls() -> Iterator[Call]:
    low = drawn(4, 2) @ drawn(2, 3, seed=1)
    yield Call((low,), grad=False)
    yield Call((np.stack([np.eye(3), np.diag([1.0, 0.0, 1e-3])]),), {"rtol": 1e-2}, grad=False)
    yield Call((np.diag([1.0, 1e-3]),), {"atol": 1e-2}, grad=False)
    yield Call((np.diag([1.0, -1.0, 0.0]),), {"hermitian": True}, grad=False)
    yield Call((np.diag([3.0, 0.5]), 1.0), grad=False)
    yield Call((np.zeros((2, 0)),), grad=False)
    yield Call((drawn(3),), error=(RuntimeError, "at least 2 dimensions"))


@function("linalg.matrix_rank", calls=_rank_calls)
def matrix_rank(
    A: Value, tol: Tolerance = None, hermitian: bool = False, *, atol: Tolerance = None,
    rtol: Tolerance = None,
) -> Value:  # fmt: skip
    """How many singular values (int64) of A (..., m, n) exceed ``max(atol, rtol * largest)``.

    ``rtol`` is max(m, n) times the dtype's epsilon unless a tolerance is given; ``tol`` is another
    name of ``atol``. ``hermitian`` reads the lower triangle and uses eigenvalues.
    """
    values = _singular_values("linalg.matrix_rank", A, hermitian)
    limit = _threshold(values, A.shape, tol if atol is None else atol, rtol)
    counted = cast(public.gt(values, limit), int64)
    return ops.reduce_sum(counted, dims=(values.ndim - 1,))  # type: ignore[no-any-return]


def _pinv_vjp(node: Node, g: Value) -> Grads:
    """Golub and Pereyra (1973), "The differentiation of pseudo-inverses"."""
    a, p = node.inputs[0], node.out
    ph, gh = adjoint(p), adjoint(g)
    found = -matmul(matmul(ph, g), ph)
    left = matmul(matmul(gh, p), ph)
    found = found + left - matmul(a, matmul(p, left))
    right = matmul(ph, matmul(p, gh))
    found = found + right - matmul(matmul(right, p), a)
    return found, *(None for _ in node.inputs[1:])


def _pinv_calls() -> Iterator[Call]:
    for shape in [(3, 3), (4, 2), (2, 4), (2, 3, 2)]:
        yield Call((drawn(*shape),))
    yield Call((np.eye(3),))
    yield Call((drawn(4, 3, complex=True),))
    yield Call((np.zeros((2, 0)),))
    yield Call((drawn(4, 2) @ drawn(2, 3, seed=1),), {"rtol": 1e-4}, grad=False)
    yield Call((np.diag([2.0, 1e-3]), 1e-2), grad=False)
    yield Call((positive(3, 3),), {"hermitian": True}, grad=False)
    yield Call((drawn(3),), error=(RuntimeError, "at least 2 dimensions"))


@composite("linalg.pinv", vjp=_pinv_vjp, calls=_pinv_calls)
def pinv(
    A: Value, rcond: Tolerance = None, hermitian: bool = False, *, atol: Tolerance = None,
    rtol: Tolerance = None,
) -> Value:  # fmt: skip
    """The Moore-Penrose inverses (..., n, m) of A (..., m, n), from the singular values above
    ``max(atol, rtol * largest)``; tolerances as in `linalg.matrix_rank`, ``rcond`` is ``rtol``.

    The gradient is that of a neighbourhood in which the rank stays the same.
    """
    a = matrices("linalg.pinv", A)
    if hermitian:
        a = hermitian_from_triangle(matrices("linalg.pinv", A, square=True), upper=False)
    u, s, vh = ops.svd(a, full=False)
    limit = _threshold(s, a.shape, atol, rcond if rtol is None else rtol)
    one, zero = constant(1.0, s.dtype), constant(0.0, s.dtype)
    kept = public.gt(s, limit)
    inverse = public.where(kept, one / public.where(kept, s, one), zero)
    return matmul(scale_columns(adjoint(vh), inverse), adjoint(u))


def _pinverse_calls() -> Iterator[Call]:
    yield Call((drawn(4, 2),))
    yield Call((np.diag([2.0, 1e-3]), 1e-2), grad=False)


@function("pinverse", method=True, out=False, calls=_pinverse_calls)
def pinverse(input: Value, rcond: float = 1e-15) -> Value:
    """`linalg.pinv` with ``rtol=rcond``."""
    return pinv(input, rcond)  # type: ignore[no-any-return]


def _lstsq_calls() -> Iterator[Call]:
    yield Call((drawn(4, 2), drawn(4, 3, seed=1)))
    yield Call((drawn(2, 4), drawn(2, 1, seed=1)))
    yield Call((drawn(2, 4, 3), drawn(2, 4, 1, seed=1)))
    yield Call((drawn(4, 2, complex=True), drawn(4, 3, seed=1, complex=True)))
    for driver in ("gels", "gelsd", "gelss", "gelsy"):
        yield Call((drawn(4, 2), drawn(4, 3, seed=1)), {"driver": driver}, grad=False)
    yield Call((drawn(4, 2), drawn(3, 1)), error=(RuntimeError, "should have the same size"))
    yield Call((drawn(4, 2), drawn(4, 1)), {"driver": "x"}, error=(RuntimeError, "driver"))


@function("linalg.lstsq", calls=_lstsq_calls)
def lstsq(
    A: Value, B: Value, rcond: float | None = None, *, driver: str | None = None
) -> tuple[Value, Value, Value, Value]:
    """(solution, residuals, rank, singular_values) of ``min |A X - B|``: A (..., m, n),
    B (..., m, k), the solution of least norm (..., n, k).

    All drivers compute the pseudo-inverse; the name decides what else is given, as in PyTorch:
    residuals (..., k) for "gels", "gelsd" and "gelss" where m > n, ranks (int64) for all but
    "gels", singular values for "gelsd" and "gelss"; empty tensors otherwise.
    """
    op = "linalg.lstsq"
    a, b = matrices(op, A), matrices(op, B, "B")
    same_dtype(op, a, b)
    if a.shape[-2] != b.shape[-2]:
        raise ShapeError(
            f"{op}: input.size(-2) should match other.size(-2): the operands should have the same "
            f"size there, got {list(a.shape)} and {list(b.shape)}"
        )
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise _UnknownDriver(
            f"{op}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), got '{driver}'"
        )
    a, b = same_stack(op, a, b)
    m, n = a.shape[-2:]
    real = a.dtype.to_real()
    cut = rcond if rcond is not None and rcond >= 0 else float(finfo(real).eps) * max(m, n)
    solution = matmul(pinv(a, rtol=cut), b)
    flat = ops.reshape(solution, shape=(solution.type.numel,))
    residuals = public.abs(ops.slice(flat, starts=(0,), stops=(0,), steps=(1,)))
    rank, values = constant(0, int64, (0,)), constant(0, real, (0,))
    if driver not in (None, "gelsy") and m > n:
        size = public.abs(matmul(a, solution) - b)
        residuals = ops.reduce_sum(size * size, dims=(size.ndim - 2,))
    if driver != "gels":
        rank = matrix_rank(a, rtol=cut)
    if driver in ("gelsd", "gelss"):
        values = ops.stop_gradient(_singular_values(op, a, False))
    return solution, residuals, rank, values


class _UnknownDriver(ValueRangeError, RuntimeError):
    """A LAPACK driver that does not exist (PyTorch raises RuntimeError here)."""


def _cond_calls() -> Iterator[Call]:
    a = drawn(3, 3)
    for p in (None, 2, -2):
        yield Call((a, p))
    for order in ("fro", "nuc", 1, -1, float("inf"), -float("inf")):
        yield Call((a, order), grad=False)  # PyTorch's own gradient fails
    yield Call((drawn(2, 4, 3),))
    yield Call((np.ones((2, 2)), 1), grad=False)
    yield Call((drawn(2, 3), 1), error=(RuntimeError, "square"))


@function("linalg.cond", calls=_cond_calls)
def cond(A: Value, p: Any = None) -> Value:
    """The condition numbers of A: for ``p`` None or 2 (-2) the ratio of the extreme singular
    values of (..., m, n), else the product of the ``p``-norms of A and its inverse.

    ``p``: None, 2, -2, "fro", "nuc", 1, -1, inf, -inf. Infinite for a singular matrix.
    """
    op = "linalg.cond"
    if p in (None, 2, -2):
        values = _singular_values(op, A, False)
        k = values.shape[-1]
        ends = [public.select(values, -1, i) for i in ((0, k - 1) if p != -2 else (k - 1, 0))]
        return ends[0] / ends[1]  # type: ignore[no-any-return]
    a = matrices(op, A, square=True)
    norm = getattr(public, "linalg.matrix_norm")
    inverse = ops.solve(a, identity(a), label="")
    return norm(a, p) * norm(inverse, p)  # type: ignore[no-any-return]


def _power_calls() -> Iterator[Call]:
    for n in (0, 1, 2, 3, 5, 8, -1, -3):
        yield Call((invertible(3, 3), n))
    yield Call((invertible(2, 2, 2), 3))
    yield Call((drawn(2, 2, complex=True), 4))
    yield Call((drawn(2, 3), 2), error=(RuntimeError, "square matrices"))


@function("linalg.matrix_power", method=True, aliases=("matrix_power",), calls=_power_calls)
def matrix_power(A: Value, n: int) -> Value:
    """The ``n``-th power of square matrices (..., k, k), by repeated squaring; ``n`` may be
    negative."""
    power = index(n)
    a = matrices("linalg.matrix_power", A, square=True)
    if power < 0:
        a, power = getattr(public, "linalg.inv")(a), -power
    result: Value | None = None
    while power:
        if power & 1:
            result = a if result is None else matmul(result, a)
        power >>= 1
        if power:
            a = matmul(a, a)
    if result is not None:
        return result
    nowhere = constant(False, bool_, a.shape)
    return ops.where(nowhere, a, identity(a))  # type: ignore[no-any-return]


@primitive
class MatrixExp(MatrixOp):
    """The matrix exponential. Gradient: the upper right block of the exponential of
    [[Aᴴ, G], [0, Aᴴ]] (Najfeld and Havel 1995)."""

    name = "matrix_exp"
    square = True

    def infer(self, x: TensorType) -> TensorType:
        return self.check(x)

    def reference(self, x: Array) -> Array:
        from scipy.linalg import expm

        return np.asarray(expm(x)).astype(x.dtype, copy=False) if x.size else x.copy()

    def vjp(self, node: Node, g: Value) -> Grads:
        a = adjoint(node.inputs[0])
        n = a.shape[-1]
        top = public.cat((a, g), -1)
        low = public.cat((constant(0, a.dtype, a.shape), a), -1)
        whole = ops.matrix_exp(public.cat((top, low), -2))
        return (columns(rows(whole, 0, n), n, 2 * n),)

    def samples(self) -> Iterator[Sample]:
        for shape in [(3, 3), (2, 2, 2), (1, 1), (0, 0), (0, 2, 2)]:
            yield Sample((drawn(*shape),), {})
        yield Sample((drawn(3, 3, complex=True),), {})
        yield Sample((single(drawn(3, 3)),), {}, grad=False)
        yield Sample((drawn(2, 3),), {}, error=(RuntimeError, "square"))


def _exp_calls() -> Iterator[Call]:
    yield Call((drawn(3, 3),))
    yield Call((drawn(2, 1, 2, 2),))
    yield Call((drawn(3, 3, complex=True),))
    yield Call((np.zeros((0, 0)),))
    yield Call((drawn(2, 3),), error=(RuntimeError, "square matrices"))


@function("linalg.matrix_exp", method=True, out=False, aliases=("matrix_exp",), calls=_exp_calls)
def matrix_exp(A: Value) -> Value:
    """The exponentials of square matrices (..., n, n), by scaling and squaring (Al-Mohy and Higham
    2009)."""
    half = isinstance(A, Value) and A.dtype.category == "float" and A.dtype.itemsize == 2
    a = matrices("linalg.matrix_exp", cast(A, float32) if half else A, square=True)
    found = ops.matrix_exp(a)
    return cast(found, A.dtype) if half else found


def _vecdot_calls() -> Iterator[Call]:
    yield Call((drawn(3, 4), drawn(3, 4, seed=1)))
    yield Call((drawn(2, 1, 4), drawn(3, 4, seed=1)), {"dim": -1})
    yield Call((drawn(3, 4), drawn(3, 4, seed=1)), {"dim": 0})
    yield Call((drawn(3, complex=True), drawn(3, seed=1, complex=True)))
    yield Call((np.arange(3), np.arange(3)), error=(RuntimeError, "floating point"))
    yield Call((drawn(3), drawn(4)), error=(RuntimeError, "must match the size"))


@function("linalg.vecdot", calls=_vecdot_calls)
def vecdot(x: Value, y: Value, *, dim: int = -1) -> Value:
    """The sums of ``conj(x) * y`` along ``dim``, with broadcasting; one dtype for both."""
    a = expect_tensor("linalg.vecdot", x, "x")
    if a.dtype.category not in ("float", "complex"):
        numeric("linalg.vecdot", a)
    b = expect_tensor("linalg.vecdot", y, "y", 2)
    same_dtype("linalg.vecdot", a, b)
    a, b = coerce(a, b, op="linalg.vecdot")
    return ops.reduce_sum(conj(a) * b, dims=(normalize_dim(dim, a.ndim),))  # type: ignore[no-any-return]


def _vander_calls() -> Iterator[Call]:
    yield Call((drawn(4),))
    yield Call((drawn(2, 3),), {"N": 5})
    yield Call((drawn(),), {"N": 3})
    yield Call((np.arange(1, 4),), {"N": 2}, grad=False)
    yield Call((drawn(3),), {"N": 1}, error=(RuntimeError, "N must be greater than 1"))


@function("linalg.vander", out=False, calls=_vander_calls)
def vander(x: Value, N: int | None = None) -> Value:
    """The powers 0 .. N-1 of each element of x (..., n), as (..., n, N); N defaults to n."""
    value = expect_tensor("linalg.vander", x, "x")
    if N is not None and index(N) < 2:
        raise ShapeError(f"linalg.vander: N must be greater than 1, got N={N}")
    if value.ndim == 0:
        value = ops.reshape(value, shape=(1,))
    count = value.shape[-1] if N is None else index(N)
    shape = (*value.shape, 1)
    factors = [constant(1, value.dtype, shape), *[ops.reshape(value, shape=shape)] * (count - 1)]
    return public.cumprod(public.cat(tuple(factors), -1), -1)  # type: ignore[no-any-return]


def _householder_calls() -> Iterator[Call]:
    yield Call((drawn(4, 2), drawn(2, seed=1)))
    yield Call((drawn(2, 3, 3), drawn(2, 2, seed=1)))
    yield Call((drawn(4, 3, complex=True), drawn(3, seed=1, complex=True)))
    yield Call((drawn(2, 3), drawn(2)), error=(RuntimeError, "greater than or equal"))


@function(
    "linalg.householder_product", aliases=("orgqr",), calls=_householder_calls
)  # fmt: skip
def householder_product(A: Value, tau: Value) -> Value:
    """The first n columns of the product of the k reflections ``1 - tau_i v_i v_iᴴ``: A
    (..., m, n) holds each v_i below its diagonal (which counts as ones), tau is (..., k)."""
    op = "linalg.householder_product"
    a, factors = matrices(op, A), numeric(op, expect_tensor(op, tau, "tau", 2))
    m, n = a.shape[-2:]
    if m < n or factors.shape[-1] > n:
        raise ShapeError(
            f"{op}: input.shape[-2] must be greater than or equal to input.shape[-1], and that to "
            f"tau.shape[-1], got {list(a.shape)} and {list(factors.shape)}"
        )
    ones = public.eye(m, n, dtype=a.dtype)
    vectors = public.tril(a, -1) + ones
    nowhere = constant(False, bool_, a.shape)
    product = ops.where(nowhere, a, constant(0, a.dtype, a.shape) + ones)
    for i in reversed(range(factors.shape[-1])):
        v = columns(vectors, i, i + 1)
        product = product - scale_rows(
            matmul(v, matmul(adjoint(v), product)),
            public.expand(columns(factors, i, i + 1), (*a.shape[:-2], m)),
        )
    return product  # type: ignore[no-any-return]


def _diagonal_calls() -> Iterator[Call]:
    yield Call((drawn(3, 4),))
    yield Call((drawn(2, 3, 4),), {"offset": 1, "dim1": 0})


@function("linalg.diagonal", view=True, out=False, calls=_diagonal_calls)
def diagonal(A: Value, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Value:
    """The diagonals of the last two dimensions: `diagonal` with other defaults."""
    return public.diagonal(A, offset, dim1, dim2)  # type: ignore[no-any-return]
