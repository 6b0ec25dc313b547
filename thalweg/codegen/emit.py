"""A kernel of the loop IR as a native kernel.

    kernel f(in x: float32[64, 300], out y: float32[64, 300]) {      launch loops_0:
      for i in 0..64 parallel {                                        extent 64 units (rows)
        for j in 0..300 vector { y[i, j] = exp(x[i, j]) }              chunk: rows per task
      }
    }

Each statement at the top of the kernel's body becomes a launch, in order:

- a parallel loop is cut into units: one iteration of it and of the parallel loops that stand
  alone in its body, all with constant bounds. A vector loop that stands alone in the innermost of
  them is cut too where a row is more than a task, and so is a vector loop at the top; nests that
  read across the grain run in tiles (`transpose`);
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
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from ..ir.loops import (
    Accumulate,
    Alloc,
    Buffer,
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
from .builder import Function, Int, Module, Val
from .in_place import copied_first, in_place_pairs
from .statements import constant_count, register_accesses
from .streams import ALIGNMENT, streamed
from .target import Target
from .transpose import Tiling, tiling
from .vector_loops import Nest, Span, lanes_for
from .work import TASK, work_of


def emit(kernel: Kernel, target: Target) -> NativeKernel:
    """LLVM text and launches for a verified kernel."""
    params = sorted(kernel.params, key=lambda buffer: buffer.mode == "workspace")
    position = {buffer.name: n for n, buffer in enumerate(params)}
    module = Module()
    launches: list[Launch] = []
    pairs = in_place_pairs(kernel, position)
    for piece in _pieces(kernel.body):
        symbol = f"loops_{len(launches)}"
        copied = copied_first(kernel) if not launches else None
        writer = _Writer(kernel, position, target, module, piece, copied, once=bool(pairs))
        launches.append(writer.write(symbol))
    workspaces = tuple(
        max(1, b.size * b.dtype.itemsize) for b in kernel.params if b.mode == "workspace"
    )
    total = work_of(kernel.body)
    outside = [b for b in kernel.params if b.mode != "workspace"]
    return NativeKernel(
        kernel.name, module.text(), tuple(launch for launch in launches if launch.extent),
        workspaces, pairs, total.flops,
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
    copied: tuple[Buffer, Buffer] | None = None  # all it does, unless both are one
    once: bool = False  # no element is computed twice: results may lie in operands' memory

    def write(self, symbol: str) -> Launch:
        piece = self.piece
        counts = [constant_count(loop) or 0 for loop in piece.units]
        params = [("ptr noalias", "args"), ("i64", "lo"), ("i64", "hi")]
        with self.module.function(symbol, params) as f:
            block = Nest(f, self.target, self._places(f))
            block.once = self.once
            tiles = tiling(piece.units, piece.row, self.kernel.params)
            row_blocks, row_step = self._row_blocks(block)
            if tiles is not None:
                counts[-1], row_blocks = 1, tiles.units
            extent = math.prod(counts) * row_blocks
            with self._unless_in_place(f), block.shared():
                block.prepare((*piece.lets, *self._statements()))
                block.block(piece.lets)
                units = _Units(block, piece, tuple(counts), row_blocks, row_step, tiles)
                streams = self._streams(block) if tiles is None and extent > 1 else ()
                if extent == 1:
                    units.write(0)
                elif extent > 1 and not streams:
                    self._run(block, units)
                elif extent > 1:
                    self._run_streaming(block, units, streams)
        return Launch(symbol, extent, self._chunk(extent))

    def _unless_in_place(self, f: Function) -> AbstractContextManager[None]:
        if self.copied is None:
            return nullcontext()
        args = f.param("args")
        source, result = (
            f.load("ptr", f.gep("ptr", args, self.position[buffer.name])) for buffer in self.copied
        )
        return f.when(f.compare("icmp", "ne", source, result))

    def _run(self, block: Nest, units: _Units) -> None:
        f = block.f
        with f.loop(f.param("lo"), f.param("hi")) as unit:
            units.write(unit)

    def _streams(self, block: Nest) -> tuple[str, ...]:
        row = self.piece.row
        count = constant_count(row) if row is not None else None
        lanes = lanes_for(block, row, count) if row is not None else 1
        body = self.piece.units[:1] or self._statements()
        return streamed(body, row, lanes, self.kernel.params, self.target)

    def _run_streaming(self, block: Nest, units: _Units, streams: Sequence[str]) -> None:
        """Both ways of writing, for buffers that are aligned and for those that are not."""
        f = block.f
        bits = Val("i64", "0")
        for name in streams:
            address = f.convert("ptrtoint", block.places[name].pointer, "i64")
            bits = f.binary("or", bits, address)
        low = f.binary("and", bits, Val("i64", str(ALIGNMENT - 1)))

        def around() -> None:
            plain = block.places
            block.places = {
                name: replace(place, stream=name in streams) for name, place in plain.items()
            }
            self._run(block, units)
            block.places = plain
            f.module.declare("declare void @llvm.x86.sse.sfence()")
            f.emit("call void @llvm.x86.sse.sfence()")

        f.either(f.test("eq", low, 0), around, lambda: self._run(block, units))

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

    def _chunk(self, extent: int) -> int:
        """Units that make a task of about `TASK`."""
        counts = math.prod(constant_count(loop) or 0 for loop in self.piece.units)
        unit = work_of(self._statements()).time * counts / max(1, extent)
        return max(1, min(extent, int(TASK / max(unit, 1e-3))))


@dataclass(frozen=True)
class _Units:
    """Writes one unit of a piece: ``counts`` iterations of its loops, times parts of its row."""

    block: Nest
    piece: _Piece
    counts: tuple[int, ...]
    parts: int
    step: int  # iterations of the row in a part
    tiles: Tiling | None

    def write(self, unit: Int) -> None:
        f, block, piece = self.block.f, self.block, self.piece
        part, unit = f.rem(unit, self.parts), f.div(unit, self.parts)
        left = math.prod(self.counts)
        for n, (loop, count) in enumerate(zip(piece.units, self.counts)):
            left //= count
            place = f.div(unit, left) if n == 0 else f.rem(f.div(unit, left), count)
            block.bound_loop(loop)
            lo = block.scalar(loop.lo)
            block.bind(loop.var, f.add(lo, f.mul(place, loop.step)))
        if piece.row is None:
            block.block(piece.body)
        elif self.tiles is not None:
            block.bound_loop(piece.row)
            self.tiles.write(block, part)
        elif self.parts == 1:
            block.loop(piece.row)
        else:
            self._part(piece.row, part)

    def _part(self, row: For, part: Int) -> None:
        f, block, total = self.block.f, self.block, constant_count(row)
        assert total is not None
        first = f.mul(part, self.step)
        end = f.add(first, self.step)
        if total % self.step:
            end = f.min(end, total)
        if not block.vector_loop(row, Span(first, end, total)):
            start = block.scalar(row.lo)
            lo, hi = (f.add(start, f.mul(k, row.step)) for k in (first, end))
            block.serial_loop(row, lo, hi)


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
