"""Dimension arguments: negative numbers, tuples, lists and "all of them" as plain tuples."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, TypeAlias

from ..core.errors import ArgumentError, DimError, ShapeError

Dim: TypeAlias = int | Sequence[int] | None


def normalize_dim(dim: int, ndim: int) -> int:
    """``dim`` counted from the front. A 0-d tensor takes 0 and -1, as if it had one dimension.

    DimError (an IndexError) outside ``[-ndim, ndim)``; TypeError unless an integer.
    """
    try:
        number = index(dim)
    except TypeError:
        raise ArgumentError(f"expected dim to be an int, got {type(dim).__name__}") from None
    count = max(ndim, 1)
    if not -count <= number < count:
        raise DimError(
            f"Dimension out of range (expected to be in range of [{-count}, {count - 1}], "
            f"but got {number})"
        )
    return number % count


def normalize_dims(dim: Dim, ndim: int) -> tuple[int, ...]:
    """Sorted distinct dimensions; None and an empty sequence mean all of them.

    The result indexes the shape: it is empty for a 0-d tensor. RuntimeError if one occurs twice.
    """
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    return tuple(sorted(distinct_dims(dim, ndim))) if ndim else _checked_zero(dim)


def distinct_dims(dim: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """The given dimensions counted from the front, in the given order, none twice."""
    given = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    dims: list[int] = []
    for each in given:
        number = normalize_dim(each, ndim)
        if number in dims:
            raise ShapeError(f"dim {number} appears multiple times in the list of dims")
        dims.append(number)
    return tuple(dims)


def _checked_zero(dim: int | Sequence[int]) -> tuple[int, ...]:
    distinct_dims(dim, 0)
    return ()


def sequence_of_ints(args: tuple[Any, ...], named: Any, op: str) -> tuple[int, ...]:
    """Integers given one by one, as one sequence, or by keyword: ``(2, 3)``, ``((2, 3),)``."""
    if named is not None:
        args = (named,) if not args else (*args, named)
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    try:
        return tuple(index(n) for n in args)
    except TypeError:
        kinds = ", ".join(type(n).__name__ for n in args)
        raise ArgumentError(
            f"{op}(): expected ints or one sequence of ints, got ({kinds})"
        ) from None
