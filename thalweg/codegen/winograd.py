"""Convolution with a stride of one by Winograd's minimal filtering, without large intermediates.

The result is cut into tiles of m by m elements, each computed from a patch of m + r - 1 elements
squared with that many products per channel instead of m * m * r * r:

    tile = A^T [sum over channels of (G w G^T) * (B^T patch B)] A

A task takes some tiles and filters. It transforms the patches of its tiles straight into the packed
panels of one matrix product per patch element, multiplies, and transforms back, all in its own
scratch memory. Where the panels of all patch elements are too large for that, it goes through the
patch row by row and adds up what each row contributes to the results.

A NaN or an infinity in the input may reach every result of the tiles that it takes part in, not
only those whose windows contain it. The flag ``winograd`` switches to the direct product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..ir.anchor import AnchorCall, Operand
from ..runtime.native import Launch, NativeKernel
from .builder import Function, Int, Module, Val, as_value, literal
from .conv_pack import COLUMNS, Pass, ceil_div, round_up, write_columns
from .conv_problem import Axis, Layout, Problem, Tap, copy_layout
from .conv_result import Finish, Writer
from .conv_spread import SPREAD, argument, write_spread
from .conv_tile import (
    THIN,
    TILE,
    Tile,
    few_columns,
    store_front,
    tile_for,
    write_thin,
    write_tile,
)  # fmt: skip
from .target import Target
from .types import as_computed, memory_type
from .winograd_transforms import Maps, combination, maps

FILTERS, PATCHES, RESULTS, MULTIPLY = "filters", "patches", "results", "multiply"
OUTPUTS = 2  # a tile's elements per dimension; 4 gained a tenth at most and lose half a digit
SCRATCH = 480 * 1024
DEPTH = 256  # channels of one call of the tile
ROWS = 48  # rows whose products are held before they are transformed back
BLOCK = 8  # channels whose patches are gathered at a time
TASKS = 8


def suits(problem: Problem) -> bool:
    """Whether a problem is two-dimensional, with 3 by 3 or 5 by 5 neighbouring taps and a stride
    of one."""
    taps = len(problem.axes[0].parts[0])
    return (
        taps in (3, 5)
        and len(problem.axes) == 2
        and all(
            a.step == 1
            and len(a.parts) == 1
            and sorted(t.offset for t in a.parts[0]) == list(range(taps))
            for a in problem.axes
        )
    )


def pays(problem: Problem, tile: Tile) -> bool:
    """Whether Winograd is expected to beat the direct product, both counted in multiplications.

    Transforms cost about as much as so many multiplications for every element of a patch and
    channel, tile and row, filter and channel (measured with AVX2).
    """
    if not suits(problem) or tile.type.startswith("i"):
        return False
    tiles = problem.batch * math.prod(ceil_div(a.count, OUTPUTS) for a in problem.axes)
    taps = len(problem.axes[0].parts[0])
    transform = maps(OUTPUTS, taps)
    if choose_cut(problem, tiles, transform, tile) is None:
        return False
    rows, channels = round_up(problem.rows, tile.rows), problem.channels
    padded = round_up(tiles, tile.columns)
    transforms = 10 * padded * channels + 7 * padded * rows + 16 * rows * channels
    indirect = transform.size**2 * (padded * rows * channels + transforms)
    direct = taps**2 * round_up(problem.batch * problem.positions, tile.columns) * rows * channels
    return indirect < 0.85 * direct


@dataclass(frozen=True, slots=True)
class Cut:
    """``panels`` of tiles and ``rows`` filters a task; ``together`` rows of the patch at a time."""

    panels: int
    rows: int
    together: int


def choose_cut(problem: Problem, tiles: int, transform: Maps, tile: Tile) -> Cut | None:
    """The largest pieces that fit the scratch memory; None if nothing does."""
    rows = round_up(problem.rows, tile.rows)
    depth = problem.channels
    best: tuple[float, Cut] | None = None
    most = max(ceil_div(tiles, tile.columns), 1)
    for together in (transform.size, 2, 1):
        for panels in (1, 2, 3, 4):
            for split in (1, 2, 4, 8):
                height = round_up(ceil_div(rows, split), tile.rows)
                columns = panels * tile.columns
                elements = together * transform.size * depth * columns
                elements += transform.outputs**2 * height * columns
                elements += together * transform.size * min(ROWS, height) * columns
                elements += BLOCK * transform.size**2 * tile.columns  # gathered patches
                if elements * tile.size > SCRATCH or panels > most or height < min(rows, 48):
                    continue
                tasks = ceil_div(tiles, columns) * ceil_div(rows, height) * problem.groups
                filters = transform.size**2 * rows * depth * tile.size
                # Measured on one core of 16 MiB of third-level cache:
                cost = 1 + (0.02 + 0.08 * filters / 2**22) / panels  # filters come once for all
                cost += 16.0 * split / rows  # patches are transformed again for each split
                cost += 0.06 / together  # sources are read again for each row
                cost += 0.16 * elements * tile.size / SCRATCH  # what leaves the first cache
                cost *= 1.0 if tasks >= TASKS else TASKS / tasks
                if best is None or cost < best[0]:
                    best = cost, Cut(panels, height, together)
    return best[1] if best else None


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
        self.target, self.tile = target, tile_for(call.dtype, target)
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

    @property
    def patch(self) -> int:
        return self.maps.size

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
        blocks = ceil_div(self.total, cut.panels * tile.columns) * ceil_div(problem.rows, cut.rows)
        return NativeKernel(
            name=f"{self.call.template}_winograd{self.maps.outputs}_"
            f"{'x'.join(map(str, self.x.shape))}_{problem.rows}",
            text=module.text(),
            launches=(
                Launch(
                    FILTERS, problem.groups * self.row_tiles, 1, (self.w.buffer, self.filters_at)
                ),
                Launch(SPREAD, problem.batch * channels, 1),
                Launch(MULTIPLY, blocks * problem.groups, 1),
            ),
            workspaces=(
                (filters + tile.lanes) * tile.size,
                (problem.batch * self.layout.image + 4 * tile.columns) * tile.size,
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
        """``patches_G(source, panels, first, count)`` transforms the patches of ``count`` panels
        of tiles into [patch element][panel][channel][tile], rows of group G only."""
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
            ("i64", "count"),
        ]  # fmt: skip
        with module.function(f"{PATCHES}_{group}", params, internal=True) as f:
            buffer = f.alloca(tile.type, (BLOCK * len(taps) + 1) * tile.columns)
            step = cut.panels * problem.channels * tile.columns
            with f.loop(0, f.param("count")) as p, f.loop(0, problem.channels, BLOCK) as c0:
                channels = f.min(f.sub(problem.channels, c0), BLOCK)
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
        column_blocks = ceil_div(self.total, width)
        row_blocks = ceil_div(problem.rows, cut.rows)
        filter_size = self.row_tiles * tile.rows * problem.channels
        params = [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]
        with module.function(MULTIPLY, params) as f:
            write = Writer(f, self.call, self.target)
            together = cut.together * self.patch
            panels = f.alloca(tile.type, together * width * problem.channels)
            scratch = f.alloca(tile.type, m * m * cut.rows * width + tile.lanes)
            products = f.alloca(tile.type, together * min(ROWS, cut.rows) * width)
            finish = Finish(f, self.tiles, tile, write, scratch, width, cut.rows)
            source, filters = argument(f, self.source_at), argument(f, self.filters_at)
            with f.loop(f.param("lo"), f.param("hi")) as task:
                first = f.mul(f.rem(task, column_blocks), width)
                rest = f.div(task, column_blocks)
                row = f.mul(f.rem(rest, row_blocks), cut.rows)
                group = f.div(rest, row_blocks)
                count = f.min(f.sub(self.total, first), width)
                rows = f.min(f.sub(problem.rows, row), cut.rows)
                channels = f.mul(group, problem.channels * self.layout.channel)
                start = f.gep(tile.type, source, channels)
                used = f.div(f.add(count, tile.columns - 1), tile.columns)
                left = f.gep(
                    tile.type, filters,
                    f.add(
                        f.mul(group, filter_size * self.patch**2), f.mul(row, problem.channels)
                    ),
                )  # fmt: skip
                for number in range(self._groups()):
                    f.call(
                        "void", f"{PATCHES}_{number}", start, panels, as_value(first),
                        as_value(used),
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
