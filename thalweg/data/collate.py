"""Collation: many samples become one batch. Stacking happens in NumPy, wrapping comes last."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from thalweg.data import _tensors
from thalweg.data._tensors import Array

Wrap = Callable[[Array], Any]


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch from a list of samples.

    Tensors, arrays and NumPy numbers of shape (...) give a tensor (B, ...); int gives int64, float
    gives float64, bool gives bool, shape (B,). str and bytes stay as they are. Mappings,
    namedtuples and sequences are collated entry by entry; tuples give a list. Raises TypeError for
    other types, RuntimeError for samples of unequal length or shape.
    """
    return collate_with(_tensors.wrap, batch)


def default_convert(data: Any) -> Any:
    """Arrays and NumPy numbers as tensors, inside mappings and sequences too; the rest as it is."""
    return convert_with(_tensors.wrap, data)


def collate_with(wrap: Wrap, batch: Sequence[Any]) -> Any:
    """`default_collate`, with `wrap` making the tensors."""
    if not len(batch):
        raise RuntimeError("default_collate expects at least one sample, given an empty batch")
    first = batch[0]
    kind = type(first)
    if _tensors.is_tensor(first):
        if any(tensor.requires_grad for tensor in batch):
            return _tensors.stack(list(batch))
        return wrap(_stack([_tensors.unwrap(tensor) for tensor in batch]))
    if isinstance(first, (np.ndarray, np.generic)) and not isinstance(first, (str, bytes)):
        return wrap(_numeric(_stack([np.asarray(sample) for sample in batch])))
    if isinstance(first, bool):
        return wrap(np.array(batch))
    if isinstance(first, float):
        return wrap(np.array(batch, dtype=np.float64))
    if isinstance(first, int):
        whole = all(isinstance(sample, int) for sample in batch)
        return wrap(np.array(batch, dtype=np.int64 if whole else np.float32))
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        entries = {key: collate_with(wrap, [sample[key] for sample in batch]) for key in first}
        return _like_mapping(first, entries)
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError(
                "each element in list of batch should be of equal size, given sizes "
                f"{sorted({len(sample) for sample in batch})}"
            )
        columns = [collate_with(wrap, column) for column in zip(*batch)]
        if _is_namedtuple(first):
            return kind(*columns)
        return columns if isinstance(first, tuple) else _like_sequence(first, columns)
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {kind.__module__}.{kind.__qualname__}"
    )


def convert_with(wrap: Wrap, data: Any) -> Any:
    """`default_convert`, with `wrap` making the tensors."""
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
        return data if array.dtype.kind in "SUO" else wrap(array)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: convert_with(wrap, data[key]) for key in data})
    if _is_namedtuple(data):
        return type(data)(*(convert_with(wrap, entry) for entry in data))
    if isinstance(data, tuple):
        return [convert_with(wrap, entry) for entry in data]
    if isinstance(data, Sequence) and not _tensors.is_tensor(data):
        return _like_sequence(data, [convert_with(wrap, entry) for entry in data])
    return data


def _stack(arrays: list[Array]) -> Array:
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        listed = ", ".join(str(list(shape)) for shape in sorted(shapes)[:4])
        raise RuntimeError(f"stack expects each sample to be equal size, given shapes {listed}")
    result: Array = np.stack(arrays)
    return result


def _numeric(array: Array) -> Array:
    if array.dtype.kind in "SUOMm":
        raise TypeError(
            "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
            f"found an array of {array.dtype}"
        )
    return array


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _like_mapping(model: Any, entries: dict[Any, Any]) -> Any:
    if isinstance(model, MutableMapping):
        clone = copy.copy(model)  # keeps what the entries do not say, as a defaultdict's factory
        clone.update(entries)
        return clone
    try:
        return type(model)(entries)
    except TypeError:  # a mapping with a constructor of its own
        return entries


def _like_sequence(model: Any, entries: list[Any]) -> Any:
    if isinstance(model, range):
        return entries
    try:
        return type(model)(entries)
    except TypeError:
        return entries
