"""The loops around the tile: units, blocks of the sum, panels; packing and the split sum."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..ir.anchor import AnchorCall
from ..runtime.native import Launch, NativeKernel
from .builder import Function, Int, Val, as_value
from .gemm_finish import Finish, touched
from .gemm_operands import ARGUMENTS, Operands
from .gemm_plan import Plan
from .gemm_shape import Problem
from .gemm_tile import LINE, Numbers, Source, Tile
from .target import Target

UNROLL = 4  # steps of the sum at a time


class Driver(Operands):
    """Builds the kernel of one product after one plan."""

    def __init__(
        self, call: AnchorCall, problem: Problem, plan: Plan, numbers: Numbers, target: Target
    ) -> None:
        super().__init__(call, problem, plan, numbers)
        self.finish = Finish(call, problem, numbers, target, self.columns)
        # The first tiles of a packed panel of B fetch the next one meanwhile, from far away.
        lines = -(-self.columns * numbers.bytes // LINE)  # of a step
        tiles = min(UNROLL, self.a.most)
        self.lines = -(-lines * UNROLL // tiles) if self.b.how == "shared" else 0
        self.direct = self.finish.direct if plan.splits == 1 else -1
        at_hand = self.b.how == "shared" or (self.b.how == "local" and self.b.whole_rows)
        self.row_by_row = at_hand and self.blocks == 1 and _moved(call) >= 4

    # --- the whole ------------------------------------------------------------------------------

    def build(self, name: str) -> NativeKernel:
        plan, problem = self.plan, self.problem
        launches: list[Launch] = []
        self._functions()
        launches += [self._pack_launch(side) for side in self.shared]
        tiles = self.a.panels * self.b.panels
        tile = plan.rows * self.columns
        if plan.splits > 1:
            parts = plan.splits * problem.outer_count * tiles * tile
            self.parts_at = self._workspace(parts * self.numbers.bytes)
        units = problem.outer_count * self.a.blocks * self.b.blocks * plan.splits
        with self.module.function("gemm", ARGUMENTS) as f:
            self._unit_loop(f)
        launches.append(Launch("gemm", units, self._chunk(units)))
        if plan.splits > 1:
            with self.module.function("combine", ARGUMENTS) as f:
                self._combine(f)
            count = problem.outer_count * tiles
            launches.append(Launch("combine", count, -(-count // 16)))
        return self._kernel(name, launches)

    def _chunk(self, units: int) -> int:
        """Units a call: tiny ones together."""
        problem = self.problem
        work = problem.outer_count * problem.row.size * problem.col.size * problem.depth
        return max(1, min((1 << 18) * units // max(work, 1), -(-units // 4)))

    def _functions(self) -> None:
        """Micro-kernels, packing and the epilogue, as far as the plan needs them."""
        plan, k = self.plan, self.problem.inner.size
        even = k % 4 == 0
        if self.a.how == "direct":
            a = Source(self.a.step(self.a.axis), self.problem.inner.a, False)
        direct_b = self.b.how == "direct"
        self.fetches = self.direct < 0 and plan.splits == 1 and bool(self.finish.fetched)
        streams = self._streams()
        self.tiles: dict[int, Tile] = {}
        tail = self.a.tail
        heights = {height for height in (min(plan.rows, self.a.axis.size), tail) if height}
        for height in sorted(heights, reverse=True):
            if self.a.how != "direct":
                a = Source(1, height, True)
            along: Int = self.columns
            if direct_b:
                along = Val("i64", "%along") if self.b.tail else self.problem.inner.b
            b = Source(1, along, not direct_b)
            self.tiles[height] = Tile(
                f"tile{height}", height, plan.vectors, a, b, self.numbers,
                accumulates=self.blocks > 1, even=even, ahead=8 if direct_b else 0,
                unroll=UNROLL, lines=self.lines, streams=streams,
                per=-(-height * UNROLL // plan.depth),
            )  # fmt: skip
            self.tiles[height].emit(self.module)
        self._pack_functions()
        for valid in {self.columns if self.b.axis.size >= self.columns else 0, self.b.tail}:
            if valid and (self.direct < 0 or valid < self.columns):
                self.finish.emit(self.module, f"finish{valid}", valid)
        if self.blocks > 1:
            tile = plan.rows * self.columns
            self.zeros = self.module.constant(
                "zeros", f"[{tile} x {self.numbers.register}] zeroinitializer"
            )

    def _streams(self) -> tuple[int, ...]:
        """What tiles fetch: the epilogue's operands and results, or where they write their sums
        themselves, unless that is a small buffer at hand."""
        if self.fetches:
            buffers = [self.call.params[k] for k in self.finish.fetched]
            return tuple(self.columns * b.dtype.itemsize for b in buffers)
        if self.direct >= 0 or self.plan.splits > 1:
            return (self.columns * self.numbers.bytes,)
        return ()

    # --- tiles ----------------------------------------------------------------------------------

    def _unit_loop(self, f: Function) -> None:
        plan, register = self.plan, self.numbers.register
        per = -(-self.blocks // plan.splits)
        panels = 0
        if self.b.how == "local" or (self.b.how == "direct" and self.b.tail):
            panels = self.b.most if self.b.how == "local" and self.b.whole_rows else 1
        local = {
            "a": self.a.stride * self.a.most if self.a.how == "local" else 0,
            "b": self.b.stride * panels,
            "sums": plan.rows * self.columns
            * (self.a.most * self.b.most if per > 1 and plan.splits == 1 else 1),
        }  # fmt: skip
        self.local = {key: f.alloca(register, size) for key, size in local.items() if size}
        with f.loop(f.param("lo"), f.param("hi")) as unit:
            row_block, rest = f.rem(unit, self.a.blocks), f.div(unit, self.a.blocks)
            col_block, rest = f.rem(rest, self.b.blocks), f.div(rest, self.b.blocks)
            part, rest = f.rem(rest, plan.splits), f.div(rest, plan.splits)
            outer = self._split(f, rest, self.problem.outer)
            begin: Int = f.mul(part, per)
            end = f.min(f.add(begin, per), self.blocks)
            self._unit(f, outer, rest, row_block, col_block, part, begin, end)

    def _unit(
        self, f: Function, outer: list[Int], number: Int, row_block: Int, col_block: Int,
        part: Int, begin: Int, end: Int,
    ) -> None:  # fmt: skip
        origin = {side.letter: self._origin(f, side, outer) for side in (self.a, self.b)}
        copy = self._outer_index(f, outer)
        first_row, row_count = self._panels(f, self.a, row_block)
        first_col, col_count = self._panels(f, self.b, col_block)

        def one(block: Int) -> None:
            start, size, sums = self._block(f, block)
            where: dict[str, Val] = {}
            for side in (self.a, self.b):
                if side.how == "shared":
                    where[side.letter] = self._packed(f, side, copy(side), block, 0)
                else:
                    at = self._advance(f, side, start, sums)
                    where[side.letter] = f.gep(self.numbers.memory, origin[side.letter], at)
            state = _State(
                outer, number, part, block, begin, end, size, where,
                first_row, row_count, first_col, col_count,
            )  # fmt: skip
            if self.a.how == "local":
                self._pack(
                    f, self.a, where["a"], self.local["a"], size, first_row, row_count
                )  # fmt: skip
            if self.b.how == "local" and self.b.whole_rows:
                self._pack(f, self.b, where["b"], self.local["b"], size, first_col, col_count)
            self._columns(f, state)

        if self.blocks == 1:
            one(0)
        else:
            with f.loop(begin, end) as block:
                one(block)

    def _columns(self, f: Function, s: _State) -> None:
        """The tiles of a block. Column by column: a panel of B stays in the first-level cache.
        Row by row where the epilogue moves more than the product: then its operands and results
        are walked along their rows, as memory likes it."""
        if self.row_by_row:

            def along_row(tile: Int, short: bool) -> None:
                def place(panel: Int, tail: bool) -> None:
                    self._tile(f, s, tile, panel, short, tail, *self._panel(f, s, panel, tail))

                self._each_panel(f, self.b, s.first_col, s.col_count, place)

            self._each_panel(f, self.a, s.first_row, s.row_count, along_row)
            return

        def column(panel: Int, tail: bool) -> None:
            b, along = self._panel(f, s, panel, tail)

            def row(tile: Int, short: bool) -> None:
                self._tile(f, s, tile, panel, short, tail, b, along)

            self._each_panel(f, self.a, s.first_row, s.row_count, row)

        self._each_panel(f, self.b, s.first_col, s.col_count, column)

    def _panel(self, f: Function, s: _State, panel: Int, tail: bool) -> tuple[Val, Int]:
        """A panel of B and the distance of its rows; packed here if it is packed one by one."""
        side, register = self.b, self.numbers.register
        if side.how == "shared":
            at = f.mul(f.add(s.first_col, panel), side.stride)
            return f.gep(register, s.where["b"], at), self.columns
        if side.how == "local" and side.whole_rows:
            return f.gep(register, self.local["b"], f.mul(panel, side.stride)), self.columns
        position = f.mul(f.add(s.first_col, panel), side.width)
        source = f.gep(self.numbers.memory, s.where["b"], f.mul(position, side.step(side.axis)))
        if side.how == "direct" and not tail:
            return source, self.problem.inner.b
        self.packs["b", tail].call(f, source, self.local["b"], s.depth, 1)
        return self.local["b"], self.columns

    def _tile(
        self, f: Function, s: _State, row_tile: Int, col_tile: Int, short: bool, tail: bool,
        b: Val, along: Int,
    ) -> None:  # fmt: skip
        """One tile of one block of the sum; its epilogue after the last block."""
        plan, register = self.plan, self.numbers.register
        row = f.mul(f.add(s.first_row, row_tile), plan.rows)
        col = f.mul(f.add(s.first_col, col_tile), self.columns)
        if self.a.how == "local":
            a = f.gep(register, self.local["a"], f.mul(row_tile, self.a.stride))
        elif self.a.how == "shared":
            a = f.gep(register, s.where["a"], f.mul(f.add(s.first_row, row_tile), self.a.stride))
        else:
            a = f.gep(self.numbers.memory, s.where["a"], f.mul(row, self.a.step(self.a.axis)))
        sums = self._sums(f, s, row_tile, col_tile)
        before, out, step = None, sums, Val("i64", str(self.columns))
        last = None
        if self.blocks > 1:
            zero = f.test("eq", s.block, s.begin)
            before = f.select(zero, self.zeros, sums)
            last = f.test("eq", f.add(s.block, 1), s.end)
        direct = self.direct >= 0 and not tail
        if direct:
            base = f.load("ptr", f.gep("ptr", f.param("args"), self.direct))
            at = {**dict(zip(self.problem.outer, s.outer)), self.problem.row: row}
            target = f.gep(register, base, f.add(self.finish.offset(f, at), col))
            stride = Val("i64", str(self.finish.stride(self.problem.row)))
            out = target if last is None else f.select(last, target, sums)
            step = stride if last is None else f.select(last, stride, step)
        height = self.a.tail if short else plan.rows
        streams: list[tuple[Val, Int]] = []
        if self.fetches:
            streams = self.finish.streams(f, f.param("args"), s.outer, row, col)
            if last is not None:  # what is at hand anyway, until the sums are complete
                streams = [
                    (f.select(last, start, sums), f.select(last, as_value(step), as_value(0)))
                    for start, step in streams
                ]
        elif self.tiles[height].streams:
            streams = [(out, f.mul(step, self.numbers.bytes))]
        following = None
        if self.lines:
            part = f.mul(f.mul(row_tile, s.depth), self.lines * LINE // UNROLL)
            following = f.gep("i8", f.gep(register, b, self.b.stride), part)
            if self.a.most > UNROLL and self.a.how != "direct":
                early = f.test("slt", row_tile, UNROLL)
                following = f.select(early, following, f.gep(register, a, self.a.stride))
        self.tiles[height].call(f, a, b, along, out, step, s.depth, before, following, streams)
        if direct or plan.splits > 1:
            return
        name = f"finish{self.b.tail if tail else self.columns}"

        def finish() -> None:
            args = f.param("args")
            self.finish.invoke(f, name, args, sums, height, s.outer, row, col)

        if last is None:
            finish()
        else:
            with f.when(last):
                finish()

    def _sums(self, f: Function, s: _State, row_tile: Int, col_tile: Int) -> Val:
        """Where the sums of a tile wait for the next block of the sum, or for the epilogue."""
        size, register = self.plan.rows * self.columns, self.numbers.register
        if self.plan.splits > 1:
            base = f.load("ptr", f.gep("ptr", f.param("args"), self.parts_at))
            at = f.add(f.mul(s.part, self.problem.outer_count), s.number)
            at = f.add(f.mul(at, self.b.panels), f.add(s.first_col, col_tile))
            at = f.add(f.mul(at, self.a.panels), f.add(s.first_row, row_tile))
            return f.gep(register, base, f.mul(at, size))
        if self.blocks == 1:
            return self.local["sums"]
        at = f.add(f.mul(col_tile, self.a.most), row_tile)
        return f.gep(register, self.local["sums"], f.mul(at, size))

    # --- the split sum --------------------------------------------------------------------------

    def _combine(self, f: Function) -> None:
        """Adds the parts of each tile, in their order, and finishes it."""
        plan, numbers = self.plan, self.numbers
        count = plan.rows * plan.vectors
        tiles = self.a.panels * self.b.panels
        whole = f.alloca(numbers.register, count * numbers.lanes)
        parts = f.load("ptr", f.gep("ptr", f.param("args"), self.parts_at))
        with f.loop(f.param("lo"), f.param("hi")) as unit:
            zeros = [numbers.zero(numbers.lanes)] * count
            first = f.gep(numbers.register, parts, f.mul(unit, count * numbers.lanes))
            distance = self.problem.outer_count * tiles * count * numbers.lanes
            with f.carry(0, plan.splits, zeros) as (part, now, following):
                at = f.gep(numbers.register, first, f.mul(part, distance))
                for i in range(count):
                    x = f.load(now[i].type, f.gep(numbers.register, at, i * numbers.lanes))
                    following[i] = numbers.add(f, now[i], x)
            for i, x in enumerate(following):
                f.store(x, f.gep(numbers.register, whole, i * numbers.lanes))
            row_tile, rest = f.rem(unit, self.a.panels), f.div(unit, self.a.panels)
            col_tile, number = f.rem(rest, self.b.panels), f.div(rest, self.b.panels)
            outer = self._split(f, number, self.problem.outer)
            row, col = f.mul(row_tile, plan.rows), f.mul(col_tile, self.columns)
            rows = f.min(f.sub(self.a.axis.size, row), plan.rows)

            def finish(tail: bool) -> None:
                name = f"finish{self.b.tail if tail else self.columns}"
                self.finish.invoke(f, name, f.param("args"), whole, rows, outer, row, col)

            self._either_panel(f, self.b, col_tile, finish)


def _moved(call: AnchorCall) -> int:
    """How many buffers as large as the product's result the epilogue reads or writes."""
    names = touched(call.epilogue.body)
    size = math.prod(call.shape)
    return sum(p.name in names and p.size >= size for p in call.params)


@dataclass(frozen=True, slots=True)
class _State:
    """Where the unit at work stands: the outer loops and their number, the part of a split sum,
    the block of the sum with its bounds and depth, addresses, and the block's panels."""

    outer: list[Int]
    number: Int
    part: Int
    block: Int
    begin: Int
    end: Int
    depth: Int
    where: dict[str, Val]
    first_row: Int
    row_count: Int
    first_col: Int
    col_count: Int
