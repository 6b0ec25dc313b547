"""Statements of the loop IR inside one block of lanes: names, registers, branches, serial loops.

Registers never touch memory: a scalar `Alloc` is an SSA value, an array whose indices are constant
after unrolling is one value per element, and loops and branches carry what they change. Only
arrays indexed at run time live on the stack. A branch whose condition differs between lanes runs
both arms, each under a mask and only if some lane takes it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..core.dtypes import DType, int64
from ..ir.loop_bounds import Interval, interval_of
from ..ir.loops import (
    Accumulate,
    Alloc,
    Assign,
    Binary,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Let,
    Local,
    Stmt,
    Store,
    Unary,
    Var,
    compute_dtype,
    expressions,
    walk,
    walk_expr,
)
from .access import Access, Place
from .arithmetic import LIBRARY, call_library
from .builder import Function, Int, Val, lanes_of, literal, suffix
from .expressions import Expressions
from .rare import is_long, run_lane_by_lane
from .scalar_math import expansion
from .target import Target
from .types import Run, Value, memory_type, register_type, rounded, spread

_UNROLLED = 512  # most statements that unrolling for the sake of registers may make
_SMALL = 12  # loops of no more statements than this are unrolled anyway
_LIBRARY_BINARY = {"pow", "atan2"}
IDENTITY: dict[str, Callable[[DType], float | int]] = {
    "add": lambda dtype: -0.0 if dtype.is_floating_point else 0,
    "mul": lambda dtype: 1,
    "max": lambda dtype: _lowest(dtype),
    "min": lambda dtype: _highest(dtype),
}


def _lowest(dtype: DType) -> float | int:
    if dtype.is_floating_point:
        return -math.inf
    return -(1 << (8 * dtype.itemsize - 1)) if dtype.is_signed else 0


def _highest(dtype: DType) -> float | int:
    if dtype.is_floating_point:
        return math.inf
    return (1 << (8 * dtype.itemsize - dtype.is_signed)) - 1


class Block(Expressions):
    """Runs statements; see `expressions` for how to use it."""

    def __init__(
        self, f: Function, target: Target, places: Mapping[str, Place], lanes: int = 1
    ) -> None:
        super().__init__(f, target, places, lanes)
        self.in_memory: frozenset[str] = frozenset()
        self.stacks: dict[str, Place] = {}
        self.expanding = False  # writing the expansion of a function

    def run(self, body: Sequence[Stmt]) -> None:
        """Emit statements one after the other."""
        with self.shared():
            self.prepare(body)
            self.block(body)

    def prepare(self, body: Sequence[Stmt]) -> None:
        """Look ahead at all statements that `block` will be given."""
        self.in_memory |= memory_registers(body)

    def block(self, body: Sequence[Stmt]) -> None:
        saved = self.nodes
        for stmt in body:
            self.nodes = {}
            self.stmt(stmt)
        self.nodes = saved

    def stmt(self, stmt: Stmt) -> None:
        match stmt:
            case Let(name, value):
                self.names[name] = self.value(value)
                if value.dtype is int64 and not self.expanding:
                    self.facts[Var(name)] = interval_of(value, self.facts)
            case Store(name, index, value):
                place = self.places[name]
                stored = self.vector(value)
                self.access.store(place, self.position(place.buffer.shape, index), stored)
                self.written(name)
            case Accumulate():
                self.accumulate(stmt)
            case Alloc():
                self.allocate(stmt)
            case Assign(name, index, value):
                self.assign(name, index, self._rounded(self.value(value), value.dtype))
            case If(cond, then, otherwise):
                self.branch(self.as_val(self.value(cond)), then, otherwise)
            case For():
                self.loop(stmt)

    def written(self, buffer: str) -> None:
        """Elements loaded from the buffer before must be loaded again."""
        self.versions[buffer] = self.versions.get(buffer, 0) + 1

    def _rounded(self, x: Value, dtype: DType) -> Value:
        return rounded(self.f, x, dtype) if isinstance(x, Val) else x

    # --- accumulation ---------------------------------------------------------------------------

    def combiner(self, op: str, dtype: DType) -> Callable[[Val, Val], Val]:
        """``old op term`` of one dtype, rounded to it."""

        def combine(old: Val, term: Val) -> Val:
            return rounded(self.f, self.arithmetic.binary(op, old, term, dtype), dtype)

        return combine

    def accumulate(self, stmt: Accumulate) -> None:
        dtype = stmt.value.dtype
        combine = self.combiner(stmt.op, dtype)
        if stmt.target in self.places or stmt.target in self.stacks:
            term = self.vector(stmt.value)
            identity = literal(IDENTITY[stmt.op](dtype), register_type(dtype))
            if stmt.target in self.stacks:
                place, where = (
                    self.stacks[stmt.target],
                    self._stack_position(stmt.target, stmt.index),
                )
            else:
                place = self.places[stmt.target]
                where = self.position(place.buffer.shape, stmt.index)
            self.access.accumulate(place, where, term, combine, identity)
            self.written(stmt.target)
            return
        old, term = self.register(stmt.target, stmt.index), self.vector(stmt.value)
        self.assign(stmt.target, stmt.index, combine(*self.together(self.as_val(old), term)))

    # --- registers ------------------------------------------------------------------------------

    def allocate(self, stmt: Alloc) -> None:
        start = self._rounded(self.value(stmt.init), stmt.dtype)
        if stmt.name not in self.in_memory:
            places = itertools.product(*map(range, stmt.shape))
            self.registers[stmt.name] = dict.fromkeys(places, start)
            return
        size = math.prod(stmt.shape)
        pointer = self.f.alloca(memory_type(stmt.dtype), size * self.lanes)
        buffer = Buffer(stmt.name, stmt.dtype, (*stmt.shape, self.lanes), "workspace")
        self.stacks[stmt.name] = Place(buffer, pointer)
        where, total = self.stacks[stmt.name], size * self.lanes
        first = 0
        for lanes in (2 * self.target.lanes(stmt.dtype.itemsize), self.lanes):
            last = total - (total - first) % lanes
            if first < last and lanes % self.lanes == 0:
                fill = spread(self.f, start, lanes)
                with self.f.loop(first, last, lanes) as i:
                    Access(self.f, lanes, None).store(where, Run(i, 1), fill)
                first = last

    def assign(self, name: str, index: tuple[Expr, ...], value: Value) -> None:
        """Set a register, in the lanes that are active."""
        self.nodes = {}  # what was computed in this statement may have read the register
        if name in self.stacks:
            where = self._stack_position(name, index)
            self.access.store(self.stacks[name], where, spread(self.f, value, self.lanes))
            return
        at = tuple(self.scalar(e) for e in index)
        elements = self.registers[name]
        if self.mask is not None:
            old = spread(self.f, elements[at], self.lanes)  # type: ignore[index]
            value = self.f.select(self.mask, spread(self.f, value, self.lanes), old)
        elements[at] = value  # type: ignore[index]

    def register(self, name: str, index: tuple[Expr, ...]) -> Value:
        if name in self.stacks:
            return self.access.load(self.stacks[name], self._stack_position(name, index))
        at = tuple(self.value(e) for e in index)
        return self.registers[name][at]  # type: ignore[index]

    def _stack_position(self, name: str, index: tuple[Expr, ...]) -> Value:
        """An array on the stack holds all lanes of its first element, then of its second, ...;
        one that was made outside of a vector loop has one lane."""
        shape = self.stacks[name].buffer.shape
        at = self.position(shape[:-1], index)
        if shape[-1] == 1:
            return at
        return self.int64("add", self.int64("mul", at, self.lanes), Run(0, 1))

    # --- branches -------------------------------------------------------------------------------

    def branch(self, cond: Val, then: Sequence[Stmt], otherwise: Sequence[Stmt]) -> None:
        if cond.text in ("0", "1"):
            self.block(then if cond.text == "1" else otherwise)
        elif lanes_of(cond.type) == 1:
            self._uniform_branch(cond, then, otherwise, self.mask, self.mask)
        else:
            self._arm(cond, then)
            if otherwise:
                self._arm(self.f.binary("xor", cond, literal(-1, cond.type)), otherwise)

    def _arm(self, cond: Val, body: Sequence[Stmt]) -> None:
        """One arm under a mask, if any lane takes it."""
        f = self.f
        mask = cond if self.mask is None else f.binary("and", self.mask, cond)
        f.module.declare(f"declare i1 @llvm.vector.reduce.or.{suffix(mask.type)}({mask.type})")
        any_lane = f.value("i1", f"call i1 @llvm.vector.reduce.or.{suffix(mask.type)}({mask})")
        self._uniform_branch(any_lane, body, (), mask, self.mask)

    def _uniform_branch(
        self, cond: Val, then: Sequence[Stmt], otherwise: Sequence[Stmt],
        mask: Val | None, other_mask: Val | None,
    ) -> None:  # fmt: skip
        saved_mask = self.mask
        changed = self.changed((*then, *otherwise))
        before = self.snapshot(changed)

        def arm(body: Sequence[Stmt], mask: Val | None) -> Callable[[], list[Val]]:
            def write() -> list[Val]:
                self.restore(changed, before)
                self.mask = mask
                if mask is not None and self.expanding and is_long(body):
                    run_lane_by_lane(self, mask, body)
                else:
                    self.block(body)
                return self.snapshot(changed)

            return write

        merged = self.f.either(cond, arm(then, mask), arm(otherwise, other_mask))
        self.mask = saved_mask
        self.restore(changed, merged)

    def changed(self, body: Sequence[Stmt]) -> list[tuple[str, tuple[int, ...]]]:
        """Registers that live outside of ``body`` as values and are changed in it."""
        names = {
            stmt.name if isinstance(stmt, Assign) else stmt.target
            for stmt in walk(tuple(body))
            if isinstance(stmt, (Assign, Accumulate))
        }
        inner = {stmt.name for stmt in walk(tuple(body)) if isinstance(stmt, Alloc)}
        return [(name, at) for name in sorted(names - inner) for at in self.registers.get(name, ())]

    def snapshot(self, registers: Sequence[tuple[str, tuple[int, ...]]]) -> list[Val]:
        """Their values, each with all lanes, so that their types cannot change any more."""
        return [spread(self.f, self.registers[name][at], self.lanes) for name, at in registers]

    def restore(
        self, registers: Sequence[tuple[str, tuple[int, ...]]], values: Sequence[Val]
    ) -> None:
        for (name, at), value in zip(registers, values):
            self.registers[name][at] = value

    # --- loops ----------------------------------------------------------------------------------

    def loop(self, loop: For) -> None:
        lo, hi = self.scalar(loop.lo), self.scalar(loop.hi)
        if isinstance(lo, int) and isinstance(hi, int):
            count = len(range(lo, hi, loop.step))
            if count <= 1 or unrolls(loop, count):
                for value in range(lo, hi, loop.step):
                    self.names[loop.var] = value
                    self.facts[Var(loop.var)] = Interval(value, value)
                    self.block(loop.body)
                return
        self.serial_loop(loop, lo, hi)

    def serial_loop(self, loop: For, lo: Int, hi: Int) -> None:
        """One iteration after the other, with registers carried around."""
        changed = self.changed(loop.body)
        self.forget_stored(loop.body)
        self.bound_loop(loop)
        with self.f.carry(lo, hi, self.snapshot(changed), loop.step) as (i, values, slots):
            self.names[loop.var] = i
            self.restore(changed, values)
            self.block(loop.body)
            slots[:] = self.snapshot(changed)
        self.restore(changed, slots)

    def bound_loop(self, loop: For) -> None:
        """Note the values that a loop's variable takes."""
        lo, hi = interval_of(loop.lo, self.facts), interval_of(loop.hi, self.facts)
        self.facts[Var(loop.var)] = Interval(lo.lo, hi.hi - 1)

    def forget_stored(self, body: Sequence[Stmt]) -> None:
        """At the start of a loop: an earlier iteration may have written what was loaded before."""
        for stmt in walk(tuple(body)):
            if isinstance(stmt, Store):
                self.written(stmt.buffer)
            elif isinstance(stmt, Accumulate) and stmt.target in self.places:
                self.written(stmt.target)

    # --- functions that are no instructions -----------------------------------------------------

    def function(self, op: str, operands: tuple[Val, ...], dtype: DType) -> Val | None:
        if not dtype.is_floating_point or op not in LIBRARY | _LIBRARY_BINARY:
            return None
        steps = expansion(op, compute_dtype(dtype))
        if steps is None:
            return call_library(self.f, op, *operands)
        saved, self.arithmetic.flags = self.arithmetic.flags, ""
        outer, self.expanding = self.expanding, True
        for param, operand in zip(steps.params, operands):
            self.names[param.name] = operand
        self.block(steps.body)
        result = self.as_val(self.value(steps.result))
        self.arithmetic.flags, self.expanding = saved, outer
        return result


