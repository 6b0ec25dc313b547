"""Convolution of groups of very few channels (depthwise, and means over windows) without a matrix
product: one task is one group of one image, whose source and results stay in the first caches.

The source is copied to the task's stack, padded and split into phases as in `conv_problem`, so that
every tap of a run of results is one vector.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.anchor import AnchorCall, Operand
from ..runtime.native import Launch, NativeKernel
from .builder import Function, Int, Module, Val, vector
from .conv_problem import Layout, Problem, Tap, copy_layout
from .conv_result import Finish, Writer
from .conv_spread import argument, write_plane
from .conv_tile import Tile, ceil_div, multiply_add, tile_for
from .target import Target
from .types import as_computed, memory_type

DIRECT = "direct"
SOURCE = 256 * 1024  # bytes of a task's source
RESULTS = 96 * 1024  # and of its results, about
MOST_PRODUCTS = 4  # channels times rows of a group
MOST_TAPS = 64  # taps of all parts: they are written out
TASKS = 64  # calls a launch is cut into
ABREAST = 4  # registers of results summed side by side
WRITTEN_OUT = 16  # terms of a sum that is no loop


def source_elements(problem: Problem, tile: Tile) -> int:
    """Elements of one group's source, with slack for registers that reach over its end."""
    layout = copy_layout(problem)
    return problem.channels * layout.channel + 2 * tile.lanes


def suits(problem: Problem, tile: Tile) -> bool:
    """Whether the groups are so small that a matrix product would mostly multiply padding."""
    few = problem.channels * problem.rows <= MOST_PRODUCTS
    taps = sum(map(len, problem.parts)) * problem.channels
    lines = problem.grid[-1] + 2 * tile.lanes
    return (
        few
        and taps <= MOST_TAPS
        and source_elements(problem, tile) * tile.size <= SOURCE
        and lines * len(problem.parts) * problem.rows * tile.size <= RESULTS
        and problem.grid[-1] >= tile.lanes // 2
    )


@dataclass(frozen=True, slots=True)
class _Terms:
    """Weights and the offsets of what they are multiplied with; for a loop also as a table of the
    offsets and the weights in memory."""

    weights: list[tuple[Val, int]]
    table: Val | None = None
    values: Val | None = None


