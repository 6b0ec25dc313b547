"""Public index_* functions, take and put: whole slices, or positions of flattened tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.dtypes import bool_
from ..core.errors import DTypeError, IndexOutOfRange, ShapeError
from ..ir.node import Value
from .arithmetic import Operand, Scalar, broadcast_to, cast, constant
from .dims import normalize_dim
from .function import Call, function
from .gather_functions import combined, index_of, lifted
from .index import put_at
from .link import ops
from .named import public
from .reduce import spread
from .shape_functions import reorder, slice_dim, to_shape


def _rng(seed: int = 31) -> Any:
    return np.random.default_rng(seed)


def _select_calls() -> Iterator[Call]:
    x = _rng().normal(size=(3, 4))
    yield Call((x, 0, np.array([2, 0, 2])))
    yield Call((x, -1, np.array([1], np.int32)))
    yield Call((x, 1, np.zeros(0, np.int64)))
    yield Call((x, 0, np.array([[1]])), error=(IndexError, "vector"))


def _vector(op: str, index: Value) -> Value:
    index = lifted(index_of(op, index))
    if index.ndim > 1:
        raise IndexOutOfRange(f"{op}(): Index is supposed to be a vector, got {index.ndim}-d")
    return index


@function("index_select", method=True, calls=_select_calls)
def index_select(input: Value, dim: int, index: Value) -> Value:
    """The slices of ``input`` along ``dim`` at the positions of a 1-d ``index``."""
    index = _vector("index_select", index)
    dim = normalize_dim(dim, input.ndim)
    if not input.ndim:
        return to_shape(ops.take(lifted(input), slice_dim(index, 0, 0, 1), batch=0), ())
    rest = tuple(d for d in range(input.ndim) if d != dim)
    order = (dim, *rest)
    found = ops.take(reorder(input, order), index, batch=0)
    return reorder(found, tuple(order.index(d) for d in range(input.ndim)))


def _put_slices(
    op: str, input: Value, dim: int, index: Value, source: Value | Scalar, combine: str
) -> Value:
    index = _vector(op, index)
    dim = normalize_dim(dim, input.ndim)
    shape, input = input.shape, lifted(input)
    target = (*input.shape[:dim], index.shape[0], *input.shape[dim + 1 :])
    if isinstance(source, Value):
        source = lifted(source)
        if source.dtype is not input.dtype:
            raise DTypeError(
                f"{op}(): self ({input.dtype}) and source ({source.dtype}) must have the same "
                "scalar type"
            )
        if source.shape != target:
            raise ShapeError(
                f"{op}(): expected source of shape {list(target)}, got {list(source.shape)}"
            )
    else:
        source = constant(source, input.dtype, target)
    order = (dim, *(d for d in range(input.ndim) if d != dim))
    put = ops.index_put(
        reorder(input, order), index, reorder(source, order), batch=0, combine=combine
    )
    return to_shape(reorder(put, tuple(order.index(d) for d in range(input.ndim))), shape)


def _add_calls() -> Iterator[Call]:
    x, src = _rng().normal(size=(3, 4)), _rng(32).normal(size=(2, 4))
    yield Call((x, 0, np.array([2, 2]), src))
    yield Call((x, 1, np.array([3, 0]), src.T[:3]), {"alpha": 2})


@function("index_add", method=True, inplace=True, calls=_add_calls)
def index_add(input: Value, dim: int, index: Value, source: Value, *, alpha: Scalar = 1) -> Value:
    """``alpha * source`` added to the slices of ``input`` at the positions of a 1-d ``index``."""
    scaled = source if alpha == 1 else cast(public.mul(source, alpha), source.dtype)
    return _put_slices("index_add", input, dim, index, scaled, "sum")


def _copy_calls() -> Iterator[Call]:
    yield Call((_rng().normal(size=(3, 4)), 0, np.array([2, 0]), _rng().normal(size=(2, 4))))
    yield Call((_rng().normal(size=(3, 4)), 1, np.array([1]), _rng().normal(size=(3, 1))))


@function("index_copy", method=True, inplace=True, calls=_copy_calls)
def index_copy(input: Value, dim: int, index: Value, source: Value) -> Value:
    """The slices of ``input`` at the positions of ``index`` replaced by ``source``'s."""
    return _put_slices("index_copy", input, dim, index, source, "set")


def _fill_calls() -> Iterator[Call]:
    x = _rng().normal(size=(3, 4))
    yield Call((x, 0, np.array([2, 0]), 1.5))
    yield Call((x, 1, np.array([2]), np.array(2.0)))


