"""Arguments that are one number or one number per spatial dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def tuple_of(count: int) -> Callable[[Any], tuple[Any, ...]]:
    """A function that repeats a single value ``count`` times and keeps a sequence as a tuple."""

    def spread(value: Any) -> tuple[Any, ...]:
        return tuple(value) if isinstance(value, Iterable) else (value,) * count

    return spread


single = tuple_of(1)
pair = tuple_of(2)
triple = tuple_of(3)
quadruple = tuple_of(4)
sextuple = tuple_of(6)
