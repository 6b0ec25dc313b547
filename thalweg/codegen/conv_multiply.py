"""Convolution as a matrix product whose right operand, the windows of the source, is never stored:
each task packs the windows of some result positions a block at a time and multiplies."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.anchor import AnchorCall, Operand
from ..ir.loops import compute_dtype
from ..runtime.native import Launch, NativeKernel
from .builder import Int, Module, Val, as_value
from .conv_pack import (  # fmt: skip
    COLUMNS,
    INLINE_TAPS,
    WEIGHTS,
    Pass,
    block_loop,
    packed_elements,
    plan_passes,
    write_columns,
    write_weights,
)
from .conv_problem import Layout, Problem, copy_layout, direct_layout
from .conv_result import Finish, Writer
from .conv_spread import SPREAD, argument, write_spread
from .conv_tile import (
    THIN,
    TILE,
    Tile,
    ceil_div,
    few_columns,
    round_up,
    tile_for,
    write_thin,
    write_tile,
)
from .target import Target

MULTIPLY, PRODUCT = "multiply", "product"
DEPTH = 384  # of a block of the sum: a panel of columns and a tile of rows stay in the first cache
ROWS = 96  # of packed weights that stay in the second cache while panels pass
PANELS = 384  # bytes of a row of a task's panels of columns
SCRATCH = 224 * 1024  # bytes of results a task may hold
TASKS = 8  # fewer tasks than this leave cores idle
LEAST_ROWS = 128  # for which a task packs its columns


@dataclass(frozen=True, slots=True)
class Cut:
    """How results are divided over tasks: ``columns`` positions and ``rows`` rows each."""

    columns: int
    rows: int
    column_blocks: int
    row_blocks: int

    @property
    def tasks(self) -> int:
        return self.column_blocks * self.row_blocks


def cut_tasks(problem: Problem, passes: tuple[Pass, ...], tile: Tile) -> Cut:
    parts = len(problem.parts)
    whole = any(len(p.parts) > 1 for p in passes)
    positions = problem.batch * problem.positions
    panels = ceil_div(max(positions, 1), tile.columns)

    def cut(width: int) -> Cut:
        columns = width * tile.columns
        height = SCRATCH // (columns * tile.size * parts)
        rows = max(height // tile.rows, 1) * tile.rows
        blocks = 1 if whole else ceil_div(problem.rows, rows)
        return balance(columns, blocks)

    def balance(columns: int, blocks: int) -> Cut:
        rows = round_up(ceil_div(problem.rows, blocks), tile.rows)
        return Cut(columns, rows, ceil_div(positions, columns), ceil_div(problem.rows, rows))

    most = max(PANELS // (tile.columns * tile.size), 1)
    limit = most
    if whole:
        height = round_up(problem.rows * parts, tile.rows)
        limit = max(min(SCRATCH // (height * tile.columns * tile.size), most), 1)
    best = cut(max(min(limit, panels), 1))
    while best.tasks * problem.groups < TASKS:
        if best.columns > 3 * tile.columns:
            best = balance(best.columns // tile.columns // 2 * tile.columns, best.row_blocks)
        elif not whole and best.rows >= 2 * LEAST_ROWS:
            best = balance(best.columns, best.row_blocks * 2)
        else:
            break
    return best


class Multiply:
    """Writes the kernel of one problem."""

    def __init__(self, call: AnchorCall, problem: Problem, x: Operand, target: Target) -> None:
        self.call, self.problem, self.x, self.w = call, problem, x, call.operands[1]
        self.target = target
        positions = problem.batch * problem.positions
        self.tile = tile_for(call.dtype, target, problem.rows, positions, thin=True)
        direct = direct_layout(problem, x)
        if x.dtype is not compute_dtype(x.dtype):
            direct = None
        self.layout: Layout = direct or copy_layout(problem)
        self.copied = direct is None
        self.passes = plan_passes(problem, self.layout, self.tile, DEPTH)
        self.inline = len(self.passes) == 1 and self.passes[0].taps <= INLINE_TAPS
        self.cut = cut_tasks(problem, self.passes, self.tile)
        self.few = few_columns(positions, self.tile)
        first = len(call.params)
        self.weights_at, self.source_at = first, first + 1 if self.copied else x.buffer

    def build(self) -> NativeKernel:
        module, problem, tile = Module(), self.problem, self.tile
        channels = problem.groups * problem.channels
        launches, workspaces = [], []
        weights = sum(packed_elements(problem, p, tile) for p in self.passes) * problem.groups
        workspaces.append((weights + tile.rows) * tile.size)
        tiles = write_weights(module, problem, self.passes, self.w, tile, self.weights_at)
        packs = self.w.buffer, self.weights_at
        launches.append(Launch(WEIGHTS, tiles * problem.groups, 1, packs))
        if self.copied:
            write_spread(module, problem, self.x, self.layout, tile, self.source_at)
            elements = problem.batch * self.layout.image + 4 * tile.columns
            workspaces.append(elements * tile.size)
            launches.append(Launch(SPREAD, problem.batch * channels, 1))
        write_columns(module, problem, self.layout, self.passes, tile, self.inline)
        write_tile(module, tile)
        if self.few:
            write_thin(module, tile, self.few)
        for number in range(len(self.passes)):
            self._write_product(module, number)
        self._write_multiply(module)
        launches.append(Launch(MULTIPLY, self.cut.tasks * problem.groups, 1))
        return NativeKernel(
            name=f"{self.call.template}_{'x'.join(map(str, self.x.shape))}_{problem.rows}",
            text=module.text(),
            launches=tuple(launches),
            workspaces=tuple(workspaces),
            flops=problem.flops,
        )

    def _write_product(self, module: Module, number: int) -> None:
        """``product(source, weights, panels, scratch, first, panel count, row, rows)`` adds up one
        pass for a task: ``weights`` are one group's, from the pass on."""
        problem, tile, work, cut = self.problem, self.tile, self.passes[number], self.cut
        params = [
            ("ptr noalias readonly", "source"), ("ptr noalias readonly", "weights"),
            ("ptr noalias", "panels"), ("ptr noalias", "scratch"), ("i64", "first"),
            ("i64", "count"), ("i64", "row"), ("i64", "rows"),
        ]  # fmt: skip
        table = Val("ptr", "null")
        if not self.inline:
            offsets = ", ".join(f"i64 {o}" for o in work.offsets)
            table = module.constant(f"offsets_{number}", f"[{work.taps} x i64] [{offsets}]")
        width = round_up(problem.rows * len(work.parts), tile.rows)
        with module.function(f"{PRODUCT}_{number}", params, internal=True) as f:
            panels, scratch, rows = (f.param(n) for n in ("panels", "scratch", "rows"))
            used = whole = f.param("count")
            if self.few:
                left_over = f.sub(problem.batch * problem.positions, f.param("first"))
                whole = as_value(f.min(used, f.div(left_over, tile.columns)))

            def block(c0: Int, t0: Int, channels: Int, taps: Int) -> None:
                depth = f.mul(channels, taps)
                behind = f.add(f.mul(c0, work.taps), t0)
                size = f.mul(depth, tile.columns)
                with f.loop(0, used) as j:
                    f.call(
                        "void", COLUMNS, f.param("source"),
                        f.gep(tile.type, panels, f.mul(j, size)),
                        as_value(f.add(f.param("first"), f.mul(j, tile.columns))),
                        *map(as_value, (c0, channels, t0, taps)), table,
                    )  # fmt: skip
                start = f.add(f.mul(behind, width), f.mul(f.param("row"), depth))
                left = f.gep(tile.type, f.param("weights"), start)
                again = f.test("sgt", behind, 0)
                with f.loop(0, rows, ROWS // tile.rows * tile.rows) as block_row:
                    end = f.min(f.add(block_row, ROWS // tile.rows * tile.rows), rows)
                    ranges: list[tuple[str, Int, Int]] = [(TILE, 0, whole), (THIN, whole, used)]
                    for name, begin, stop in ranges if self.few else ranges[:1]:
                        with f.loop(begin, stop) as j, f.loop(block_row, end, tile.rows) as i:
                            place = f.add(f.mul(i, cut.columns), f.mul(j, tile.columns))
                            f.call(
                                "void", name, f.gep(tile.type, left, f.mul(i, depth)),
                                f.gep(tile.type, panels, f.mul(j, size)),
                                f.gep(tile.type, scratch, place),
                                Val("i64", str(cut.columns)), as_value(depth), again,
                            )  # fmt: skip

            block_loop(f, work, problem.channels, block)

    def _write_multiply(self, module: Module) -> None:
        problem, tile, cut = self.problem, self.tile, self.cut
        per_group = [packed_elements(problem, p, tile) for p in self.passes]
        depth = max((p.depth(problem.channels) for p in self.passes), default=0)
        height = cut.rows
        covered = {p for work in self.passes for p in work.parts}
        lines = round_up(len(problem.parts) * height, tile.rows)
        if any(len(p.parts) > 1 for p in self.passes):
            height = problem.rows
            lines = round_up(len(problem.parts) * height, tile.rows)
        total = problem.batch * problem.positions
        params = [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]
        with module.function(MULTIPLY, params) as f:
            write = Writer(f, self.call, self.target)
            panels = f.alloca(tile.type, cut.columns * depth + tile.columns)
            scratch = f.alloca(tile.type, lines * cut.columns + tile.lanes)
            finish = Finish(f, problem, tile, write, scratch, cut.columns, height)
            source, weights = argument(f, self.source_at), argument(f, self.weights_at)
            offset = 0 if self.copied else self.x.offset
            with f.loop(f.param("lo"), f.param("hi")) as task:
                first = f.mul(f.rem(task, cut.column_blocks), cut.columns)
                rest = f.div(task, cut.column_blocks)
                row = f.mul(f.rem(rest, cut.row_blocks), cut.rows)
                group = f.div(rest, cut.row_blocks)
                count = f.min(f.sub(total, first), cut.columns)
                rows = f.min(f.sub(problem.rows, row), cut.rows)
                group_channels = f.mul(group, problem.channels * self.layout.channel)
                start = f.gep(tile.type, source, f.add(group_channels, offset))
                left = f.gep(tile.type, weights, f.mul(group, sum(per_group)))
                if not problem.channels or len(covered) < len(problem.parts):
                    with f.loop(0, lines * cut.columns, tile.lanes) as i:
                        f.store(tile.zero(), f.gep(tile.type, scratch, i))
                for number, (work, size) in enumerate(zip(self.passes, per_group)):
                    together = len(work.parts) > 1
                    place = 0 if together else work.parts[0] * height * cut.columns
                    f.call(
                        "void", f"{PRODUCT}_{number}", start, left, panels,
                        f.gep(tile.type, scratch, place), as_value(first),
                        as_value(f.div(f.add(count, tile.columns - 1), tile.columns)),
                        as_value(0 if together else row),
                        Val("i64", str(problem.rows * len(work.parts))) if together
                        else as_value(rows),
                    )  # fmt: skip
                    left = f.gep(tile.type, left, size)
                channel = f.add(f.mul(group, problem.rows), row)
                finish.rows(first, count, channel, rows)