@function("index_fill", method=True, inplace=True, out=False, calls=_fill_calls)
def index_fill(input: Value, dim: int, index: Value, value: Operand) -> Value:
    """The slices of ``input`` at the positions of ``index`` filled with a number or 0-d tensor."""
    if not isinstance(value, Value):
        return _put_slices("index_fill", input, dim, index, value, "set")
    if value.ndim:
        raise ShapeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.ndim} dimension(s)."
        )
    axis = normalize_dim(dim, input.ndim)
    none = constant(False, bool_, input.shape[axis : axis + 1])
    filled = _put_slices("index_fill", none, 0, index, True, "set")
    if input.ndim:
        filled = spread(filled, input, tuple(d for d in range(input.ndim) if d != axis))
    full = broadcast_to(cast(value, input.dtype), input.shape)
    return ops.where(filled, full, input)  # type: ignore[no-any-return]


def _reduce_calls() -> Iterator[Call]:
    x, src = _rng().uniform(0.5, 2, (3, 4)), _rng(32).uniform(0.5, 2, (3, 4))
    for reduce in ("prod", "mean", "amax", "amin"):
        yield Call((x, 0, np.array([2, 2, 0]), src, reduce))
        yield Call((x, 0, np.array([2, 2, 0]), src, reduce), {"include_self": False})


@function("index_reduce", method=True, inplace=True, calls=_reduce_calls)
def index_reduce(
    input: Value, dim: int, index: Value, source: Value, reduce: str, *, include_self: bool = True
) -> Value:
    """``source`` accumulated into the slices of ``input`` at the positions of ``index``: "prod",
    "mean", "amax" or "amin"."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise ShapeError(f"index_reduce(): Expected reduce in prod, mean, amax, amin; got {reduce}")

    def put(x: Value, new: Scalar | None, combine: str) -> Value:
        return _put_slices("index_reduce", x, dim, index, source if new is None else new, combine)

    return combined("index_reduce", put, input, index, reduce, include_self)


def _index_put_calls() -> Iterator[Call]:
    x = _rng().normal(size=(3, 4))
    rows, cols = np.array([0, 2]), np.array([1, -1])
    yield Call((x, (rows, cols), np.array([5.0, 6.0])))
    yield Call((x, (rows,), _rng().normal(size=(4,))))
    yield Call((x, (np.array([1, 1]),), np.array(2.0)), {"accumulate": True})


@function("index_put", method=True, inplace=True, out=False, calls=_index_put_calls)
def index_put(
    input: Value, indices: Sequence[Value | None], values: Value, accumulate: bool = False
) -> Value:
    """``input`` with ``values`` put (or added) where ``input[indices]`` reads; None is ``:``."""
    if len(indices) > input.ndim:
        raise IndexOutOfRange(
            f"too many indices for tensor of dimension {input.ndim} (got {len(indices)})"
        )
    if values.dtype is not input.dtype:
        raise DTypeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype} for "
            f"the destination and {values.dtype} for the source."
        )
    tensors = [(d, index_of("index_put", v)) for d, v in enumerate(indices) if v is not None]
    if not tensors:
        full = broadcast_to(values, input.shape)
        return input + full if accumulate else full
    return put_at(input, tensors, values, "sum" if accumulate else "set")


def _take_calls() -> Iterator[Call]:
    x = _rng().normal(size=(3, 4))
    yield Call((x, np.array([[0, 11], [-1, 5]])))
    yield Call((x, np.array(3)))


@function("take", method=True, calls=_take_calls)
def take(input: Value, index: Value) -> Value:
    """Elements of the flattened ``input`` at (possibly negative) positions, shaped as them."""
    flat = to_shape(input, (input.type.numel,))
    return ops.take(flat, index_of("take", index), batch=0, wrap=True)  # type: ignore[no-any-return]


def _put_calls() -> Iterator[Call]:
    x = _rng().normal(size=(3, 4))
    yield Call((x, np.array([[0, 11], [-2, 5]]), _rng().normal(size=(2, 2))))
    yield Call((x, np.array([1, 1]), _rng().normal(size=(2,))), {"accumulate": True})


@function("put", method=True, inplace=True, out=False, calls=_put_calls)
def put(input: Value, index: Value, source: Value, accumulate: bool = False) -> Value:
    """``source`` put (or added) at positions of the flattened ``input``."""
    flat = to_shape(input, (input.type.numel,))
    combine = "sum" if accumulate else "set"
    new = to_shape(source, index.shape)
    done = ops.index_put(flat, index_of("put", index), new, batch=0, wrap=True, combine=combine)
    return to_shape(done, input.shape)
