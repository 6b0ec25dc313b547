"""What the attention kernels are made of: their sizes, products of tiles, exponentials, packing.

Lanes are queries (forward) or keys (backward), so that sums over keys run across registers and
never within one. A *stripe* is a block of as many queries or keys as two registers hold. Its
operand is packed transposed ([depth][lane]); the other operand is read where it lies, one element
at a time, and multiplied with whole rows of the stripe:

    sums[r][lane] += other[r][k] * stripe[k][lane]         for a tile of ``rows`` rows
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.dtypes import float32, float64
from ..core.errors import GraphError
from ..ir.anchor import AnchorCall, Operand
from .builder import Function, Int, Module, Val, as_value, literal, size_of, vector
from .gemm_pack import transposed
from .target import Target

VECTORS = 2  # registers in a row of a stripe
LOG2_E = math.log2(math.e)
UNROLL = 4


@dataclass(frozen=True, slots=True)
class Attention:
    """The sizes of a call. ``batch`` x ``heads`` independent products of ``queries`` x ``keys``
    scores over ``width`` numbers each, which mix values of ``depth`` numbers; ``groups`` heads of
    keys and values serve ``heads`` heads of queries. ``element`` is the type all is computed in."""

    batch: int
    heads: int
    groups: int
    queries: int
    keys: int
    width: int
    depth: int
    scale: float
    causal: bool
    q: Operand
    k: Operand
    v: Operand
    mask: Operand | None
    element: str
    lanes: int
    rows: int  # of a tile

    @staticmethod
    def of(call: AnchorCall, target: Target, further: int) -> Attention:
        """The call's operands are q, k, v, a mask if there is one, and ``further`` ones."""
        attrs = dict(call.attrs)
        q, k, v, *rest = call.operands
        mask = rest[0] if len(rest) > further else None
        if q.dtype not in (float32, float64):
            raise GraphError(f"attention: expected float32 or float64, got {q.dtype}")
        type = "float" if q.dtype is float32 else "double"
        batch, heads, queries, width = q.shape
        return Attention(
            batch, heads, k.shape[1], queries, k.shape[2], width, v.shape[3],
            float(attrs["scale"]), bool(attrs["causal"]), q, k, v, mask, type,
            target.lanes(size_of(type)), 6 if target.registers < 32 else 12,
        )  # fmt: skip

    @property
    def stripe(self) -> int:
        return VECTORS * self.lanes

    @property
    def vector(self) -> str:
        return vector(self.element, self.lanes)

    @property
    def shared(self) -> int:
        """Heads of queries for one head of keys."""
        return self.heads // self.groups

    def number(self, value: float) -> Val:
        return literal(value, self.element)

    def numbers(self, value: float) -> Val:
        return literal(value, self.vector)


def at(f: Function, a: Attention, pointer: Val, *offsets: Int) -> Val:
    """The address of the element behind ``pointer`` by the sum of the offsets."""
    total: Int = 0
    for offset in offsets:
        total = f.add(total, offset)
    return f.gep(a.element, pointer, total)


def head_of(f: Function, operand: Operand, args: Val, element: str, *index: Int) -> Val:
    """The address of the first element of an operand at its leading indices."""
    base = f.load("ptr", f.gep("ptr", args, operand.buffer))
    total: Int = operand.offset
    for i, stride in zip(index, operand.strides):
        total = f.add(total, f.mul(i, stride))
    return f.gep(element, base, total)


def load_row(f: Function, a: Attention, pointer: Val) -> list[Val]:
    return [f.load(a.vector, at(f, a, pointer, n * a.lanes)) for n in range(VECTORS)]


def store_row(f: Function, a: Attention, row: Sequence[Val], pointer: Val) -> None:
    for n, x in enumerate(row):
        f.store(x, at(f, a, pointer, n * a.lanes))


Sums = list[list[Val]]


