"""Which results are written around the cache.

A result far larger than the last level of cache is not found there by whoever reads it next, so
its lines need not be fetched before they are overwritten: that saves a third of the traffic of an
elementwise kernel. Such stores want whole, aligned vectors. What can be known when a kernel is
made is decided here; the alignment of the buffer itself is asked at run time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ir.loops import Accumulate, Buffer, For, Load, Stmt, Store, expressions, walk, walk_expr
from .statements import constant_count
from .strides import stride
from .target import Target

LARGE = 32 << 20  # bytes
ALIGNMENT = 64


def streamed(
    body: Sequence[Stmt], row: For | None, lanes: int, params: Sequence[Buffer], target: Target
) -> tuple[str, ...]:
    """Names of the results that ``body``, whose vector loop ``row`` runs on ``lanes`` lanes, may
    write around the cache."""
    if row is None or not target.name.startswith("avx") or (constant_count(row) or 1) % lanes:
        return ()
    shapes = {buffer.name: buffer.shape for buffer in params}
    found = []
    for buffer in params:
        if buffer.mode != "out" or buffer.size * buffer.dtype.itemsize < LARGE:
            continue
        stores = [s for s in walk(tuple(body)) if isinstance(s, Store) and s.buffer == buffer.name]
        if (
            len(stores) == 1
            and lanes * buffer.dtype.itemsize % ALIGNMENT == 0
            and not _read(body, buffer.name)
            and _aligned(stores[0], body, row, buffer, shapes)
        ):
            found.append(buffer.name)
    return tuple(found)


def _read(body: Sequence[Stmt], name: str) -> bool:
    for stmt in walk(tuple(body)):
        if isinstance(stmt, Accumulate) and stmt.target == name:
            return True
        for value in expressions(stmt):
            if any(isinstance(e, Load) and e.buffer == name for e in walk_expr(value)):
                return True
    return False


def _aligned(
    store: Store,
    body: Sequence[Stmt],
    row: For,
    buffer: Buffer,
    shapes: Mapping[str, tuple[int, ...]],
) -> bool:
    """Whether a store's vectors begin at multiples of `ALIGNMENT` from the buffer's start."""
    where = Load(store.buffer, store.index, buffer.dtype)
    if stride(where, shapes, row.var) != 1:
        return False
    for stmt in walk(tuple(body)):
        if isinstance(stmt, For) and stmt is not row:
            step = stride(where, shapes, stmt.var)
            if step is None or step * buffer.dtype.itemsize % ALIGNMENT:
                return False
    return True