def unrolls(loop: For, count: int) -> bool:
    """Whether a loop of ``count`` iterations is written out: because it is small, or because it
    is short and indexes register arrays with its variable."""
    if loop.kind != "serial":
        return False
    size = count * _weight(loop.body)
    return size <= _SMALL or (size <= _UNROLLED and _indexes_registers(loop))


def _weight(body: Sequence[Stmt]) -> int:
    """Statements that a body becomes, loops of constant extent written out."""
    total = 0
    for stmt in body:
        if isinstance(stmt, For):
            count = constant_count(stmt)
            total += _weight(stmt.body) * (count if count is not None else 4)
        else:
            total += 1
            if isinstance(stmt, If):
                total += _weight(stmt.then) + _weight(stmt.otherwise)
    return total


def constant_count(loop: For) -> int | None:
    """The iterations of a loop with constant bounds."""
    if isinstance(loop.lo, Const) and isinstance(loop.hi, Const):
        return len(range(int(loop.lo.value), int(loop.hi.value), loop.step))
    return None


def _indexes_registers(loop: For) -> bool:
    return any(
        Var(loop.var) in set(walk_expr(position))
        for _, index in register_accesses(loop.body)
        for position in index
    )


def register_accesses(body: Sequence[Stmt]) -> Iterator[tuple[str, tuple[Expr, ...]]]:
    """Names and indices of all registers read or written in ``body``. Accumulation into buffers
    looks the same and is among them."""
    for stmt in walk(tuple(body)):
        if isinstance(stmt, Assign):
            yield stmt.name, stmt.index
        elif isinstance(stmt, Accumulate):
            yield stmt.target, stmt.index
        for expr in expressions(stmt):
            for inner in walk_expr(expr):
                if isinstance(inner, Local):
                    yield inner.name, inner.index


def memory_registers(body: Sequence[Stmt]) -> frozenset[str]:
    """Register arrays with an index that is not constant after unrolling; they need a stack."""
    found: set[str] = set()
    _collect(body, frozenset(), found)
    return frozenset(found)


def _collect(body: Sequence[Stmt], constant: frozenset[str], found: set[str]) -> None:
    for stmt in body:
        if isinstance(stmt, For):
            count = constant_count(stmt)
            known = count is not None and (count <= 1 or unrolls(stmt, count))
            _collect(stmt.body, constant | {stmt.var} if known else constant, found)
        elif isinstance(stmt, If):
            _collect(stmt.then, constant, found)
            _collect(stmt.otherwise, constant, found)
            stmt = Let("", stmt.cond)
        if not isinstance(stmt, For):
            for name, index in register_accesses((stmt,)):
                if not all(_is_constant(position, constant) for position in index):
                    found.add(name)


def _is_constant(expr: Expr, constant: frozenset[str]) -> bool:
    return all(
        isinstance(inner, (Const, Binary, Unary))
        or (isinstance(inner, Var) and inner.name in constant)
        for inner in walk_expr(expr)
    )
