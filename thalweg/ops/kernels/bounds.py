"""The smallest and the largest of some integers: what index ranges are checked by."""

from __future__ import annotations

from ...core.dtypes import int64
from ...ir.loops import Accumulate, Alloc, Kernel, Store
from ...ir.types import TensorType
from .parts import (
    Buffer,
    Cast,
    Var,
    at,
    index,
    lesser,
    local,
    loop,
    parallel,
)

_CHUNK = 8192


def extent_kernel(x: TensorType) -> Kernel:
    """From integers ``x``, at least one, to ``y``: int64[2], the smallest and the largest."""
    size = x.numel
    chunks = -(-size // _CHUNK)
    data, y = Buffer("x", x.dtype, (size,)), Buffer("y", int64, (2,), "out")
    least = Buffer("least", x.dtype, (chunks,), "workspace")
    most = Buffer("most", x.dtype, (chunks,), "workspace")
    c, e = Var("c"), Var("e")
    lo = c * _CHUNK
    search = (
        Alloc("low", x.dtype, (), at(data, lo)),
        Alloc("high", x.dtype, (), at(data, lo)),
        loop(
            "e", lo, lesser(lo + _CHUNK, index(size)),
            Accumulate("low", (), at(data, e), "min"),
            Accumulate("high", (), at(data, e), "max"),
            kind="vector",
        ),
        Store("least", (c,), local("low", x.dtype)),
        Store("most", (c,), local("high", x.dtype)),
    )  # fmt: skip
    first = index(0)
    meet = (
        Alloc("low", x.dtype, (), at(least, first)),
        Alloc("high", x.dtype, (), at(most, first)),
        loop(
            "c", 1, chunks,
            Accumulate("low", (), at(least, c), "min"),
            Accumulate("high", (), at(most, c), "max"),
        ),
        Store("y", (first,), Cast(local("low", x.dtype), int64)),
        Store("y", (index(1),), Cast(local("high", x.dtype), int64)),
    )  # fmt: skip
    return Kernel("extent", (data, y, least, most), (parallel("c", chunks, *search), *meet))
