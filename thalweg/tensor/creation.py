"""Tensors from data: `tensor`, `as_tensor`, `from_numpy`, and the legacy constructor."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.device import META, Device, available, get_default_device
from ..core.dtypes import DType, bool_, default_complex_dtype, default_dtype, int64
from ..core.dtypes import from_numpy as _dtype_of
from ..core.errors import ArgumentError, DTypeError, ValueRangeError, located
from ..core.promotion import promote_types
from ..ir.types import TensorType
from ..runtime.buffer import Array, Buffer
from .places import no_data
from .tensor import Tensor
from .trace import LeafKey


def infer_array(data: Any, dtype: DType | None) -> Array:
    """Nested data as a fresh array: PyTorch's dtype inference (Python floats take the default)."""
    if dtype is not None and not isinstance(dtype, DType):
        kind = type(dtype).__name__
        raise ArgumentError(f"tensor(): argument 'dtype' must be torch.dtype, not {kind}")
    if isinstance(data, Tensor):
        array = data._array()
        return array.astype((dtype or data.dtype).np)
    if isinstance(data, (np.ndarray, np.generic)):
        kind = dtype or _dtype_of(data.dtype)
        return np.array(data).astype(kind.np)
    if hasattr(data, "__array__") and not isinstance(data, (Sequence, numbers.Number)):
        return infer_array(np.asarray(data), dtype)
    if dtype is None:
        dtype = _dtype_of_arrays(data)
    data = _plain(data)
    with np.errstate(all="ignore"):
        try:
            array = np.array(data)
        except ValueError:
            raise ValueError(
                "expected sequences of equal length at every level of the nested data"
            ) from None
    if array.dtype.kind not in "biufcV":
        if array.size == 0 and array.dtype == object:
            array = array.astype(np.float64)
        elif array.dtype == object and _all_integers(data):
            raise ValueRangeError("Overflow when unpacking long long: not an integer of 64 bits")
        else:
            given = _odd_leaf(data)
            if not isinstance(given, (str, bytes, list, tuple)):
                raise DTypeError(f"Could not infer dtype of {type(given).__name__}")
            raise ArgumentError(
                f"expected numbers or nested sequences of numbers, got {type(given).__name__}"
            )
    if dtype is None:
        dtype = _inferred(array)
    if array.dtype.kind == "c" and dtype.category in ("int", "float"):
        raise ArgumentError(f"expected real numbers for {dtype}, got complex")
    return array.astype(dtype.np)


def _dtype_of_arrays(data: Any) -> DType | None:
    """The dtype of nested data that holds NumPy numbers, arrays or tensors, which keep theirs."""
    if not isinstance(data, (list, tuple)) or not _holds_arrays(data):
        return None
    found: DType | None = None
    for item in data:
        kind = _dtype_of_arrays(item)
        if kind is None:
            kind = _dtype_of(infer_array(item, None).dtype)
        found = kind if found is None else promote_types(found, kind)
    return found


