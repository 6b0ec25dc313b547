"""From finished sums to the results: the epilogue of a product."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..ir.anchor import AnchorCall
from ..ir.loops import (
    Const,
    For,
    Kernel,
    Load,
    Stmt,
    Store,
    Var,
    expressions,
    walk,
    walk_expr,
)
from .access import Place
from .builder import Function, Int, Module, Val, literal, vector
from .gemm_shape import NONE, Axis, Problem, plain_store
from .gemm_tile import Numbers
from .in_place import in_place_pairs
from .statements import Block
from .target import Target

NEAR_BYTES = 1 << 18  # of an epilogue's operands and results that the caches hold anyway


@dataclass(frozen=True, slots=True)
class Finish:
    """Functions called as name(args, tile, rows, outer..., row, col): the epilogue of ``rows``
    rows of a tile of ``columns`` columns, ``valid`` of which exist.

    It runs on vectors of results, two registers wide where they come in pairs: long epilogues
    are chains of operations, of which two can overlap."""

    call: AnchorCall
    problem: Problem
    numbers: Numbers
    target: Target
    columns: int

    @property
    def direct(self) -> int:
        """The parameter that tiles may be written to as they are, or -1."""
        at = plain_store(self.call.epilogue, self.call.shape, self.call.params)
        col = self.problem.col
        unit = col.dim is None or self.stride(col) == 1
        return at if at >= 0 and unit and self.numbers.as_stored else -1

    def stride(self, axis: Axis) -> int:
        """How far a step along the axis goes in a dense array of the result's shape."""
        stride = 1
        for extent in self.call.shape[(axis.dim or 0) + 1 :]:
            stride *= extent
        return 0 if axis.dim is None else stride

    def offset(self, f: Function, at: Mapping[Axis, Int]) -> Int:
        total: Int = 0
        for axis, index in at.items():
            total = f.add(total, f.mul(index, self.stride(axis)))
        return total

    def emit(self, module: Module, name: str, valid: int) -> None:
        outer = [("i64", f"o{k}") for k in range(len(self.problem.outer))]
        params = [("ptr", "args"), ("ptr", "tile"), ("i64", "rows"), *outer]
        params += [("i64", "row"), ("i64", "col")]
        lanes = self.numbers.lanes
        width = 2 * lanes if valid % (2 * lanes) == 0 or self.columns % (2 * lanes) == 0 else lanes
        whole = valid // width * width
        with module.function(name, params, internal=True) as f:
            at: dict[Axis, Int] = {
                axis: f.param(f"o{k}") for k, axis in enumerate(self.problem.outer)
            }
            places = self._places(f)
            with f.loop(0, f.param("rows")) as i:
                at[self.problem.row] = f.add(f.param("row"), i)
                tile = f.gep(self.numbers.register, f.param("tile"), f.mul(i, self.columns))
                if whole == width:
                    self._vector(f, places, at, tile, 0, width, width)
                elif whole:
                    with f.loop(0, whole, width) as j:
                        self._vector(f, places, at, tile, j, width, width)
                if valid > whole:
                    short = 1 if valid - whole == 1 else lanes if valid - whole <= lanes else width
                    self._vector(f, places, at, tile, whole, short, valid - whole)

    @property
    def fetched(self) -> list[int]:
        """The parameters whose lines are worth fetching while a tile is computed: those that the
        epilogue reads element by element, or else writes, if they are too large for the caches. A
        tile touches a few lines of each, too far apart for the processor to see them coming.
        Results beside operands often lie in the same memory, and stores can wait: fetching more
        streams than the processor has room for outstanding loads costs more than it saves."""
        call, col = self.call, self.problem.col
        if col.dim is None or self.stride(col) != 1:
            return []
        names = set(touched(call.epilogue.body, call.epilogue.index))
        found = [
            k
            for k, buffer in enumerate(call.params)
            if buffer.name in names and buffer.shape == call.shape
        ]
        size = sum(call.params[k].dtype.itemsize for k in found) * math.prod(call.shape)
        if size <= NEAR_BYTES:
            return []
        return [k for k in found if call.params[k].mode == "in"] or found

    def streams(
        self, f: Function, args: Val, outer: Sequence[Int], row: Int, col: Int
    ) -> list[tuple[Val, Int]]:
        """Where the rows of what is ``fetched`` begin for a tile, and their distance in bytes."""
        at: dict[Axis, Int] = {**dict(zip(self.problem.outer, outer)), self.problem.row: row}
        first, step = f.add(self.offset(f, at), col), self.stride(self.problem.row)
        found: list[tuple[Val, Int]] = []
        for k in self.fetched:
            bytes = self.call.params[k].dtype.itemsize
            start = f.load("ptr", f.gep("ptr", args, k))
            found.append((f.gep("i8", start, f.mul(first, bytes)), step * bytes))
        return found

    def invoke(
        self, f: Function, name: str, args: Val, tile: Val, rows: Int,
        outer: list[Int], row: Int, col: Int,
    ) -> None:  # fmt: skip
        sizes = [x if isinstance(x, Val) else literal(x, "i64") for x in (rows, *outer, row, col)]
        f.call("void", name, args, tile, *sizes)

    def _places(self, f: Function) -> dict[str, Place]:
        return {
            buffer.name: Place(buffer, f.load("ptr", f.gep("ptr", f.param("args"), k)))
            for k, buffer in enumerate(self.call.params)
        }

    def _vector(
        self, f: Function, places: Mapping[str, Place], at: Mapping[Axis, Int], tile: Val,
        first: Int, width: int, valid: int,
    ) -> None:  # fmt: skip
        """The epilogue of ``valid`` of ``width`` columns from ``first`` of the tile."""
        block = Block(f, self.target, places, width)
        epilogue, col = self.call.epilogue, self.problem.col
        for name in epilogue.index:
            block.bind(name, 0)
        for axis, index in at.items():
            self._bind(block, axis, index)
        if col.dim is not None:
            block.bind_run(epilogue.index[col.dim], f.add(f.param("col"), first))
            block.bounded(epilogue.index[col.dim], 0, col.size - 1)
        if valid < width:
            block.valid(valid)
        sums = f.load(
            vector(self.numbers.register, width), f.gep(self.numbers.register, tile, first)
        )
        block.bind(epilogue.value, self.numbers.value(f, sums, width))
        block.run(epilogue.body)

    def _bind(self, block: Block, axis: Axis, index: Int) -> None:
        if axis.dim is not None and axis is not NONE:
            name = self.call.epilogue.index[axis.dim]
            block.bind(name, index)
            block.bounded(name, 0, axis.size - 1)


