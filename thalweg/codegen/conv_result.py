"""Results of convolutions on their way from a task's scratch memory through the epilogue."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..ir.anchor import AnchorCall
from .access import Place
from .builder import Function, Int, Val, as_value, lanes_of
from .conv_problem import Problem
from .conv_spread import argument
from .conv_tile import Tile
from .gemm_finish import touched
from .gemm_tile import fetch_line
from .statements import Block
from .target import Target

AHEAD = 2  # rows of the result
NEAR_BYTES = 1 << 18  # of operands and results that the caches hold anyway


class Writer:
    """The epilogue of a call. Called with neighbours along the last of the three dimensions that
    results are seen in (a vector, or a scalar) and the index of the first of them."""

    def __init__(self, f: Function, call: AnchorCall, target: Target) -> None:
        self.call, self.target = call, target
        self.places = {p.name: Place(p, argument(f, i)) for i, p in enumerate(call.params)}
        names = touched(call.epilogue.body, call.epilogue.index)
        alike = [p for p in call.params if p.name in names and p.shape == call.shape]
        size = math.prod(call.shape) * sum(p.dtype.itemsize for p in alike)
        self.fetched = alike if size > NEAR_BYTES else []

    def fetch(self, f: Function, index: tuple[Int, Int, Int]) -> None:
        """Ask for what will be read and written at an index: a task's part of a row is too short
        for the processor to see it coming."""
        n, channel, position = index
        _, channels, positions = self.call.shape
        at = f.add(f.mul(f.add(f.mul(n, channels), channel), positions), position)
        for buffer in self.fetched:
            start = f.gep("i8", self.places[buffer.name].pointer, f.mul(at, buffer.dtype.itemsize))
            fetch_line(f, start)

    def __call__(self, f: Function, index: tuple[Int, Int, Int], value: Val) -> None:
        epilogue = self.call.epilogue
        block = Block(f, self.target, self.places, lanes_of(value.type))
        for name, at in zip(epilogue.index[:-1], index):
            block.bind(name, at)
        block.bind_run(epilogue.index[-1], index[-1])
        for name, size in zip(epilogue.index, self.call.shape):
            block.bounded(name, 0, size - 1)
        block.bind(epilogue.value, value)
        block.run(epilogue.body)


def write_run(
    f: Function, tile: Tile, write: Writer, source: Val, count: Int, index: tuple[Int, Int, Int]
) -> None:
    """Passes ``count`` elements from ``source`` on."""
    n, channel, position = index
    whole = f.mul(f.div(count, tile.lanes), tile.lanes)
    for first, last, lanes in ((0, whole, tile.lanes), (whole, count, 1)):
        type = tile.vector if lanes > 1 else tile.type
        with f.loop(first, last, lanes) as i:
            value = f.load(type, f.gep(tile.type, source, i))
            if lanes > 1:
                write.fetch(f, (n, f.add(channel, AHEAD), f.add(position, i)))
            write(f, (n, channel, f.add(position, i)), value)


class Finish:
    """Stores what a task computed: its scratch memory is [part][row][column], the columns are
    positions ``first .. first + count`` counted through the batch."""

    def __init__(
        self, f: Function, problem: Problem, tile: Tile, write: Writer, scratch: Val,
        width: int, height: int,
    ) -> None:  # fmt: skip
        self.f, self.problem, self.tile, self.write = f, problem, tile, write
        self.scratch, self.width, self.height = scratch, width, height

    def rows(self, first: Int, count: Int, channel: Int, rows: Int) -> None:
        """All of it; ``channel`` is the first row's number in the result."""
        if len(self.problem.parts) == 1:
            self._images(first, count, channel, rows)
        else:
            self._lines(first, count, channel, rows)

    def _row(self, part: Int, row: Int, column: Int) -> Val:
        f = self.f
        line = f.add(f.mul(part, self.height), row)
        return f.gep(self.tile.type, self.scratch, f.add(f.mul(line, self.width), column))

    def _segments(self, first: Int, count: Int, length: int) -> _Segments:
        return _Segments(self.f, first, count, length)

    def _images(self, first: Int, count: Int, channel: Int, rows: Int) -> None:
        """One part: neighbouring positions of an image are neighbours in the result."""
        f = self.f
        for n, position, column, length in self._segments(first, count, self.problem.positions):
            with f.loop(0, rows) as m:
                index = (n, f.add(channel, m), position)
                write_run(f, self.tile, self.write, self._row(0, m, column), length, index)

    def _lines(self, first: Int, count: Int, channel: Int, rows: Int) -> None:
        """Several parts: a row of positions of all parts is interleaved to a row of the result."""
        f, axes = self.f, self.problem.axes
        last = axes[-1]
        leading = axes[:-1]
        combos = 1
        for axis in leading:
            combos *= axis.result_step
        line_buffer = f.alloca(self.tile.type, (self.width + self.tile.lanes) * last.result_step)
        for line, x, column, length in self._segments(first, count, last.count):
            start = f.sub(f.mul(x, last.result_step), last.result_low)
            skipped = f.max(f.sub(0, start), 0) if last.result_low else 0
            end = f.min(f.mul(length, last.result_step), f.sub(last.result_size, start))
            shown = f.max(f.sub(end, skipped), 0)
            with f.loop(0, combos) as combo:
                n, place, inside = self._leading(line, combo)
                position = f.add(f.mul(place, last.result_size), f.add(start, skipped))
                with f.when(inside) if inside is not None else f.loop(0, 1), f.loop(0, rows) as m:
                    self._interleave(f.mul(combo, last.result_step), m, column, length, line_buffer)
                    index = (n, f.add(channel, m), position)
                    source = f.gep(self.tile.type, line_buffer, skipped)
                    write_run(f, self.tile, self.write, source, shown, index)

    def _leading(self, line: Int, combo: Int) -> tuple[Int, Int, Val | None]:
        """The image of a line of positions, the row of the result that part ``combo`` of it is,
        and whether there is such a row."""
        f, scale, inside = self.f, 1, None
        result: Int = 0
        for axis in reversed(self.problem.axes[:-1]):
            part = f.rem(combo, axis.result_step)
            combo = f.div(combo, axis.result_step)
            u = f.rem(line, axis.count)
            line = f.div(line, axis.count)
            h = f.sub(f.add(f.mul(u, axis.result_step), part), axis.result_low)
            ok = f.compare("icmp", "ult", as_value(h), Val("i64", str(axis.result_size)))
            inside = ok if inside is None else f.binary("and", inside, ok)
            result = f.add(result, f.mul(h, scale))
            scale *= axis.result_size
        return line, result, inside

    def _interleave(self, part: Int, row: Int, column: Int, length: Int, into: Val) -> None:
        """Element x of part r goes to place ``x * step + r``."""
        f, tile, step = self.f, self.tile, self.problem.axes[-1].result_step
        sources = [self._row(f.add(part, r), row, column) for r in range(step)]
        if step == 2:
            with f.loop(0, length, tile.lanes) as x:
                even, odd = (f.load(tile.vector, f.gep(tile.type, s, x)) for s in sources)
                place = f.gep(tile.type, into, f.mul(x, 2))
                for half in range(2):
                    order = [
                        i // 2 + half * tile.lanes // 2 + tile.lanes * (i % 2)
                        for i in range(tile.lanes)
                    ]
                    value = f.shuffle(even, odd, order)
                    f.store(value, f.gep(tile.type, place, half * tile.lanes))
            return
        with f.loop(0, length) as x:
            for r, source in enumerate(sources):
                value = f.load(tile.type, f.gep(tile.type, source, x))
                f.store(value, f.gep(tile.type, into, f.add(f.mul(x, step), r)))


class _Segments:
    """``first .. first + count`` cut where multiples of ``length`` are crossed: iterating writes
    the loop and gives (multiple, place in it, column, elements) once."""

    def __init__(self, f: Function, first: Int, count: Int, length: int) -> None:
        self.f, self.first, self.count, self.length = f, first, count, length

    def __iter__(self) -> Iterator[tuple[Int, Int, Int, Int]]:
        f, length = self.f, self.length
        line = f.div(self.first, length)
        end = f.add(self.first, self.count)
        lines = f.add(f.sub(f.div(f.sub(end, 1), length), line), 1)
        with f.loop(0, lines) as i:
            number = f.add(line, i)
            begin = f.max(f.mul(number, length), self.first)
            stop = f.min(f.mul(f.add(number, 1), length), end)
            place = f.sub(begin, f.mul(number, length))
            yield number, place, f.sub(begin, self.first), f.sub(stop, begin)
