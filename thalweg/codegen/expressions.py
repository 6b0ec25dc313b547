"""Expressions and simple statements of the loop IR, for one element or a vector of them.

    block = Block(f, target, {"x": Place(buffer, pointer), ...}, lanes=8)
    block.bind("i", row)                 # int64 for all lanes: a Python int or a scalar i64
    block.bind_run("j", column)          # lane k holds column + k
    block.bind("v", accumulator)         # a vector, in the compute type
    block.valid(count)                   # optional: only the first ``count`` lanes are active
    block.run(statements)

Values stay scalar as long as all lanes agree, and positions stay *runs* (`types.Run`) as long as
they are affine in the lane, so a load knows whether it is a scalar, a vector or a gather. Equal
expressions are computed once within a `run`; `shared` extends that to several runs, where the
first dominates the others. `statements.Block` is the whole: this module has the part without
control flow, as `Expressions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..core.dtypes import DType, int32, int64
from ..ir.loop_bounds import Facts, Interval, interval_of
from ..ir.loops import (
    COMPARISONS,
    Binary,
    Bitcast,
    Cast,
    Const,
    Expr,
    Fma,
    Load,
    Local,
    Select,
    Unary,
    Var,
)
from .access import Access, Place
from .arithmetic import Arithmetic
from .builder import Function, Int, Numbering, Val, as_value, element, lanes_of, literal, vector
from .target import Target
from .types import (
    Run,
    Value,
    as_computed,
    as_stored,
    lane_numbers,
    memory_type,
    register_type,
    spread,
)

_MASK64 = (1 << 64) - 1


class Expressions:
    """Computes loop-IR expressions over ``lanes`` elements."""

    def __init__(
        self, f: Function, target: Target, places: Mapping[str, Place], lanes: int = 1
    ) -> None:
        self.f = f
        self.target = target
        self.places = dict(places)
        self.lanes = lanes
        self.mask: Val | None = None
        self.arithmetic = Arithmetic(f, target)
        self.names: dict[str, Value] = {}
        self.registers: dict[str, dict[tuple[int, ...], Value]] = {}
        self.facts: Facts = {}
        self.numbering = Numbering()
        self.versions: dict[str, int] = {}
        self.nodes: dict[int, tuple[Expr, Value]] = {}  # of the statement at hand
        self.presets: dict[Load, Value] = {}  # loads whose values are there already
        self._depth = 0

    # --- bindings -------------------------------------------------------------------------------

    def bind(self, name: str, value: Value) -> None:
        """A name's value: one for all lanes, or a vector in the compute type."""
        self.names[name] = value

    def bind_run(self, name: str, base: Int, stride: int = 1) -> None:
        """An int64 name with consecutive values over the lanes."""
        self.names[name] = Run(base, stride) if self.lanes > 1 else base

    def bounded(self, name: str, lo: int, hi: int) -> None:
        """It is known that ``lo <= name <= hi``; divisions of indices profit."""
        self.facts[Var(name)] = Interval(lo, hi)

    def valid(self, count: Int | None) -> None:
        """Only the first ``count`` lanes are active (at least one); None: all of them."""
        if count is None or self.lanes == 1:
            self.mask = None
            return
        short = self.f.convert("trunc", as_value(count), "i32")
        numbers = lane_numbers("i32", 1, self.lanes)
        self.mask = self.f.compare("icmp", "slt", numbers, self.f.splat(short, self.lanes))

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Runs inside share what they compute; the first must dominate the others."""
        saved, self.f.numbering = self.f.numbering, self.numbering
        self._depth += 1
        try:
            if self._depth == 1:
                with self.numbering.scope():
                    yield
            else:
                yield
        finally:
            self._depth -= 1
            self.f.numbering = saved

    @property
    def access(self) -> Access:
        return Access(self.f, self.lanes, self.mask)

    # --- expressions ----------------------------------------------------------------------------

    def vector(self, expr: Expr) -> Val:
        """The value in each lane, as a vector (a scalar for one lane)."""
        return spread(self.f, self.value(expr), self.lanes)

    def scalar(self, expr: Expr) -> Int:
        """An int64 that all lanes agree on, such as a loop bound. ValueError if they may not."""
        found = self.value(expr)
        if isinstance(found, Run) or (isinstance(found, Val) and lanes_of(found.type) > 1):
            raise ValueError("expected one value for all lanes")
        return found

    def value(self, expr: Expr) -> Value:
        """The value of an expression; nodes met again are not computed again."""
        if isinstance(expr, Const):
            return self._constant(expr)
        if isinstance(expr, Var):
            return self.names[expr.name]
        if isinstance(expr, Local):
            return self.register(expr.name, expr.index)
        found = self.nodes.get(id(expr))
        if found is None:
            # The entry keeps the node alive, so its identity stays its own.
            found = self.nodes[id(expr)] = (expr, self._compute(expr))
        return found[1]

    def _constant(self, expr: Const) -> Value:
        if expr.dtype is int64:
            return int(expr.value)
        return literal(expr.value, register_type(expr.dtype))

    def _compute(self, expr: Expr) -> Value:
        match expr:
            case Load():
                return self._load(expr)
            case Unary():
                return self._unary(expr)
            case Binary():
                return self._binary(expr)
            case Select():
                return self._select(expr)
            case Cast():
                return self._cast(expr)
            case Bitcast():
                x = as_stored(self.f, self.as_val(self.value(expr.x)), expr.x.dtype)
                bits = self.f.convert(
                    "bitcast", x, vector(memory_type(expr.dtype), lanes_of(x.type))
                )
                return _plain(as_computed(self.f, bits, expr.dtype))
            case Fma():
                a, b, c = self.together(
                    *(self.as_val(self.value(e)) for e in (expr.a, expr.b, expr.c))
                )
                return self.f.intrinsic("fma", a, b, c)
            case _:
                raise TypeError(f"not an expression of the loop IR: {expr!r}")

    def as_val(self, x: Value) -> Val:
        """A value as an LLVM value; a run becomes a vector."""
        return spread(self.f, x, self.lanes) if isinstance(x, Run) else as_value(x)

    def together(self, *values: Val) -> tuple[Val, ...]:
        """The values with equal numbers of lanes."""
        most = max(lanes_of(v.type) for v in values)
        return tuple(v if lanes_of(v.type) == most else self.f.splat(v, most) for v in values)

    def _load(self, expr: Load) -> Value:
        if self.presets and expr in self.presets:
            return self.presets[expr]
        place = self.places[expr.buffer]
        at = self.position(place.buffer.shape, expr.index)
        mask = self.mask.text if self.mask is not None else ""
        key = f"{expr.buffer}#{self.versions.get(expr.buffer, 0)}[{at}] {mask}"
        found = self.numbering.known.get(key)
        if not isinstance(found, Val):
            found = self.access.load(place, at)
            self.numbering.add(key, found)
        return found

    def position(self, shape: tuple[int, ...], index: tuple[Expr, ...]) -> Value:
        """The position of an element in a row-major buffer."""
        at: Value = 0
        stride = 1
        for axis, size in zip(reversed(index), reversed(shape)):
            at = self.int64("add", self.int64("mul", self.value(axis), stride), at)
            stride *= size
        return at

    def register(self, name: str, index: tuple[Expr, ...]) -> Value:
        """The value of a register made by `Alloc`."""
        raise NotImplementedError

    # --- operations -----------------------------------------------------------------------------

    def _unary(self, expr: Unary) -> Value:
        x = self.value(expr.x)
        if isinstance(x, int):
            return _signed(
                {"neg": -x, "abs": abs(x), "not": ~x, "sign": (x > 0) - (x < 0)}[expr.op]
            )
        if isinstance(x, Run):
            if expr.op == "neg":
                return self.int64("sub", 0, x)
            x = self.as_val(x)
        made = self.function(expr.op, (x,), expr.x.dtype)
        return made if made is not None else self.arithmetic.unary(expr.op, x, expr.x.dtype)

    def _binary(self, expr: Binary) -> Value:
        dtype = expr.left.dtype
        a, b = self.value(expr.left), self.value(expr.right)
        if dtype is int64:
            if expr.op in ("floordiv", "mod", "truncdiv", "fmod"):
                return self._divide(expr, a, b)
            return self.int64(expr.op, a, b)
        left, right = self.together(self.as_val(a), self.as_val(b))
        made = self.function(expr.op, (left, right), dtype)
        return made if made is not None else self.arithmetic.binary(expr.op, left, right, dtype)

    def function(self, op: str, operands: tuple[Val, ...], dtype: DType) -> Val | None:
        """An operation that is no instruction, expanded; None if it is one."""
        raise NotImplementedError

    def _select(self, expr: Select) -> Value:
        cond = self.as_val(self.value(expr.cond))
        if cond.text in ("0", "1"):
            return self.value(expr.yes if cond.text == "1" else expr.no)
        yes, no = self.value(expr.yes), self.value(expr.no)
        if isinstance(yes, Run) and yes == no:
            return yes
        wide = max(
            lanes_of(cond.type),
            *(self.lanes if isinstance(v, Run) else lanes_of(as_value(v).type) for v in (yes, no)),
        )
        a, b = spread(self.f, yes, wide), spread(self.f, no, wide)
        return self.f.select(cond, a, b)

    def _cast(self, expr: Cast) -> Value:
        source, target = expr.x.dtype, expr.dtype
        x = self.value(expr.x)
        if source is target and not target.is_floating_point:
            return x
        if isinstance(x, int):
            return self._cast_constant(x, target)
        if isinstance(x, Run):
            x = self._narrow(x, expr.x, target)
            source = int32 if element(x.type) == "i32" else int64
        made = self.arithmetic.cast(x, source, target)
        return _plain(made)

    def _cast_constant(self, x: int, target: DType) -> Value:
        if target is int64:
            return x
        if target.is_floating_point:
            return self.arithmetic.cast(as_value(x), int64, target)
        return literal(np.int64(x).astype(target.np).item(), register_type(target))

    def _narrow(self, x: Run, expr: Expr, target: DType) -> Val:
        """A run as a vector: of int32, where its values are known to fit or only their low bits
        are asked for, because vectors of int64 are slow."""
        low_bits = target.category == "int" and target.itemsize <= 4
        known = interval_of(expr, self.facts)
        if not low_bits and not known.inside(Interval(-(2**31), 2**31 - 1)):
            return spread(self.f, x, self.lanes)
        start = self.f.splat(self.f.convert("trunc", as_value(x.base), "i32"), self.lanes)
        return self.f.binary("add", start, lane_numbers("i32", x.stride, self.lanes))

    # --- int64: constants are folded, runs stay runs --------------------------------------------

    def int64(self, op: str, a: Value, b: Value) -> Value:
        if isinstance(a, int) and isinstance(b, int):
            folded = _fold(op, a, b)
            if folded is not None:
                return folded
        if op == "add" and (a == 0 or b == 0):
            return b if a == 0 else a
        if op == "sub" and b == 0:
            return a
        if op == "mul" and (a == 1 or b == 1):
            return b if a == 1 else a
        if op == "mul" and (a == 0 or b == 0):
            return 0
        if isinstance(a, Run) or isinstance(b, Run):
            found = self._on_runs(op, a, b)
            if found is not None:
                return found
        x, y = self.together(self.as_val(a), self.as_val(b))
        return _plain(self.arithmetic.binary(op, x, y, int64))

    def _on_runs(self, op: str, a: Value, b: Value) -> Value | None:
        if op in ("add", "sub") and self._affine(a) and self._affine(b):
            base = self.int64(op, _base(a), _base(b))
            stride = _stride(a) + (_stride(b) if op == "add" else -_stride(b))
            assert not isinstance(base, Run)
            return Run(base, stride) if stride else base
        if op == "mul" and (isinstance(a, int) or isinstance(b, int)):
            run, factor = (a, b) if isinstance(b, int) else (b, a)
            assert isinstance(run, Run) and isinstance(factor, int)
            base = self.int64("mul", run.base, factor)
            assert not isinstance(base, Run)
            return Run(base, run.stride * factor)
        if op in COMPARISONS and self._affine(a) and self._affine(b):
            return self._compare_runs(op, a, b)
        return None

    def _affine(self, x: Value) -> bool:
        return isinstance(x, (int, Run)) or lanes_of(x.type) == 1

    def _compare_runs(self, op: str, a: Value, b: Value) -> Value:
        """``a op b`` by comparing lane numbers with their distance, in int32."""
        stride = _stride(a) - _stride(b)
        distance = self.int64("sub", _base(b), _base(a))
        if stride == 0:
            return self.int64(op, 0, distance)
        assert not isinstance(distance, Run)
        limit = abs(stride) * self.lanes + 1
        near = self.f.max(self.f.min(distance, limit), -limit)
        short = (
            literal(near, "i32") if isinstance(near, int) else self.f.convert("trunc", near, "i32")
        )
        numbers = lane_numbers("i32", stride, self.lanes)
        return self.arithmetic.compare(op, numbers, self.f.splat(short, self.lanes), int32)

    def _divide(self, expr: Binary, a: Value, b: Value) -> Value:
        """Divisions of indices: by a constant, of a dividend that is known not to be negative,
        they are those of unsigned numbers, and of 32 bits where those suffice."""
        if isinstance(a, int) and isinstance(b, int):
            return _quotient(expr.op, a, b)
        if isinstance(b, int) and b > 0:
            known = interval_of(expr.left, self.facts)
            if b == 1:
                return a if expr.op in ("floordiv", "truncdiv") else 0
            if known.lo >= 0 and known.hi < b:
                return 0 if expr.op in ("floordiv", "truncdiv") else a
            if known.lo >= 0 and b & (b - 1) != 0:
                return self._unsigned(expr.op, a, b, known.hi < 2**32)
        x, y = self.together(self.as_val(a), self.as_val(b))
        return self.arithmetic.binary(expr.op, x, y, int64)

    def _unsigned(self, op: str, a: Value, b: int, short: bool) -> Value:
        f = self.f
        x = spread(f, a, self.lanes) if isinstance(a, Run) else as_value(a)
        name = "udiv" if op in ("floordiv", "truncdiv") else "urem"
        if not short or b >= 2**32:
            return f.binary(name, x, literal(b, x.type))
        narrow = f.convert("trunc", x, vector("i32", lanes_of(x.type)))
        return f.convert("zext", f.binary(name, narrow, literal(b, narrow.type)), x.type)


def _base(x: Value) -> Int:
    return x.base if isinstance(x, Run) else x


def _stride(x: Value) -> int:
    return x.stride if isinstance(x, Run) else 0


def _plain(x: Val) -> Value:
    """An int64 constant as a Python int, so that it goes on being folded."""
    return int(x.text) if x.type == "i64" and x.text.lstrip("-").isdigit() else x


def _signed(x: int) -> int:
    x &= _MASK64
    return x - (1 << 64) if x >> 63 else x


def _fold(op: str, a: int, b: int) -> Value | None:
    match op:
        case "add" | "sub" | "mul" | "and" | "or" | "xor":
            return _signed(
                {"add": a + b, "sub": a - b, "mul": a * b, "and": a & b, "or": a | b, "xor": a ^ b}[
                    op
                ]
            )
        case "min" | "max":
            return min(a, b) if op == "min" else max(a, b)
        case "lt" | "le" | "gt" | "ge" | "eq" | "ne":
            truth = {"lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b, "eq": a == b}
            return literal(truth.get(op, a != b), "i1")
        case "shl" | "shr" if 0 <= b < 64:
            return _signed(a << b) if op == "shl" else a >> b
        case _:
            return None


def _quotient(op: str, a: int, b: int) -> int:
    if b == 0:
        b = 1  # never executed; see `Arithmetic`
    if op == "floordiv":
        return _signed(a // b)
    if op == "mod":
        return a % b
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return _signed(quotient) if op == "truncdiv" else a - quotient * b