def products(
    f: Function, a: Attention, other: Val, across: Int, along: Int, stripe: Val, step: int,
    count: Int, sums: Sums,
) -> Sums:  # fmt: skip
    """``sums`` plus the products of a tile over ``count`` steps: the other operand's rows are
    ``across`` elements apart, its steps ``along``; those of the stripe ``step``."""
    rows = len(sums)

    def once(k: Int, now: Sequence[Val]) -> list[Val]:
        row = load_row(f, a, at(f, a, stripe, f.mul(k, step)))
        start = at(f, a, other, f.mul(k, along))
        found = []
        for r in range(rows):
            x = f.splat(f.load(a.element, at(f, a, start, f.mul(r, across))), a.lanes)
            found += [
                f.intrinsic("fma", x, y, now[r * VECTORS + n]) for n, y in enumerate(row)
            ]  # fmt: skip
        return found

    flat = [x for row in sums for x in row]
    whole = count - count % UNROLL if isinstance(count, int) else f.mul(f.div(count, 4), 4)
    with f.carry(0, whole, flat, UNROLL) as (k, now, following):
        for n in range(UNROLL):
            now = once(f.add(k, n), now)
        following[:] = now
    flat = following
    if isinstance(count, int):
        for n in range(count % UNROLL):
            flat = once(as_value(f.add(whole, n)), flat)
    else:
        with f.carry(whole, count, flat) as (k, now, following):
            following[:] = once(k, now)
        flat = following
    return [flat[r * VECTORS : (r + 1) * VECTORS] for r in range(rows)]


def zero_rows(a: Attention, rows: int) -> Sums:
    return [[a.numbers(0.0)] * VECTORS for _ in range(rows)]


def exp2_below(f: Function, a: Attention, x: Val) -> Val:
    """2 ** x for x <= 0, to about an ulp; 0 below the smallest normal number. NaN stays.

    x = n + r with n whole and |r| <= 1/2, so 2 ** x is a polynomial in r times 2 ** n, whose bits
    are those of n moved into the exponent: adding 1.5 * 2 ** (bits of the fraction) leaves n in the
    low bits of a float.
    """
    fraction, bias, terms = (23, 127, 8) if a.element == "float" else (52, 1023, 14)
    bits = vector("i32" if a.element == "float" else "i64", a.lanes)
    magic = a.numbers(1.5 * 2.0**fraction)
    shifted = f.binary("fadd", x, magic)
    rest = f.binary("fsub", x, f.binary("fsub", shifted, magic))
    power = [math.log(2) ** n / math.factorial(n) for n in range(terms)]
    total = a.numbers(power[-1])
    for term in reversed(power[:-1]):
        total = f.intrinsic("fma", total, rest, a.numbers(term))
    whole = f.binary("add", f.convert("bitcast", shifted, bits), literal(bias, bits))
    scale = f.convert("bitcast", f.binary("shl", whole, literal(fraction, bits)), a.vector)
    tiny = f.compare("fcmp", "olt", x, a.numbers(1.0 - bias))
    return f.select(tiny, a.numbers(0.0), f.binary("fmul", total, scale))


def larger(f: Function, x: Val, y: Val) -> Val:
    """The larger of two numbers, y where one is NaN."""
    return f.select(f.compare("fcmp", "ogt", x, y), x, y)


def finite(f: Function, a: Attention, x: Val) -> Val:
    """x, or 0 where it is -inf: what shifts exponents of scores that are all hidden."""
    hidden = f.compare("fcmp", "oeq", x, a.numbers(-math.inf))
    return f.select(hidden, a.numbers(0.0), x)


