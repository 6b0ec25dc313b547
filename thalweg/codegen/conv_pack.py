"""Packing for the tile kernel: weights once per call, columns of the source panel by panel.

One `Pass` is one matrix product. A problem of several parts is one pass per part or, where that
multiplies less (few rows, or parts of equal taps), one pass over the rows of all parts together, in
which a part's weight at a tap that it lacks is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ir.anchor import Operand
from .builder import Function, Int, Module, Val, as_value, literal
from .conv_problem import Layout, Problem
from .conv_spread import argument
from .conv_tile import Tile, ceil_div, round_up
from .types import as_computed, memory_type

WEIGHTS, COLUMNS = "weights", "columns"
INLINE_TAPS = 12  # so many taps are written out in the loop over channels
MISSING = -1
SHORT_RUNS = 6  # of a register each, copied faster than their elements one by one
MOST_ROWS = 1024  # of all parts together


@dataclass(frozen=True)
class Pass:
    """``parts`` are computed together over the taps at ``offsets`` in the source.

    ``weights[p][t]`` is the offset in the weight of tap t of part p, or `MISSING`.
    The sum is cut in blocks of ``block_channels`` whole channels or, where one channel has more
    taps than a block, of ``block_taps`` taps of one channel.
    """

    parts: tuple[int, ...]
    offsets: tuple[int, ...]
    weights: tuple[tuple[int, ...], ...]
    block_channels: int
    block_taps: int

    @property
    def taps(self) -> int:
        return len(self.offsets)

    def blocks(self, channels: int) -> int:
        return ceil_div(channels, self.block_channels) * ceil_div(self.taps, self.block_taps)

    def depth(self, channels: int) -> int:
        """The longest block."""
        return min(self.block_channels, channels) * min(self.block_taps, self.taps)


def _blocking(channels: int, taps: int, depth: int) -> tuple[int, int]:
    if taps > depth:
        return 1, ceil_div(taps, ceil_div(taps, depth))
    count = ceil_div(channels, max(depth // max(taps, 1), 1))
    return ceil_div(channels, max(count, 1)), taps


def plan_passes(problem: Problem, layout: Layout, tile: Tile, depth: int) -> tuple[Pass, ...]:
    """The passes of a problem; parts without taps have none."""
    parts = []
    for taps in problem.parts:
        table = {layout.tap_offset(t): problem.weight_offset(t) for t in taps}
        parts.append(table)
    rows = problem.rows
    union = sorted(set().union(*parts))
    used = [i for i, table in enumerate(parts) if table]
    together = round_up(rows * len(parts), tile.rows) * len(union)
    apart = round_up(rows, tile.rows) * sum(map(len, parts))
    if len(parts) > 1 and together < apart and rows * len(parts) <= MOST_ROWS:
        groups = [(tuple(range(len(parts))), union)]
    else:
        groups = [((i,), sorted(parts[i])) for i in used]
    passes = []
    for members, offsets in groups:
        weights = tuple(tuple(parts[p].get(o, MISSING) for o in offsets) for p in members)
        blocking = _blocking(problem.channels, len(offsets), depth)
        passes.append(Pass(members, tuple(offsets), weights, *blocking))
    return tuple(passes)


def packed_elements(problem: Problem, work: Pass, tile: Tile) -> int:
    """Elements of one group's packed weights of one pass."""
    rows = round_up(problem.rows * len(work.parts), tile.rows)
    return rows * problem.channels * work.taps


def block_loop(
    f: Function, work: Pass, channels: int, body: Callable[[Int, Int, Int, Int], None]
) -> None:
    """``body(first channel, first tap, channels, taps)`` for the blocks of a pass in order."""
    cuts = ceil_div(work.taps, work.block_taps)
    with f.loop(0, work.blocks(channels)) as i:
        c = f.mul(f.div(i, cuts), work.block_channels)
        t = f.mul(f.rem(i, cuts), work.block_taps)
        count = f.min(f.sub(channels, c), work.block_channels)
        taps = f.min(f.sub(work.taps, t), work.block_taps) if cuts > 1 else work.taps
        body(c, t, count, taps)


