"""Indexing: ``x[...]`` and ``x[...] = value`` as pure functions, and gather/scatter by name.

`getitem` and `setitem` take a tuple of ints, `Slice`s, None, Ellipsis and integer tensors, which
the tensor layer makes of the user's index (boolean masks already turned into positions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.dtypes import int32, int64
from ..core.errors import ArgumentError, IndexOutOfRange, ShapeError, ValueRangeError
from ..ir.node import Value
from .arithmetic import Operand, broadcast_shapes, broadcast_to, cast, constant
from .link import ops
from .shape_functions import reorder, to_shape
from .slicing import slice_extent


class Slice(NamedTuple):
    """A Python slice, hashable."""

    start: int | None = None
    stop: int | None = None
    step: int | None = None


class Plan(NamedTuple):
    """What a basic index does: a slice of the operand, the result's shape, and the tensors that
    index its dimensions (in order of dimension)."""

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]
    shape: tuple[int, ...]
    tensors: tuple[tuple[int, Value], ...]


def plan(shape: tuple[int, ...], index: Sequence[Any]) -> Plan:
    """Resolve an index against a shape. IndexError, ValueError or TypeError as PyTorch's."""
    consuming = [i for i in index if i is not None and i is not Ellipsis and not _is_bool(i)]
    if len(consuming) > len(shape):
        raise IndexOutOfRange(f"too many indices for tensor of dimension {len(shape)}")
    if sum(i is Ellipsis for i in index) > 1:
        raise IndexOutOfRange("an index can only have a single ellipsis ('...')")
    missing = len(shape) - len(consuming)
    items: list[Any] = []
    for item in index:
        items.extend([Slice()] * missing if item is Ellipsis else [item])
    if not any(item is Ellipsis for item in index):
        items.extend([Slice()] * missing)
    starts: list[int] = []
    stops: list[int] = []
    steps: list[int] = []
    result: list[int] = []
    tensors: list[tuple[int, Value]] = []
    for item in items:
        if item is None or _is_bool(item):
            result.append(0 if item is False else 1)
            continue
        dim = len(starts)
        extent = shape[dim]
        if isinstance(item, Value):
            tensors.append((len(result), _as_index(item)))
            item = Slice()
        if isinstance(item, (Slice, slice)):
            start, stop, step = _bounds(item, extent)
            result.append(slice_extent(start, stop, step))
        else:
            start, stop, step = _single(item, dim, extent)
        starts.append(start)
        stops.append(stop)
        steps.append(step)
    return Plan(tuple(starts), tuple(stops), tuple(steps), tuple(result), tuple(tensors))


def _is_bool(item: Any) -> bool:
    return item is True or item is False


def _as_index(item: Value) -> Value:
    if item.dtype.category != "int":
        raise IndexOutOfRange(
            "tensors used as indices must be long, int, byte or bool tensors, got "
            f"{item.dtype.name}"
        )
    return item if item.dtype in (int32, int64) else cast(item, int64)


def _bounds(item: Any, extent: int) -> tuple[int, int, int]:
    if item.step is not None and item.step <= 0:
        raise ValueRangeError(f"step must be greater than zero, got {item.step}")
    start, stop, step = slice(item.start, item.stop, item.step).indices(extent)
    return start, max(start, stop), step


def _single(item: Any, dim: int, extent: int) -> tuple[int, int, int]:
    try:
        number = item.__index__()
    except AttributeError:
        raise ArgumentError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(item).__name__})"
        ) from None
    if not -extent <= number < extent:
        raise IndexOutOfRange(
            f"index {number} is out of bounds for dimension {dim} with size {extent}"
        )
    number %= extent
    return number, number + 1, 1


def _sliced(input: Value, made: Plan) -> Value:
    if made.stops == input.shape and not any(made.starts) and set(made.steps) <= {1}:
        return input
    return ops.slice(input, starts=made.starts, stops=made.stops, steps=made.steps)  # type: ignore[no-any-return]


def _shaped(sliced: Value, made: Plan) -> Value:
    """The slice with its dimensions as the index orders them: ints gone, None added."""
    if 0 in made.shape and sliced.type.numel:  # x[False]: a new dimension of no elements
        lifted = to_shape(sliced, tuple(n or 1 for n in made.shape))
        none = (0,) * lifted.ndim
        return ops.slice(lifted, starts=none, stops=made.shape, steps=(1,) * lifted.ndim)  # type: ignore[no-any-return]
    return to_shape(sliced, made.shape)


