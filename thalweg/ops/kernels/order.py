"""sort: values and positions in order along one dimension, equal elements as they stood.

Elements become unsigned integers of the same order: floats by flipping bits, those of NaN (of any
sign) the largest, both zeros as one; integers by their distance from the row's least. Short rows
find the rank of each element by counting; longer ones are sorted digit by digit from the lowest
(LSD radix sort), each pass stable. Digits that are the same in a whole row are passed over. Where
a few of many elements are wanted, they are held in order, and whole blocks passed over in which no
element comes before the last of them.
"""

from __future__ import annotations

from ...core.dtypes import DType, bool_, int16, int32, int64
from ...ir.loops import Accumulate, Alloc, Assign, Binary, Kernel, Local, Store
from ...ir.node import Node
from .parts import (
    Bitcast,
    Body,
    Buffer,
    Cast,
    Const,
    Expr,
    If,
    Select,
    Var,
    along,
    as_dtype,
    at,
    both,
    clamped,
    either,
    equal,
    index,
    is_nan,
    lesser,
    let,
    local,
    loop,
    negated,
    parallel,
    when,
)

_SHORT = 48  # rows of no more elements are sorted by counting
_FEW = 64  # of many elements, so few are selected
_BLOCK = 64
_DIGIT = 8
_VALUES = 1 << _DIGIT


def build(node: Node) -> Kernel:
    x = node.inputs[0].type
    outer, count, inner = along(x.shape, node.attrs["dim"])
    given = node.attrs.get("keep")
    keep = count if given is None else given
    data = Buffer("x", x.dtype, (outer, count, inner))
    values = Buffer("values", x.dtype, (outer, keep, inner), "out")
    positions = Buffer("positions", int64, (outer, keep, inner), "out")
    work = _Sort(data, values, positions, node.attrs["descending"])
    if not keep:
        return Kernel("sort", (data, values, positions), ())
    if keep <= _FEW and keep * _FEW <= count:
        return work.by_selection()
    return work.by_counting() if count <= _SHORT else work.by_digits()


