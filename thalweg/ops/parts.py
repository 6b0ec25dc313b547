"""Public functions about parts of a tensor: replaced parts, strided parts, pieces by dimension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import int64
from ..core.errors import ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import Scalar, cast, constant
from .contract import PRIMITIVES
from .dims import normalize_dim
from .function import Call, function
from .link import ops
from .named import public
from .shape_functions import select, to_shape
from .slicing import replaced
from .splitting import tensor_split
from .windows import diagonal_extent


def _example(*shape: int) -> Any:
    return np.random.default_rng(53).normal(size=shape)


# ---- a tensor with a part replaced


def _with_part(op: str, input: Value, part: Value, shape: tuple[int, ...]) -> Value:
    """The replacement in the dtype of the tensor. RuntimeError unless it has the part's shape."""
    if part.shape != shape:
        raise ShapeError(
            f"{op}: expected src to have a size equal to the replaced part of self. src size = "
            f"{list(part.shape)}, replaced size = {list(shape)}"
        )
    return cast(part, input.dtype)


def _slice_calls() -> Iterator[Call]:
    x = _example(4, 5)
    yield Call((x, _example(2, 5)), {"start": 1, "end": 3})
    yield Call((x, _example(4, 3), 1), {"step": 2})
    yield Call((x, _example(4, 2), -1, -2))
    yield Call((x, _example(3, 5)), {"end": 2}, error=(RuntimeError, "size"))


@function("slice_scatter", method=True, calls=_slice_calls)
def slice_scatter(
    input: Value, src: Value, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1,
) -> Value:  # fmt: skip
    """``input`` with ``src`` in place of ``range(start, end, step)`` along ``dim``."""
    dim = normalize_dim(dim, input.ndim)
    begin, stop, step = slice(start, end, step).indices(input.shape[dim])
    count = len(range(begin, stop, step))
    part = _with_part("slice_scatter", input, src, replaced(input.shape, dim, count))
    if not count:
        return input
    return ops.slice_update(  # type: ignore[no-any-return]
        input,
        part,
        starts=replaced((0,) * input.ndim, dim, begin),
        stops=replaced(input.shape, dim, begin + (count - 1) * step + 1),
        steps=replaced((1,) * input.ndim, dim, step),
    )


def _select_calls() -> Iterator[Call]:
    x = _example(3, 4)
    yield Call((x, _example(4), 0, 1))
    yield Call((x, _example(3), -1, -2))
    yield Call((x, _example(3), 0, 1), error=(RuntimeError, "size"))
    yield Call((x, _example(4), 0, 3), error=(IndexError, "out of range"))


@function("select_scatter", method=True, calls=_select_calls)
def select_scatter(input: Value, src: Value, dim: int, index: int) -> Value:
    """``input`` with ``src`` in place of the slice at ``index`` of dimension ``dim``."""
    shape = select(input, dim, index).shape
    dim = normalize_dim(dim, input.ndim)
    index %= input.shape[dim]
    part = _with_part("select_scatter", input, src, shape)
    whole = to_shape(part, replaced(input.shape, dim, 1))
    return slice_scatter(input, whole, dim, index, index + 1)  # type: ignore[no-any-return]


def _diagonal_calls() -> Iterator[Call]:
    x = _example(3, 4)
    yield Call((x, _example(3)))
    yield Call((x, _example(3), 1))
    yield Call((_example(2, 3, 4), _example(3, 1)), {"offset": -1, "dim1": 0, "dim2": 2})
    yield Call((x, _example(2)), error=(RuntimeError, "size"))