def _holds_arrays(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return any(map(_holds_arrays, data))
    return isinstance(data, (np.ndarray, np.generic, Tensor))


def _inferred(array: Array) -> DType:
    if array.size == 0 or array.dtype.kind == "f":
        return default_dtype()
    if array.dtype.kind == "b":
        return bool_
    if array.dtype.kind == "c":
        return default_complex_dtype()
    return int64


def _plain(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.tolist()
    if isinstance(data, (list, tuple)):
        if any(isinstance(d, (Tensor, list, tuple, np.ndarray)) for d in data):
            return [_plain(d) for d in data]
        return list(data)
    if isinstance(data, range):
        return list(data)
    if isinstance(data, np.ndarray):
        return data.tolist()
    return data


def _all_integers(data: Any) -> bool:
    if isinstance(data, list):
        return all(map(_all_integers, data))
    return isinstance(data, int)


def _odd_leaf(data: Any) -> Any:
    """The first element of nested data that is not a number, or None."""
    if not isinstance(data, (list, tuple)):
        return None if isinstance(data, (numbers.Number, np.generic)) else data
    return next((odd for d in data if (odd := _odd_leaf(d)) is not None), None)


def tensor(
    data: Any,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor with a copy of ``data`` (nested sequences, numbers, arrays).

    Python floats become the default dtype, ints int64, bools bool; arrays keep their dtype.
    Raises TypeError for other data, ValueError for ragged nesting.
    """
    try:
        place = _place(device)
        if isinstance(data, Tensor) and data.device is META and device is None:
            place = META
        if place is META and isinstance(data, Tensor):
            kind, shape = dtype or data.dtype, data.shape
        else:
            array = infer_array(data, dtype)
            kind, shape = _dtype_of(array.dtype), array.shape
        if requires_grad:
            _check_differentiable(kind)
        if place is META:
            return no_data(shape, kind, requires_grad)
        return Tensor._from_array(array, requires_grad)
    except Exception as error:
        raise located(error) from None


def _check_differentiable(dtype: DType) -> None:
    if dtype.category not in ("float", "complex"):
        raise RuntimeError(
            f"Only Tensors of floating point and complex dtype can require gradients, got {dtype}"
        )


def _place(device: Any) -> Device:
    return get_default_device() if device is None else available(device)


def from_numpy(array: Array) -> Tensor:
    """A tensor that shares memory with ``array`` (NumPy). In-place changes show on both sides."""
    if not isinstance(array, np.ndarray):
        raise located(ArgumentError(f"expected np.ndarray (got {type(array).__name__})"))
    try:
        kind = TensorType(tuple(array.shape), _dtype_of(array.dtype))
        strides = _element_strides(array)
    except Exception as error:
        raise located(error) from None
    made = Tensor._from_buffer(Buffer(array), LeafKey(kind, False, True, strides=strides))
    made._ensure_extra().exported = array
    return made


def _element_strides(array: Array) -> tuple[int, ...] | None:
    """Strides in elements, None if row-major. ValueError for those a tensor cannot have."""
    if array.flags.c_contiguous:
        return None
    if any(s < 0 for s in array.strides):
        raise ValueRangeError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not supported: make a copy of the array"
        )
    if any(s % array.itemsize for s in array.strides):
        raise ValueRangeError(
            "given numpy array strides not a multiple of the element byte size: make a copy"
        )
    return tuple(s // array.itemsize for s in array.strides)


def as_tensor(data: Any, dtype: DType | None = None, device: Any = None) -> Tensor:
    """``data`` as a tensor, without a copy where it is a tensor or array of that dtype."""
    place = _place(device)
    if isinstance(data, Tensor):
        if device is None and place is not META:
            place = data.device
        return data.to(place, dtype or data.dtype)  # type: ignore[attr-defined,no-any-return]
    fits = isinstance(data, np.ndarray) and (dtype is None or _dtype_of(data.dtype) is dtype)
    if fits and place is not META:
        return from_numpy(data)
    return tensor(data, dtype=dtype, device=place)


asarray = as_tensor


def scalar_tensor(
    s: Any, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A 0-d tensor of the default dtype."""
    made = tensor(s, dtype=dtype or default_dtype(), device=device)
    return made.requires_grad_() if requires_grad else made  # type: ignore[no-any-return]


def legacy_constructor(
    cls: type[Tensor], *args: Any, dtype_of_class: DType | None = None, **kwargs: Any
) -> Tensor:
    """``Tensor(2, 3)``: uninitialised of that size; ``Tensor([1, 2])``: data; of the default
    dtype, or that of a typed constructor."""
    dtype = dtype_of_class or default_dtype()
    if kwargs.keys() - {"device", "dtype", "size"}:
        raise ArgumentError(f"new() received unexpected keywords {sorted(kwargs)}")
    if kwargs.get("device") is not None and available(kwargs["device"]) is META:
        raise ArgumentError("new(): expected a tensor with data: device 'meta' was passed")
    if "size" in kwargs:
        args = tuple(kwargs["size"])
    if len(args) == 1 and isinstance(args[0], (list, tuple, np.ndarray, Tensor)):
        if isinstance(args[0], Tensor):
            return args[0].detach().to(dtype)
        if not (isinstance(args[0], tuple) and type(args[0]) is not tuple):
            return tensor(args[0], dtype=dtype, device="cpu")
        args = tuple(args[0])
    if all(isinstance(a, (int, np.integer)) for a in args):
        shape = args or (0,)
        return Tensor._from_array(np.zeros(shape, dtype.np))
    raise ArgumentError("new(): expected sizes, or one sequence of data")


def zeros(size: Sequence[int], dtype: DType) -> Tensor:
    """Zeros, for use inside the package (the public function records)."""
    return Tensor._from_array(np.zeros(tuple(size), dtype.np))


def zeros_like(like: Tensor) -> Tensor:
    return zeros(like._meta.shape, like._meta.dtype)
