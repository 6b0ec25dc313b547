"""A kernel of the loop IR as a native kernel.

    kernel f(in x: float32[64, 300], out y: float32[64, 300]) {      launch loops_0:
      for i in 0..64 parallel {                                        extent 64 units (rows)
        for j in 0..300 vector { y[i, j] = exp(x[i, j]) }              chunk: rows per task
      }
    }

Each statement at the top of the kernel's body becomes a launch, in order:

- a parallel loop is cut into units: one iteration of it and of the parallel loops that stand
  alone in its body, all with constant bounds. A vector loop that stands alone in the innermost of
  them is cut too where a row is more than a task. So is a vector loop at the top;
- neighbouring statements of any other kind are one launch of one unit;
- a `let` at the top belongs to every launch that uses it. From registers at the top to the last
  statement that uses them, all is one launch of one unit: lowering should pass partial results
  of parallel loops through a workspace instead.

A launch only runs units at once if each accumulates into elements of its own: the loop's variable,
alone, must be an index of every `Accumulate` into a buffer inside it. Otherwise that loop runs in
order inside of a unit. Therefore results depend on the kernel alone, never on the threads.

The order of arguments is that of the kernel's parameters, workspaces moved to the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..ir.loops import (
    Accumulate,
    Alloc,
    Expr,
    For,
    Kernel,
    Let,
    Load,
    Stmt,
    Store,
    Var,
    expressions,
    walk,
    walk_expr,
)
from ..runtime.native import Launch, NativeKernel
from .access import Place
from .builder import Function, Int, Module
from .in_place import in_place_pairs
from .statements import constant_count, register_accesses
from .target import Target
from .vector_loops import Nest, Span, lanes_for
from .work import TASK, work_of


def emit(kernel: Kernel, target: Target) -> NativeKernel:
    """LLVM text and launches for a verified kernel."""
    params = sorted(kernel.params, key=lambda buffer: buffer.mode == "workspace")
    position = {buffer.name: n for n, buffer in enumerate(params)}
    module = Module()
    launches: list[Launch] = []
    repeats = False
    for piece in _pieces(kernel.body):
        symbol = f"loops_{len(launches)}"
        writer = _Writer(kernel, position, target, module, piece)
        launches.append(writer.write(symbol))
        repeats = repeats or writer.repeats
    workspaces = tuple(
        max(1, b.size * b.dtype.itemsize) for b in kernel.params if b.mode == "workspace"
    )
    total = work_of(kernel.body)
    outside = [b for b in kernel.params if b.mode != "workspace"]
    return NativeKernel(
        kernel.name, module.text(), tuple(launch for launch in launches if launch.extent),
        workspaces, () if repeats else in_place_pairs(kernel, position), total.flops,
        sum(b.size * b.dtype.itemsize for b in outside),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Piece:
    """One launch: ``units`` are the parallel loops whose iterations are units, outermost first,
    ``row`` is the vector loop that may be cut, ``body`` runs in each unit (without ``row``)."""

    lets: tuple[Let, ...]
    units: tuple[For, ...]
    row: For | None
    body: tuple[Stmt, ...]


def _pieces(body: Sequence[Stmt]) -> list[_Piece]:
    pieces: list[_Piece] = []
    lets: list[Let] = []
    serial: list[Stmt] = []
    together = 0  # statements before this one share registers

    def close() -> None:
        if serial:
            pieces.append(_Piece(_used(lets, serial), (), None, tuple(serial)))
            serial.clear()

    for at, stmt in enumerate(body):
        if isinstance(stmt, Alloc):
            together = max(together, _last_use(body, stmt.name) + 1)
        if isinstance(stmt, Let) and at >= together:
            lets.append(stmt)
            continue
        independent = isinstance(stmt, For) and stmt.kind != "serial" and at >= together
        cut = _cut(stmt) if isinstance(stmt, For) and independent else None
        if cut is None:
            serial.append(stmt)
        else:
            close()
            pieces.append(replace(cut, lets=_used(lets, (stmt,))))
    close()
    return pieces


def _last_use(body: Sequence[Stmt], register: str) -> int:
    """The position of the last statement that reads or changes a register."""
    return max(
        at
        for at, stmt in enumerate(body)
        if any(name == register for name, _ in register_accesses((stmt,)))
        or (isinstance(stmt, Alloc) and stmt.name == register)
    )


def _cut(loop: For) -> _Piece | None:
    """How a parallel or vector loop at the top is cut into units; None if it is not."""
    units: list[For] = []
    variables: set[str] = set()
    body: tuple[Stmt, ...] = (loop,)
    while (
        len(body) == 1
        and isinstance(inner := body[0], For)
        and inner.kind == "parallel"
        and constant_count(inner) is not None
        and _separate(inner)
    ):
        units.append(inner)
        variables.add(inner.var)
        body = inner.body
    row = None
    if (
        len(body) == 1
        and isinstance(inner := body[0], For)
        and inner.kind == "vector"
        and constant_count(inner) is not None
        and _separate(inner)
    ):
        row, body = inner, ()
    if not units and row is None:
        return None
    return _Piece((), tuple(units), row, body)


def _separate(loop: For) -> bool:
    """Whether different iterations accumulate into different elements."""
    inner = {stmt.name for stmt in walk(loop.body) if isinstance(stmt, Alloc)}
    return all(
        Var(loop.var) in stmt.index
        for stmt in walk(loop.body)
        if isinstance(stmt, Accumulate) and stmt.target not in inner
    )


def _used(lets: Iterable[Let], body: Sequence[Stmt]) -> tuple[Let, ...]:
    """The lets that statements need, directly or through one another."""
    wanted = {name for stmt in walk(tuple(body)) for e in expressions(stmt) for name in _vars(e)}
    used = []
    for let in reversed(list(lets)):
        if let.name in wanted:
            used.append(let)
            wanted |= _vars(let.value)
    return tuple(reversed(used))


def _vars(expr: Expr) -> set[str]:
    return {e.name for e in walk_expr(expr) if isinstance(e, Var)}


@dataclass
class _Writer:
    """Writes the function of one piece."""

    kernel: Kernel
    position: dict[str, int]
    target: Target
    module: Module
    piece: _Piece
    repeats: bool = False

    def write(self, symbol: str) -> Launch:
        piece = self.piece
        counts = [constant_count(loop) or 0 for loop in piece.units]
        params = [("ptr noalias", "args"), ("i64", "lo"), ("i64", "hi")]
        with self.module.function(symbol, params) as f:
            block = Nest(f, self.target, self._places(f))
            row_blocks, row_step = self._row_blocks(block)
            extent = math.prod(counts) * row_blocks
            with block.shared():
                block.prepare((*piece.lets, *self._statements()))
                block.block(piece.lets)
                if extent == 1:
                    self._unit(block, 0, counts, row_blocks, row_step)
                elif extent > 1:
                    with f.loop(f.param("lo"), f.param("hi")) as unit:
                        self._unit(block, unit, counts, row_blocks, row_step)
            self.repeats = block.repeats
        return Launch(symbol, extent, self._chunk(extent, row_blocks))

    def _statements(self) -> tuple[Stmt, ...]:
        return (*self.piece.body, *((self.piece.row,) if self.piece.row else ()))

    def _places(self, f: Function) -> dict[str, Place]:
        used = _buffers(self.piece)
        args = f.param("args")
        places = {}
        for buffer in self.kernel.params:
            if buffer.name in used:
                pointer = f.load("ptr", f.gep("ptr", args, self.position[buffer.name]))
                places[buffer.name] = Place(buffer, pointer)
        return places

    def _row_blocks(self, block: Nest) -> tuple[int, int]:
        """Into how many blocks the row of a unit is cut, and the iterations of each."""
        row = self.piece.row
        count = constant_count(row) if row is not None else None
        if row is None or not count:
            return (1 if row is None else 0), 1
        tasks = work_of((row,)).time / TASK
        if tasks < 2:
            return 1, count
        lanes = max(16, lanes_for(block, row, count))
        step = max(lanes, int(count / tasks) // (4 * lanes) * 4 * lanes)
        return -(-count // step), step

    def _unit(
        self, block: Nest, unit: Int, counts: Sequence[int], row_blocks: int, row_step: int
    ) -> None:
        f, piece = block.f, self.piece
        part, unit = f.rem(unit, row_blocks), f.div(unit, row_blocks)
        left = math.prod(counts)
        for loop, count in zip(piece.units, counts):
            left //= count
            place = f.div(unit, left) if loop is piece.units[0] else f.rem(f.div(unit, left), count)
            block.bound_loop(loop)
            lo = block.scalar(loop.lo)
            block.bind(loop.var, f.add(lo, f.mul(place, loop.step)))
        if piece.row is None:
            block.block(piece.body)
            return
        total = constant_count(piece.row)
        assert total is not None
        if row_blocks == 1:
            block.loop(piece.row)
            return
        first = f.mul(part, row_step)
        end = f.min(f.add(first, row_step), total)
        if total % row_step == 0:
            end = f.add(first, row_step)
        if not block.vector_loop(piece.row, Span(first, end, total)):
            start, step = block.scalar(piece.row.lo), piece.row.step
            lo, hi = (f.add(start, f.mul(k, step)) for k in (first, end))
            block.serial_loop(piece.row, lo, hi)

    def _chunk(self, extent: int, row_blocks: int) -> int:
        """Units that make a task of about `TASK`."""
        row = (self.piece.row,) if self.piece.row is not None else ()
        unit = work_of((*self.piece.body, *row)).time / max(1, row_blocks)
        fit = max(1, int(TASK / max(unit, 1e-3)))
        return max(1, min(extent, fit))


def _buffers(piece: _Piece) -> set[str]:
    """Names of everything that a piece loads, stores or accumulates into."""
    found: set[str] = set()
    row = (piece.row,) if piece.row is not None else ()
    for stmt in (*piece.lets, *walk((*piece.body, *row))):
        if isinstance(stmt, Store):
            found.add(stmt.buffer)
        elif isinstance(stmt, Accumulate):
            found.add(stmt.target)
        for expr in expressions(stmt):
            found.update(e.buffer for e in walk_expr(expr) if isinstance(e, Load))
    return found
