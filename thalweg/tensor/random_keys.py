"""Random states for many runs of one function: each run draws blocks of its own."""

from __future__ import annotations

from ..core.dtypes import int64
from ..ir.node import Value
from ..ops.arithmetic import broadcast_to
from ..ops.link import ops


def keys_for_steps(key: Value, count: int, blocks: int) -> Value:
    """The state int64[2] = (seed, counter) as int64[count, 2]: run i begins ``i * blocks`` later."""
    runs = ops.iota(shape=(count, 2), dim=0, dtype=int64)
    column = ops.iota(shape=(count, 2), dim=1, dtype=int64)
    return broadcast_to(key, (count, 2)) + runs * column * blocks  # type: ignore[no-any-return]


__all__ = ["keys_for_steps"]
