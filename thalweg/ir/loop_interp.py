"""Runs a kernel of the loop IR with NumPy: the meaning against which generated code is checked.

Every value is an array over *lanes*, with one entry for all or one for each. Outside of parallel
loops there is one lane. A nest of parallel and vector loops opens as many lanes as it has
iterations, which then go through its body in step, each under a mask; with `lanes=False` its
iterations run one after the other instead. Both ways watch bounds, unwritten elements and races.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from thalweg.core.errors import GraphError
from thalweg.ir import loop_values as values
from thalweg.ir.loop_races import READ, WRITE, RaceDetector
from thalweg.ir.loop_text import print_expr, print_stmt
from thalweg.ir.loop_verify import verify_structure
from thalweg.ir.loops import (
    Accumulate,
    Alloc,
    Assign,
    Binary,
    Bitcast,
    Buffer,
    Cast,
    Const,
    Expr,
    Fma,
    For,
    If,
    Kernel,
    Let,
    Load,
    Local,
    Select,
    Stmt,
    Store,
    Unary,
    Var,
    compute_dtype,
    round_to,
    walk_expr,
)

Array = npt.NDArray[Any]


def run(kernel: Kernel, buffers: dict[str, Array], *, lanes: bool = True) -> None:
    """Run `kernel`, writing into the arrays given for its out, inout and workspace buffers.

    `buffers` maps names to arrays of the declared dtype and shape; workspace may be left out.
    GraphError, with the arrays as they were, if an argument does not fit or the kernel is
    malformed, leaves bounds, reads or leaves unwritten elements, divides an integer by zero, or
    has a race between iterations of a parallel loop. Where many iterations accumulate into one
    element at several places of a body, `lanes` decides the order of the roundings.
    """
    verify_structure(kernel)
    machine = _Machine(kernel, _check_arguments(kernel, buffers), lanes)
    with np.errstate(all="ignore"):
        machine.block(kernel.body)
    machine.check_complete()
    for buffer in kernel.params:
        if buffer.mode != "in" and buffer.name in buffers:
            buffers[buffer.name][...] = machine.memory[buffer.name].reshape(buffer.shape)


def _check_arguments(kernel: Kernel, buffers: dict[str, Array]) -> dict[str, Array]:
    unknown = set(buffers) - {buffer.name for buffer in kernel.params}
    if unknown:
        raise GraphError(f"{kernel.name} has no buffer {', '.join(map(repr, sorted(unknown)))}")
    memory = {}
    for buffer in kernel.params:
        given = buffers.get(buffer.name)
        expected = f"{buffer.dtype.name}{list(buffer.shape)}"
        if given is None:
            if buffer.mode != "workspace":
                raise GraphError(f"{kernel.name}: expected an array for buffer {buffer.name!r}")
            given = np.zeros(buffer.shape, buffer.dtype.np)
        if given.dtype != buffer.dtype.np or given.shape != buffer.shape:
            found = f"{given.dtype}{list(given.shape)}"
            raise GraphError(
                f"{kernel.name}: buffer {buffer.name!r}: expected {expected}, got {found}"
            )
        if buffer.mode != "in" and not given.flags.writeable:
            raise GraphError(f"{kernel.name}: buffer {buffer.name!r}: expected a writeable array")
        memory[buffer.name] = np.array(given, order="C").reshape(-1)
    return memory


class _Machine:
    """The state of a run: memory, registers, names, and which lanes are active."""

    def __init__(self, kernel: Kernel, memory: dict[str, Array], open_lanes: bool) -> None:
        self.kernel = kernel
        self.params = {buffer.name: buffer for buffer in kernel.params}
        self.memory = memory
        self.written = {
            buffer.name: np.zeros(buffer.size, bool)
            for buffer in kernel.params
            if buffer.mode in ("out", "workspace")
        }
        self.names: dict[str, Array] = {}
        self.registers: dict[str, tuple[Alloc, Array]] = {}  # arrays: [1 or lanes, elements]
        self.open_lanes = open_lanes
        self.lanes = 1
        self.active: Array | None = None  # None: all lanes
        self.races = RaceDetector()
        self.path: list[Stmt] = []

    # Errors

    def fail(self, message: str, bad: Array | None = None) -> NoReturn:
        """Raise, naming the statement and the loop variables of the first of the `bad` lanes."""
        loops = [stmt.var for stmt in self.path if isinstance(stmt, For) and stmt.var in self.names]
        if bad is None and self.lanes > 1:
            loops = []  # the message concerns several lanes
        lane = int(np.argmax(bad)) if bad is not None else 0
        at = [f"{var}={np.broadcast_to(self.names[var], self.lanes)[lane]}" for var in loops]
        where = " / ".join([self.kernel.name, *map(print_stmt, self.path)])
        raise GraphError(f"{where}: {message}" + (f" (at {', '.join(at)})" if at else ""))

    def check_complete(self) -> None:
        for name, written in self.written.items():
            buffer = self.params[name]
            if buffer.mode == "out" and not written.all():
                at = _unravel(int(np.argmin(written)), buffer.shape)
                raise GraphError(f"{self.kernel.name}: out buffer {name!r} was not written at {at}")

    # Statements

    def block(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            self.path.append(stmt)
            self.stmt(stmt)
            self.path.pop()

    def stmt(self, stmt: Stmt) -> None:
        match stmt:
            case For():
                if stmt.kind != "serial" and self.open_lanes and self.lanes == 1:
                    self.parallel_nest(stmt)
                else:
                    self.serial_loop(stmt)
            case If(cond, then, otherwise):
                truth = self.value(cond)
                self.masked(truth, then)
                self.masked(~truth, otherwise)
            case Let(name, value):
                self.names[name] = self.value(value)
            case Alloc(name, dtype, shape, init):
                start = round_to(self.value(init), dtype)
                rows = np.broadcast_to(start[:, None], (self.lanes, math.prod(shape)))
                self.registers[name] = (stmt, rows.copy())
            case Assign(name, index, value):
                alloc, rows = self.registers[name]
                at = self.row_positions(rows, self.position(name, alloc.shape, index))
                self.scatter(rows.reshape(-1), at, round_to(self.value(value), alloc.dtype))
            case Store(name, index, value):
                buffer = self.params[name]
                at = self.position(name, buffer.shape, index)
                stored = round_to(self.value(value), buffer.dtype)
                self.watch(buffer, at, WRITE)
                self.scatter(self.memory[name], at, stored)
                if name in self.written:
                    self.scatter(self.written[name], at, np.ones(1, bool))
            case Accumulate():
                self.accumulate(stmt)

    def masked(self, truth: Array, body: tuple[Stmt, ...]) -> None:
        active = truth if self.active is None else truth & self.active
        if body and active.any():
            saved, self.active = self.active, None if active.all() else active
            self.block(body)
            self.active = saved

    def serial_loop(self, loop: For) -> None:
        """One iteration after the other; lanes with different bounds wait for one another."""
        lo, hi = self.value(loop.lo), self.value(loop.hi)
        parallel = loop.kind != "serial"
        if parallel:
            self.races.enter()
        current = lo
        while True:
            running = current < hi
            if not (running if self.active is None else running & self.active).any():
                break
            if parallel:
                self.races.begin(1)
            self.names[loop.var] = current
            self.masked(running, loop.body)
            current = current + loop.step
        self.names.pop(loop.var, None)
        if parallel:
            self.races.leave()

    def parallel_nest(self, outermost: For) -> None:
        """Open a lane for each iteration of a perfect nest of parallel loops."""
        nest, body = [outermost], outermost.body
        while len(body) == 1 and isinstance(inner := body[0], For) and inner.kind != "serial":
            variables = {loop.var for loop in nest}
            bounds = [*walk_expr(inner.lo), *walk_expr(inner.hi)]
            # Bounds that could differ between iterations leave the loop to `serial_loop`.
            if any(
                isinstance(e, Load) or (isinstance(e, Var) and e.name in variables) for e in bounds
            ):
                break
            nest.append(inner)
            body = inner.body
        starts = [int(self.value(loop.lo)[0]) for loop in nest]
        stops = [int(self.value(loop.hi)[0]) for loop in nest]
        counts = [len(range(a, b, loop.step)) for a, b, loop in zip(starts, stops, nest)]
        if 0 in counts:
            return
        saved, self.active, self.lanes = self.active, None, math.prod(counts)
        self.path.extend(nest[1:])
        self.races.enter()
        self.races.begin(self.lanes)
        places = np.unravel_index(np.arange(self.lanes), counts)
        for loop, start, place in zip(nest, starts, places):
            self.names[loop.var] = start + loop.step * place.astype(np.int64)
        self.block(body)
        self.races.leave()
        for loop in nest:
            del self.names[loop.var]
        del self.path[len(self.path) - len(nest) + 1 :]
        self.active, self.lanes = saved, 1

    def accumulate(self, stmt: Accumulate) -> None:
        value = self.value(stmt.value)
        if stmt.target in self.params:
            target: Buffer | Alloc = self.params[stmt.target]
            flat = self.memory[stmt.target]
            at = self.position(stmt.target, target.shape, stmt.index)
            self.watch(self.params[stmt.target], at, stmt.op)
        else:
            target, rows = self.registers[stmt.target]
            flat = rows.reshape(-1)
            at = self.row_positions(rows, self.position(stmt.target, target.shape, stmt.index))
        dtype = target.dtype
        chosen, terms = self.chosen(at, value)
        if len(np.unique(chosen)) == len(chosen):
            groups = [slice(None)]
        else:
            groups = [slice(k, k + 1) for k in range(len(chosen))]
        for group in groups:
            spot = chosen[group]
            old = flat[spot].astype(compute_dtype(dtype).np)
            flat[spot] = round_to(values.binary(stmt.op, old, terms[group]), dtype)

    # Places

    def chosen(self, at: Array, value: Array) -> tuple[Array, Array]:
        """Positions and values of the active lanes, one each."""
        at, value = np.broadcast_arrays(at, value, np.empty(self.lanes))[:2]
        if self.active is None:
            return at, value
        active = np.broadcast_to(self.active, at.shape)
        return at[active], value[active]

    def scatter(self, flat: Array, at: Array, value: Array) -> None:
        chosen, stored = self.chosen(at, value)
        flat[chosen] = stored

    def row_positions(self, rows: Array, at: Array) -> Array:
        positions: Array = np.arange(len(rows)) * rows.shape[1] + at
        return positions

    def position(self, name: str, shape: tuple[int, ...], index: tuple[Expr, ...]) -> Array:
        """The flat position of an element; 0 in lanes that are not active."""
        at: Array = np.zeros(1, np.int64)
        for axis, size in zip(index, shape):
            found = self.value(axis)
            outside = (found < 0) | (found >= size)
            if outside.any():
                bad = outside if self.active is None else outside & self.active
                if bad.any():
                    first = int(np.broadcast_to(found, bad.shape)[bad][0])
                    self.fail(
                        f"index {print_expr(axis)} of {name!r} is out of bounds: "
                        f"expected 0 <= index < {size}, got {first}",
                        bad,
                    )
                found = np.where(outside, 0, found)
            at = at * size + found
        return at

    def watch(self, buffer: Buffer, at: Array, kind: str) -> None:
        """Complain of unwritten elements and races in an access that is about to happen."""
        if kind != WRITE and buffer.name in self.written:
            unwritten = ~self.written[buffer.name][at]
            bad = unwritten if self.active is None else unwritten & self.active
            if bad.any():
                first = int(np.broadcast_to(at, bad.shape)[bad][0])
                place = _unravel(first, buffer.shape)
                self.fail(f"{buffer.name!r} is read at {place} before it is written", bad)
        conflict = self.races.touch(buffer.name, buffer.size, kind, at, self.active)
        if conflict is not None:
            place = _unravel(conflict[0], buffer.shape)
            kinds = " and ".join(sorted((kind, conflict[1])))
            self.fail(
                f"race: iterations of a parallel loop {kinds} the same element {place} "
                f"of {buffer.name!r}"
            )

    # Expressions

    def value(self, expr: Expr) -> Array:
        """The value in each lane, in the compute type; what inactive lanes hold means nothing."""
        match expr:
            case Const(value, dtype):
                return np.array([value], compute_dtype(dtype).np)
            case Var(name):
                return self.names[name]
            case Load(name, index, dtype):
                buffer = self.params[name]
                at = self.position(name, buffer.shape, index)
                if buffer.mode != "in":
                    self.watch(buffer, at, READ)
                return self.memory[name][at].astype(compute_dtype(dtype).np)
            case Local(name, index, dtype):
                alloc, rows = self.registers[name]
                at = self.row_positions(rows, self.position(name, alloc.shape, index))
                return rows.reshape(-1)[at].astype(compute_dtype(dtype).np)
            case Unary(op, x):
                return values.unary(op, self.value(x))
            case Binary(op, left, right):
                a, b = self.value(left), self.value(right)
                if op in values.INTEGER_DIVISIONS and b.dtype.kind != "f":
                    b = self.divisor(b)
                return values.binary(op, a, b)
            case Select(cond, yes, no):
                return np.where(self.value(cond), self.value(yes), self.value(no))
            case Cast(x, dtype):
                return values.cast(self.value(x), x.dtype, dtype)
            case Bitcast(x, dtype):
                return values.bitcast(self.value(x), x.dtype, dtype)
            case Fma(a, b, c):
                return values.fma(self.value(a), self.value(b), self.value(c))

    def divisor(self, b: Array) -> Array:
        zero = b == 0
        bad = zero if self.active is None else zero & self.active
        if bad.any():
            self.fail("integer division by zero", bad)
        return np.where(zero, b.dtype.type(1), b) if zero.any() else b


def _unravel(position: int, shape: tuple[int, ...]) -> list[int]:
    return [int(axis) for axis in np.unravel_index(position, shape)] if shape else []
