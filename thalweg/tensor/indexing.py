"""``x[index]`` and ``x[index] = value``: what the user wrote, turned into hashable indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ArgumentError, IndexOutOfRange, located
from ..ops.function import Function
from ..ops.index import Slice, getitem, setitem
from .forms import general
from .inplace import inplace
from .tensor import Tensor

_INDEX_TYPES = (int, slice, type(None), type(Ellipsis), Tensor, np.ndarray, list, tuple, np.generic)


def normalise(tensor: Tensor, index: Any) -> tuple[Tensor, tuple[Any, ...]]:
    """The index as a tuple of ints, `Slice`s, None, Ellipsis and integer tensors, and the tensor
    it applies to: with a dimension of one element more for every 0-d mask in the index."""
    if isinstance(index, list) and len(index) < 32 and any(map(_indexes_alone, index)):
        index = tuple(index)
    items = list(index) if isinstance(index, tuple) else [index]
    result: list[Any] = []
    added: list[int] = []
    dim = 0
    rest = _consumed(items)
    for item in items:
        if item is Ellipsis:
            result.append(item)
            dim += max(0, tensor.ndim - rest)
            continue
        if _is_scalar_mask(item):
            result.append(Tensor._from_array(np.zeros(int(bool(item)), np.int64)))
            added.append(dim + len(added))
            continue
        result.extend(_normal_item(tensor, item, dim))
        if item is not None:
            dim += _width(item)
    for position in added:
        tensor = tensor.unsqueeze(position)
    return tensor, tuple(result)


def _indexes_alone(item: Any) -> bool:
    """Whether an element of a list makes the list a tuple of indices rather than one index."""
    return (
        item is None
        or item is Ellipsis
        or isinstance(item, (slice, list, tuple, range, Tensor, np.ndarray))
    )


def _is_scalar_mask(item: Any) -> bool:
    if isinstance(item, Tensor):
        return not item.shape and item.dtype.name in ("bool", "uint8")
    return isinstance(item, (bool, np.bool_)) or (
        isinstance(item, np.ndarray) and item.dtype == bool and not item.shape
    )


def _consumed(items: list[Any]) -> int:
    return sum(_width(i) for i in items if i is not None and i is not Ellipsis)


def _width(item: Any) -> int:
    """How many dimensions of the tensor an index item uses up."""
    if isinstance(item, bool):
        return 0
    if isinstance(item, Tensor) and item.dtype.name in ("bool", "uint8"):
        return item.ndim
    if isinstance(item, np.ndarray) and item.dtype == bool:
        return item.ndim
    if isinstance(item, list) and item and _is_bool_list(item):
        return np.asarray(item).ndim
    return 1


def _is_bool_list(item: list[Any]) -> bool:
    while isinstance(item, list) and item:
        item = item[0]
    return isinstance(item, bool)


def _normal_item(tensor: Tensor, item: Any, dim: int) -> list[Any]:
    if isinstance(item, slice):
        return [Slice(_bound(item.start), _bound(item.stop), _bound(item.step))]
    if item is None or isinstance(item, int):
        return [item]
    if isinstance(item, np.generic):
        return [item.item()]
    if isinstance(item, (list, tuple, range)):
        item = Tensor._from_array(_integers(item))
    elif isinstance(item, np.ndarray):
        item = Tensor._from_array(item.copy())
    if isinstance(item, str):
        raise ArgumentError("a str is not an index: only integers, slices, None, ... and tensors")
    if not isinstance(item, Tensor):
        raise IndexOutOfRange(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(item).__name__})"
        )
    if item.dtype.name in ("bool", "uint8"):
        return _positions(tensor, item, dim)
    if item.dtype.category != "int":
        raise IndexOutOfRange(
            f"tensors used as indices must be long, int, byte or bool tensors, got {item.dtype}"
        )
    return [item]


def _bound(value: Any) -> int | None:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, (Tensor, np.generic)):
        return int(value)
    raise ArgumentError(
        "slice indices must be integers or None or have an __index__ method, got "
        f"{type(value).__name__}"
    )


def _integers(item: Any) -> Any:
    array = np.asarray([x.tolist() if isinstance(x, Tensor) else x for x in item])
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind not in "biu":
        raise IndexOutOfRange(f"an index sequence must hold integers, got {array.dtype}")
    return array if array.dtype == bool else array.astype(np.int64)


def _positions(tensor: Tensor, mask: Tensor, dim: int) -> list[Any]:
    """A boolean mask as index tensors of its true positions (this reads the mask)."""
    for i, extent in enumerate(mask.shape):
        if dim + i >= tensor.ndim or tensor.shape[dim + i] != extent:
            raise IndexOutOfRange(
                f"The shape of the mask {list(mask.shape)} at index {i} does not match the shape "
                f"of the indexed tensor {list(tensor.shape)} at index {dim + i}"
            )
    return [Tensor._from_array(p.astype(np.int64)) for p in np.nonzero(mask._array())]


def make_getitem() -> Any:
    basic = general(Function("__getitem__", getitem, view=True))
    advanced = general(Function("__getitem__", getitem))

    def read(self: Tensor, index: Any) -> Tensor:
        try:
            kind = index.__class__
            if kind is int:
                return basic(self, (index,))
            if kind is Tensor and index._meta.dtype.category == "int" and index._meta.shape:
                return advanced(self, (index,))
            target, items = normalise(self, index)
            if any(isinstance(i, Tensor) for i in items):
                return advanced(target, items)
            return basic(target, items)
        except Exception as error:
            raise located(error) from None

    read.__name__ = "__getitem__"
    return read


def make_setitem() -> Any:
    write = inplace(Function("__setitem__", setitem, method="__setitem__"))

    def store(self: Tensor, index: Any, value: Any) -> None:
        if index is False:
            return
        try:
            target, items = normalise(self, index)
            if isinstance(value, np.ndarray):
                value = Tensor._from_array(value.copy())
            elif isinstance(value, (list, tuple)):
                from .creation import tensor

                value = tensor(value)
            write(target, items, value)
        except Exception as error:
            raise located(error) from None

    store.__name__ = "__setitem__"
    return store