@dataclass(frozen=True, slots=True)
class Packing:
    """A function that packs a stripe: name(source, first, target) copies ``count`` elements of
    each of its rows, transposed and times ``factor``. Rows from ``limit`` on repeat the last."""

    name: str
    a: Attention
    across: int
    along: int
    count: int
    limit: int
    factor: float = 1.0

    def emit(self, module: Module) -> None:
        a, lanes = self.a, self.a.lanes
        params = [("ptr", "source"), ("i64", "first"), ("ptr", "target")]
        with module.function(self.name, params, internal=True) as f:
            last = self.limit - 1
            rows = [
                at(f, a, f.param("source"),
                   f.mul(f.min(f.add(f.param("first"), r), last), self.across))
                for r in range(a.stripe)
            ]  # fmt: skip
            whole = self.count - self.count % lanes if self.along == 1 else 0
            if whole:
                with f.loop(0, whole, lanes) as e:
                    for half in range(VECTORS):
                        mine = rows[half * lanes : (half + 1) * lanes]
                        square = [f.load(a.vector, at(f, a, row, e)) for row in mine]
                        for n, column in enumerate(transposed(f, square)):
                            place = f.add(f.mul(f.add(e, n), a.stripe), half * lanes)
                            f.store(self._scaled(f, column), at(f, a, f.param("target"), place))
            if whole < self.count:
                with f.loop(whole, self.count) as e:
                    for r, row in enumerate(rows):
                        x = f.load(a.element, at(f, a, row, f.mul(e, self.along)))
                        place = f.add(f.mul(e, a.stripe), r)
                        f.store(self._scaled(f, x), at(f, a, f.param("target"), place))

    def _scaled(self, f: Function, x: Val) -> Val:
        if self.factor == 1.0:
            return x
        return f.binary("fmul", x, literal(self.factor, x.type))

    def call(self, f: Function, source: Val, first: Int, target: Val) -> None:
        f.call("void", self.name, source, as_value(first), target)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an operand as tiles read them, ``row`` and ``column`` elements apart. Rows that
    do not lie side by side in memory are copied there, a block at a time: strides of whole lines
    fall into few sets of the cache."""

    a: Attention
    operand: Operand
    width: int
    name: str

    @property
    def copied(self) -> bool:
        row, column = self.operand.strides[2:]
        return (row, column) != (self.width, 1) and self.operand.shape[2] > 1

    @property
    def row(self) -> int:
        return self.width if self.copied else self.operand.strides[2]

    @property
    def column(self) -> int:
        return 1 if self.copied else self.operand.strides[3]

    def emit(self, module: Module) -> None:
        """name(source, target, count): copy ``count`` rows."""
        if not self.copied:
            return
        a, (row, column) = self.a, self.operand.strides[2:]
        lanes = a.lanes if column == 1 else 1
        params = [("ptr", "source"), ("ptr", "target"), ("i64", "count")]
        with (
            module.function(self.name, params, internal=True) as f,
            f.loop(0, f.param("count")) as r,
        ):
            source = at(f, a, f.param("source"), f.mul(r, row))
            target = at(f, a, f.param("target"), f.mul(r, self.width))
            whole = self.width - self.width % lanes
            for start, stop, size in ((0, whole, lanes), (whole, self.width, 1)):
                if start < stop:
                    with f.loop(start, stop, size) as e:
                        x = f.load(vector(a.element, size), at(f, a, source, f.mul(e, column)))
                        f.store(x, at(f, a, target, e))

    def room(self, f: Function, most: int) -> Val:
        """Where to copy up to ``most`` rows."""
        return f.alloca(self.a.element, most * self.width) if self.copied else Val("ptr", "null")

    def block(self, f: Function, start: Val, first: Int, count: Int, room: Val) -> Val:
        """The address of row ``first`` of those behind ``start``, of which ``count`` are read."""
        source = at(f, self.a, start, f.mul(first, self.operand.strides[2]))
        if not self.copied:
            return source
        f.call("void", self.name, source, room, as_value(count))
        return room


def unpack(f: Function, a: Attention, source: Val, target: Val, count: int, padded: int) -> None:
    """The transpose of a stripe: ``count`` rows of lanes become a row of ``padded`` per lane. Up to
    ``padded``, a multiple of the lanes, rows of the source must exist."""
    with f.loop(0, -(-count // a.lanes) * a.lanes, a.lanes) as e:
        for half in range(VECTORS):
            square = [
                f.load(a.vector, at(f, a, source, f.mul(f.add(e, n), a.stripe), half * a.lanes))
                for n in range(a.lanes)
            ]
            for r, row in enumerate(transposed(f, square)):
                f.store(row, at(f, a, target, (half * a.lanes + r) * padded, e))


def tiles(
    f: Function, a: Attention, count: Int, whole: int, act: Callable[[Int, int], None]
) -> None:
    """``act(first, rows)`` for the tiles of ``count`` rows, which are ``whole`` rows or, if fewer,
    end in tiles of full height."""
    tail = whole % a.rows
    full = f.mul(f.div(count, a.rows), a.rows)
    if whole >= a.rows:
        with f.loop(0, full, a.rows) as first:
            act(first, a.rows)
    if tail and isinstance(count, int):
        act(full, tail)
    elif tail:
        with f.when(f.test("slt", full, count)):
            act(full, tail)


def row_counts(a: Attention, count: int) -> list[int]:
    """The heights of tiles that cover ``count`` rows."""
    return sorted({a.rows if count >= a.rows else 0, count % a.rows} - {0})
