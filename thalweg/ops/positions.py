"""Index arithmetic for the ``lower`` of ``indexed`` ops, in loop-IR expressions (int64).

The rules here are written plainly, with divisions and clamps; lowering knows the ranges of its
loop variables and removes what they make superfluous.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .pointwise import loops

Index = Sequence[Any]
Shape = tuple[int, ...]


def number(value: int) -> Any:
    """An int64 literal."""
    return loops.Const(value)


def ravel(index: Index, shape: Shape) -> Any:
    """The row-major position of an index into ``shape``."""
    flat: Any = number(0)
    for at, extent in zip(index, shape, strict=True):
        flat = flat * extent + at
    return flat


def unravel(flat: Any, shape: Shape) -> tuple[Any, ...]:
    """The index into ``shape`` of a row-major position."""
    found: list[Any] = []
    step = 1
    for extent in reversed(shape):
        found.append(flat // step % extent if extent > 1 else number(0))
        step *= max(extent, 1)
    return tuple(reversed(found))


def within(at: Any, low: int, high: int) -> Any:
    """Whether ``low <= at < high``."""
    return (at >= low) & (at < high)


def clamped(at: Any, extent: int) -> Any:
    """The position in ``0 .. extent - 1`` nearest to ``at``."""
    return loops.Binary("min", loops.Binary("max", at, number(0)), number(extent - 1))


def all_of(conditions: Sequence[Any]) -> Any:
    """The conjunction of bool expressions."""
    found: Any = loops.Const(True, conditions[0].dtype)
    for condition in conditions:
        found = condition if found == loops.Const(True, condition.dtype) else found & condition
    return found


def constant_of(value: Any, dtype: Any) -> Any:
    """The literal of a Python number as ``dtype``, converted as NumPy fills an array with it."""
    import numpy as np

    return loops.Const(np.full((), value, dtype.np)[()].item(), dtype)
