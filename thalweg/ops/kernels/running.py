"""cumsum, cumprod, cummax, cummin and logcumsumexp: running results along one dimension.

Each op is a monoid: a state, lifted from one element and merged with the state of what follows.
Merging is a chain in which every step waits for the one before; so four *strands* (rows, or
segments of a long row) are walked in one loop, where their chains overlap. Where a step evaluates
functions, the strands are lanes of vectors. A long row is cut into segments: their totals come
first, then every segment starts from the total before it. The cut is the kernel's own, so the
rounding does not depend on threads. Where the dimension is not the last, every lane walks down its
own column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...core.dtypes import DType, float32
from ...ir.loops import Alloc, Assign, Binary, Kernel, Let, Store, Unary
from ...ir.node import Node
from .parts import (
    Body,
    Buffer,
    Expr,
    Select,
    Stmt,
    Var,
    along,
    as_dtype,
    at,
    either,
    equal,
    greater,
    index,
    is_nan,
    key,
    key_dtype,
    lesser,
    local,
    loop,
    parallel,
    position_dtype,
    sum_dtype,
)

_STRANDS = 4
_LANES = 16
_SEGMENT = 4096
_TASKS = 8  # rows that are parallelism enough
_COLUMNS = 64
_FEW_COLUMNS = 8  # below, lanes would stay empty

State = tuple[Expr, ...]


@dataclass(frozen=True)
class Monoid:
    """``states`` are the dtypes of the state's parts; one part per result of the op.

    ``lift(element, position)`` is the state of one element, ``merge(before, after)`` that of both.
    ``costly`` merges evaluate functions, which lanes do faster than a chain of single elements.
    """

    states: tuple[DType, ...]
    lift: Callable[[Expr, Expr], State]
    merge: Callable[[State, State], State]
    costly: bool = False


def build(node: Node) -> Kernel:
    x = node.inputs[0].type
    outer, count, inner = along(x.shape, node.attrs["dim"])
    monoid = _MONOIDS[node.op.running](x.dtype, count)
    shape = (outer, count, inner)
    outs = tuple(Buffer(f"y{n}", t.dtype, shape, "out") for n, t in enumerate(node.types))
    work = _Work(node.op.name, Buffer("x", x.dtype, shape), outs, monoid)
    if not count:
        return Kernel(node.op.name, work.params, ())
    if inner >= _FEW_COLUMNS:
        return work.by_columns()
    return work.by_rows() if outer * inner >= _TASKS or count < 2 * _SEGMENT else work.by_segments()


def _sum(dtype: DType, count: int) -> Monoid:
    wide = sum_dtype(dtype)
    return Monoid((wide,), lambda v, k: (as_dtype(v, wide),), lambda a, b: (a[0] + b[0],))


def _product(dtype: DType, count: int) -> Monoid:
    wide = sum_dtype(dtype)
    return Monoid((wide,), lambda v, k: (as_dtype(v, wide),), lambda a, b: (a[0] * b[0],))


def _extremum(largest: bool) -> Callable[[DType, int], Monoid]:
    def make(dtype: DType, count: int) -> Monoid:
        held, place = key_dtype(dtype), position_dtype(count)

        def merge(a: State, b: State) -> State:
            beats = Binary("ge" if largest else "le", b[0], a[0])
            if held.is_floating_point:
                beats = either(beats, is_nan(b[0]))
            return Select(beats, b[0], a[0]), Select(beats, b[1], a[1])

        return Monoid((held, place), lambda v, k: (key(v), as_dtype(k, place)), merge)

    return make


def _log_sum_exp(dtype: DType, count: int) -> Monoid:
    held = float32 if dtype.itemsize == 2 else dtype

    def merge(a: State, b: State) -> State:
        """log(exp(a) + exp(b)) from the larger: infinities and NaN are their own sums."""
        peak = greater(a[0], b[0])
        below = Unary("neg", Unary("abs", a[0] - b[0]))
        sum_ = peak + Unary("log1p", Unary("exp", below))
        return (Select(either(Unary("isinf", peak), is_nan(peak)), peak, sum_),)

    return Monoid((held,), lambda v, k: (as_dtype(v, held),), merge, costly=True)


_MONOIDS: dict[str, Callable[[DType, int], Monoid]] = {
    "sum": _sum,
    "prod": _product,
    "max": _extremum(True),
    "min": _extremum(False),
    "logsumexp": _log_sum_exp,
}


@dataclass(frozen=True)
class _Strand:
    """A row, or a part of one: what its registers are called, where its element k lies, and which
    number that has in the row."""

    suffix: str
    place: Callable[[Expr], tuple[Expr, ...]]
    number: Callable[[Expr], Expr] = lambda k: k


@dataclass(frozen=True)
class _Work:
    name: str
    x: Buffer
    outs: tuple[Buffer, ...]
    monoid: Monoid

    @property
    def params(self) -> tuple[Buffer, ...]:
        return (self.x, *self.outs)

    # --- pieces ---------------------------------------------------------------------------------

    def state(self, strand: _Strand) -> State:
        return tuple(
            local(f"s{n}{strand.suffix}", dtype) for n, dtype in enumerate(self.monoid.states)
        )

    def begin(self, strand: _Strand, state: State) -> Body:
        return tuple(
            Alloc(f"s{n}{strand.suffix}", value.dtype, (), value) for n, value in enumerate(state)
        )

    def advance(self, strand: _Strand, k: Expr) -> Body:
        """The strand's state moved over element k."""
        element = self.monoid.lift(at(self.x, *strand.place(k)), strand.number(k))
        held = [f"e{n}{strand.suffix}" for n in range(len(element))]
        named: State = tuple(Var(name, value.dtype) for name, value in zip(held, element))
        moved = self.monoid.merge(self.state(strand), named)
        news = [f"n{n}{strand.suffix}" for n in range(len(moved))]
        lets = [Let(name, value) for name, value in zip([*held, *news], [*element, *moved])]
        assigns = [
            Assign(f"s{n}{strand.suffix}", (), Var(name, value.dtype))
            for n, (name, value) in enumerate(zip(news, moved))
        ]
        return (*lets, *assigns)

    def store(self, strand: _Strand, k: Expr) -> Body:
        return tuple(
            Store(out.name, strand.place(k), as_dtype(value, out.dtype))
            for out, value in zip(self.outs, self.state(strand))
        )

    def walk(self, strands: Sequence[_Strand], starts: Sequence[State], count: Expr | int,
             write: bool) -> Body:  # fmt: skip
        """All strands over their ``count`` elements in one loop, each from its state ``start``
        after the first element."""
        before: list[Stmt] = []
        body: list[Stmt] = []
        for strand, start in zip(strands, starts):
            before += self.begin(strand, start)
            before += self.store(strand, index(0)) if write else ()
            body += self.advance(strand, Var("k"))
            body += self.store(strand, Var("k")) if write else ()
        return (*before, loop("k", 1, count, *body))

    def first(self, strand: _Strand) -> State:
        return self.monoid.lift(at(self.x, *strand.place(index(0))), strand.number(index(0)))

    # --- whole kernels --------------------------------------------------------------------------

    def by_columns(self) -> Kernel:
        outer, count, inner = self.x.shape
        o, t, i = Var("o"), Var("t"), Var("i")
        column = _Strand("", lambda k: (o, k, i))
        walk = self.walk([column], [self.first(column)], count, write=True)
        lo = t * _COLUMNS
        lanes = loop("i", lo, lesser(lo + _COLUMNS, index(inner)), *walk, kind="vector")
        tiles = -(-inner // _COLUMNS)
        return Kernel(self.name, self.params, (parallel("o", outer, parallel("t", tiles, lanes)),))

    def row(self, r: Expr, suffix: str = "", lo: Expr | None = None) -> _Strand:
        """Row ``r``, which is a column where ``inner`` is not 1, from element ``lo`` on."""
        inner = self.x.shape[2]
        outer_place, inner_place = (r, index(0)) if inner == 1 else (r // inner, r % inner)

        def number(k: Expr) -> Expr:
            return k if lo is None else lo + k

        return _Strand(suffix, lambda k: (outer_place, number(k), inner_place), number)

    def by_rows(self) -> Kernel:
        outer, count, inner = self.x.shape

        def walk(first: Expr, strands: int) -> Body:
            rows = [self.row(first + n, f"_{n}") for n in range(strands)]
            return self.walk(rows, [self.first(row) for row in rows], count, write=True)

        return Kernel(self.name, self.params, self.in_groups("g", outer * inner, walk))

    def by_segments(self) -> Kernel:
        """Totals of the full segments, totals up to their ends, then every segment from there."""
        outer, count, inner = self.x.shape
        rows = outer * inner
        full = (count - 1) // _SEGMENT
        totals = tuple(
            Buffer(f"totals{n}", dtype, (rows, full), "workspace")
            for n, dtype in enumerate(self.monoid.states)
        )
        r = Var("r")

        def segments(first: Expr, strands: int) -> list[tuple[Expr, _Strand]]:
            numbers = [first + n for n in range(strands)]
            return [(m, self.row(r, f"_{n}", m * _SEGMENT)) for n, m in enumerate(numbers)]

        def total(first: Expr, strands: int) -> Body:
            parts = segments(first, strands)
            walk = self.walk(
                [row for _, row in parts], [self.first(row) for _, row in parts], _SEGMENT, False
            )
            keep = [
                Store(buffer.name, (r, number), value)
                for number, row in parts
                for buffer, value in zip(totals, self.state(row))
            ]
            return (*walk, *keep)

        def entry(number: Expr, row: _Strand) -> State:
            """The state after the first element of a segment."""
            own = self.first(row)
            before = tuple(at(b, r, greater(number - 1, index(0))) for b in totals)
            merged = self.monoid.merge(before, own)
            return tuple(Select(equal(number, index(0)), x, y) for x, y in zip(own, merged))

        def final(first: Expr, strands: int) -> Body:
            parts = segments(first, strands)
            starts = [entry(number, row) for number, row in parts]
            return self.walk([row for _, row in parts], starts, _SEGMENT, True)

        tail = self.row(r, "", index(full * _SEGMENT))
        body = (
            *(parallel("r", rows, nest) for nest in self.in_groups("s", full, total)),
            loop("r", 0, rows, *self._accumulate_totals(totals)),
            *(parallel("r", rows, nest) for nest in self.in_groups("s", full, final)),
            parallel(
                "r", rows,
                *self.walk([tail], [entry(index(full), tail)], count - full * _SEGMENT, True),
            ),
        )  # fmt: skip
        return Kernel(self.name, (*self.params, *totals), body)

    def _accumulate_totals(self, totals: Sequence[Buffer]) -> Body:
        r, s = Var("r"), Var("s")
        run = _Strand("", lambda k: ())
        moved = self.monoid.merge(self.state(run), tuple(at(b, r, s) for b in totals))
        names = [Let(f"t{n}", value) for n, value in enumerate(moved)]
        news = [Var(name.name, name.value.dtype) for name in names]
        return (
            *self.begin(run, tuple(at(b, r, index(0)) for b in totals)),
            loop(
                "s", 1, totals[0].shape[1],
                *names,
                *(Assign(f"s{n}", (), new) for n, new in enumerate(news)),
                *(Store(b.name, (r, s), new) for b, new in zip(totals, news)),
            ),
        )  # fmt: skip

    def in_groups(self, var: str, count: int, make: Callable[[Expr, int], Body]) -> Body:
        """Parallel loops over ``count`` strands, `_STRANDS` an iteration, the rest in one more; or
        strands as lanes, if merging is costly."""
        if self.monoid.costly and count >= _STRANDS:
            lo = Var("tile") * _LANES
            hi = lesser(lo + _LANES, index(count))
            lanes = loop(var, lo, hi, *make(Var(var), 1), kind="vector")
            return (parallel("tile", -(-count // _LANES), lanes),)
        groups, rest = divmod(count, _STRANDS)
        loops: list[Stmt] = []
        if groups:
            loops.append(parallel(var, groups, *make(Var(var) * _STRANDS, _STRANDS)))
        if rest:
            loops.append(parallel(var, 1, *make(Var(var) + groups * _STRANDS, rest)))
        return tuple(loops)
