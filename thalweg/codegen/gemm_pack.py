"""Packing: operands copied into panels that a micro-kernel reads from one end to the other.

A panel holds ``width`` positions (rows of A, columns of B) of a block of the sum, one step after
another: element (k, r) lies at ``k * width + r``, in the register type. Columns past the end of
the matrix repeat the last one or are zero; they reach only results that nobody stores.
"""

from __future__ import annotations

from dataclasses import dataclass

from .builder import Function, Int, Module, Val, as_value
from .gemm_tile import Numbers


@dataclass(frozen=True, slots=True)
class Pack:
    """One packing function, called as name(source, panel, depth, count) for ``count`` panels.

    ``valid`` of the ``width`` positions of a panel exist, ``across`` elements apart; steps of the
    sum are ``along`` elements apart, panels ``stride``. Positions that lie side by side are read in
    whole rows, across all panels: the fewer streams, the better memory keeps up. ``short`` asks for
    little code rather than speed."""

    name: str
    numbers: Numbers
    width: int
    valid: int
    across: int
    along: int
    stride: int
    short: bool = False

    def emit(self, module: Module) -> None:
        params = [("ptr", "source"), ("ptr", "panel"), ("i64", "depth"), ("i64", "count")]
        with module.function(self.name, params, internal=True) as f:
            depth, count = f.param("depth"), f.param("count")
            if self.across == 1:
                with f.loop(0, depth) as k, f.loop(0, count) as panel:
                    self._copy(f, k, f.mul(panel, self.width), f.mul(panel, self.stride))
                return
            with f.loop(0, count) as panel:
                ahead, behind = f.mul(panel, self.width * self.across), f.mul(panel, self.stride)
                whole: Int = 0
                if self.along == 1 and not self.short:
                    lanes = self.numbers.lanes
                    whole = f.mul(f.div(depth, lanes), lanes)
                    with f.loop(0, whole, lanes) as k:
                        self._transpose(f, k, ahead, behind)
                with f.loop(whole, depth) as k:
                    self._gather(f, k, ahead, behind)

    def call(self, f: Function, source: Val, panel: Val, depth: Int, count: Int) -> None:
        f.call("void", self.name, source, panel, as_value(depth), as_value(count))

    def _source(self, f: Function, k: Val, ahead: Int, position: int) -> Val:
        memory = self.numbers.memory
        row = f.gep(memory, f.gep(memory, f.param("source"), ahead), f.mul(k, self.along))
        return f.gep(memory, row, min(position, self.valid - 1) * self.across)

    def _panel(self, f: Function, k: Int, behind: Int, position: int) -> Val:
        register = self.numbers.register
        row = f.gep(register, f.gep(register, f.param("panel"), behind), f.mul(k, self.width))
        return f.gep(register, row, position)

    def _copy(self, f: Function, k: Val, ahead: Int, behind: Int) -> None:
        """Positions that lie side by side: vectors, then smaller ones for what is left."""
        numbers = self.numbers
        for at, count in pieces(self.valid, numbers.lanes):
            source = f.gep(numbers.memory, self._source(f, k, ahead, 0), at)
            f.store(numbers.load(f, source, count), self._panel(f, k, behind, at))
        for at in range(self.valid, self.width):
            f.store(numbers.zero(), self._panel(f, k, behind, at))

    def _gather(self, f: Function, k: Val, ahead: Int, behind: Int) -> None:
        for position in range(self.width):
            x = self.numbers.load(f, self._source(f, k, ahead, position), 1)
            f.store(x, self._panel(f, k, behind, position))

    def _transpose(self, f: Function, k: Val, ahead: Int, behind: Int) -> None:
        """A square of steps that lie side by side, for as many positions at a time."""
        numbers, lanes = self.numbers, self.numbers.lanes
        for first in range(0, self.width, lanes):
            count = min(lanes, self.width - first)
            rows = [
                numbers.load(f, self._source(f, k, ahead, first + min(r, count - 1)), lanes)
                for r in range(lanes)
            ]
            for step, column in enumerate(transposed(f, rows)):
                for at, size in pieces(count, lanes):
                    part = column if size == lanes else _part(f, column, at, size)
                    f.store(part, self._panel(f, k, behind, step * self.width + first + at))


def pieces(count: int, lanes: int) -> list[tuple[int, int]]:
    """``count`` elements cut into (start, size) of vectors whose sizes are powers of two."""
    found, at = [], 0
    while at < count:
        size = min(lanes, 1 << (count - at).bit_length() - 1)
        found.append((at, size))
        at += size
    return found


def _part(f: Function, x: Val, at: int, size: int) -> Val:
    return f.extract(x, at) if size == 1 else f.shuffle(x, None, range(at, at + size))


def transposed(f: Function, rows: list[Val]) -> list[Val]:
    """The transpose of a square of vectors: blocks of 1, 2, 4, ... elements are exchanged."""
    size = len(rows)
    step = 1
    while step < size:
        low = [p if not p & step else size + p - step for p in range(size)]
        high = [p + step if not p & step else size + p for p in range(size)]
        out = list(rows)
        for i in range(size):
            if not i & step:
                out[i] = f.shuffle(rows[i], rows[i + step], low)
                out[i + step] = f.shuffle(rows[i], rows[i + step], high)
        rows = out
        step *= 2
    return rows
