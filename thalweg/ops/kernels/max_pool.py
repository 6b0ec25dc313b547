"""max_pool: the maximum of each window and its flat position, by rows of windows.

Along the last dimension the windows that lie inside the operand are searched as vectors, the few
at the edges one by one; the other dimensions only skip what lies outside. Every window is searched
in row-major order, so that of equal elements the first counts; a NaN takes every place before it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ...core.dtypes import DType, int64
from ...ir.loops import Alloc, Assign, Binary, Cast, Const, Kernel, Select, Store
from ...ir.node import Node
from .parts import (
    Body,
    Buffer,
    Expr,
    Stmt,
    Var,
    as_dtype,
    at,
    both,
    either,
    index,
    is_nan,
    key,
    key_dtype,
    let,
    local,
    loop,
    parallel,
    position_dtype,
    when,
)

_WRITTEN_OUT = 64  # window elements along the last dimension that are not a loop


def build(node: Node) -> Kernel:
    x, y = node.inputs[0].type, node.types[0]
    planes, space, out = math.prod(x.shape[:2]), x.shape[2:], y.shape[2:]
    search = _Search(
        Buffer("x", x.dtype, (planes, *space)), Buffer("y", x.dtype, (planes, *out), "out"),
        Buffer("place", int64, (planes, *out), "out"), node,
    )  # fmt: skip
    return Kernel("max_pool", (search.x, search.y, search.place), search.kernel())


class _Search:
    def __init__(self, x: Buffer, y: Buffer, place: Buffer, node: Node) -> None:
        self.x, self.y, self.place = x, y, place
        self.space, self.out = x.shape[1:], y.shape[1:]
        self.kernel_size: tuple[int, ...] = node.attrs["kernel"]
        self.stride: tuple[int, ...] = node.attrs["stride"]
        self.dilation: tuple[int, ...] = node.attrs["dilation"]
        self.low: tuple[int, ...] = tuple(low for low, _ in node.attrs["padding"])
        self.held = key_dtype(x.dtype)
        self.numbers = position_dtype(math.prod(self.space))
        self.lead = len(self.space) - 1

    def kernel(self) -> Body:
        """One task is a plane and a row of windows of the first dimension."""
        if 0 in self.y.shape:
            return ()
        body: Body = self.row()
        for d in reversed(range(1, self.lead)):
            body = (loop(f"o{d}", 0, self.out[d], *body),)
        if self.lead:
            rows = self.y.shape[0] * self.out[0]
            split = (
                let("p", Binary("floordiv", Var("row"), index(self.out[0])))[0],
                let("o0", Binary("mod", Var("row"), index(self.out[0])))[0],
            )
            return (parallel("row", rows, *split, *body),)
        return (parallel("p", self.y.shape[0], *body),)

    def row(self) -> Body:
        """The windows along the last dimension."""
        d, last = self.lead, self.out[-1]
        reach = self.dilation[d] * (self.kernel_size[d] - 1)
        first = min(max(-(-self.low[d] // self.stride[d]), 0), last)
        inside = (self.space[d] - 1 - reach + self.low[d]) // self.stride[d] + 1
        end = min(max(inside, first), last)
        name = f"o{d}"
        parts: list[Stmt] = []
        for lo, hi, kind in ((0, first, "edge"), (first, end, "inside"), (end, last, "edge")):
            if lo < hi:
                inner = self.window(kind == "edge")
                vector = "vector" if kind == "inside" else "serial"
                parts.append(loop(name, lo, hi, *inner, kind=vector))
        return tuple(parts)

    def window(self, edge: bool) -> Body:
        """One window; with ``edge`` it may reach outside along the last dimension."""
        starts = [self.start(d) for d in range(self.lead + 1)]
        first = [self.first(d, start) for d, start in enumerate(starts)]
        plane = Var("p")
        here = tuple(Var(f"o{d}") for d in range(self.lead + 1))
        return (
            Alloc("best", self.held, (), Const(_lowest(self.held), self.held)),
            Alloc("where", self.numbers, (), as_dtype(self.flat(first), self.numbers)),
            *self.taps(starts, edge),
            Store("y", (plane, *here), as_dtype(local("best", self.held), self.y.dtype)),
            Store("place", (plane, *here), as_dtype(local("where", self.numbers), int64)),
        )

    def start(self, d: int) -> Expr:
        """Where the window begins, which may be outside."""
        return Var(f"o{d}") * self.stride[d] - self.low[d]

    def first(self, d: int, start: Expr) -> Expr:
        """The first element of the window that is not before the operand."""
        if not self.low[d]:
            return start
        step = self.dilation[d]
        missing = Binary("floordiv", Const(step - 1, int64) - start, index(step))
        return Select(start < 0, start + missing * step, start)

    def flat(self, place: Sequence[Expr]) -> Expr:
        result: Expr = index(0)
        for extent, at_ in zip(self.space, place):
            result = result * extent + at_
        return result

    def taps(self, starts: Sequence[Expr], edge: bool) -> Body:
        """The search through the window: loops over the leading dimensions, whose rows are
        skipped where they lie outside; the last dimension is written out where it is short."""
        d = self.lead
        width = self.kernel_size[d]
        place = [starts[k] + Var(f"k{k}") * self.dilation[k] for k in range(d)]
        if width <= _WRITTEN_OUT:
            along = [starts[d] + k * self.dilation[d] for k in range(width)]
            body: Body = tuple(
                itertools.chain.from_iterable(
                    self.guarded([*place, last], edge, f"{n}") for n, last in enumerate(along)
                )
            )
        else:
            last = starts[d] + Var(f"k{d}") * self.dilation[d]
            body = (loop(f"k{d}", 0, width, *self.guarded([*place, last], edge, "")),)
        for k in reversed(range(d)):
            if not self.never_outside(k):
                body = (when(self.within(k, place[k]), *body),)
            body = (loop(f"k{k}", 0, self.kernel_size[k], *body),)
        return body

    def never_outside(self, d: int) -> bool:
        reach = (self.out[d] - 1) * self.stride[d] + self.dilation[d] * (self.kernel_size[d] - 1)
        return self.low[d] <= 0 and reach - self.low[d] < self.space[d]

    def within(self, d: int, place: Expr) -> Expr:
        return both(place >= 0, place < self.space[d])

    def guarded(self, place: Sequence[Expr], edge: bool, suffix: str) -> Body:
        body = self.look(place, suffix)
        return (when(self.within(self.lead, place[-1]), *body),) if edge else body

    def look(self, place: Sequence[Expr], suffix: str) -> Body:
        """Compare the element at ``place`` with the best one so far."""
        named, value = let(f"v{suffix}", key(at(self.x, Var("p"), *place)))
        best = local("best", self.held)
        better: Expr = value > best
        if self.held.is_floating_point:
            better = either(better, is_nan(value))
        found, takes = let(f"b{suffix}", better)
        where = local("where", self.numbers)
        position = Cast(self.flat(place), self.numbers)
        return (
            named,
            found,
            Assign("best", (), Select(takes, value, best)),
            Assign("where", (), Select(takes, position, where)),
        )


def _lowest(dtype: DType) -> float | int:
    if dtype.is_floating_point:
        return -math.inf
    return -(1 << (8 * dtype.itemsize - 1)) if dtype.is_signed else 0
