"""Proof by interval analysis that every index of a kernel lies inside its buffer.

Every integer expression has an interval of possible values. Loops bound their variable, `let`
passes an interval on, and inside `if a < b` the intervals of `a` and `b` shrink. An index whose
interval is not inside `[0, size)` is an error, worded 'cannot prove': the kernel may well be
right, but native code must not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.core.dtypes import DType
from thalweg.core.errors import GraphError
from thalweg.ir.loop_text import print_expr, print_stmt
from thalweg.ir.loops import (
    Accumulate,
    Alloc,
    Assign,
    Binary,
    Cast,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Let,
    Load,
    Local,
    Select,
    Stmt,
    Store,
    Unary,
    Var,
    expressions,
    operands,
    walk_expr,
)


@dataclass(frozen=True, slots=True)
class Interval:
    """The integers from `lo` to `hi`, both included. Empty, if `hi < lo`: code never reached."""

    lo: int
    hi: int

    @property
    def empty(self) -> bool:
        return self.hi < self.lo

    def meet(self, other: Interval) -> Interval:
        return Interval(max(self.lo, other.lo), min(self.hi, other.hi))

    def inside(self, other: Interval) -> bool:
        return other.lo <= self.lo and self.hi <= other.hi


# What is known of an expression beyond what its operands say, by structural equality.
Facts = dict[Expr, Interval]
_NEGATED = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}
_MIRRORED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq", "ne": "ne"}


def verify_bounds(kernel: Kernel) -> None:
    """Raise GraphError unless every index is proven in bounds. The structure must be verified."""
    shapes = {buffer.name: buffer.shape for buffer in kernel.params}
    constant = frozenset(buffer.name for buffer in kernel.params if buffer.mode == "in")
    _Prover(shapes, constant).block(kernel.body, {}, kernel.name)


def interval_of(expr: Expr, facts: Facts) -> Interval:
    """All values an integer expression may take, given `facts`; its whole type if unknown."""
    whole = _whole(expr.dtype)
    known = facts.get(expr, whole)
    if expr.dtype.category != "int":
        return known
    natural = _natural(expr, facts)
    # Beyond the type, the value wraps around and says nothing.
    return known.meet(natural) if natural.inside(whole) else known


def _whole(dtype: DType) -> Interval:
    if dtype.category != "int":
        return Interval(0, 1) if dtype.category == "bool" else Interval(-(2**63), 2**63 - 1)
    bits = 8 * dtype.itemsize
    return (
        Interval(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if dtype.is_signed
        else Interval(0, 2**bits - 1)
    )


def _natural(expr: Expr, facts: Facts) -> Interval:
    """What the operands say. Anything computed from an empty interval is never reached either."""
    match expr:
        case Const(value):
            return Interval(int(value), int(value))
        case Unary("neg", x):
            inner = interval_of(x, facts)
            return Interval(-inner.hi, -inner.lo)
        case Unary("abs", x):
            inner = interval_of(x, facts)
            if inner.empty:
                return inner
            low = 0 if inner.lo <= 0 <= inner.hi else min(abs(inner.lo), abs(inner.hi))
            return Interval(low, max(abs(inner.lo), abs(inner.hi)))
        case Cast(x) if x.dtype.category in ("int", "bool"):
            return interval_of(x, facts)
        case Select(cond, yes, no):
            a = interval_of(yes, assume(cond, True, facts))
            b = interval_of(no, assume(cond, False, facts))
            if a.empty or b.empty:
                return b if a.empty else a
            return Interval(min(a.lo, b.lo), max(a.hi, b.hi))
        case Binary(op, left, right):
            return _binary(op, interval_of(left, facts), interval_of(right, facts), expr.dtype)
        case _:
            return _whole(expr.dtype)


def _binary(op: str, a: Interval, b: Interval, dtype: DType) -> Interval:
    if a.empty or b.empty:
        return a if a.empty else b
    match op:
        case "add":
            return Interval(a.lo + b.lo, a.hi + b.hi)
        case "sub":
            return Interval(a.lo - b.hi, a.hi - b.lo)
        case "mul":
            corners = [x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
            return Interval(min(corners), max(corners))
        case "min":
            return Interval(min(a.lo, b.lo), min(a.hi, b.hi))
        case "max":
            return Interval(max(a.lo, b.lo), max(a.hi, b.hi))
        case "floordiv" if b.lo > 0:
            corners = [x // y for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
            return Interval(min(corners), max(corners))
        case "truncdiv" if b.lo > 0 and a.lo >= 0:
            return Interval(a.lo // b.hi, a.hi // b.lo)
        case "mod" if b.lo > 0:
            return a if a.lo >= 0 and a.hi < b.lo else Interval(0, b.hi - 1)
        case "fmod" if b.lo > 0 and a.lo >= 0:
            return a if a.hi < b.lo else Interval(0, min(a.hi, b.hi - 1))
        case "and" if a.lo >= 0 or b.lo >= 0:
            return Interval(0, min(x.hi for x in (a, b) if x.lo >= 0))
        case "shl" if b.lo >= 0 and b.hi < 64:
            return _binary("mul", a, Interval(1 << b.lo, 1 << b.hi), dtype)
        case "shr" if b.lo >= 0 and b.hi < 64:
            return _binary("floordiv", a, Interval(1 << b.lo, 1 << b.hi), dtype)
        case _:
            return _whole(dtype)


def assume(cond: Expr, truth: bool, facts: Facts, constant: frozenset[str] = frozenset()) -> Facts:
    """The facts that hold where `cond` is `truth`. Loads count only from `constant` buffers."""
    match cond:
        case Const(value):
            return facts if bool(value) == truth else {**facts, cond: Interval(1, 0)}
        case Unary("not", x):
            return assume(x, not truth, facts, constant)
        case Binary("and" | "or" as op, left, right) if (op == "and") == truth:
            # A second look at the left, as the right may have narrowed what it compares with.
            for side in (left, right, left):
                facts = assume(side, truth, facts, constant)
            return facts
        case Binary(op, left, right) if op in _NEGATED and left.dtype.category == "int":
            op = op if truth else _NEGATED[op]
            a, b = interval_of(left, facts), interval_of(right, facts)
            found = dict(facts)
            if _stable(left, constant):
                found[left] = a.meet(_where(op, a, b))
            if _stable(right, constant):
                found[right] = b.meet(_where(_MIRRORED[op], b, a))
            return found
        case _:
            return facts


def _where(op: str, x: Interval, other: Interval) -> Interval:
    """An interval around all `x` for which `x op y` holds for some `y` in `other`."""
    lowest, highest = min(x.lo, other.lo), max(x.hi, other.hi)
    match op:
        case "lt":
            return Interval(lowest, other.hi - 1)
        case "le":
            return Interval(lowest, other.hi)
        case "gt":
            return Interval(other.lo + 1, highest)
        case "ge":
            return Interval(other.lo, highest)
        case "eq":
            return other
        case _:
            return x


def _stable(expr: Expr, constant: frozenset[str]) -> bool:
    """Whether the expression has one value as long as its variables live."""
    return not any(
        isinstance(inner, Local) or (isinstance(inner, Load) and inner.buffer not in constant)
        for inner in walk_expr(expr)
    )


def _loop_values(loop: For, facts: Facts) -> Interval:
    lo, hi = interval_of(loop.lo, facts), interval_of(loop.hi, facts)
    last = hi.hi - 1
    if lo.lo == lo.hi and last >= lo.lo:
        # From a known start, the last step of a tiled loop is known to leave room for its tile.
        last -= (last - lo.lo) % loop.step
    return Interval(lo.lo, last)


@dataclass(frozen=True, slots=True)
class _Prover:
    shapes: dict[str, tuple[int, ...]]
    constant: frozenset[str]

    def block(self, body: tuple[Stmt, ...], facts: Facts, where: str) -> None:
        facts = dict(facts)
        shapes = dict(self.shapes)
        inner = _Prover(shapes, self.constant)
        for stmt in body:
            inner.stmt(stmt, facts, f"{where} / {print_stmt(stmt)}")
            if isinstance(stmt, Let):
                facts[Var(stmt.name, stmt.value.dtype)] = interval_of(stmt.value, facts)
            elif isinstance(stmt, Alloc):
                shapes[stmt.name] = stmt.shape

    def stmt(self, stmt: Stmt, facts: Facts, where: str) -> None:
        for expr in expressions(stmt):
            self.expr(expr, facts, where)
        match stmt:
            case For(var, _, _, _, body):
                values = _loop_values(stmt, facts)
                if not values.empty:
                    self.block(body, {**facts, Var(var): values}, where)
            case If(cond, then, otherwise):
                for block, truth, path in (
                    (then, True, where),
                    (otherwise, False, f"{where} / else"),
                ):
                    known = assume(cond, truth, facts, self.constant)
                    if not any(interval.empty for interval in known.values()):
                        self.block(block, known, path)
            case Assign(target, index) | Store(target, index) | Accumulate(target, index):
                self.access(target, index, facts, where)
            case _:
                pass

    def expr(self, expr: Expr, facts: Facts, where: str) -> None:
        for operand in operands(expr):
            self.expr(operand, facts, where)
        match expr:
            case Load(name, index) | Local(name, index):
                self.access(name, index, facts, where)
            case _:
                pass

    def access(self, name: str, index: tuple[Expr, ...], facts: Facts, where: str) -> None:
        for position, size in zip(index, self.shapes[name], strict=True):
            found = interval_of(position, facts)
            if not found.empty and not found.inside(Interval(0, size - 1)):
                span = f"{_bound(found.lo)}..{_bound(found.hi)}"
                raise GraphError(
                    f"loop IR, {where}: cannot prove index {print_expr(position)} of {name!r} in "
                    f"bounds: expected 0 <= index < {size}, found values in {span}"
                )


def _bound(value: int) -> str:
    """A limit of an interval, with the ends of int64 shown as what they mean."""
    return str(value) if abs(value) < 2**62 else ("-inf" if value < 0 else "inf")
