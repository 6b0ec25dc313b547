"""Public functions that cut a tensor into views along one dimension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import index
from typing import Any

import numpy as np

from ..core.errors import DimError, ShapeError
from ..ir.node import Value
from .dims import normalize_dim
from .function import Call, function
from .shape_functions import select, slice_dim


def _example(*shape: int) -> Any:
    return np.random.default_rng(23).normal(size=shape)


def _parts(input: Value, dim: int, sizes: Sequence[int]) -> tuple[Value, ...]:
    parts, start = [], 0
    for size in sizes:
        parts.append(slice_dim(input, dim, start, start + size))
        start += size
    return tuple(parts)


def _split_calls() -> Iterator[Call]:
    x = _example(5, 4)
    yield Call((x, 2))
    yield Call((x, [1, 3], 1))
    yield Call((x, 9, -1))
    yield Call((np.zeros((0, 2)), 3))
    yield Call((x, [1, 3]), error=(RuntimeError, "sum exactly to 5"))
    yield Call((x, -1), error=(RuntimeError, "non-negative"))


@function("split", method=True, view=True, out=False, calls=_split_calls)
def split(
    input: Value, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Value, ...]:
    """Consecutive pieces along ``dim``: of a size (the last may be shorter), or of given sizes."""
    if input.ndim == 0:
        raise ShapeError("split expects at least a 1-dimensional tensor")
    dim = normalize_dim(dim, input.ndim)
    if isinstance(split_size_or_sections, (tuple, list)):
        return split_with_sizes(input, split_size_or_sections, dim)  # type: ignore[no-any-return]
    size, extent = index(split_size_or_sections), input.shape[dim]  # type: ignore[arg-type]
    if size < 0:
        raise ShapeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0 and extent:
        raise ShapeError(
            f"split_size can only be 0 if dimension size is 0, but got dimension size of {extent}"
        )
    count = max(1, -(-extent // size)) if size else 1
    return _parts(input, dim, [min(size, extent - i * size) for i in range(count)])


def _sizes_calls() -> Iterator[Call]:
    yield Call((_example(5, 4), [1, 3], 1))
    yield Call((_example(5, 4), [0, 5, 0]))


@function("split_with_sizes", method=True, view=True, out=False, calls=_sizes_calls)
def split_with_sizes(input: Value, split_sizes: Sequence[int], dim: int = 0) -> tuple[Value, ...]:
    """Consecutive pieces of the given sizes along ``dim``."""
    dim = normalize_dim(dim, input.ndim)
    if sum(split_sizes) != input.shape[dim] or min(split_sizes, default=0) < 0:
        raise ShapeError(
            f"split_with_sizes expects split_sizes to sum exactly to {input.shape[dim]} (input "
            f"tensor's size at dimension {dim}), but got split_sizes={list(split_sizes)}"
        )
    return _parts(input, dim, split_sizes)


def _chunk_calls() -> Iterator[Call]:
    x = _example(5, 4)
    yield Call((x, 2))
    yield Call((x, 4))
    yield Call((x, 3, 1))
    yield Call((x, 0), error=(RuntimeError, "greater than 0"))


@function("chunk", method=True, view=True, out=False, calls=_chunk_calls)
def chunk(input: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    """At most ``chunks`` pieces of equal size along ``dim``; the last may be shorter."""
    if chunks <= 0:
        raise ShapeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    if not input.ndim:
        raise ShapeError("chunk expects at least a 1-dimensional tensor")
    dim = normalize_dim(dim, input.ndim)
    size = -(-input.shape[dim] // chunks)
    if size == 0:
        return _parts(input, dim, [0] * chunks)
    return split(input, size, dim)  # type: ignore[no-any-return]


def _tensor_split_calls() -> Iterator[Call]:
    x = _example(7, 4)
    yield Call((x, 3))
    yield Call((x, (1, 3)))
    yield Call((x, (3, -2, 9), 0))
    yield Call((x, 2, 1))
    yield Call((x, 0), error=(RuntimeError, "larger than 0"))


@function("tensor_split", method=True, view=True, out=False, calls=_tensor_split_calls)
def tensor_split(
    input: Value, indices_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Value, ...]:
    """Pieces along ``dim``: a number of them, as equal as can be, or cut at the given positions."""
    if input.ndim == 0:
        raise ShapeError("tensor_split expected at least a 1-dimensional tensor, but got 0-d")
    dim = normalize_dim(dim, input.ndim)
    extent = input.shape[dim]
    if isinstance(indices_or_sections, (tuple, list)):
        cuts = [slice(None, i).indices(extent)[1] for i in indices_or_sections]
        bounds = [0, *cuts, extent]
        return tuple(slice_dim(input, dim, a, max(a, b)) for a, b in pairwise(bounds))
    sections = index(indices_or_sections)  # type: ignore[arg-type]
    if sections <= 0:
        raise ShapeError(f"number of sections must be larger than 0, got {sections}")
    base, more = divmod(extent, sections)
    return _parts(input, dim, [base + (i < more) for i in range(sections)])


def _unbind_calls() -> Iterator[Call]:
    yield Call((_example(2, 3),))
    yield Call((_example(2, 3), -1))
    yield Call((_example(),), error=(IndexError, "no dimensions"))


@function("unbind", method=True, view=True, out=False, calls=_unbind_calls)
def unbind(input: Value, dim: int = 0) -> tuple[Value, ...]:
    """All slices along ``dim``, which vanishes."""
    if input.ndim == 0:
        raise DimError("Dimension specified as 0 but tensor has no dimensions")
    dim = normalize_dim(dim, input.ndim)
    return tuple(select(input, dim, i) for i in range(input.shape[dim]))
