"""gcd: Euclid's algorithm on each pair of elements.

The loop is bounded by the longest that it can take, of consecutive Fibonacci numbers.
"""

from __future__ import annotations

from ...core.dtypes import int64
from ...ir.loops import Alloc, Assign, Kernel, Store, Unary
from ...ir.node import Node
from .parts import (
    Binary,
    Buffer,
    Const,
    Expr,
    Var,
    at,
    index,
    lesser,
    let,
    local,
    loop,
    parallel,
    when,
)

_CHUNK = 256
_STEPS = {1: 13, 2: 25, 4: 48, 8: 94}  # by the bytes of an integer


def build(node: Node) -> Kernel:
    dtype, size = node.types[0].dtype, node.types[0].numel
    x, y = Buffer("x", dtype, (size,)), Buffer("y", dtype, (size,))
    z = Buffer("z", dtype, (size,), "out")
    a, b, e = local("a", dtype), local("b", dtype), Var("e")

    def magnitude(value: Expr) -> Expr:
        return Unary("abs", value) if dtype.is_signed else value

    rest, r = let("rest", magnitude(Binary("fmod", a, b)))
    step = when(
        Binary("ne", b, Const(0, dtype)), rest, Assign("a", (), b), Assign("b", (), r)
    )  # fmt: skip
    lo = Var("c") * _CHUNK
    pair = loop(
        "e", lo, lesser(lo + _CHUNK, index(size)),
        Alloc("a", dtype, (), magnitude(at(x, e))),
        Alloc("b", dtype, (), magnitude(at(y, e))),
        loop("turn", 0, Const(_STEPS[dtype.itemsize], int64), step),
        Store("z", (e,), a),
    )  # fmt: skip
    return Kernel("gcd", (x, y, z), (parallel("c", -(-size // _CHUNK), pair),))
