"""The gradient of a convolution in its weight by Winograd's minimal filtering.

What the forward pass computes for every tile of m by m results (see `winograd`),

    tile = A^T [(G w G^T) * (B^T patch B)] A

is linear in w, so the gradient is the transposed map of the tiles of g, summed over all tiles:

    grad = G^T [sum over tiles of (A g A^T) * (B^T patch B)] G

The sum is one matrix product per element of the patch: filters times tiles times channels. Tiles
are worked off in stretches. Of each, g and x are transformed and packed for the tile kernel, into
workspaces that the last-level cache holds, and their products are added to what earlier stretches
gave; the last launch transforms back.

A NaN or an infinity in an operand may reach every element of the filters that it takes part in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..core.dtypes import DType
from ..ir.anchor import AnchorCall, Operand
from ..runtime.native import Launch, NativeKernel
from .builder import Function, Int, Module, Val, as_value
from .conv_pack import COLUMNS, Pass, write_columns
from .conv_problem import Axis, Problem, Tap, copy_layout
from .conv_result import Writer, write_run
from .conv_spread import SPREAD, argument, write_spread
from .conv_tile import TILE, Tile, ceil_div, round_up, store_front, tile_for, write_tile
from .conv_weight_grad import transposed
from .target import Target
from .winograd import patch_offset, tiled
from .winograd_plan import OUTPUTS, suits
from .winograd_transforms import Maps, combination, maps

GRADIENTS, PATCHES, MULTIPLY, FILTERS = "gradients", "patches", "multiply", "filters"
DEPTH = 352  # tiles of a stretch, at most
ROWS = 96  # of transformed gradients that stay in the second cache while panels pass
PANELS = 6  # of transformed patches a task multiplies

ARGUMENTS = [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]


def tile_of(dtype: DType, target: Target, problem: Problem) -> Tile:
    """The tile of the products: rows of gradients, columns of patches."""
    return tile_for(dtype, target, problem.rows, problem.channels)


def pays(problem: Problem, tile: Tile) -> bool:
    """Whether it is expected to beat the direct product, both counted in multiplications, of which
    the transforms take so many for an element (measured with AVX2)."""
    if not suits(problem) or problem.groups > 1 or tile.type.startswith("i"):
        return False
    rows, channels = round_up(problem.rows, tile.rows), round_up(problem.channels, tile.columns)
    tiles = problem.batch * math.prod(ceil_div(a.count, OUTPUTS) for a in problem.axes)
    taps = len(problem.axes[0].parts[0])
    transforms = 12 * tiles * (rows + channels) + 24 * rows * channels
    indirect = maps(OUTPUTS, taps).size ** 2 * (tiles * rows * channels + transforms)
    columns = round_up(taps**2 * problem.channels, tile.columns)
    direct = problem.batch * problem.positions * rows * columns
    return tiles > 0 and indirect < 0.8 * direct


class WinogradWeightGrad:
    """Writes the kernel of one call; operands are x and g, results are seen as [1, o, (c, t)]."""

    def __init__(
        self, call: AnchorCall, problem: Problem, x: Operand, g: Operand, target: Target
    ) -> None:
        self.call, self.problem, self.x, self.g = call, problem, x, g
        self.target, self.tile = target, tile_of(call.dtype, target, problem)
        self.maps: Maps = maps(OUTPUTS, len(problem.axes[0].parts[0]))
        self.patches = tiled(problem, self.maps)
        self.blocks = replace(
            problem, channels=problem.rows, axes=tuple(map(_blocks, problem.axes))
        )
        self.tiles = self.patches.batch * self.patches.positions
        stretches = ceil_div(self.tiles, DEPTH)
        self.depth = round_up(ceil_div(self.tiles, stretches), self.tile.columns)
        self.stretches = ceil_div(self.tiles, self.depth)
        self.elements = self.maps.size**2
        self.row_tiles = ceil_div(problem.rows, self.tile.rows)
        self.panels = ceil_div(problem.channels, self.tile.columns)
        first = len(call.params)
        self.x_at, self.g_at, self.left_at, self.right_at, self.sums_at = range(first, first + 5)

    @property
    def row_size(self) -> int:
        """Elements of the packed gradients of one element of the patch."""
        return self.row_tiles * self.tile.rows * self.depth

    @property
    def panel_size(self) -> int:
        return self.panels * self.tile.columns * self.depth

    @property
    def sums_size(self) -> int:
        return self.row_tiles * self.tile.rows * self.panels * self.tile.columns

    def build(self) -> NativeKernel:
        problem, tile, module = self.problem, self.tile, Module()
        launches, spaces = [], []
        sources = ((self.patches, self.x, self.x_at, "x"), (self.blocks, self.g, self.g_at, "g"))
        for source, operand, at, name in sources:
            layout = copy_layout(source)
            write_spread(module, source, operand, layout, tile, at, f"{SPREAD}_{name}")
            launches.append(Launch(f"{SPREAD}_{name}", source.batch * source.channels, 1))
            spaces.append(source.batch * layout.image + 4 * tile.columns)
        self._write_transform(module, GRADIENTS, self.blocks, self._of_tile, tile.rows)
        self._write_transform(module, PATCHES, self.patches, self._of_patch, tile.columns)
        write_tile(module, tile)
        self._write_multiply(module)
        groups = ceil_div(self.depth, tile.columns)
        row_blocks = ceil_div(self.row_tiles, ROWS // tile.rows)
        units = self.elements * row_blocks * ceil_div(self.panels, PANELS)
        for stretch in range(self.stretches):
            for name, extent in ((GRADIENTS, groups), (PATCHES, groups), (MULTIPLY, units)):
                symbol = f"{name}_{stretch}"
                with module.function(symbol, ARGUMENTS) as f:
                    values = [f.param(n) for _, n in ARGUMENTS]
                    f.call("void", name, *values, as_value(stretch))
                launches.append(Launch(symbol, extent, 1))
        self._write_filters(module)
        launches.append(Launch(FILTERS, problem.rows, max(problem.rows // 64, 1)))
        spaces += [
            self.elements * self.row_size + tile.rows * self.depth,
            self.elements * self.panel_size + tile.columns,
            self.elements * self.sums_size + tile.lanes,
        ]
        return NativeKernel(
            f"{self.call.template}_winograd{self.maps.outputs}_"
            f"{'x'.join(map(str, self.x.shape))}_{problem.rows}",
            module.text(),
            tuple(launches),
            tuple(size * tile.size for size in spaces),
            flops=problem.flops,
        )

    # --- transforms of the operands -------------------------------------------------------------

    def _of_tile(self, f: Function, g: list[Val]) -> list[Val]:
        """A g A^T, row by row, of the elements of a tile."""
        m, back = self.maps.outputs, self.maps.result
        columns = [[back[y][i] for y in range(m)] for i in range(self.maps.size)]
        return _both(f, columns, [g[y * m : y * m + m] for y in range(m)])

    def _of_patch(self, f: Function, d: list[Val]) -> list[Val]:
        """B^T d B, row by row, of the elements of a patch."""
        size = self.maps.size
        return _both(f, self.maps.data, [d[i * size : i * size + size] for i in range(size)])

    def _write_transform(
        self, module: Module, name: str, source: Problem,
        transform: Callable[[Function, list[Val]], list[Val]], width: int,
    ) -> None:  # fmt: skip
        """``name(args, lo, hi, stretch)`` transforms groups lo .. hi of ``tile.columns`` tiles
        of a stretch: [element][channels / width][tile][width]. What lies behind the last channel
        is undefined, and meets only sums that nobody reads."""
        tile, lanes, depth = self.tile, self.tile.lanes, self.depth
        layout, count = copy_layout(source), source.channels
        side = self.maps.outputs if width == tile.rows else self.maps.size
        offsets = [
            patch_offset(layout, self.maps.outputs, i, j) for i in range(side) for j in range(side)
        ]
        taps, panels = len(offsets), ceil_div(count, width)
        columns = f"{COLUMNS}_{name}"
        inline = Pass((0,), tuple(offsets), ((),), lanes, taps)
        write_columns(module, source, layout, (inline,), tile, True, columns)
        at, packed_at = (
            (self.g_at, self.left_at) if width == tile.rows else (self.x_at, self.right_at)
        )
        params = [*ARGUMENTS, ("i64", "stretch")]
        with module.function(name, params, internal=True) as f:
            copy, packed = argument(f, at), argument(f, packed_at)
            gathered = f.alloca(tile.type, (lanes * taps + 1) * tile.columns)
            values = f.alloca(tile.type, self.elements * lanes * lanes)
            begin = f.mul(f.param("stretch"), depth)
            pieces = [(at, min(lanes, width - at)) for at in range(0, width, lanes)]
            with f.loop(f.param("lo"), f.param("hi")) as group:
                here = f.mul(group, tile.columns)
                first = f.add(begin, here)
                with f.when(f.test("slt", first, self.tiles)), f.loop(0, panels) as panel:
                    for within, held in pieces:
                        c0 = f.add(f.mul(panel, width), within)
                        channels = f.max(f.min(f.sub(count, c0), held), 0)
                        f.call(
                            "void", columns, copy, gathered, as_value(first),
                            *map(as_value, (c0, channels, 0, taps)), Val("ptr", "null"),
                        )  # fmt: skip
                        with f.loop(0, tile.columns, lanes) as lane:
                            self._transformed(f, gathered, lane, values, taps, transform)
                            place = f.mul(f.add(f.mul(panel, depth), f.add(here, lane)), width)
                            into = f.gep(tile.type, packed, f.add(place, within))
                            self._turned(f, values, into, panels * depth * width, width, held)

    def _transformed(
        self, f: Function, gathered: Val, lane: Int, values: Val, taps: int,
        transform: Callable[[Function, list[Val]], list[Val]],
    ) -> None:  # fmt: skip
        """``lanes`` tiles of as many channels: [element][channel][tile]."""
        tile, lanes = self.tile, self.tile.lanes
        align = lanes * tile.size
        with f.loop(0, lanes) as c:
            source = f.gep(tile.type, gathered, f.mul(c, taps * tile.columns))
            source = f.gep(tile.type, source, lane)
            loaded = [
                f.load(tile.vector, f.gep(tile.type, source, t * tile.columns), align)
                for t in range(taps)
            ]
            into = f.gep(tile.type, values, f.mul(c, lanes))
            for e, value in enumerate(transform(f, loaded)):
                f.store(value, f.gep(tile.type, into, e * lanes * lanes), align)

    def _turned(
        self, f: Function, values: Val, into: Val, step: int, width: int, held: int
    ) -> None:
        """Stores those as [element][tile][channel], elements ``step`` apart and tiles ``width``."""
        tile, lanes = self.tile, self.tile.lanes
        align = lanes * tile.size
        with f.loop(0, self.elements) as e:
            source = f.gep(tile.type, values, f.mul(e, lanes * lanes))
            rows = [
                f.load(tile.vector, f.gep(tile.type, source, c * lanes), align)
                for c in range(lanes)
            ]
            line = f.gep(tile.type, into, f.mul(e, step))
            for t, value in enumerate(transposed(f, rows)):
                store_front(f, tile, value, f.gep(tile.type, line, t * width), held)

    # --- products -------------------------------------------------------------------------------

    def _write_multiply(self, module: Module) -> None:
        """``multiply(args, lo, hi, stretch)``: a unit is an element of the patch, a block of rows
        and a block of panels; sums are [element][row][channel]."""
        tile, rows = self.tile, ROWS // self.tile.rows
        row_blocks, width = ceil_div(self.row_tiles, rows), self.panels * tile.columns
        panel_blocks = ceil_div(self.panels, PANELS)
        with module.function(MULTIPLY, [*ARGUMENTS, ("i64", "stretch")], internal=True) as f:
            left, right, sums = (
                argument(f, at) for at in (self.left_at, self.right_at, self.sums_at)
            )
            begin = f.mul(f.param("stretch"), self.depth)
            depth = as_value(f.min(f.sub(self.tiles, begin), self.depth))
            again = f.test("sgt", begin, 0)
            with f.loop(f.param("lo"), f.param("hi")) as unit:
                block, rest = f.rem(unit, row_blocks), f.div(unit, row_blocks)
                columns, e = f.rem(rest, panel_blocks), f.div(rest, panel_blocks)
                first, panel = f.mul(block, rows), f.mul(columns, PANELS)
                last = f.min(f.add(first, rows), self.row_tiles)
                end = f.min(f.add(panel, PANELS), self.panels)
                a = f.gep(tile.type, left, f.mul(e, self.row_size))
                b = f.gep(tile.type, right, f.mul(e, self.panel_size))
                c = f.gep(tile.type, sums, f.mul(e, self.sums_size))
                with f.loop(panel, end) as j, f.loop(first, last) as i:
                    place = f.add(f.mul(f.mul(i, tile.rows), width), f.mul(j, tile.columns))
                    f.call(
                        "void", TILE, f.gep(tile.type, a, f.mul(i, tile.rows * self.depth)),
                        f.gep(tile.type, b, f.mul(j, tile.columns * self.depth)),
                        f.gep(tile.type, c, place), as_value(width), depth, again,
                    )  # fmt: skip

    # --- results --------------------------------------------------------------------------------

    def _write_filters(self, module: Module) -> None:
        """``filters(args, lo, hi)``: G^T sums G of rows lo .. hi, through the epilogue."""
        problem, tile, taps = self.problem, self.tile, self.maps.taps
        lanes, size, width = tile.lanes, self.maps.size, self.panels * tile.columns
        back = [[self.maps.filter[i][a] for i in range(size)] for a in range(taps)]
        with module.function(FILTERS, ARGUMENTS) as f:
            write, sums = Writer(f, self.call, self.target), argument(f, self.sums_at)
            line = f.alloca(tile.type, width * taps * taps)
            with f.loop(f.param("lo"), f.param("hi")) as row:
                source = f.gep(tile.type, sums, f.mul(row, width))
                with f.loop(0, problem.channels, lanes) as c:
                    here = f.gep(tile.type, source, c)
                    loaded = [
                        f.load(
                            tile.vector, f.gep(tile.type, here, e * self.sums_size),
                            lanes * tile.size,
                        )
                        for e in range(self.elements)
                    ]  # fmt: skip
                    rows = [loaded[i * size : i * size + size] for i in range(size)]
                    into = f.gep(tile.type, line, f.mul(c, taps * taps))
                    for t, value in enumerate(_both(f, back, rows)):
                        for lane in range(lanes):
                            place = f.gep(tile.type, into, lane * taps * taps + t)
                            f.store(f.extract(value, lane), place)
                write_run(f, tile, write, line, problem.channels * taps * taps, (0, row, 0))


def _blocks(axis: Axis) -> Axis:
    """The elements of g along one dimension as tiles, zero behind the last."""
    count = ceil_div(axis.count, OUTPUTS)
    parts = (tuple[Tap, ...](),) * OUTPUTS
    return Axis(axis.count, OUTPUTS, tuple(range(OUTPUTS)), 0, count, count, parts, axis.count)


def _both(
    f: Function, coefficients: Sequence[Sequence[object]], values: list[list[Val]]
) -> list[Val]:
    """C v C^T, row by row."""

    def combined(row: Sequence[object], terms: list[Val]) -> Val:
        value = combination(f, row, terms)  # type: ignore[arg-type]
        assert value is not None
        return value

    result = []
    for row in coefficients:
        half = [combined(row, [line[j] for line in values]) for j in range(len(values[0]))]
        result += [combined(other, half) for other in coefficients]
    return result
