"""How sums are held: the dtype of an accumulation, and conversions to and from it."""

from __future__ import annotations

from ..core.dtypes import DType, bool_, uint8
from ..ir.loops import Cast, Expr, compute_dtype


def sum_dtype(dtype: DType) -> DType:
    """The dtype in which values of ``dtype`` are accumulated: halves in float32, bools as
    numbers."""
    return uint8 if dtype is bool_ else compute_dtype(dtype)


def converted(expr: Expr, dtype: DType) -> Expr:
    """The expression as ``dtype``."""
    return expr if expr.dtype is dtype else Cast(expr, dtype)
