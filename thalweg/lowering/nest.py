"""Loop nests of fused groups: one kernel that walks a domain row by row.

    for each block of rows, in parallel          (the launch)
        for each row of the block
            pass after pass over the row, the last loop of each in vectors
        the block's sums of columns and totals go to a workspace
    the workspaces are summed, and what depends on the sums is computed

A group without reductions over rows has one pass. Where the elements of a row lie far apart and
those of neighbouring rows side by side, rows themselves are the lanes of the vectors: the kernel
stands *upright*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..core.dtypes import bool_, uint8
from ..core.errors import GraphError
from ..ir.graph import Graph
from ..ir.loops import (
    Accumulate,
    Alloc,
    Assign,
    Binary,
    Buffer,
    Const,
    Expr,
    Kernel,
    Let,
    Load,
    Local,
    Store,
    Var,
)
from ..ir.node import INPUT, Value
from ..ir.types import Shape
from ..passes.fuse_space import COLUMN, ROW, TOTAL
from .elements import Elements, Source
from .index import Affine, Indices
from .late import Late
from .layout import Layout, Loop, unravel
from .plan import LoopPlan, plan_loops
from .scopes import Scopes, without_unused
from .sums import converted, sum_dtype

BLOCK = 8192  # elements that one task sums up
TEMPORARY = 64 * 1024  # bytes of a row that a task may keep
MOST_COLUMNS = 8192  # elements of a row whose columns a task sums by itself


def loop_kernel(name: str, body: Graph, domain: Shape, inner: Sequence[int]) -> Kernel:
    """The kernel of a group: parameters are the operands, the results, then workspaces."""
    plan = turned(plan_loops(body, domain, inner), body)
    layout = Layout.of(domain)
    while True:
        attempt = Nest(name, body, plan, layout)
        attempt.build()
        refined = layout.refined(attempt.indices, attempt.uncut)
        if refined is None:
            break
        layout = refined
    layout = layout.merged(attempt.runs, attempt.indices.uses)
    attempt = Nest(name, body, plan, layout)
    return attempt.build()


def turned(plan: LoopPlan, body: Graph) -> LoopPlan:
    """The plan with rows and columns exchanged, where that suits the machine better.

    Sums over the outer dimensions lie side by side. Many of few columns are best summed row by
    row into an array (`Late`); few, or so many columns that they do not fit there, with a column
    in each lane of a vector.
    """
    domain = plan.domain
    outer = [d for d, n in enumerate(domain) if d not in plan.inner and n != 1]
    kinds = set(plan.kinds.values())
    if not plan.inner or not outer or len(kinds) != 1 or len(plan.passes) != 1:
        return plan
    columns_inside = max(outer) < min(plan.inner)
    lanes = sorted(plan.inner) if columns_inside else outer
    columns = math.prod(domain[d] for d in lanes)
    many = math.prod(domain) >= 64 * columns and columns <= MOST_COLUMNS
    if kinds == {COLUMN} and columns_inside and not many:
        return plan_loops(body, domain, outer)
    early = any(v not in plan.kinds and plan.depth[v] for v in body.outputs)
    rows_outside = max(plan.inner) < min(outer)
    if kinds == {ROW} and rows_outside and many and not early:
        return plan_loops(body, domain, outer)
    return plan


class Nest:
    """One attempt to build a kernel in a given layout."""

    def __init__(self, name: str, body: Graph, plan: LoopPlan, layout: Layout) -> None:
        self.name, self.body, self.plan, self.layout = name, body, plan, layout
        every = [d for d, n in enumerate(plan.domain) if n != 1]
        self.inner_dims = sorted(plan.inner)
        self.outer_dims = [d for d in every if d not in plan.inner]
        self.upright = bool(plan.inner and self.outer_dims and every[-1] not in plan.inner)
        outer, inner = layout.loops(self.outer_dims), layout.loops(self.inner_dims)
        split = len(outer) - (self.upright or not inner) if outer else 0
        self.rows, rest = outer[:split], outer[split:]
        self.across, self.along = (rest, inner) if self.upright else ([], inner or rest)
        self.runs = [layout.variables(self.outer_dims), layout.variables(self.inner_dims)]
        self.scopes = Scopes()
        self.indices = Indices(self._bind, dict(layout.variables(every)))
        for merged in layout.merged_names([*outer, *inner]):
            self.indices.merge(merged)
        self.elements = Elements(self.scopes, self.indices)
        self.bounds: dict[str, tuple[Expr, Expr]] = {}
        self.buffers: list[Buffer] = []
        self.results: dict[Value, list[str]] = {}
        for k, value in enumerate(body.inputs):
            self.buffers.append(Buffer(f"x{k}", value.dtype, (value.type.numel,)))
            self.elements.sources[value] = self.elements.load(f"x{k}", value.shape, value)
        for k, value in enumerate(body.outputs):
            self.buffers.append(Buffer(f"y{k}", value.dtype, (value.type.numel,), "out"))
            self.results.setdefault(value, []).append(f"y{k}")
        self.held = 0
        self.borrowed: dict[Value, str] = {}  # kept values in the place of a result
        self.late = Late(self)
        blocked = [*self.across, *(self.rows or self.along)] if self.late.needed else self.across
        self.uncut = frozenset(n for loop in blocked for n in loop.variables)

    def _bind(self, expr: Expr) -> Var:
        made = self.scopes.let(expr)
        assert isinstance(made, Var)
        return made

    # The outer loops

    def build(self) -> Kernel:
        if self.late.needed and self.rows:
            self._row_blocks()
        elif self.late.needed and self.along and not self.plan.inner:
            (loop,) = self.along
            self._blocks(loop, 0, loop.extent, BLOCK, self._row)
        elif self.rows or self.across:
            kinds = ["parallel"] * len(self.rows) + ["vector"] * len(self.across)
            self.scopes.row = len(kinds)
            self._nested([*self.rows, *self.across], self._row, kinds)
        elif self.plan.inner or self.late.needed:
            self._tasks(1, lambda task: self._row())
        else:
            self._row()
        self.late.finish()
        return Kernel(self.name, tuple(self.buffers), without_unused(self.scopes.close()))

    def _tasks(self, count: int, work: Callable[[Expr], None]) -> None:
        """A launch of ``count`` tasks."""
        self.scopes.open("task")
        self.late.begin(count)
        work(Var("task"))
        self.late.end(Var("task"))
        self.scopes.loop("task", Const(0), Const(count), "parallel")

    def _blocks(self, loop: Loop, low: int, high: int, size: int, work: Callable[[], None]) -> None:
        """A launch in which each task runs ``loop`` over a block of its range."""
        count = max(1, -(-(high - low) // size))

        def block(task: Expr) -> None:
            first, last = _block(task, low, high, size, count)
            self.bounds[loop.name] = (first, last)
            work()
            del self.bounds[loop.name]

        self._tasks(count, block)

    def _row_blocks(self) -> None:
        """Tasks of several rows each, which sum columns for themselves first."""
        rows = math.prod(loop.extent for loop in self.rows)
        width = max(1, math.prod(self.plan.domain[d] for d in self.inner_dims))
        size = max(8, -(-BLOCK // width), -(-rows // 64))
        if len(self.rows) == 1:
            (loop,) = self.rows
            self._blocks(
                loop, 0, rows, size, lambda: self._nested(self.rows, self._row, ["serial"])
            )
            return
        count = max(1, -(-rows // size))

        def block(task: Expr) -> None:
            first, last = _block(task, 0, rows, size, count)
            self.scopes.open("row")
            self._unpack(Var("row"), self.rows)
            self._row()
            self.scopes.loop("row", first, last, "serial")

        self._tasks(count, block)

    def _unpack(self, row: Expr, loops: Sequence[Loop]) -> None:
        """The variables of loops of which ``row`` is the row-major position."""
        step = 1
        for at, loop in reversed(list(enumerate(loops))):
            found: Expr = row if step == 1 else Binary("floordiv", row, Const(step))
            if at:
                found = Binary("mod", found, Const(loop.extent))
            self.scopes.add(Let(loop.name, found))
            for name in (loop.name, *loop.variables):
                self.scopes.declare(name)
            step *= loop.extent

    def _nested(
        self, loops: Sequence[Loop], inside: Callable[[], None], kinds: Sequence[str]
    ) -> None:
        """``inside`` in a nest of loops of the given kinds, outermost first."""
        if not loops:
            inside()
            return
        loop, rest = loops[0], loops[1:]
        pieces: list[tuple[Expr, Expr, int, int]] = [
            (Const(a), Const(b), a, b) for a, b in loop.pieces
        ]
        if loop.name in self.bounds:
            pieces = [(*self.bounds[loop.name], 0, 0)]
        for low, high, a, b in pieces:
            with self.indices.limited(loop.name if a < b else "", a, b):
                self.scopes.open(loop.name, *loop.variables)
                self._nested(rest, inside, kinds[1:])
                self.scopes.loop(loop.name, low, high, kinds[0])

    # A row

    def place(self, shape: Shape, dims: Sequence[int]) -> list[Affine]:
        """The index of the current element in a value of ``shape`` that orders the elements of
        the domain's ``dims``."""
        if shape == tuple(self.plan.domain[d] for d in dims):
            return [self.layout.position(d) for d in dims]
        flat = self.flat(dims)
        return unravel(self.indices, flat, shape)

    def flat(self, dims: Sequence[int]) -> Affine:
        index = [self.layout.position(d) for d in dims]
        return self.elements.linear(index, tuple(self.plan.domain[d] for d in dims))

    def full_place(self, shape: Shape) -> list[Affine]:
        return self.place(shape, range(len(self.plan.domain)))

    def row_place(self, shape: Shape) -> list[Affine]:
        outer = [d for d in range(len(self.plan.domain)) if d not in self.plan.inner]
        return self.place(shape, outer)

    def _row(self) -> None:
        for number, roots in enumerate(self.plan.passes):
            self._pass(number, roots)
        for value in self.results:
            full = self.plan.is_full(value) and value not in self.plan.kinds
            if not full and value not in self.plan.late:
                self._store(value, self.row_place(value.shape))
        for value, kind in self.plan.kinds.items():
            (operand,) = value.node.inputs
            if kind == TOTAL and not self.plan.is_full(operand):
                self.late.add(value, self.elements.at(operand, self.row_place(operand.shape)))
        for value, kind in self.plan.kinds.items():
            if kind == ROW:
                self.elements.sources.pop(value, None)
        for value in self.plan.kept:
            self.elements.sources.pop(value, None)

    def _store(self, value: Value, index: Sequence[Affine]) -> None:
        element = self.elements.at(value, index)
        flat = self.elements.flat(index, value.shape)
        for buffer in self.results[value]:
            self.scopes.add(Store(buffer, (flat,), element))

    def _pass(self, number: int, roots: Sequence[Value]) -> None:
        plan = self.plan
        sums = [v for v in roots if plan.kinds.get(v) == ROW]
        names = {v: f"s{number}_{k}" for k, v in enumerate(sums)}
        for value, register in names.items():
            dtype = sum_dtype(value.dtype)
            self.scopes.add(Alloc(register, dtype, (), value.node.op.lower(dtype)))
            self.scopes.declare(register)
        kept = [v for v, first in plan.kept.items() if first == number]
        temporaries = self._temporaries(kept)

        def inside() -> None:
            # All is read before anything is stored: a kept value may lie where a result goes.
            read = [v.node.inputs[0] if v in plan.kinds else v for v in roots]
            terms = [self.elements.at(v, self.full_place(v.shape)) for v in read]
            for value, term in zip(roots, terms):
                if value not in plan.kinds:
                    self._store(value, self.full_place(value.shape))
                elif value in names:
                    dtype = sum_dtype(value.dtype)
                    reduces = value.node.op.reduces
                    self.scopes.add(Accumulate(names[value], (), converted(term, dtype), reduces))
                else:
                    self.late.add(value, term)
            for value in kept:
                if value in self.borrowed:
                    element = self.elements.at(value, self.full_place(value.shape))
                    flat = self.elements.flat(self.full_place(value.shape), value.shape)
                    self.scopes.add(Store(self.borrowed[value], (flat,), element))
            for value, register in temporaries.items():
                element = self.elements.at(value, self.full_place(value.shape))
                at = self.indices.expr(self.flat(self.inner_dims))
                self.scopes.add(Assign(register, (at,), element))

        kinds = ["serial"] * len(self.along)
        if kinds and not self.upright:
            kinds[-1] = "vector"
        self._nested(self.along, inside, kinds)
        for value, register in names.items():
            total = converted(Local(register, (), sum_dtype(value.dtype)), value.dtype)
            self.elements.sources[value] = self._known_row(value, self.scopes.let(total))
        for value in kept:
            if value in temporaries or value in self.results or value in self.borrowed:
                source = self._known_element(value, temporaries.get(value))
                self.elements.sources[value] = source

    def _temporaries(self, kept: Sequence[Value]) -> dict[Value, str]:
        """Registers for elements of a row that later passes read again."""
        made: dict[Value, str] = {}
        size = math.prod(self.plan.domain[d] for d in self.inner_dims)
        for value in kept:
            held = value.dtype if value.dtype is not bool_ else uint8
            if value in self.results or value.dtype is bool_ or self._lent(value):
                continue
            if size * held.itemsize > TEMPORARY:
                continue
            name = f"r{self.held}"
            self.held += 1
            start = Const(False if held is bool_ else 0, held)
            self.scopes.add(Alloc(name, held, (size,), start))
            self.scopes.declare(name)
            made[value] = name
        return made

    def _lent(self, value: Value) -> bool:
        """Keep a value where a result will be stored, in the last pass in which it is needed or
        later: the lines are in the cache already, and no registers are needed."""
        last = max(p for p, roots in enumerate(self.plan.passes) if self._reaches(roots, value))
        for result, buffers in self.results.items():
            if (
                result.dtype is value.dtype
                and self.plan.is_full(result)
                and result not in self.plan.kinds
                and self.plan.depth[result] >= last
                and buffers[0] not in self.borrowed.values()
            ):
                self.borrowed[value] = buffers[0]
                return True
        return False

    def _reaches(self, roots: Sequence[Value], value: Value) -> bool:
        """Whether computing ``roots`` reads a kept value."""
        stack = [v.node.inputs[0] if v in self.plan.kinds else v for v in roots]
        seen: set[Value] = set()
        while stack:
            one = stack.pop()
            if one is value:
                return True
            if one not in seen and one.node.op is not INPUT and one not in self.plan.kinds:
                seen.add(one)
                stack.extend(one.node.inputs)
        return False

    def _known_row(self, value: Value, known: Expr) -> Source:
        def read(index: tuple[Affine, ...]) -> Expr:
            if not self.indices.same(index, self.row_place(value.shape)):
                raise GraphError(f"lowering: {value} is read in another row than its own")
            return known

        return read

    def _known_element(self, value: Value, register: str | None) -> Source:
        """A kept element: read where it is the current one, else computed anew."""

        def read(index: tuple[Affine, ...]) -> Expr:
            if not self.indices.same(index, self.full_place(value.shape)):
                return self.elements.computed(value, index)
            if register is None:
                buffer = self.borrowed.get(value) or self.results[value][0]
                return Load(buffer, (self.elements.flat(index, value.shape),), value.dtype)
            at = self.indices.expr(self.flat(self.inner_dims))
            return Local(register, (at,), value.dtype)

        return read


def _block(task: Expr, low: int, high: int, size: int, count: int) -> tuple[Expr, Expr]:
    """Where block ``task`` of ``low .. high`` begins and ends."""
    if count == 1:
        return Const(low), Const(high)
    first: Expr = Binary("mul", task, Const(size))
    if low:
        first = Binary("add", first, Const(low))
    last: Expr = Binary("add", first, Const(size))
    if (high - low) % size:
        last = Binary("min", last, Const(high))
    return first, last


__all__ = ["loop_kernel"]
