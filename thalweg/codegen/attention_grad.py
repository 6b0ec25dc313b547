"""The gradient of attention, without scores in memory.

A task owns a head of keys and values, or a part of its blocks of keys. For a block, packed as
stripes of keys, it walks over blocks of queries of all heads that share it and computes, again, the
weights p = exp(score - logsumexp), then

    dv += p^T g        ds = p (g v^T - delta)        dk += ds^T q        dq += ds k

where delta is the sum of g times the result. What every part adds to dq lies in a workspace of its
own; a second launch sums the parts in order. So nothing depends on the threads.

Parameters: q, k, v, the mask if there is one, logsumexp, delta, g, then dq, and last dk and dv,
dense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..ir.anchor import AnchorCall
from ..runtime.native import Launch, NativeKernel
from .access import Place
from .attention import store_results
from .attention_mask import Mask
from .attention_parts import (
    LOG2_E,
    VECTORS,
    Attention,
    Packing,
    Rows,
    at,
    exp2_below,
    head_of,
    load_row,
    products,
    row_counts,
    store_row,
    tiles,
    unpack,
    zero_rows,
)
from .builder import Function, Int, Module, Val, as_value, literal, size_of, vector
from .target import Target
from .templates import template

_QUERIES = 48  # of a block: a multiple of all heights of tiles
_TASKS = 16
_SCRATCH = 300 * 1024
ARGUMENTS = [("ptr", "args"), ("i64", "lo"), ("i64", "hi")]


@template("attention_grad")
def attention_grad(call: AnchorCall, target: Target) -> NativeKernel:
    return _Backward(call, target).kernel()


@dataclass(frozen=True, slots=True)
class _Room:
    """A task's memory. Stripes of a block of keys: keys and values packed, their gradients. Keys as
    rows. Of a block of queries: weights against one stripe, ds against all, copies of q and g."""

    keys: Val
    values: Val
    dk: Val
    dv: Val
    rows: Val
    weights: Val
    ds: Val
    q: Val
    g: Val


class _Backward:
    def __init__(self, call: AnchorCall, target: Target) -> None:
        self.call, self.target = call, target
        a = self.a = Attention.of(call, target, 3)
        self.lse, self.delta, self.g = call.operands[-3:]
        self.module = Module()
        self.mask = Mask(a, a.mask, lanes_along=3, limit=a.keys)
        self.q_rows = Rows(a, a.q, a.width, "copy_q")
        self.g_rows = Rows(a, self.g, a.depth, "copy_g")
        k, v = a.k.strides, a.v.strides
        self.pack_keys = Packing(
            "pack_keys", a, k[2], k[3], a.width, a.keys, a.scale * LOG2_E
        )  # fmt: skip
        self.pack_values = Packing("pack_values", a, v[2], v[3], a.depth, a.keys)
        self.columns = -(-a.width // a.stripe) * a.stripe  # of dq and of keys as rows
        self.stripes = self._stripes()
        self.block = self.stripes * a.stripe
        blocks = -(-a.keys // self.block)
        self.parts = min(blocks, -(-_TASKS // (a.batch * a.groups)))
        self.share = -(-blocks // self.parts)  # blocks of keys of a part
        self.workspace = len(call.params)

    def _stripes(self) -> int:
        """Stripes of a block of keys, as many as leave it in the cache."""
        a = self.a
        each = (3 * a.width + 2 * a.depth + 2 * a.lanes + _QUERIES) * a.stripe * size_of(a.element)
        needed = -(-a.keys // a.stripe)
        return max(1, min(4, needed, _SCRATCH // each))

    def kernel(self) -> NativeKernel:
        a = self.a
        for piece in (self.pack_keys, self.pack_values, self.q_rows, self.g_rows):
            piece.emit(self.module)
        for rows in row_counts(a, a.queries):
            self._weigh(rows)
            self._spread(rows)
        for rows in row_counts(a, a.depth):
            self._gather(f"values{rows}", rows, self.g_rows)
        for rows in row_counts(a, a.width):
            self._gather(f"keys{rows}", rows, self.q_rows)
        with (
            self.module.function("backward", ARGUMENTS) as f,
            f.loop(f.param("lo"), f.param("hi")) as unit,
        ):
            part, rest = f.rem(unit, self.parts), f.div(unit, self.parts)
            self._task(f, f.div(rest, a.groups), f.rem(rest, a.groups), part)
        with (
            self.module.function("sum_parts", ARGUMENTS) as f,
            f.loop(f.param("lo"), f.param("hi")) as row,
        ):
            self._sum_parts(f, row)
        rows = a.batch * a.heads * a.queries
        pairs = rows * a.keys // (2 if a.causal else 1)
        size = sum(p.size * p.dtype.itemsize for p in self.call.params)
        return NativeKernel(
            f"attention_grad_{a.batch}x{a.heads}x{a.queries}x{a.keys}x{a.width}",
            self.module.text(),
            (
                Launch("backward", a.batch * a.groups * self.parts, 1),
                Launch("sum_parts", rows, max(16, -(-rows // 64))),
            ),
            workspaces=(self.parts * rows * self.columns * size_of(a.element),),
            flops=2 * pairs * (3 * a.width + 2 * a.depth), bytes=size,
        )  # fmt: skip

    # --- tiles ------------------------------------------------------------------------------------

    def _weigh(self, rows: int) -> None:
        """weighN(q, g, keys, values, lse, delta, weights, ds, mask, query, key): the weights of a
        tile of queries for a stripe of keys, and ds."""
        a = self.a
        names = ("q", "g", "keys", "values", "lse", "delta", "weights", "ds", "mask")
        params = [*(("ptr", n) for n in names), ("i64", "query"), ("i64", "key")]
        with self.module.function(f"weigh{rows}", params, internal=True) as f:
            scores = products(
                f, a, f.param("q"), self.q_rows.row, self.q_rows.column, f.param("keys"), a.stripe,
                a.width, zero_rows(a, rows),
            )  # fmt: skip
            for r, row in enumerate(scores):
                query = f.add(f.param("query"), r)
                row = self.mask.applied(f, row, f.param("mask"), f.param("key"), query)
                if a.causal:
                    row = self._causal(f, row, query)
                lse = f.load(a.element, at(f, a, f.param("lse"), r * self.lse.strides[2]))
                hidden = f.compare("fcmp", "oeq", lse, a.number(-math.inf))
                lse = f.select(hidden, a.number(0.0), lse)
                shift = f.splat(f.binary("fmul", lse, a.number(LOG2_E)), a.lanes)
                weights = [exp2_below(f, a, f.binary("fsub", x, shift)) for x in row]
                store_row(f, a, weights, at(f, a, f.param("weights"), r * a.stripe))
            found = products(
                f, a, f.param("g"), self.g_rows.row, self.g_rows.column, f.param("values"),
                a.stripe, a.depth, zero_rows(a, rows),
            )  # fmt: skip
            for r, row in enumerate(found):
                delta = f.load(a.element, at(f, a, f.param("delta"), r * self.delta.strides[2]))
                less = f.splat(delta, a.lanes)
                weights = load_row(f, a, at(f, a, f.param("weights"), r * a.stripe))
                row = [f.binary("fmul", p, f.binary("fsub", x, less)) for p, x in zip(weights, row)]
                store_row(f, a, row, at(f, a, f.param("ds"), r * a.stripe))

    def _causal(self, f: Function, row: list[Val], query: Int) -> list[Val]:
        """The scores of a query, which sees keys up to itself."""
        a = self.a
        reach = f.convert("trunc", as_value(f.sub(query, f.param("key"))), "i32")
        found = []
        for n, x in enumerate(row):
            numbers = ", ".join(f"i32 {n * a.lanes + i}" for i in range(a.lanes))
            lanes = Val(vector("i32", a.lanes), f"<{numbers}>")
            seen = f.compare("icmp", "sge", f.splat(reach, a.lanes), lanes)
            found.append(f.select(seen, x, a.numbers(-math.inf)))
        return found

    def _gather(self, name: str, rows: int, other: Rows) -> None:
        """keysN or valuesN(other, stripe, sums, count): add, for ``rows`` numbers of a key or a
        value, the products of ``count`` queries' g with weights, or q with ds."""
        a = self.a
        params = [("ptr", "other"), ("ptr", "stripe"), ("ptr", "sums"), ("i64", "count")]
        with self.module.function(name, params, internal=True) as f:
            sums = [load_row(f, a, at(f, a, f.param("sums"), r * a.stripe)) for r in range(rows)]
            sums = products(
                f, a, f.param("other"), other.column, other.row, f.param("stripe"), a.stripe,
                f.param("count"), sums,
            )  # fmt: skip
            for r, row in enumerate(sums):
                store_row(f, a, row, at(f, a, f.param("sums"), r * a.stripe))

    def _spread(self, rows: int) -> None:
        """spreadN(ds, keys, dq, stripes): add to a tile of dq, all of its columns, the products of
        ds with the rows of ``stripes`` stripes of keys."""
        a = self.a
        params = [("ptr", "ds"), ("ptr", "keys"), ("ptr", "dq"), ("i64", "stripes")]
        with (
            self.module.function(f"spread{rows}", params, internal=True) as f,
            f.loop(0, self.columns, a.stripe) as column,
        ):
            places = [at(f, a, f.param("dq"), r * self.columns, column) for r in range(rows)]
            before = [x for place in places for x in load_row(f, a, place)]
            with f.carry(0, f.param("stripes"), before) as (c, now, following):
                ds = at(f, a, f.param("ds"), f.mul(c, _QUERIES * a.stripe))
                keys = at(f, a, f.param("keys"), f.mul(c, a.stripe * self.columns), column)
                sums = [now[r * VECTORS : (r + 1) * VECTORS] for r in range(rows)]
                sums = products(f, a, ds, a.stripe, 1, keys, self.columns, a.stripe, sums)
                following[:] = [x for row in sums for x in row]
            for r, place in enumerate(places):
                store_row(f, a, following[r * VECTORS : (r + 1) * VECTORS], place)

    # --- a task -----------------------------------------------------------------------------------

    def _task(self, f: Function, batch: Int, group: Int, part: Int) -> None:
        a, args, s = self.a, f.param("args"), self.stripes * self.a.stripe
        padded = -(-max(a.width, a.depth) // a.lanes) * a.lanes
        room = _Room(
            keys=f.alloca(a.element, a.width * s),
            values=f.alloca(a.element, a.depth * s),
            dk=f.alloca(a.element, padded * s),
            dv=f.alloca(a.element, padded * s),
            rows=f.alloca(a.element, self.columns * s),
            weights=f.alloca(a.element, _QUERIES * a.stripe),
            ds=f.alloca(a.element, _QUERIES * s),
            q=self.q_rows.room(f, _QUERIES),
            g=self.g_rows.room(f, _QUERIES),
        )
        result = f.alloca(a.element, a.stripe * padded)
        dq = self._dq(f, part, batch, f.mul(group, a.shared))
        with f.loop(0, a.shared * a.queries * self.columns, a.stripe) as n:
            store_row(f, a, [a.numbers(0.0)] * VECTORS, at(f, a, dq, n))
        start = f.mul(part, self.share * self.block)
        stop = f.min(f.add(start, self.share * self.block), a.keys)
        keys = head_of(f, a.k, args, a.element, batch, group)
        values = head_of(f, a.v, args, a.element, batch, group)
        with f.loop(start, stop, self.block) as key:
            stripes = f.min(f.div(f.sub(a.keys + a.stripe - 1, key), a.stripe), self.stripes)
            with f.loop(0, stripes) as c:
                first = f.add(key, f.mul(c, a.stripe))
                to = at(f, a, room.keys, f.mul(c, a.width * a.stripe))
                self.pack_keys.call(f, keys, first, to)
                to = at(f, a, room.values, f.mul(c, a.depth * a.stripe))
                self.pack_values.call(f, values, first, to)
            self._copy_keys(f, keys, key, room.rows)
            for sums in (room.dk, room.dv):
                with f.loop(0, padded * s, a.stripe) as n:
                    store_row(f, a, [a.numbers(0.0)] * VECTORS, at(f, a, sums, n))
            with f.loop(0, a.shared) as member:
                head = f.add(f.mul(group, a.shared), member)
                mine = at(f, a, dq, f.mul(member, a.queries * self.columns))
                self._head(f, batch, head, key, stripes, room, mine)
            with f.loop(0, stripes) as c:
                first = f.add(key, f.mul(c, a.stripe))
                index = (batch, group, first)
                for sums, count, scale, last in (
                    (room.dk, a.width, a.scale, 2), (room.dv, a.depth, 1.0, 1),
                ):  # fmt: skip
                    mine = at(f, a, sums, f.mul(c, padded * a.stripe))
                    unpack(f, a, mine, result, count, padded)
                    self._store(f, index, result, padded, count, scale, last)

    def _dq(self, f: Function, part: Int, batch: Int, head: Int) -> Val:
        """Where a part's share of dq lies, from a head on."""
        a = self.a
        base = f.load("ptr", f.gep("ptr", f.param("args"), self.workspace))
        rows = f.add(f.mul(f.add(f.mul(part, a.batch), batch), a.heads), head)
        return at(f, a, base, f.mul(rows, a.queries * self.columns))

    def _copy_keys(self, f: Function, keys: Val, key: Int, target: Val) -> None:
        """Keys as rows, in whole vectors, zeros behind the last: ds is multiplied with them."""
        a = self.a
        row, column = a.k.strides[2:]
        with f.loop(0, self.block) as r:
            to = at(f, a, target, f.mul(r, self.columns))
            source = at(f, a, keys, f.mul(f.min(f.add(key, r), a.keys - 1), row))
            real = f.test("slt", f.add(key, r), a.keys)
            lanes = a.lanes if column == 1 else 1
            whole = a.width - a.width % lanes
            for start, stop, size in ((0, whole, lanes), (whole, a.width, 1)):
                if start < stop:
                    with f.loop(start, stop, size) as e:
                        type = vector(a.element, size)
                        x = f.load(type, at(f, a, source, f.mul(e, column)))
                        f.store(f.select(real, x, literal(0.0, type)), at(f, a, to, e))
            if a.width < self.columns:
                with f.loop(a.width, self.columns) as e:
                    f.store(a.number(0.0), at(f, a, to, e))

    def _head(
        self, f: Function, batch: Int, head: Int, key: Int, stripes: Int, room: _Room, dq: Val
    ) -> None:
        """All queries of one head against a block of keys."""
        a, args = self.a, f.param("args")
        q = head_of(f, a.q, args, a.element, batch, head)
        g = head_of(f, self.g, args, a.element, batch, head)
        lse = head_of(f, self.lse, args, a.element, batch, head)
        delta = head_of(f, self.delta, args, a.element, batch, head)
        start = f.mul(f.div(key, a.rows), a.rows) if a.causal else 0
        with f.loop(start, a.queries, _QUERIES) as query:
            count = f.min(f.sub(a.queries, query), _QUERIES)
            q_rows = self.q_rows.block(f, q, query, count, room.q)
            g_rows = self.g_rows.block(f, g, query, count, room.g)
            with f.loop(0, stripes) as c:
                here = f.add(key, f.mul(c, a.stripe))
                first = self._first(f, query, here)
                seen = f.sub(count, first)
                with f.when(f.test("sgt", seen, 0)):
                    ds = at(f, a, room.ds, f.mul(c, _QUERIES * a.stripe), f.mul(first, a.stripe))
                    mask = self.mask.start(f, args, batch, head, here)

                    def weigh(
                        row: Int, rows: int, c: Int = c, here: Int = here, first: Int = first,
                        query: Int = query, ds: Val = ds, mask: Val = mask,
                        q_rows: Val = q_rows, g_rows: Val = g_rows,
                    ) -> None:  # fmt: skip
                        i = f.add(first, row)
                        number = f.add(query, i)
                        f.call(
                            "void", f"weigh{rows}", at(f, a, q_rows, f.mul(i, self.q_rows.row)),
                            at(f, a, g_rows, f.mul(i, self.g_rows.row)),
                            at(f, a, room.keys, f.mul(c, a.width * a.stripe)),
                            at(f, a, room.values, f.mul(c, a.depth * a.stripe)),
                            at(f, a, lse, f.mul(number, self.lse.strides[2])),
                            at(f, a, delta, f.mul(number, self.delta.strides[2])),
                            at(f, a, room.weights, f.mul(row, a.stripe)),
                            at(f, a, ds, f.mul(row, a.stripe)), mask, as_value(number),
                            as_value(here),
                        )  # fmt: skip

                    tiles(f, a, seen, a.queries, weigh)
                    self._gather_stripe(f, "values", self.g_rows, g_rows, first, room.weights,
                                        room.dv, c, seen, a.depth)  # fmt: skip
                    self._gather_stripe(f, "keys", self.q_rows, q_rows, first, ds,
                                        room.dk, c, seen, a.width)  # fmt: skip

            def spread(
                row: Int, rows: int, query: Int = query
            ) -> None:  # fmt: skip
                reached = stripes
                if a.causal:
                    ahead = f.sub(f.add(f.add(query, row), a.rows - 1), key)
                    reached = f.min(stripes, f.add(f.div(ahead, a.stripe), 1))
                place = f.mul(f.add(query, row), self.columns)
                f.call(
                    "void", f"spread{rows}", at(f, a, room.ds, f.mul(row, a.stripe)), room.rows,
                    at(f, a, dq, place), as_value(reached),
                )  # fmt: skip

            tiles(f, a, count, a.queries, spread)

    def _first(self, f: Function, query: Int, key: Int) -> Int:
        """The first tile of a block of queries that sees a stripe of keys."""
        a = self.a
        if not a.causal:
            return 0
        behind = f.max(f.sub(key, query), 0)
        return f.mul(f.div(behind, a.rows), a.rows)

    def _gather_stripe(
        self, f: Function, name: str, other: Rows, rows_at: Val, first: Int, stripe: Val,
        sums: Val, c: Int, seen: Int, count: int,
    ) -> None:  # fmt: skip
        a = self.a
        padded = -(-max(a.width, a.depth) // a.lanes) * a.lanes
        mine = at(f, a, sums, f.mul(c, padded * a.stripe))
        source = at(f, a, rows_at, f.mul(first, other.row))

        def add(e: Int, rows: int) -> None:
            f.call(
                "void", f"{name}{rows}", at(f, a, source, f.mul(e, other.column)), stripe,
                at(f, a, mine, f.mul(e, a.stripe)), as_value(seen),
            )  # fmt: skip

        tiles(f, a, count, count, add)

    # --- results ----------------------------------------------------------------------------------

    def _store(
        self, f: Function, index: tuple[Int, Int, Int], rows: Val, padded: int, count: int,
        scale: float, last: int,
    ) -> None:  # fmt: skip
        """A stripe of keys' gradients to the ``last`` but one parameter, or the last."""
        a = self.a
        batch, group, key = index
        base = f.load("ptr", f.gep("ptr", f.param("args"), len(self.call.params) - last))
        first = f.add(f.mul(f.add(f.mul(batch, a.groups), group), a.keys), key)
        with f.loop(0, f.min(f.sub(a.keys, key), a.stripe)) as lane:
            source = at(f, a, rows, f.mul(lane, padded))
            target = at(f, a, base, f.mul(f.add(first, lane), count))
            whole = count - count % a.lanes
            for start, stop, size in ((0, whole, a.lanes), (whole, count, 1)):
                if start < stop:
                    with f.loop(start, stop, size) as e:
                        x = f.load(vector(a.element, size), at(f, a, source, e))
                        if scale != 1.0:
                            x = f.binary("fmul", x, literal(scale, x.type))
                        f.store(x, at(f, a, target, e))

    def _sum_parts(self, f: Function, row: Int) -> None:
        """One row of dq: the parts' shares, in order, through the epilogue."""
        a = self.a
        result = f.alloca(a.element, self.columns)
        base = f.load("ptr", f.gep("ptr", f.param("args"), self.workspace))
        step = a.batch * a.heads * a.queries * self.columns
        with f.loop(0, self.columns, a.stripe) as e:
            source = at(f, a, base, f.mul(row, self.columns), e)
            sums = load_row(f, a, source)
            with f.carry(1, self.parts, sums) as (part, now, following):
                share = load_row(f, a, at(f, a, source, f.mul(part, step)))
                following[:] = [f.binary("fadd", x, y) for x, y in zip(now, share)]
            scaled = [f.binary("fmul", x, a.numbers(a.scale)) for x in following]
            store_row(f, a, scaled, at(f, a, result, e))
        places = {
            p.name: Place(p, f.load("ptr", f.gep("ptr", f.param("args"), n)))
            for n, p in enumerate(self.call.params)
        }
        head = f.div(row, a.queries)
        index = (f.div(head, a.heads), f.rem(head, a.heads), f.rem(row, a.queries))
        store_results(f, a, self.target, self.call, places, index, result, a.width)
