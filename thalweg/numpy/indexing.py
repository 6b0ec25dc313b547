"""``x[index]`` and ``x[index] = value`` with NumPy's rules.

What differs from the Tensor's own indexing: slices may run backwards (reading one gives a copy),
integers beside index arrays count as index arrays, lists are index arrays, and a result without
dimensions is a scalar that no longer follows the array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import located
from ..tensor import Tensor
from ..tensor.attach import RECORDED
from .array import NUMBERS, ndarray, wrap

_VALID = (
    "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean "
    "arrays are valid indices"
)


def _item(item: Any) -> Any:
    """One index item as int, slice, None, Ellipsis, Tensor or NumPy array."""
    if item is None or item is Ellipsis or isinstance(item, (int, slice, Tensor)):
        return item
    if isinstance(item, ndarray):
        if item.dtype.kind not in "iub":
            raise IndexError("arrays used as indices must be of integer (or boolean) type")
        # The framework reads uint8 as a mask, NumPy as positions.
        return item._tensor.long() if item.dtype.kind == "u" else item._tensor
    if isinstance(item, np.bool_):
        return bool(item)
    if isinstance(item, np.integer):
        return int(item)
    if isinstance(item, (list, tuple, range, np.ndarray)):
        array = np.asarray(item)
        if array.size == 0 and array.dtype.kind == "f":
            array = array.astype(np.int64)
        if array.dtype.kind not in "iub":
            raise IndexError("arrays used as indices must be of integer (or boolean) type")
        return array if array.dtype.kind == "b" else array.astype(np.int64)
    if hasattr(item, "__index__"):
        return item.__index__()
    raise IndexError(f"{_VALID}, got {type(item).__name__}")


def _width(item: Any) -> int:
    """How many dimensions of the array an item uses up."""
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    if isinstance(item, Tensor) and item.dtype.name == "bool":
        return int(item.ndim)
    return item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1


def normalise(array: ndarray, index: Any) -> list[Any]:
    """The index as a list in which the ellipsis is written out and every dimension is named."""
    items = [_item(i) for i in (index if isinstance(index, tuple) else (index,))]
    used = sum(map(_width, items))
    if used > array.ndim:
        raise IndexError(
            f"too many indices for array: array is {array.ndim}-dimensional, but {used} were "
            "indexed"
        )
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    position = dots[0] if dots else len(items)
    items[position : position + len(dots)] = [slice(None)] * (array.ndim - used)
    return items


def _is_array(item: Any) -> bool:
    return isinstance(item, (Tensor, np.ndarray, bool))


def _resolve(array: ndarray, items: list[Any]) -> tuple[list[Any], list[int]]:
    """Integers checked (and made arrays beside arrays), backward slices turned around.

    Returns the items and the dimensions of the array that are to be flipped.
    """
    # Beside index arrays with dimensions an integer broadcasts; beside 0-d ones it selects.
    advanced = any(_is_array(i) and not isinstance(i, bool) and i.ndim for i in items)
    result: list[Any] = []
    flipped: list[int] = []
    dim = 0
    for item in items:
        kept = item
        if isinstance(item, int) and not isinstance(item, bool):
            extent = array.shape[dim]
            if not -extent <= item < extent:
                raise IndexError(f"index {item} is out of bounds for axis {dim} with size {extent}")
            kept = np.asarray([item % extent]) if advanced else item
        elif isinstance(item, np.ndarray) and item.dtype != bool:
            _check_range(item, dim, array.shape[dim])
            kept = item.reshape(1) if advanced and not item.ndim else item
        elif isinstance(item, Tensor) and advanced and not item.ndim and _width(item):
            kept = item.reshape(1)
        elif isinstance(item, slice):
            start, stop, step = item.indices(array.shape[dim])
            if step < 0:
                taken = range(start, stop, step)
                kept = slice(taken[-1], start + 1, -step) if len(taken) else slice(0, 0)
                flipped.append(dim)
        result.append(kept)
        dim += _width(item)
    return result, flipped


def _check_range(item: Any, dim: int, extent: int) -> None:
    bad = item[(item < -extent) | (item >= extent)]
    if bad.size:
        raise IndexError(f"index {bad.flat[0]} is out of bounds for axis {dim} with size {extent}")


def read(array: ndarray, index: Any) -> ndarray:
    """``array[index]``: a view for slices and integers, a copy for index arrays."""
    try:
        items, flipped = _resolve(array, normalise(array, index))
        tensor = array._tensor
        if flipped:
            tensor, items = _flip(tensor, items, flipped)
        made = tensor[tuple(items)]
        last = index[-1:] + index if isinstance(index, tuple) else (index,)
        if not made._meta.shape and not any(i is Ellipsis for i in last):
            return wrap(RECORDED["clone"](made), scalar=True)
        return wrap(made)
    except Exception as error:
        raise located(error) from None


def _flip(tensor: Tensor, items: list[Any], dims: list[int]) -> tuple[Tensor, list[Any]]:
    """Take the backward slices, flipped, before the rest of the index."""
    first: list[Any] = [slice(None)] * tensor.ndim
    rest = []
    dim = 0
    for item in items:
        if dim in dims and isinstance(item, slice):
            first[dim] = item
            item = slice(None)
        rest.append(item)
        dim += _width(item)
    return RECORDED["flip"](tensor[tuple(first)], tuple(dims)), rest


def write(array: ndarray, index: Any, value: Any) -> None:
    """``array[index] = value``: the value is cast to the array's dtype and broadcast."""
    try:
        if array._scalar:
            raise TypeError(f"'numpy.{array.dtype.name}' object does not support item assignment")
        value = _stored(array, value)
        given = normalise(array, index)
        items, flipped = _resolve(array, given)
        if flipped:
            _write_backwards(array, given, value)
        elif len(items) == 1 and _is_full_mask(array, items[0]) and _is_single(value):
            array._tensor.masked_fill_(items[0], value)
        else:
            _check_fits(array._tensor, items, value)
            array._tensor[tuple(items)] = value
    except Exception as error:
        raise located(error) from None


