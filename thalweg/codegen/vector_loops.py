"""Vector loops: how wide, how a rest is handled, and how sums over lanes are formed.

A vector loop of the loop IR is run `lanes` iterations at a time by a block of that many lanes.
What remains at its end is, whichever is possible first,

- the last full vector once more, moved back over iterations that were done already (nothing but
  pure stores in the body, so doing them twice changes nothing; costs no code);
- one vector under a mask;
- a scalar loop, where the target has no masked access of the element's size.

Registers that the loop accumulates into become vectors of partial results, combined at the end in
a fixed order. Long float sums run in blocks whose partial sums are added up, so that the error
grows like that of pairwise summation.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..core.dtypes import DType, float32, int64
from ..ir.loops import (
    Accumulate,
    Alloc,
    Assign,
    Binary,
    Cast,
    Expr,
    For,
    Let,
    Load,
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
from .access import reduce
from .arithmetic import LIBRARY
from .builder import Int, Val, literal, vector
from .statements import IDENTITY, Block, constant_count
from .target import Target
from .types import register_type, spread

_Register = tuple[str, tuple[int, ...]]
_Combine = Callable[[Val, Val], Val]
HEAVY = LIBRARY | {"pow", "atan2", "fmod", "mod", "floordiv"}
BLOCK = 128  # vectors of a long sum that are added up before they join the total
UPRIGHT_LANES, UPRIGHT_ELEMENTS = 64, 1 << 17  # of loops whose lanes walk down long columns


@dataclass(frozen=True, slots=True)
class Shape:
    """What vectorising a loop's body has to know."""

    itemsize: int  # of the widest value computed
    narrowest: int  # of the elements in memory
    heavy: bool  # it calls functions that are not instructions
    repeatable: bool  # an iteration may be run twice
    sums: int  # statements that accumulate; those for which NaN is looked after count twice


@dataclass(frozen=True, slots=True)
class Span:
    """Iterations ``first .. end`` of a loop that has ``total`` (None: not known) of them. The
    first is a multiple of the number of lanes."""

    first: Int
    end: Int
    total: int | None