class Direct:
    """Writes the kernel of one problem that `suits`."""

    def __init__(self, call: AnchorCall, problem: Problem, x: Operand, target: Target) -> None:
        self.call, self.problem, self.x, self.w = call, problem, x, call.operands[1]
        self.target, self.tile = target, tile_for(call.dtype, target)
        self.layout: Layout = copy_layout(problem)
        tile = self.tile
        self.line = problem.grid[-1]
        self.lines = problem.positions // self.line
        used = self.line * len(problem.parts) * problem.rows * tile.size
        self.block = min(max(RESULTS // used, 1), self.lines)
        self.width = self.block * self.line + 2 * tile.lanes

    def build(self) -> NativeKernel:
        module, problem = Module(), self.problem
        with module.function(DIRECT, [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f:
            self._body(f)
        extent = problem.batch * problem.groups
        return NativeKernel(
            name=f"{self.call.template}_direct_{'x'.join(map(str, self.x.shape))}",
            text=module.text(),
            launches=(Launch(DIRECT, extent, ceil_div(extent, TASKS)),),
            flops=problem.flops,
        )

    def _body(self, f: Function) -> None:
        problem, tile, layout, x = self.problem, self.tile, self.layout, self.x
        write = Writer(f, self.call, self.target)
        stored = memory_type(x.dtype)
        operand, weights = argument(f, x.buffer), argument(f, self.w.buffer)
        source = f.alloca(tile.type, source_elements(problem, tile))
        scratch = f.alloca(tile.type, len(problem.parts) * problem.rows * self.width)
        finish = Finish(f, problem, tile, write, scratch, self.width, problem.rows)
        with f.loop(f.param("lo"), f.param("hi")) as unit:
            n, group = f.div(unit, problem.groups), f.rem(unit, problem.groups)
            for c in range(problem.channels):
                channel = f.add(f.mul(group, problem.channels), c)
                at = f.add(f.mul(n, x.strides[0]), f.mul(channel, x.strides[1]))
                start = f.gep(stored, operand, f.add(at, x.offset))
                into = f.gep(tile.type, source, c * layout.channel)
                write_plane(f, problem.axes, x.strides[2:], x, layout, tile, start, into)
            first = f.add(f.mul(group, problem.weight_strides[0]), self.w.offset)
            filters = f.gep(memory_type(self.w.dtype), weights, first)
            with f.loop(0, self.lines, self.block) as line:
                count = f.min(f.sub(self.lines, line), self.block)
                for m in range(problem.rows):
                    self._rows(f, m, source, filters, scratch, line, count)
                begin = f.add(f.mul(n, problem.positions), f.mul(line, self.line))
                finish.rows(
                    begin, f.mul(count, self.line), f.mul(group, problem.rows), problem.rows
                )  # fmt: skip

    def _rows(
        self, f: Function, m: int, source: Val, filters: Val, scratch: Val, line: Int, count: Int
    ) -> None:
        """Row m of all parts for ``count`` lines from ``line`` on. The last register of a line
        reaches over the next one, which is written after it."""
        problem, tile = self.problem, self.tile
        for part, taps in enumerate(problem.parts):
            weights = []
            for c in range(problem.channels):
                for tap in taps:
                    away = c * self.layout.channel + self.layout.tap_offset(tap)
                    weights.append((self._weight(f, filters, m, c, tap), away))
            terms = self._terms(f, f"offsets_{m}_{part}", weights)
            into = f.gep(tile.type, scratch, (part * problem.rows + m) * self.width)
            vectors = ceil_div(self.line, tile.lanes)
            whole = vectors // ABREAST * ABREAST
            with f.loop(0, count) as i:
                start = f.gep(tile.type, source, self._line_offset(f, f.add(line, i)))
                place = f.gep(tile.type, into, f.mul(i, self.line))
                for first, last, step in ((0, whole, ABREAST), (whole, vectors, vectors - whole)):
                    if first < last:
                        with f.loop(first, last, step) as v:
                            p = f.mul(v, tile.lanes)
                            here, there = (f.gep(tile.type, x, p) for x in (start, place))
                            self._abreast(f, terms, here, there, step)

    def _terms(self, f: Function, name: str, weights: list[tuple[Val, int]]) -> _Terms:
        """The terms of a sum: written out if they are few; else in memory, for a loop, because
        the sums side by side would otherwise be scheduled one after the other."""
        if len(weights) <= WRITTEN_OUT:
            return _Terms(weights)
        entries = ", ".join(f"i64 {away}" for _, away in weights)
        table = f.module.constant(name, f"[{len(weights)} x i64] [{entries}]")
        values = f.alloca(self.tile.type, len(weights))
        for t, (weight, _) in enumerate(weights):
            f.store(weight, f.gep(self.tile.type, values, t))
        return _Terms(weights, table, values)

    def _abreast(self, f: Function, terms: _Terms, source: Val, into: Val, count: int) -> None:
        """``count`` registers of results side by side, whose sums do not wait for one another."""
        tile = self.tile

        def add(weight: Val, away: Int, totals: list[Val]) -> list[Val]:
            left, start = f.splat(weight, tile.lanes), f.gep(tile.type, source, away)
            result = []
            for k, total in enumerate(totals):
                value = f.load(tile.vector, f.gep(tile.type, start, k * tile.lanes))
                result.append(multiply_add(f, left, value, total))
            return result

        totals = [tile.zero()] * count
        if terms.table is None or terms.values is None:
            for weight, away in terms.weights:
                totals = add(weight, away, totals)
        else:
            with f.carry(0, len(terms.weights), totals) as (t, sums, out):
                offset = f.load("i64", f.gep("i64", terms.table, t))
                out[:] = add(f.load(tile.type, f.gep(tile.type, terms.values, t)), offset, sums)
            totals = out
        for k, total in enumerate(totals):
            f.store(total, f.gep(tile.type, into, k * tile.lanes))

    def _weight(self, f: Function, filters: Val, m: int, c: int, tap: tuple[Tap, ...]) -> Val:
        problem, w = self.problem, self.w
        _, row, channel = problem.weight_strides
        offset = m * row + c * channel + problem.weight_offset(tap)
        stored = memory_type(w.dtype)
        return as_computed(f, f.load(stored, f.gep(stored, filters, offset)), w.dtype)

    def _line_offset(self, f: Function, line: Int) -> Int:
        """Where a line of positions of one image starts in the source."""
        offset: Int = 0
        axes = list(zip(self.problem.grid, self.layout.elements))[:-1]
        for extent, stride in reversed(axes):
            offset = f.add(offset, f.mul(f.rem(line, extent), stride))
            line = f.div(line, extent)
        return offset


class DirectWeightGrad:
    """The gradient in the weight where every group has one channel and one row: one task is one
    group, and each tap is a dot product over all images, summed image by image."""

    def __init__(
        self, call: AnchorCall, problem: Problem, x: Operand, g: Operand, target: Target
    ) -> None:
        self.call, self.problem, self.x, self.g = call, problem, x, g
        self.target, self.tile = target, tile_for(call.dtype, target)
        self.layout = copy_layout(problem)
        self.line = problem.grid[-1]

    def build(self) -> NativeKernel:
        module, groups = Module(), self.problem.groups
        with module.function(DIRECT, [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f:
            self._body(f)
        return NativeKernel(
            name=f"{self.call.template}_direct_{'x'.join(map(str, self.x.shape))}",
            text=module.text(),
            launches=(Launch(DIRECT, groups, ceil_div(groups, TASKS)),),
            flops=self.problem.flops,
        )

    def _body(self, f: Function) -> None:
        problem, tile, x = self.problem, self.tile, self.x
        write = Writer(f, self.call, self.target)
        stored = memory_type(x.dtype)
        operand, gradient = argument(f, x.buffer), argument(f, self.g.buffer)
        source = f.alloca(tile.type, source_elements(problem, tile))
        taps = problem.parts[0]
        sums = f.alloca(tile.type, len(taps) * tile.lanes)
        with f.loop(f.param("lo"), f.param("hi")) as group:
            for t in range(len(taps)):
                f.store(tile.zero(), f.gep(tile.type, sums, t * tile.lanes))
            with f.loop(0, problem.batch) as n:
                at = f.add(f.mul(n, x.strides[0]), f.mul(group, x.strides[1]))
                start = f.gep(stored, operand, f.add(at, x.offset))
                write_plane(
                    f, problem.axes, x.strides[2:], x, self.layout, tile, start, source
                )  # fmt: skip
                at = f.add(f.mul(n, self.g.strides[0]), f.mul(group, self.g.strides[1]))
                there = f.gep(memory_type(self.g.dtype), gradient, f.add(at, self.g.offset))
                most = max(self.target.registers - 4, 1)
                for begin in range(0, len(taps), most):
                    self._image(f, source, there, sums, begin, min(begin + most, len(taps)))
            for t in range(len(taps)):
                total = f.load(tile.vector, f.gep(tile.type, sums, t * tile.lanes))
                write(f, (0, group, t), self._lanes_added(f, total))

    def _image(
        self, f: Function, source: Val, gradient: Val, sums: Val, begin: int, end: int
    ) -> None:
        """Adds one image's part of the sums of taps begin .. end."""
        problem, tile, g = self.problem, self.tile, self.g
        stored = memory_type(g.dtype)
        lines = problem.positions // self.line
        whole = self.line // tile.lanes * tile.lanes
        offsets = [self.layout.tap_offset(t) for t in problem.parts[0][begin:end]]
        totals = [tile.zero()] * len(offsets)
        pieces: list[tuple[int, int, int]] = [(0, whole, tile.lanes)] if whole else []
        at, lanes = whole, tile.lanes // 2
        while at < self.line:  # what is left of a line, in halves of a register
            if self.line - at >= lanes:
                pieces.append((at, at + lanes, lanes))
                at += lanes
            lanes = max(lanes // 2, 1)
        with f.carry(0, lines, totals) as (line, totals, out):
            away, there = self._line_offsets(f, line)
            start = f.gep(tile.type, source, away)
            row = f.gep(stored, gradient, there)
            now = list(totals)
            for first, last, lanes in pieces:
                with f.carry(first, last, now, lanes) as (p, values, following):
                    y = self._gradient(f, row, p, lanes)
                    for k, offset in enumerate(offsets):
                        here = f.gep(tile.type, f.gep(tile.type, start, p), offset)
                        value = self._widened(f, f.load(vector(tile.type, lanes), here), lanes)
                        following[k] = multiply_add(f, y, value, values[k])
                now = following
            out[:] = now
        op = "add" if tile.type.startswith("i") else "fadd"
        for k, value in enumerate(out):
            place = f.gep(tile.type, sums, (begin + k) * tile.lanes)
            f.store(f.binary(op, f.load(tile.vector, place), value), place)

    def _gradient(self, f: Function, row: Val, p: Int, lanes: int) -> Val:
        """``lanes`` elements of g, in the first lanes of a register of zeros."""
        g, stored = self.g, memory_type(self.g.dtype)
        if g.strides[-1] == 1:
            value = f.load(vector(stored, lanes), f.gep(stored, row, p))
            return self._widened(f, as_computed(f, value, g.dtype), lanes)
        made = self.tile.zero()
        for lane in range(lanes):
            at = f.mul(f.add(p, lane), g.strides[-1])
            value = as_computed(f, f.load(stored, f.gep(stored, row, at)), g.dtype)
            made = f.insert(made, value, lane)
        return made

    def _widened(self, f: Function, value: Val, lanes: int) -> Val:
        tile = self.tile
        if lanes == tile.lanes:
            return value
        if lanes == 1:
            return f.insert(tile.zero(), value, 0)
        zero = Val(vector(tile.type, lanes), "zeroinitializer")
        order = [i if i < lanes else lanes for i in range(tile.lanes)]
        return f.shuffle(value, zero, order)

    def _line_offsets(self, f: Function, line: Int) -> tuple[Int, Int]:
        """Where a line starts in the source and in g."""
        offset: Int = 0
        there: Int = 0
        rows = list(zip(self.problem.grid, self.layout.elements, self.g.strides[2:]))[:-1]
        for extent, stride, step in reversed(rows):
            u = f.rem(line, extent)
            offset = f.add(offset, f.mul(u, stride))
            there = f.add(there, f.mul(u, step))
            line = f.div(line, extent)
        return offset, there

    def _lanes_added(self, f: Function, value: Val) -> Val:
        """The sum of a register's lanes, in halves."""
        op = "add" if self.tile.type.startswith("i") else "fadd"
        half = self.tile.lanes // 2
        while half:
            order = [*range(half, 2 * half), *range(2 * half, self.tile.lanes), *range(half)]
            value = f.binary(op, value, f.shuffle(value, None, order))
            half //= 2
        return f.extract(value, 0)
