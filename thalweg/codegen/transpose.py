"""Loop nests that read across the grain: tiles transposed in registers.

    for i in 0..I parallel {
      for j in 0..J vector { y[i, j] = f(x[j, i], ...) }
    }

Vectors run along j, in which x is strided. Where the body is straight-line code and some load has
stride 1 in the loop around the vector loop and a larger one in the vector loop, a tile of 8x8 (4x4
for 8-byte elements) of every such load is read along i and transposed; then the body runs for
each i of the tile as usual. Nothing in the loop IR asks for it: the pattern alone decides.

A unit of work is a band of `BAND` j, so that whole cache lines are written, and `STRIP` i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..ir.loops import (
    Buffer,
    Const,
    For,
    Let,
    Load,
    Stmt,
    Store,
    Var,
    expressions,
    walk_expr,
)
from .access import Access, Place
from .builder import Function, Int, Val, size_of, vector
from .statements import constant_count
from .strides import stride
from .types import Run, as_computed, memory_type
from .vector_loops import Nest, shape_of

BAND, STRIP, LINE = 32, 256, 64
_UNROLLED = 24  # expressions in the body, times the tile, that are written out


@dataclass(frozen=True, slots=True)
class Tiling:
    """A nest to be run in tiles: loop ``across`` holds just the vector loop ``along``."""

    across: For
    along: For
    loads: tuple[tuple[Load, int], ...]  # the transposed ones, with their stride along j
    edge: int  # of the square tiles

    @property
    def units(self) -> int:
        """The number of bands times strips."""
        bands, strips = self._parts()
        return bands * strips

    def _parts(self) -> tuple[int, int]:
        across, along = constant_count(self.across) or 0, constant_count(self.along) or 0
        return -(-along // BAND), -(-across // STRIP)

    def write(self, block: Nest, unit: Int) -> None:
        """The code of one unit."""
        f = block.f
        _, strips = self._parts()
        band, strip = f.div(unit, strips), f.rem(unit, strips)
        i = self._span(f, f.mul(strip, STRIP), STRIP, self.across)
        j = self._span(f, f.mul(band, BAND), BAND, self.along)
        # All tiles of a cache line of the source follow one another: lines whose distance is a
        # power of two drive one another out of the cache.
        line = max(self.edge, LINE // max(load.dtype.itemsize for load, _ in self.loads))
        with f.loop(i[0], i[1], line) as start, f.loop(j[0], j[1], self.edge) as j0:
            end = f.min(f.add(start, line), i[1])
            with f.loop(start, end, self.edge) as i0:
                self._tile(block, i0, j0)
        if constant_count(self.along) % self.edge:  # type: ignore[operator]
            self._scalars(block, (i[0], i[1]), (j[1], j[2]))
        if constant_count(self.across) % self.edge:  # type: ignore[operator]
            self._scalars(block, (i[1], i[2]), (j[0], j[2]))

    def _span(self, f: Function, first: Int, size: int, loop: For) -> tuple[Int, Int, Int]:
        """Where a unit begins, where its whole tiles end, and where it ends."""
        count = constant_count(loop)
        assert count is not None
        end = f.add(first, size) if count % size == 0 else f.min(f.add(first, size), count)
        whole = count - count % self.edge
        return first, end if whole == count else f.min(end, whole), end

    def _tile(self, block: Nest, i0: Int, j0: Int) -> None:
        f, edge = block.f, self.edge
        block.bind(self.across.var, i0)
        block.bind(self.along.var, j0)
        tiles = {}
        for load, step in self.loads:
            place = block.places[load.buffer]
            at = block.position(place.buffer.shape, load.index)
            assert not isinstance(at, Run)
            tiles[load] = _transposed(f, place, at, step, edge)
        wide = block.widened(edge)
        wide.bind_run(self.along.var, j0)
        body = self.along.body
        if edge * _weight(body) <= _UNROLLED:
            for row in range(edge):
                wide.bind(self.across.var, f.add(i0, row))
                wide.presets = {
                    load: as_computed(f, rows[row], load.dtype) for load, rows in tiles.items()
                }
                wide.block(body)
        else:
            self._looped(wide, i0, tiles)

    def _looped(self, wide: Nest, i0: Int, tiles: Mapping[Load, Sequence[Val]]) -> None:
        """The body once, in a loop over the rows of tiles that wait on the stack."""
        f, edge = wide.f, self.edge
        stacks = {}
        for load, rows in tiles.items():
            type = memory_type(load.dtype)
            pointer = f.alloca(type, edge * edge)
            for n, row in enumerate(rows):
                f.store(row, f.gep(type, pointer, n * edge))
            stacks[load] = Place(Buffer(load.buffer, load.dtype, (edge, edge)), pointer)
        with f.loop(0, edge) as k:
            wide.bind(self.across.var, f.add(i0, k))
            start = f.mul(k, edge)
            wide.presets = {
                load: Access(f, edge, None).load(place, Run(start, 1))
                for load, place in stacks.items()
            }
            wide.block(self.along.body)

    def _scalars(self, block: Nest, i: tuple[Int, Int], j: tuple[Int, Int]) -> None:
        f = block.f
        with f.loop(*i) as i0, f.loop(*j) as j0:
            block.bind(self.across.var, i0)
            block.bind(self.along.var, j0)
            block.block(self.along.body)


def tiling(units: Sequence[For], row: For | None, params: Sequence[Buffer]) -> Tiling | None:
    """How a nest of parallel loops ``units`` around the vector loop ``row`` is run in tiles; None
    if it reads nothing across the grain."""
    if not units or row is None:
        return None
    across, count = units[-1], constant_count(row)
    simple = all(loop.step == 1 and loop.lo == Const(0) for loop in (across, row))
    straight = all(isinstance(stmt, (Let, Store)) for stmt in row.body)
    if not simple or not straight or count is None:
        return None
    shapes = {buffer.name: buffer.shape for buffer in params}
    loads = {}
    for stmt in row.body:
        for expr in expressions(stmt):
            for each in walk_expr(expr):
                if isinstance(each, Load):
                    i, j = (stride(each, shapes, loop.var) for loop in (across, row))
                    if i == 1 and j is not None and abs(j) > 1:
                        loads[each] = j
    written = {stmt.buffer for stmt in row.body if isinstance(stmt, Store)}
    if not loads or any(load.buffer in written for load in loads):
        return None
    widest = max(load.dtype.itemsize for load in loads)
    dtypes = {buffer.name: buffer.dtype for buffer in params}
    edge = 4 if max(widest, shape_of(row.body, dtypes).itemsize) == 8 else 8
    if min(count, constant_count(across) or 0) < edge:
        return None
    return Tiling(across, row, tuple(loads.items()), edge)


def _transposed(f: Function, place: Place, at: Int, stride: int, edge: int) -> list[Val]:
    """``edge`` vectors along j, for consecutive i, of the tile whose first element is at ``at``.

    Pieces of 16 bytes are loaded, those of distant j side by side in one register, and transposed
    within the 16 bytes, which is what vector units do best.
    """
    type = memory_type(place.buffer.dtype)
    piece = min(edge, 16 // size_of(type))
    start = f.gep(type, place.pointer, at)
    rows = []
    for column in range(0, edge, piece):
        parts = [
            _side_by_side(f, type, start, k, stride, column, piece, edge) for k in range(piece)
        ]
        size = piece
        while size > 1:
            half = piece // 2
            parts = [
                f.shuffle(parts[k], parts[k + half], _interleaved(piece, edge, upper))
                for k in range(half)
                for upper in (False, True)
            ]
            size //= 2
        rows.extend(parts)
    return rows


def _side_by_side(
    f: Function, type: str, start: Val, row: int, stride: int, column: int, piece: int, edge: int
) -> Val:
    """Pieces of rows ``row``, ``row + piece``, ... in one register."""
    small = vector(type, piece)
    loaded = [
        f.load(small, f.gep(type, start, k * stride + column)) for k in range(row, edge, piece)
    ]
    while len(loaded) > 1:
        lanes = piece * (edge // piece) // len(loaded) * 2
        loaded = [f.shuffle(a, b, range(lanes)) for a, b in zip(loaded[::2], loaded[1::2])]
    return loaded[0]


def _interleaved(piece: int, edge: int, upper: bool) -> list[int]:
    """Within each piece: the lower (upper) halves of two registers, element by element."""
    half = piece // 2
    return [
        source + start + half * upper + k
        for start in range(0, edge, piece)
        for k in range(half)
        for source in (0, edge)
    ]


def _weight(body: Sequence[Stmt]) -> int:
    return sum(
        not isinstance(e, (Var, Const))
        for stmt in body
        for value in expressions(stmt)
        for e in walk_expr(value)
    )