def _is_full_mask(array: ndarray, item: Any) -> bool:
    return (
        isinstance(item, Tensor) and item.dtype.name == "bool" and tuple(item.shape) == array.shape
    )


def _is_single(value: Any) -> bool:
    return not isinstance(value, Tensor) or (value.numel() == 1 and not value.ndim)


def _stored(array: ndarray, value: Any) -> Any:
    """The value as a number or Tensor of the array's dtype."""
    if isinstance(value, NUMBERS):
        return np.asarray(value, dtype=array.dtype).item()
    from .array import asarray

    return asarray(value).astype(array.dtype, copy=False)._tensor


def _check_fits(tensor: Tensor, items: list[Any], value: Any) -> None:
    """ValueError, as NumPy raises it, where a basic index takes a shape the value lacks."""
    if any(map(_is_array, items)) or not isinstance(value, Tensor):
        return
    shape = tuple(tensor[tuple(items)].shape)
    given = tuple(value.shape)
    extra = len(given) - len(shape)
    trimmed = given[extra:] if extra > 0 and set(given[:extra]) == {1} else given
    try:
        fits = np.broadcast_shapes(trimmed, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"could not broadcast input array from shape {given} into shape {shape}")


def _write_backwards(array: ndarray, items: list[Any], value: Any) -> None:
    """Write through backward slices: at the positions that NumPy finds for the index."""
    numbers = np.arange(array.size).reshape(array.shape)
    plain = tuple(i._array() if isinstance(i, Tensor) else i for i in items)
    taken = numbers[plain]
    positions = np.unravel_index(np.atleast_1d(taken).ravel(), array.shape)
    if isinstance(value, Tensor):
        value = RECORDED["broadcast_to"](value, taken.shape).reshape(-1)
    array._tensor[tuple(positions)] = value