def write_weights(
    module: Module, problem: Problem, passes: Sequence[Pass], operand: Operand, tile: Tile,
    target: int,
) -> int:  # fmt: skip
    """``weights(args, lo, hi)`` packs tiles of rows into argument ``target``:
    [group][pass][block][tile][channel][tap][row]. The number of tiles of one group is returned."""
    tiles = [ceil_div(problem.rows * len(p.parts), tile.rows) for p in passes]
    sizes = [packed_elements(problem, p, tile) for p in passes]
    for number, work in enumerate(passes):
        _write_weight_pass(module, problem, work, operand, tile, f"{WEIGHTS}_{number}", number)
    with module.function(WEIGHTS, [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f:
        stored = memory_type(operand.dtype)
        source, packed = argument(f, operand.buffer), argument(f, target)
        with f.loop(f.param("lo"), f.param("hi")) as unit:
            group, at = f.div(unit, sum(tiles)), f.rem(unit, sum(tiles))
            step = f.mul(group, problem.weight_strides[0])
            start = f.gep(stored, source, f.add(step, operand.offset))
            base = f.gep(tile.type, packed, f.mul(group, sum(sizes)))
            first = 0
            for number, (count, size) in enumerate(zip(tiles, sizes)):
                inside = f.compare(
                    "icmp", "ult", as_value(f.sub(at, first)), Val("i64", str(count))
                )
                with f.when(inside):
                    f.call("void", f"{WEIGHTS}_{number}", start, base, as_value(f.sub(at, first)))
                base = f.gep(tile.type, base, size)
                first += count
    return sum(tiles)


def _write_weight_pass(
    module: Module, problem: Problem, work: Pass, operand: Operand, tile: Tile, name: str,
    number: int,
) -> None:  # fmt: skip
    """``name(source, packed, tile)`` packs one tile of a pass."""
    params = [("ptr noalias readonly", "source"), ("ptr noalias", "packed"), ("i64", "tile")]
    total = problem.rows * len(work.parts)
    width = round_up(total, tile.rows)
    stored = memory_type(operand.dtype)
    _, row_stride, channel_stride = problem.weight_strides
    complete = len(work.parts) == 1 or not any(MISSING in w for w in work.weights)
    flat = [o for part in work.weights for o in part]
    regular = len(work.parts) == 1 and flat == list(range(len(flat)))
    table = None
    if not regular:
        rows = ", ".join(f"i64 {o}" for o in flat)
        table = module.constant(f"taps_{number}", f"[{len(flat)} x i64] [{rows}]")
    with module.function(name, params, internal=True) as f:
        source, packed, at = (f.param(n) for n in ("source", "packed", "tile"))
        first = f.mul(at, tile.rows)

        def pack(count: Int) -> None:
            """Rows first .. first + count are there; the other rows of the tile are zero."""

            def block(c0: Int, t0: Int, channels: Int, taps: Int) -> None:
                depth = f.mul(channels, taps)
                behind = f.add(f.mul(c0, work.taps), t0)
                place = f.add(f.mul(behind, width), f.mul(f.mul(at, tile.rows), depth))
                into = f.gep(tile.type, packed, place)
                with f.loop(0, channels) as c, f.loop(0, taps) as t:
                    tap = f.add(t, t0)
                    column = f.mul(f.add(c, c0), channel_stride)
                    line = f.gep(
                        tile.type, into, f.mul(f.add(f.mul(c, taps), t), tile.rows)
                    )  # fmt: skip

                    def one(i: Int) -> None:
                        value = element(f.add(first, i), column, tap)
                        f.store(value, f.gep(tile.type, line, i))

                    if isinstance(count, int):
                        for i in range(count):
                            one(i)
                        return
                    with f.loop(0, count) as there:
                        one(there)
                    with f.loop(count, tile.rows) as missing:
                        f.store(literal(0, tile.type), f.gep(tile.type, line, missing))

            block_loop(f, work, problem.channels, block)

        def element(m: Int, column: Int, tap: Int) -> Val:
            part: Int = f.div(m, problem.rows) if len(work.parts) > 1 else 0
            row = f.rem(m, problem.rows) if len(work.parts) > 1 else m
            offset = tap
            if table is not None:
                index = f.add(f.mul(part, work.taps), tap)
                offset = f.load("i64", f.gep("i64", table, index))
            found = None if complete else f.test("ne", offset, MISSING)
            if found is not None:
                offset = f.select(found, as_value(offset), Val("i64", "0"))
            where = f.add(f.add(f.mul(row, row_stride), column), offset)
            value = as_computed(f, f.load(stored, f.gep(stored, source, where)), operand.dtype)
            return value if found is None else f.select(found, value, literal(0, tile.type))

        left = f.sub(total, first)
        if total % tile.rows == 0:
            pack(tile.rows)
        else:
            f.either(
                f.test("sge", left, tile.rows), lambda: pack(tile.rows), lambda: pack(left)
            )  # fmt: skip


def write_columns(
    module: Module, problem: Problem, layout: Layout, passes: Sequence[Pass], tile: Tile,
    inline: bool, name: str = COLUMNS,
) -> None:  # fmt: skip
    """``columns(source, panel, first, c0, channels, t0, taps, table)`` packs ``tile.columns``
    positions from ``first`` on (counted through the batch) as [channel][tap][column]. ``table`` are
    the offsets of the taps; ``inline`` writes those of the one pass into the code instead.
    Positions past the last repeat it."""
    params = [
        ("ptr noalias readonly", "source"), ("ptr noalias", "panel"), ("i64", "first"),
        ("i64", "c0"), ("i64", "channels"), ("i64", "t0"), ("i64", "taps"),
        ("ptr noalias readonly", "table"),
    ]  # fmt: skip
    with module.function(name, params, internal=True) as f:
        _Columns(f, problem, layout, tile, passes[0].offsets if inline else None).write()


class _Columns:
    """Positions of a panel form runs of neighbours. Up to three runs are copied a register at a
    time, each over the excess of the one before, up to six if a register holds a run; more (tiny
    images) element by element."""

    def __init__(
        self, f: Function, problem: Problem, layout: Layout, tile: Tile,
        inline: tuple[int, ...] | None,
    ) -> None:  # fmt: skip
        self.f, self.problem, self.layout, self.tile, self.inline = f, problem, layout, tile, inline
        self.total = problem.batch * problem.positions
        self.axes = list(zip(problem.grid, layout.elements))
        while len(self.axes) > 1 and self.axes[-2][1] == self.axes[-1][0] * self.axes[-1][1]:
            (outer, _), (inner, step) = self.axes[-2:]
            self.axes[-2:] = [(outer * inner, step)]
        self.row = self.axes[-1][0]

    def write(self) -> None:
        f, width, row = self.f, self.tile.columns, self.row
        first = f.param("first")
        valid = f.min(f.sub(self.total, first), width)
        start = f.rem(first, row)
        length = f.sub(row, start)
        line = f.div(first, row)
        base = f.gep(
            self.tile.type, f.param("source"), f.mul(f.param("c0"), self.layout.channel)
        )  # fmt: skip

        def run(number: int) -> tuple[Val, Int]:
            """The address of a run and the column it begins at."""
            if number == 0:
                return f.gep(self.tile.type, base, self.position(line, start)), 0
            at = f.add(length, (number - 1) * row)
            return f.gep(self.tile.type, base, self.position(f.add(line, number), 0)), at

        needed = (width - 2) // row + 2
        if row <= self.tile.lanes and needed <= SHORT_RUNS and self.layout.slack:
            lines = self.total // row - 1
            starts = [run(0)]
            for n in range(1, needed):  # runs behind the last position repeat the last
                there = self.position(f.min(f.add(line, n), lines), 0)
                at = f.add(length, (n - 1) * row)
                starts.append((f.gep(self.tile.type, base, there), at))
            self.copy(starts, 1)
            return
        most = min(3, needed)
        always = needed <= most

        def several(count: int) -> None:
            """Copies ``count`` runs or more, gathers what is more than ``most``."""
            if count > most:
                self.gather(base)
            elif count == most and always:
                self.copy([run(n) for n in range(count)])
            else:
                f.either(
                    f.test("sge", f.add(length, (count - 1) * row), valid),
                    lambda: self.copy([run(n) for n in range(count)]),
                    lambda: several(count + 1),
                )  # fmt: skip

        if self.layout.slack:
            several(1)
            return
        # Registers reach over the ends of runs, which is safe up to the last image.
        inside = f.test("sle", first, (self.problem.batch - 1) * self.problem.positions - width)
        if self.layout.image < width or self.problem.batch == 1:
            inside = Val("i1", "0")
        f.either(
            f.test("sge", length, width),
            lambda: self.copy([run(0)]),
            lambda: f.either(inside, lambda: several(2), lambda: self.gather(base)),
        )  # fmt: skip

    def position(self, line: Int, start: Int) -> Int:
        """The source offset of element ``start`` of a row of positions."""
        f, offset = self.f, self.f.mul(start, self.axes[-1][1])
        for extent, stride in reversed(self.axes[:-1]):
            offset = f.add(offset, f.mul(f.rem(line, extent), stride))
            line = f.div(line, extent)
        return f.add(offset, f.mul(line, self.layout.image))

    def each(self, body: Callable[[Int, Int], None]) -> None:
        """``body(k, offset)``: every channel and tap, its place in the panel and in the source."""
        f = self.f
        with f.loop(0, f.param("channels")) as c:
            at = f.mul(c, self.layout.channel)
            if self.inline is not None:
                for t, offset in enumerate(self.inline):
                    body(f.add(f.mul(c, len(self.inline)), t), f.add(at, offset))
                return
            behind = f.mul(c, f.param("taps"))
            with f.loop(0, f.param("taps")) as tap:
                entry = f.gep("i64", f.param("table"), f.add(tap, f.param("t0")))
                body(f.add(behind, tap), f.add(at, f.load("i64", entry)))

    def copy(self, runs: list[tuple[Val, Int]], registers: int | None = None) -> None:
        """``registers`` of each run, by default as many as a panel has."""
        f, tile = self.f, self.tile
        places = [f.gep(tile.type, f.param("panel"), at) for _, at in runs]

        def one(k: Int, offset: Int) -> None:
            row = f.mul(k, tile.columns)
            for (source, _), place in zip(runs, places):
                start, into = f.gep(tile.type, source, offset), f.gep(tile.type, place, row)
                parts = [
                    f.load(tile.vector, f.gep(tile.type, start, j * tile.lanes))
                    for j in range(registers or tile.vectors)
                ]
                for j, value in enumerate(parts):
                    f.store(value, f.gep(tile.type, into, j * tile.lanes))

        self.each(one)

    def gather(self, base: Val) -> None:
        f, tile, width = self.f, self.tile, self.tile.columns
        offsets = f.alloca("i64", width)
        with f.loop(0, width) as lane:
            q = f.min(f.add(f.param("first"), lane), self.total - 1)
            at = self.position(f.div(q, self.row), f.rem(q, self.row))
            f.store(as_value(at), f.gep("i64", offsets, lane))

        def one(k: Int, offset: Int) -> None:
            start = f.gep(tile.type, base, offset)
            into = f.gep(tile.type, f.param("panel"), f.mul(k, width))
            with f.loop(0, width, 4) as lane:
                for i in range(4):
                    column = f.add(lane, i)
                    at = f.load("i64", f.gep("i64", offsets, column))
                    value = f.load(tile.type, f.gep(tile.type, start, at))
                    f.store(value, f.gep(tile.type, into, column))

        self.each(one)