def touched(body: tuple[Stmt, ...], index: tuple[str, ...] | None = None) -> list[str]:
    """The buffers that statements load from or store to; with ``index``, those of them that are
    accessed at just these variables."""
    found: dict[str, None] = {}
    for stmt in walk(body):
        for part in (stmt, *(e for x in expressions(stmt) for e in walk_expr(x))):
            if isinstance(part, Load | Store):
                names = tuple(e.name if isinstance(e, Var) else None for e in part.index)
                if index is None or names == index:
                    found[part.buffer] = None
    return list(found)


def in_place(call: AnchorCall) -> tuple[tuple[int, int], ...]:
    """Pairs of parameters (operand of the epilogue, result) that may share their memory. Every
    element passes through the epilogue once, after all that the product reads of its operands by
    that unit of work; other units may still read them, so those are never overwritten."""
    body: tuple[Stmt, ...] = call.epilogue.body
    for name, extent in zip(reversed(call.epilogue.index), reversed(call.shape)):
        body = (For(name, Const(0), Const(extent), 1, body, "parallel"),)
    read = {operand.buffer for operand in call.operands}
    position = {buffer.name: k for k, buffer in enumerate(call.params)}
    others = tuple(b for k, b in enumerate(call.params) if k not in read)
    return in_place_pairs(Kernel("epilogue", others, body), position)