class Nest(Block):
    """A block whose vector loops run on vectors. ``once`` says that no iteration may run twice, as
    a result may share memory with what it is computed from."""

    once = False

    def loop(self, loop: For) -> None:
        if self.lanes == 1 and loop.kind == "vector":
            span = self._span(loop)
            if self.vector_loop(loop, span):
                return
        super().loop(loop)

    def _span(self, loop: For) -> Span:
        f, count = self.f, constant_count(loop)
        if count is not None:
            return Span(0, count, count)
        lo, hi = self.scalar(loop.lo), self.scalar(loop.hi)
        length = f.max(f.sub(hi, lo), 0)
        return Span(0, f.div(f.add(length, loop.step - 1), loop.step), None)

    def vector_loop(self, loop: For, span: Span) -> bool:
        """Run iterations of a loop on vectors; False if it cannot be widened or is not worth it."""
        lanes = lanes_for(self, loop, span.total)
        if lanes == 1:
            return False
        shape = shape_of(loop.body, self.dtypes)
        if self.once:
            shape = replace(shape, repeatable=False)
        _Widened(self, loop, span, lanes, self.accumulators(loop.body)).run(shape)
        return True

    @property
    def dtypes(self) -> dict[str, DType]:
        return {name: place.buffer.dtype for name, place in self.places.items()}

    def accumulators(self, body: Sequence[Stmt]) -> dict[_Register, str]:
        """Registers from outside that ``body`` accumulates into, with the operation."""
        inner = {stmt.name for stmt in walk(tuple(body)) if isinstance(stmt, Alloc)}
        found: dict[_Register, str] = {}
        for stmt in walk(tuple(body)):
            if isinstance(stmt, Accumulate) and stmt.target not in inner:
                for at in self.registers.get(stmt.target, ()):
                    found[stmt.target, at] = stmt.op
        return found

    def serial_loop(self, loop: For, lo: Int, hi: Int) -> None:
        sums = self._long_sums(loop)
        if not sums:
            super().serial_loop(loop, lo, hi)
            return
        stride = loop.step * BLOCK
        while (constant_count(loop) or 0) * loop.step > stride * BLOCK:
            stride *= BLOCK
        self._in_blocks(loop, lo, hi, sums, stride)

    def _in_blocks(
        self, loop: For, lo: Int, hi: Int, sums: list[_Register], stride: int
    ) -> None:  # fmt: skip
        """A serial loop in blocks of ``stride``, each of which adds up ``sums`` by itself, in
        smaller blocks again."""
        if stride == loop.step:
            super().serial_loop(loop, lo, hi)
            return
        f, changed = self.f, self.changed(loop.body)
        self.forget_stored(loop.body)
        with f.carry(lo, hi, self.snapshot(changed), stride) as (start, values, slots):
            self.restore(changed, values)
            totals = self.snapshot(sums)
            self.restore(sums, [literal(-0.0, total.type) for total in totals])
            end = f.min(f.add(start, stride), hi)
            self._in_blocks(loop, start, end, sums, stride // BLOCK)
            add = self.combiner("add", float32)
            self.restore(sums, [add(a, b) for a, b in zip(totals, self.snapshot(sums))])
            slots[:] = self.snapshot(changed)
        self.restore(changed, slots)

    def _long_sums(self, loop: For) -> list[_Register]:
        """Float registers that a long serial loop only adds to."""
        count = constant_count(loop)
        if count is None or count <= 4 * BLOCK:
            return []
        touched = {stmt.name for stmt in walk(loop.body) if isinstance(stmt, Assign)}
        for stmt in walk(loop.body):
            for expr in expressions(stmt):
                touched.update(e.name for e in walk_expr(expr) if isinstance(e, Local))
        kinds = {
            stmt.target: stmt.value.dtype
            for stmt in walk(loop.body)
            if isinstance(stmt, Accumulate) and stmt.op == "add"
        }
        return [
            key
            for key, op in self.accumulators(loop.body).items()
            if op == "add" and key[0] not in touched and kinds[key[0]] is float32
        ]

    def widened(self, lanes: int) -> Nest:
        """A block of more lanes that shares everything else."""
        made = copy.copy(self)
        made.lanes = lanes
        return made


@dataclass
class _Widened:
    """One vector loop on its way into code."""

    outer: Nest
    loop: For
    span: Span
    lanes: int
    sums: dict[_Register, str]

    def run(self, shape: Shape) -> None:
        f, lanes = self.outer.f, self.lanes
        first, end, total = self.span.first, self.span.end, self.span.total
        self.inner = self.outer.widened(lanes)
        self.outer.bound_loop(self.loop)
        self.outer.forget_stored(self.loop.body)
        self.start = self.outer.scalar(self.loop.lo)
        rest = 0 if total is not None and total % lanes == 0 else f.rem(f.sub(end, first), lanes)
        if rest != 0 and shape.repeatable and total is not None and total > lanes:
            with f.loop(first, end, lanes) as k:
                self._body(f.min(k, total - lanes))
            return
        whole = f.sub(end, rest)
        dtypes = self._dtypes()
        combiners = {key: self.outer.combiner(op, dtypes[key[0]]) for key, op in self.sums.items()}
        starts = [
            literal(IDENTITY[op](dtypes[name]), vector(register_type(dtypes[name]), lanes))
            for (name, _), op in self.sums.items()
        ]
        saved = {(name, at): self.outer.registers[name][at] for name, at in self.sums}
        adds = any(
            op == "add" and dtypes[key[0]].is_floating_point for key, op in self.sums.items()
        )
        stride = lanes
        while adds and (BLOCK * lanes if total is None else total // 2) >= stride * BLOCK:
            stride *= BLOCK
        totals = starts
        if whole != first:
            totals = self._in_blocks(first, whole, starts, list(combiners.values()), stride)
        # A single iteration stays scalar: under a constant mask of one lane, LLVM (20) stores as
        # many bytes as the register's element has, even where memory's has fewer.
        masked = maskable(self.outer.target, shape.narrowest) and rest != 1
        if rest != 0 and masked:
            totals = self._masked(whole, rest, totals)
        for (key, combine), sums in zip(combiners.items(), totals):
            old = spread(f, saved[key], 1)
            self.outer.registers[key[0]][key[1]] = combine(old, reduce(f, sums, combine))
        if rest != 0 and not masked:
            self._scalars(whole, end)

    def _dtypes(self) -> dict[str, DType]:
        return {
            stmt.target: stmt.value.dtype
            for stmt in walk(self.loop.body)
            if isinstance(stmt, Accumulate)
        }

    def _body(self, k: Int) -> None:
        """The iterations from number ``k`` on, one a lane."""
        f = self.outer.f
        start = f.add(self.start, f.mul(k, self.loop.step))
        self.inner.bind_run(self.loop.var, start, self.loop.step)
        self.inner.block(self.loop.body)

    def _vectors(self, first: Int, end: Int, starts: Sequence[Val]) -> list[Val]:
        """Vectors ``first .. end``, the partial results going on from ``starts``."""
        with self.outer.f.carry(first, end, starts, self.lanes) as (k, values, slots):
            slots[:] = self._accumulated(values, k)
        return slots

    def _accumulated(self, values: Sequence[Val], k: Int) -> list[Val]:
        self.outer.restore(list(self.sums), values)
        self._body(k)
        return self.inner.snapshot(list(self.sums))

    def _in_blocks(
        self, first: Int, end: Int, starts: Sequence[Val], combine: Sequence[_Combine], stride: int
    ) -> list[Val]:
        """Partial results of the vectors ``first .. end``, in blocks of ``stride`` iterations that
        begin anew and are combined afterwards."""
        if stride == self.lanes:
            return self._vectors(first, end, starts)
        f = self.outer.f
        with f.carry(first, end, starts, stride) as (k, totals, slots):
            stop = f.min(f.add(k, stride), end)
            partial = self._in_blocks(k, stop, starts, combine, stride // BLOCK)
            slots[:] = [c(a, b) for c, a, b in zip(combine, totals, partial)]
        return slots

    def _masked(self, whole: Int, rest: Int, totals: Sequence[Val]) -> list[Val]:
        """The last, incomplete vector."""
        f, inner = self.outer.f, self.inner

        def write() -> list[Val]:
            inner.valid(rest)
            made = self._accumulated(totals, whole)
            inner.valid(None)
            return made

        if isinstance(rest, int):
            return write()
        return f.either(f.test("sgt", rest, 0), write, lambda: list(totals))

    def _scalars(self, whole: Int, end: Int) -> None:
        f, loop = self.outer.f, self.loop
        first = f.add(self.start, f.mul(whole, loop.step))
        self.outer.serial_loop(loop, first, f.add(self.start, f.mul(end, loop.step)))


def lanes_for(block: Nest, loop: For, total: int | None) -> int:
    """How many iterations of a vector loop run at a time; 1 if it stays scalar."""
    if total == 1 or not widens(loop):
        return 1
    lanes = choose_lanes(block.target, shape_of(loop.body, block.dtypes), total)
    # Where lanes walk down long columns, memory keeps up better the more of each row is read at
    # once, even if registers have to be spilled for it.
    if total is not None and total % UPRIGHT_LANES == 0:
        inner = (stmt for stmt in walk(loop.body) if isinstance(stmt, For))
        if total * max(map(_count, inner), default=0) >= UPRIGHT_ELEMENTS:
            return max(lanes, UPRIGHT_LANES)
    return lanes


def _count(loop: For) -> int:
    return constant_count(loop) or 0


def maskable(target: Target, itemsize: int) -> bool:
    """Whether the target loads and stores vectors of such elements under a mask."""
    return target.name == "avx512" or (target.name == "avx2" and itemsize >= 4)


def choose_lanes(target: Target, shape: Shape, count: int | None) -> int:
    """Two registers of the widest value in flight; more for loops that only load and add up, so
    that several sums hide each other's latency. Short loops take what fits them."""
    register = max(2, target.vector_bytes // shape.itemsize)
    lanes = min(64, 2 * register)
    if shape.sums and not shape.heavy:
        lanes = min(64, lanes * (4 if shape.sums == 1 else 2))
        while count is not None and lanes > register and count < 2 * lanes:
            lanes //= 2
    if count is None or count >= 4 * lanes or count % lanes == 0:
        return lanes
    if lanes > register and count % (lanes // 2) == 0:
        return lanes // 2
    if count < lanes:
        above = 1 << (count - 1).bit_length()
        lanes = above if maskable(target, shape.narrowest) else above // 2
    return lanes


def shape_of(body: Sequence[Stmt], dtypes: dict[str, DType]) -> Shape:
    """What is known of a vector loop's body; ``dtypes`` are those of the kernel's buffers."""
    computed, stored, heavy, sums = set(), {8}, False, 0
    loaded, written, inner = set(), set(), set()
    repeatable = True
    for stmt in walk(tuple(body)):
        if isinstance(stmt, Alloc):
            inner.add(stmt.name)
        if isinstance(stmt, (Store, Accumulate)):
            target = stmt.buffer if isinstance(stmt, Store) else stmt.target
            if target in dtypes:
                written.add(target)
                stored.add(dtypes[target].itemsize)
            if isinstance(stmt, Accumulate):
                special = stmt.op in ("max", "min") and stmt.value.dtype.is_floating_point
                sums += 1 + special
                repeatable = repeatable and target in inner
        for expr in expressions(stmt):
            for e in walk_expr(expr):
                if isinstance(e, Load):
                    loaded.add(e.buffer)
                    stored.add(e.dtype.itemsize)
                if isinstance(e, (Unary, Binary)) and e.op in HEAVY and e.dtype.is_floating_point:
                    heavy = True
                if isinstance(e, (Load, Cast)) or e.dtype is not int64:
                    computed.add(compute_dtype(e.dtype).itemsize)
    return Shape(
        max(computed, default=8), min(stored), heavy, repeatable and not loaded & written, sums
    )


def widens(loop: For) -> bool:
    """Whether the body can run on vectors: inner loops have the same bounds in every lane, every
    store goes to an element of its own, and its register arrays are not too large for that."""
    varying = {loop.var}
    for stmt in walk(loop.body):
        match stmt:
            case Let(name, value):
                if _varies(value, varying):
                    varying.add(name)
            case For(_, lo, hi):
                if _varies(lo, varying) or _varies(hi, varying):
                    return False
            case Store(_, index):
                inner = [e for position in index for e in walk_expr(position)]
                if any(isinstance(e, Local) for e in inner) or not any(
                    isinstance(e, Var) and e.name in varying for e in inner
                ):
                    return False
            case Alloc(_, dtype, size, _):
                if math.prod(size) * dtype.itemsize > 1024:
                    return False
            case _:
                pass
    return True


def _varies(expr: Expr, varying: set[str]) -> bool:
    return any(
        isinstance(e, Local) or (isinstance(e, Var) and e.name in varying) for e in walk_expr(expr)
    )