def _grouped(
    value: Value, tensors: Sequence[tuple[int, Value]]
) -> tuple[Value, tuple[Value, ...], tuple[int, ...], int]:
    """Indexed dimensions moved to the front.

    Returns the moved value, the broadcast index tensors, the order of dimensions, and where
    their result's dimensions belong: in place if the indexed dimensions are adjacent, else first.
    """
    dims = tuple(d for d, _ in tensors)
    try:
        shape = broadcast_shapes(*(v.shape for _, v in tensors))
    except ShapeError:
        shapes = ", ".join(str(list(v.shape)) for _, v in tensors)
        raise IndexOutOfRange(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None
    dtype = int64 if any(v.dtype is int64 for _, v in tensors) else int32
    index = tuple(broadcast_to(cast(v, dtype), shape) for _, v in tensors)
    order = (*dims, *(d for d in range(value.ndim) if d not in dims))
    adjacent = dims == tuple(range(dims[0], dims[0] + len(dims)))
    return reorder(value, order), index, order, dims[0] if adjacent else 0


def take_at(value: Value, tensors: Sequence[tuple[int, Value]]) -> Value:
    """Advanced indexing of some dimensions by tensors."""
    moved, index, _, place = _grouped(value, tensors)
    found = ops.take(moved, *index, batch=0, wrap=True)
    return _moved(found, index[0].ndim, place)


def _moved(found: Value, count: int, place: int) -> Value:
    """The first ``count`` dimensions moved behind the next ``place``."""
    order = (
        *range(count, count + place), *range(count), *range(count + place, found.ndim),
    )  # fmt: skip
    return reorder(found, order)


def put_at(
    value: Value, tensors: Sequence[tuple[int, Value]], new: Value, combine: str = "set"
) -> Value:
    """``value`` with ``new``, which is broadcast, put at the positions of advanced indexing."""
    moved, index, order, place = _grouped(value, tensors)
    count, rest = index[0].ndim, moved.shape[len(index) :]
    shape = (*rest[:place], *index[0].shape, *rest[place:])
    new = _fit(cast(new, value.dtype), shape)
    front = (
        *range(place, place + count), *range(place), *range(place + count, len(shape)),
    )  # fmt: skip
    put = ops.index_put(moved, *index, reorder(new, front), batch=0, wrap=True, combine=combine)
    return reorder(put, tuple(order.index(d) for d in range(value.ndim)))


def _fit(new: Value, shape: tuple[int, ...]) -> Value:
    """``new`` broadcast to ``shape``; leading dimensions of one element may be too many."""
    extra = new.ndim - len(shape)
    if extra > 0 and all(n == 1 for n in new.shape[:extra]):
        new = to_shape(new, new.shape[extra:])
    tail = shape[len(shape) - new.ndim :] if new.ndim <= len(shape) else None
    if tail is None or any(n not in (1, m) for n, m in zip(new.shape, tail)):
        raise ShapeError(
            f"shape mismatch: value tensor of shape {list(new.shape)} cannot be broadcast to "
            f"indexing result of shape {list(shape)}"
        )
    return broadcast_to(new, shape)


def _apart(tensors: Sequence[tuple[int, Value]]) -> tuple[int, Sequence[tuple[int, Value]]] | None:
    """Among tensors of several shapes, a 0-d one and the others once its dimension is gone.

    A 0-d index stands for an int: it plays no part in where the dimensions of the others go.
    """
    if not any(v.ndim for _, v in tensors):
        return None
    for i, (dim, at) in enumerate(tensors):
        if at.ndim == 0:
            others = [*tensors[:i], *tensors[i + 1 :]]
            return i, [(d - 1 if d > dim else d, v) for d, v in others]
    return None


def _take_all(part: Value, tensors: Sequence[tuple[int, Value]]) -> Value:
    split = _apart(tensors)
    if split is None:
        return take_at(part, tensors)
    return _take_all(take_at(part, [tensors[split[0]]]), split[1])


def _put_all(part: Value, tensors: Sequence[tuple[int, Value]], new: Value) -> Value:
    split = _apart(tensors)
    if split is None:
        return put_at(part, tensors, new)
    one = [tensors[split[0]]]
    return put_at(part, one, _put_all(take_at(part, one), split[1], new))


def getitem(input: Value, index: Sequence[Any]) -> Value:
    """``input[index]``.

    Ints drop a dimension, `Slice`s keep it, None adds one, Ellipsis stands for the rest; integer
    tensors pick elements, their broadcast shape standing where the dimensions they index stood
    if those are adjacent, else first. Without tensors the result is a view.
    """
    made = plan(input.shape, index)
    part = _shaped(_sliced(input, made), made)
    if not made.tensors:
        return part
    return _take_all(part, made.tensors)


def setitem(input: Value, index: Sequence[Any], value: Operand) -> Value:
    """``input`` with ``input[index]`` replaced by ``value``, cast to its dtype and broadcast."""
    made = plan(input.shape, index)
    new = value if isinstance(value, Value) else constant(value, input.dtype)
    new = cast(new, input.dtype)
    sliced = _sliced(input, made)
    part = _shaped(sliced, made)
    if part.type.numel != sliced.type.numel:
        return input
    if made.tensors:
        whole = _put_all(part, made.tensors, new)
    else:
        whole = _fit(new, part.shape)
    whole = to_shape(whole, sliced.shape)
    if sliced is input:
        return whole
    return ops.slice_update(  # type: ignore[no-any-return]
        input, whole, starts=made.starts, stops=made.stops, steps=made.steps
    )


__all__ = ["Plan", "Slice", "getitem", "plan", "put_at", "setitem", "take_at"]
