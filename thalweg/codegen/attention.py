"""Scaled dot-product attention without scores in memory.

A task computes a few stripes of queries of one head (Rabe and Staats, arXiv 2112.05682; Dao et
al., arXiv 2205.14135). It walks over blocks of keys: their scores, exponentials below the largest
score so far, and the values mixed by them; what was mixed before is scaled down when a larger
score turns up. Exponents are to base 2, with the factor log2(e) in the packed queries.

Parameters: q, k, v, the mask if there is one, then the result and, last, the logarithms of the
sums of exponentials [batch, heads, queries], dense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..ir.anchor import AnchorCall
from ..runtime.native import Launch, NativeKernel
from .access import Place
from .attention_mask import Mask
from .attention_parts import (
    LOG2_E,
    VECTORS,
    Attention,
    Packing,
    Rows,
    at,
    exp2_below,
    finite,
    head_of,
    larger,
    load_row,
    products,
    row_counts,
    store_row,
    tiles,
    unpack,
    zero_rows,
)
from .builder import Function, Int, Module, Val, as_value, vector
from .statements import Block
from .target import Target
from .templates import template

_KEYS = 96  # keys of a block: a multiple of all heights of tiles
_STRIPES = 4  # of a task, which share the block


@template("attention")
def attention(call: AnchorCall, target: Target) -> NativeKernel:
    return _Forward(call, target).kernel()


@dataclass(frozen=True, slots=True)
class _State:
    """What a task knows of its stripes so far, or of one of them: packed queries, the values mixed
    by exponentials, the largest score, the sum of exponentials, the last factor of scaling."""

    a: Attention
    packed: Val
    mixed: Val
    peak: Val
    total: Val
    factor: Val
    padded: int

    @staticmethod
    def of(f: Function, a: Attention, stripes: int, padded: int) -> _State:
        room = [f.alloca(a.element, n * stripes * a.stripe) for n in (a.width, padded, 1, 1, 1)]
        return _State(a, room[0], room[1], room[2], room[3], room[4], padded)

    def stripe(self, f: Function, n: Int) -> _State:
        def mine(room: Val, rows: int) -> Val:
            return at(f, self.a, room, f.mul(n, rows * self.a.stripe))

        return _State(
            self.a, mine(self.packed, self.a.width), mine(self.mixed, self.padded),
            mine(self.peak, 1), mine(self.total, 1), mine(self.factor, 1), self.padded,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _KeyBlock:
    """A block as one stripe sees it: rows of keys and values, the stripe's mask, the numbers of
    its first query and of the first key, and how many keys are to be looked at."""

    keys: Val
    values: Val
    mask: Val
    query: Int
    key: Int
    count: Int


class _Forward:
    def __init__(self, call: AnchorCall, target: Target) -> None:
        self.call, self.target = call, target
        self.a = Attention.of(call, target, 0)
        self.module = Module()
        self.mask = Mask(self.a, self.a.mask, lanes_along=2, limit=self.a.queries)
        self.keys = Rows(self.a, self.a.k, self.a.width, "copy_keys")
        self.values = Rows(self.a, self.a.v, self.a.depth, "copy_values")
        stripes = -(-self.a.queries // self.a.stripe)
        self.stripes = min(_STRIPES, stripes)
        self.tasks = -(-stripes // self.stripes)
        self.padded = -(-self.a.depth // self.a.lanes) * self.a.lanes
        self.pack = Packing(
            "pack", self.a, self.a.q.strides[2], self.a.q.strides[3], self.a.width, self.a.queries,
            self.a.scale * LOG2_E,
        )  # fmt: skip

    def kernel(self) -> NativeKernel:
        a, tasks = self.a, self.tasks
        for part in (self.pack, self.keys, self.values):
            part.emit(self.module)
        for rows in row_counts(a, a.keys):
            self._scores(rows)
        for rows in row_counts(a, a.depth):
            self._mix(rows)
        with (
            self.module.function("attention", [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]) as f,
            f.loop(f.param("lo"), f.param("hi")) as unit,
        ):
            self._task(f, f.div(unit, a.heads * tasks), f.rem(f.div(unit, tasks), a.heads),
                       f.mul(f.rem(unit, tasks), self.stripes * a.stripe))  # fmt: skip
        pairs = a.batch * a.heads * a.queries * a.keys // (2 if a.causal else 1)
        size = sum(p.size * p.dtype.itemsize for p in self.call.params)
        name = f"attention_{a.batch}x{a.heads}x{a.queries}x{a.keys}x{a.width}"
        return NativeKernel(
            name, self.module.text(), (Launch("attention", a.batch * a.heads * tasks, 1),),
            flops=2 * pairs * (a.width + a.depth), bytes=size,
        )  # fmt: skip

    # --- a block of keys --------------------------------------------------------------------------

    def _scores(self, rows: int) -> None:
        """scoresN(queries, keys, scores, peak, query, key, mask): a tile of scores from key number
        ``key`` on, and their maximum with ``peak``."""
        a = self.a
        params = [("ptr", p) for p in ("queries", "keys", "scores", "peak", "mask")]
        params += [("i64", "query"), ("i64", "key")]
        with self.module.function(f"scores{rows}", params, internal=True) as f:
            found = products(
                f, a, f.param("keys"), self.keys.row, self.keys.column, f.param("queries"),
                a.stripe, a.width, zero_rows(a, rows),
            )  # fmt: skip
            peak = load_row(f, a, f.param("peak"))
            for r, row in enumerate(found):
                key = f.add(f.param("key"), r)
                row = self.mask.applied(f, row, f.param("mask"), f.param("query"), key)
                if a.causal:
                    row = self._causal(f, row, key)
                store_row(f, a, row, at(f, a, f.param("scores"), r * a.stripe))
                peak = [larger(f, x, y) for x, y in zip(row, peak)]
            store_row(f, a, peak, f.param("peak"))

    def _causal(self, f: Function, row: list[Val], key: Int) -> list[Val]:
        """The scores of a key, of which queries before it see nothing."""
        a = self.a
        ahead = f.convert("trunc", as_value(f.sub(key, f.param("query"))), "i32")
        found = []
        for n, x in enumerate(row):
            numbers = ", ".join(f"i32 {n * a.lanes + i}" for i in range(a.lanes))
            type = vector("i32", a.lanes)
            seen = f.compare("icmp", "sle", f.splat(ahead, a.lanes), Val(type, f"<{numbers}>"))
            found.append(f.select(seen, x, a.numbers(-math.inf)))
        return found

    def _mix(self, rows: int) -> None:
        """mixN(values, weights, mixed, factor, count): scale what was mixed before by ``factor``
        and add ``count`` keys' values, ``rows`` of their numbers."""
        a = self.a
        params = [("ptr", p) for p in ("values", "weights", "mixed", "factor")]
        with self.module.function(f"mix{rows}", [*params, ("i64", "count")], internal=True) as f:
            factor = load_row(f, a, f.param("factor"))
            sums = []
            for r in range(rows):
                row = load_row(f, a, at(f, a, f.param("mixed"), r * a.stripe))
                sums.append([f.binary("fmul", x, y) for x, y in zip(row, factor)])
            sums = products(
                f, a, f.param("values"), self.values.column, self.values.row, f.param("weights"),
                a.stripe, f.param("count"), sums,
            )  # fmt: skip
            for r, row in enumerate(sums):
                store_row(f, a, row, at(f, a, f.param("mixed"), r * a.stripe))

    # --- a task -----------------------------------------------------------------------------------

    def _task(self, f: Function, batch: Int, head: Int, query: Int) -> None:
        a, args = self.a, f.param("args")
        group = f.div(head, a.shared)
        state = _State.of(f, a, self.stripes, self.padded)
        most = min(_KEYS, a.keys)
        scores = f.alloca(a.element, most * a.stripe)
        rooms = self.keys.room(f, most), self.values.room(f, most)
        stripes = f.min(self.stripes, f.div(f.sub(a.queries + a.stripe - 1, query), a.stripe))
        queries = head_of(f, a.q, args, a.element, batch, head)
        with f.loop(0, stripes) as n:
            mine = state.stripe(f, n)
            self.pack.call(f, queries, f.add(query, f.mul(n, a.stripe)), mine.packed)
            with f.loop(0, self.padded) as e:
                store_row(
                    f, a, [a.numbers(0.0)] * VECTORS, at(f, a, mine.mixed, f.mul(e, a.stripe))
                )
            store_row(f, a, [a.numbers(-math.inf)] * VECTORS, mine.peak)
            store_row(f, a, [a.numbers(0.0)] * VECTORS, mine.total)
        keys = head_of(f, a.k, args, a.element, batch, group)
        values = head_of(f, a.v, args, a.element, batch, group)
        last = f.add(query, f.mul(f.sub(stripes, 1), a.stripe))
        with f.loop(0, self._visible(f, last), _KEYS) as key:
            count = f.min(f.sub(self._visible(f, last), key), _KEYS)
            key_rows = self.keys.block(f, keys, key, count, rooms[0])
            value_rows = self.values.block(f, values, key, count, rooms[1])
            with f.loop(0, stripes) as n:
                here = f.add(query, f.mul(n, a.stripe))
                seen = f.min(f.sub(self._visible(f, here), key), _KEYS)
                with f.when(f.test("sgt", seen, 0)):
                    mask = self.mask.start(f, args, batch, head, here)
                    block = _KeyBlock(key_rows, value_rows, mask, here, key, seen)
                    self._block(f, state.stripe(f, n), block, scores)
        with f.loop(0, stripes) as n:
            self._finish(f, batch, head, f.add(query, f.mul(n, a.stripe)), state.stripe(f, n))

    def _block(self, f: Function, state: _State, block: _KeyBlock, scores: Val) -> None:
        """One block of keys for one stripe."""
        a = self.a
        before = load_row(f, a, state.peak)

        def scored(first: Int, rows: int) -> None:
            f.call(
                "void", f"scores{rows}", state.packed,
                at(f, a, block.keys, f.mul(first, self.keys.row)),
                at(f, a, scores, f.mul(first, a.stripe)), state.peak, block.mask,
                as_value(block.query), as_value(f.add(block.key, first)),
            )  # fmt: skip

        tiles(f, a, block.count, a.keys, scored)
        shift = [finite(f, a, x) for x in load_row(f, a, state.peak)]
        down = [exp2_below(f, a, f.binary("fsub", x, y)) for x, y in zip(before, shift)]
        store_row(f, a, down, state.factor)
        sums = [f.binary("fmul", x, y) for x, y in zip(load_row(f, a, state.total), down)]
        with f.carry(0, block.count, sums) as (k, now, following):
            place = at(f, a, scores, f.mul(k, a.stripe))
            row = load_row(f, a, place)
            row = [exp2_below(f, a, f.binary("fsub", x, y)) for x, y in zip(row, shift)]
            store_row(f, a, row, place)
            following[:] = [f.binary("fadd", x, y) for x, y in zip(now, row)]
        store_row(f, a, following, state.total)

        def mixed_in(first: Int, rows: int) -> None:
            f.call(
                "void", f"mix{rows}", at(f, a, block.values, f.mul(first, self.values.column)),
                scores, at(f, a, state.mixed, f.mul(first, a.stripe)), state.factor,
                as_value(block.count),
            )  # fmt: skip

        tiles(f, a, a.depth, a.depth, mixed_in)

    def _visible(self, f: Function, query: Int) -> Int:
        """How many keys the stripe sees: in whole tiles, as what they hide costs little."""
        a = self.a
        if not a.causal:
            return a.keys
        seen = f.mul(f.div(f.add(query, a.stripe + a.rows - 1), a.rows), a.rows)
        return f.min(seen, a.keys)

    def _finish(self, f: Function, batch: Int, head: Int, query: Int, state: _State) -> None:
        a, padded, mixed = self.a, self.padded, state.mixed
        peak, total = state.peak, state.total
        sums = load_row(f, a, total)
        # A query that sees nothing gives 0; the sum of one that sees NaN is NaN.
        nothing = [f.compare("fcmp", "oeq", x, a.numbers(0.0)) for x in sums]
        inverse = [
            f.select(none, a.numbers(0.0), f.binary("fdiv", a.numbers(1.0), x))
            for none, x in zip(nothing, sums)
        ]
        with f.loop(0, a.depth) as e:
            place = at(f, a, mixed, f.mul(e, a.stripe))
            row = [f.binary("fmul", x, y) for x, y in zip(load_row(f, a, place), inverse)]
            store_row(f, a, row, place)
        result = f.alloca(a.element, a.stripe * padded)
        unpack(f, a, mixed, result, a.depth, padded)
        places = {
            p.name: Place(p, f.load("ptr", f.gep("ptr", f.param("args"), n)))
            for n, p in enumerate(self.call.params)
        }
        log = "logf" if a.element == "float" else "log"
        self.module.declare(f"declare {a.element} @{log}({a.element})")
        sums_at = f.load("ptr", f.gep("ptr", f.param("args"), len(self.call.params) - 1))
        first = f.mul(f.add(f.mul(batch, a.heads), head), a.queries)
        with f.loop(0, f.min(a.stripe, f.sub(a.queries, query))) as lane:
            here = f.add(query, lane)
            logarithm = f.call(a.element, log, f.load(a.element, at(f, a, total, lane)))
            top = f.load(a.element, at(f, a, peak, lane))
            hidden = f.compare("fcmp", "oeq", top, a.number(-math.inf))
            top = f.select(hidden, a.number(0.0), top)
            natural = f.binary("fmul", top, a.number(1 / LOG2_E))
            assert logarithm is not None
            f.store(f.binary("fadd", natural, logarithm), at(f, a, sums_at, first, here))
            self._store(f, places, (batch, head, here), at(f, a, result, f.mul(lane, padded)))

    def _store(
        self, f: Function, places: dict[str, Place], index: tuple[Int, Int, Int], row: Val
    ) -> None:
        store_results(f, self.a, self.target, self.call, places, index, row, self.a.depth)


def store_results(
    f: Function, a: Attention, target: Target, call: AnchorCall, places: dict[str, Place],
    index: tuple[Int, ...], row: Val, count: int,
) -> None:  # fmt: skip
    """The epilogue of ``count`` elements of a row of the result, which lies at ``row`` padded to
    whole vectors."""

    def run(first: Int, valid: int) -> None:
        lanes = 1 if valid == 1 else a.lanes
        block = Block(f, target, places, lanes)
        for name, i, size in zip(call.epilogue.index, index, call.shape):
            block.bind(name, i)
            block.bounded(name, 0, size - 1)
        block.bind_run(call.epilogue.index[-1], first)
        block.bounded(call.epilogue.index[-1], 0, count - 1)
        if valid < lanes:
            block.valid(valid)
        type = a.element if lanes == 1 else a.vector
        block.bind(call.epilogue.value, f.load(type, at(f, a, row, first)))
        block.run(call.epilogue.body)

    whole = count - count % a.lanes
    if whole:
        with f.loop(0, whole, a.lanes) as first:
            run(first, a.lanes)
    if whole < count:
        run(whole, count - whole)


__all__ = ["attention", "store_results"]
