"""What the loop kernels share: the view of a tensor along one dimension, and small expressions.

A kernel sees its operands and results dense and in row-major order, so neighbouring dimensions
may be merged: along dimension d a tensor is ``[outer, count, inner]``.
"""

from __future__ import annotations

import math

from ...core.dtypes import DType, bool_, float32, float64, int32, int64, uint8
from ...ir.loops import (
    Binary,
    Bitcast,
    Buffer,
    Cast,
    Const,
    Expr,
    For,
    If,
    Let,
    Load,
    Local,
    Select,
    Stmt,
    Unary,
    Var,
)
from ...ir.types import Shape

Body = tuple[Stmt, ...]


def along(shape: Shape, dim: int) -> tuple[int, int, int]:
    """(outer, count, inner) of a tensor of ``shape`` seen along ``dim``."""
    return math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :])


def index(value: int) -> Const:
    """An int64 constant."""
    return Const(value, int64)


def at(buffer: Buffer, *place: Expr) -> Load:
    return Load(buffer.name, place, buffer.dtype)


def local(name: str, dtype: DType) -> Local:
    """The value of a scalar register."""
    return Local(name, (), dtype)


def loop(var: str, lo: Expr | int, hi: Expr | int, *body: Stmt, kind: str = "serial",
         step: int = 1) -> For:  # fmt: skip
    return For(var, _index(lo), _index(hi), step, body, kind)


def parallel(var: str, count: int, *body: Stmt) -> For:
    return loop(var, 0, count, *body, kind="parallel")


def when(cond: Expr, *body: Stmt) -> If:
    return If(cond, body)


def let(name: str, value: Expr) -> tuple[Let, Var]:
    """A name for a value, and the variable that reads it."""
    return Let(name, value), Var(name, value.dtype)


def lesser(x: Expr, y: Expr) -> Binary:
    return Binary("min", x, y)


def greater(x: Expr, y: Expr) -> Binary:
    return Binary("max", x, y)


def both(x: Expr, y: Expr) -> Binary:
    return Binary("and", x, y)


def either(x: Expr, y: Expr) -> Binary:
    return Binary("or", x, y)


def negated(x: Expr) -> Unary:
    return Unary("not", x)


def equal(x: Expr, y: Expr) -> Binary:
    return Binary("eq", x, y)


def is_nan(x: Expr) -> Expr:
    """Whether a number is NaN; false for integers."""
    return Unary("isnan", x) if x.dtype.is_floating_point else Const(False, bool_)


def key_dtype(dtype: DType) -> DType:
    """The type in which elements of ``dtype`` are compared: halves as float32, bools as uint8."""
    if dtype is bool_:
        return uint8
    return float32 if dtype.is_floating_point and dtype.itemsize == 2 else dtype


def sum_dtype(dtype: DType) -> DType:
    """The type in which running results are kept, wider than the result as in PyTorch."""
    return float64 if dtype.is_floating_point else dtype


def as_dtype(x: Expr, dtype: DType) -> Expr:
    return x if x.dtype is dtype else Cast(x, dtype)


def key(x: Expr) -> Expr:
    """An element in the type in which it is compared."""
    return as_dtype(x, key_dtype(x.dtype))


def position_dtype(count: int) -> DType:
    """The narrowest type for positions below or at ``count``: narrow lanes are fast lanes."""
    return int32 if count < 2**31 else int64


def clamped(x: Expr, count: int) -> Expr:
    """An index as it is, where it is one of ``count``; the nearest legal one where it is not."""
    return greater(lesser(x, index(count - 1)), index(0))


def _index(x: Expr | int) -> Expr:
    return index(x) if isinstance(x, int) else x


__all__ = [
    "Binary",
    "Bitcast",
    "Body",
    "Buffer",
    "Cast",
    "Const",
    "Expr",
    "For",
    "If",
    "Let",
    "Select",
    "Stmt",
    "Var",
    "along",
    "as_dtype",
    "at",
    "both",
    "clamped",
    "either",
    "equal",
    "greater",
    "index",
    "is_nan",
    "key",
    "key_dtype",
    "lesser",
    "let",
    "local",
    "loop",
    "negated",
    "parallel",
    "position_dtype",
    "sum_dtype",
    "when",
]  # fmt: skip
