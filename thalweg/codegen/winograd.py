"""Convolution with a stride of one by Winograd's minimal filtering, without large intermediates.

The result is cut into tiles of m by m elements, each computed from a patch of m + r - 1 elements
squared with that many products per channel instead of m * m * r * r:

    tile = A^T [sum over channels of (G w G^T) * (B^T patch B)] A

A task takes some tiles and filters. It transforms the patches of its tiles straight into the packed
panels of one matrix product per patch element, multiplies, and transforms back, all in its own
scratch memory. Where the panels of all patch elements are too large for that, it goes through the
patch row by row and adds up what each row contributes to the results. Where there are few tiles,
so that only filters are left to divide, patches are transformed once for all tasks.

A NaN or an infinity in the input may reach every result of the tiles that it takes part in, not
only those whose windows contain it. The flag ``winograd`` switches to the direct product.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.anchor import AnchorCall, Operand
from ..runtime.native import Launch, NativeKernel
from .builder import Function, Int, Module, Val, as_value, literal
from .conv_pack import COLUMNS, Pass, write_columns
from .conv_problem import Axis, Layout, Problem, Tap, copy_layout
from .conv_result import Finish, Writer
from .conv_spread import SPREAD, argument, write_spread
from .conv_tile import (  # fmt: skip
    THIN,
    TILE,
    ceil_div,
    few_columns,
    store_front,
    write_thin,
    write_tile,
)
from .target import Target
from .types import as_computed, memory_type
from .winograd_plan import BLOCK, DEPTH, OUTPUTS, ROWS, choose_cut, tile_of
from .winograd_transforms import Maps, combination, maps

FILTERS, PATCHES, RESULTS, MULTIPLY = "filters", "patches", "results", "multiply"
SHARED = "shared_patches"


def tiled(problem: Problem, transform: Maps) -> Problem:
    """The problem over tiles: positions are tiles, the source is split into phases of a tile,
    and the elements of a tile are parts."""
    m, reach = transform.outputs, ceil_div(transform.taps - 1, transform.outputs)
    axes = []
    for axis in problem.axes:
        count = ceil_div(axis.count, m)
        parts = (tuple[Tap, ...](),) * m
        extent = count + reach
        axes.append(
            Axis(axis.size, m, tuple(range(m)), axis.low, extent, count, parts, axis.count, m)
        )
    return replace(problem, axes=tuple(axes))


def patch_offset(layout: Layout, outputs: int, i: int, j: int) -> int:
    """Where element (i, j) of a patch lies in a source split into phases of a tile."""
    high, low = layout.phases
    across, along = layout.elements
    return (
        i % outputs * high + i // outputs * across + j % outputs * low + j // outputs * along
    )  # fmt: skip


class Winograd:
    """Writes the kernel of one problem that `suits`."""

    def __init__(
        self, call: AnchorCall, problem: Problem, x: Operand, target: Target,
        outputs: int = OUTPUTS,
    ) -> None:  # fmt: skip
        self.call, self.problem, self.x, self.w = call, problem, x, call.operands[1]
        self.target, self.tile = target, tile_of(call.dtype, target, problem)
        self.maps = maps(outputs, len(problem.axes[0].parts[0]))
        self.tiles = tiled(problem, self.maps)
        self.layout = copy_layout(self.tiles)
        self.total = self.tiles.batch * self.tiles.positions
        cut = choose_cut(problem, self.total, self.maps, self.tile)
        if cut is None:
            raise ValueError("too many channels for a task's scratch memory")
        self.cut = cut
        self.few = few_columns(self.total, self.tile)
        self.filters_at = len(call.params)
        self.source_at = self.filters_at + 1
        self.shared_at = self.source_at + 1

    @property
    def patch(self) -> int:
        return self.maps.size

    @property
    def blocks(self) -> int:
        """Blocks of tiles; a task takes one."""
        return ceil_div(self.total, self.cut.panels * self.tile.columns)

    @property
    def panels_size(self) -> int:
        """Elements of the transformed patches of a task."""
        width = self.cut.panels * self.tile.columns
        return self.cut.together * self.patch * width * self.problem.channels

    @property
    def row_tiles(self) -> int:
        return ceil_div(self.problem.rows, self.tile.rows)

    def build(self) -> NativeKernel:
        module, problem, tile, cut = Module(), self.problem, self.tile, self.cut
        channels = problem.groups * problem.channels
        rows = self.row_tiles * tile.rows
        filters = problem.groups * self.patch**2 * rows * problem.channels
        self._write_filters(module)
        write_spread(module, self.tiles, self.x, self.layout, tile, self.source_at)
        offsets = [self._patch_offset(i, j) for i in range(self.patch) for j in range(self.patch)]
        inline = Pass((0,), tuple(offsets), ((),), BLOCK, len(offsets))
        write_columns(module, self.tiles, self.layout, (inline,), tile, self._groups() == 1)
        for group in range(self._groups()):
            self._write_patches(module, group)
            self._write_results(module, group)
        write_tile(module, tile)
        if self.few:
            write_thin(module, tile, self.few)
        self._write_multiply(module)
        tasks = self.blocks * ceil_div(problem.rows, cut.rows) * problem.groups
        launches, spaces = [], []
        if cut.shared:
            self._write_shared(module)
            units = self.blocks * problem.groups * ceil_div(problem.channels, BLOCK)
            launches.append(Launch(SHARED, units, 1))
            spaces.append(self.blocks * problem.groups * self.panels_size * tile.size)
        return NativeKernel(
            name=f"{self.call.template}_winograd{self.maps.outputs}_"
            f"{'x'.join(map(str, self.x.shape))}_{problem.rows}",
            text=module.text(),
            launches=(
                Launch(
                    FILTERS, problem.groups * self.row_tiles, 1, (self.w.buffer, self.filters_at)
                ),
                Launch(SPREAD, problem.batch * channels, 1),
                *launches,
                Launch(MULTIPLY, tasks, 1),
            ),
            workspaces=(
                (filters + tile.lanes) * tile.size,
                (problem.batch * self.layout.image + 4 * tile.columns) * tile.size,
                *spaces,
            ),
            flops=problem.flops,
        )

    def _groups(self) -> int:
        """Groups of rows of the patch."""
        return self.patch // self.cut.together

    def _patch_offset(self, i: int, j: int) -> int:
        return patch_offset(self.layout, self.maps.outputs, i, j)

    def _patch_rows(self, group: int) -> range:
        return range(group * self.cut.together, (group + 1) * self.cut.together)

    # --- filters --------------------------------------------------------------------------------

    def _write_filters(self, module: Module) -> None:
        """``filters(args, lo, hi)`` transforms and packs tiles of rows:
        [group][patch element][tile][channel][row]."""
        problem, tile, taps = self.problem, self.tile, self.maps.taps
        stored = memory_type(self.w.dtype)
        lanes = tile.rows if tile.rows & (tile.rows - 1) == 0 else 1 << tile.rows.bit_length()
        group_stride, row_stride, channel_stride = problem.weight_strides
        order = {
            (a.offset, b.offset): problem.weight_offset((a, b))
            for a in problem.axes[0].parts[0]
            for b in problem.axes[1].parts[0]
        }
        with module.function(FILTERS, [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f:
            source, packed = argument(f, self.w.buffer), argument(f, self.filters_at)
            with f.loop(f.param("lo"), f.param("hi")) as unit:
                group, at = f.div(unit, self.row_tiles), f.rem(unit, self.row_tiles)
                row = f.mul(at, tile.rows)
                first = f.add(f.mul(group, group_stride), self.w.offset)
                starts = []
                for i in range(tile.rows):
                    here = f.min(f.add(row, i), problem.rows - 1)  # rows past the last: unused
                    offset = f.add(first, f.mul(here, row_stride))
                    starts.append(f.gep(stored, source, offset))
                size = self.row_tiles * tile.rows * problem.channels
                base = f.add(f.mul(group, size * self.patch**2), f.mul(row, problem.channels))
                into = f.gep(tile.type, packed, base)
                with f.loop(0, problem.channels) as c:
                    where = f.mul(c, channel_stride)
                    columns = []
                    for i in range(taps):
                        columns.append(
                            [
                                self._lanes(f, starts, f.add(where, order[i, j]), lanes)
                                for j in range(taps)
                            ]
                        )
                    line = f.gep(tile.type, into, f.mul(c, tile.rows))
                    for number, value in enumerate(self._both(f, columns)):
                        place = f.gep(tile.type, line, number * size)
                        store_front(f, tile, value, place, tile.rows)

    def _lanes(self, f: Function, starts: list[Val], offset: Int, lanes: int) -> Val:
        """One weight of each row of a tile."""
        stored = memory_type(self.w.dtype)
        value = literal(0, f"<{lanes} x {self.tile.type}>")
        for i, start in enumerate(starts):
            x = as_computed(f, f.load(stored, f.gep(stored, start, offset)), self.w.dtype)
            value = f.insert(value, x, i)
        return value

    def _both(self, f: Function, w: list[list[Val]]) -> list[Val]:
        """G w G^T, row by row."""
        g, result = self.maps.filter, []
        columns = range(self.maps.taps)
        for row in g:
            half = [combination(f, row, [w[i][j] for i in columns]) for j in columns]
            whole = [h for h in half if h is not None]
            assert len(whole) == len(half)
            for other in g:
                value = combination(f, other, whole)
                assert value is not None
                result.append(value)
        return result

    # --- patches --------------------------------------------------------------------------------

    def _write_patches(self, module: Module, group: int) -> None:
        """``patches_G(source, panels, first, count, channel, end)`` transforms the patches of
        ``count`` panels of tiles into [patch element][panel][channel][tile], rows of group G and
        channels ``channel .. end`` only."""
        problem, tile, cut, size = self.problem, self.tile, self.cut, self.patch
        data = self.maps.data
        rows = self._patch_rows(group)
        needed = [r for r in range(size) if any(data[i][r] for i in rows)]
        taps = [(r, j) for r in needed for j in range(size)]
        table = Val("ptr", "null")
        if self._groups() > 1:
            entries = ", ".join(f"i64 {self._patch_offset(*tap)}" for tap in taps)
            table = module.constant(f"patch_{group}", f"[{len(taps)} x i64] [{entries}]")
        params = [
            ("ptr noalias readonly", "source"), ("ptr noalias", "panels"), ("i64", "first"),
            ("i64", "count"), ("i64", "channel"), ("i64", "end"),
        ]  # fmt: skip
        with module.function(f"{PATCHES}_{group}", params, internal=True) as f:
            buffer = f.alloca(tile.type, (BLOCK * len(taps) + 1) * tile.columns)
            step = cut.panels * problem.channels * tile.columns
            begin, end = f.param("channel"), f.param("end")
            with f.loop(0, f.param("count")) as p, f.loop(begin, end, BLOCK) as c0:
                channels = f.min(f.sub(end, c0), BLOCK)
                f.call(
                    "void", COLUMNS, f.param("source"), buffer,
                    as_value(f.add(f.param("first"), f.mul(p, tile.columns))), c0,
                    as_value(channels), as_value(0), as_value(len(taps)), table,
                )  # fmt: skip
                with f.loop(0, channels) as c, f.loop(0, tile.columns, tile.lanes) as lane:
                    patch = f.gep(tile.type, buffer, f.mul(c, len(taps) * tile.columns))
                    patch = f.gep(tile.type, patch, lane)
                    d = {}
                    for t, tap in enumerate(taps):
                        place = f.gep(tile.type, patch, t * tile.columns)
                        d[tap] = f.load(tile.vector, place, tile.lanes * tile.size)
                    line = f.add(f.mul(p, problem.channels), f.add(c0, c))
                    into = f.gep(tile.type, f.param("panels"), f.mul(line, tile.columns))
                    into = f.gep(tile.type, into, lane)
                    for number, i in enumerate(rows):
                        half = []
                        for j in range(size):
                            terms = [d[r, j] for r in needed]
                            value = combination(f, [data[i][r] for r in needed], terms)
                            assert value is not None
                            half.append(value)
                        for j in range(size):
                            value = combination(f, data[j], half)
                            assert value is not None
                            place = f.gep(tile.type, into, (number * size + j) * step)
                            f.store(value, place, tile.lanes * tile.size)

    def _write_shared(self, module: Module) -> None:
        """``shared_patches(args, lo, hi)``: a unit is a block of channels of a block of tiles;
        what a task reads is [group][block of tiles], each as the task would transform it."""
        problem, tile = self.problem, self.tile
        with module.function(SHARED, [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f:
            source, shared = argument(f, self.source_at), argument(f, self.shared_at)
            pieces = ceil_div(problem.channels, BLOCK)
            with f.loop(f.param("lo"), f.param("hi")) as unit:
                channel, part = f.mul(f.rem(unit, pieces), BLOCK), f.div(unit, pieces)
                start, first, used = self._columns(
                    f, source, f.rem(part, self.blocks), f.div(part, self.blocks)
                )
                f.call(
                    "void", f"{PATCHES}_0", start,
                    f.gep(tile.type, shared, f.mul(part, self.panels_size)), as_value(first),
                    as_value(used), as_value(channel),
                    as_value(f.min(f.add(channel, BLOCK), problem.channels)),
                )  # fmt: skip

    def _columns(self, f: Function, source: Val, block: Int, group: Int) -> tuple[Val, Int, Int]:
        """Where the channels of a group start; the first tile and the panels of a block."""
        tile = self.tile
        width = self.cut.panels * tile.columns
        first = f.mul(block, width)
        count = f.min(f.sub(self.total, first), width)
        start = f.gep(tile.type, source, f.mul(group, self.problem.channels * self.layout.channel))
        return start, first, f.div(f.add(count, tile.columns - 1), tile.columns)

    # --- results --------------------------------------------------------------------------------

    def _write_results(self, module: Module, group: int) -> None:
        """``results_G(products, scratch, rows)`` transforms the products of one panel back, from
        [patch element][row][tile], and adds them to the tiles' elements [element][row][column]."""
        tile, cut, size, m = self.tile, self.cut, self.patch, self.maps.outputs
        back = self.maps.result
        rows = self._patch_rows(group)
        params = [("ptr noalias readonly", "products"), ("ptr noalias", "scratch"), ("i64", "rows")]
        width = cut.panels * tile.columns
        align = tile.lanes * tile.size
        with module.function(f"{RESULTS}_{group}", params, internal=True) as f:
            columns = tile.columns
            with f.loop(0, f.param("rows")) as row, f.loop(0, columns, tile.lanes) as lane:
                start = f.gep(tile.type, f.param("products"), f.add(f.mul(row, columns), lane))
                halves: list[list[Val]] = []
                for number in range(len(rows)):
                    loaded = []
                    for j in range(size):
                        offset = (number * size + j) * cut.panels * min(ROWS, cut.rows) * columns
                        loaded.append(f.load(tile.vector, f.gep(tile.type, start, offset), align))
                    made = [combination(f, back[x], loaded) for x in range(m)]
                    halves.append([v for v in made if v is not None])
                into = f.gep(tile.type, f.param("scratch"), f.add(f.mul(row, width), lane))
                for y in range(m):
                    coefficients = [back[y][i] for i in rows]
                    earlier = any(back[y][i] for i in range(rows[0]))
                    for x in range(m):
                        value = combination(f, coefficients, [h[x] for h in halves])
                        place = f.gep(tile.type, into, (y * m + x) * cut.rows * width)
                        if value is None:
                            continue
                        if earlier:
                            value = f.binary("fadd", f.load(tile.vector, place, align), value)
                        f.store(value, place, align)

    # --- the task -------------------------------------------------------------------------------

    def _write_multiply(self, module: Module) -> None:
        problem, tile, cut, m = self.problem, self.tile, self.cut, self.maps.outputs
        width = cut.panels * tile.columns
        column_blocks = self.blocks
        row_blocks = ceil_div(problem.rows, cut.rows)
        filter_size = self.row_tiles * tile.rows * problem.channels
        params = [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]
        with module.function(MULTIPLY, params) as f:
            write = Writer(f, self.call, self.target)
            together = cut.together * self.patch
            if cut.shared:
                shared = argument(f, self.shared_at)
            else:
                panels = f.alloca(tile.type, self.panels_size)
            scratch = f.alloca(tile.type, m * m * cut.rows * width + tile.lanes)
            products = f.alloca(tile.type, together * min(ROWS, cut.rows) * width)
            finish = Finish(f, self.tiles, tile, write, scratch, width, cut.rows)
            source, filters = argument(f, self.source_at), argument(f, self.filters_at)
            with f.loop(f.param("lo"), f.param("hi")) as task:
                block, rest = f.rem(task, column_blocks), f.div(task, column_blocks)
                row = f.mul(f.rem(rest, row_blocks), cut.rows)
                group = f.div(rest, row_blocks)
                start, first, used = self._columns(f, source, block, group)
                count = f.min(f.sub(self.total, first), width)
                rows = f.min(f.sub(problem.rows, row), cut.rows)
                if cut.shared:
                    part = f.add(f.mul(group, column_blocks), block)
                    panels = f.gep(tile.type, shared, f.mul(part, self.panels_size))
                left = f.gep(
                    tile.type, filters,
                    f.add(
                        f.mul(group, filter_size * self.patch**2), f.mul(row, problem.channels)
                    ),
                )  # fmt: skip
                for number in range(self._groups()):
                    if not cut.shared:
                        f.call(
                            "void", f"{PATCHES}_{number}", start, panels, as_value(first),
                            as_value(used), as_value(0), as_value(problem.channels),
                        )  # fmt: skip
                    here = f.gep(tile.type, left, number * together * filter_size)
                    whole: Int = used
                    if self.few:
                        whole = f.min(used, f.div(f.sub(self.total, first), tile.columns))
                    self._products(f, number, here, panels, products, scratch, whole, used, rows)
                channel = f.add(f.mul(group, problem.rows), row)
                finish.rows(first, count, channel, rows)

    def _products(
        self, f: Function, group: int, filters: Val, panels: Val, products: Val, scratch: Val,
        whole: Int, used: Int, rows: Int,
    ) -> None:  # fmt: skip
        """Multiplies some rows at a time for all elements of the patch, then transforms back.
        Panels from ``whole`` on have few tiles."""
        problem, tile, cut = self.problem, self.tile, self.cut
        height, width = min(ROWS, cut.rows), cut.panels * tile.columns
        filter_size = self.row_tiles * tile.rows * problem.channels
        size = height * tile.columns
        with f.loop(0, rows, height) as block:
            end = f.min(f.sub(rows, block), height)
            with f.loop(0, cut.together * self.patch) as e, f.loop(0, used) as p:
                line = f.add(f.mul(e, cut.panels), p)
                panel = f.gep(tile.type, panels, f.mul(line, problem.channels * tile.columns))
                part = f.add(f.mul(e, filter_size), f.mul(block, problem.channels))
                left = f.gep(tile.type, filters, part)
                out = f.gep(tile.type, products, f.mul(line, size))
                shown = as_value(end)

                def multiply(
                    name: str, left: Val = left, panel: Val = panel, out: Val = out,
                    shown: Val = shown,
                ) -> None:  # fmt: skip
                    with f.loop(0, problem.channels, DEPTH) as c0, f.loop(0, shown, tile.rows) as i:
                        depth = f.min(f.sub(problem.channels, c0), DEPTH)
                        a = f.add(f.mul(i, problem.channels), f.mul(c0, tile.rows))
                        f.call(
                            "void", name, f.gep(tile.type, left, a),
                            f.gep(tile.type, panel, f.mul(c0, tile.columns)),
                            f.gep(tile.type, out, f.mul(i, tile.columns)),
                            as_value(tile.columns), as_value(depth), f.test("sgt", c0, 0),
                        )  # fmt: skip

                if self.few:
                    complete = f.compare("icmp", "slt", as_value(p), as_value(whole))
                    f.either(complete, lambda: multiply(TILE), lambda: multiply(THIN))
                else:
                    multiply(TILE)
            with f.loop(0, used) as p:
                place = f.add(f.mul(block, width), f.mul(p, tile.columns))
                f.call(
                    "void", f"{RESULTS}_{group}", f.gep(tile.type, products, f.mul(p, size)),
                    f.gep(tile.type, scratch, place), as_value(end),
                )  # fmt: skip
