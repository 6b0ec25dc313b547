"""index_put: new rows put at, or accumulated into, rows that are data.

The operand is copied; then every task owns a range of destination rows, walks over all positions
in order and takes those that fall into its range. So rows meet in the same order for any number of
threads, and none is touched by two of them. Positions out of bounds are passed over: that they
raise is the business of `Primitive.index_ranges`.
"""

from __future__ import annotations

import math

from ...core.dtypes import bool_, float32
from ...ir.loops import Binary, Kernel, Store
from ...ir.node import Node
from .parts import (
    Body,
    Buffer,
    Expr,
    Select,
    Stmt,
    Var,
    as_dtype,
    at,
    both,
    index,
    lesser,
    let,
    loop,
    parallel,
    when,
)

_CHUNK = 4096  # elements copied by one task
_TASKS = 16
_NARROW = 8  # elements of a row that are worth the walk over all positions
_NUMBERS = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}
_LOGIC = {"sum": "or", "prod": "and", "max": "or", "min": "and"}


def build(node: Node) -> Kernel:
    x, first = node.inputs[0].type, node.inputs[1].type
    batch, k = node.attrs["batch"], len(node.inputs) - 2
    batches = math.prod(x.shape[:batch])
    rows = math.prod(x.shape[batch : batch + k])
    width = math.prod(x.shape[batch + k :])
    count = math.prod(first.shape[batch:])
    size = batches * rows * width
    positions = tuple(
        Buffer(f"index{j}", v.dtype, (batches, count)) for j, v in enumerate(node.inputs[1:-1])
    )
    new = Buffer("new", x.dtype, (batches, count, width))
    old, y = Buffer("x", x.dtype, (size,)), Buffer("y", x.dtype, (size,), "out")
    half = x.dtype.is_floating_point and x.dtype.itemsize == 2 and node.attrs["combine"] != "set"
    # Sums of halves are kept in float32 until the end.
    target = Buffer("sums", float32, (size,), "workspace") if half else y
    params = [old, *positions, new, y, *([target] if half else [])]
    body: list[Stmt] = list(_copy(old, target))
    if count and size:
        body.append(_scatter(node, batches, rows, positions, new, target))
    if half:
        body += _copy(target, y)
    return Kernel("index_put", tuple(params), tuple(body))


def _copy(source: Buffer, target: Buffer) -> Body:
    """All elements of ``source``, converted."""
    (size,) = source.shape
    c, e = Var("c"), Var("e")
    store = Store(target.name, (e,), as_dtype(at(source, e), target.dtype))
    lo = c * _CHUNK
    lanes = loop("e", lo, lesser(lo + _CHUNK, index(size)), store, kind="vector")
    return (parallel("c", -(-size // _CHUNK), lanes),)


def _scatter(
    node: Node, batches: int, rows: int, positions: tuple[Buffer, ...], new: Buffer, target: Buffer
) -> Stmt:
    _, count, width = new.shape
    ranges = max(1, min(rows, width // _NARROW, -(-_TASKS // batches)))
    share = -(-rows // ranges)
    b, p, m, r = Var("b"), Var("p"), Var("m"), Var("r")
    subscripts, row, legal = _row(node, positions, b, m)
    place, d = let("row", row)
    element = let("place", (b * rows + d) * width + r)
    value = as_dtype(at(new, b, m, r), target.dtype)
    write = _combined(node.attrs["combine"], target, element[1], value)
    lanes = loop("r", 0, width, element[0], write, kind="vector" if width > 1 else "serial")
    put: Body = (lanes,)
    if ranges > 1:
        lo = p * share
        put = (when(both(Binary("ge", d, lo), d < lo + share), *put),)
    walk = loop("m", 0, count, *subscripts, when(legal, place, *put))
    return parallel("b", batches, parallel("p", ranges, walk))


def _row(node: Node, positions: tuple[Buffer, ...], b: Expr, m: Expr) -> tuple[Body, Expr, Expr]:
    """The statements that load position m of batch b, the row that it names, and whether it is
    one of this operand's."""
    batch, wrap = node.attrs["batch"], node.attrs.get("wrap", False)
    window = node.attrs.get("window")
    sizes = node.inputs[0].shape[batch : batch + len(positions)]
    loads: list[Stmt] = []
    row: Expr = index(0)
    legal: Expr | None = None
    for j, (buffer, size) in enumerate(zip(positions, sizes)):
        found = as_dtype(at(buffer, b, m), index(0).dtype)
        whole, start = size, 0
        if window is not None and window[0] == j:
            _, start, whole = window
        if wrap:
            raw, given = let(f"given{j}", found)
            loads.append(raw)
            found = Select(given < 0, given + whole, given)
        load, i = let(f"i{j}", found - start if start else found)
        loads.append(load)
        inside = both(Binary("ge", i, index(0)), i < size)
        legal = inside if legal is None else both(legal, inside)
        row = i if j == 0 else row * size + i
    assert legal is not None
    return tuple(loads), row, legal


def _combined(combine: str, target: Buffer, place: Expr, value: Expr) -> Stmt:
    """The write of one element. A task owns its rows, so it may read them first."""
    if combine != "set":
        names = _LOGIC if target.dtype is bool_ else _NUMBERS
        value = Binary(names[combine], at(target, place), value)
    return Store(target.name, (place,), value)