class _Sort:
    def __init__(self, x: Buffer, values: Buffer, positions: Buffer, descending: bool) -> None:
        self.x, self.values, self.positions = x, values, positions
        self.descending = descending
        self.outer, self.count, self.inner = x.shape
        self.keep = values.shape[1]
        self.rows = self.outer * self.inner
        self.bits = 8 if x.dtype is bool_ else 8 * x.dtype.itemsize
        self.key_dtype: DType = int64 if self.bits == 64 else int32

    def place(self, k: Expr) -> tuple[Expr, Expr, Expr]:
        """Where element k of row r lies; a row is a column where ``inner`` is not 1."""
        r = Var("r")
        if self.inner == 1:
            return r, k, index(0)
        return r // self.inner, k, r % self.inner

    def key(self, k: Expr) -> tuple[Body, Expr]:
        """Statements, and the key of element k: unsigned digits from the lowest bits up.

        Integers are counted from the row's end (`bound`), which leaves few digits if they are close
        together; the differences are unsigned, so they fit.
        """
        dtype, bits, x = self.key_dtype, self.bits, at(self.x, *self.place(k))
        if not x.dtype.is_floating_point:
            end, value = local("end", dtype), as_dtype(x, dtype)
            difference, found = let("key", end - value if self.descending else value - end)
            return (difference,), found
        top = Const(-(2 ** (bits - 1)) if bits >= 32 else 2 ** (bits - 1), dtype)
        name, value = let("element", x)
        raw = Bitcast(value, {16: int16, 32: int32, 64: int64}[bits])
        as_integer, v = let("pattern", as_dtype(raw, dtype))
        flip = both(Binary("shr", v, Const(bits - 1, dtype)), Const(2 ** (bits - 1) - 1, dtype))
        key: Expr = Binary("xor", v, flip)
        key = Select(equal(value, Const(0.0, value.dtype)), Const(0, dtype), key)
        key = Select(is_nan(value), Const(2 ** (bits - 1) - 1, dtype), key)
        key = Binary("xor", key, top)
        if self.descending:
            key = Binary("xor", key, Const(-1, dtype))
        final, found = let("key", both(key, Const(2**bits - 1, dtype)) if bits < 32 else key)
        return (name, as_integer, final), found

    def bound(self) -> Body:
        """The least integer of a row, or the greatest to descend."""
        if self.x.dtype.is_floating_point:
            return ()
        element = as_dtype(at(self.x, *self.place(Var("k"))), self.key_dtype)
        start = as_dtype(at(self.x, *self.place(index(0))), self.key_dtype)
        op = "max" if self.descending else "min"
        return (
            Alloc("end", self.key_dtype, (), start),
            loop("k", 1, self.count, Accumulate("end", (), element, op), kind="vector"),
        )

    def put(self, to: Expr, found: Expr) -> Body:
        """Element number ``found`` is the one at ``to`` in order."""
        return (
            Store("values", self.place(to), at(self.x, *self.place(found))),
            Store("positions", self.place(to), found),
        )

    def by_counting(self) -> Kernel:
        """Every element goes to the place of its rank: how many are less, or equal and before."""
        keys = Buffer("keys", self.key_dtype, (self.rows, self.count), "workspace")
        r, k, i, j = (Var(n) for n in "rkij")
        lets, key = self.key(k)
        fill = loop("k", 0, self.count, *lets, Store("keys", (r, k), _signed(key, self.bits)))
        mine, own = let("own", at(keys, r, i))
        other, theirs = let("other", at(keys, r, j))
        one, none = Const(1, int32), Const(0, int32)
        before = Select(either(theirs < own, equal(theirs, own)), one, none)
        after = Select(theirs < own, one, none)
        rank = local("rank", int32)
        to = let("to", clamped(Cast(rank, int64), self.keep))
        order = loop(
            "i", 0, self.count,
            mine,
            Alloc("rank", int32, (), none),
            loop("j", 0, i, other, Accumulate("rank", (), before), kind="vector"),
            loop("j", i + 1, self.count, other, Accumulate("rank", (), after), kind="vector"),
            *((to[0], *self.put(to[1], i)) if self.keep == self.count else
              (If(Cast(rank, int64) < self.keep, (to[0], *self.put(to[1], i))),)),
        )  # fmt: skip
        params = (self.x, self.values, self.positions, keys)
        body = (*self.bound(), fill, order)
        return Kernel("sort", params, (parallel("r", self.rows, *body),))

    def by_selection(self) -> Kernel:
        """Insertion into the elements kept, which are in order."""
        count, keep, dtype = self.count, self.keep, self.key_dtype
        place_dtype = int32 if count < 2**31 else int64
        b, e, k, n = (Var(name) for name in "bekn")
        last = local("last", dtype)
        lets, raw = self.key(k)
        signed = _signed(raw, self.bits)
        end, stop = let("stop", lesser(b + _BLOCK, index(count)))
        block = (
            end,
            Alloc("least", dtype, (), last),
            loop("k", b, stop, *lets, Accumulate("least", (), signed, "min"), kind="vector"),
            when(local("least", dtype) < last, loop("e", b, stop, *self._tried(e, last))),
        )
        found, number = let(
            "number", clamped(as_dtype(Local("which", (n,), place_dtype), int64), count)
        )
        body = (
            *self.bound(),
            Alloc("kept", dtype, (keep,), Const(0, dtype)),
            Alloc("which", place_dtype, (keep,), Const(0, place_dtype)),
            loop("e", 0, keep, *self._inserted(e, e)),
            Alloc("last", dtype, (), Local("kept", (index(keep - 1),), dtype)),
            loop("b", keep, count, *block, step=_BLOCK),
            loop("n", 0, keep, found, *self.put(n, number)),
        )
        params = (self.x, self.values, self.positions)
        return Kernel("select", params, (parallel("r", self.rows, *body),))

    def _tried(self, e: Expr, last: Expr) -> Body:
        """Element e in the place of the last one kept, and then where it belongs, if it is less."""
        lets, raw = self.key(e)
        better = _signed(raw, self.bits) < last
        rename = Assign("last", (), Local("kept", (index(self.keep - 1),), last.dtype))
        return (
            *lets,
            when(better, *self._moved(e, index(self.keep - 1), _signed(raw, self.bits)), rename),
        )

    def _inserted(self, e: Expr, free: Expr) -> Body:
        lets, raw = self.key(e)
        return (*lets, *self._moved(e, free, _signed(raw, self.bits)))

    def _moved(self, e: Expr, free: Expr, key: Expr) -> Body:
        """Element e put among those before the place ``free``, which is to be filled."""
        dtype, t = self.key_dtype, Var("t")
        place_dtype = int32 if self.count < 2**31 else int64
        mine, own = let("own", key)
        here, j = let("j", clamped(free - t, self.keep))
        prior, i = let("i", clamped(free - t - 1, self.keep))
        before = Local("kept", (i,), dtype)
        hole, place = let("place", clamped(local("hole", int64), self.keep))
        return (
            mine,
            Alloc("hole", int64, (), free),
            loop(
                "t", 0, free,
                here,
                prior,
                when(
                    both(equal(local("hole", int64), j), own < before),
                    Assign("kept", (j,), before),
                    Assign("which", (j,), Local("which", (i,), place_dtype)),
                    Assign("hole", (), i),
                ),
            ),
            hole,
            Assign("kept", (place,), own),
            Assign("which", (place,), as_dtype(e, place_dtype)),
        )  # fmt: skip

    def by_digits(self) -> Kernel:
        count, rows, dtype = self.count, self.rows, self.key_dtype
        keys = Buffer("keys", dtype, (2, rows, count), "workspace")
        order = Buffer("order", int32 if count < 2**31 else int64, (2, rows, count), "workspace")
        r, k = Var("r"), Var("k")
        lets, key = self.key(k)
        shifts = range(0, self.bits, _DIGIT)
        fill = loop(
            "k", 0, count,
            *lets,
            Store("keys", (index(0), r, k), key),
            Store("order", (index(0), r, k), as_dtype(k, order.dtype)),
            *(Accumulate(f"count{s}", (_digit(key, s),), Const(1, int64)) for s in shifts),
        )  # fmt: skip
        side, p = let("last", both(local("side", int64), index(1)))
        found, number = let("number", clamped(as_dtype(at(order, p, r, k), int64), count))
        body: Body = (
            *self.bound(),
            Alloc("side", int64, (), index(0)),
            *(Alloc(f"count{s}", int64, (_VALUES,), index(0)) for s in shifts),
            fill,
            *(self._pass(keys, order, s) for s in shifts),
            side,
            loop("k", 0, self.keep, found, *self.put(k, number)),
        )
        params = (self.x, self.values, self.positions, keys, order)
        return Kernel("sort", params, (parallel("r", rows, *body),))

    def _pass(self, keys: Buffer, order: Buffer, shift: int) -> If:
        """Move keys and their numbers to the other side, by one digit, unless all have the same."""
        count, r, k, d = self.count, Var("r"), Var("k"), Var("d")
        name = f"count{shift}"

        def counted(digit: Expr) -> Local:
            return Local(name, (digit,), int64)

        first = counted(_digit(at(keys, both(local("side", int64), index(1)), r, index(0)), shift))
        side, p = let("here", both(local("side", int64), index(1)))
        own, size = let("size", counted(d))
        element, key = let("moved", at(keys, p, r, k))
        which, digit = let("digit", _digit(key, shift))
        to, place = let("to", clamped(counted(digit), count))
        other = index(1) - p
        return If(
            negated(equal(first, index(count))),
            (
                side,
                Alloc("start", int64, (), index(0)),
                loop(  # from sizes to where each digit's first key goes
                    "d", 0, _VALUES,
                    own,
                    Assign(name, (d,), local("start", int64)),
                    Accumulate("start", (), size),
                ),
                loop(
                    "k", 0, count,
                    element,
                    which,
                    to,
                    Assign(name, (digit,), place + 1),
                    Store("keys", (other, r, place), key),
                    Store("order", (other, r, place), at(order, p, r, k)),
                ),
                Assign("side", (), other),
            ),
        )  # fmt: skip


def _digit(key: Expr, shift: int) -> Expr:
    lowest = Binary("shr", key, Const(shift, key.dtype)) if shift else key
    return as_dtype(both(lowest, Const(_VALUES - 1, key.dtype)), int64)


def _signed(key: Expr, bits: int) -> Expr:
    """A key of unsigned digits as a number that compares like them."""
    if bits < 32:
        return key
    return Binary("xor", key, Const(-(2 ** (bits - 1)), key.dtype))
