"""Approximate decompositions of low rank from random projections (Halko, Martinsson and Tropp 2009,
arXiv 0909.4061)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core.errors import ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import broadcast_to
from .function import Call, function
from .linalg_shared import adjoint, columns, drawn, matmul, matrices, same_dtype
from .link import ops
from .named import public
from .philox import Stream
from .random import standard_normal


def _calls() -> Iterator[Call]:
    yield Call((drawn(6, 4), 2), grad=False)
    yield Call((drawn(2, 4, 6), 3), grad=False)
    yield Call((drawn(4, 3), 3, 0), grad=False)


def _basis(a: Value, q: int, niter: int, rng: Stream) -> Value:
    """Orthonormal columns (..., m, q) that nearly span the range of a (..., m, n)."""
    n = a.shape[-1]
    projection = standard_normal(rng, (n, q), a.dtype)
    found = matmul(a, broadcast_to(projection, (*a.shape[:-2], n, q)))
    basis = ops.qr(found, complete=False)[0]
    for _ in range(niter):
        basis = ops.qr(matmul(adjoint(a), basis), complete=False)[0]
        basis = ops.qr(matmul(a, basis), complete=False)[0]
    return basis  # type: ignore[no-any-return]


def _low_rank(a: Value, q: int, niter: int, rng: Stream) -> tuple[Value, Value, Value]:
    wide = a.shape[-2] < a.shape[-1]
    if wide:
        a = adjoint(a)
    basis = _basis(a, q, niter, rng)
    svd = getattr(public, "linalg.svd")
    u, s, vh = svd(matmul(adjoint(basis), a), full_matrices=False)
    u, v = matmul(basis, u), adjoint(vh)
    if v.shape[-1] > q:
        u, v = columns(u, 0, q), columns(v, 0, q)
    return (v, s, u) if wide else (u, s, v)


@function("svd_lowrank", random=True, out=False, calls=_calls)
def svd_lowrank(
    A: Value, q: int | None = 6, niter: int | None = 2, M: Value | None = None, *, rng: Stream
) -> tuple[Value, Value, Value]:
    """(U, S, V) with ``A - M ≈ U diag(S) Vᴴ`` of rank ``q``, better with more ``niter``. A (..., m,
    n), M of a shape that broadcasts to it."""
    a = matrices("svd_lowrank", A)
    if M is not None:
        same_dtype("svd_lowrank", a, M)
        a = a - broadcast_to(M, a.shape)
    q = 6 if q is None else q
    if not 0 <= q <= min(a.shape[-2:]):
        raise ValueRangeError(
            f"svd_lowrank: q(={q}) must be non-negative and not greater than min(m, n)"
            f"={min(a.shape[-2:])}"
        )
    return _low_rank(a, q, 2 if niter is None else niter, rng)


def _pca_calls() -> Iterator[Call]:
    yield from _calls()
    yield Call((drawn(6, 4),), {"center": False}, grad=False)
    yield Call((drawn(3, 2), 4), error=(ValueError, "not greater than min"))
    yield Call((np.ones((3, 2)), 2, True, -1), error=(ValueError, "niter"))


@function("pca_lowrank", random=True, out=False, calls=_pca_calls)
def pca_lowrank(
    A: Value, q: int | None = None, center: bool = True, niter: int = 2, *, rng: Stream
) -> tuple[Value, Value, Value]:
    """(U, S, V): the first ``q`` (default: up to 6) principal directions V of the rows of A, the
    means of its columns taken off first with ``center``."""
    a = matrices("pca_lowrank", A)
    m, n = a.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueRangeError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueRangeError(f"niter(={niter}) must be non-negative integer")
    if center:
        if not m:
            raise ShapeError("pca_lowrank: no rows to take the mean of")
        a = a - broadcast_to(public.mean(a, -2, keepdim=True), a.shape)
    return _low_rank(a, q, niter, rng)
