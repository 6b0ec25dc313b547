"""Random states for several runs of one traced function: each run draws numbers of its own."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.dtypes import int64
from ..ir.node import Value
from ..ops.arithmetic import broadcast_to
from ..ops.link import ops
from .rng import Generator
from .trace import local


def keys_for_runs(key: Value, count: int, blocks: int) -> Value:
    """The state (seed, counter), int64[2], as int64[count, 2]: run i begins ``i * blocks`` on."""
    runs = ops.iota(shape=(count, 2), dim=0, dtype=int64)
    column = ops.iota(shape=(count, 2), dim=1, dtype=int64)
    return broadcast_to(key, (count, 2)) + runs * column * blocks  # type: ignore[no-any-return]


def skip_runs(random: Mapping[Generator, int], count: int) -> None:
    """Move generators past ``count`` runs of a function; tracing has moved them past one."""
    stride = sum(random.values())
    for generator, blocks in random.items():
        generator.offset += count * stride - blocks
        local.trace.rng.pop(generator, None)


__all__ = ["keys_for_runs", "skip_runs"]