@function("diagonal_scatter", method=True, calls=_diagonal_calls)
def diagonal_scatter(
    input: Value, src: Value, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Value:
    """``input`` with ``src`` in place of `diagonal`."""
    dim1, dim2 = normalize_dim(dim1, input.ndim), normalize_dim(dim2, input.ndim)
    kept = tuple(n for d, n in enumerate(input.shape) if d not in (dim1, dim2))
    count = diagonal_extent(input.shape[dim1], input.shape[dim2], offset)
    part = _with_part("diagonal_scatter", input, src, (*kept, count))
    view: Any = PRIMITIVES["diagonal"]
    return view.write(input, part, offset=offset, dim1=dim1, dim2=dim2)  # type: ignore[no-any-return]


def _fill_calls() -> Iterator[Call]:
    yield Call((_example(3, 4), 2.5), grad=False)
    yield Call((_example(7, 3), 1.0), {"wrap": True}, grad=False)
    yield Call((_example(3, 3, 3), 0.0), grad=False)
    yield Call((_example(3), 1.0), error=(RuntimeError, "2 dimensions"))


@function("fill_diagonal", method=True, inplace=True, public=False, out=False, calls=_fill_calls)
def fill_diagonal(input: Value, fill_value: Scalar, wrap: bool = False) -> Value:
    """``input`` with a number on its main diagonal; with ``wrap`` on every diagonal below the
    first that a tall matrix has room for."""
    if input.ndim < 2:
        raise ShapeError("fill_diagonal_: dimensions must larger than 1, expected 2 dimensions")
    if input.ndim > 2 and len(set(input.shape)) > 1:
        raise ShapeError("fill_diagonal_: all dimensions of input must be of equal length")
    count = input.type.numel
    step = sum(int(np.prod(input.shape[d + 1 :])) for d in range(input.ndim))
    square = input.shape[1] ** 2  # where the first diagonal of a tall matrix ends
    last = count if wrap and input.ndim == 2 else min(count, square if input.ndim == 2 else count)
    at = ops.iota(shape=(count,), dim=0, dtype=int64, start=0)
    on = public.logical_and(
        public.eq(public.remainder(at, step), 0),
        public.lt(at, last),
    )
    filled = constant(fill_value, input.dtype, input.shape)
    return ops.where(to_shape(on, input.shape), filled, input)  # type: ignore[no-any-return]


# ---- strided parts


def _strided_calls() -> Iterator[Call]:
    x = _example(4, 5)
    yield Call((x, (2, 2), (1, 2)))
    yield Call((x, (3, 3), (5, 1), 4))
    yield Call((x, (2, 3, 2), (0, 2, 1)))
    yield Call((x, (), (), 7))
    yield Call((x, (3, 3), (10, 1), 4), error=(RuntimeError, "out of bounds"))


@function("as_strided", method=True, out=False, calls=_strided_calls)
def as_strided(
    input: Value, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Value:
    """Elements of a tensor's memory, taken to be row-major, at ``storage_offset`` + positions times
    strides; a copy, not a view. RuntimeError for positions outside it."""
    shape, steps, start = tuple(size), tuple(stride), storage_offset or 0
    if len(shape) != len(steps):
        raise ShapeError("mismatch in length of strides and shape")
    if min(steps, default=0) < 0:
        raise ShapeError(f"as_strided: Negative strides are not supported, got {list(steps)}")
    last = start + sum((n - 1) * s for n, s in zip(shape, steps))
    if 0 not in shape and not 0 <= start <= last < input.type.numel:
        raise ShapeError(
            f"setStorage: sizes {list(shape)}, strides {list(steps)}, storage offset {start} are "
            f"out of bounds for storage of {input.type.numel} elements"
        )
    index = constant(start, int64, shape)
    for dim, step in enumerate(steps):
        index = index + ops.iota(shape=shape, dim=dim, dtype=int64, start=0) * step
    return ops.take(to_shape(input, (input.type.numel,)), index, batch=0)  # type: ignore[no-any-return]


# ---- pieces


def _pieces(op: str, input: Value, parts: int | Sequence[int], dim: int, least: int) -> Any:
    if input.ndim < least:
        raise ShapeError(
            f"torch.{op} requires a tensor with at least {least} dimension"
            f"{'s' if least > 1 else ''}, but got a tensor with {input.ndim} dimensions!"
        )
    if isinstance(parts, int) and (parts <= 0 or input.shape[dim] % parts):
        raise ShapeError(
            f"torch.{op} attempted to split along dimension {dim}, but the size of the dimension "
            f"{input.shape[dim]} is not divisible by the split_size {parts}!"
        )
    return tensor_split(input, parts, dim)


def _piece_calls() -> Iterator[Call]:
    x = _example(4, 4, 4)
    yield Call((x, 2))
    yield Call((x, (1, 3)))
    yield Call((x, 3), error=(RuntimeError, "not divisible"))


@function("hsplit", method=True, view=True, out=False, calls=_piece_calls)
def hsplit(input: Value, indices_or_sections: int | Sequence[int]) -> tuple[Value, ...]:
    """`tensor_split` along the second dimension, or along the only one, into equal pieces."""
    dim = 1 if input.ndim > 1 else 0
    return _pieces("hsplit", input, indices_or_sections, dim, 1)  # type: ignore[no-any-return]


@function("vsplit", method=True, view=True, out=False, calls=_piece_calls)
def vsplit(input: Value, indices_or_sections: int | Sequence[int]) -> tuple[Value, ...]:
    """`tensor_split` along the first dimension, into equal pieces."""
    return _pieces("vsplit", input, indices_or_sections, 0, 2)  # type: ignore[no-any-return]


@function("dsplit", method=True, view=True, out=False, calls=_piece_calls)
def dsplit(input: Value, indices_or_sections: int | Sequence[int]) -> tuple[Value, ...]:
    """`tensor_split` along the third dimension, into equal pieces."""
    return _pieces("dsplit", input, indices_or_sections, 2, 3)  # type: ignore[no-any-return]


def _unravel_calls() -> Iterator[Call]:
    yield Call((np.array([0, 5, 11]), (3, 4)))
    yield Call((np.array(7), (2, 2, 3)))
    yield Call((np.array([1]), (-1, 4)), error=(ValueError, "non-negative"))


@function("unravel_index", out=False, calls=_unravel_calls)
def unravel_index(indices: Value, shape: Sequence[int]) -> tuple[Value, ...]:
    """Positions in a flattened tensor of ``shape`` as one tensor of positions a dimension."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if min(sizes, default=0) < 0:
        raise ValueRangeError(f"unravel_index: expected a non-negative shape, got {sizes}")
    if indices.dtype.category != "int":
        raise ValueRangeError(f"expected 'indices' to be an integer tensor, got {indices.dtype}")
    found, rest = [], cast(indices, int64)
    for extent in reversed(sizes):
        found.append(public.remainder(rest, extent))
        rest = public.floor_divide(rest, extent)
    return tuple(reversed(found))


def _sum_calls() -> Iterator[Call]:
    x = _example(2, 3, 4)
    yield Call((x, (3, 1)))
    yield Call((x, (2, 3, 4)))
    yield Call((x, ()))
    yield Call((x, (2, 4)), error=(RuntimeError, "expandable"))


@function("sum_to_size", public=False, method=True, out=False, calls=_sum_calls)
def sum_to_size(input: Value, *size: Any) -> Value:
    """The sum over the dimensions that a tensor of this size would be expanded along."""
    shape = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)
    extra = input.ndim - len(shape)
    aligned = (1,) * extra + shape
    if extra < 0 or any(a not in (1, n) for a, n in zip(aligned, input.shape)):
        raise ShapeError(
            f"size {{{list(shape)}}} is not expandable to size {{{list(input.shape)}}}."
        )
    dims = tuple(d for d, (a, n) in enumerate(zip(aligned, input.shape)) if a == 1 and n != 1)
    if not shape:
        return public.sum(input)  # type: ignore[no-any-return]
    return to_shape(public.sum(input, dims) if dims else input, shape)
