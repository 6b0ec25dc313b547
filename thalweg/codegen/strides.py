"""How positions in buffers move with the variables of loops."""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.loops import Binary, Const, Expr, Load, Unary, Var, walk_expr


def stride(load: Load, shapes: Mapping[str, tuple[int, ...]], var: str) -> int | None:
    """How far a load's position moves when ``var`` grows by one; None if that is not constant."""
    total, size = 0, 1
    for position, extent in zip(reversed(load.index), reversed(shapes[load.buffer])):
        factor = _coefficient(position, var)
        if factor is None:
            return None
        total += factor * size
        size *= extent
    return total


def _coefficient(expr: Expr, var: str) -> int | None:
    match expr:
        case Var(name):
            return int(name == var)
        case Binary("add" | "sub" as op, left, right):
            a, b = _coefficient(left, var), _coefficient(right, var)
            return None if a is None or b is None else a + b if op == "add" else a - b
        case Binary("mul", x, Const(value)) | Binary("mul", Const(value), x):
            a = _coefficient(x, var)
            return None if a is None else a * int(value)
        case Unary("neg", x):
            a = _coefficient(x, var)
            return None if a is None else -a
        case _:
            inside = any(isinstance(e, Var) and e.name == var for e in walk_expr(expr))
            return None if inside else 0
