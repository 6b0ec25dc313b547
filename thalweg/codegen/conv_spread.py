"""The source of a convolution: a copy of the operand with zeros around it, split into phases."""

from __future__ import annotations

from ..ir.anchor import Operand
from .builder import Function, Int, Module, Val, as_value, literal, vector
from .conv_problem import Axis, Layout, Problem
from .conv_tile import Tile
from .types import as_computed, memory_type

SPREAD = "spread"


def write_spread(
    module: Module, problem: Problem, operand: Operand, layout: Layout, tile: Tile, target: int,
    name: str = SPREAD,
) -> None:  # fmt: skip
    """``spread(args, lo, hi)``, or of another ``name``, copies channels lo .. hi (counted through
    the batch) of the operand into argument ``target``."""
    channels = problem.groups * problem.channels
    with module.function(name, [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f:
        source, copy = argument(f, operand.buffer), argument(f, target)
        stored = memory_type(operand.dtype)
        with f.loop(f.param("lo"), f.param("hi")) as unit:
            n, c = f.div(unit, channels), f.rem(unit, channels)
            at = f.add(f.mul(n, operand.strides[0]), f.mul(c, operand.strides[1]))
            start = f.gep(stored, source, f.add(at, operand.offset))
            place = f.add(f.mul(n, layout.image), f.mul(c, layout.channel))
            write_plane(
                f, problem.axes, operand.strides[2:], operand, layout, tile, start,
                f.gep(tile.type, copy, place),
            )  # fmt: skip


def write_plane(
    f: Function, axes: tuple[Axis, ...], strides: tuple[int, ...], operand: Operand,
    layout: Layout, tile: Tile, source: Val, copy: Val,
) -> None:  # fmt: skip
    """Copies one channel."""
    stored = memory_type(operand.dtype)

    def rows(d: int, at: Int, place: Int, inside: Val | None) -> None:
        """Loops over dimension d: ``at`` and ``place`` are the offsets so far."""
        if d == len(axes) - 1:
            row = _Row(f, axes[d], strides[d], operand, layout, tile)
            start = f.gep(stored, source, at)
            into = f.gep(tile.type, copy, place)
            if inside is None:
                row.copy(start, into)
            else:
                f.either(inside, lambda: row.copy(start, into), lambda: row.clear(into))
            return
        axis = axes[d]
        with f.loop(0, len(axis.phases) * axis.extent) as i:
            index, j = f.div(i, axis.extent), f.rem(i, axis.extent)
            phase: Int = axis.phases[0]
            for number, value in enumerate(axis.phases[1:], start=1):
                phase = f.select(f.test("eq", index, number), as_value(value), as_value(phase))
            h = f.sub(f.add(f.mul(j, axis.step), phase), axis.low)
            ok = f.compare("icmp", "ult", as_value(h), as_value(axis.size))
            both = ok if inside is None else f.binary("and", inside, ok)
            step = f.add(f.mul(index, layout.phases[d]), f.mul(j, layout.elements[d]))
            rows(d + 1, f.add(at, f.mul(h, strides[d])), f.add(place, step), both)

    rows(0, 0, 0, None)


class _Row:
    """The last dimension, whose extents are known: straight pieces of vectors."""

    def __init__(
        self, f: Function, axis: Axis, stride: int, operand: Operand, layout: Layout, tile: Tile
    ) -> None:
        self.f, self.axis, self.stride, self.operand = f, axis, stride, operand
        self.layout, self.tile = layout, tile
        self.stored = memory_type(operand.dtype)

    def clear(self, into: Val) -> None:
        for index in range(len(self.axis.phases)):
            row = self.f.gep(self.tile.type, into, index * self.layout.phases[-1])
            self._zeros(row, 0, self.axis.extent)

    def copy(self, start: Val, into: Val) -> None:
        """Elements of phase f from ``first`` on are those of the operand; zeros stand around."""
        axis = self.axis
        for index, phase in enumerate(axis.phases):
            row = self.f.gep(self.tile.type, into, index * self.layout.phases[-1])
            first = min(max(-((phase - axis.low) // axis.step), 0), axis.extent)
            last = min(max(-((phase - axis.low - axis.size) // axis.step), first), axis.extent)
            self._zeros(row, 0, first)
            self._elements(start, row, first, last, phase - axis.low)
            self._zeros(row, last, axis.extent)

    def _zeros(self, row: Val, first: int, last: int) -> None:
        def put(at: Int, lanes: int) -> None:
            zero = literal(0, vector(self.tile.type, lanes))
            self.f.store(zero, self.f.gep(self.tile.type, row, at))

        self._pieces(first, last, put)

    def _elements(self, start: Val, row: Val, first: int, last: int, shift: int) -> None:
        """Elements first .. last of a row: operand elements ``j * step + shift``."""
        f, step, lane = self.f, self.axis.step, self.axis.step * self.stride

        def put(at: Int, lanes: int) -> None:
            place = f.gep(self.stored, start, f.mul(f.add(f.mul(at, step), shift), self.stride))
            if lane == 1:
                value = f.load(vector(self.stored, lanes), place)
            elif lanes > 2 and 1 < lane <= 4:
                value = self._every(place, lanes, lane)
            else:
                value = self._gathered(place, lanes, lane)
            value = as_computed(f, value, self.operand.dtype)
            f.store(value, f.gep(self.tile.type, row, at))

        self._pieces(first, last, put)

    def _every(self, place: Val, lanes: int, lane: int) -> Val:
        """Every ``lane``-th element, from vectors of which the last ends with the last element."""
        f, type = self.f, vector(self.stored, lanes)
        starts = [i * lanes for i in range(lane - 1)] + [(lanes - 1) * (lane - 1)]
        parts = [f.load(type, f.gep(self.stored, place, start)) for start in starts]
        owner = [max(i for i, s in enumerate(starts) if s <= j * lane) for j in range(lanes)]
        value = parts[0]
        for i in range(1, lane):
            mask = []
            for j in range(lanes):
                kept = j if i > 1 else j * lane  # the first round also gathers from parts[0]
                mask.append(lanes + j * lane - starts[i] if owner[j] == i else kept % lanes)
            value = f.shuffle(value, parts[i], mask)
        return value

    def _gathered(self, place: Val, lanes: int, lane: int) -> Val:
        f = self.f
        loads = [f.load(self.stored, f.gep(self.stored, place, i * lane)) for i in range(lanes)]
        if lanes == 1:
            return loads[0]
        value = Val(vector(self.stored, lanes), "poison")
        for i, x in enumerate(loads):
            value = f.insert(value, x, i)
        return value

    def _pieces(self, first: int, last: int, put: object) -> None:
        """Calls ``put(at, lanes)`` for vectors, in a loop where there are many, then for what is
        left in powers of two."""
        assert callable(put)
        lanes, at = self.tile.lanes, first
        whole = (last - first) // lanes
        if whole > 4:
            with self.f.loop(first, first + whole * lanes, lanes) as i:
                put(i, lanes)
            at += whole * lanes
        while last - at >= lanes:
            put(at, lanes)
            at += lanes
        while at < last:
            lanes //= 2
            if last - at >= lanes:
                put(at, lanes)
                at += lanes


def argument(f: Function, index: int) -> Val:
    """Pointer ``index`` of the kernel's arguments."""
    return f.load("ptr", f.gep("ptr", f.param("args"), index))
