"""The gradient of a convolution in its weight: a matrix product summed over positions.

    result[o, (c, t)] = sum over images n, positions p of  g[n, o, p] * source[n, c, p + t]

Positions are summed in blocks of whole lines (of segments of long ones), in a fixed order. Both
operands lie along the summed dimension, so both are packed by transposing registers: g once, into a
workspace, the windows a block at a time by each task. Where there are too few tasks the blocks are
divided into a fixed number of splits, whose partial results are added up in order by a last launch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..ir.anchor import AnchorCall, Operand
from ..ir.loops import compute_dtype
from ..runtime.native import Launch, NativeKernel
from .builder import Function, Int, Module, Val, as_value, literal, vector
from .conv_problem import Layout, Problem, copy_layout, direct_layout
from .conv_result import Writer, write_run
from .conv_spread import SPREAD, argument, write_spread
from .conv_tile import TILE, Tile, ceil_div, round_up, store_front, tile_for, write_tile
from .target import Target
from .types import as_computed, memory_type

GRADIENTS, LINE, MULTIPLY, COMBINE = "gradients", "line", "multiply", "combine"
DEPTH = 256  # positions of a block
SCRATCH = 224 * 1024
PANELS = 6
TASKS = 8
ROWS = 96


@dataclass(frozen=True, slots=True)
class Blocks:
    """Positions of all images as lines of ``length``, each in ``segments`` of ``segment``
    elements (the last one shorter); a block is ``lines`` whole lines, or one segment."""

    length: int
    count: int
    segment: int
    segments: int
    lines: int

    @property
    def blocks(self) -> int:
        return self.count if self.segments > 1 else ceil_div(self.count, self.lines)

    @property
    def depth(self) -> int:
        return self.segment if self.segments > 1 else self.lines * self.length


def cut_blocks(length: int, lines: int, lanes: int) -> Blocks:
    if length > DEPTH:
        parts = ceil_div(length, DEPTH)
        segment = round_up(ceil_div(length, parts), lanes)
        segments = ceil_div(length, segment)
        return Blocks(length, lines * segments, segment, segments, 1)
    blocks = ceil_div(lines * length, DEPTH)
    return Blocks(length, lines, length, 1, max(ceil_div(lines, max(blocks, 1)), 1))


class WeightGrad:
    """Writes the kernel of one call; operands are x and g, results are seen as [1, o, (c, t)]."""

    def __init__(
        self, call: AnchorCall, problem: Problem, x: Operand, g: Operand, target: Target
    ) -> None:
        self.call, self.problem, self.x, self.g = call, problem, x, g
        columns = problem.channels * len(problem.parts[0])
        self.target, self.tile = target, tile_for(call.dtype, target, problem.rows, columns)
        direct = direct_layout(self.problem, self.x)
        if x.dtype is not compute_dtype(x.dtype):
            direct = None
        self.layout: Layout = direct or copy_layout(self.problem)
        self.copied = direct is None
        problem, tile = self.problem, self.tile
        self.taps = problem.parts[0]
        self.columns = columns
        lines = problem.batch * problem.positions // max(problem.grid[-1], 1)
        self.blocks = cut_blocks(problem.grid[-1], lines, tile.lanes)
        self._cut()
        first = len(call.params)
        self.packed_at = first
        self.source_at = first + 1 if self.copied else self.x.buffer
        self.partial_at = first + (2 if self.copied else 1)

    def _cut(self) -> None:
        """Columns and rows of a task, and the number of splits of the sum."""
        tile, problem = self.tile, self.problem
        panels = ceil_div(max(self.columns, 1), tile.columns)
        count = ceil_div(panels, PANELS)
        self.width = ceil_div(panels, max(count, 1)) * tile.columns
        self.column_blocks = ceil_div(self.columns, self.width)
        rows = max(SCRATCH // (self.width * tile.size) // tile.rows, 1) * tile.rows
        blocks = ceil_div(problem.rows, rows)
        self.height = round_up(ceil_div(problem.rows, blocks), tile.rows)
        self.row_blocks = ceil_div(problem.rows, self.height)
        tasks = self.column_blocks * self.row_blocks * problem.groups
        splits = ceil_div(TASKS, max(tasks, 1)) if tasks < TASKS else 1
        per_split = ceil_div(self.blocks.blocks, splits)
        self.blocks_per_split = max(per_split, 1)
        self.splits = max(ceil_div(self.blocks.blocks, self.blocks_per_split), 1)
        self.padded_rows = round_up(problem.rows, tile.rows)

    def build(self) -> NativeKernel:
        problem, tile, module = self.problem, self.tile, Module()
        launches, workspaces = [], []
        positions = problem.batch * problem.positions
        packed = problem.groups * positions * self.padded_rows + 2 * tile.columns
        workspaces.append(packed * tile.size)
        self._write_gradients(module)
        tiles = problem.groups * self.padded_rows // tile.rows
        launches.append(Launch(GRADIENTS, tiles * self.blocks.blocks, max(tiles // 4, 1)))
        if self.copied:
            write_spread(module, problem, self.x, self.layout, tile, self.source_at)
            elements = problem.batch * self.layout.image + 4 * tile.columns
            workspaces.append(elements * tile.size)
            channels = problem.groups * problem.channels
            launches.append(Launch(SPREAD, problem.batch * channels, 1))
        self._write_line(module)
        write_tile(module, tile)
        self._write_multiply(module)
        tasks = self.column_blocks * self.row_blocks * problem.groups * self.splits
        launches.append(Launch(MULTIPLY, tasks, 1))
        if self.splits > 1:
            rows = problem.groups * problem.rows
            workspaces.append((self.splits * rows * self.columns + tile.lanes) * tile.size)
            self._write_combine(module)
            launches.append(Launch(COMBINE, rows, ceil_div(rows, 16)))
        return NativeKernel(
            name=f"conv_weight_grad_{'x'.join(map(str, self.x.shape))}_{problem.rows}",
            text=module.text(),
            launches=tuple(launches),
            workspaces=tuple(workspaces),
            flops=problem.flops,
        )

    # --- blocks of positions --------------------------------------------------------------------

    def _start(self, f: Function, block: Int) -> Int:
        """The number of positions before a block."""
        cut = self.blocks
        if cut.segments == 1:
            return f.mul(block, cut.lines * cut.length)
        line, segment = f.div(block, cut.segments), f.rem(block, cut.segments)
        return f.add(f.mul(line, cut.length), f.mul(segment, cut.segment))

    def _depth(self, f: Function, block: Int) -> Int:
        cut = self.blocks
        if cut.segments == 1:
            left = f.sub(cut.count, f.mul(block, cut.lines))
            return f.mul(f.min(left, cut.lines), cut.length)
        segment = f.mul(f.rem(block, cut.segments), cut.segment)
        return f.min(f.sub(cut.length, segment), cut.segment)

    def _pieces(self, f: Function, block: Int, body: Callable[[Int, Int, Int, Int], None]) -> None:
        """``body(line, first, elements, place)`` for the pieces of lines that a block is made of;
        a piece's elements are in place ``place`` of the block."""
        cut = self.blocks
        if cut.segments > 1:
            line, segment = f.div(block, cut.segments), f.rem(block, cut.segments)
            first = f.mul(segment, cut.segment)
            body(line, first, f.min(f.sub(cut.length, first), cut.segment), 0)
            return
        begin = f.mul(block, cut.lines)
        count = f.min(f.sub(cut.count, begin), cut.lines)
        with f.loop(0, count) as i:
            body(f.add(begin, i), 0, cut.length, f.mul(i, cut.length))

    def _line_offset(self, f: Function, line: Int, strides: tuple[int, ...], image: int) -> Int:
        offset: Int = 0
        for extent, stride in reversed(list(zip(self.problem.grid, strides))[:-1]):
            offset = f.add(offset, f.mul(f.rem(line, extent), stride))
            line = f.div(line, extent)
        return f.add(offset, f.mul(line, image))

    # --- launches -------------------------------------------------------------------------------

    def _write_gradients(self, module: Module) -> None:
        """``gradients(args, lo, hi)`` packs tiles of rows of g as
        [block][group][tile][place][row]."""
        problem, tile, g = self.problem, self.tile, self.g
        tiles = self.padded_rows // tile.rows
        strides = g.strides[2:]
        params = [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]
        with module.function(GRADIENTS, params) as f:
            stored = memory_type(g.dtype)
            source, packed = argument(f, g.buffer), argument(f, self.packed_at)
            with f.loop(f.param("lo"), f.param("hi")) as unit:
                number = f.rem(unit, tiles * problem.groups)
                block = f.div(unit, tiles * problem.groups)
                group, at = f.div(number, tiles), f.rem(number, tiles)
                row = f.mul(at, tile.rows)
                depth = self._depth(f, block)
                whole = problem.groups * self.padded_rows
                place = f.add(
                    f.mul(self._start(f, block), whole), f.mul(f.mul(number, tile.rows), depth)
                )  # fmt: skip
                into = f.gep(tile.type, packed, place)
                channel = f.add(f.mul(group, problem.rows), row)
                start = f.gep(stored, source, f.add(f.mul(channel, g.strides[1]), g.offset))
                left = f.sub(problem.rows, row)

                def pack(
                    rows: int, block: Int = block, start: Val = start, into: Val = into
                ) -> None:
                    def piece(line: Int, first: Int, count: Int, at: Int) -> None:
                        offset = self._line_offset(f, line, strides, g.strides[0])
                        begin = f.gep(stored, start, f.add(offset, f.mul(first, strides[-1])))
                        place = f.gep(tile.type, into, f.mul(at, tile.rows))
                        self._transpose_rows(f, begin, count, place, strides[-1], rows)

                    self._pieces(f, block, piece)

                rest = problem.rows % tile.rows
                if rest:
                    f.either(
                        f.test("sge", left, tile.rows), lambda: pack(tile.rows),
                        lambda: pack(rest),
                    )  # fmt: skip
                else:
                    pack(tile.rows)

    def _transpose_rows(
        self, f: Function, source: Val, count: Int, into: Val, step: int, rows: int
    ) -> None:
        """``count`` elements of each of ``rows`` rows of g, element by element of all rows; rows
        of the tile that are not there become zero."""
        tile, g = self.tile, self.g
        stored, lanes = memory_type(g.dtype), tile.lanes
        starts = [f.gep(stored, source, i * g.strides[1]) for i in range(rows)]
        whole = f.mul(f.div(count, lanes), lanes) if step == 1 and lanes >= 4 else 0
        if whole != 0:
            with f.loop(0, whole, lanes) as p:
                for first in range(0, tile.rows, lanes):
                    here = starts[first : first + lanes]
                    loaded = [
                        as_computed(f, f.load(vector(stored, lanes), f.gep(stored, s, p)), g.dtype)
                        for s in here
                    ]
                    loaded += [tile.zero()] * (lanes - len(loaded))
                    line = f.gep(tile.type, into, f.add(f.mul(p, tile.rows), first))
                    shown = min(lanes, tile.rows - first)
                    for u, value in enumerate(transposed(f, loaded)):
                        store_front(f, tile, value, f.gep(tile.type, line, u * tile.rows), shown)
        with f.loop(whole, count) as p:
            line = f.gep(tile.type, into, f.mul(p, tile.rows))
            for i in range(tile.rows):
                value = literal(0, tile.type)
                if i < rows:
                    at = f.gep(stored, starts[i], f.mul(p, step))
                    value = as_computed(f, f.load(stored, at), g.dtype)
                f.store(value, f.gep(tile.type, line, i))

    def _write_line(self, module: Module) -> None:
        """``line(source, offsets, count, tail, panel)`` packs ``count`` elements of the windows of
        ``tile.columns`` columns, which start at ``source + offsets[column]``: [place][column].
        ``tail`` says that the end of the line is reached, where a register may hold less."""
        tile, cut = self.tile, self.blocks
        lanes, rest = tile.lanes, cut.length % tile.lanes
        params = [
            ("ptr noalias readonly", "source"), ("ptr noalias readonly", "offsets"),
            ("i64", "count"), ("ptr noalias", "panel"),
        ]  # fmt: skip
        with module.function(LINE, params, internal=True) as f:
            source, offsets, panel = (f.param(n) for n in ("source", "offsets", "panel"))
            count = f.param("count")
            whole = f.mul(f.div(count, lanes), lanes)

            def starts(first: int, number: int) -> list[Val]:
                return [
                    f.gep(tile.type, source, f.load("i64", f.gep("i64", offsets, first + i)))
                    for i in range(number)
                ]

            def transpose(begins: list[Val], p: Int, first: int, rows: int) -> None:
                loaded = [f.load(tile.vector, f.gep(tile.type, s, p)) for s in begins]
                line = f.gep(tile.type, panel, f.add(f.mul(p, tile.columns), first))
                for u, value in enumerate(transposed(f, loaded)[:rows]):
                    place = f.gep(tile.type, line, u * tile.columns)
                    f.store(value, place, lanes * tile.size)

            for first in range(0, tile.columns, lanes):
                begins = starts(first, lanes)
                with f.loop(0, whole, lanes) as p:
                    transpose(begins, p, first, lanes)
                if rest and self.layout.slack:
                    with f.when(f.test("slt", whole, count)):
                        transpose(begins, whole, first, rest)
            if rest and not self.layout.slack:
                with f.loop(0, tile.columns) as j:
                    start = f.gep(tile.type, source, f.load("i64", f.gep("i64", offsets, j)))
                    with f.loop(whole, count) as p:
                        place = f.gep(tile.type, panel, f.add(f.mul(p, tile.columns), j))
                        f.store(f.load(tile.type, f.gep(tile.type, start, p)), place)

    def _column_offsets(self, f: Function, table: Val, into: Val, first: Int) -> None:
        """Where the columns of a task start in the source; those past the last repeat it."""
        taps = len(self.taps)
        with f.loop(0, self.width) as i:
            j = f.min(f.add(first, i), self.columns - 1)
            offset = f.mul(f.div(j, taps), self.layout.channel)
            if taps > 1:
                offset = f.add(offset, f.load("i64", f.gep("i64", table, f.rem(j, taps))))
            f.store(as_value(offset), f.gep("i64", into, i))

    def _write_multiply(self, module: Module) -> None:
        problem, tile, layout = self.problem, self.tile, self.layout
        entries = ", ".join(f"i64 {layout.tap_offset(t)}" for t in self.taps)
        table = module.constant("offsets", f"[{len(self.taps)} x i64] [{entries}]")
        params = [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]
        with module.function(MULTIPLY, params) as f:
            write = Writer(f, self.call, self.target) if self.splits == 1 else None
            source, packed = argument(f, self.source_at), argument(f, self.packed_at)
            partial = argument(f, self.partial_at) if self.splits > 1 else Val("ptr", "null")
            panels = f.alloca(tile.type, self.width * self.blocks.depth + tile.columns)
            scratch = f.alloca(tile.type, self.height * self.width + tile.lanes)
            offsets = f.alloca("i64", self.width)
            base = 0 if self.copied else self.x.offset
            with f.loop(f.param("lo"), f.param("hi")) as task:
                split, rest = f.rem(task, self.splits), f.div(task, self.splits)
                column = f.mul(f.rem(rest, self.column_blocks), self.width)
                rest = f.div(rest, self.column_blocks)
                row = f.mul(f.rem(rest, self.row_blocks), self.height)
                group = f.div(rest, self.row_blocks)
                rows = f.min(f.sub(problem.rows, row), self.height)
                columns = f.min(f.sub(self.columns, column), self.width)
                self._column_offsets(f, table, offsets, column)
                channels = f.mul(group, problem.channels * layout.channel)
                start = f.gep(tile.type, source, f.add(channels, base))
                first = f.mul(split, self.blocks_per_split)
                last = f.min(f.add(first, self.blocks_per_split), self.blocks.blocks)
                if self.blocks.blocks == 0 or self.blocks.depth == 0:
                    with f.loop(0, self.height * self.width, tile.lanes) as i:
                        f.store(tile.zero(), f.gep(tile.type, scratch, i))
                with f.loop(first, last) as block:
                    self._add_block(
                        f, block, f.test("sgt", block, first), start, packed, panels, scratch,
                        offsets, group, row, rows, columns,
                    )  # fmt: skip
                channel = f.add(f.mul(group, problem.rows), row)
                with f.loop(0, rows) as m:
                    line = f.gep(tile.type, scratch, f.mul(m, self.width))
                    if write is not None:
                        index = (0, f.add(channel, m), column)
                        write_run(f, tile, write, line, columns, index)
                    else:
                        whole = problem.groups * problem.rows
                        number = f.add(f.mul(split, whole), f.add(channel, m))
                        place = f.add(f.mul(number, self.columns), column)
                        _copy(f, tile, line, f.gep(tile.type, partial, place), columns)

    def _add_block(
        self, f: Function, block: Int, again: Val, start: Val, packed: Val, panels: Val,
        scratch: Val, offsets: Val, group: Int, row: Int, rows: Int, columns: Int,
    ) -> None:  # fmt: skip
        """One block of positions: its windows are packed, then multiplied with its part of g."""
        tile, problem, layout = self.tile, self.problem, self.layout
        depth = self._depth(f, block)
        size = f.mul(depth, tile.columns)
        count = f.div(f.add(columns, tile.columns - 1), tile.columns)

        def piece(line: Int, first: Int, elements: Int, at: Int) -> None:
            offset = self._line_offset(f, line, layout.elements, layout.image)
            begin = f.gep(tile.type, start, f.add(offset, first))
            with f.loop(0, count) as j:
                place = f.add(f.mul(j, size), f.mul(at, tile.columns))
                f.call(
                    "void", LINE, begin, f.gep("i64", offsets, f.mul(j, tile.columns)),
                    as_value(elements), f.gep(tile.type, panels, place),
                )  # fmt: skip

        self._pieces(f, block, piece)
        whole = problem.groups * self.padded_rows
        begin = f.add(
            f.mul(self._start(f, block), whole),
            f.mul(f.add(f.mul(group, self.padded_rows), row), depth),
        )
        left = f.gep(tile.type, packed, begin)
        step = ROWS // tile.rows * tile.rows
        with f.loop(0, rows, step) as block_row:
            end = f.min(f.add(block_row, step), rows)
            with f.loop(0, count) as j, f.loop(block_row, end, tile.rows) as i:
                place = f.add(f.mul(i, self.width), f.mul(j, tile.columns))
                f.call(
                    "void", TILE, f.gep(tile.type, left, f.mul(i, depth)),
                    f.gep(tile.type, panels, f.mul(j, size)), f.gep(tile.type, scratch, place),
                    Val("i64", str(self.width)), as_value(depth), again,
                )  # fmt: skip

    def _write_combine(self, module: Module) -> None:
        """``combine(args, lo, hi)`` adds up the splits of rows lo .. hi in order."""
        tile = self.tile
        rows = self.problem.groups * self.problem.rows
        op = "add" if tile.type.startswith("i") else "fadd"
        params = [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]
        with module.function(COMBINE, params) as f:
            write, partial = Writer(f, self.call, self.target), argument(f, self.partial_at)
            with f.loop(f.param("lo"), f.param("hi")) as row:
                whole = self.columns // tile.lanes * tile.lanes
                for first, last, lanes in ((0, whole, tile.lanes), (whole, self.columns, 1)):
                    type = vector(tile.type, lanes)
                    with f.loop(first, last, lanes) as j:
                        at = f.add(f.mul(row, self.columns), j)
                        total = f.load(type, f.gep(tile.type, partial, at))
                        for split in range(1, self.splits):
                            place = f.add(at, split * rows * self.columns)
                            value = f.load(type, f.gep(tile.type, partial, place))
                            total = f.binary(op, total, value)
                        write(f, (0, row, j), total)


def _copy(f: Function, tile: Tile, source: Val, into: Val, count: Int) -> None:
    whole = f.mul(f.div(count, tile.lanes), tile.lanes)
    for first, last, lanes in ((0, whole, tile.lanes), (whole, count, 1)):
        with f.loop(first, last, lanes) as i:
            value = f.load(vector(tile.type, lanes), f.gep(tile.type, source, i))
            f.store(value, f.gep(tile.type, into, i))


def transposed(f: Function, rows: list[Val]) -> list[Val]:
    """As many vectors as they have lanes, transposed: blocks off the diagonal change places, at
    every size from half a register down to one element."""
    rows, size = list(rows), len(rows)
    block = size // 2
    while block:
        for i in range(size):
            if not i & block:
                a, b = rows[i], rows[i + block]
                low = [j if not j & block else size + j - block for j in range(size)]
                high = [j + block if not j & block else size + j for j in range(size)]
                rows[i], rows[i + block] = f.shuffle(a, b, low), f.shuffle(a, b, high)
        block //= 2
    return rows
