"""argmax and argmin: the first position of the extremum along one dimension; NaN wins.

Along rows, a block's extremum is found first and its position only where it beats all blocks
before: nearly every block is read once, by the plain reduction that vectors do best. Across rows
(the dimension is not the last) every lane walks down its own column.
"""

from __future__ import annotations

from collections.abc import Callable

from ...ir.loops import Accumulate, Alloc, Assign, Kernel, Store
from ...ir.node import Node
from .parts import (
    Body,
    Buffer,
    Cast,
    Const,
    Expr,
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
    key,
    key_dtype,
    lesser,
    let,
    local,
    loop,
    negated,
    parallel,
    position_dtype,
    when,
)

_BLOCK = 2048
_SEGMENT = 16384  # of a long row: what one task searches
_TASKS = 16  # rows that are parallelism enough
_COLUMNS = 256


def build(node: Node) -> Kernel:
    x = node.inputs[0].type
    largest = node.op.largest
    outer, count, inner = along(x.shape, node.attrs["dim"])
    if inner == 1:
        return _by_rows(node.op.name, Buffer("x", x.dtype, (outer, count)), largest)
    return _by_columns(node.op.name, Buffer("x", x.dtype, (outer, count, inner)), largest)


def _beats(new: Expr, old: Expr, largest: bool) -> Expr:
    """Whether ``new`` takes the place of an ``old`` that stands before it."""
    better = old < new if largest else new < old
    if not new.dtype.is_floating_point:
        return better
    return both(either(better, is_nan(new)), negated(is_nan(old)))


def _search(x: Callable[[Expr], Expr], lo: Expr, hi: Expr, largest: bool, count: int) -> Body:
    """Assign the extremum of ``x(lo .. hi)`` and its position to ``best`` and ``place``."""
    dtype, at_dtype = x(lo).dtype, position_dtype(count)
    op = "max" if largest else "min"
    block, j, k = Var("block"), Var("j"), Var("k")
    end, end_of = let("block_end", lesser(block + _BLOCK, hi))
    peak = local("peak", dtype)
    none = Const(2 ** (8 * at_dtype.itemsize - 1) - 1, at_dtype)
    hit = either(equal(x(k), peak), is_nan(x(k))) if dtype.is_floating_point else equal(x(k), peak)
    found = local("found", at_dtype)
    return (
        Alloc("best", dtype, (), x(lo)),
        Alloc("place", at_dtype, (), Cast(lo, at_dtype) if lo.dtype is not at_dtype else lo),
        loop(
            "block", lo, hi,
            end,
            Alloc("peak", dtype, (), x(block)),
            loop("j", block, end_of, Accumulate("peak", (), x(j), op), kind="vector"),
            when(
                either(equal(block, lo), _beats(peak, local("best", dtype), largest)),
                Alloc("found", at_dtype, (), none),
                loop(
                    "k", block, end_of,
                    Accumulate("found", (), Select(hit, Cast(k, at_dtype), none), "min"),
                    kind="vector",
                ),
                Assign("best", (), peak),
                Assign("place", (), found),
            ),
            step=_BLOCK,
        ),
    )  # fmt: skip


def _by_rows(name: str, x: Buffer, largest: bool) -> Kernel:
    rows, count = x.shape
    out = Buffer("y", index(0).dtype, (rows,), "out")
    r, s = Var("r"), Var("s")
    place = local("place", position_dtype(count))
    if rows >= _TASKS or count < 2 * _SEGMENT:
        whole = _search(lambda j: key(at(x, r, j)), index(0), index(count), largest, count)
        body: Body = (parallel("r", rows, *whole, Store("y", (r,), Cast(place, out.dtype))),)
        return Kernel(name, (x, out), body)
    segments = -(-count // _SEGMENT)
    places = Buffer("places", place.dtype, (rows, segments), "workspace")
    first, lo = let("first", s * _SEGMENT)
    last, hi = let("last", lesser(lo + _SEGMENT, index(count)))
    part = _search(lambda j: key(at(x, r, j)), lo, hi, largest, count)
    store = Store("places", (r, s), place)
    # The winners of the segments meet in order, so that the first of equals stays.
    winner, w = let("winner", key(at(x, r, _inside(places, r, s, count))))
    start = key(at(x, r, _inside(places, r, index(0), count)))
    champion = local("champion", key_dtype(x.dtype))
    meet = (
        Alloc("champion", key_dtype(x.dtype), (), start),
        Alloc("seat", place.dtype, (), at(places, r, index(0))),
        loop(
            "s", 1, segments,
            winner,
            when(
                _beats(w, champion, largest),
                Assign("champion", (), w),
                Assign("seat", (), at(places, r, s)),
            ),
        ),
        Store("y", (r,), Cast(local("seat", place.dtype), out.dtype)),
    )  # fmt: skip
    body = (
        parallel("r", rows, parallel("s", segments, first, last, *part, store)),
        loop("r", 0, rows, *meet),
    )
    return Kernel(name, (x, out, places), body)


def _inside(places: Buffer, r: Expr, s: Expr, count: int) -> Expr:
    """A position from the workspace, of which the proof of bounds knows nothing."""
    return clamped(as_dtype(at(places, r, s), index(0).dtype), count)


def _by_columns(name: str, x: Buffer, largest: bool) -> Kernel:
    outer, count, inner = x.shape
    at_dtype = position_dtype(count)
    out = Buffer("y", index(0).dtype, (outer, inner), "out")
    o, t, i, k = Var("o"), Var("t"), Var("i"), Var("k")
    dtype = key_dtype(x.dtype)
    value, v = let("value", key(at(x, o, k, i)))
    better, takes = let("takes", _beats(v, local("best", dtype), largest))
    place = local("place", at_dtype)
    column = (
        Alloc("best", dtype, (), key(at(x, o, index(0), i))),
        Alloc("place", at_dtype, (), Const(0, at_dtype)),
        loop(
            "k", 1, count,
            value,
            better,
            Assign("best", (), Select(takes, v, local("best", dtype))),
            Assign("place", (), Select(takes, Cast(k, at_dtype), place)),
        ),
        Store("y", (o, i), Cast(place, out.dtype)),
    )  # fmt: skip
    tiles = -(-inner // _COLUMNS)
    lanes = loop(
        "i", t * _COLUMNS, lesser(t * _COLUMNS + _COLUMNS, index(inner)), *column, kind="vector"
    )
    return Kernel(name, (x, out), (parallel("o", outer, parallel("t", tiles, lanes)),))
