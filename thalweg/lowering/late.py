"""The end of a kernel: sums over columns and over everything, first by task, then of all tasks.

Each task accumulates what its rows contribute, in registers of its own, and stores that in a
workspace; a second launch sums the workspace in the order of the tasks and computes the results
that depend on the sums. With one task there is nothing to wait for. Tasks are cut by the kernel,
so the grouping of a sum never depends on the number of threads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..core.dtypes import DType
from ..core.errors import GraphError
from ..ir.loops import Accumulate, Alloc, Binary, Buffer, Const, Expr, Load, Local, Store, Var
from ..ir.node import Value
from ..passes.fuse_space import COLUMN, TOTAL
from .index import Affine, Indices, variable
from .layout import unravel
from .sums import converted, sum_dtype

if TYPE_CHECKING:
    from .elements import Source
    from .nest import Nest

LANES = 256  # columns that one task of the second launch sums


class Late:
    """The sums of a `Nest` that end with the kernel."""

    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.sums = [v for v, kind in nest.plan.kinds.items() if kind in (COLUMN, TOTAL)]
        self.needed = bool(self.sums)
        self.count = 1
        self.columns = math.prod(nest.plan.domain[d] for d in nest.inner_dims)
        if self.needed and nest.upright:
            raise GraphError("lowering: sums over columns do not go with upright rows")

    def _size(self, value: Value) -> int:
        return self.columns if self.nest.plan.kinds[value] == COLUMN else 1

    def _shape(self, value: Value) -> tuple[int, ...]:
        return (self.columns,) if self.nest.plan.kinds[value] == COLUMN else ()

    def _register(self, value: Value) -> str:
        return f"c{self.sums.index(value)}"

    def begin(self, count: int) -> None:
        """Registers of a task, of which there are ``count``."""
        self.count = count
        scopes = self.nest.scopes
        for value in self.sums:
            dtype = sum_dtype(value.dtype)
            start = value.node.op.lower(dtype)
            scopes.add(Alloc(self._register(value), dtype, self._shape(value), start))
            scopes.declare(self._register(value))

    def add(self, value: Value, term: Expr) -> None:
        """Let the current element contribute."""
        index: tuple[Expr, ...] = ()
        if self.nest.plan.kinds[value] == COLUMN:
            index = (self.nest.indices.expr(self.nest.flat(self.nest.inner_dims)),)
        term = converted(term, sum_dtype(value.dtype))
        self.nest.scopes.add(Accumulate(self._register(value), index, term, value.node.op.reduces))

    def end(self, task: Expr) -> None:
        """What a task does with its sums: the results, if it is the only one."""
        if not self.needed:
            return
        if self.count == 1:
            self._results(lambda value, at: self._local(value, at))
            return
        scopes = self.nest.scopes
        for value in self.sums:
            if self.nest.plan.kinds[value] == TOTAL:
                scopes.add(Store(self._workspace(value), (task,), self._local(value, None)))
        wide = [v for v in self.sums if self.nest.plan.kinds[v] == COLUMN]
        if wide:
            scopes.open("c")
            for value in wide:
                place: Expr = Binary("add", Binary("mul", task, Const(self.columns)), Var("c"))
                scopes.add(Store(self._workspace(value), (place,), self._local(value, Var("c"))))
            scopes.loop("c", Const(0), Const(self.columns), "vector")

    def _local(self, value: Value, at: Expr | None) -> Expr:
        index = () if at is None else (at,)
        return Local(self._register(value), index, sum_dtype(value.dtype))

    def _workspace(self, value: Value) -> str:
        return f"w{self.sums.index(value)}"

    def finish(self) -> None:
        """The second launch."""
        if not self.needed or self.count == 1:
            return
        for value in self.sums:
            shape = (self.count * self._size(value),)
            dtype = sum_dtype(value.dtype)
            self.nest.buffers.append(Buffer(self._workspace(value), dtype, shape, "workspace"))
        self._results(None)

    def _results(self, local: object) -> None:
        """Results that depend on the sums. ``local`` None: the sums are in workspaces."""
        for kind in (COLUMN, TOTAL):
            outputs = [v for v in self.nest.results if self.nest.plan.late.get(v) == kind]
            sums = [v for v in self.sums if self.nest.plan.kinds[v] == kind]
            if outputs:
                (self._columns if kind == COLUMN else self._totals)(sums, outputs, local is None)

    def _columns(self, sums: list[Value], outputs: list[Value], launch: bool) -> None:
        scopes, indices = self.nest.scopes, self.nest.indices
        count = -(-self.columns // LANES)
        low: Expr = Const(0)
        high: Expr = Const(self.columns)
        if launch:
            scopes.open("task")
            if count > 1:
                low = Binary("mul", Var("task"), Const(LANES))
                high = Binary("add", low, Const(LANES))
                if self.columns % LANES:
                    high = Binary("min", high, Const(self.columns))
        column = _fresh(indices, "c", self.columns)
        scopes.open("c")
        for value in sums:
            dtype = sum_dtype(value.dtype)
            if launch:
                place = Binary("add", Binary("mul", Var("b"), Const(self.columns)), Var("c"))
                total = self._summed(value, place, "serial")
            else:
                total = self._local(value, Var("c"))
            self._known(value, scopes.let(converted(total, value.dtype)), [column], dtype)
        self._stored(outputs, column)
        scopes.loop("c", low, high, "vector")
        if launch:
            scopes.loop("task", Const(0), Const(count), "parallel")

    def _totals(self, sums: list[Value], outputs: list[Value], launch: bool) -> None:
        scopes = self.nest.scopes
        if launch:
            scopes.open("task")
        for value in sums:
            dtype = sum_dtype(value.dtype)
            total = self._summed(value, Var("b"), "vector") if launch else self._local(value, None)
            self._known(value, scopes.let(converted(total, value.dtype)), [], dtype)
        self._stored(outputs, Affine(0, {}))
        if launch:
            scopes.loop("task", Const(0), Const(1), "parallel")

    def _summed(self, value: Value, place: Expr, kind: str) -> Expr:
        """The sum over all tasks of what stands at ``place`` in the workspace."""
        scopes, dtype, op = self.nest.scopes, sum_dtype(value.dtype), value.node.op
        name = f"t{self._register(value)}"
        scopes.add(Alloc(name, dtype, (), op.lower(dtype)))
        scopes.declare(name)
        scopes.open("b")
        term = Load(self._workspace(value), (place,), dtype)
        scopes.add(Accumulate(name, (), term, op.reduces))
        scopes.loop("b", Const(0), Const(self.count), kind)
        return Local(name, (), dtype)

    def _known(self, value: Value, total: Expr, column: list[Affine], dtype: DType) -> None:
        elements = self.nest.elements

        def read(index: tuple[Affine, ...]) -> Expr:
            if column and not elements.indices.same([elements.linear(index, value.shape)], column):
                raise GraphError(f"lowering: {value} is read in another column than its own")
            return total

        source: Source = read
        elements.sources[value] = source

    def _stored(self, outputs: list[Value], column: Affine) -> None:
        nest = self.nest
        for value in outputs:
            index = unravel(nest.indices, column, value.shape)
            element = nest.elements.at(value, index)
            flat = nest.elements.flat(index, value.shape)
            for buffer in nest.results[value]:
                nest.scopes.add(Store(buffer, (flat,), element))


def _fresh(indices: Indices, name: str, extent: int) -> Affine:
    """A further loop variable, which is not cut."""
    from ..ir.loop_bounds import Interval

    indices.ranges[name] = Interval(0, extent - 1)
    return variable(name)


__all__ = ["Late"]
