"""How much a piece of loop IR has to do: for cutting it into tasks, and for profiles.

Times are rough, in nanoseconds of one core: they only decide how many units of work make a task,
and a factor of two either way does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..ir.loops import (
    Accumulate,
    Binary,
    Const,
    Expr,
    Fma,
    For,
    If,
    Load,
    Select,
    Stmt,
    Store,
    Unary,
    expressions,
    walk_expr,
)
from .statements import constant_count
from .vector_loops import HEAVY

TASK = 25_000.0  # ns of work that make a task
_VECTOR = 6.0  # how much faster a vector loop runs than a scalar one
_BYTE = 0.06  # ns to load or store a byte, somewhere between the caches and memory
_UNKNOWN_COUNT = 16
_DIVISIONS = frozenset(("div", "sqrt", "rsqrt", "floordiv", "mod", "fmod", "truncdiv"))


@dataclass(frozen=True, slots=True)
class Work:
    """Time in ns, arithmetic operations, and bytes loaded or stored."""

    time: float
    flops: int
    bytes: int

    def __add__(self, other: Work) -> Work:
        return Work(self.time + other.time, self.flops + other.flops, self.bytes + other.bytes)

    def times(self, count: int) -> Work:
        return Work(self.time * count, self.flops * count, self.bytes * count)


NONE = Work(0.0, 0, 0)


def work_of(body: Sequence[Stmt], vector: bool = False) -> Work:
    """The work of running statements once. Both arms of an `if` count."""
    total = NONE
    for stmt in body:
        if isinstance(stmt, For):
            count = _count(stmt)
            inner = work_of(stmt.body, vector or stmt.kind == "vector")
            if stmt.kind == "vector" and not vector:  # bound by arithmetic or by memory
                inner = replace(inner, time=max(inner.time / _VECTOR, inner.bytes * _BYTE))
            total += inner.times(count)
            continue
        if isinstance(stmt, If):
            total += work_of(stmt.then, vector) + work_of(stmt.otherwise, vector)
        elif isinstance(stmt, (Store, Accumulate)):
            size = stmt.value.dtype.itemsize
            total += Work(0.5, int(isinstance(stmt, Accumulate)), size)
        for expr in expressions(stmt):
            for each in walk_expr(expr):
                total += _operation(each)
    return total


def _count(loop: For) -> int:
    """How often a loop runs; where it runs over a block of a range, that of a whole block."""
    count = constant_count(loop)
    if count is not None:
        return count
    ends = [loop.hi]
    while ends:
        match ends.pop():
            case Binary("min", x, y):
                ends += [x, y]
            case Binary("add", x, Const(size)) if x == loop.lo:
                return -(-int(size) // loop.step)
    return _UNKNOWN_COUNT


def _operation(expr: Expr) -> Work:
    match expr:
        case Load():
            return Work(0.5, 0, expr.dtype.itemsize)
        case Unary(op) | Binary(op):
            counted = int(expr.dtype.is_floating_point)
            if op in HEAVY:
                return Work(12.0, 10 * counted, 0)
            return Work(3.0 if op in _DIVISIONS else 0.4, counted, 0)
        case Fma():
            return Work(0.4, 2, 0)
        case Select():
            return Work(0.4, 0, 0)
        case _:
            return NONE
